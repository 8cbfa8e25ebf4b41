//! `svidproof dials`: how many dials a second the probe makes in the cluster. A figure for
//! docs/performance.md, not a test.

use clap::Args;

use super::exit::{Ended, Exit, print};
use super::scenarios::{kept, kept_scenarios};
use crate::session;
use crate::stage;
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct DialsArgs {
    /// How many dials to make for each scenario
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
}

pub(super) async fn dials(args: DialsArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    let scenarios = kept_scenarios(&lease)?;
    let session = session::reopen(&lease, scenarios, progress).await?;
    let mut rates = serde_json::Map::new();
    for system in &session.systems {
        let Some(stage) = system.scenario.stages.first() else { continue };
        let seconds = stage::time_dials(&session.context, system, stage, args.count as usize).await?;
        let rate = (f64::from(args.count) / seconds).round();
        rates.insert(
            system.scenario.name.clone(),
            serde_json::json!({ "dials": args.count, "seconds": seconds, "dials_a_second": rate }),
        );
    }
    print(&format!("{}\n", serde_json::Value::Object(rates)))?;
    Ok(Exit::Passed)
}
