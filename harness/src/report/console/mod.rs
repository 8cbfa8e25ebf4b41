//! The report for a person. A line a stage; under it each cell that did not pass, with its reason and the hop
//! that broke, or, where it is asked for, every cell. How it came out is [`closing`]'s. Readable without
//! colour too.
//!
//! Of cells that passed what does not fit is cut; of all others it is wrapped. A check of many cells that all
//! are as they should be takes one line, and a reason that several cells share stands once: the other reports
//! have them all.

mod closing;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

pub use closing::{Closing, closing};

use super::{Report, Row};
use crate::proof::chart_test::ChartTest;
use crate::proof::verdict::{Totals, Verdict};
use crate::sys::terminal::{Reader, cut, padded, width};
use crate::sys::{in_a_line, printable};

/// Longer cells of a column are cut, so that one of them does not push all the rest to the right.
const WIDEST: [usize; 5] = [52, 34, 40, 32, 9];
/// Between two columns.
const GAP: &str = "  ";
/// No column is cut to less, however narrow the terminal is.
const NARROWEST: usize = 6;
/// Under a line: no part of it looks like one.
const UNDER: &str = "      ";
/// And what is left of a line there.
const STILL: &str = "        ";

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";

/// A check of more cells than this takes one line where all of them passed.
const FEW: usize = 8;

/// Whose mark a stage has: of those that are in it the first.
const WORST: [Verdict; 6] = [
    Verdict::Failed,
    Verdict::Errored,
    Verdict::Flaky,
    Verdict::ClientSide,
    Verdict::Passed,
    Verdict::Recorded,
];

/// A stage and what was made in it.
#[allow(clippy::struct_field_names, reason = "it is what it is called")]
struct Stage<'a> {
    scenario: &'a str,
    stage: &'a str,
    rows: Vec<&'a Row>,
    tests: Vec<&'a ChartTest>,
}

/// The stages, and under each what did not pass; `every`: every cell.
pub fn table(report: &Report, reader: Reader, every: bool) -> String {
    let stages = stages(report);
    let heads: Vec<_> = stages.iter().map(|stage| stage.head(report, reader)).collect();
    let heads_widths = widths(heads.iter().map(|(_, columns)| columns));
    let listed: Vec<_> = stages.iter().map(|stage| stage.lines(every)).collect();
    let rows_widths = narrowed(widths(listed.iter().flatten().map(|(_, columns)| columns)), reader);
    let mut text = String::new();
    let mut apart = false;
    for ((stage, (mark, head)), lines) in stages.iter().zip(heads).zip(listed) {
        let tests: Vec<_> = stage.tests.iter().filter(|test| every || !is_well(test.verdict)).collect();
        let lists = !lines.is_empty() || !tests.is_empty();
        if apart || (lists && !text.is_empty()) {
            text.push('\n');
        }
        apart = lists;
        text += &line(&mark, &head, &heads_widths, reader, true);
        let (mut told, mut last) = ("", None);
        for (row, columns) in &lines {
            let mark = format!("  {}", painted_mark(row.verdict, reader));
            text += &line(&mark, columns, &rows_widths, reader, !is_well(row.verdict));
            if !row.reason.is_empty() && row.reason != told {
                text += &reason(row.verdict, &row.reason, reader);
            }
            told = &row.reason;
            if let Some(hop) = row.hop.as_ref().filter(|hop| last != Some(*hop)) {
                text += &reader.wrapped(&printable(&hop.to_string()), UNDER, STILL);
            }
            last = row.hop.as_ref();
        }
        for test in tests {
            let mark = format!("  {}", painted_mark(test.verdict, reader));
            let columns = [in_a_line(&test.check), String::new(), seconds(test.milliseconds / 1e3)];
            text += &line(&mark, &columns, &columns.each_ref().map(|one| width(one)), reader, true);
            if !test.reason.is_empty() {
                text += &reason(test.verdict, &test.reason, reader);
                let log: Vec<_> = test.log.lines().map(str::trim).collect();
                text += &reader.wrapped(&printable(&log.join("\n")), "      | ", "      | ");
            }
        }
    }
    text
}

/// In the order of the report.
fn stages(report: &Report) -> Vec<Stage<'_>> {
    fn of<'a, 's>(stages: &'s mut Vec<Stage<'a>>, scenario: &'a str, stage: &'a str) -> &'s mut Stage<'a> {
        let known = stages.iter().position(|one| (one.scenario, one.stage) == (scenario, stage));
        let at = known.unwrap_or_else(|| {
            stages.push(Stage { scenario, stage, rows: vec![], tests: vec![] });
            stages.len() - 1
        });
        &mut stages[at]
    }
    let mut stages = vec![];
    for row in &report.checks {
        of(&mut stages, &row.scenario, &row.stage).rows.push(row);
    }
    for test in &report.helm_tests {
        of(&mut stages, &test.scenario, &test.stage).tests.push(test);
    }
    stages
}

impl Stage<'_> {
    /// Its mark, and its columns: the name, how many came to what, and how long it took.
    fn head(&self, report: &Report, reader: Reader) -> (String, [String; 3]) {
        let verdicts = self.rows.iter().map(|row| row.verdict);
        let totals = verdicts.chain(self.tests.iter().map(|test| test.verdict)).collect();
        let came = counts(totals).into_iter().filter(|(_, count)| *count > 0);
        let told = WORST.into_iter().find(|worst| came.clone().any(|(verdict, _)| verdict == *worst));
        let mark = painted_mark(told.unwrap_or(Verdict::Skipped), reader);
        let name = reader.painted(BOLD, &in_a_line(&format!("{} · {}", self.scenario, self.stage)));
        let came: Vec<_> = came.map(|one| counted(one, reader)).collect();
        // Of several rounds the last.
        let phase = format!("{}: {}", self.scenario, self.stage);
        let phase = report.phases.iter().rfind(|one| one.name == phase);
        let took = phase.map(|phase| seconds(phase.seconds)).unwrap_or_default();
        (mark, [name, came.join(" · "), took])
    }

    /// A line a cell, or a check of many.
    fn lines(&self, every: bool) -> Vec<(&Row, [String; 5])> {
        let checks = self.rows.chunk_by(|a, b| a.check == b.check);
        let lines = checks.flat_map(|cells| match cells {
            _ if is_one_line(cells) => vec![(cells[0], summary(cells))],
            _ => cells.iter().map(|row| (*row, columns(row))).collect(),
        });
        lines.filter(|(row, _)| every || !is_well(row.verdict)).collect()
    }
}

/// There is nothing to be said of it but that there was one.
fn is_well(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Passed | Verdict::Recorded)
}

fn reason(verdict: Verdict, reason: &str, reader: Reader) -> String {
    let (_, style) = mark(verdict);
    let word = reader.painted(style, verdict_word(verdict));
    reader.wrapped(&format!("{word}: {}", printable(reason)), UNDER, STILL)
}

/// A mark and columns, the last but one of them padded. `whole`: what does not fit stands below instead of
/// being cut.
fn line<const N: usize>(
    mark: &str,
    columns: &[String; N],
    widths: &[usize; N],
    reader: Reader,
    whole: bool,
) -> String {
    let fits = columns.iter().zip(widths).all(|(text, room)| width(text) <= *room);
    let aligned = columns.iter().zip(widths).zip(1..).map(|((text, room), number)| {
        let text = cut(text, *room);
        // The last is a time.
        if number == N { " ".repeat(room - width(&text).min(*room)) + &text } else { padded(&text, *room) }
    });
    let aligned = format!("{mark} {}", aligned.collect::<Vec<_>>().join(GAP));
    let aligned = aligned.trim_end();
    if whole && !(fits && reader.has_room_for(aligned)) {
        let filled: Vec<_> = columns.iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
        return reader.wrapped(&filled.join(GAP), &format!("{mark} "), UNDER);
    }
    reader.columns.map_or_else(|| aligned.to_owned(), |columns| cut(aligned, columns)) + "\n"
}

/// What each column takes where nothing is cut.
fn widths<'a, const N: usize>(lines: impl Iterator<Item = &'a [String; N]>) -> [usize; N] {
    lines.fold([0; N], |widest, line| std::array::from_fn(|column| widest[column].max(width(&line[column]))))
}

/// Of columns that do not fit side by side, the widest give way; a time stays as it is.
fn narrowed(mut widths: [usize; 5], reader: Reader) -> [usize; 5] {
    let Some(columns) = reader.columns else { return widths };
    // The mark and its place take four.
    let room = columns.saturating_sub(4 + GAP.len() * (widths.len() - 1));
    while widths.iter().sum::<usize>() > room {
        match widths[..4].iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn is_one_line(cells: &[&Row]) -> bool {
    cells.len() > FEW && cells.iter().all(|row| is_well(row.verdict))
}

/// How many cells there were, and how many of them saw what.
fn summary(cells: &[&Row]) -> [String; 5] {
    let mut seen = BTreeMap::<&str, usize>::new();
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
    columns.map(|text| cut(&in_a_line(&text), widest.next().unwrap_or(usize::MAX)))
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// How many came to what.
fn counts(totals: Totals) -> [(Verdict, usize); 7] {
    let Totals { passed, client_side, recorded, failed, errored, flaky, skipped } = totals;
    [
        (Verdict::Passed, passed),
        (Verdict::ClientSide, client_side),
        (Verdict::Recorded, recorded),
        (Verdict::Failed, failed),
        (Verdict::Errored, errored),
        (Verdict::Flaky, flaky),
        (Verdict::Skipped, skipped),
    ]
}

/// `3 failed`.
fn counted((verdict, count): (Verdict, usize), reader: Reader) -> String {
    let text = format!("{count} {}", verdict_word(verdict));
    if count > 0 { reader.painted(mark(verdict).1, &text) } else { text }
}

fn painted_mark(verdict: Verdict, reader: Reader) -> String {
    let (mark, style) = mark(verdict);
    reader.painted(style, &mark.to_string())
}

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
        // Nobody looked at the server's side.
        Verdict::ClientSide => "client side only",
        Verdict::Recorded => "recorded",
        Verdict::Failed => "failed",
        Verdict::Errored => "errored",
        // Not to be judged in one of two tries.
        Verdict::Flaky => "flaky",
        Verdict::Skipped => "skipped",
    }
}
