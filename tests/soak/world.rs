//! The run that goes on, and the folders in which those are that are killed.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use conformance::leftovers::{self, Machine};
use conformance::{said, standing};
use svidproof::sys::wait::{self, Look};

use crate::kill::{Where, name_of};

/// What is kept beside; those that are killed share no name with it.
const BESIDE: &str = "tests/scenarios/front-proxy.yaml";
const SERVER: &str = "spire-com-server-0";
const KILLED: &str = "tests/neighbours/small.yaml";
const OUTSIDE: &str = "tests/scenarios/outside.yaml";
/// What a killed run had started has ended by then: the longest is Terraform's `apply`.
const LONGEST: Duration = Duration::from_mins(4);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A cluster that is kept.
pub(crate) struct Beside {
    dir: tempfile::TempDir,
    run: String,
    /// Before there was anything of the soak's.
    before: Machine,
    /// With the kept run.
    machine: Machine,
}

impl Beside {
    pub(crate) fn up() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        let before = block_on(Machine::now()).unwrap();
        let up = command(dir.path(), &["up", "--scenario", BESIDE]).output().unwrap();
        assert!(up.status.success(), "{}", said(&up));
        let run = name_of(&runs(dir.path())[0]);
        Self { machine: block_on(Machine::now()).unwrap(), dir, run, before }
    }

    fn says(&self, args: &[&str]) -> Output {
        command(self.dir.path(), args).output().unwrap()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("state/svidproof/runs").join(&self.run).join("kubeconfig")
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn kubectl(&self, args: &[&str]) -> String {
        let kubectl = svidproof::images::tool("kubectl").unwrap_or_else(|| "kubectl".into());
        let output = Command::new(kubectl).arg("--kubeconfig").arg(self.kubeconfig()).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn looks(&self) -> String {
        standing::looks(&|args| self.kubectl(args), &[SERVER])
    }

    /// Makes its checks, takes it down, and says what is wrong with it, or left.
    pub(crate) fn ends(self) -> Vec<String> {
        let out = self.dir.path().join("out").display().to_string();
        let mut wrong = vec![];
        for args in [&["test", "--out", &out][..], &["down"]] {
            let output = self.says(args);
            if !output.status.success() {
                wrong.push(format!("{args:?} of the run beside: {}", said(&output)));
            }
        }
        let dir = self.dir.path().join("state/svidproof/runs").join(&self.run);
        wrong.extend(block_on(leftovers::of_run(&self.run, &dir)).unwrap_or_else(|problem| vec![problem]));
        wrong.extend(block_on(self.before.more()));
        wrong
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.says(&["down"]);
    }
}

/// Where runs are killed.
pub(crate) struct World<'a> {
    dir: tempfile::TempDir,
    beside: &'a Beside,
    /// How the kept cluster looks.
    looks: String,
    kubeconfig: Option<Vec<u8>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(beside: &'a Beside) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["tmp", "runtime"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, beside, looks: beside.looks(), kubeconfig: leftovers::users_kubeconfig() }
    }

    /// A run of the smallest scenario that has everything.
    pub(crate) fn run(&self, site: Where) -> Command {
        let scenario = if site == Where::Outside { OUTSIDE } else { KILLED };
        let mut run = command(self.dir.path(), &["run", "--scenario", scenario, "--out"]);
        run.arg(self.dir.path().join("out"));
        if site == Where::Kept {
            let context = self.beside.kubectl(&["config", "current-context"]);
            run.args(["--provider", "existing", "--context", context.trim(), "--kubeconfig"]);
            run.arg(self.beside.kubeconfig());
        }
        run
    }

    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        runs(self.dir.path())
    }

    /// Collects until nothing is left to be collected; what a killed run had started may hold it for a while.
    pub(crate) fn collected(&self) -> Option<String> {
        let look = async || {
            let output = command(self.dir.path(), &["gc"]).output().unwrap();
            let told = format!("gc: {}: {}", output.status, said(&output));
            if !self.runs().is_empty() {
                return Look::<_, Infallible>::NotYet(told);
            }
            Look::Ready((!output.status.success()).then_some(told))
        };
        // Whoever holds it tells nobody when he ends.
        let collected = wait::poll("the run to be collected", LONGEST, Duration::from_millis(300), look);
        block_on(collected).unwrap_or_else(|error| Some(error.to_string()))
    }

    /// Everything that is left, a line each.
    pub(crate) fn left(&self, site: Where, run: Option<&str>) -> Vec<String> {
        let root = self.dir.path();
        let mut left: Vec<_> = ["state/svidproof/runs", "tmp", "runtime"]
            .iter()
            .flat_map(|folder| below(&root.join(folder)))
            .map(|path| format!("left: {}", path.display()))
            .collect();
        let torn = below(&root.join("out")).into_iter();
        let torn = torn.filter(|path| name_of(path).starts_with('.'));
        left.extend(torn.map(|path| format!("left: {}", path.display())));
        // Whoever was started by it has its environment.
        let ours = format!("TMPDIR={}", root.join("tmp").display());
        left.extend(leftovers::processes("environ", ours).map(|line| format!("a process: {line}")));
        if let Some(run) = run {
            let dir = root.join("state/svidproof/runs").join(run);
            left.extend(block_on(leftovers::of_run(run, &dir)).unwrap_or_else(|problem| vec![problem]));
        }
        if leftovers::users_kubeconfig() != self.kubeconfig {
            left.push("a change in the user's kubeconfig".into());
        }
        left.extend(block_on(self.beside.machine.more()));
        if site == Where::Kept {
            left.extend(standing::difference(&self.looks, &self.beside.looks()));
        }
        left
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = command(self.dir.path(), &["gc"]).output();
    }
}

fn runs(root: &Path) -> Vec<PathBuf> {
    below(&root.join("state/svidproof/runs"))
}

/// What is in a folder; nothing where there is none.
fn below(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// svidproof, with all that it keeps below `root`, but for the cache.
fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = conformance::svidproof();
    command.current_dir(conformance::repository()).args(args);
    command.env("XDG_STATE_HOME", root.join("state")).env("XDG_RUNTIME_DIR", root.join("runtime"));
    command.env("TMPDIR", root.join("tmp"));
    command
}
