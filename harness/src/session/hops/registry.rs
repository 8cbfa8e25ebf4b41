//! What a SPIRE server knows, and whether its pods and its agents' stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::{join_all, join4};

use super::{missing, within};
use crate::cluster::kube::Kube;
use crate::cluster::spire::Server;
use crate::proof::hops::{Agent, Found, Known, Pod, Registry, of_pods};
use crate::scenario::Scenario;
use crate::session::autopsy::last_error;

const AGENT: &str = "spire-agent";
/// Of so many agents logs are read.
const LOGS: usize = 8;

/// A scenario's SPIRE.
pub(super) struct Spire {
    /// Of its server's pods.
    pub(super) found: Vec<Found>,
    /// Absent where it is not known which SPIRE is meant.
    pub(super) registry: Option<Registry>,
    /// Its CA certificates, PEM.
    pub(super) bundle: Known<String>,
}

pub(super) async fn look(kube: &Kube, scenario: &Scenario) -> Spire {
    let spire = &scenario.spire;
    if !spire.is_stated() {
        return Spire {
            found: vec![],
            registry: None,
            bundle: Err("which SPIRE is meant is not known".into()),
        };
    }
    let server = Server::new(kube.clone(), spire.api());
    let of = format!("SPIRE server {server}");
    let found = async {
        match within(server.workload()).await {
            Ok(None) => {
                vec![missing(&of, "there is neither a StatefulSet nor a Deployment of that name".into())]
            }
            Ok(Some(workload)) => of_pods(&of, &within(kube.pods_of(&workload)).await),
            Err(why) => of_pods(&of, &Err(why)),
        }
    };
    let asked =
        join4(found, within(server.attested()), within(server.registered()), within(server.bundle_pem()));
    let (found, agents, entries, bundle) = Box::pin(asked).await;
    let pods = agent_pods(kube, scenario, &agents).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let registry = Registry {
        server: server.to_string(),
        trust_domain: scenario.trust_domain.clone(),
        agents,
        entries,
        pods,
        now: i64::try_from(now).unwrap_or(i64::MAX),
    };
    Spire { found, registry: Some(registry), bundle }
}

/// The pods that run an agent of this SPIRE, in its namespace or where its agents said that they are.
async fn agent_pods(
    kube: &Kube,
    scenario: &Scenario,
    agents: &Known<Vec<Agent>>,
) -> Known<Vec<(Pod, Option<String>)>> {
    let says = |agent: &Agent, what: &str| {
        let prefix = format!("k8s_psat:{what}:");
        agent.selectors.iter().find_map(|one| Some(one.strip_prefix(prefix.as_str())?.to_owned()))
    };
    let known = || agents.iter().flatten();
    let mut namespaces: BTreeSet<_> = known().filter_map(|one| says(one, "agent_ns")).collect();
    namespaces.insert(scenario.spire.namespace.clone());
    let uids: BTreeSet<_> = known().filter_map(|one| says(one, "agent_pod_uid")).collect();
    let none = BTreeMap::new();
    let listed = namespaces.iter().map(async |one| within(kube.as_they_stand(one, &none)).await);
    let mut pods = vec![];
    for all in join_all(listed).await {
        pods.extend(all?);
    }
    // Two SPIREs may share a namespace, but no folder.
    let folder = scenario.spire.socket_dir.as_deref();
    let shares = |pod: &Pod| {
        folder.is_none_or(|folder| pod.folders.iter().any(|one| folder.starts_with(one.as_str())))
    };
    pods.retain(|pod| uids.contains(&pod.uid) || pod.running(AGENT).is_some() && shares(pod));
    let logs = pods.iter().take(LOGS).map(async |pod| {
        let container = pod.running(AGENT).or(pod.containers.first())?;
        let log = within(kube.tail(pod, &container.name)).await.ok()?;
        last_error(&log).map(ToOwned::to_owned)
    });
    let logs = join_all(logs).await.into_iter().chain(std::iter::repeat(None));
    Ok(pods.into_iter().zip(logs).collect())
}
