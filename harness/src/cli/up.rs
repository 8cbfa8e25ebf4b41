//! `svidproof up`: a cluster that stays.

use clap::Args;

use super::cluster::ClusterArgs;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::scenarios::{Scenarios, load};
use crate::lease::Lease;
use crate::session;
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn up(args: UpArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = load(&args.scenarios)?;
    args.cluster.check(&scenarios)?;
    clear(progress).await?;
    let lease = Lease::new()?;
    let setup = args.cluster.setup(scenarios, progress);
    let session =
        or_interrupted(INTERRUPTED, Box::pin(async { Ok(session::up(&lease, setup).await?) })).await;
    match session {
        Ok(session) => {
            session::keep(&lease).await?;
            let kubeconfig = session.context.record().cluster.kubeconfig;
            progress.note(&format!(
                "run {} is up: `svidproof test` makes its checks, `svidproof down` takes it down",
                lease.id
            ));
            print(&format!("export KUBECONFIG={}\n", kubeconfig.display()))?;
            Ok(Exit::Passed)
        }
        Err(failure) => and_down(Err(failure), &lease, progress).await,
    }
}
