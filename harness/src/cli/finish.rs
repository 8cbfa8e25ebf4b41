//! What comes after the checks, whatever ended them: compared with what is kept, reported, told.

use std::path::PathBuf;

use clap::Args;

use super::baseline::{Baseline, Compared, accept, compare};
use super::exit::{Ended, Exit, print};
use super::report::{About, table, write};
use crate::proof::judge::Judged;
use crate::report::Report;
use crate::sys::progress::Progress;

/// How the checks are told.
#[derive(Debug, Args)]
pub(super) struct Telling {
    /// Where report.json, junit.xml and report.html go [default: `out` of svidproof.yaml, or .svidproof]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with 3 where a cell was skipped, or where nothing is kept that a recorded one could be compared
    /// with
    #[arg(long)]
    pub(super) strict: bool,
}

impl Telling {
    /// Where reports go.
    fn folder(&self, baselines: &[Baseline]) -> PathBuf {
        let projects = baselines.first().map(|baseline| baseline.out.clone());
        self.out.clone().or(projects).unwrap_or_else(|| ".svidproof".into())
    }
}

/// What was asked of the checks.
pub(super) struct Asked<'a> {
    pub(super) baselines: &'a [Baseline],
    /// Only this stage.
    pub(super) only: Option<&'a str>,
    /// All checks of their stages.
    pub(super) whole: bool,
    /// To keep the surfaces.
    pub(super) accept: bool,
    pub(super) telling: &'a Telling,
}

/// Writes the reports, tells what changed and what did not pass, and says how the command ends. `ended`: what
/// kept the rest of the checks from being made.
pub(super) fn finish(
    about: &About,
    asked: &Asked,
    mut judged: Vec<Judged>,
    ended: Result<(), Ended>,
    progress: &Progress,
) -> Result<Exit, Ended> {
    // What is accepted is not held against what it replaces; what is missing for want of time is not gone.
    let whole = asked.whole && ended.is_ok();
    let compared = if asked.accept {
        Compared::default()
    } else {
        compare(&mut judged, asked.baselines, asked.only, whole)
    };
    let report = about.report(&judged, ended.as_ref().err(), progress);
    let written = write(&report, &asked.telling.folder(asked.baselines));
    if !judged.is_empty() {
        print(&format!("{}{}", compared.text, table(&report, about.begun)))?;
    }
    if compared.new > 0 {
        progress.note(&format!(
            "{} recorded cell(s) are compared with nothing: `svidproof test --accept` keeps what they got",
            compared.new
        ));
    }
    let checks = report.totals.exit();
    let failed = checks == Exit::CheckFailed || compared.worse;
    let told = told(&report, compared.new, checks, asked.telling.strict);
    let done = ended
        .and(written)
        .and_then(|()| if asked.accept { accept(&judged, asked.baselines, progress) } else { Ok(()) });
    match (failed, done) {
        (true, Ok(())) => Ok(Exit::CheckFailed),
        (true, Err(ended)) => Err(failed_before(ended)),
        (false, Err(ended)) => Err(ended),
        (false, Ok(())) => told,
    }
}

/// A check that failed is worse than what could not be done after it, but for an interrupt.
pub(super) fn failed_before(ended: Ended) -> Ended {
    let exit = if ended.exit == Exit::Interrupted { ended.exit } else { Exit::CheckFailed };
    Ended { exit, ..ended }
}

/// How it ends where no check failed.
fn told(report: &Report, new: usize, checks: Exit, strict: bool) -> Result<Exit, Ended> {
    let skipped = report.totals.skipped;
    if checks == Exit::Passed && strict && skipped + new > 0 {
        return Err(Ended::not_judged(format!(
            "--strict: {skipped} cell(s) were skipped, {new} recorded one(s) are compared with nothing"
        )));
    }
    Ok(checks)
}
