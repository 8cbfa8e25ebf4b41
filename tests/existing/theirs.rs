//! Somebody else's cluster: another svidproof's `up` makes it, and to a run with a state of its own all in it
//! is foreign. How it looks, and how runs there are killed and collected.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conformance::{said, standing};
use svidproof::sys::wait::{self, Look};

/// A Helm that the killed run had started ends in less.
const LONGEST: Duration = Duration::from_mins(1);
/// A cluster takes the whole machine.
static ONE: Mutex<()> = Mutex::new(());

/// The cluster, and a folder of the test's own.
pub(crate) struct Theirs {
    pub(crate) dir: tempfile::TempDir,
    /// The pods of its SPIRE servers.
    servers: &'static [&'static str],
    _one: MutexGuard<'static, ()>,
}

impl Theirs {
    /// With these scenarios of tests/scenarios/ in it.
    pub(crate) fn up(scenarios: &[&str], servers: &'static [&'static str]) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = Self { dir: tempfile::tempdir().unwrap(), servers, _one: one };
        let files = scenarios.iter().map(|name| format!("tests/scenarios/{name}.yaml"));
        let up = theirs.svidproof("theirs", &["up", "--scenario"]).args(files).output().unwrap();
        assert!(up.status.success(), "{}", said(&up));
        std::fs::copy(theirs.runs("theirs")[0].join("kubeconfig"), theirs.kubeconfig()).unwrap();
        theirs
    }

    pub(crate) fn svidproof(&self, state: &str, args: &[&str]) -> Command {
        let mut command = conformance::svidproof();
        command
            .current_dir(conformance::repository())
            .env("XDG_STATE_HOME", self.dir.path().join(state))
            .args(args);
        command
    }

    pub(crate) fn tool(&self, name: &str, args: &[&str]) -> String {
        let output = conformance::tool(name, &self.kubeconfig()).args(args).output().unwrap();
        assert!(output.status.success(), "{name} {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.tool("kubectl", args)
    }

    /// The name of the context that leads there.
    pub(crate) fn context(&self) -> String {
        self.kubectl(&["config", "current-context"]).trim().into()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// All that is there, but for what the cluster itself writes.
    pub(crate) fn looks(&self) -> String {
        standing::looks(&|args| self.kubectl(args), self.servers)
    }

    pub(crate) fn existing(&self, scenario: &str) -> Vec<String> {
        let context = self.context();
        let (kubeconfig, scenario) = (self.kubeconfig(), format!("tests/{scenario}.yaml"));
        let args = ["run", "--provider", "existing", "--context", &context, "--scenario", &scenario];
        let mut args: Vec<_> = args.map(str::to_owned).into();
        args.extend(["--kubeconfig".into(), kubeconfig.display().to_string()]);
        args
    }

    /// Another user is refused as long as a run has the cluster, and has nothing to collect in it.
    pub(crate) fn another_user_is_refused(&self) {
        let refused =
            self.svidproof("third", &strs(&self.existing("scenarios/front-proxy"))).output().unwrap();
        let runs = self.runs("mine");
        let run = runs[0].file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        let told = said(&refused);
        assert!(told.contains(&format!("run {run} works on ")) && told.contains("one at a time"), "{told}");
        let collected = self.svidproof("third", &["gc"]).output().unwrap();
        assert!(said(&collected).contains("0 left-over run(s) taken down"), "{}", said(&collected));
        assert_eq!(self.runs("third"), Vec::<PathBuf>::new());
    }

    pub(crate) fn collect(&self) {
        let collected = wait::poll(
            "programs that the killed run had started to end",
            LONGEST,
            // They tell nobody when they do.
            Duration::from_millis(300),
            async || {
                let output = self.svidproof("mine", &["gc"]).output().unwrap();
                assert!(output.status.success(), "{}", said(&output));
                let gone = self.runs("mine").is_empty();
                if gone { Look::<(), Infallible>::Ready(()) } else { Look::NotYet(said(&output)) }
            },
        );
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(collected)
            .unwrap();
    }

    /// Kills `mine` once it has said this, and `meanwhile` was done.
    pub(crate) fn kill_after(&self, args: &[&str], words: &str, meanwhile: impl FnOnce()) {
        let mut run = self.svidproof("mine", args);
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut told = vec![];
        let said = lines.inspect(|line| told.push(line.clone())).any(|line| line.contains(words));
        meanwhile();
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(said, "it never said `{words}`:\n{}", told.join("\n"));
    }

    pub(crate) fn runs(&self, state: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join(state).join("svidproof/runs"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        for state in ["third", "mine", "theirs"] {
            for command in ["gc", "down"] {
                let _ = self.svidproof(state, &[command]).output();
            }
        }
    }
}

pub(crate) fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
