//! `svidproof diff`: what changed between two surfaces, in words.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, print};
use crate::surface;

#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 nothing opened up, 1 something did, 2 OLD or NEW is no surface.")]
pub(super) struct DiffArgs {
    /// A surface, a folder of surfaces, or a report.json
    old: PathBuf,
    /// The same, later
    new: PathBuf,
}

pub(super) fn diff(args: &DiffArgs) -> Result<u8, Failure> {
    let old = surface::read(&args.old).map_err(Failure::input)?;
    let new = surface::read(&args.new).map_err(Failure::input)?;
    let changes = surface::diff(&old, &new);
    print(&surface::change_list(&changes))?;
    Ok(u8::from(surface::opened(&changes)))
}
