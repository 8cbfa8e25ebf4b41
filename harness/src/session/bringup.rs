//! Bringing one scenario up in a cluster, in order and by events: server -> bundle published and entries
//! created -> agent -> workloads, with the probe beside them.

use std::time::Duration;

use futures::future::{try_join, try_join_all};
use serde_json::json;

use super::{RunContext, SessionError, System, apply, hands};
use crate::cluster::kube::{Backend, Holder, KubeError};
use crate::cluster::probe::Probe;
use crate::cluster::spire::Server;
use crate::data;
use crate::forge::{Authority, authorities};
use crate::lease::{Lease, Thing};
use crate::scenario::{Client, Entry, PROBES, Release, Scenario, probe_name};

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
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    make_namespace(context, lease, scenario, namespace).await?;
    let authority = Authority::kept(&authorities(&context.dir), &scenario.trust_domain);
    let Authority { certificate, key } =
        authority.map_err(|source| SessionError::Forge { scenario: scenario.name.clone(), source })?;
    let is = context.kube.secret_of(namespace, name, &context.run).await.map_err(failed)?;
    if is == Holder::Another {
        return Err(failed(KubeError::Foreign { what: format!("secret {namespace}/{name}") }));
    }
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Secret { name: name.clone(), namespace: namespace.clone() })?;
    }
    let data = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
    let made = context.kube.create_secret(namespace, name, "kubernetes.io/tls", &data, &context.run).await;
    made.map_err(failed)
}

async fn wave(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    releases: &[Release],
) -> Result<(), SessionError> {
    let install = async |release: &Release| {
        note_release(context, lease, scenario, &release.name, &release.namespace).await?;
        apply(context, scenario, release, &release.own_values()).await.map(drop)
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
    if context.record().cluster.provider.is_disposable() {
        return Ok(());
    }
    make_namespace(context, lease, scenario, namespace).await?;
    lease.making(Thing::Release { name: name.into(), namespace: namespace.into() })?;
    Ok(())
}

/// Makes the namespace where it is not there; only then is it the run's to delete.
async fn make_namespace(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    namespace: &str,
) -> Result<(), SessionError> {
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    if context.kube.namespace_of(namespace, &context.run).await.map_err(failed)? != Holder::Nobody {
        return Ok(());
    }
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Namespace { name: namespace.into() })?;
    }
    context.kube.create_namespace(namespace, &context.run).await.map_err(failed)
}

/// Creates the scenario's entries and, where the cluster is the run's own, the probe's; waits until the
/// bundle is published.
async fn register(context: &RunContext, lease: &Lease, scenario: &Scenario) -> Result<(), SessionError> {
    let spire = &scenario.spire;
    let disposable = context.record().cluster.provider.is_disposable();
    let mut entries = scenario.registration.clone();
    if disposable {
        entries.extend(probe_entries(scenario, None));
    } else {
        lease.making(hands::entries(scenario, &lease.id))?;
    }
    let prefix = hands::prefix(&lease.id);
    let create = enter(context, scenario, &prefix, &entries);
    let bundle = async {
        let Some(name) = &spire.bundle else { return Ok(()) };
        let waited = context.kube.config_map_key(&spire.namespace, name, "bundle.crt", SYNC).await;
        waited.map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })
    };
    try_join(create, bundle).await.map(drop)
}

async fn enter(
    context: &RunContext,
    scenario: &Scenario,
    prefix: &str,
    entries: &[Entry],
) -> Result<(), SessionError> {
    let spire = &scenario.spire;
    let server = Server::new(context.kube.clone(), &spire.namespace, &spire.server, &spire.container);
    let created = server.create(&scenario.trust_domain, prefix, entries).await;
    created.map(drop).map_err(|source| SessionError::Spire { scenario: scenario.name.clone(), source })
}

/// One entry for each identity that a client of the scenario presents: the one probe is given them all.
/// In a cluster that is not the run's own only this very pod is: whoever else may start pods there is not to
/// get the scenario's identities by it.
fn probe_entries(scenario: &Scenario, pod: Option<&str>) -> Vec<Entry> {
    let mut select = vec![format!("k8s:ns:{PROBES}"), format!("k8s:sa:{}", probe_name(&scenario.name))];
    select.extend(pod.map(|uid| format!("k8s:pod-uid:{uid}")));
    let dns = |id: &str| {
        scenario
            .registration
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.dns.clone())
            .unwrap_or_default()
    };
    let entry = |id: String| Entry { dns: dns(&id), id, select: select.clone(), ..Entry::default() };
    probe_ids(scenario).into_iter().map(entry).collect()
}

fn probe_ids(scenario: &Scenario) -> std::collections::BTreeSet<String> {
    scenario.clients.values().flat_map(Client::attested).map(ToOwned::to_owned).collect()
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
        ..Release::default()
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
    if !context.record().cluster.provider.is_disposable() {
        // Another pod than before gets entries of its own; those of before select nothing any more.
        let prefix = format!("{}{}-", hands::prefix(&context.run), pod.uid());
        // The alias of the agents, which they hang under, is there: SPIRE keeps it.
        let aliases = scenario.registration.iter().filter(|entry| entry.node).cloned();
        let entries: Vec<_> = aliases.chain(probe_entries(scenario, Some(pod.uid()))).collect();
        enter(context, scenario, &prefix, &entries).await?;
    }
    let failed = |source| SessionError::Probe { scenario: scenario.name.clone(), source };
    let probe = Probe::open(&context.kube, pod).await.map_err(failed)?;
    let ids = probe_ids(scenario).into_iter().map(|path| scenario.spiffe_id(&path)).collect();
    probe.hold(ids, u64::try_from(SYNC.as_millis()).unwrap_or(u64::MAX)).await.map_err(failed)?;
    Ok(probe)
}
