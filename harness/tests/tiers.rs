//! The tiers that `cargo test` leaves out: each is told as an ignored test, with what it needs. They are the
//! test targets of the package `conformance` (tests/Cargo.toml), so one that is added there is told here.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/Cargo.toml");
    let manifest =
        std::fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let left: Vec<_> = left(&manifest).collect();
    assert!(!left.is_empty(), "tests/Cargo.toml has no [[test]]");
    let trial = |(name, needs): &(&str, &str)| {
        let how = format!("cargo test -p conformance --test {name}");
        let told = format!("{name} tier, left out: {needs}. {how}");
        let problem = format!("it is not run here: {how}");
        Trial::test(told, move || Err(problem.into())).with_ignored_flag(true)
    };
    libtest_mimic::run(&Arguments::from_args(), left.iter().map(trial).collect()).exit_code()
}

/// Each target's name, and the comment above it.
fn left(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let blocks = manifest.split("\n\n").filter(|block| block.contains("[[test]]"));
    blocks.map(|block| {
        let comment =
            block.lines().rfind(|line| line.starts_with('#')).expect("a comment says what it needs");
        let name = block.lines().find_map(|line| line.strip_prefix("name = ")).expect("a tier has a name");
        (name.trim_matches('"'), comment.trim_start_matches(['#', ' ']).trim_end_matches('.'))
    })
}
