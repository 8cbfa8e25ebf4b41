//! `svidproof run`: from nothing to torn down.

use clap::Args;

use super::baseline::Baseline;
use super::bundle::Ending;
use super::cluster::ClusterArgs;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted};
use super::finish::{Asked, Telling, failed_before, finish};
use super::report::{About, Begun};
use super::scenarios::{Scenarios, load};
use super::up::explain;
use crate::halt::{self, Halt};
use crate::lease::Lease;
use crate::scenario::Scenario;
use crate::session;
use crate::suite::{Results, test_all};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Leave the cluster standing, for `svidproof test`
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    pub(super) telling: Telling,
}

pub(super) async fn run(args: RunArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = load(&args.scenarios)?;
    let args = RunArgs { cluster: args.cluster.in_project(&scenarios)?, ..args };
    let baselines = Baseline::all(&scenarios)?;
    let begun = Begun::now();
    args.cluster.check(&scenarios, progress)?;
    clear(progress).await?;
    let lease = Lease::new()?;
    let results = Results::default();
    let work = Box::pin(work(&lease, &scenarios, &args, &results, progress));
    let ended = or_interrupted(INTERRUPTED, work).await;
    // What could not even be brought up is of no use to keep.
    let keep = args.keep && ended.is_ok();
    // Before the teardown: whatever becomes of that, what was judged is told.
    let about = About::of(&lease, Some(args.cluster.provider()), begun);
    let asked =
        Asked { baselines: &baselines, only: None, whole: true, accept: false, telling: &args.telling };
    let finished = finish(&about, &asked, results.take(), ended, progress);
    halt::at(Halt::Reported).await;
    let reports = args.telling.folder(&baselines);
    let ending = Ending { lease: &lease, scenarios: &scenarios, reports: &reports, only_looks: false };
    ending.explain(finished.as_ref().copied(), progress).await;
    if keep {
        session::keep(&lease).await?;
        progress.note(&format!(
            "run {} is kept: `svidproof test` uses it, `svidproof down` takes it down",
            lease.id
        ));
        return finished;
    }
    let failed = matches!(finished, Ok(Exit::CheckFailed));
    let down = and_down(finished, &lease, progress).await;
    down.map_err(|left| if failed { failed_before(left) } else { left })
}

async fn work(
    lease: &Lease,
    scenarios: &[Scenario],
    args: &RunArgs,
    results: &Results,
    progress: &Progress,
) -> Result<(), Ended> {
    halt::at(Halt::Lease).await;
    let setup = args.cluster.setup(scenarios.to_vec(), progress);
    let session = match Box::pin(session::up(lease, setup)).await {
        Ok(session) => session,
        Err(error) => {
            let failure = error.into();
            explain(lease, scenarios, &failure, progress).await;
            return Err(failure);
        }
    };
    test_all(&session, None, &|_| true, results).await?;
    halt::at(Halt::Judged).await;
    Ok(())
}
