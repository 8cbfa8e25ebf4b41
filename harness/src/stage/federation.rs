//! The trust domains that a stage federates with: the Envoys under test are waited for until they have heard
//! of it. Exchanging bundles is `session`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;

use super::target::Target;
use crate::scenario::{Scenario, Stage};
use crate::sys::chain;

/// From server to agent to Envoy: an agent asks every five seconds unless it is told otherwise.
const HEARD: Duration = Duration::from_secs(30);

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
    let known = entries.flat_map(|entry| entry.federates_with.iter().cloned());
    let known: BTreeSet<_> = known.filter(|name| scenario.federation.contains_key(name)).collect();
    let wanted = known.iter().filter(|name| stage.federation.contains(name)).cloned().collect();
    (known, wanted)
}
