//! The tiers that need more than a Rust compiler, a folder each: `browser` (a Chromium), `container` (a real
//! Envoy in a container engine), `conformance` (a real cluster), `existing` (one that is somebody else's), and
//! more. CONTRIBUTING.md says what each may use. Here is what several of them do.
//!
//! Not for what can be held without those: that is `unit` (beside the code) or `cli` (harness/tests).

pub mod leftovers;
pub mod standing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The checkout.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// svidproof as it was built beside the test that asks.
///
/// # Panics
/// It was not built.
pub fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows where it is");
    let folder = here.ancestors().nth(2).unwrap_or(Path::new("."));
    let program = folder.join("svidproof");
    assert!(program.exists(), "no {}: `cargo build -p svidproof` makes it", program.display());
    program
}

/// Starts it.
///
/// # Panics
/// As [`program`].
#[allow(clippy::disallowed_methods, reason = "it is a test's to start svidproof itself")]
pub fn svidproof() -> Command {
    Command::new(program())
}

/// It, about to be started in a folder of a test's own, which has its state too.
///
/// # Panics
/// As [`program`].
pub fn svidproof_in(folder: &Path, args: &[&str]) -> Command {
    let mut command = svidproof();
    command.current_dir(folder).env("XDG_STATE_HOME", folder.join("state")).args(args);
    command
}

/// The folder of the one run in such a folder.
///
/// # Panics
/// There is none, or another.
pub fn run_in(folder: &Path) -> PathBuf {
    let runs = std::fs::read_dir(folder.join("state/svidproof/runs")).expect("runs are there");
    let runs: Vec<_> = runs.map(|run| run.expect("an entry can be read").path()).collect();
    assert!(runs.len() == 1, "one run: {runs:?}");
    runs[0].clone()
}

/// A program that svidproof has built or finds, about to be started on a run's cluster.
#[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
pub fn tool(name: &str, kubeconfig: &Path) -> Command {
    let mut command = Command::new(svidproof::images::tool(name).unwrap_or_else(|| name.into()));
    command.arg("--kubeconfig").arg(kubeconfig);
    command
}

/// Copies what is in a folder.
///
/// # Panics
/// Something cannot be read or written.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("a folder can be read") {
        let entry = entry.expect("an entry can be read");
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a file can be copied");
        }
    }
}

/// What a program wrote on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
