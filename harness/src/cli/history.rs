//! `svidproof history`: what the reports of many nights say together.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::exit::{Ended, Exit, print};
use super::report::whole;
use crate::history::{self, History, Unreadable};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
#[command(after_help = statuses())]
pub(super) struct HistoryArgs {
    /// Every report.json below it is read
    dir: PathBuf,
    /// Where history.html and history.json go [default: DIR]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is made of them
    #[arg(long, value_enum, default_value_t = Format::Page)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// history.html and history.json
    Page,
    /// On standard output, the newest report of each combination of versions as a row of a table
    Markdown,
}

pub(super) fn history(args: &HistoryArgs, progress: &Progress) -> Result<Exit, Ended> {
    if let (Format::Markdown, Some(out)) = (args.format, &args.out) {
        let out = out.display();
        return Err(Ended::input(format!(
            "--format markdown writes nothing into {out}: it prints\nhint: leave --out out"
        )));
    }
    let nights = history::read(&args.dir).map_err(Ended::input)?;
    let history = History::of(&nights);
    if args.format == Format::Markdown {
        print(&history::table(&history))?;
    } else {
        let out = args.out.as_ref().unwrap_or(&args.dir);
        let json = history.to_json();
        whole(out, "history.html", &history::page(&history, &json))?;
        whole(out, "history.json", &json)?;
        print(&summary(&history, out))?;
    }
    for run in history.runs.iter().filter(|run| !run.copies.is_empty()) {
        let copies = run.copies.join(", ");
        progress.note(&shown(&format!("{} is there more than once, and counts once: {copies}", run.file)));
    }
    lost(history.unreadable)
}

/// What lacks a night must not look whole.
fn lost(unreadable: &[Unreadable]) -> Result<Exit, Ended> {
    if unreadable.is_empty() {
        return Ok(Exit::Passed);
    }
    let files = unreadable.iter().map(|one| shown(&format!("{}: {}", one.file, one.why)));
    let files: Vec<_> = files.map(|line| format!("\n  {line}")).collect();
    Err(Ended::not_judged(format!(
        "{} of the reports could not be read, and the history lacks them:{}\n\
         hint: bring them anew, or take them away if there is nothing to be had of them",
        files.len(),
        files.concat()
    )))
}

fn summary(history: &History, out: &Path) -> String {
    let counts = [
        ("runs", history.runs.len()),
        ("legs", history.legs.len()),
        ("checks", history.checks.len()),
        ("worse than before", history.changes.iter().filter(|change| change.worse).count()),
        ("flakes", history.flakes.len()),
        ("gone", history.checks.iter().filter(|check| !check.gone.is_empty()).count()),
    ];
    let counts = counts.map(|(what, count)| format!("{what}: {count}")).join(" · ");
    format!("{counts}\n{}\n", out.join("history.html").display())
}

/// A file may have any name: nothing of it moves a terminal.
fn shown(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn statuses() -> String {
    let all = [
        (Exit::Passed, "the history has every report.json of DIR"),
        (Exit::Input, "DIR has none"),
        (Exit::NotJudged, "one could not be read, or the history could not be written"),
    ];
    let told = all.map(|(exit, when)| format!("{} {when}", exit.code())).join(", ");
    format!("Exit status: {told}. What the nights' checks came to makes none: each night's own status did.")
}
