//! Which scenarios a command is about: those that the user names, those of the project, or those of the run
//! that is kept.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Context, Ended};
use crate::data;
use crate::lease::Lease;
use crate::project::Project;
use crate::scenario::{self, PROJECT, Scenario, project_root};
use crate::session::Record;

/// What is tested.
#[derive(Debug, Clone, Args)]
pub(super) struct Scenarios {
    /// Scenario files [default: all of the project]
    #[arg(long = "scenario", value_name = "FILE", num_args = 1..)]
    pub(super) files: Vec<PathBuf>,
}

/// The named scenario files, or those of the project that the working directory is in.
pub(super) fn load(scenarios: &Scenarios) -> Result<Vec<Scenario>, Ended> {
    let files = if scenarios.files.is_empty() { reference_scenarios()? } else { scenarios.files.clone() };
    read(&files)
}

/// All of them, as they stand side by side in one cluster.
fn read(files: &[PathBuf]) -> Result<Vec<Scenario>, Ended> {
    let loaded = files.iter().map(|file| scenario::load(file)).collect::<Result<Vec<_>, _>>()?;
    scenario::together(&loaded)?;
    Ok(loaded)
}

fn reference_scenarios() -> Result<Vec<PathBuf>, Ended> {
    let folder = project()?.scenarios();
    let entries = std::fs::read_dir(&folder)
        .map_err(|e| Ended::input(Context::new(folder.display().to_string(), e)))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(Ended::input(format!(
            "no scenario stands in {}\nhint: `svidproof new NAME --chart PATH` drafts one",
            folder.display()
        )));
    }
    Ok(files)
}

/// The project that the working directory is in.
pub(super) fn project() -> Result<Project, Ended> {
    let here = std::env::current_dir()?;
    let root = root(&here).ok_or_else(|| {
        Ended::input(format!(
            "no folder from {} upwards holds {PROJECT}, or helm/ and tests/scenarios/\n\
             hint: `svidproof init` at the root of your repository makes it a project, or name a scenario by \
             --scenario FILE",
            here.display()
        ))
    })?;
    Ok(Project::at(root)?)
}

fn root(here: &Path) -> Option<&Path> {
    project_root(here, |folder| folder.join("helm").is_dir() && folder.join("tests/scenarios").is_dir())
}

/// The folder with what svidproof brings along: that of the project, where it is a checkout, or what the
/// binary carries.
pub(super) fn home() -> Result<PathBuf, Ended> {
    let here = std::env::current_dir()?;
    let home = root(&here).map_or_else(data::unpacked, data::home);
    home.map_err(Ended::not_judged)
}

/// The scenarios that the kept run was brought up with, read anew.
pub(super) fn kept_scenarios(lease: &Lease) -> Result<Vec<Scenario>, Ended> {
    scenarios_of(&Record::read(&lease.dir)?)
}

/// Those that a run was brought up with, read anew.
pub(super) fn scenarios_of(record: &Record) -> Result<Vec<Scenario>, Ended> {
    read(&record.scenarios)
}

/// The newest run that was kept, taken over.
pub(super) fn kept() -> Result<Lease, Ended> {
    for dir in Lease::all()? {
        if let Ok(lease) = Lease::open(dir)
            && lease.kept()?
        {
            return Ok(lease);
        }
    }
    Err(Ended::input(
        "no cluster is kept, or another svidproof is at work on it\n\
         hint: `svidproof up` brings one up and keeps it",
    ))
}

/// Those that the user names, or else those that the cluster was brought up with.
pub(super) fn scenarios(lease: &Lease, named: &Scenarios) -> Result<Vec<Scenario>, Ended> {
    if named.files.is_empty() {
        return kept_scenarios(lease);
    }
    load(named)
}

pub(super) fn stage_is_there(stage: Option<&str>, scenarios: &[Scenario]) -> Result<(), Ended> {
    let mut known = scenarios.iter().flat_map(|scenario| scenario.stages.iter().map(|one| one.name.as_str()));
    match stage {
        Some(stage) if !known.clone().any(|name| name == stage) => {
            let known: Vec<_> = known.by_ref().collect();
            Err(Ended::input(format!("there is no stage `{stage}`\nhint: there are {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}
