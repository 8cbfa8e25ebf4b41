//! Bringing one scenario up in a cluster, in order and by events: server -> bundle published and entries
//! created -> agent -> workloads, with the probe beside them. In which wave the server is, is seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::{try_join, try_join_all};
use serde_json::json;
use tokio::sync::watch;

use super::noted::{make_namespace, note_release};
use super::register::{SYNC, ensure, hold, register, registered};
use super::servers::server;
use super::{RunContext, SessionError, System, apply, machines};
use crate::cluster::kube::{Backend, Holder, KubeError};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::cluster::probe::Probe;
use crate::data;
use crate::forge::{Authority, authorities, machine_authorities};
use crate::halt::{self, Halt};
use crate::lease::{Lease, Thing};
use crate::scenario::{PROBES, Release, Scenario, probe_name};

/// The probe's, as its chart has it.
const IMAGE: &str = "svidproof/probe:dev";
/// The label of a namespace that lets pods in which mount folders of their node, whatever the cluster admits
/// elsewhere: nothing less does (Kubernetes documentation, "Pod Security Admission").
const HOST_PATHS: (&str, &str) = ("pod-security.kubernetes.io/enforce", "privileged");

pub(super) async fn bring_up(
    context: &RunContext,
    lease: &Lease,
    scenario: Scenario,
) -> Result<System, SessionError> {
    give_authorities(context, lease, &scenario).await?;
    let (told, done) = watch::channel(false);
    let made = Box::pin(async {
        register(context, lease, &scenario, &told).await?;
        Box::pin(machines::begin(context, lease, &scenario)).await
    });
    let installed = Box::pin(installed(context, lease, &scenario, done));
    let ((), probes) = try_join(made, installed).await?;
    registered(context, &scenario).await?;
    Ok(System { scenario, probes, given: BTreeMap::new() })
}

/// Every wave; the one after the server's begins once its entries are made.
async fn installed(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    mut made: watch::Receiver<bool>,
) -> Result<Vec<Probe>, SessionError> {
    let phase = |what: &str| context.progress.phase(format!("{}: {what}", scenario.name));
    let mut waves = scenario.install.iter();
    let step = phase("SPIRE server, bundle and entries");
    let server = server(context, scenario);
    let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    while server.workload().await.map_err(failed)?.is_none() {
        let Some(next) = waves.next() else { return Err(failed(server.missing())) };
        wave(context, lease, scenario, next).await?;
    }
    // Where it failed, that is told by who waits for both.
    let _ = made.wait_for(|done| *done).await;
    step.done();
    let step = phase("SPIRE agent");
    if let Some(next) = waves.next() {
        wave(context, lease, scenario, next).await?;
    }
    step.done();
    let step = phase("workloads and probe");
    let rest = async {
        for releases in waves {
            wave(context, lease, scenario, releases).await?;
        }
        Ok(())
    };
    let ((), probes) = try_join(rest, install_probe(context, lease, scenario)).await?;
    step.done();
    Ok(probes)
}

/// Makes the CA that the scenario's SPIRE server takes its own from, and the one by which it knows machines
/// outside, and puts them where the server looks for them.
async fn give_authorities(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
) -> Result<(), SessionError> {
    let kept = |folder: PathBuf| {
        let authority = Authority::kept(&folder, &scenario.trust_domain);
        authority.map_err(|source| SessionError::Forge { scenario: scenario.name.clone(), source })
    };
    if let Some(name) = &scenario.spire.authority_secret {
        let Authority { certificate, key } = kept(authorities(&context.dir))?;
        let data = [("tls.crt", certificate.as_str()), ("tls.key", key.as_str())];
        give_secret(context, lease, scenario, name, "kubernetes.io/tls", &data).await?;
    }
    if let Some(name) = &scenario.spire.x509pop_secret {
        let Authority { certificate, .. } = kept(machine_authorities(&context.dir))?;
        give_secret(context, lease, scenario, name, "Opaque", &[("ca.crt", certificate.as_str())]).await?;
    }
    Ok(())
}

/// Puts a Secret of the run's own beside the scenario's SPIRE server.
async fn give_secret(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    name: &str,
    kind: &str,
    data: &[(&str, &str)],
) -> Result<(), SessionError> {
    let namespace = &scenario.spire.namespace;
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    make_namespace(context, lease, scenario, namespace, &[]).await?;
    let is = context.kube.secret_of(namespace, name, &context.run).await.map_err(failed)?;
    if is == Holder::Another {
        return Err(failed(KubeError::Foreign { what: format!("secret {namespace}/{name}") }));
    }
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Secret { name: name.into(), namespace: namespace.clone() })?;
    }
    context.kube.create_secret(namespace, name, kind, data, &context.run).await.map_err(failed)
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

async fn install_probe(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
) -> Result<Vec<Probe>, SessionError> {
    let name = probe_name(&scenario.name);
    let spire = &scenario.spire;
    let labels: &[_] = if spire.csi.is_none() { &[HOST_PATHS] } else { &[] };
    make_namespace(context, lease, scenario, PROBES, labels).await?;
    note_release(context, lease, scenario, &name, PROBES).await?;
    let mut values = json!({
        "scenario": scenario.name, "serviceAccount": name, "socketFile": spire.socket_file,
        "socketDir": spire.socket_dir.as_deref().unwrap_or_default(),
        "csi": spire.csi.as_deref().unwrap_or_default(),
    });
    if let Some(image) = context.record().renamed.get(IMAGE) {
        values["image"] = image.as_str().into();
    }
    let release = Release {
        name,
        chart: data::home(&scenario.root)?.join("helm/probe"),
        namespace: PROBES.into(),
        values,
        ..Release::default()
    };
    apply(context, scenario, &release, &release.values).await?;
    open_probes(context, scenario).await
}

/// In a cluster of the run's own, the probe of every node: nobody says how many another's has.
pub(super) async fn open_probes(
    context: &RunContext,
    scenario: &Scenario,
) -> Result<Vec<Probe>, SessionError> {
    let labels =
        [("app.kubernetes.io/name", "svidproof-probe"), ("svidproof.dev/scenario", scenario.name.as_str())];
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    let record = context.record();
    let disposable = record.cluster.provider.is_disposable();
    if disposable {
        let (kind, namespace) = (WorkloadKind::DaemonSet, PROBES.to_owned());
        let workload = Workload { kind, namespace, name: probe_name(&scenario.name) };
        // Of a kept cluster, one may be about to come again.
        context.kube.rolled_out(&workload, SYNC).await.map_err(failed)?;
    }
    let ready = context.kube.ready_pods(PROBES, &labels).await.map_err(failed)?;
    let (there, wanted) = (ready.len(), usize::from(record.workers.max(1)));
    // None may be left out: a node that is gone has no probe that is missed.
    if (1..wanted).contains(&there) {
        return Err(SessionError::ProbesLacking { scenario: scenario.name.clone(), there, wanted });
    }
    let pods = ready.iter().take(if disposable { usize::MAX } else { 1 });
    let failed = |source| SessionError::Probe { scenario: scenario.name.clone(), source };
    let opened = pods.map(|pod: &Backend| Probe::open(&context.kube, pod));
    let probes = try_join_all(opened).await.map_err(failed)?;
    let probe = probes.first().ok_or_else(|| SessionError::NoProbe { scenario: scenario.name.clone() })?;
    // Where the pod had to be known, or the agents: another pod than before gets entries of its own, and
    // those of before select nothing any more.
    if !disposable || scenario.registration.aliases().is_empty() {
        ensure(context, scenario, Some(probe.pod_uid())).await?;
    }
    try_join_all(probes.iter().map(|probe| hold(scenario, probe, SYNC))).await?;
    halt::at(Halt::Probe).await;
    Ok(probes)
}
