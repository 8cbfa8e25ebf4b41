//! What is read of a scenario's hops once something failed, side by side and in bounded time. What it means
//! is `proof::hops`' to say; no verdict is changed by it.

mod envoys;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join, join_all};

use super::{RunContext, SessionError};
use crate::cluster::kube::{Kube, KubeError};
use crate::proof::hops::{Found, Hop, Known, Leg, Pod, Walk, of_envoy, of_pods, of_service, of_spire, walk};
use crate::scenario::{Endpoint, PROBES, Scenario};
use registry::Spire;

/// How long each of three steps may take: SPIRE, what Kubernetes says, what Envoys say.
const STEP: Duration = Duration::from_secs(3);

/// What was read.
pub struct Hops {
    /// Of what all have in common.
    spire: Vec<Found>,
    endpoints: BTreeMap<String, Looked>,
    clients: BTreeMap<String, Vec<Found>>,
}

struct Looked {
    found: Vec<Found>,
    leg: Leg,
}

/// Reads the hops of these endpoints and of these clients, which a probe in the cluster dials as.
pub async fn look(
    kube: &Kube,
    scenario: &Scenario,
    endpoints: &BTreeSet<&str>,
    clients: &BTreeSet<&str>,
) -> Hops {
    let spire = Box::pin(registry::look(kube, scenario)).await;
    let known = endpoints.iter().filter_map(|name| scenario.endpoints.get_key_value(*name));
    let known = known.map(async |(name, declared)| {
        (name.clone(), Box::pin(endpoint(kube, scenario, name, declared, &spire)).await)
    });
    let (known, probe) = join(join_all(known), probe(kube, scenario)).await;
    let of_client = |name: &&str| {
        let of = format!("client {name}");
        let ids = scenario.clients.get(*name)?.probed();
        let ids: BTreeSet<_> = ids.collect();
        let mut found = if ids.is_empty() { vec![] } else { of_pods(&of, &probe) };
        if let (Ok(pods), Some(registry)) = (&probe, &spire.registry) {
            found.extend(ids.into_iter().flat_map(|id| of_spire(&of, id, pods, registry)));
        }
        Some(((*name).to_owned(), found))
    };
    let clients = clients.iter().filter_map(of_client).collect();
    Hops { spire: spire.found, endpoints: known.into_iter().collect(), clients }
}

impl Hops {
    /// The first broken hop of all, up to the last that counts.
    pub fn first(&self, last: Hop) -> Option<Walk> {
        let endpoints = self.endpoints.values().map(|one| &one.found);
        let all = self.spire.iter().chain(self.clients.values().chain(endpoints).flatten());
        walk(&all.filter(|one| one.hop <= last).cloned().collect::<Vec<_>>())
    }

    /// The first broken hop on the way of a client to an endpoint, with what was found in the dial itself.
    pub fn of(&self, client: &str, route: &[&str], dial: Option<Found>) -> Option<Walk> {
        let endpoints = route.iter().filter_map(|name| self.endpoints.get(*name)).flat_map(|one| &one.found);
        let clients = self.clients.get(client).into_iter().flatten();
        let found = self.spire.iter().chain(clients).chain(endpoints).cloned().chain(dial);
        walk(&found.collect::<Vec<_>>())
    }

    /// What was read of an endpoint's policies.
    pub fn leg(&self, endpoint: &str) -> Leg {
        let known = self.endpoints.get(endpoint).map(|one| one.leg.clone());
        known.unwrap_or_else(|| Leg { endpoint: endpoint.into(), ..Leg::default() })
    }
}

/// Why a system does not stand, with the first hop that is broken.
pub(super) async fn told(context: &RunContext, scenario: &Scenario, error: SessionError) -> SessionError {
    let Some(last) = error.reaches() else { return error };
    let endpoints = scenario.endpoints.keys().map(String::as_str).collect();
    let clients = scenario.clients.keys().map(String::as_str).collect();
    match look(&context.kube, scenario, &endpoints, &clients).await.first(last) {
        Some(hop) => SessionError::Hop { error: Box::new(error), hop: Box::new(hop) },
        None => error,
    }
}

/// What comes in time, or why nothing did.
async fn within<T, E: std::error::Error>(read: impl Future<Output = Result<T, E>>) -> Known<T> {
    match tokio::time::timeout(STEP, read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(format!("could not be read: {}", crate::sys::chain(&error))),
        Err(_) => Err(format!("could not be read: no answer within {} s", STEP.as_secs())),
    }
}

/// The pods that dial; none where none was installed yet.
async fn probe(kube: &Kube, scenario: &Scenario) -> Known<Vec<Pod>> {
    let labels = [("app.kubernetes.io/name", "svidproof-probe"), ("svidproof.dev/scenario", &scenario.name)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    within(kube.as_they_stand(PROBES, &labels)).await
}

async fn endpoint(
    kube: &Kube,
    scenario: &Scenario,
    name: &str,
    declared: &Endpoint,
    spire: &Spire,
) -> Looked {
    let of = format!("endpoint {name}");
    let service = within(kube.service_as_it_stands(&declared.service)).await;
    let mut found = of_service(&of, &declared.service, declared.port, &service);
    let mut leg = Leg {
        endpoint: name.into(),
        id: declared.identity.as_ref().map(|path| scenario.spiffe_id(path)),
        ..Leg::default()
    };
    let Ok(Ok(service)) = service else { return Looked { found, leg } };
    let pods = Ok(service.pods.clone());
    found.extend(of_pods(&of, &pods));
    if let (Some(identity), Some(registry)) = (&declared.identity, &spire.registry) {
        found.extend(of_spire(&of, identity, &service.pods, registry));
    }
    let Some(admin) = declared.admin else { return Looked { found, leg } };
    let target = service.ports.get(&declared.port);
    let upstream = declared.upstream.as_deref().and_then(|name| scenario.endpoints.get_key_value(name));
    let upstream = match upstream {
        Some((name, declared)) => envoys::addresses(kube, declared).await.map(|all| (name.clone(), all)),
        None => None,
    };
    let running = service.pods.iter().filter(|pod| pod.trouble.is_none() && !pod.ip.is_empty());
    let read = running.map(async |pod| {
        let port = target.and_then(|target| pod.port(target));
        envoys::look(kube, pod, admin, port, leg.id.as_deref(), upstream.clone(), spire).await
    });
    for (proxy, seen) in join_all(read).await {
        found.extend(of_envoy(&of, leg.id.as_deref(), &proxy));
        if let Some(seen) = seen {
            leg = Leg { endpoint: leg.endpoint, id: leg.id, ..seen };
        }
    }
    Looked { found, leg }
}

impl SessionError {
    /// The last hop that may be why a system that was begun does not stand; `None` where that is no hop's.
    /// What is installed later is not there yet, and is not broken for that.
    pub fn reaches(&self) -> Option<Hop> {
        match self {
            Self::Hook { .. } | Self::Kube { source: KubeError::Stuck { .. }, .. } => Some(Hop::Pod),
            Self::Kube { source: KubeError::Wait(_), .. }
            | Self::Spire { .. }
            | Self::Probe { .. }
            | Self::NoProbe { .. }
            | Self::ProbesLacking { .. }
            | Self::NoAgent { .. }
            | Self::Unregistered { .. }
            | Self::OldBundle { .. } => Some(Hop::Listener),
            _ => None,
        }
    }
}

/// Of a hop that a part of the cluster has as its own.
fn missing(of: &str, evidence: String) -> Found {
    Found::broken(Hop::Pod, of, evidence, "`spire: {namespace, server}` of the scenario names it")
}
