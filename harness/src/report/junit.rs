//! The report for CI systems: JUnit's XML. A scenario is a suite and a cell is a case, named `stage.check`,
//! so that the cases add up to the report's totals. What JUnit has no place for (control, evidence) stands in
//! the text of the case that it explains.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::{Report, Row};
use crate::proof::chart_test::ChartTest;
use crate::proof::verdict::Verdict;
use crate::scenario::Counted;

/// The file's text.
pub fn text(report: &Report) -> String {
    let mut file = quick_junit::Report::new("svidproof");
    let mut scenarios: Vec<&str> = vec![];
    for row in &report.checks {
        if !scenarios.contains(&row.scenario.as_str()) {
            scenarios.push(&row.scenario);
        }
    }
    file.add_test_suites(scenarios.into_iter().map(|scenario| suite(report, scenario)));
    if !report.errors.is_empty() {
        file.add_test_suite(unfinished(report));
    }
    file.timestamp = report.started.to_string().parse().ok();
    file.set_time(file.test_suites.iter().filter_map(|suite| suite.time).sum());
    // What cannot stand in XML was taken out on the way in: nothing is left that can fail.
    file.to_string().unwrap_or_default()
}

fn suite(report: &Report, scenario: &str) -> TestSuite {
    let rows: Vec<_> = report.checks.iter().filter(|row| row.scenario == scenario).collect();
    let mut suite = TestSuite::new(scenario);
    suite.timestamp = report.started.to_string().parse().ok();
    suite.set_time(rows.iter().filter_map(|row| time(row)).sum());
    let about = [
        ("svidproof", report.svidproof),
        ("run", &report.run),
        ("provider", &report.provider),
        ("images", &report.images),
    ];
    suite.add_properties(about);
    suite.add_properties(
        report
            .versions
            .iter()
            .map(|(part, version)| Property::new(format!("version.{part}"), version.as_str())),
    );
    suite.add_test_cases(rows.iter().map(|row| case(row, &rows)));
    let tests = report.helm_tests.iter().filter(|test| test.scenario == scenario);
    suite.add_test_cases(tests.map(chart_test));
    suite
}

/// The tests of a chart are one case: Helm tells of all of them together.
fn chart_test(test: &ChartTest) -> TestCase {
    let kind = match test.verdict {
        Verdict::Failed => Some(NonSuccessKind::Failure),
        Verdict::Errored | Verdict::Flaky => Some(NonSuccessKind::Error),
        Verdict::Passed | Verdict::ClientSide | Verdict::Recorded | Verdict::Skipped => None,
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(first_line(&test.reason)).set_type("helm test");
        status.set_description(format!("{}\n{}", test.reason, test.log));
        status
    });
    let mut case = TestCase::new(format!("{}.{}", test.stage, test.check), status);
    case.set_classname(test.scenario.as_str());
    case.time = Duration::try_from_secs_f64(test.milliseconds / 1e3).ok();
    case
}

/// A CI system shows cases alone: what kept the rest of them from being made is one too.
fn unfinished(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("svidproof");
    suite.add_test_cases(report.errors.iter().map(|error| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(first_line(error)).set_description(error.as_str());
        let mut case = TestCase::new("every cell is judged", status);
        case.set_classname("svidproof");
        case
    }));
    suite
}

fn case(row: &Row, rows: &[&Row]) -> TestCase {
    let status = match row.verdict {
        Verdict::Passed | Verdict::ClientSide | Verdict::Recorded => TestCaseStatus::success(),
        Verdict::Failed => explained(TestCaseStatus::non_success(NonSuccessKind::Failure), row),
        Verdict::Errored | Verdict::Flaky => {
            explained(TestCaseStatus::non_success(NonSuccessKind::Error), row)
        }
        Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(first_line(&row.reason));
            status
        }
    };
    let mut case = TestCase::new(name(row, rows), status);
    case.set_classname(row.scenario.as_str());
    case.time = time(row);
    match row.verdict {
        Verdict::Recorded => drop(case.add_property(("verdict", "recorded"))),
        Verdict::ClientSide => drop(case.add_property(("verdict", "client_side"))),
        Verdict::Flaky => drop(case.add_property(("verdict", "flaky"))),
        Verdict::Passed | Verdict::Failed | Verdict::Errored | Verdict::Skipped => {}
    }
    if let Some(finding) = &row.finding {
        case.add_property(("finding", finding.as_str()));
    }
    case
}

/// `stage.check`, and which cell of it where the check has several.
fn name(row: &Row, rows: &[&Row]) -> String {
    let cells = rows.iter().filter(|one| (&one.stage, &one.check) == (&row.stage, &row.check)).count();
    let cell = if cells > 1 { format!(" [{} {}]", row.client, row.send) } else { String::new() };
    format!("{}.{}{cell}", row.stage, row.check)
}

fn explained(mut status: TestCaseStatus, row: &Row) -> TestCaseStatus {
    let seen = row.observed.as_ref().map_or("nothing", |observed| observed.words.as_str());
    status.set_message(first_line(&row.reason)).set_type(seen).set_description(account(row, seen));
    status
}

/// All that is known of a cell, for one who has nothing but the CI system's page.
fn account(row: &Row, seen: &str) -> String {
    let mut lines = vec![
        row.reason.clone(),
        format!("{} -> {}: {}", row.client, row.to, row.send),
        format!("expected: {}", json(&row.expected)),
        format!("seen: {seen}"),
    ];
    lines.extend(row.hop.iter().map(ToString::to_string));
    lines.extend(row.control.iter().map(|control| {
        format!("control: {} ({})", control.check, if control.held { "held" } else { "did not hold" })
    }));
    for account in &row.evidence {
        let counted = account.counted.map_or_else(|| "what is not known".into(), |counted| events(&counted));
        let reached = account.reached.map_or("unknown", |reached| if reached { "yes" } else { "no" });
        let tallied = events(&account.tallied);
        lines.push(format!(
            "{}: Envoy counted {counted}, the clients saw {tallied}, reached the application: {reached}",
            account.endpoint
        ));
    }
    lines.join("\n")
}

/// What there was none of is left out.
fn events(counted: &Counted) -> String {
    let counted = serde_json::to_value(counted).unwrap_or_default();
    let kinds = counted.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0));
    let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") }
}

fn json(value: &impl serde::Serialize) -> String {
    // Only called on parts of a report, which can be written.
    serde_json::to_string(value).unwrap_or_default()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn time(row: &Row) -> Option<Duration> {
    row.milliseconds.and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1e3).ok())
}
