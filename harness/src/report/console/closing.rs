//! How a run came out, in its last lines: what surprises, what changed against the surfaces that are kept,
//! the totals, and where the page is.

use std::path::Path;
use std::time::Duration;

use super::{UNDER, YELLOW, counted, counts, seconds};
use crate::proof::verdict::Verdict;
use crate::report::Report;
use crate::surface::{Change, change_counts, change_list};
use crate::sys::in_a_line;
use crate::sys::terminal::Reader;

/// What is said beside the report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Closing<'a> {
    /// Against the surfaces that are kept. Absent where nothing was compared.
    pub changed: Option<&'a [Change]>,
    /// How many cells are kept that were not observed now: whether they changed nobody knows.
    pub unseen: usize,
    /// How many recorded cells are compared with nothing.
    pub new: usize,
    /// Where the page is. Absent where none was written.
    pub page: Option<&'a Path>,
    /// What all of it took.
    pub elapsed: Duration,
}

/// The last lines, after an empty one.
pub fn closing(report: &Report, closing: Closing, reader: Reader) -> String {
    let Closing { changed, unseen, new, page, elapsed } = closing;
    let findings = findings(report);
    let mut text = String::new();
    for (finding, cells) in &findings {
        let word = reader.painted(YELLOW, "finding");
        let line = format!("{word}, {}: {}", count(*cells, "cell"), in_a_line(finding));
        text += &reader.wrapped(&line, "", UNDER);
    }
    let list = changed.filter(|changed| !changed.is_empty()).map(|changed| change_list(changed, reader));
    let parts = [text, list.unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
    let mut text: String = parts.map(|part| format!("\n{part}")).collect();
    text.push('\n');
    let shown = counts(report.totals).into_iter();
    let shown = shown.filter(|(verdict, count)| *count > 0 || !is_rare(*verdict));
    let shown: Vec<_> = shown.map(|one| counted(one, reader)).collect();
    let found: usize = findings.iter().map(|(_, cells)| cells).sum();
    let found = if found > 0 { format!(" · {}", count(found, "finding")) } else { String::new() };
    let totals = format!("{}{found}   {}", shown.join(" · "), seconds(elapsed.as_secs_f64()));
    text += &reader.wrapped(&totals, "", UNDER);
    if let Some(changed) = changed {
        let counts = if changed.is_empty() { "none".into() } else { change_counts(changed) };
        let unseen = match unseen {
            0 => String::new(),
            unseen => format!(", but for {} not observed", count(unseen, "cell")),
        };
        let line = format!("changes against the surface that is kept: {counts}{unseen}");
        text += &reader.wrapped(&line, "", UNDER);
    }
    if new > 0 {
        let (cells, are) = (count(new, "recorded cell"), if new == 1 { "is" } else { "are" });
        let line =
            format!("{cells} {are} compared with nothing: `svidproof test --accept` keeps what they got");
        text += &reader.wrapped(&line, "", UNDER);
    }
    if let Some(page) = page {
        // In one piece, so that it can be opened from there.
        text += &format!("page: {}\n", in_a_line(&page.to_string_lossy()));
    }
    text
}

/// Told only where there are some.
fn is_rare(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::ClientSide | Verdict::Flaky)
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
