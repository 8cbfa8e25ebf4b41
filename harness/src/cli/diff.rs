//! `svidproof diff`: what changed between two surfaces, in words.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Ended, Exit, print};
use crate::surface;

#[derive(Debug, Args)]
#[command(after_help = statuses())]
pub(super) struct DiffArgs {
    /// A surface, a folder of surfaces, or a report.json
    old: PathBuf,
    /// The same, later
    new: PathBuf,
}

pub(super) fn diff(args: &DiffArgs) -> Result<Exit, Ended> {
    let old = surface::read(&args.old).map_err(Ended::input)?;
    let new = surface::read(&args.new).map_err(Ended::input)?;
    let changes = surface::diff(&old, &new);
    print(&surface::change_list(&changes))?;
    Ok(if surface::worse(&changes) { Exit::CheckFailed } else { Exit::Passed })
}

fn statuses() -> String {
    let all = [
        (Exit::Passed, "nothing is worse"),
        (Exit::CheckFailed, "something opened up, weakened, is answered otherwise or is gone"),
        (Exit::Input, "OLD or NEW is no surface"),
    ];
    format!("Exit status: {}.", all.map(|(exit, when)| format!("{} {when}", exit.code())).join(", "))
}
