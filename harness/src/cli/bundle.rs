//! `svidproof bundle`, and the support bundle that `run`, `up`, `test` and `check-live` leave of what did not
//! pass.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::scenarios::scenarios_of;
use crate::bundle::{self, BundleError, Manifest, Subject};
use crate::lease::Lease;
use crate::project::Project;
use crate::scenario::Scenario;
use crate::session::Record;
use crate::sys::progress::Progress;
use crate::sys::{chain, files};

/// In the folder of the reports.
const FILE: &str = "bundle.tar.zst";

#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    /// Of this run [default: the newest that is kept]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Where it goes [default: bundle.tar.zst beside the reports]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// It only reads: also of a run that another svidproof works on.
pub(super) async fn bundle(args: BundleArgs, progress: &Progress) -> Result<Exit, Ended> {
    let dir = run(args.run.as_deref())?;
    let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let scenarios = match Record::read(&dir) {
        Ok(record) => scenarios_of(&record).unwrap_or_else(|error| {
            progress.note(&format!("warning: of no scenario anything is gathered: {error}"));
            vec![]
        }),
        Err(_) => vec![],
    };
    let reports = reports(&scenarios);
    let file = args.out.unwrap_or_else(|| reports.join(FILE));
    let subject = Subject {
        run: &id,
        dir: &dir,
        scenarios: &scenarios,
        reports: &reports,
        why: None,
        only_looks: false,
    };
    let work = async { Ok(gathered(&subject, &file, progress).await?) };
    or_interrupted(INTERRUPTED, work).await?;
    print(&format!("{}\n", file.display()))?;
    Ok(Exit::Passed)
}

fn run(wanted: Option<&str>) -> Result<PathBuf, Ended> {
    let all = Lease::all()?;
    let is_wanted = |dir: &&PathBuf| match wanted {
        Some(id) => dir.file_name().is_some_and(|name| name == id),
        None => Lease::is_kept(dir).unwrap_or_default(),
    };
    let found = all.iter().find(is_wanted).cloned();
    found.ok_or_else(|| {
        let there: Vec<_> = all.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy())).collect();
        let there = if there.is_empty() {
            "there is none at all".into()
        } else {
            format!("there are {}", there.join(", "))
        };
        Ended::input(match wanted {
            Some(id) => format!(
                "there is no run {id}\nhint: {there}; what was taken down left its bundle beside its reports"
            ),
            None => {
                format!("no cluster is kept\nhint: `svidproof bundle --run ID` takes another run; {there}")
            }
        })
    })
}

/// Where the project's reports go.
pub(super) fn reports(scenarios: &[Scenario]) -> PathBuf {
    let project = scenarios.first().and_then(|first| Project::at(&first.root).ok());
    project.map_or_else(|| ".svidproof".into(), |project| project.out())
}

async fn gathered(subject: &Subject<'_>, file: &Path, progress: &Progress) -> Result<Manifest, BundleError> {
    let step = progress.phase("support bundle");
    let manifest = bundle::gather(subject, file).await?;
    step.done();
    let (gathered, all) = manifest.gathered();
    let others = if gathered < all { "; its manifest.json says why others are not" } else { "" };
    progress.note(&format!(
        "{gathered} of {all} pieces of what happened are in {}, without secrets{others}",
        file.display()
    ));
    Ok(manifest)
}

/// A run that came to its end, and may be taken down.
pub(super) struct Ending<'a> {
    pub(super) lease: &'a Lease,
    pub(super) scenarios: &'a [Scenario],
    pub(super) reports: &'a Path,
    pub(super) only_looks: bool,
}

impl Ending<'_> {
    /// Of what did not pass there is a bundle then, and only of that: one of before is gone. Whatever becomes
    /// of it, the run ends as it did; a signal ends it at once.
    pub(super) async fn explain(&self, came: Result<Exit, &Ended>, progress: &Progress) {
        let Self { lease, scenarios, reports, only_looks } = *self;
        let file = reports.join(FILE);
        if let Err(error) = files::remove(&file) {
            progress.note(&format!("warning: a support bundle of before is still there: {}", chain(&error)));
        }
        let why = match came {
            Ok(Exit::Passed) => return,
            Ok(_) => None,
            Err(ended) if ended.exit == Exit::Interrupted => return,
            // What is wrong was told, and is not in the cluster.
            Err(ended) if ended.exit == Exit::Input => return,
            Err(ended) => Some(ended.to_string()),
        };
        let subject =
            Subject { run: &lease.id, dir: &lease.dir, scenarios, reports, why: why.as_deref(), only_looks };
        let work = async { gathered(&subject, &file, progress).await.map_err(Ended::not_judged) };
        if let Err(ended) = or_interrupted("the support bundle was given up", work).await {
            progress.note(&format!("warning: {ended}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ended(exit: Exit) -> Ended {
        Ended { exit, error: "the pod is gone".into() }
    }

    #[rstest]
    #[case::passed(Ok(Exit::Passed), false)]
    #[case::failed(Ok(Exit::CheckFailed), true)]
    #[case::errored(Ok(Exit::NotJudged), true)]
    #[case::broken(Err(ended(Exit::NotJudged)), true)]
    #[case::interrupted(Err(ended(Exit::Interrupted)), false)]
    #[case::a_wrong_input(Err(ended(Exit::Input)), false)]
    #[tokio::test]
    async fn there_is_one_of_what_did_not_pass_and_none_of_before(
        #[case] came: Result<Exit, Ended>,
        #[case] leaves: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (run, reports) = (dir.path().join("run"), dir.path().join("out"));
        for folder in [&run, &reports] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(reports.join(FILE), "an old one").unwrap();
        let lease = Lease::open(run).unwrap();
        let ending = Ending { lease: &lease, scenarios: &[], reports: &reports, only_looks: false };
        ending.explain(came.as_ref().copied(), &Progress::new()).await;
        let left = std::fs::read(reports.join(FILE));
        assert_eq!(left.is_ok(), leaves);
        assert!(left.unwrap_or_default() != b"an old one");
    }

    #[tokio::test]
    async fn one_that_cannot_be_written_is_told_and_that_is_all() {
        let dir = tempfile::tempdir().unwrap();
        let lease = Lease::open(dir.path().to_owned()).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let reports = dir.path().join("file/out");
        let ending = Ending { lease: &lease, scenarios: &[], reports: &reports, only_looks: false };
        ending.explain(Err(&ended(Exit::NotJudged)), &Progress::new()).await;
    }
}
