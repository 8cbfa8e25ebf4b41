//! Registration in the scenario's SPIRE server: what is wanted there, made once the server is ready, and made
//! again where it is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use tokio::sync::watch;

use super::noted::note_release;
use super::servers::{self, server};
use super::{RunContext, SessionError, System, apply, hands, machines};
use crate::cluster::probe::Probe;
use crate::cluster::spire::{Created, Server, Shown, SpireError, Wanted, lacks, under};
use crate::halt::{self, Halt};
use crate::lease::Lease;
use crate::scenario::{Client, Entry, PROBES, Registration, Scenario, probe_name};
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

/// A bundle is published and an SVID handed out within SPIRE's own intervals, 5 s each.
pub(super) const SYNC: Duration = Duration::from_secs(30);
/// An agent that lost its server comes back after its own pauses, which grow.
const AGENTS: Duration = Duration::from_mins(2);
/// What the probe waits for it asks for at once, and its own silence is bounded.
const ATTESTED_ANEW: Duration = Duration::from_secs(90);
/// A server tells nobody that an agent has attested; it must be asked.
const ASK: Duration = Duration::from_millis(500);

/// As soon as the server is ready, makes the entries whose parents are known, and waits for the bundle to be
/// published; says so to `done`. Those that hang under the agents themselves come after the agents.
pub(super) async fn register(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    done: &watch::Sender<bool>,
) -> Result<(), SessionError> {
    let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    let server = server(context, scenario);
    let longest = scenario.install.iter().flatten().filter_map(crate::scenario::Release::limit).max();
    server.ready(longest.unwrap_or(AGENTS)).await.map_err(failed)?;
    let disposable = context.record().cluster.provider.is_disposable();
    if !disposable {
        lease.making(hands::entries(scenario, &lease.id))?;
    }
    if let Some(version) = server.version().await.map_err(failed)? {
        context.note_ran("spire", version)?;
    }
    let registration = &scenario.registration;
    let aliases = registration.aliases();
    let mut entries = entries(&server, scenario).await.map_err(failed)?;
    if disposable {
        entries.extend(probe_entries(scenario, None));
    }
    let known = under(&entries, &aliases);
    let bundle = async {
        let Some((namespace, name)) = scenario.spire.bundle() else { return Ok(()) };
        server.publishes([namespace, name, &scenario.spire.bundle_key], SYNC).await
    };
    let prefix = hands::prefix(&lease.id);
    let create = server.create(&scenario.trust_domain, &prefix, &known);
    try_join(create, bundle).await.map_err(failed)?;
    if let Some(release) = scenario.registration_release() {
        note_release(context, lease, scenario, &release.name, &release.namespace).await?;
        apply(context, scenario, &release, &release.values).await?;
    }
    halt::at(Halt::Entries).await;
    // Nobody hears it where the bring-up has failed meanwhile.
    let _ = done.send(true);
    if aliases.is_empty() && registration.entries.iter().any(|entry| entry.parent.is_none()) {
        ensure(context, scenario, None).await?;
    }
    Ok(())
}

/// Waits until the entries of the registration's manifests are there, whose pods are.
pub(super) async fn registered(context: &RunContext, scenario: &Scenario) -> Result<(), SessionError> {
    let Some(release) = scenario.registration_release() else { return Ok(()) };
    let (name, namespace) = (&release.name, &release.namespace);
    let helm = |source| SessionError::Helm { scenario: scenario.name.clone(), source };
    let stands = context.helm.stored(name, namespace).await.map_err(helm)?;
    let objects = stands.map(|stands| stands.settling()).unwrap_or_default();
    let entered = objects.iter().map(|object| context.kube.entered(object, AGENTS));
    let entered = try_join_all(entered).await.map(drop);
    entered.map_err(|source| SessionError::Kube { scenario: scenario.name.clone(), source })
}

/// Makes all that is not there of what is wanted: the scenario's entries and, for its pod, the probe's.
///
/// # Errors
/// No agent has attested where entries hang under the agents, or the server did not take them.
pub(super) async fn ensure(
    context: &RunContext,
    scenario: &Scenario,
    pod: Option<&str>,
) -> Result<Created, SessionError> {
    let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    let server = server(context, scenario);
    let mut entries = entries(&server, scenario).await.map_err(failed)?;
    entries.extend(pod.iter().flat_map(|pod| of_pod(context, scenario, pod)));
    let wanted = wanted(context, scenario, &entries).await?;
    server.create(&scenario.trust_domain, &hands::prefix(&context.run), &wanted).await.map_err(failed)
}

/// The scenario's own entries, with those bundles that the server has now.
async fn entries(server: &Server, scenario: &Scenario) -> Result<Vec<Entry>, SpireError> {
    let trusted = if scenario.federation.is_empty() { vec![] } else { server.trusted().await? };
    Ok(scenario.entries_with(&trusted))
}

/// Exchanges bundles with these trust domains of the scenario's federation, takes those of all others away,
/// and gives the entries what they want of them.
pub async fn federate(
    context: &RunContext,
    scenario: &Scenario,
    federated: &[String],
) -> Result<(), SessionError> {
    if scenario.federation.is_empty() {
        return Ok(());
    }
    let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    let own = server(context, scenario);
    let exchange = async {
        for (name, neighbour) in &scenario.federation {
            let other = servers::neighbour(context, neighbour);
            if federated.contains(name) {
                own.trust(name, &other.bundle().await?).await?;
                other.trust(&scenario.trust_domain, &own.bundle().await?).await?;
            } else {
                own.distrust(name).await?;
                other.distrust(&scenario.trust_domain).await?;
            }
        }
        Ok(())
    };
    exchange.await.map_err(failed)?;
    let mut entries = scenario.entries_with(federated);
    entries.retain(|entry| entry.federates_with.iter().any(|name| federated.contains(name)));
    let wanted = wanted(context, scenario, &entries).await?;
    own.update(&scenario.trust_domain, &hands::prefix(&context.run), &wanted).await.map_err(failed)
}

/// These entries under their parents: node aliases, or else the agents that there are.
async fn wanted(
    context: &RunContext,
    scenario: &Scenario,
    entries: &[Entry],
) -> Result<Vec<Wanted>, SessionError> {
    let aliases = scenario.registration.aliases();
    if !aliases.is_empty() {
        return Ok(under(entries, &aliases));
    }
    let server = server(context, scenario);
    let what = format!("an agent to attest to SPIRE server {server}");
    let outside = machines::agents(context, scenario);
    let agents = wait::poll(&what, AGENTS, ASK, async || match server.agents().await {
        // Those outside of the cluster have workloads of their own.
        Ok(agents) if agents.iter().all(|agent| outside.contains(agent)) => {
            Look::NotYet("it knows no agent".into())
        }
        Ok(agents) => {
            Look::Ready(agents.into_iter().filter(|agent| !outside.contains(agent)).collect::<Vec<_>>())
        }
        Err(error) => Look::Fatal(error),
    });
    let agents = agents.await.map_err(|error| match error {
        WaitError::TimedOut(gave_up) => {
            SessionError::NoAgent { scenario: scenario.name.clone(), source: gave_up }
        }
        WaitError::Fatal { source, .. } => SessionError::Spire { scenario: scenario.name.clone(), source },
    })?;
    Ok(under(entries, &agents.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// The probe's entries, where its pod is known.
fn of_pod(context: &RunContext, scenario: &Scenario, pod: &str) -> Vec<Entry> {
    let disposable = context.record().cluster.provider.is_disposable();
    probe_entries(scenario, (!disposable).then_some(pod))
}

/// One entry for each identity that a client of the scenario presents: the one probe is given them all.
/// In a cluster that is not the run's own only this very pod is: whoever else may start pods there is not to
/// get the scenario's identities by it.
fn probe_entries(scenario: &Scenario, pod: Option<&str>) -> Vec<Entry> {
    let mut select = vec![format!("k8s:ns:{PROBES}"), format!("k8s:sa:{}", probe_name(&scenario.name))];
    select.extend(pod.map(|uid| format!("k8s:pod-uid:{uid}")));
    let dns = |id: &str| {
        let entry = scenario.registration.entries.iter().find(|entry| entry.id == id);
        entry.map(|entry| entry.dns.clone()).unwrap_or_default()
    };
    let entry = |id: String| Entry { dns: dns(&id), id, select: select.clone(), ..Entry::default() };
    probe_ids(scenario).into_iter().map(entry).collect()
}

/// The paths of the SPIFFE IDs that clients present of the probe's.
fn probe_ids(scenario: &Scenario) -> BTreeSet<String> {
    scenario.clients.values().flat_map(Client::probed).map(ToOwned::to_owned).collect()
}

/// Before a stage's windows: what the server has lost since, by a restart say, is made again; then it is
/// waited for until the probe trusts that server.
pub async fn restore(context: &RunContext, system: &System) -> Result<(), SessionError> {
    let System { scenario, probes, .. } = system;
    let Some(probe) = probes.first() else { return Ok(()) };
    let Created { new, .. } = ensure(context, scenario, Some(probe.pod_uid())).await?;
    if new == 0 {
        return Ok(());
    }
    let server = server(context, scenario);
    context.progress.note(&format!(
        "scenario {}: SPIRE server {server} had lost {new} entries, and they are made again",
        scenario.name
    ));
    let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    let authorities = server.authorities().await.map_err(failed)?;
    others(scenario, &server).await?;
    let Some(id) = probe_ids(scenario).pop_first() else { return Ok(()) };
    let each = probes.iter().map(async |probe| {
        hold(scenario, probe, ATTESTED_ANEW).await?;
        let what = format!("the probe to be handed the bundle of SPIRE server {server}");
        // The probe knows, and tells only who asks.
        let trusts =
            wait::poll(&what, AGENTS, ASK, async || match probe.fetch(scenario.spiffe_id(&id)).await {
                Ok(carried) => lacks(&carried.bundle, &authorities).map_or(Look::Ready(()), Look::NotYet),
                Err(error) => Look::Fatal(error),
            });
        trusts.await.map_err(|error| match error {
            WaitError::TimedOut(source) => {
                SessionError::OldBundle { scenario: scenario.name.clone(), source }
            }
            WaitError::Fatal { source, .. } => {
                SessionError::Probe { scenario: scenario.name.clone(), source }
            }
        })
    });
    try_join_all(each).await.map(drop)
}

/// Waits until the server has again what others than svidproof register in it, as a controller does.
async fn others(scenario: &Scenario, server: &Server) -> Result<(), SessionError> {
    let expected = registered_by_others(scenario);
    let what = format!("SPIRE server {server} to have the entries again that are not svidproof's");
    let again = wait::poll(&what, AGENTS, ASK, async || match server.entries().await {
        Ok(entries) => {
            let missing: Vec<_> =
                expected.iter().filter(|id| !entries.iter().any(|entry| entry.is_of(id))).copied().collect();
            if missing.is_empty() {
                Look::Ready(())
            } else {
                Look::NotYet(format!("none for {}", missing.join(", ")))
            }
        }
        Err(error) => Look::Fatal(error),
    });
    again.await.map_err(|error| match error {
        WaitError::TimedOut(source) => SessionError::Unregistered { scenario: scenario.name.clone(), source },
        WaitError::Fatal { source, .. } => SessionError::Spire { scenario: scenario.name.clone(), source },
    })
}

/// The paths of the SPIFFE IDs of workloads that have their entries from a controller, or had them before.
fn registered_by_others(scenario: &Scenario) -> BTreeSet<&str> {
    let Registration { entries, .. } = &scenario.registration;
    if !scenario.registration.others_register() {
        return BTreeSet::new();
    }
    identities(scenario).filter(|id| !entries.iter().any(|entry| entry.id == *id)).collect()
}

/// The paths of the SPIFFE IDs that the scenario's own workloads have: endpoints, and users of machines.
fn identities(scenario: &Scenario) -> impl Iterator<Item = &str> {
    let endpoints = scenario.endpoints.values().filter_map(|endpoint| endpoint.identity.as_deref());
    endpoints.chain(scenario.users().filter_map(|(client, _)| client.identity()))
}

/// The entries of those identities that svidproof makes.
fn of_workloads(scenario: &Scenario) -> Vec<Entry> {
    let identities: BTreeSet<_> = identities(scenario).collect();
    let entries = scenario.registration.entries.iter();
    entries.filter(|entry| identities.contains(entry.id.as_str())).cloned().collect()
}

/// After a stage's windows: the paths of those SPIFFE IDs for which the server has no entry any more:
/// clients', where there is none of the probe's, and workloads', whoever makes them. What was dialled with
/// them was dialled with SVIDs that were handed out before.
///
/// # Errors
/// In words, why that is not known.
pub async fn lost(context: &RunContext, system: &System) -> Result<BTreeSet<String>, String> {
    let System { scenario, probes, .. } = system;
    // Who dials with what it was given asks nothing of the server.
    let Some(probe) = probes.first() else { return Ok(BTreeSet::new()) };
    let known = async {
        let clients = wanted(context, scenario, &of_pod(context, scenario, probe.pod_uid())).await?;
        let workloads = wanted(context, scenario, &of_workloads(scenario)).await?;
        let failed = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
        let entries = server(context, scenario).entries().await.map_err(failed)?;
        Ok::<_, SessionError>((clients, workloads, entries))
    };
    let (clients, workloads, entries) = known.await.map_err(|error| chain(&error))?;
    // An entry of the probe's for the same ID is none of the workload's.
    let prefix = hands::prefix(&context.run);
    let theirs: Vec<_> = entries.iter().filter(|entry| !entry.is_ours(&prefix)).collect();
    let others = registered_by_others(scenario).into_iter();
    let others = others.filter(|id| !theirs.iter().any(|entry| entry.is_of(id))).map(ToOwned::to_owned);
    Ok(gone(&clients, &entries).into_iter().chain(gone(&workloads, &entries)).chain(others).collect())
}

/// The paths of which none of what is wanted is there.
fn gone(wanted: &[Wanted], entries: &[Shown]) -> BTreeSet<String> {
    let has = |wanted: &&Wanted| entries.iter().any(|entry| entry.is(wanted));
    let (there, gone): (Vec<_>, Vec<_>) = wanted.iter().partition(has);
    let there: BTreeSet<_> = there.into_iter().map(|one| &one.entry.id).collect();
    gone.into_iter().map(|one| one.entry.id.clone()).filter(|id| !there.contains(id)).collect()
}

/// Waits until the probe holds an SVID for each identity that a client presents.
pub(super) async fn hold(scenario: &Scenario, probe: &Probe, limit: Duration) -> Result<(), SessionError> {
    let ids = probe_ids(scenario).into_iter().map(|path| scenario.spiffe_id(&path)).collect();
    let held = probe.hold(ids, u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)).await;
    held.map_err(|source| SessionError::Probe { scenario: scenario.name.clone(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, select: &str) -> Entry {
        Entry { id: id.into(), select: vec![select.into()], ..Entry::default() }
    }

    fn shown(id: &str, parent: &str, select: &str) -> Shown {
        let (kind, value) = select.split_once(':').unwrap();
        let (id, parent, selector) =
            (json!({"path": id}), json!({"path": parent}), json!({"type": kind, "value": value}));
        serde_json::from_value(json!({"spiffe_id": id, "parent_id": parent, "selectors": [selector]}))
            .unwrap()
    }

    #[test]
    fn an_identity_is_gone_once_no_entry_gives_it_to_its_workload() {
        let wanted = under(&[entry("/shop", "k8s:sa:shop"), entry("/till", "k8s:sa:till")], &["/a", "/b"]);
        let all = [
            shown("/shop", "/a", "k8s:sa:shop"),
            shown("/shop", "/b", "k8s:sa:shop"),
            shown("/till", "/a", "k8s:sa:till"),
        ];
        assert_eq!(gone(&wanted, &all), BTreeSet::new());
        assert_eq!(gone(&wanted, &all[2..]), ["/shop".to_owned()].into());
        // The probe's, for the same ID, is not the shop's.
        let probe = shown("/shop", "/a", "k8s:pod-uid:1");
        assert_eq!(gone(&wanted, &[probe, all[2].clone()]), ["/shop".to_owned()].into());
    }

    #[test]
    fn the_entries_of_endpoints_are_looked_at_again() {
        let scenario = crate::scenario::read_text(
            "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration:
  - {id: /agents, node: true, select: ['k8s_psat:cluster:demo']}
  - {id: /backend, select: ['k8s:sa:backend']}
  - {id: /other, select: ['k8s:sa:other']}
endpoints: {backend: {service: a/backend, port: 443, identity: /backend, admin: 1}}
clients: {friend: /friend}
stages:
  - stage: one
    checks:
      - {check: served, as: friend, to: backend, send: GET /, expect: {status: 200}}
",
        );
        let ids: Vec<_> = of_workloads(&scenario).into_iter().map(|entry| entry.id).collect();
        assert_eq!(ids, ["/backend"]);
    }
}
