//! The report for a person: a line a cell, reasons under what did not pass, one line of totals. Readable
//! without colour too.
//!
//! A check of many cells that all are as they should be takes one line, and a reason that several cells
//! share stands once: the other reports have them all.

use std::fmt::Write;
use std::time::Duration;

use super::{Report, Row};
use crate::proof::verdict::{Totals, Verdict};
use crate::sys::{in_a_line, printable};

/// Longer cells of a column are cut, so that one of them does not push all the rest to the right.
const WIDEST: [usize; 5] = [52, 34, 40, 32, 9];

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// A check of more cells than this takes one line where all of them passed.
const FEW: usize = 8;

/// The table, and the totals with the time that all of it took.
pub fn table(report: &Report, colour: bool, elapsed: Duration) -> String {
    let checks =
        report.checks.chunk_by(|a, b| (&a.scenario, &a.stage, &a.check) == (&b.scenario, &b.stage, &b.check));
    let lines: Vec<_> = checks
        .flat_map(|cells| if is_one_line(cells) { vec![(&cells[0], summary(cells))] } else { each(cells) })
        .collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        lines.iter().map(|(_, line)| line[column].chars().count()).max().unwrap_or(0)
    });
    let paint = |style: &'static str| if colour { (style, PLAIN) } else { ("", "") };
    let mut text = String::new();
    let (mut under, mut told, mut last) = (None, "", None);
    for (row, [check, who, send, observed, time]) in &lines {
        if under != Some((&row.scenario, &row.stage)) {
            let gap = if under.is_some() { "\n" } else { "" };
            let (on, off) = paint("\x1b[1m");
            under = Some((&row.scenario, &row.stage));
            (told, last) = ("", None);
            put(&mut text, format_args!("{gap}{on}{} · {}{off}\n", row.scenario, row.stage));
        }
        let (mark, style) = mark(row.verdict);
        let (on, off) = paint(style);
        let [check_width, who_width, send_width, observed_width, time_width] = widths;
        let line = format!(
            "  {on}{mark}{off} {check:check_width$}  {who:who_width$}  {send:send_width$}  \
             {observed:observed_width$}  {time:>time_width$}"
        );
        put(&mut text, format_args!("{}\n", line.trim_end()));
        if !row.reason.is_empty() && row.reason != told {
            put(
                &mut text,
                format_args!("      {on}{}{off}: {}\n", verdict_word(row.verdict), indented(&row.reason)),
            );
        }
        told = &row.reason;
        if let Some(hop) = row.hop.as_ref().filter(|hop| last != Some(*hop)) {
            put(&mut text, format_args!("      {}\n", hop.to_string().replace('\n', "\n      ")));
        }
        last = row.hop.as_ref();
    }
    for test in &report.helm_tests {
        let (mark, style) = mark(test.verdict);
        let (on, off) = paint(style);
        let where_ = format!("{} · {}", test.scenario, test.stage);
        let seconds = test.milliseconds / 1e3;
        put(&mut text, format_args!("\n  {on}{mark}{off} {}  ({where_})  {seconds:.1} s\n", test.check));
        if !test.reason.is_empty() {
            let word = verdict_word(test.verdict);
            put(&mut text, format_args!("      {on}{word}{off}: {}\n", indented(&test.reason)));
            let log: String =
                printable(&test.log).lines().map(|line| format!("      | {}\n", line.trim())).collect();
            put(&mut text, format_args!("{log}"));
        }
    }
    if !report.checks.is_empty() {
        text.push('\n');
    }
    let findings = findings(report);
    for (finding, cells) in &findings {
        let (on, off) = paint(YELLOW);
        put(&mut text, format_args!("{on}finding{off}, {}: {}\n", count(*cells, "cell"), in_a_line(finding)));
    }
    if !findings.is_empty() {
        text.push('\n');
    }
    let Totals { passed, client_side, recorded, failed, errored, flaky, skipped } = report.totals;
    let counts = [
        (passed, "passed", GREEN),
        (client_side, SEEN, YELLOW),
        (recorded, "recorded", FAINT),
        (failed, "failed", RED),
        (errored, "errored", YELLOW),
        (flaky, FLAKY, YELLOW),
        (skipped, "skipped", FAINT),
    ];
    let counts = counts.into_iter().filter(|(count, word, _)| *count > 0 || ![SEEN, FLAKY].contains(word));
    let counts = counts.map(|(count, word, style)| {
        let (on, off) = if count > 0 { paint(style) } else { ("", "") };
        format!("{on}{count} {word}{off}")
    });
    let counts: Vec<_> = counts.collect();
    let found: usize = findings.iter().map(|(_, cells)| cells).sum();
    let found = if found > 0 { format!(" · {}", count(found, "finding")) } else { String::new() };
    put(&mut text, format_args!("{}{found}   {:.1} s\n", counts.join(" · "), elapsed.as_secs_f64()));
    text
}

/// Under its row: no line of it looks like a row.
fn indented(reason: &str) -> String {
    printable(reason).replace('\n', "\n      ")
}

/// What surprises, in the order of the cells, and of how many cells it is said.
fn findings(report: &Report) -> Vec<(&str, usize)> {
    let mut all: Vec<(&str, usize)> = vec![];
    for finding in report.checks.iter().filter_map(|row| row.finding.as_deref()) {
        match all.iter_mut().find(|(one, _)| *one == finding) {
            Some((_, cells)) => *cells += 1,
            None => all.push((finding, 1)),
        }
    }
    all
}

fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

fn put(text: &mut String, line: std::fmt::Arguments) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(line);
}

fn is_one_line(cells: &[Row]) -> bool {
    cells.len() > FEW && cells.iter().all(|row| matches!(row.verdict, Verdict::Passed | Verdict::Recorded))
}

fn each(cells: &[Row]) -> Vec<(&Row, [String; 5])> {
    cells.iter().map(|row| (row, columns(row))).collect()
}

/// How many cells there were, and how many of them saw what.
fn summary(cells: &[Row]) -> [String; 5] {
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for observed in cells.iter().filter_map(|row| row.observed.as_ref()) {
        *seen.entry(&observed.words).or_default() += 1;
    }
    let seen =
        seen.into_iter().map(|(words, count)| format!("{count} × {words}")).collect::<Vec<_>>().join(", ");
    fitted([
        cells[0].check.clone(),
        format!("-> {}", cells[0].to),
        format!("{} dials", cells.len()),
        seen,
        String::new(),
    ])
}

fn columns(row: &Row) -> [String; 5] {
    let observed = row.observed.as_ref().map_or_else(|| "nothing".into(), |observed| observed.words.clone());
    let time = row.milliseconds.map_or_else(String::new, |milliseconds| format!("{milliseconds:.1} ms"));
    fitted([row.check.clone(), format!("{} -> {}", row.client, row.to), row.send.clone(), observed, time])
}

fn fitted(columns: [String; 5]) -> [String; 5] {
    let mut widest = WIDEST.into_iter();
    columns.map(|text| cut(in_a_line(&text), widest.next().unwrap_or(usize::MAX)))
}

fn cut(text: String, widest: usize) -> String {
    if text.chars().count() <= widest {
        return text;
    }
    text.chars().take(widest - 1).chain(['…']).collect()
}

/// Nobody looked at the server's side.
const SEEN: &str = "client side only";
/// Not to be judged in one of two tries.
const FLAKY: &str = "flaky";

fn mark(verdict: Verdict) -> (char, &'static str) {
    match verdict {
        Verdict::Passed => ('✓', GREEN),
        Verdict::ClientSide => ('~', YELLOW),
        Verdict::Recorded => ('·', FAINT),
        Verdict::Failed => ('✗', RED),
        Verdict::Errored => ('!', YELLOW),
        Verdict::Flaky => ('≈', YELLOW),
        Verdict::Skipped => ('-', FAINT),
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::ClientSide => SEEN,
        Verdict::Recorded => "recorded",
        Verdict::Failed => "failed",
        Verdict::Errored => "errored",
        Verdict::Flaky => FLAKY,
        Verdict::Skipped => "skipped",
    }
}
