//! `svidproof up`: a cluster that stays.

use std::io::IsTerminal;

use clap::Args;

use super::bundle::{Ending, reports};
use super::cluster::ClusterArgs;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::scenarios::{Scenarios, load};
use crate::lease::Lease;
use crate::provider::Provider;
use crate::scenario::Scenario;
use crate::session;
use crate::sys::chain;
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Leave the cluster where a bring-up failed: the next `up` goes on there [default: at a terminal]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    keep_on_failure: Option<bool>,
}

pub(super) async fn up(args: UpArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = load(&args.scenarios)?;
    let cluster = args.cluster.in_project(&scenarios)?;
    cluster.check(&scenarios, progress)?;
    clear(progress).await?;
    let left = unfinished(&scenarios, cluster.provider())?;
    let goes_on = left.is_some();
    let lease = left.map_or_else(Lease::new, Ok)?;
    if goes_on {
        progress.note(&format!("going on with run {}, whose bring-up failed", lease.id));
    }
    let setup = cluster.setup(scenarios.clone(), progress);
    let work = async {
        let session = if goes_on {
            session::go_on(&lease, setup).await
        } else {
            Box::pin(session::up(&lease, setup)).await
        };
        Ok(session?)
    };
    let came = or_interrupted(INTERRUPTED, Box::pin(work)).await;
    let reports = reports(&scenarios);
    let ending = Ending { lease: &lease, scenarios: &scenarios, reports: &reports, only_looks: false };
    ending.explain(came.as_ref().map(|_| Exit::Passed), progress).await;
    match came {
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
        Err(failure) => {
            let keep = args.keep_on_failure.unwrap_or_else(|| std::io::stderr().is_terminal());
            if keep && failure.exit != Exit::Interrupted && session::leave_unfinished(&lease)? {
                progress.note(&format!(
                    "run {} is left as it is: `svidproof up` goes on with it, `svidproof down` takes it down",
                    lease.id
                ));
                return Err(failure);
            }
            explain(&lease, &scenarios, &failure, progress).await;
            and_down(Err(failure), &lease, progress).await
        }
    }
}

/// The run of these scenarios that an earlier `up` left where it failed.
fn unfinished(scenarios: &[Scenario], provider: Provider) -> Result<Option<Lease>, Ended> {
    let mut runs = Lease::all()?.into_iter().filter_map(|dir| Lease::open(dir).ok());
    Ok(runs.find(|lease| session::is_unfinished(lease, scenarios, provider)))
}

/// Before it is taken down, what is needed to understand the failure goes into the project's out folder.
pub(super) async fn explain(lease: &Lease, scenarios: &[Scenario], failure: &Ended, progress: &Progress) {
    let untold = |ended: &Ended| matches!(ended.exit, Exit::Interrupted | Exit::Input);
    if untold(failure) {
        return;
    }
    match session::autopsy(lease, scenarios, &failure.to_string(), &reports(scenarios)).await {
        Ok(Some(path)) => progress.note(&format!("what the cluster said of it is in {}", path.display())),
        Ok(None) => {}
        Err(error) => progress.note(&chain(&error)),
    }
}
