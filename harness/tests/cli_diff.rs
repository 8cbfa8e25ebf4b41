//! `svidproof diff`, as a user calls it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::Assert;
use common::{Exit, Exits};
use rstest::rstest;
use tempfile::TempDir;

fn diff(old: &Path, new: &Path) -> Assert {
    assert_cmd::cargo::cargo_bin_cmd!("svidproof").arg("diff").args([old, new]).assert()
}

fn surface(outcome: &str) -> String {
    format!(
        "---\nsource: tests/conformance/main.rs\n---\n\
         scenario: symbank\nstage: one\ncells:\n  backend:\n    nobody:\n      GET /: {outcome}\n"
    )
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a folder");
    fs::write(&path, text).expect("a file");
    path
}

#[rstest]
#[case(
    "alert 46 certificate_unknown",
    "200 no body",
    Exit::CheckFailed,
    concat!(
        "opened up: 1\n  symbank · one\n",
        "    nobody can now GET / at backend (was: alert 46 certificate_unknown)\n"
    )
)]
#[case(
    "200 no body",
    "timed out",
    Exit::Passed,
    "closed: 1\n  symbank · one\n    nobody can no longer GET / at backend: timed out (was: 200 no body)\n"
)]
#[case("200 no body", "200 no body", Exit::Passed, "nothing changed\n")]
fn the_status_says_whether_anything_opened_up(
    #[case] old: &str,
    #[case] new: &str,
    #[case] exit: Exit,
    #[case] words: &'static str,
) {
    let dir = TempDir::new().unwrap();
    let (old, new) = (
        file(&dir, "old/symbank.one.snap", &surface(old)),
        file(&dir, "new/symbank.one.snap", &surface(new)),
    );
    diff(&old, &new).exits(exit).stdout(words).stderr("");
    diff(old.parent().unwrap(), new.parent().unwrap()).exits(exit).stdout(words).stderr("");
}

#[test]
fn a_report_stands_for_its_surfaces() {
    let dir = TempDir::new().unwrap();
    let old = file(&dir, "old.snap", &surface("alert 46 certificate_unknown"));
    let row = r#"{"scenario": "symbank", "stage": "one", "check": "c",
        "as": "nobody", "to": "backend", "request": "GET /", "got": "200 no body"}"#;
    let new = file(&dir, "report.json", &format!(r#"{{"run": "r1", "checks": [{row}]}}"#));
    diff(&old, &new).exits(Exit::CheckFailed);
    diff(&new, &old).exits(Exit::Passed);
}

#[test]
fn what_is_no_surface_is_named() {
    let dir = TempDir::new().unwrap();
    let good = file(&dir, "good.snap", &surface("timed out"));
    let scenario = file(&dir, "symbank.yaml", "scenario: symbank\nstages: []\n");
    let said = diff(&good, &scenario).exits(Exit::Input).stdout("").get_output().stderr.clone();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("symbank.yaml is not a surface: it looks like a scenario\nhint: "), "{said}");
    let said =
        diff(&dir.path().join("none"), &good).exits(Exit::Input).stdout("").get_output().stderr.clone();
    assert!(String::from_utf8(said).unwrap().starts_with("svidproof: could not read "));
}
