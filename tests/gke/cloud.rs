//! The stand-in for Google Cloud, started, and asked what it has.

use std::convert::Infallible;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use conformance::said;
use serde_json::{Value, json};
use svidproof::sys::wait::{self, Look};

pub(crate) const PROJECT: &str = "demo-project";
/// So short that a run of a minute asks for another.
const TOKEN: &str = "70s";

/// A process, ended with this.
pub(crate) struct Cloud {
    dir: PathBuf,
    args: Vec<String>,
    child: Child,
}

#[allow(clippy::disallowed_methods, reason = "a stand-in that is not svidproof's own")]
fn begun(dir: &Path, args: &[String]) -> Child {
    let root = conformance::repository();
    let program = root.join("target/google-stand-in/terraform-provider-google");
    assert!(program.exists(), "no {}: fixtures/google-stand-in/build makes it", program.display());
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(program.canonicalize().unwrap());
    command.args(args).env("GROUND", dir).env("XDG_STATE_HOME", dir.join("ground"));
    command.stderr(log).spawn().unwrap()
}

impl Cloud {
    /// With what it makes and ends clusters by, and how long an operation of its may last.
    pub(crate) fn start(dir: &Path, up: &str, down: &str, deadline: &str) -> Self {
        let dir = dir.join("cloud");
        fs::create_dir_all(&dir).unwrap();
        let place = dir.display().to_string();
        let args = [
            ["--project", PROJECT],
            ["--token-lifetime", TOKEN],
            ["--deadline", deadline],
            ["--up", up],
            ["--down", down],
            ["--dir", &place],
        ];
        let args = std::iter::once("cloud").chain(args.into_iter().flatten());
        let args: Vec<_> = args.map(ToOwned::to_owned).collect();
        let child = begun(&dir, &args);
        let this = Self { dir, args, child };
        this.is_there();
        this
    }

    fn is_there(&self) {
        self.until("the cloud to be there", || self.dir.join("env").exists().then_some(()));
    }

    /// Where it is, and who may use it.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir.join("env")).unwrap();
        let line = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('\'').to_owned())
        };
        text.lines().map(line).collect()
    }

    /// What it does wrong from now on.
    pub(crate) fn fault(&self, name: &str) {
        fs::write(self.dir.join("faults"), format!("{name}\n")).unwrap();
    }

    fn state(&self) -> Value {
        fs::read_to_string(self.dir.join("cloud.json"))
            .map_or(Value::Null, |text| serde_json::from_str(&text).expect("what the cloud made is JSON"))
    }

    /// Everything that is there: what Terraform made, and what the cloud made beside it.
    pub(crate) fn made(&self) -> Vec<String> {
        let state = self.state();
        let all = ["made", "items"].into_iter().filter_map(|kind| state[kind].as_object());
        let all = all.flatten().map(|(name, what)| match what["type"].as_str() {
            Some(kind) => format!("{kind} {name}"),
            None => name.clone(),
        });
        all.collect()
    }

    /// How many tokens it has given.
    pub(crate) fn tokens(&self) -> usize {
        self.state()["tokens"].as_object().map_or(0, serde_json::Map::len)
    }

    /// Takes away, as its user would by hand, what it made beside what Terraform made.
    pub(crate) fn sweep(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::remove_file(self.dir.join("env")).unwrap();
        let mut state = self.state();
        state["items"] = json!({});
        fs::write(self.dir.join("cloud.json"), state.to_string()).unwrap();
        self.child = begun(&self.dir, &self.args);
        self.is_there();
    }

    pub(crate) fn waits_for(&self, what: &str) {
        self.until(what, || self.made().iter().any(|one| one.starts_with(what)).then_some(()));
    }

    fn until(&self, what: &str, mut is: impl FnMut() -> Option<()>) {
        let look = async || match is() {
            Some(()) => Look::Ready(()),
            None => {
                Look::<_, Infallible>::NotYet(fs::read_to_string(self.dir.join("log")).unwrap_or_default())
            }
        };
        let waited = wait::poll(what, Duration::from_mins(1), Duration::from_millis(50), look);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(waited).unwrap();
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One kind cluster.
pub(crate) struct Ground {
    dir: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

#[allow(clippy::disallowed_methods, reason = "a cluster that is not svidproof's own")]
impl Ground {
    pub(crate) fn up(dir: &Path) -> Self {
        let this = Self { dir: dir.into(), kubeconfig: dir.join("ground-kubeconfig") };
        let output = this.called("up").output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        this
    }

    fn called(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ground"));
        command.arg(what).env("NAME", "ground-run").env("KUBECONFIG_OUT", &self.kubeconfig);
        command.env("GROUND", &self.dir).env("XDG_STATE_HOME", self.dir.join("ground"));
        command
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let output = self.called("down").output().unwrap();
        assert!(output.status.success() || std::thread::panicking(), "{}", said(&output));
    }
}
