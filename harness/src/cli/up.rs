//! `svidproof up`: a cluster that stays.

use clap::Args;

use super::down::clear;
use super::run::and_down;
use super::{Failure, Scenarios, Where, load, or_interrupted};
use crate::lease::Lease;
use crate::session::{self, Setup};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn up(args: UpArgs, progress: &Progress) -> Result<u8, Failure> {
    let scenarios = load(&args.scenarios)?;
    clear(progress).await?;
    let lease = Lease::new()?;
    let options = args.place.options();
    let setup = Setup {
        scenarios,
        provider: args.place.provider,
        options: &options,
        source: args.place.images,
        progress,
    };
    let session =
        or_interrupted(Failure::interrupted, Box::pin(async { Ok(session::up(&lease, setup).await?) })).await;
    match session {
        Ok(session) => {
            lease.keep()?;
            let kubeconfig = session.context.record().cluster.kubeconfig;
            progress.note(&format!(
                "run {} is up: `svidproof test` makes its checks, `svidproof down` takes it down",
                lease.id
            ));
            super::print(&format!("export KUBECONFIG={}\n", kubeconfig.display()))?;
            Ok(0)
        }
        Err(failure) => and_down(Err(failure), &lease, progress).await,
    }
}
