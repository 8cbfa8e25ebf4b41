//! `svidproof history`, as a user calls it after some nights.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use assert_cmd::assert::Assert;
use common::{Exit, Exits, World, said};
use serde_json::{Value, json};

/// Of two scenarios at two Envoys. What `nobody` got at the edge differs from night to night.
fn report(day: u8, envoy: &str, got: &str, verdict: &str) -> String {
    let row = |scenario: &str, check: &str, client: &str, got: &str, verdict: &str| {
        json!({
            "scenario": scenario, "stage": "open", "check": check, "as": client, "to": "edge",
            "request": "GET /", "got": got, "verdict": verdict, "reason": "",
        })
    };
    let rows = [
        row("edge", "nobody is refused", "nobody", got, verdict),
        row("shop", "the till gets in", "till", "200 no body", "passed"),
    ];
    let report = json!({
        "svidproof": "0.1.0", "run": format!("r{day}"), "provider": "kind", "images": "packages",
        "versions": {"kubernetes": "1.36.3", "spire": "1.15.3", "envoy": envoy},
        "started": format!("2026-03-{day:02}T02:00:00Z"), "phases": [], "checks": rows, "totals": {},
    });
    report.to_string()
}

const REFUSED: &str = "alert 116 certificate_required";

/// Three nights: two Envoys, and one of them opened up.
fn nights(world: &World) {
    put(world, "nights/1/report.json", &report(1, "1.40.0", REFUSED, "passed"));
    put(world, "nights/2/a/report.json", &report(2, "1.40.0", "200 no body", "failed"));
    put(world, "nights/2/b/report.json", &report(3, "1.39.0", REFUSED, "passed"));
}

fn put(world: &World, name: &str, text: &str) {
    let path = world.project().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn history(world: &World, args: &[&str]) -> Assert {
    world.svidproof(&[&["history"], args].concat())
}

fn json_of(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("history.json")).unwrap()).unwrap()
}

#[test]
fn a_page_and_its_json_come_of_all_nights_below_a_folder() {
    let world = World::new();
    nights(&world);
    let told = "runs: 3 · legs: 2 · checks: 2 · worse than before: 1 · flakes: 0 · gone: 0\n";
    history(&world, &["nights"])
        .exits(Exit::Passed)
        .stderr("")
        .stdout(format!("{told}nights/history.html\n"));
    let written = json_of(&world.project().join("nights"));
    assert_eq!(written["runs"][2]["file"], "2/b/report.json");
    assert_eq!(
        written["changes"][0]["words"],
        "nobody can now GET / at edge (was: alert 116 certificate_required)"
    );
    let page = fs::read_to_string(world.project().join("nights/history.html")).unwrap();
    assert!(page.contains("nobody can now GET / at edge"));
    // What it wrote is no night, and it may be asked again.
    history(&world, &["nights", "--out", "told"])
        .exits(Exit::Passed)
        .stdout(format!("{told}told/history.html\n"));
    assert_eq!(json_of(&world.project().join("told")), written);
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// None of these holds the rest up, and none is passed over.
#[test]
fn what_cannot_be_read_is_named_everywhere_and_is_not_the_end_of_it() {
    let world = World::new();
    nights(&world);
    put(&world, "nights/cut/report.json", &report(4, "1.40.0", REFUSED, "passed")[..200]);
    put(&world, "nights/\u{1b}[31m/report.json", "<html>");
    fs::create_dir(world.project().join("nights/pipe")).unwrap();
    fs::rename(world.fifo("fifo"), world.project().join("nights/pipe/report.json")).unwrap();
    fs::create_dir(world.project().join("nights/link")).unwrap();
    symlink("nowhere", world.project().join("nights/link/report.json")).unwrap();
    symlink("..", world.project().join("nights/link/round")).unwrap();
    let output = history(&world, &["nights"]).exits(Exit::NotJudged).get_output().clone();
    let said = said(&output);
    let expected = "svidproof: 4 of the reports could not be read, and the history lacks them:\n  \
        \\u{1b}[31m/report.json: it is no JSON: expected value at line 1 column 1\n  \
        cut/report.json: it is cut off: it ends in line 1 before the report does\n  \
        link/report.json: it could not be read: No such file or directory (os error 2)\n  \
        pipe/report.json: it is no file\n\
        hint: bring them anew, or take them away if there is nothing to be had of them\n";
    assert_eq!(said, expected);
    let written = json_of(&world.project().join("nights"));
    assert_eq!(written["runs"].as_array().unwrap().len(), 3);
    assert_eq!(written["unreadable"][1]["file"], "cut/report.json");
    let page = fs::read_to_string(world.project().join("nights/history.html")).unwrap();
    assert!(page.contains("<title>3 runs, 4 unreadable"));
    history(&world, &["nights", "--format", "markdown"]).exits(Exit::NotJudged);
}

#[test]
fn a_copy_of_a_report_is_named_and_counts_once() {
    let world = World::new();
    nights(&world);
    put(&world, "nights/copy/report.json", &report(1, "1.40.0", REFUSED, "passed"));
    let output = history(&world, &["nights"]).exits(Exit::Passed).get_output().clone();
    assert_eq!(said(&output), "1/report.json is there more than once, and counts once: copy/report.json\n");
}

/// docs/how-to/history.md shows it.
#[test]
fn the_compatibility_table() {
    let world = World::new();
    nights(&world);
    let output =
        history(&world, &["nights", "--format", "markdown"]).exits(Exit::Passed).get_output().clone();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    assert!(!world.project().join("nights/history.html").exists(), "it only prints");
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let world = World::new();
    fs::create_dir(world.project().join("empty")).unwrap();
    for (args, told) in [
        (&["nowhere"][..], "svidproof: nowhere is no folder\nhint: "),
        (&["empty"], "svidproof: no report.json lies below empty\nhint: "),
        (
            &["empty", "--format", "markdown", "--out", "x"],
            "svidproof: --format markdown writes nothing into x",
        ),
    ] {
        let said = said(history(&world, args).exits(Exit::Input).stdout("").get_output());
        assert!(said.starts_with(told), "{said}");
    }
}

#[test]
fn what_cannot_be_written_is_told() {
    let world = World::new();
    nights(&world);
    put(&world, "file", "");
    let said = said(history(&world, &["nights", "--out", "file"]).exits(Exit::NotJudged).get_output());
    assert!(said.starts_with("svidproof: could not write file/history.html: "), "{said}");
}
