//! What nights say together, each in a few rows.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::sys::mutated::mutated;

/// A row of report.json: `check`, its client, verdict and what it got, at `web · open`.
fn row(check: &str, client: &str, verdict: &str, got: &str) -> Value {
    json!({
        "scenario": "web", "stage": "open", "check": check, "as": client, "to": "edge", "request": "GET /",
        "got": got, "verdict": verdict, "reason": if verdict == "passed" { "" } else { "because" },
    })
}

fn report(day: u8, rows: &[Value]) -> Value {
    json!({
        "svidproof": "0.1.0", "run": format!("r{day}"), "provider": "kind", "images": "packages",
        "versions": {"kubernetes": "1.36.3", "spire": "1.15.3", "envoy": "1.40.0"},
        "started": format!("2026-03-{day:02}T02:00:00Z"),
        "phases": [{"name": "images", "started": 0.5, "seconds": day}],
        "checks": rows, "totals": {},
    })
}

fn nights(reports: &[Value]) -> Nights {
    let mut nights = Nights::default();
    for (index, report) in reports.iter().enumerate() {
        nights.add(&format!("{index}/report.json"), report.to_string().as_bytes());
    }
    assert_eq!(nights.unreadable, []);
    nights
}

const REFUSED: &str = "alert 46 certificate_unknown";

/// Of `friend` in consecutive nights: verdict and what it got; none where the night lacks the check.
fn friends(nights: &[Option<(&str, &str)>]) -> Vec<Value> {
    let other = row("nobody is refused", "nobody", "passed", REFUSED);
    let rows = |night: &Option<(&str, &str)>| match night {
        Some((verdict, got)) => vec![row("a check", "friend", verdict, got), other.clone()],
        None => vec![other.clone()],
    };
    (1..).zip(nights).map(|(day, night)| report(day, &rows(night))).collect()
}

#[test]
fn a_row_a_check_and_a_column_a_run_by_when_it_began() {
    let reports = [
        report(2, &[row("a", "x", "passed", "200"), row("a", "y", "failed", "200")]),
        report(1, &[row("b", "x", "skipped", "not observed")]),
    ];
    let nights = nights(&reports);
    let history = History::of(&nights);
    assert_eq!(history.runs.iter().map(|run| run.run).collect::<Vec<_>>(), ["r1", "r2"]);
    let checks = serde_json::to_value(&history.checks).unwrap();
    let expected = json!([
        {"scenario": "web", "stage": "open", "check": "b",
            "runs": [{"verdicts": {"skipped": 1}, "why": "because"}, null], "gone": [0]},
        {"scenario": "web", "stage": "open", "check": "a",
            "runs": [null, {"verdicts": {"passed": 1, "failed": 1}, "why": "because"}]},
    ]);
    assert_eq!(checks, expected);
}

/// A scenario's rows stand together, also where a stage came later.
#[test]
fn rows_are_by_scenario_and_stage() {
    let of = |scenario: &str, stage: &str| {
        let mut row = row("a", "x", "passed", "200");
        row["scenario"] = scenario.into();
        row["stage"] = stage.into();
        row
    };
    let reports = [report(1, &[of("b", "1"), of("a", "1")]), report(2, &[of("b", "2"), of("b", "1")])];
    let nights = nights(&reports);
    let history = History::of(&nights);
    let rows: Vec<_> = history.checks.iter().map(|check| (check.scenario, check.stage)).collect();
    assert_eq!(rows, [("b", "1"), ("b", "2"), ("a", "1")]);
}

/// What `friend` came to from night to night, and what opened or closed by that, and when.
#[rstest]
#[case::the_same(&[Some(("passed", REFUSED)), Some(("passed", REFUSED))], &[])]
#[case::it_opened(&[Some(("passed", REFUSED)), Some(("failed", "200 no body"))], &[(1, Danger::Opened)])]
#[case::it_closed(&[Some(("passed", "200 no body")), Some(("failed", REFUSED))], &[(1, Danger::Closed)])]
#[case::nobody_could_look_meanwhile(
    &[Some(("passed", REFUSED)), Some(("errored", "it could not be asked for")), Some(("failed", "200 no body"))],
    &[(2, Danger::Opened)]
)]
#[case::it_was_not_dialled_meanwhile(
    &[Some(("passed", REFUSED)), Some(("skipped", "not observed")), Some(("passed", REFUSED))], &[]
)]
#[case::it_was_gone_meanwhile(
    &[Some(("passed", REFUSED)), None, None, Some(("failed", "200 no body"))],
    &[(1, Danger::Gone), (3, Danger::Opened)]
)]
#[case::it_was_gone_and_is_as_before(
    &[Some(("passed", REFUSED)), None, Some(("passed", REFUSED))], &[(1, Danger::Gone)]
)]
#[case::it_is_new(&[None, Some(("passed", REFUSED))], &[(1, Danger::New)])]
fn what_opened_and_closed_is_told_with_its_run(
    #[case] seen: &[Option<(&str, &str)>],
    #[case] expected: &[(usize, Danger)],
) {
    let nights = nights(&friends(seen));
    let changes = History::of(&nights).changes;
    let found: Vec<_> = changes.iter().map(|change| (change.run, change.danger)).collect();
    assert_eq!(found, expected, "{changes:?}");
    assert!(changes.iter().all(|change| change.worse == change.danger.is_worse()));
}

/// It may yet be as it was: nobody knows.
#[test]
fn what_a_run_that_ended_early_lacks_has_not_changed_and_is_gone_all_the_same() {
    let mut reports = friends(&[Some(("passed", REFUSED)), None]);
    reports[1]["errors"] = json!(["the API server went away"]);
    let nights = nights(&reports);
    let history = History::of(&nights);
    assert_eq!(history.changes, []);
    let expected = Coming {
        run: 1,
        what: What::Gone,
        scenario: "web",
        stage: "open",
        checks: vec!["a check"],
        ended_early: true,
    };
    assert_eq!(history.comings, [expected]);
    assert_eq!(history.runs[1].errors, ["the API server went away"]);
}

#[test]
fn a_run_without_any_check_has_lost_them_all() {
    let reports = [report(1, &[row("a", "x", "passed", "200")]), report(2, &[])];
    let nights = nights(&reports);
    let history = History::of(&nights);
    assert_eq!((history.comings.len(), history.comings[0].what), (1, What::Gone));
    assert_eq!(history.checks[0].gone, [0]);
}

/// Where a request is made twice, the open outcome stands, whichever comes first.
#[rstest]
#[case(REFUSED, "200 no body")]
#[case("200 no body", REFUSED)]
fn what_got_through_once_got_through(#[case] first: &str, #[case] second: &str) {
    let rows = [row("a", "x", "failed", first), row("b", "x", "failed", second)];
    let reports = [report(1, &[row("a", "x", "passed", REFUSED)]), report(2, &rows)];
    let nights = nights(&reports);
    let changes = History::of(&nights).changes;
    assert_eq!(changes.iter().map(|change| change.danger).collect::<Vec<_>>(), [Danger::Opened]);
}

#[test]
fn checks_come_and_go_by_their_stage() {
    let nights = nights(&friends(&[Some(("passed", "200")), None, Some(("passed", "200"))]));
    let history = History::of(&nights);
    let comings: Vec<_> = history.comings.iter().map(|one| (one.run, one.what, one.checks.clone())).collect();
    assert_eq!(comings, [(1, What::Gone, vec!["a check"]), (2, What::Back, vec!["a check"])]);
    assert!(history.checks.iter().all(|check| check.gone.is_empty()), "it is there again");
}

/// The verdicts of two nights, and how many flakes that makes.
#[rstest]
#[case("errored", "passed", 1)]
#[case("errored", "failed", 1)]
#[case("errored", "recorded", 1)]
#[case("errored", "client_side", 1)]
#[case("errored", "errored", 0)]
#[case("errored", "skipped", 0)]
#[case("errored", "perhaps", 0)]
#[case("failed", "passed", 0)]
#[case("passed", "errored", 0)]
#[case("passed", "flaky", 1)]
fn a_flake_errored_once_and_was_judged_then(#[case] first: &str, #[case] then: &str, #[case] flakes: usize) {
    let nights = nights(&friends(&[Some((first, REFUSED)), Some((then, REFUSED))]));
    let found = History::of(&nights).flakes;
    assert_eq!(found.len(), flakes, "{found:?}");
    if then == "flaky" {
        assert_eq!((found[0].run, found[0].judged), (1, 1));
    } else if flakes == 1 {
        assert_eq!((found[0].run, found[0].judged, found[0].cells, found[0].why), (0, 1, 1, "because"));
    }
}

/// What changed may have mended it.
#[rstest]
#[case("svidproof", json!("0.2.0"))]
#[case("images", json!("upstream"))]
#[case("versions", json!({"kubernetes": "1.36.3", "spire": "1.15.3", "envoy": "1.40.0", "helm": "4.3.1"}))]
#[case("versions", json!({"kubernetes": "1.36.3", "spire": "1.15.3", "envoy": "1.40.1"}))]
#[case("provider", json!("gke"))]
fn what_else_changed_makes_no_flake(#[case] key: &str, #[case] value: Value) {
    let mut reports = friends(&[Some(("errored", REFUSED)), Some(("passed", REFUSED))]);
    reports[1][key] = value;
    let nights = nights(&reports);
    assert_eq!(History::of(&nights).flakes, []);
}

/// Two Envoys, night by night in turn: each is held against its own last night.
#[test]
fn a_leg_is_held_against_itself() {
    let opened = Some(("failed", "200 no body"));
    let closed = Some(("passed", REFUSED));
    let mut reports = friends(&[closed, opened, closed, opened, opened]);
    for odd in [1, 3] {
        reports[odd]["versions"]["envoy"] = "1.39.0".into();
    }
    let nights = nights(&reports);
    let history = History::of(&nights);
    let envoys: Vec<_> = history.legs.iter().map(|leg| leg.envoy).collect();
    assert_eq!(envoys, ["1.39.0", "1.40.0"]);
    assert_eq!(history.runs.iter().map(|run| run.leg).collect::<Vec<_>>(), [1, 0, 1, 0, 1]);
    let against: Vec<_> = history.runs.iter().map(|run| run.against).collect();
    assert_eq!(against, [None, Some(0), Some(0), Some(1), Some(2)]);
    // The other Envoy's first night shows what it opens; its second is as the first.
    let found: Vec<_> = history.changes.iter().map(|change| (change.run, change.danger)).collect();
    assert_eq!(found, [(1, Danger::Opened), (4, Danger::Opened)]);
}

/// A new leg is held against what ran before it on the same provider, however near another is.
#[test]
fn a_new_leg_is_held_against_its_own_provider() {
    let mut reports = friends(&[None, None, None, None]);
    reports[1]["provider"] = "gke".into();
    reports[2]["versions"]["envoy"] = "1.41.0".into();
    reports[3]["provider"] = "existing".into();
    let nights = nights(&reports);
    let against: Vec<_> = History::of(&nights).runs.iter().map(|run| run.against).collect();
    assert_eq!(against, [None, Some(0), Some(0), Some(2)]);
}

/// A new version of something must not make a lost check look as if it never was.
#[test]
fn what_a_new_leg_lacks_is_gone() {
    let mut reports = friends(&[Some(("passed", REFUSED)), None]);
    reports[1]["versions"]["spire"] = "1.15.4".into();
    let nights = nights(&reports);
    let history = History::of(&nights);
    assert_eq!((history.comings[0].run, history.comings[0].what), (1, What::Gone));
    let gone: Vec<_> = history.checks.iter().map(|check| (check.check, check.gone.clone())).collect();
    assert_eq!(gone, [("a check", vec![1]), ("nobody is refused", vec![])]);
}

#[test]
fn times_by_phase_have_a_median_of_those_that_there_are() {
    let mut reports: Vec<_> = (1..=4).map(|day| report(day, &[])).collect();
    reports[3]["phases"] = json!([
        {"name": "other", "seconds": 1.0}, {"name": "images", "seconds": 5}, {"name": "images", "seconds": 2},
    ]);
    reports[0].as_object_mut().unwrap().remove("phases");
    let nights = nights(&reports);
    let phases = serde_json::to_value(History::of(&nights).phases).unwrap();
    let expected = json!([
        {"name": "images", "median": 3.0, "seconds": [null, 2.0, 3.0, 7.0]},
        {"name": "other", "median": 1.0, "seconds": [null, null, null, 1.0]},
    ]);
    assert_eq!(phases, expected);
    assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
}

/// Of another version: less than there is now, and more.
#[test]
fn a_report_of_another_version_is_read_as_far_as_it_goes() {
    let old = json!({
        "started": "2026-03-01T02:00:00Z", "later": {"key": [1]},
        "checks": [{"scenario": "web", "stage": "open", "check": "a", "verdict": "perhaps", "other": null}],
        "helm_tests": [{"scenario": "web", "stage": "open", "check": "helm test", "verdict": "failed", "log": ""}],
    });
    let reports = [old, report(2, &[row("a", "x", "passed", "200 no body")])];
    let nights = nights(&reports);
    let history = History::of(&nights);
    let totals = serde_json::to_value(&history.runs[0].totals).unwrap();
    assert_eq!(totals, json!({"perhaps": 1, "failed": 1}));
    assert_eq!(history.legs[0], Leg { provider: "", kubernetes: "", spire: "", envoy: "" });
    assert_eq!(history.changes, [], "it has no surface to be held against");
    assert_eq!(history.comings.len(), 1, "the Helm test is gone: {:?}", history.comings);
}

#[rstest]
#[case::nothing("", "it is cut off: it ends in line 1")]
#[case::cut_off(
    "{\"started\": \"2026-03-01T02:00:00Z\",\n \"checks\": [{\"sce",
    "it is cut off: it ends in line 2"
)]
#[case::other_text("<html>", "it is no JSON: expected value at line 1")]
#[case::two_in_one(
    "{\"started\": \"2026-03-01T02:00:00Z\", \"checks\": []}{}",
    "it is no JSON: trailing characters"
)]
#[case::another_file(
    "{\"tests\": []}",
    "it is no report.json that can be read here: missing field `started`"
)]
#[case::without_a_time("{\"checks\": []}", "missing field `started`")]
#[case::without_checks("{\"started\": \"2026-03-01T02:00:00Z\"}", "missing field `checks`")]
#[case::without_a_verdict(
    "{\"started\": \"2026-03-01T02:00:00Z\", \"checks\": [{\"scenario\": \"a\", \"stage\": \"b\", \"check\": \"c\"}]}",
    "missing field `verdict`"
)]
fn what_is_no_report_is_named_with_the_reason(#[case] text: &str, #[case] why: &str) {
    let mut nights = Nights::default();
    nights.add("night/report.json", text.as_bytes());
    nights.add("whole/report.json", report(1, &[]).to_string().as_bytes());
    let history = History::of(&nights);
    assert_eq!(history.runs.len(), 1);
    let [unreadable] = history.unreadable else { panic!("{:?}", history.unreadable) };
    assert_eq!(unreadable.file, "night/report.json");
    assert!(unreadable.why.contains(why), "{}", unreadable.why);
}

#[test]
fn what_is_no_text_is_named_too() {
    let mut nights = Nights::default();
    nights.add("report.json", b"{\"\xff");
    assert_eq!(nights.unreadable[0].why, "it is no text in UTF-8 from its byte 2 on");
}

#[test]
fn the_same_report_twice_counts_once() {
    let one = report(1, &[row("a", "x", "passed", "200")]);
    let mut other = one.clone();
    other["checks"][0]["verdict"] = "failed".into();
    let nights = nights(&[one.clone(), one, other]);
    let history = History::of(&nights);
    let files: Vec<_> = history.runs.iter().map(|run| (run.file, run.copies.to_vec())).collect();
    let expected = [("0/report.json", vec!["1/report.json".to_owned()]), ("2/report.json", vec![])];
    assert_eq!(files, expected);
}

#[test]
fn a_long_reason_is_cut() {
    let mut long = row("a", "x", "failed", "200");
    long["reason"] = "ü".repeat(1000).into();
    let nights = nights(&[report(1, &[long])]);
    let history = History::of(&nights);
    assert_eq!(history.checks[0].runs[0].as_ref().unwrap().why, "ü".repeat(200));
}

/// A row a combination, of its newest report alone.
#[test]
fn the_table_tells_of_the_newest_report_of_each_combination() {
    let mut other = row("b", "x", "client_side", "200");
    other["scenario"] = "ed|ge".into();
    let of = |day, envoy: &str, rows: &[Value]| {
        let mut report = report(day, rows);
        report["versions"]["envoy"] = envoy.into();
        report
    };
    let passed = row("a", "x", "passed", "200");
    let odd = row("a", "x", "<perhaps>", "200");
    let mut ended = of(4, "1.9.0", std::slice::from_ref(&passed));
    ended["errors"] = json!(["it went away"]);
    let mut bare = report(5, &[odd, passed.clone(), row("c", "x", "errored", "")]);
    bare["versions"] = json!({});
    bare["provider"] = "existing".into();
    let reports = [
        of(1, "1.9.0", &[other.clone()]),
        of(2, "1.40.0", &[passed.clone(), row("c", "x", "failed", "200"), passed.clone()]),
        of(3, "1.40.0", &[other, passed]),
        ended,
        bare,
    ];
    let nights = nights(&reports);
    insta::assert_snapshot!(table(&History::of(&nights)), @r"
    | provider | Kubernetes | SPIRE | Envoy | ed\|ge | web | run |
    | --- | --- | --- | --- | --- | --- | --- |
    | existing | not told | not told | not told | not run | 1 &lt;perhaps>, 1 errored, 1 passed | 2026-03-05, svidproof 0.1.0 |
    | kind | 1.36.3 | 1.15.3 | 1.40.0 | 1 client side only | 1 passed | 2026-03-03, svidproof 0.1.0 |
    | kind | 1.36.3 | 1.15.3 | 1.9.0 | not run | 1 passed | 2026-03-04, svidproof 0.1.0, ended early |
    ");
}

#[test]
fn the_json_is_as_its_schema_says() {
    let mut reports = friends(&[Some(("errored", REFUSED)), None, Some(("flaky", "200 no body"))]);
    reports[1]["errors"] = json!(["it went away"]);
    let mut nights = nights(&reports);
    nights.unreadable("x/report.json", "it is no file");
    let json: Value = serde_json::from_str(&History::of(&nights).to_json()).unwrap();
    let schema = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::draft202012::options().build(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new());
    for wrong in ["/runs/0/leg", "/checks/0/runs/0/verdicts", "/changes/0/danger"] {
        let mut json = json.clone();
        *json.pointer_mut(wrong).unwrap_or_else(|| panic!("{wrong} is not there")) = "perhaps".into();
        assert!(!validator.is_valid(&json), "{wrong} may be anything");
    }
}

#[test]
fn no_text_leaves_the_pages_data() {
    let awkward = "</script><script>window.broken = true</script><!-- @DATA@";
    let nights = nights(&[report(1, &[row(awkward, awkward, awkward, awkward)])]);
    let history = History::of(&nights);
    let json = history.to_json();
    let page = page(&history, &json);
    assert_eq!(page.matches("</script>").count(), 2, "the data and the script");
    let data = page.split_once("id=\"history\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(data).unwrap(), serde_json::from_str::<Value>(&json).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// A report that somebody edited, that was cut off or is something else: it is in the history, or it is
    /// named.
    #[test]
    fn whatever_a_report_holds_is_read_or_named(
        edited in mutated(report(1, &[row("a check", "friend", "failed", REFUSED)]).to_string()),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut nights = Nights::default();
        nights.add("1/report.json", report(2, &[row("a check", "friend", "passed", "200")]).to_string().as_bytes());
        nights.add("2/report.json", edited.as_bytes());
        nights.add("3/report.json", &bytes);
        prop_assert_eq!(nights.count(), 3);
        prop_assert!(nights.unreadable.iter().all(|one| !one.why.is_empty()), "{:?}", nights.unreadable);
        let history = History::of(&nights);
        let json = history.to_json();
        prop_assert!(!page(&history, &json).is_empty() && !table(&history).is_empty());
    }
}
