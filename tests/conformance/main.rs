//! The conformance tier: every scenario of `scenarios/` on a real cluster, a check a test, a planted fault a
//! test, a screen a test. It knows none of them by name.
//!
//! One cluster serves all. What was asked for is run first and taken down, also after a panic; then each
//! result is told as a test of its own, so that names can be listed and filtered as with any test.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use svidproof::surface::Surface;

mod run;
mod screens;
mod subject;
#[allow(dead_code, clippy::unwrap_used, reason = "a browser for tests, of which this one needs a part")]
#[path = "../browser/webdriver.rs"]
mod webdriver;

use run::{Results, TestResult};
use subject::{Subject, TEARDOWN, is_chosen};

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::from_args();
    let subjects = subject::all(Path::new(env!("CARGO_MANIFEST_DIR")));
    let names: Vec<String> = subjects.iter().flat_map(Subject::names).chain([TEARDOWN.into()]).collect();
    let chosen: Vec<String> = names.iter().filter(|name| is_chosen(&arguments, name)).cloned().collect();
    let results = if arguments.list || chosen.is_empty() {
        Results::new()
    } else {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(run::results(&subjects, &chosen))
    };
    let trials = names.into_iter().map(|name| trial(name, &results)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: String, results: &Results) -> Trial {
    let outcome = results
        .get(&name)
        .cloned()
        .unwrap_or_else(|| TestResult::Judged(Err("it was not come to: see the other failures".into())));
    Trial::test(name, move || match outcome {
        TestResult::Judged(result) => result.map_err(Failed::from),
        TestResult::Seen(surface) => {
            compare(&surface);
            Ok(())
        }
    })
}

/// Panics where it differs, as insta does. Here and not elsewhere: insta writes this file's path into a
/// snapshot, and `svidproof test --accept` does the same.
fn compare(surface: &Surface) {
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true,
    }, {
        insta::assert_snapshot!(surface.name(), surface.to_yaml());
    });
}
