//! `svidproof run`: from nothing to torn down.

use std::path::PathBuf;

use clap::Args;

use super::down::clear;
use super::test::{Tested, report, test_all};
use super::{Failure, Scenarios, Where, load, or_interrupted};
use crate::lease::Lease;
use crate::scenario::Scenario;
use crate::session::teardown;
use crate::session::{self, Setup};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    place: Where,
    /// Leave the cluster standing, for `svidproof test`
    #[arg(long)]
    keep: bool,
    /// Where report.json, junit.xml and report.html go
    #[arg(long, value_name = "DIR", default_value = ".svidproof")]
    out: PathBuf,
}

pub(super) async fn run(args: RunArgs, progress: &Progress) -> Result<u8, Failure> {
    let scenarios = load(&args.scenarios)?;
    let begun = std::time::Instant::now();
    let started = jiff::Timestamp::now();
    clear(progress).await?;
    let lease = Lease::new()?;
    let tested =
        or_interrupted(Failure::interrupted, Box::pin(work(&lease, scenarios, &args, progress))).await;
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
    report(&tested, &lease.id, started, begun, &args.out, progress)
}

async fn work(
    lease: &Lease,
    scenarios: Vec<Scenario>,
    args: &RunArgs,
    progress: &Progress,
) -> Result<Tested, Failure> {
    let options = args.place.options();
    let setup = Setup {
        scenarios,
        provider: args.place.provider,
        options: &options,
        source: args.place.images,
        progress,
    };
    let session = session::up(lease, setup).await?;
    test_all(&session, None, &|_| true).await
}

/// Takes the run down, whatever came of it. What went wrong first is told first, and gives the exit status.
pub(super) async fn and_down<T>(
    came: Result<T, Failure>,
    lease: &Lease,
    progress: &Progress,
) -> Result<T, Failure> {
    match (came, take_down(lease, progress).await) {
        (came, Ok(())) => came,
        (Ok(_), Err(left)) => Err(left),
        (Err(first), Err(left)) => {
            Err(Failure { status: first.status, message: format!("{}\n{}", first.message, left.message) })
        }
    }
}

/// Takes the run down; a second signal leaves the rest to `gc`.
pub(super) async fn take_down(lease: &Lease, progress: &Progress) -> Result<(), Failure> {
    or_interrupted(interrupted_down, async { Ok(teardown::teardown(lease, progress).await?) }).await
}

pub(super) fn interrupted_down() -> Failure {
    Failure {
        status: 130,
        message: "interrupted while taking down\nhint: `svidproof gc` takes the rest down".into(),
    }
}
