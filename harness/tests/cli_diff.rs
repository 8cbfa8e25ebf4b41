//! `svidproof diff`, as a user calls it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::assert::Assert;
use common::{Exit, Exits};
use rstest::rstest;
use tempfile::TempDir;

fn diff(old: &Path, new: &Path) -> Assert {
    diff_with(old, new, &[])
}

fn diff_with(old: &Path, new: &Path, more: &[&str]) -> Assert {
    assert_cmd::cargo::cargo_bin_cmd!("svidproof").arg("diff").args([old, new]).args(more).assert()
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

/// The same changes and the same status, for a job's summary and for a program.
#[test]
fn a_diff_in_other_formats() {
    let dir = TempDir::new().unwrap();
    let (old, new) = (
        file(&dir, "old.snap", &surface("alert 46 certificate_unknown")),
        file(&dir, "new.snap", &surface("'200 | `x` <b>'")),
    );
    let page = ["--format", "markdown", "--link", "https://ci.example.org/runs/1"];
    let table = "## Surface: 1 opened up\n\n|  | where | what |\n| --- | --- | --- |\n\
        | **opened up** | symbank · one | nobody can now GET / at backend &#40;was&#58; alert 46 \
        certificate&#95;unknown&#41; |\n\n[the page](<https://ci.example.org/runs/1>)\n";
    diff_with(&old, &new, &page).exits(Exit::CheckFailed).stdout(table).stderr("");
    diff_with(&old, &old, &page[..2]).exits(Exit::Passed).stdout("## Surface: nothing changed\n\n");
    let json = |old: &Path, exit| {
        let said = diff_with(old, &new, &["--format", "json"]).exits(exit).get_output().stdout.clone();
        serde_json::from_slice::<serde_json::Value>(&said).unwrap()
    };
    let words = "nobody can now GET / at backend (was: alert 46 certificate_unknown)";
    let change =
        serde_json::json!({"danger": "opened", "scenario": "symbank", "stage": "one", "words": words});
    let expected = serde_json::json!({"worse": true, "changes": [change]});
    assert_eq!(json(&old, Exit::CheckFailed), expected);
    assert_eq!(json(&new, Exit::Passed), serde_json::json!({"worse": false, "changes": []}));
}

/// What leads from a job's summary leads to a page.
#[rstest]
#[case::no_address(&["--format", "markdown", "--link", "report.html"], "relative URL without a base")]
#[case::a_script(&["--format", "markdown", "--link", "javascript:alert(1)"], "it is not one of http or https")]
#[case::nowhere_to_put_it(&["--link", "https://example.org"], "--link goes with --format markdown")]
fn a_link_that_is_none_is_told(#[case] args: &[&str], #[case] told: &str) {
    let dir = TempDir::new().unwrap();
    let old = file(&dir, "old.snap", &surface("200 no body"));
    let said = diff_with(&old, &old, args).exits(Exit::Input).stdout("").get_output().stderr.clone();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(told), "{said}");
}
