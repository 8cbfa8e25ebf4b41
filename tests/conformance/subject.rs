//! What is tested: the scenarios of a folder, each with its screens, and the names of the tests that they
//! make. Not for running them.

use std::path::{Path, PathBuf};

use libtest_mimic::Arguments;
use svidproof::scenario::{self, Broken, Scenario, Stage};

use crate::screens::{self, Screen};

/// What a run leaves behind is a test too.
pub(crate) const TEARDOWN: &str = "teardown::nothing is left";

pub(crate) struct Subject {
    pub(crate) scenario: Scenario,
    pub(crate) screens: Vec<Screen>,
}

/// Every scenario of `scenarios/`, in the order of the files' names.
pub(crate) fn all(package: &Path) -> Vec<Subject> {
    let folder = package.join("scenarios");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{} holds no scenario", folder.display());
    let subject = |file: &PathBuf| {
        let scenario = scenario::load(file).unwrap_or_else(|error| panic!("{error}"));
        let screens = screens::load(&package.join("screens"), &scenario);
        Subject { scenario, screens }
    };
    files.iter().map(subject).collect()
}

impl Subject {
    /// Every test that it makes.
    pub(crate) fn names(&self) -> Vec<String> {
        let stages = self.scenario.stages.iter().flat_map(|stage| self.names_of_stage(stage));
        stages.chain(self.scenario.broken.iter().map(|fault| self.fault(fault))).collect()
    }

    /// The tests that need this stage to stand.
    pub(crate) fn names_of_stage(&self, stage: &Stage) -> Vec<String> {
        let checks = stage.checks.iter().map(|check| self.check(&stage.name, &check.name));
        let screens = self.screens_of(stage).map(|screen| screen.name(&self.scenario));
        checks.chain([self.surface(stage)]).chain(screens).collect()
    }

    pub(crate) fn screens_of(&self, stage: &Stage) -> impl Iterator<Item = &Screen> {
        self.screens.iter().filter(|screen| screen.stage == stage.name)
    }

    pub(crate) fn check(&self, stage: &str, check: &str) -> String {
        format!("{}::{stage}::{check}", self.scenario.name)
    }

    pub(crate) fn surface(&self, stage: &Stage) -> String {
        self.check(&stage.name, "surface")
    }

    pub(crate) fn fault(&self, fault: &Broken) -> String {
        self.check("broken", &fault.name)
    }
}

/// The filters of libtest's command line.
pub(crate) fn is_chosen(arguments: &Arguments, name: &str) -> bool {
    let is = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter.as_str()) };
    arguments.filter.as_ref().is_none_or(is) && !arguments.skip.iter().any(is)
}
