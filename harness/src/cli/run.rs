//! `svidproof run`: from nothing to torn down.

use std::path::PathBuf;

use clap::Args;

use super::cluster::ClusterArgs;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted};
use super::report::{Begun, report};
use super::scenarios::{Scenarios, load};
use crate::lease::Lease;
use crate::scenario::Scenario;
use crate::session;
use crate::suite::{Tested, test_all};
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
    /// Where report.json, junit.xml and report.html go
    #[arg(long, value_name = "DIR", default_value = ".svidproof")]
    out: PathBuf,
}

pub(super) async fn run(args: RunArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = load(&args.scenarios)?;
    let begun = Begun::now();
    clear(progress).await?;
    let lease = Lease::new()?;
    let tested = or_interrupted(INTERRUPTED, Box::pin(work(&lease, scenarios, &args, progress))).await;
    // What could not even be brought up is of no use to keep.
    let tested = if args.keep && tested.is_ok() {
        lease.keep()?;
        progress.note(&format!(
            "run {} is kept: `svidproof test` uses it, `svidproof down` takes it down",
            lease.id
        ));
        tested
    } else {
        and_down(tested, &lease, progress).await
    };
    let tested = tested?;
    report(&tested, &lease.id, begun, &args.out, progress)
}

async fn work(
    lease: &Lease,
    scenarios: Vec<Scenario>,
    args: &RunArgs,
    progress: &Progress,
) -> Result<Tested, Ended> {
    let setup = args.cluster.setup(scenarios, progress);
    let session = session::up(lease, setup).await?;
    Ok(test_all(&session, None, &|_| true).await?)
}
