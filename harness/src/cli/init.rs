//! `svidproof init`: a repository becomes a project. What is there is not touched.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;

use super::exit::{Context, Ended, Exit};
use crate::project::{Project, TEMPLATE};
use crate::scenario::PROJECT;
use crate::sys::files;
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The repository's root
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

pub(super) fn init(args: &InitArgs, progress: &Progress) -> Result<Exit, Ended> {
    let root = &args.folder;
    if !root.is_dir() {
        return Err(Ended::input(format!("{} is not a folder", root.display())));
    }
    let path = root.join(PROJECT);
    let failed = |e| Ended::not_judged(Context::new(format!("could not write {}", path.display()), e));
    let mut file = std::fs::File::create_new(&path).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Ended::input(format!(
            "{} is there already, and is not overwritten\nhint: `svidproof new NAME --chart PATH` drafts a \
             scenario",
            path.display()
        )),
        _ => failed(e),
    })?;
    file.write_all(TEMPLATE.as_bytes()).map_err(failed)?;
    let project = Project::at(root)?;
    for folder in [project.scenarios(), project.snapshots()] {
        files::make_folder(&folder).map_err(Ended::not_judged)?;
    }
    progress.note(&format!(
        "wrote {}\nhint: `svidproof new NAME --chart PATH` drafts a scenario for a chart; keep {} out of git",
        path.display(),
        project.out().strip_prefix(root).unwrap_or(&project.out()).display()
    ));
    Ok(Exit::Passed)
}
