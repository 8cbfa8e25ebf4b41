//! What the reports of many nights say together: verdicts by check, times by phase, flakes, and what opened
//! or closed, came or went, and when. It judges nothing again: each verdict stays as its report has it.
//!
//! `files` alone reads; `night` makes one of a report's text, and the rest is worked out of those.

mod changes;
mod files;
mod flakes;
mod grid;
mod markdown;
mod night;
mod page;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;

pub use files::{HistoryError, read};
pub use markdown::table;
pub use night::Nights;
pub use page::page;

use crate::surface::Danger;
use night::Night;

/// `history.json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History<'a> {
    /// The version that made it.
    pub svidproof: &'static str,
    /// What the nights ran on. Reports are held against those before them of the same leg.
    pub legs: Vec<Leg<'a>>,
    /// A report each, by when they began. All that follows names them by their places in this list.
    pub runs: Vec<Run<'a>>,
    /// A row a check, by scenario and stage.
    pub checks: Vec<Check<'a>>,
    /// Checks that came or went.
    pub comings: Vec<Coming<'a>>,
    /// What clients got otherwise than before: per run, the most dangerous first.
    pub changes: Vec<Change>,
    /// What errored once, and not the next time.
    pub flakes: Vec<Flake<'a>>,
    /// What the time went into.
    pub phases: Vec<Phase<'a>>,
    /// What is named report.json and could not be read: the history lacks it.
    pub unreadable: &'a [Unreadable],
}

/// One combination of provider and versions. A version is empty where a report does not say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Leg<'a> {
    /// Where the cluster came from.
    pub provider: &'a str,
    /// The version of Kubernetes.
    pub kubernetes: &'a str,
    /// The version of SPIRE.
    pub spire: &'a str,
    /// The version of Envoy.
    pub envoy: &'a str,
}

/// One report.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Run<'a> {
    /// Below the folder that was read.
    pub file: &'a str,
    /// Other files that say all the same: they count once. Absent where there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub copies: &'a [String],
    /// The run's id.
    pub run: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// The version of svidproof that made it.
    pub svidproof: &'a str,
    /// Its place in `legs`.
    pub leg: usize,
    /// Which run it is held against: the one before it of its leg, and for the first of a leg the one before
    /// it of the same provider, else of any. Absent for the first of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<usize>,
    /// Where the images came from.
    pub images: &'a str,
    /// What is in the images.
    pub versions: &'a BTreeMap<String, String>,
    /// How many cells and Helm tests came to which verdict.
    pub totals: Counts<'a>,
    /// From the command's beginning to the end of its last phase, in seconds.
    pub seconds: f64,
    /// What kept the rest of the cells from being judged. Absent where nothing did.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [String],
}

/// Verdict -> how many. A verdict that this svidproof does not know stands as its report has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
pub struct Counts<'a>(#[schemars(with = "BTreeMap<String, usize>")] pub Vec<(&'a str, usize)>);

/// One check through all runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check<'a> {
    /// The scenario's name.
    pub scenario: &'a str,
    /// The stage's name.
    pub stage: &'a str,
    /// The check's name.
    pub check: &'a str,
    /// For each run what its cells came to; `null` where the run has no such check, which is no pass.
    pub runs: Vec<Option<Cells<'a>>>,
    /// The legs whose newest run lacks it, though it was there before. Absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<usize>,
}

/// A check's cells in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cells<'a> {
    /// How many came to what.
    pub verdicts: Counts<'a>,
    /// The beginning of the first reason of those that failed, errored or were skipped.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'a str,
}

/// Checks of a stage that came or went.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Coming<'a> {
    /// In which run.
    pub run: usize,
    /// What they did.
    pub what: What,
    /// The scenario's name.
    pub scenario: &'a str,
    /// The stage's name.
    pub stage: &'a str,
    /// The checks' names.
    pub checks: Vec<&'a str>,
    /// The run ended early: its `errors` say by what.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended_early: bool,
}

/// What checks did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The run lacks them: nobody knows what they would have come to.
    Gone,
    /// They are there again.
    Back,
    /// They were never there before.
    New,
}

/// What a client got otherwise than when it was last seen.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// In which run.
    pub run: usize,
    /// How bad it is.
    pub danger: Danger,
    /// Worse than before, or not known any more to be as good.
    pub worse: bool,
    /// `scenario · stage`.
    pub stage: String,
    /// As `svidproof diff` says it.
    pub words: String,
}

/// Cells of a check that errored in one run and were judged in the next of its leg, or when they were tried
/// once more, while svidproof, images and all versions that the reports name were the same. What a report
/// does not name, such as an edited chart, may have changed all the same.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Flake<'a> {
    /// In which run they errored.
    pub run: usize,
    /// Which run judged them: the next of the leg, or the same at its second try (verdict `flaky`).
    pub judged: usize,
    /// The scenario's name.
    pub scenario: &'a str,
    /// The stage's name.
    pub stage: &'a str,
    /// The check's name.
    pub check: &'a str,
    /// How many.
    pub cells: usize,
    /// The beginning of the first one's reason.
    pub why: &'a str,
}

/// One phase through all runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Phase<'a> {
    /// Its name.
    pub name: &'a str,
    /// Of the runs that have it, in seconds.
    pub median: f64,
    /// For each run, in seconds; `null` where it has no such phase.
    pub seconds: Vec<Option<f64>>,
}

/// What is named report.json and is not in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unreadable {
    /// Below the folder that was read.
    pub file: String,
    /// Why it could not be read.
    pub why: String,
}

impl Serialize for Counts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl<'a> Counts<'a> {
    fn add(&mut self, verdict: &'a str) {
        match self.0.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += 1,
            None => self.0.push((verdict, 1)),
        }
    }
}

impl<'a> History<'a> {
    /// Works it out of all reports that were read.
    pub fn of(nights: &'a Nights) -> Self {
        let texts = &nights.texts;
        let mut ordered: Vec<&Night> = nights.read.iter().collect();
        ordered.sort_by_key(|night| (night.started, &night.file));
        let mut legs: Vec<Leg> = ordered.iter().map(|night| leg(night)).collect();
        legs.sort();
        legs.dedup();
        let of_leg: Vec<_> =
            ordered.iter().map(|night| legs.iter().position(|one| *one == leg(night)).unwrap_or(0)).collect();
        let against = against(&legs, &of_leg);
        let timeline = Timeline { texts, nights: &ordered, legs: &of_leg, against: &against };
        let (checks, comings) = grid::grid(&timeline, legs.len());
        let runs = ordered.iter().enumerate().map(|(index, night)| Run {
            file: &night.file,
            copies: &night.copies,
            run: &night.run,
            started: night.started,
            svidproof: &night.svidproof,
            leg: of_leg[index],
            against: against[index],
            images: &night.images,
            versions: &night.versions,
            totals: totals(night, texts),
            seconds: night.phases.iter().map(|phase| phase.started + phase.seconds).fold(0.0, f64::max),
            errors: &night.errors,
        });
        Self {
            svidproof: env!("CARGO_PKG_VERSION"),
            runs: runs.collect(),
            checks,
            comings,
            changes: changes::changes(&timeline, legs.len()),
            flakes: flakes::flakes(&timeline),
            phases: phases(&ordered),
            legs,
            unreadable: &nights.unreadable,
        }
    }

    /// On one line: a hundred nights have hundreds of thousands of values.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to be written: no map has a key that is not text.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// The JSON Schema of `history.json`: draft 2020-12, of what is written. `docs/history.schema.json` is this
/// text, checked in; a test compares the two.
pub fn schema() -> String {
    let schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<History>();
    // A schema is a JSON value already: it can be written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// The nights by when they began, and what each is held against.
struct Timeline<'n, 'a> {
    texts: &'a night::Texts,
    nights: &'n [&'a Night],
    legs: &'n [usize],
    against: &'n [Option<usize>],
}

impl Timeline<'_, '_> {
    /// Whether a run is held against one of another leg, since its own has none before it.
    fn is_first_of_leg(&self, run: usize) -> bool {
        self.against[run].is_none_or(|before| self.legs[before] != self.legs[run])
    }
}

fn leg(night: &Night) -> Leg<'_> {
    let version = |part: &str| night.versions.get(part).map_or("", String::as_str);
    Leg {
        provider: &night.provider,
        kubernetes: version("kubernetes"),
        spire: version("spire"),
        envoy: version("envoy"),
    }
}

/// A new version begins a leg of its own: what it opens is seen against what ran before it.
fn against(legs: &[Leg], of_leg: &[usize]) -> Vec<Option<usize>> {
    let before = |run: usize| {
        let provider = |leg: usize| legs[leg].provider;
        let nearest = |fits: &dyn Fn(usize) -> bool| of_leg[..run].iter().rposition(|leg| fits(*leg));
        nearest(&|leg| leg == of_leg[run])
            .or_else(|| nearest(&|leg| provider(leg) == provider(of_leg[run])))
            .or(run.checked_sub(1))
    };
    (0..of_leg.len()).map(before).collect()
}

fn totals<'a>(night: &Night, texts: &'a night::Texts) -> Counts<'a> {
    let mut totals = Counts::default();
    for cell in &night.cells {
        totals.add(texts.text(cell.verdict));
    }
    totals
}

/// By the order in which they first came up. One that a run has twice took both times.
fn phases<'a>(nights: &[&'a Night]) -> Vec<Phase<'a>> {
    let mut phases: Vec<Phase> = vec![];
    for (run, night) in nights.iter().enumerate() {
        for phase in &night.phases {
            let known = phases.iter().position(|known| known.name == phase.name);
            let at = known.unwrap_or_else(|| {
                phases.push(Phase { name: &phase.name, median: 0.0, seconds: vec![None; nights.len()] });
                phases.len() - 1
            });
            *phases[at].seconds[run].get_or_insert(0.0) += phase.seconds;
        }
    }
    for phase in &mut phases {
        phase.median = median(phase.seconds.iter().flatten().copied().collect());
    }
    phases
}

/// The middle one, or the mean of the two in the middle; nothing has the median zero.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[middle - 1], *upper),
    }
}

#[cfg(test)]
mod tests;
