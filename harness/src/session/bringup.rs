//! Bringing one scenario up in a cluster, in order and by events: server -> bundle published and entries
//! created -> agent -> workloads, with the probe beside them.

use std::time::Duration;

use futures::future::{try_join, try_join_all};
use serde_json::json;

use super::{RunContext, SessionError, System, apply};
use crate::cluster::kube::Backend;
use crate::cluster::probe::Probe;
use crate::cluster::spire::Server;
use crate::data;
use crate::forge::{Authority, authorities};
use crate::lease::{Lease, Thing};
use crate::scenario::{Entry, PROBES, Release, Scenario, probe_name};

/// The agent fetches entries every half second with the charts' values; upstream's default is 5 s.
const SYNC: Duration = Duration::from_secs(30);

pub(super) async fn bring_up(
    context: &RunContext,
    lease: &Lease,
    scenario: Scenario,
) -> Result<System, SessionError> {
    let name = scenario.name.clone();
    let phase = |what: &str| context.progress.phase(format!("{name}: {what}"));
    let mut waves = scenario.install.iter();
    let step = phase("SPIRE server, bundle and entries");
    give_authority(context, lease, &scenario).await?;
    if let Some(first) = waves.next() {
        wave(context, lease, &scenario, first).await?;
    }
    register(context, lease, &scenario).await?;
    step.done();
    let step = phase("SPIRE agent");
    if let Some(second) = waves.next() {
        wave(context, lease, &scenario, second).await?;
    }
    step.done();
    let step = phase("workloads and probe");
    let rest = async {
        for releases in waves {
            wave(context, lease, &scenario, releases).await?;
        }
        Ok(())
    };
    let ((), probe) = try_join(rest, install_probe(context, lease, &scenario)).await?;
    step.done();
    Ok(System { scenario, probe })
}

/// Makes the CA that the scenario's SPIRE server takes its own from, and puts it where the server looks for
/// it.
async fn give_authority(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
) -> Result<(), SessionError> {
    let Some(name) = &scenario.spire.authority_secret else { return Ok(()) };
    let namespace = &scenario.spire.namespace;
    note_namespace(context, lease, scenario, namespace).await?;
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Secret { name: name.clone(), namespace: namespace.clone() })?;
    }
    let authority = Authority::kept(&authorities(&context.dir), &scenario.trust_domain);
    let Authority { certificate, key } =
        authority.map_err(|source| SessionError::Forge { scenario: scenario.name.clone(), source })?;
    let data = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    let made = context.kube.apply_secret(namespace, name, "kubernetes.io/tls", &data).await;
    made.map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })
}

async fn wave(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    releases: &[Release],
) -> Result<(), SessionError> {
    let install = async |release: &Release| {
        note_release(context, lease, scenario, &release.name, &release.namespace).await?;
        apply(context, scenario, release, &release.values).await.map(drop)
    };
    try_join_all(releases.iter().map(install)).await.map(drop)
}

/// Writes the release, and its namespace if it makes one, into the lease.
async fn note_release(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    name: &str,
    namespace: &str,
) -> Result<(), SessionError> {
    note_namespace(context, lease, scenario, namespace).await?;
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Release { name: name.into(), namespace: namespace.into() })?;
    }
    Ok(())
}

async fn note_namespace(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    namespace: &str,
) -> Result<(), SessionError> {
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    if !context.record().cluster.provider.is_disposable()
        && !context.kube.namespace_exists(namespace).await.map_err(failed)?
    {
        lease.making(Thing::Namespace { name: namespace.into() })?;
    }
    Ok(())
}

/// Creates the scenario's entries and the probe's, and waits until the bundle is published.
async fn register(context: &RunContext, lease: &Lease, scenario: &Scenario) -> Result<(), SessionError> {
    let spire = &scenario.spire;
    let prefix = format!("svidproof-{}-", lease.id);
    let entries: Vec<_> = scenario.registration.iter().cloned().chain(probe_entries(scenario)).collect();
    let (namespace, server, container) =
        (spire.namespace.clone(), spire.server.clone(), spire.container.clone());
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Entries { namespace, server, container, prefix: prefix.clone() })?;
    }
    let server = Server::new(context.kube.clone(), &spire.namespace, &spire.server, &spire.container);
    let create = async {
        let created = server.create(&scenario.trust_domain, &prefix, &entries).await;
        created.map(drop).map_err(|source| SessionError::Spire { scenario: scenario.name.clone(), source })
    };
    let bundle = async {
        let Some(name) = &spire.bundle else { return Ok(()) };
        let waited = context.kube.config_map_key(&spire.namespace, name, "bundle.crt", SYNC).await;
        waited.map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })
    };
    try_join(create, bundle).await.map(drop)
}

/// One entry for each identity that a client of the scenario presents: the one probe is given them all.
fn probe_entries(scenario: &Scenario) -> Vec<Entry> {
    let select = vec![format!("k8s:ns:{PROBES}"), format!("k8s:sa:{}", probe_name(&scenario.name))];
    let dns = |id: &str| {
        scenario
            .registration
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.dns.clone())
            .unwrap_or_default()
    };
    probe_ids(scenario)
        .into_iter()
        .map(|id| Entry { dns: dns(&id), id, select: select.clone(), node: false })
        .collect()
}

fn probe_ids(scenario: &Scenario) -> std::collections::BTreeSet<String> {
    scenario.clients.values().filter_map(|client| client.identity()).map(ToOwned::to_owned).collect()
}

async fn install_probe(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
) -> Result<Probe, SessionError> {
    let name = probe_name(&scenario.name);
    note_release(context, lease, scenario, &name, PROBES).await?;
    let values =
        json!({ "scenario": scenario.name, "serviceAccount": name, "socketDir": scenario.spire.socket_dir });
    let release = Release {
        name,
        chart: data::home(&scenario.root)?.join("helm/probe"),
        namespace: PROBES.into(),
        values,
    };
    apply(context, scenario, &release, &release.values).await?;
    open_probe(context, scenario).await
}

pub(super) async fn open_probe(context: &RunContext, scenario: &Scenario) -> Result<Probe, SessionError> {
    let labels =
        [("app.kubernetes.io/name", "svidproof-probe"), ("svidproof.dev/scenario", scenario.name.as_str())];
    let ready = context
        .kube
        .ready_pods(PROBES, &labels)
        .await
        .map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })?;
    let pod: &Backend =
        ready.first().ok_or_else(|| SessionError::NoProbe { scenario: scenario.name.clone() })?;
    let failed = |source| SessionError::Probe { scenario: scenario.name.clone(), source };
    let probe = Probe::open(&context.kube, pod).await.map_err(failed)?;
    let ids = probe_ids(scenario).into_iter().map(|path| scenario.spiffe_id(&path)).collect();
    probe.hold(ids, u64::try_from(SYNC.as_millis()).unwrap_or(u64::MAX)).await.map_err(failed)?;
    Ok(probe)
}
