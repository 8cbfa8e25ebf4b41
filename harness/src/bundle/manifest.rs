//! `manifest.json`: what became of each step of a bundle.

use std::time::Duration;

use serde::Serialize;

/// All that is in a bundle, and all that is not.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// The run's ID.
    pub run: String,
    /// The svidproof that made the bundle.
    pub svidproof: &'static str,
    /// When the bundle was made.
    pub made: jiff::Timestamp,
    /// What went wrong, where that is known.
    pub why: Option<String>,
    /// How long it took to gather.
    pub milliseconds: u64,
    /// In the order in which they came to their end.
    pub steps: Vec<Told>,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Its name, by what it is about.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why there is nothing, or not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
    /// How much of it is in the archive.
    pub bytes: u64,
    /// How much of it is not, for being too large.
    pub cut: u64,
    /// How many marks stand in the place of secrets.
    pub redacted: usize,
    /// Its files.
    pub files: Vec<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is there.
    Gathered,
    /// It could not be had.
    Failed,
    /// It was given up.
    TimedOut,
    /// The time for all of them was over, or the archive full.
    NotBegun,
    /// It is not to be had in such a run.
    LeftAlone,
}

impl Manifest {
    pub(super) fn new(run: &str, why: Option<&str>, took: Duration, steps: Vec<Told>) -> Self {
        Self {
            run: run.into(),
            svidproof: env!("CARGO_PKG_VERSION"),
            made: jiff::Timestamp::now(),
            why: why.map(Into::into),
            milliseconds: milliseconds(took),
            steps,
        }
    }

    /// How many steps gave what they were to give, and how many there are.
    pub fn gathered(&self) -> (usize, usize) {
        let gathered = self.steps.iter().filter(|step| step.outcome == Outcome::Gathered).count();
        (gathered, self.steps.len())
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
