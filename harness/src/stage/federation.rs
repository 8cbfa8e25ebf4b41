//! The trust domains that a stage federates with: bundles exchanged between the SPIRE servers, or taken away
//! again, and the Envoys under test waited for until they have heard of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::target::Target;
use crate::cluster::spire::{Server, SpireError};
use crate::scenario::{Neighbour, Scenario, Stage};
use crate::session::{self, RunContext, SessionError};
use crate::sys::chain;

/// From server to agent to Envoy: an agent asks every five seconds unless it is told otherwise.
const HEARD: Duration = Duration::from_secs(30);

/// Brings each trust domain that the scenario knows to what the stage says of it.
pub(super) async fn federate(
    run: &RunContext,
    scenario: &Scenario,
    stage: &Stage,
) -> Result<(), SessionError> {
    if scenario.federation.is_empty() {
        return Ok(());
    }
    let own = session::server(run, scenario);
    let work = async {
        for (name, neighbour) in &scenario.federation {
            let other = server_of(run, neighbour);
            if stage.federation.contains(name) {
                own.trust(name, &other.bundle().await?).await?;
                other.trust(&scenario.trust_domain, &own.bundle().await?).await?;
            } else {
                own.distrust(name).await?;
                other.distrust(&scenario.trust_domain).await?;
            }
        }
        Ok(())
    };
    let failed = |source: SpireError| SessionError::Spire { scenario: scenario.name.clone(), source };
    work.await.map_err(failed)?;
    session::federate(run, scenario, &stage.federation).await
}

/// The SPIRE server of another trust domain.
pub(super) fn server_of(run: &RunContext, neighbour: &Neighbour) -> Server {
    Server::new(run.kube.clone(), neighbour.api())
}

/// Waits until each Envoy verifies by the bundles that its entry is given in this stage. By endpoint, why one
/// does not.
pub(super) async fn unheard(
    scenario: &Scenario,
    stage: &Stage,
    targets: &BTreeMap<String, Target<'_>>,
) -> BTreeMap<String, String> {
    let waits = targets.iter().flat_map(|(name, target)| {
        let wanted = target.declared.identity.as_deref().map(|id| wanted(scenario, stage, id));
        let wanted = wanted.filter(|(known, _)| !known.is_empty());
        target.envoys().filter_map(move |envoy| Some((name, envoy, wanted.clone()?)))
    });
    let waits = waits.map(async |(name, envoy, (known, wanted))| {
        let heard = envoy.admin.trusts(&known, &wanted, HEARD).await;
        heard.err().map(|error| (name.clone(), chain(&error)))
    });
    join_all(waits).await.into_iter().flatten().collect()
}

/// The trust domains that the entries of an identity know of, and which of them the stage federates with.
fn wanted(scenario: &Scenario, stage: &Stage, id: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let entries = scenario.registration.entries.iter().filter(|entry| entry.id == id);
    let known: BTreeSet<_> = entries.flat_map(|entry| entry.federates_with.iter().cloned()).collect();
    let wanted = known.iter().filter(|name| stage.federation.contains(name)).cloned().collect();
    (known, wanted)
}
