//! The compatibility table: what the newest report of each combination of versions came to, for a page in
//! Markdown.

use std::cmp::Reverse;

use super::{Counts, History, Leg, Run};

const FIXED: [&str; 4] = ["provider", "Kubernetes", "SPIRE", "Envoy"];

/// The verdicts, as they stand in a cell: the worst first.
const ORDER: [&str; 7] = ["failed", "errored", "flaky", "skipped", "client_side", "passed", "recorded"];

/// A row a combination, the newest versions first, and a column a scenario. A scenario that the newest report
/// lacks has not run, whatever an older one says of it.
pub fn table(history: &History) -> String {
    let newest = |leg: usize| history.runs.iter().rposition(|run| run.leg == leg);
    let legs = history.legs.iter().enumerate();
    let mut rows: Vec<_> = legs.filter_map(|(index, leg)| Some((leg, newest(index)?))).collect();
    rows.sort_by_key(|(leg, _)| {
        (leg.provider, [leg.kubernetes, leg.spire, leg.envoy].map(|version| Reverse(numbers(version))))
    });
    let scenarios = scenarios(history, rows.iter().map(|(_, run)| *run));
    let heads = FIXED.into_iter().chain(scenarios.iter().copied()).chain(["run"]).map(escaped);
    let heads: Vec<_> = heads.collect();
    let mut text = line(&heads) + &line(&vec!["---".to_owned(); heads.len()]);
    for (leg, index) in rows {
        let run = &history.runs[index];
        let results = scenarios.iter().map(|scenario| result(history, scenario, index));
        text += &line(&versions(leg).into_iter().chain(results).chain([date(run)]).collect::<Vec<_>>());
    }
    text
}

fn scenarios<'a>(history: &History<'a>, runs: impl Iterator<Item = usize>) -> Vec<&'a str> {
    let runs: Vec<_> = runs.collect();
    let mut scenarios: Vec<&str> = vec![];
    for check in &history.checks {
        let is_run = runs.iter().any(|run| check.runs[*run].is_some());
        if is_run && !scenarios.contains(&check.scenario) {
            scenarios.push(check.scenario);
        }
    }
    scenarios
}

fn versions(leg: &Leg) -> [String; 4] {
    let told = |text: &str| if text.is_empty() { "not told".into() } else { escaped(text) };
    [leg.provider, leg.kubernetes, leg.spire, leg.envoy].map(told)
}

fn result(history: &History, scenario: &str, run: usize) -> String {
    let mut counts = Counts::default();
    for check in history.checks.iter().filter(|check| check.scenario == scenario) {
        for (verdict, count) in check.runs[run].iter().flat_map(|cells| &cells.verdicts.0) {
            match counts.0.iter_mut().find(|(known, _)| known == verdict) {
                Some((_, all)) => *all += count,
                None => counts.0.push((verdict, *count)),
            }
        }
    }
    if counts.0.is_empty() {
        return "not run".into();
    }
    // One that is not known here may be anything: it stands before all others.
    counts
        .0
        .sort_by_key(|(verdict, _)| ORDER.iter().position(|known| known == verdict).map_or(0, |at| at + 1));
    let counts = counts.0.iter().map(|(verdict, count)| format!("{count} {}", escaped(&spoken(verdict))));
    counts.collect::<Vec<_>>().join(", ")
}

/// As the console says it.
fn spoken(verdict: &str) -> String {
    if verdict == "client_side" { "client side only".into() } else { verdict.replace('_', " ") }
}

fn date(run: &Run) -> String {
    let day = run.started.strftime("%Y-%m-%d");
    let ended = if run.errors.is_empty() { "" } else { ", ended early" };
    format!("{day}, svidproof {}{ended}", escaped(run.svidproof))
}

/// `1.10.2` is newer than `1.9`.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text and nothing else, on one line: a report may come from anywhere.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '#' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}
