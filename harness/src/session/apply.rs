//! A release brought to what it shall be: rendered, and, where it does not stand like that already, installed
//! and waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::{try_join, try_join_all, try_join3};
use serde_json::Value;

use super::record::Installed;
use super::{RunContext, SessionError};
use crate::cluster::helm::{How, Wanted};
use crate::cluster::kube::KubeError;
use crate::halt::{self, Halt};
use crate::provider::Provider;
use crate::scenario::{Release, Scenario, merged};

/// A roll-out that takes longer will not come any more: images are there, and the machine is not that slow.
/// Unless the release says that it may.
const ROLL_OUT: Duration = Duration::from_mins(2);

/// Installs or upgrades the release unless it stands like that already, and waits for its workloads. Returns
/// whether anything was done.
pub async fn apply(
    context: &RunContext,
    scenario: &Scenario,
    release: &Release,
    values: &Value,
) -> Result<bool, SessionError> {
    let (chart, files) = (scenario.chart(release), scenario.values_files(release));
    let wanted = Wanted { release, chart: &chart, files: &files, values };
    let key = format!("{}/{}", scenario.name, release.full_name());
    let helm = |source| SessionError::Helm { scenario: scenario.name.clone(), source };
    // What a chart makes, not what it is made of: a file that changes nothing, or a value that nothing reads,
    // upgrades nothing.
    let rendered = try_join(context.helm.rendered(wanted), context.look(&key, release));
    let (rendered, ()) = rendered.await.map_err(helm)?;
    let fingerprint = rendered.fingerprint();
    let before = context.installed(&key);
    if before.as_ref().is_some_and(|installed| installed.rendered == fingerprint) {
        return Ok(false);
    }
    let kube = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    let step = context.progress.part(format!("{}: release {}", scenario.name, release.name));
    // An upgrade that fails half-way leaves neither the old nor the new: going back to the old has to be an
    // upgrade too.
    context.note_installed(&key, None)?;
    let how = context.how(release).await.map_err(kube)?;
    let known = match how {
        How::Upgrade => context.helm.hooks(&release.name, &release.namespace).await.map_err(helm)?,
        How::Install | How::Either => vec![],
    };
    if how != How::Either {
        // Helm deletes whatever has a hook's name before it makes its own (Helm documentation, "Chart Hooks":
        // `before-hook-creation`); and what was not there before may be deleted with the release.
        let new: Vec<_> = rendered.all_hooks().into_iter().filter(|hook| !known.contains(hook)).collect();
        if let Some(what) = context.kube.first_there(&new).await.map_err(kube)? {
            return Err(kube(KubeError::Foreign { what }));
        }
    }
    let begun = Instant::now();
    let hooks = rendered.hooks();
    // Helm itself would wait for a hook's image for as long as for the hook.
    let upgrade = async {
        let upgrade = context.helm.upgrade(how, wanted, &rendered);
        if before.is_some() { halt::beside(Halt::Upgrading, upgrade).await } else { upgrade.await }
    };
    let upgraded = tokio::select! {
        done = upgrade => done,
        error = context.kube.lacks_image(&hooks, true) => return Err(kube(error)),
    };
    let stands = match upgraded {
        Ok(stands) => stands,
        Err(source) => {
            let hooks = context.kube.failed_hooks(&hooks).await;
            return Err(if hooks.is_empty() {
                helm(source)
            } else {
                SessionError::Hook { scenario: scenario.name.clone(), hooks, source }
            });
        }
    };
    let services = stands.services();
    if context.record().cluster.provider == Provider::Kind {
        // Nobody else does there.
        try_join_all(services.iter().map(|one| context.kube.balance(one))).await.map_err(kube)?;
    }
    // In a cluster that is there, who gives addresses, and whether anybody does, is not known.
    let balanced = if context.record().cluster.provider == Provider::Gke { services } else { vec![] };
    // What the release's own limit has left.
    let limit = release.limit().map_or(ROLL_OUT, |limit| limit.saturating_sub(begun.elapsed()));
    let (workloads, settling) = (stands.workloads(), stands.settling());
    let rolled_out = try_join_all(workloads.iter().map(|workload| context.kube.rolled_out(workload, limit)));
    let settled = try_join_all(settling.iter().map(|object| context.kube.settles(object, limit)));
    let balanced = try_join_all(
        balanced.iter().map(|one| context.kube.balanced(&one.namespace, &one.name, release.limit())),
    );
    tokio::select! {
        done = try_join3(rolled_out, settled, balanced) => drop(done.map_err(kube)?),
        error = context.kube.lacks_image(&settling, false) => return Err(kube(error)),
    };
    let installed = Installed { rendered: fingerprint, stands: stands.fingerprint() };
    context.note_installed(&key, Some(installed))?;
    step.done();
    Ok(true)
}

/// Lets every pod of the release go and come again, though nothing of it is written otherwise.
pub async fn restart(
    context: &RunContext,
    scenario: &Scenario,
    release: &Release,
) -> Result<(), SessionError> {
    let step = context.progress.part(format!("{}: restart of release {}", scenario.name, release.name));
    let helm = |source| SessionError::Helm { scenario: scenario.name.clone(), source };
    let stands = context.helm.stored(&release.name, &release.namespace).await.map_err(helm)?;
    let workloads = stands.map(|stands| stands.workloads()).unwrap_or_default();
    let limit = release.limit().unwrap_or(ROLL_OUT);
    let restarted = workloads.iter().map(|workload| context.kube.restarted(workload, limit));
    let restarted = try_join_all(restarted).await;
    restarted.map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })?;
    step.done();
    Ok(())
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
    let (chart, files) = (scenario.chart(release), scenario.values_files(release));
    let rendered =
        async |values| context.helm.rendered(Wanted { release, chart: &chart, files: &files, values }).await;
    let both = try_join(rendered(one), rendered(other)).await;
    let (one, other) =
        both.map_err(|source| SessionError::Helm { scenario: scenario.name.clone(), source })?;
    Ok(one != other)
}

/// Whether the release's chart, with these values, has something for `helm test` to run.
pub async fn has_tests(
    context: &RunContext,
    scenario: &Scenario,
    release: &Release,
    values: &Value,
) -> Result<bool, SessionError> {
    let (chart, files) = (scenario.chart(release), scenario.values_files(release));
    let rendered = context.helm.rendered(Wanted { release, chart: &chart, files: &files, values }).await;
    let rendered =
        rendered.map_err(|source| SessionError::Helm { scenario: scenario.name.clone(), source })?;
    Ok(rendered.has_tests())
}

/// The values of a release in a stage: its own, with the stage's and then a planted fault's over them.
pub fn stage_values(release: &Release, over: &[&BTreeMap<String, Value>]) -> Value {
    over.iter()
        .flat_map(|values| values.iter().filter(|(key, _)| release.is_called(key)))
        .fold(release.own_values(), |values, (_, over)| merged(&values, over))
}
