//! A release brought to what it shall be: rendered, and, where it does not stand like that already, installed
//! and waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use serde_json::Value;

use super::record::Installed;
use super::{RunContext, SessionError};
use crate::cluster::helm::Wanted;
use crate::scenario::{Release, Scenario, merged};

/// A roll-out that takes longer will not come any more: images are there, and the machine is not that slow.
const ROLL_OUT: Duration = Duration::from_mins(2);

/// Installs or upgrades the release unless it stands like that already, and waits for its workloads. Returns
/// whether anything was done.
pub async fn apply(
    context: &RunContext,
    scenario: &Scenario,
    release: &Release,
    values: &Value,
) -> Result<bool, SessionError> {
    let chart = scenario.chart(release);
    let wanted = Wanted { release: &release.name, chart: &chart, namespace: &release.namespace, values };
    let key = format!("{}/{}", scenario.name, release.full_name());
    let helm = |source| SessionError::Helm { scenario: scenario.name.clone(), source };
    // What a chart makes, not what it is made of: a file that changes nothing, or a value that nothing reads,
    // upgrades nothing.
    let rendered = try_join(context.helm.rendered(wanted), context.look(&key, release));
    let (rendered, ()) = rendered.await.map_err(helm)?;
    let fingerprint = rendered.fingerprint();
    if context.installed(&key).is_some_and(|installed| installed.rendered == fingerprint) {
        return Ok(false);
    }
    let kube = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    let step = context.progress.part(format!("{}: release {}", scenario.name, release.name));
    // An upgrade that fails half-way leaves neither the old nor the new: going back to the old has to be an
    // upgrade too.
    context.note_installed(&key, None)?;
    let how = context.how(release).await.map_err(kube)?;
    let stands = context.helm.upgrade(how, wanted, &rendered).await.map_err(helm)?;
    let workloads = stands.workloads();
    try_join_all(workloads.iter().map(|workload| context.kube.rolled_out(workload, ROLL_OUT)))
        .await
        .map_err(kube)?;
    let installed = Installed { rendered: fingerprint, stands: stands.fingerprint() };
    context.note_installed(&key, Some(installed))?;
    step.done();
    Ok(true)
}

/// Whether the release would be another with the one values than with the other.
pub async fn makes_a_difference(
    context: &RunContext,
    scenario: &Scenario,
    release: &Release,
    [one, other]: [&Value; 2],
) -> Result<bool, SessionError> {
    if one == other {
        return Ok(false);
    }
    let chart = scenario.chart(release);
    let rendered = async |values| {
        let (release, namespace) = (release.name.as_str(), release.namespace.as_str());
        context.helm.rendered(Wanted { release, chart: &chart, namespace, values }).await
    };
    let both = try_join(rendered(one), rendered(other)).await;
    let (one, other) =
        both.map_err(|source| SessionError::Helm { scenario: scenario.name.clone(), source })?;
    Ok(one != other)
}

/// The values of a release in a stage: its own, with the stage's and then a planted fault's over them.
pub fn stage_values(release: &Release, over: &[&BTreeMap<String, Value>]) -> Value {
    over.iter()
        .flat_map(|values| values.iter().filter(|(key, _)| release.is_called(key)))
        .fold(release.values.clone(), |values, (_, over)| merged(&values, over))
}
