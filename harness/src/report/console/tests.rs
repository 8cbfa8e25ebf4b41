//! What a person is told of each verdict, and that it fits.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::proof::chart_test::ChartTest;
use crate::proof::hops::{Found, Hop, walk};
use crate::report::tests::report;
use crate::surface::{Change, Danger};
use crate::sys::progress::Phase;
use crate::sys::terminal::width;

const NOBODY: Reader = Reader { colour: false, columns: None };

/// All of it, as a file gets it.
pub(in crate::report) fn told(report: &Report, every: bool) -> String {
    at(report, NOBODY, every)
}

fn at(report: &Report, reader: Reader, every: bool) -> String {
    let last = Closing { elapsed: Duration::from_millis(12_340), ..Closing::default() };
    table(report, reader, every) + &closing(report, last, reader)
}

fn terminal(columns: usize) -> Reader {
    Reader { colour: true, columns: Some(columns) }
}

/// What is left of it where colours are not seen.
fn plain(coloured: &str) -> String {
    console::strip_ansi_codes(coloured).into_owned()
}

/// A report in which one cell has failed and a Helm test too, and each says much.
fn long() -> Report {
    let mut report = report();
    report.phases = vec![
        Phase { name: "symbank: both-frontends".into(), started: 0.0, seconds: 99.0 },
        Phase { name: "symbank: both-frontends".into(), started: 1.0, seconds: 2.0 },
        Phase { name: "symbank: profiles-only".into(), started: 3.0, seconds: 61.25 },
    ];
    let failed = &mut report.checks[2];
    failed.check = "frontend-2 reads nothing of what is another's, whatever way it takes".into();
    failed.send = "GET /profiles/../balances/balance_1?and=more&of=what".into();
    failed.reason = format!("expected 403, saw 200 with \"{}\"\nhint: look", "0123456789 ".repeat(20));
    failed.hop = walk(&[Found::broken(
        Hop::Selectors,
        "endpoint backend",
        "pod backend-7: the pod has app=front, the entry selects app=frontend; and some words more",
        "each selector of an entry must hold for the pod",
    )]);
    report.checks[1].finding =
        Some("something that surprises whoever reads it, and wants a line of its own".into());
    report.with_tests(vec![ChartTest {
        scenario: "symbank".into(),
        stage: "profiles-only".into(),
        check: "helm test of default/jobs".into(),
        verdict: Verdict::Failed,
        reason: "Error: pod smoke failed".into(),
        log: "  one line\n".into(),
        milliseconds: 1500.0,
    }])
}

/// Many cells of one check, after another's.
fn many(cells: usize, verdict: Verdict) -> Report {
    let mut report = report();
    report.checks.truncate(1);
    for number in 0..cells {
        let mut row = report.checks[0].clone();
        (row.check, row.send, row.verdict) = ("a surface".into(), format!("GET /{number}"), verdict);
        report.checks.push(row);
    }
    report.with_tests(vec![])
}

#[test]
fn a_stage_is_a_line_and_what_did_not_pass_stands_under_it() {
    insta::assert_snapshot!(told(&report(), false), @r##"
    ✓ symbank · both-frontends  2 passed

    ✗ symbank · profiles-only   1 failed · 1 errored · 1 skipped
      ✗ frontend-2 reads nothing    frontend-2 -> backend  GET /balances/balance_1  200        1.3 ms
          failed: expected 403, saw 200 with "{}"
      ! frontend reads its profile  frontend -> backend    GET /balances/balance_1  timed out  1.3 ms
          errored: neither an answer nor a refusal: timed out: 10 s
      - frontend does not post      frontend -> backend    GET /balances/balance_1  nothing
          skipped: not asked for

    2 passed · 0 recorded · 1 failed · 1 errored · 1 skipped   12.3 s
    "##);
}

#[test]
fn every_cell_is_listed_where_it_is_asked_for() {
    insta::assert_snapshot!(told(&report(), true), @r##"
    ✓ symbank · both-frontends  2 passed
      ✓ frontend reads its balance  frontend -> backend    GET /balances/balance_1  200                             1.3 ms
      ✓ nobody is refused           nobody -> backend      GET /balances/balance_1  alert 116 certificate_required  1.3 ms

    ✗ symbank · profiles-only   1 failed · 1 errored · 1 skipped
      ✗ frontend-2 reads nothing    frontend-2 -> backend  GET /balances/balance_1  200                             1.3 ms
          failed: expected 403, saw 200 with "{}"
      ! frontend reads its profile  frontend -> backend    GET /balances/balance_1  timed out                       1.3 ms
          errored: neither an answer nor a refusal: timed out: 10 s
      - frontend does not post      frontend -> backend    GET /balances/balance_1  nothing
          skipped: not asked for

    2 passed · 0 recorded · 1 failed · 1 errored · 1 skipped   12.3 s
    "##);
}

#[test]
fn what_explains_a_failure_is_wrapped_and_not_cut() {
    let report = long();
    insta::assert_snapshot!(plain(&at(&report, terminal(80), false)), @r##"
    ✓ symbank · both-frontends  2 passed                           2.0 s

    ✗ symbank · profiles-only   2 failed · 1 errored · 1 skipped  61.2 s
      ✗ frontend-2 reads nothing of what is another's, what…  frontend-2 -> backend
          GET /profiles/../balances/balance_1?and…  200  1.3 ms
          failed: expected 403, saw 200 with "0123456789 0123456789 0123456789
            0123456789 0123456789 0123456789 0123456789 0123456789 0123456789
            0123456789 0123456789 0123456789 0123456789 0123456789 0123456789
            0123456789 0123456789 0123456789 0123456789 0123456789 "
          hint: look
          hop: selectors of endpoint backend: pod backend-7: the pod has app=front,
            the entry selects app=frontend; and some words more
          hint: each selector of an entry must hold for the pod
      ! frontend reads its profile  frontend -> backend  GET /balances/balance_1
          timed out  1.3 ms
          errored: neither an answer nor a refusal: timed out: 10 s
      - frontend does not post  frontend -> backend  GET /balances/balance_1
          nothing
          skipped: not asked for
      ✗ helm test of default/jobs    1.5 s
          failed: Error: pod smoke failed
          | one line

    finding, 1 cell: something that surprises whoever reads it, and wants a line of
          its own

    2 passed · 0 recorded · 2 failed · 1 errored · 1 skipped · 1 finding   12.3 s
    "##);
    let all = |text: &str| text.split_whitespace().collect::<String>();
    // In a file, columns stand below each other; their words are the same.
    assert_eq!(all(&plain(&at(&report, terminal(80), false))), all(&told(&report, false)));
}

#[rstest]
#[case(40)]
#[case(80)]
#[case(140)]
fn no_line_is_wider_than_the_terminal(#[case] columns: usize) {
    for report in [long(), many(30, Verdict::Recorded), many(5, Verdict::Skipped)] {
        for every in [false, true] {
            let told = at(&report, terminal(columns), every);
            let wide: Vec<_> = told.lines().filter(|line| width(line) > columns).collect();
            assert!(wide.is_empty(), "{wide:#?}");
        }
    }
}

proptest! {
    /// Whatever the names are, and however wide their characters.
    #[test]
    fn names_of_any_script_fit(name in "[a-z一é ]{1,90}", columns in 40..200_usize) {
        let mut report = long();
        for row in &mut report.checks {
            row.check.clone_from(&name);
            row.scenario.clone_from(&name);
            row.send.clone_from(&name);
        }
        for every in [false, true] {
            let told = at(&report, terminal(columns), every);
            prop_assert!(told.lines().all(|line| width(line) <= columns), "{told}");
        }
    }
}

#[test]
fn a_check_of_many_cells_takes_a_line_only_where_all_are_well() {
    let lines = |report: &Report, every| told(report, every).matches("a surface").count();
    assert_eq!(
        (lines(&many(30, Verdict::Recorded), true), lines(&many(30, Verdict::Recorded), false)),
        (1, 0)
    );
    assert_eq!(lines(&many(8, Verdict::Recorded), true), 8);
    assert_eq!(lines(&many(30, Verdict::Failed), false), 30);
    let told = told(&many(30, Verdict::Recorded), false);
    assert!(told.starts_with("✓ symbank · both-frontends  1 passed · 30 recorded\n"), "{told}");
}

#[test]
fn the_last_lines_say_how_it_came_out() {
    let report = long();
    let change = |danger, words: &str| Change {
        danger,
        scenario: "symbank".into(),
        stage: "profiles-only".into(),
        words: words.into(),
    };
    let changed = [
        change(Danger::Opened, "frontend-2 can now GET / at backend (was: 403)"),
        change(Danger::Closed, "frontend can no longer GET / at backend: 403 (was: 200)"),
    ];
    let elapsed = Duration::from_millis(12_340);
    let page = Some(Path::new(".svidproof/report.html"));
    let last = Closing { changed: Some(&changed), unseen: 1, new: 2, page, elapsed };
    insta::assert_snapshot!(closing(&report, last, NOBODY).trim_start(), @r##"
    finding, 1 cell: something that surprises whoever reads it, and wants a line of its own

    opened up: 1
      symbank · profiles-only
        frontend-2 can now GET / at backend (was: 403)

    closed: 1
      symbank · profiles-only
        frontend can no longer GET / at backend: 403 (was: 200)

    2 passed · 0 recorded · 2 failed · 1 errored · 1 skipped · 1 finding   12.3 s
    changes against the surface that is kept: 1 opened up, 1 closed, but for 1 cell not observed
    2 recorded cells are compared with nothing: `svidproof test --accept` keeps what they got
    page: .svidproof/report.html
    "##);
    let last = Closing { changed: Some(&[]), elapsed, ..Closing::default() };
    let told = closing(&report, last, NOBODY);
    assert!(told.ends_with("   12.3 s\nchanges against the surface that is kept: none\n"), "{told}");
    let last = Closing { new: 1, page, elapsed, ..Closing::default() };
    let told = closing(&report, last, NOBODY);
    assert!(!told.contains("changes"), "{told}");
    assert!(told.contains("\n1 recorded cell is compared with nothing: "), "{told}");
}

#[test]
fn findings_and_recorded_cells_are_counted_apart() {
    let mut report = report();
    report.checks[0].finding = Some("a path leads around the policy".into());
    report.checks[2].finding = report.checks[0].finding.clone();
    report.totals.passed = 1;
    report.totals.recorded = 1;
    let table = told(&report, false);
    let (_, end) = table.split_once("finding, ").unwrap();
    assert_eq!(
        end,
        "2 cells: a path leads around the policy\n\n\
         1 passed · 1 recorded · 1 failed · 1 errored · 1 skipped · 2 findings   12.3 s\n"
    );
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let coloured = at(&report(), Reader { colour: true, columns: None }, true);
    assert_eq!(plain(&coloured), told(&report(), true));
    assert_ne!(coloured, told(&report(), true));
}
