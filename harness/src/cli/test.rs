//! `svidproof test`: the checks, on a cluster that is kept.

use std::path::PathBuf;

use clap::Args;

use super::baseline::{Baseline, accept, compare};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted};
use super::report::{Begun, report};
use super::scenarios::{Scenarios, kept, scenarios, stage_is_there};
use crate::session;
use crate::suite::{matches, test_all};
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
    /// Where report.json, junit.xml and report.html go
    #[arg(long, value_name = "DIR", default_value = ".svidproof")]
    out: PathBuf,
}

pub(super) async fn test(args: TestArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    let begun = Begun::now();
    let scenarios = scenarios(&lease, &args.scenarios)?;
    stage_is_there(args.stage.as_deref(), &scenarios)?;
    let baselines: Vec<_> = scenarios.iter().map(Baseline::of).collect();
    let chosen = |name: &str| args.check.as_deref().is_none_or(|glob| matches(glob, name));
    let work = async {
        let session = session::reopen(&lease, scenarios, progress).await?;
        Ok(test_all(&session, args.stage.as_deref(), &chosen).await?)
    };
    let tested = or_interrupted(INTERRUPTED, work).await?;
    if tested.judged.is_empty() {
        return Err(Ended::input("no check has such a name\nhint: --check takes `*` for any text"));
    }
    let exit = report(&tested, &lease.id, begun, &args.out, progress)?;
    if args.accept {
        accept(&tested.judged, &baselines, progress)?;
        return Ok(exit);
    }
    // A part of a stage's cells is not a surface.
    let opened =
        args.check.is_none() && compare(&tested.judged, &baselines, args.stage.as_deref(), progress)?;
    Ok(if opened { Exit::CheckFailed } else { exit })
}
