//! `scripts/nights`, by which the nightly workflow holds a night against those before it. It calls the real
//! svidproof, on reports that are made up here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sample;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::TempDir;

const LEG: &str = "kind-1.36.3-spire-1.15.2-envoy-1.39.0";

/// A night's report of one leg. `day` makes it another run.
fn report(dir: &Path, day: u8, edit: impl FnOnce(&mut Value)) {
    let mut report: Value = serde_json::from_str(&sample::report().to_json()).unwrap();
    report["run"] = json!(format!("run-{day}"));
    report["started"] = json!(format!("2026-11-{day:02}T01:23:00Z"));
    edit(&mut report);
    let leg = dir.join("tonight").join(LEG);
    fs::create_dir_all(&leg).unwrap();
    fs::write(leg.join("report.json"), report.to_string()).unwrap();
}

fn nights(dir: &Path) -> assert_cmd::assert::Assert {
    let svidproof = Path::new(env!("CARGO_BIN_EXE_svidproof")).parent().unwrap();
    let path = format!("{}:{}", svidproof.display(), std::env::var("PATH").unwrap());
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/nights"));
    script.current_dir(dir).env("PATH", path).args(["nights", "tonight", "history"]).assert()
}

/// The nights that are kept, by name.
fn kept(dir: &Path) -> Vec<String> {
    let nights = fs::read_dir(dir.join("nights")).unwrap();
    let mut names: Vec<_> = nights.map(|night| night.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The script names a night by the time: the one that was just kept is made an earlier one.
fn is_of(dir: &Path, day: &str) {
    let newest = kept(dir).pop().unwrap();
    fs::rename(dir.join("nights").join(newest), dir.join("nights").join(day)).unwrap();
}

#[test]
fn a_night_is_held_against_the_last_one_of_its_leg() {
    let dir = TempDir::new().unwrap();
    report(dir.path(), 1, |_| ());
    nights(dir.path()).success().stdout(contains(format!("### {LEG}\nThe first night of it")));
    is_of(dir.path(), "2026-11-01T012300Z");

    report(dir.path(), 2, |report| {
        let refused = report["checks"].as_array_mut().unwrap().iter_mut();
        let mut refused =
            refused.filter(|row| row["got"].as_str().is_some_and(|got| got.starts_with("alert")));
        refused.next().unwrap()["got"] = json!("200 no body");
    });
    let opened = nights(dir.path()).success();
    opened.stdout(contains("Since the night of 2026-11-01T012300Z:")).stdout(contains("opened"));
    assert!(dir.path().join("history/history.html").exists());
    let history = fs::read_to_string(dir.path().join("history/history.json")).unwrap();
    assert!(history.contains("run-1") && history.contains("run-2"), "{history}");
}

#[test]
fn a_night_without_a_report_says_so() {
    let dir = TempDir::new().unwrap();
    nights(dir.path()).success().stdout("No leg has left a report tonight.\n");
}

#[test]
fn a_report_that_cannot_be_read_is_told() {
    let dir = TempDir::new().unwrap();
    report(dir.path(), 1, |_| ());
    nights(dir.path()).success();
    is_of(dir.path(), "2026-11-01T012300Z");
    fs::write(dir.path().join("tonight").join(LEG).join("report.json"), "{").unwrap();
    nights(dir.path()).failure().stderr(contains("report.json"));
}

#[test]
fn the_oldest_night_goes_after_thirty() {
    let dir = TempDir::new().unwrap();
    report(dir.path(), 1, |_| ());
    for day in 1..=31 {
        fs::create_dir_all(dir.path().join(format!("nights/2026-10-{day:02}T012300Z"))).unwrap();
    }
    nights(dir.path()).success();
    let kept = kept(dir.path());
    assert_eq!((kept.len(), kept[0].as_str()), (30, "2026-10-03T012300Z"));
}
