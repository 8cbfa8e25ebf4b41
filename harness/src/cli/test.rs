//! `svidproof test`: the checks, on a cluster that is kept.

use clap::Args;

use super::baseline::Baseline;
use super::bundle::Ending;
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted};
use super::finish::{Asked, Telling, finish};
use super::report::{About, Begun};
use super::scenarios::{Scenarios, kept, scenarios, stage_is_there};
use crate::proof::chart_test::ChartTest;
use crate::session;
use crate::suite::{Results, matches, test_all};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    /// Only this stage
    #[arg(long)]
    stage: Option<String>,
    /// Only checks whose name this matches; `*` stands for any text
    #[arg(long, value_name = "GLOB")]
    check: Option<String>,
    /// Keep what every client got, in tests/snapshots, to be compared with from then on
    #[arg(long, conflicts_with = "check")]
    accept: bool,
    #[command(flatten)]
    pub(super) telling: Telling,
}

pub(super) async fn test(args: TestArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    let begun = Begun::now();
    let scenarios = scenarios(&lease, &args.scenarios)?;
    stage_is_there(args.stage.as_deref(), &scenarios)?;
    let baselines = Baseline::all(&scenarios)?;
    let chosen = |name: &str| args.check.as_deref().is_none_or(|glob| matches(glob, name));
    let mut checks = scenarios.iter().flat_map(|one| &one.stages).flat_map(|one| &one.checks);
    let releases = scenarios.iter().flat_map(|one| one.install.iter().flatten());
    let mut tests = releases.filter(|one| one.helm_tests).map(|one| ChartTest::name(&one.full_name()));
    if !checks.any(|one| chosen(&one.name)) && !tests.any(|one| chosen(&one)) {
        return Err(Ended::input("no check has such a name\nhint: --check takes `*` for any text"));
    }
    let results = Results::default();
    let work = async {
        let session = session::reopen(&lease, scenarios.clone(), progress).await?;
        Ok(test_all(&session, args.stage.as_deref(), &chosen, &results).await?)
    };
    let ended = or_interrupted(INTERRUPTED, work).await;
    let about = About::of(&lease, None, begun);
    let asked = Asked {
        baselines: &baselines,
        only: args.stage.as_deref(),
        // A part of a stage's cells is not a surface.
        whole: args.check.is_none(),
        accept: args.accept,
        telling: &args.telling,
    };
    let finished = finish(&about, &asked, results.take(), ended, progress);
    let reports = args.telling.folder(&baselines);
    let ending = Ending { lease: &lease, scenarios: &scenarios, reports: &reports, only_looks: false };
    ending.explain(finished.as_ref().copied(), progress).await;
    finished
}
