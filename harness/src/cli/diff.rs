//! `svidproof diff`: what changed between two surfaces, in words, as a table for a job's summary, or as JSON.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reqwest::Url;
use serde_json::json;

use super::exit::{Ended, Exit, print};
use crate::report::markdown;
use crate::surface::{self, Change};
use crate::sys::terminal::Reader;

#[derive(Debug, Args)]
#[command(after_help = statuses())]
pub(super) struct DiffArgs {
    /// A surface, a folder of surfaces, or a report.json
    old: PathBuf,
    /// The same, later
    new: PathBuf,
    /// Words for a reader, a table for the summary of a job on GitHub, or JSON
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// With `--format markdown`: where the page is that shows more
    #[arg(long, value_name = "URL", value_parser = link)]
    link: Option<Url>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Markdown,
    Json,
}

/// A link that a browser follows to a page, and nothing else: not `javascript:`.
fn link(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("it is not one of http or https".into())
    }
}

pub(super) fn diff(args: &DiffArgs) -> Result<Exit, Ended> {
    if args.link.is_some() && args.format != Format::Markdown {
        return Err(Ended::input("--link goes with --format markdown: nothing else has a place for it"));
    }
    let old = surface::read(&args.old).map_err(Ended::input)?;
    let new = surface::read(&args.new).map_err(Ended::input)?;
    let changes = surface::diff(&old, &new);
    print(&match args.format {
        Format::Text => surface::change_list(&changes, Reader::of(&std::io::stdout())),
        Format::Markdown => markdown::changes(&changes, args.link.as_ref().map(Url::as_str)),
        Format::Json => as_json(&changes),
    })?;
    Ok(if surface::worse(&changes) { Exit::CheckFailed } else { Exit::Passed })
}

/// `worse`: whether the status says so.
fn as_json(changes: &[Change]) -> String {
    let all = json!({"worse": surface::worse(changes), "changes": changes});
    // A JSON value can be written.
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

fn statuses() -> String {
    let all = [
        (Exit::Passed, "nothing is worse"),
        (Exit::CheckFailed, "something opened up, weakened, is answered otherwise or is gone"),
        (Exit::Input, "OLD or NEW is no surface"),
    ];
    format!("Exit status: {}.", all.map(|(exit, when)| format!("{} {when}", exit.code())).join(", "))
}
