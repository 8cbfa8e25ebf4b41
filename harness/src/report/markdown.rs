//! Tables for the summary of a job on GitHub, in GitHub's Markdown: what a run came to, and what a change
//! opened and closed. What servers and files say in them is text, whatever it looks like.

use super::problems::problems;
use super::{Report, html};
use crate::surface::{Change, change_counts};

/// GitHub takes no summary over 1 MiB from a step (GitHub's documentation, "Adding a job summary"); a table
/// has less than half of it, since a summary may have two, and others write there too.
const MOST: usize = 400 << 10;
/// Longer than this, what is said in one cell is cut: the report has all of it.
const LONGEST: usize = 600;

/// What a run came to: its totals, what did not pass or surprises, and what changed against what is kept.
pub fn summary(report: &Report, changed: &[Change]) -> String {
    let mut text = format!("## svidproof: {}\n\n", html::title(report));
    text += &format!("Run {}, provider {}.\n\n", escaped(&report.run), escaped(&report.provider));
    for error in &report.errors {
        text += &format!("The rest was not judged: {}\n\n", escaped(error));
    }
    let rows = problems(report).into_iter().map(|one| {
        let place = one
            .source
            .filter(|source| source.line > 0)
            .map(|source| format!("<br>{}:{}", escaped(&source.file.to_string_lossy()), source.line));
        let place = format!("{}{}", escaped(&one.stage), place.unwrap_or_default());
        let why = format!("{}<br>{}", escaped(one.reason), escaped(&one.dials()));
        [one.kind.word().into(), escaped(one.check), place, why]
    });
    text += &table(["", "check", "where", "why"], rows);
    if !changed.is_empty() {
        text += &format!(
            "\n### Against the surface that is kept: {}\n\n{}",
            change_counts(changed),
            listed(changed)
        );
    }
    text
}

/// What changed between two surfaces, the most dangerous first. `link` leads to the page that shows more.
pub fn changes(changes: &[Change], link: Option<&str>) -> String {
    let link = link.map(|url| format!("\n[the page](<{url}>)\n")).unwrap_or_default();
    format!("## Surface: {}\n\n{}{link}", change_counts(changes), listed(changes))
}

fn listed(changes: &[Change]) -> String {
    let row = |one: &Change| {
        let danger = one.danger.to_string();
        let danger = if one.danger.is_worse() { format!("**{danger}**") } else { danger };
        [danger, escaped(&one.place()), escaped(&one.words)]
    };
    table(["", "where", "what"], changes.iter().map(row))
}

/// Nothing where there is no row. What there is no room for is counted.
fn table<const N: usize>(head: [&str; N], rows: impl ExactSizeIterator<Item = [String; N]>) -> String {
    if rows.len() == 0 {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.map(Into::into)) + &line(&["---"; N].map(Into::into));
    let mut left = rows.len();
    for row in rows {
        let row = line(&row);
        if text.len() + row.len() > MOST {
            text += &format!("\n… and {left} more: there is no room for them here.\n");
            break;
        }
        text += &row;
        left -= 1;
    }
    text
}

/// As text within a cell: no Markdown, no HTML, no link, in one line.
fn escaped(text: &str) -> String {
    let mut told = String::new();
    for (number, one) in text.trim().chars().enumerate() {
        if number == LONGEST {
            told.push('…');
            break;
        }
        match one {
            '\n' => told += "<br>",
            '\r' => {}
            _ if one.is_control() || turns_writing_round(one) => {}
            // A full stop and a colon are of the addresses that GitHub makes links of by itself.
            '.' | ':' | '@' => told += &format!("&#{};", u32::from(one)),
            _ if one.is_ascii_punctuation() && !"-/,'\"".contains(one) => {
                told += &format!("&#{};", u32::from(one));
            }
            _ => told.push(one),
        }
    }
    told
}

/// Unicode Standard Annex #9: marks, embeddings, overrides and isolates.
fn turns_writing_round(one: char) -> bool {
    matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
