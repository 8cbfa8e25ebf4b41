//! What comes after the checks, whatever ended them: compared with what is kept, reported, told.

use std::path::PathBuf;

use clap::Args;

use super::baseline::{Baseline, Compared, accept, compare};
use super::exit::{Ended, Exit, print};
use super::format::Format;
use super::report::{About, PAGE, write};
use crate::proof::verdict::Totals;
use crate::report::console::{self, Closing};
use crate::report::{Report, github};
use crate::suite::Outcome;
use crate::sys::progress::Progress;
use crate::sys::terminal::Reader;

/// How the checks are told.
#[derive(Debug, Args)]
pub(super) struct Telling {
    /// Where report.json, junit.xml, report.html, report.sarif and summary.md go [default: `out` of
    /// svidproof.yaml, or .svidproof]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with 3 where a cell was skipped, or where nothing is kept that a recorded one could be compared
    /// with
    #[arg(long)]
    pub(super) strict: bool,
    /// List every cell under its stage, those that passed or were recorded too
    #[arg(short, long)]
    verbose: bool,
    /// `github` prints annotations for GitHub Actions besides: at the scenario's line, what did not pass,
    /// what surprises, and what is wrong in a scenario
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

impl Telling {
    /// Where reports go.
    pub(super) fn folder(&self, baselines: &[Baseline]) -> PathBuf {
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
    outcome: Outcome,
    ended: Result<(), Ended>,
    progress: &Progress,
) -> Result<Exit, Ended> {
    let Outcome { mut judged, tests } = outcome;
    // What is accepted is not held against what it replaces; what is missing for want of time is not gone.
    let whole = asked.whole && ended.is_ok();
    let compared = if asked.accept {
        Compared::default()
    } else {
        compare(&mut judged, asked.baselines, asked.only, whole)
    };
    let report = about.report(&judged, ended.as_ref().err(), progress).with_tests(tests);
    let folder = asked.telling.folder(asked.baselines);
    let written = write(&report, compared.changes.as_deref().unwrap_or_default(), &folder);
    let printed = if judged.is_empty() && report.helm_tests.is_empty() {
        Ok(())
    } else {
        let annotations = match asked.telling.format {
            Format::Text => String::new(),
            Format::Github => github::text(&report),
        };
        let page = written.is_ok().then(|| from_here(folder.join(PAGE)));
        let last = Closing {
            changed: compared.changes.as_deref(),
            unseen: compared.unseen,
            new: compared.new,
            page: page.as_deref(),
            elapsed: about.begun.instant.elapsed(),
        };
        let reader = Reader::of(&std::io::stdout());
        let table = console::table(&report, reader, asked.telling.verbose);
        print(&format!("{annotations}{table}{}", console::closing(&report, last, reader)))
    };
    let checks = report.totals.exit();
    let failed = checks == Exit::CheckFailed || compared.worse;
    let told = told(&report, compared.new, checks, asked.telling.strict);
    let done = both(both(ended, written), printed)
        .and_then(|()| if asked.accept { accept(&judged, asked.baselines, progress) } else { Ok(()) });
    match (failed, done) {
        (true, Ok(())) => Ok(Exit::CheckFailed),
        (true, Err(ended)) => Err(failed_before(ended)),
        (false, Err(ended)) => Err(ended),
        (false, Ok(())) => told,
    }
}

/// As a person here would name it.
fn from_here(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(Into::into));
    below.unwrap_or(path)
}

/// A check that failed is worse than what could not be done after it, but for an interrupt.
pub(super) fn failed_before(ended: Ended) -> Ended {
    let exit = if ended.exit == Exit::Interrupted { ended.exit } else { Exit::CheckFailed };
    Ended { exit, ..ended }
}

/// Both errors are told where both are; the status is the first one's.
fn both(first: Result<(), Ended>, later: Result<(), Ended>) -> Result<(), Ended> {
    match (first, later) {
        (Err(first), Err(later)) => Err(first.then(later)),
        (first, later) => first.and(later),
    }
}

/// How it ends where no check failed.
fn told(report: &Report, new: usize, checks: Exit, strict: bool) -> Result<Exit, Ended> {
    let Totals { skipped, client_side, .. } = report.totals;
    if checks == Exit::Passed && strict && skipped + client_side + new > 0 {
        let seen = if client_side > 0 {
            format!(", of {client_side} the client's side alone was seen")
        } else {
            String::new()
        };
        return Err(Ended::not_judged(format!(
            "--strict: {skipped} cell(s) were skipped{seen}, {new} recorded one(s) are compared with nothing"
        )));
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rstest::rstest;
    use serde_json::Value;
    use svidproof_probe::protocol::{Observation, Timing};

    use super::super::report::Begun;
    use super::*;
    use crate::proof::judge::Judged;
    use crate::proof::verdict::Verdict::{
        self, ClientSide, Errored, Failed, Flaky, Passed, Recorded, Skipped,
    };
    use crate::proof::{plan, response};

    /// One cell for each verdict; those that came to something were answered.
    fn cells(verdicts: &[Verdict]) -> Vec<Judged> {
        let scenario = crate::scenario::one_check();
        let cell = plan::plan(&scenario, &scenario.stages[0], "run").remove(0);
        let one = |verdict: &Verdict| {
            let reason = if *verdict == Passed { "" } else { "because" };
            let mut judged = Judged::untried(cell.clone(), *verdict, reason.into());
            judged.observed = (*verdict == Recorded).then(answered);
            judged
        };
        verdicts.iter().map(one).collect()
    }

    fn answered() -> Observation {
        Observation { outcome: response(200, &[], ""), tls: None, timing: Timing::default() }
    }

    fn finished(out: &Path, judged: Vec<Judged>, ended: Result<(), Ended>, strict: bool) -> (Exit, String) {
        let telling = Telling { out: Some(out.into()), strict, verbose: false, format: Format::Text };
        let about = About { run: "run", provider: "kind".into(), record: None, begun: Begun::now() };
        let baselines = [Baseline::none("web")];
        let asked =
            Asked { baselines: &baselines, only: None, whole: true, accept: false, telling: &telling };
        let outcome = Outcome { judged, tests: vec![] };
        match finish(&about, &asked, outcome, ended, &Progress::new()) {
            Ok(exit) => (exit, String::new()),
            Err(ended) => (ended.exit, ended.to_string()),
        }
    }

    #[rstest]
    #[case::all_passed(&[Passed], false, Exit::Passed)]
    #[case::all_passed_strictly(&[Passed], true, Exit::Passed)]
    #[case::skipped(&[Passed, Skipped], false, Exit::Passed)]
    #[case::skipped_strictly(&[Passed, Skipped], true, Exit::NotJudged)]
    #[case::seen_from_one_side(&[Passed, ClientSide], false, Exit::Passed)]
    #[case::seen_from_one_side_strictly(&[Passed, ClientSide], true, Exit::NotJudged)]
    #[case::compared_with_nothing(&[Passed, Recorded], false, Exit::Passed)]
    #[case::compared_with_nothing_strictly(&[Passed, Recorded], true, Exit::NotJudged)]
    #[case::errored(&[Passed, Errored], false, Exit::NotJudged)]
    #[case::errored_once(&[Passed, Flaky], false, Exit::NotJudged)]
    #[case::failed_whatever_else(&[Failed, Errored, Skipped], true, Exit::CheckFailed)]
    fn the_worst_makes_the_status_and_strictly_more_is_bad(
        #[case] verdicts: &[Verdict],
        #[case] strict: bool,
        #[case] expected: Exit,
    ) {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(finished(dir.path(), cells(verdicts), Ok(()), strict).0, expected);
    }

    #[rstest]
    #[case::a_failed_check_is_worse(&[Failed], Exit::NotJudged, Exit::CheckFailed)]
    #[case::than_a_wrong_input_that_shows_later(&[Failed], Exit::Input, Exit::CheckFailed)]
    #[case::an_interrupt_stays_one(&[Failed], Exit::Interrupted, Exit::Interrupted)]
    #[case::what_passed_so_far_is_not_all(&[Passed], Exit::NotJudged, Exit::NotJudged)]
    #[case::a_wrong_input(&[Passed], Exit::Input, Exit::Input)]
    #[case::before_anything(&[], Exit::NotJudged, Exit::NotJudged)]
    fn what_was_judged_before_the_end_is_told_with_what_ended_it(
        #[case] verdicts: &[Verdict],
        #[case] by: Exit,
        #[case] expected: Exit,
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("report.json"), "an old one").unwrap();
        let ended = Err(Ended { exit: by, error: "the pod is gone".into() });
        let (exit, said) = finished(dir.path(), cells(verdicts), ended, false);
        assert_eq!((exit, said.as_str()), (expected, "the pod is gone"));
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        let report: Value = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(report["checks"].as_array().unwrap().len(), verdicts.len());
        assert_eq!(report["errors"], serde_json::json!(["the pod is gone"]));
        for name in ["junit.xml", "report.html", "report.sarif"] {
            assert!(read(name).contains("the pod is gone"), "{name}");
        }
    }

    #[test]
    fn a_report_that_cannot_be_written_is_told_after_what_ended_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let ended = Err(Ended::input("no such chart"));
        let (exit, said) = finished(&file, vec![], ended, false);
        assert_eq!(exit, Exit::Input);
        assert!(said.starts_with("no such chart\ncould not write "), "{said}");
        let (exit, _) = finished(&file, cells(&[Failed]), Ok(()), false);
        assert_eq!(exit, Exit::CheckFailed, "a failed check stays one");
    }
}
