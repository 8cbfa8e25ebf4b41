//! The hops of SPIRE: the agent of a pod's node, the entry, its selectors, its parent.

use std::collections::BTreeSet;

use super::{Found, Hop, Known, Pod};

/// The parent of an entry by which an agent has another SPIFFE ID too.
const SERVER: &str = "/spire/server";

/// An agent as its server knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// The path of its SPIFFE ID.
    pub id: String,
    /// `k8s_psat:agent_node_name:worker`.
    pub selectors: BTreeSet<String>,
    /// Whether it may not come any more.
    pub banned: bool,
    /// When its SVID ends, in seconds since 1970, if that is told.
    pub expires: Option<i64>,
}

/// An entry as its server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The path of the SPIFFE ID that it gives.
    pub id: String,
    /// The path of its parent's.
    pub parent: String,
    /// `k8s:ns:shop`.
    pub selectors: BTreeSet<String>,
}

/// What a SPIRE server knows, and the pods of its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// `namespace/name`.
    pub server: String,
    /// Without the scheme.
    pub trust_domain: String,
    /// All that have attested.
    pub agents: Known<Vec<Agent>>,
    /// All there are.
    pub entries: Known<Vec<Entry>>,
    /// Those pods that run an agent, each with the last error of its log.
    pub pods: Known<Vec<(Pod, Option<String>)>>,
    /// In seconds since 1970.
    pub now: i64,
}

impl Agent {
    /// What a selector of the node attestor `k8s_psat` says (SPIRE, server plugin `k8s_psat`).
    fn psat(&self, what: &str) -> Option<&str> {
        let prefix = format!("k8s_psat:{what}:");
        self.selectors.iter().find_map(|one| one.strip_prefix(prefix.as_str()))
    }
}

/// What is broken between these pods and the SPIFFE ID with this path, of which each is to have an SVID.
pub fn of_spire(of: &str, identity: &str, pods: &[Pod], registry: &Registry) -> Vec<Found> {
    let entries = match &registry.entries {
        Ok(entries) => Some(entries.as_slice()),
        Err(_) => None,
    };
    let mut found = vec![];
    // What has no node yet is the pods' own hop.
    for pod in pods.iter().filter(|pod| !pod.node.is_empty()) {
        found.extend(of_agent(of, pod, registry));
        if let Some(entries) = entries {
            found.extend(of_entry(of, identity, pod, registry, entries));
        }
    }
    if let (Err(why), false) = (&registry.entries, pods.is_empty()) {
        found.push(Found::unread(Hop::Entry, of, why));
    }
    found.dedup();
    found
}

fn of_agent(of: &str, pod: &Pod, registry: &Registry) -> Option<Found> {
    let Registry { server, now, .. } = registry;
    let node = &pod.node;
    let agents = match &registry.agents {
        Ok(agents) => agents,
        Err(why) => return Some(Found::unread(Hop::Agent, of, why)),
    };
    let broken = |evidence: String, hint: &str| Some(Found::broken(Hop::Agent, of, evidence, hint));
    let here: Vec<_> = agents.iter().filter(|one| one.psat("agent_node_name") == Some(node)).collect();
    let Some(agent) = here.iter().find(|one| !one.banned).or(here.first()) else {
        let untold = agents.iter().any(|one| !one.banned && one.psat("agent_node_name").is_none());
        if untold {
            return Some(Found::unread(Hop::Agent, of, "the agents do not say which node they are on"));
        }
        let stands = stands(registry, node);
        return broken(
            format!("SPIRE server {server} knows no agent of node {node}; {stands}"),
            "an agent attests once it starts: its pod, its token's audience, the server's allow list",
        );
    };
    if agent.banned {
        return broken(
            format!("SPIRE server {server} has banned the agent of node {node}, {}", agent.id),
            "`spire-server agent evict` lifts it, and then its pod must come again",
        );
    }
    if let Some(ended) = agent.expires.filter(|ends| ends <= now) {
        let ago = now - ended;
        return broken(
            format!("the SVID of the agent of node {node} ended {ago} s ago; {}", stands(registry, node)),
            "an agent renews it while it reaches its server",
        );
    }
    let pods = match &registry.pods {
        Ok(pods) => pods,
        Err(why) => return Some(Found::unread(Hop::Agent, of, why)),
    };
    let uid = agent.psat("agent_pod_uid")?;
    let hint = "`kubectl get daemonset` in its namespace: is it there, and does it want a pod on that node?";
    match pods.iter().find(|(one, _)| one.uid == uid) {
        None => broken(
            format!("the pod of the agent that attested on node {node} is gone; {}", stands(registry, node)),
            hint,
        ),
        Some((one, _)) if !one.ready => broken(stands_so(one), hint),
        Some(_) => None,
    }
}

/// In words, which agent's pod stands on the node.
fn stands(registry: &Registry, node: &str) -> String {
    let Ok(pods) = &registry.pods else { return "whether its pod stands could not be read".into() };
    match pods.iter().find(|(pod, _)| pod.node == node) {
        None => "no agent's pod is on that node".into(),
        Some((pod, error)) => {
            let error = error.as_ref().map(|line| format!("; its log's last error: {line}"));
            format!("{}{}", stands_so(pod), error.unwrap_or_default())
        }
    }
}

fn stands_so(pod: &Pod) -> String {
    match &pod.trouble {
        Some(trouble) => format!("the agent's {}", trouble.why),
        None if !pod.ready => format!("the agent's {}", pod.state),
        None => format!("the agent's pod {} is ready", pod.name),
    }
}

fn of_entry(of: &str, identity: &str, pod: &Pod, registry: &Registry, all: &[Entry]) -> Option<Found> {
    let Registry { server, trust_domain, .. } = registry;
    let id = format!("spiffe://{trust_domain}{identity}");
    let own: Vec<_> = all.iter().filter(|entry| entry.id == identity).collect();
    if own.is_empty() {
        let others: BTreeSet<_> =
            all.iter().filter(|one| one.parent != SERVER).map(|one| one.id.as_str()).collect();
        let others: Vec<_> = others.into_iter().take(8).collect();
        let others = if others.is_empty() { "none".into() } else { others.join(", ") };
        return Some(Found::broken(
            Hop::Entry,
            of,
            format!("SPIRE server {server} has no entry for {id}; it has entries for {others}"),
            "an entry of `registration`, or of the controller manager's, must give it, letter by letter",
        ));
    }
    let compared: Vec<_> = own.iter().map(|entry| (*entry, compare(entry, pod))).collect();
    let fits = |one: &&(&Entry, Compared)| one.1.differs.is_empty();
    let fitting: Vec<_> = compared.iter().filter(fits).collect();
    if fitting.is_empty() {
        let nearest = compared.iter().min_by_key(|one| one.1.differs.len())?;
        let hint = "each selector of an entry must hold for the pod: mend `select`, or the pod";
        let differs = nearest.1.differs.join("; ");
        return Some(Found::broken(Hop::Selectors, of, format!("pod {}: {differs}", pod.name), hint));
    }
    let agents = registry.agents.as_ref().ok()?;
    let here: Vec<_> =
        agents.iter().filter(|one| one.psat("agent_node_name") == Some(pod.node.as_str())).collect();
    if here.is_empty() {
        return None;
    }
    let names: BTreeSet<_> = here.iter().flat_map(|agent| names(agent, all)).collect();
    let under: Vec<_> = fitting.iter().filter(|one| names.contains(one.0.parent.as_str())).collect();
    if under.is_empty() {
        let parents: BTreeSet<_> = fitting.iter().map(|one| one.0.parent.as_str()).collect();
        let join = |all: BTreeSet<&str>| all.into_iter().collect::<Vec<_>>().join(", ");
        return Some(Found::broken(
            Hop::Parent,
            of,
            format!(
                "the entry for {id} hangs under {}, and the agent of node {} is {}",
                join(parents),
                pod.node,
                join(names)
            ),
            "the selectors of a `node: true` entry must be the agent's: its cluster, namespace and service \
             account",
        ));
    }
    if under.iter().any(|one| one.1.unknown.is_empty()) {
        return None;
    }
    let unknown = under.first().map(|one| one.1.unknown.join(", ")).unwrap_or_default();
    let why = format!("the entry for {id} selects {unknown}, which Kubernetes does not tell of a pod");
    Some(Found::unread(Hop::Selectors, of, why))
}

/// The paths of all SPIFFE IDs that entries may name as their parent to be this agent's (SPIRE documentation,
/// "Registering workloads": node aliases).
fn names<'a>(agent: &'a Agent, all: &'a [Entry]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::from([agent.id.as_str()]);
    let has = |one: &String| {
        agent.selectors.contains(one)
            || one.starts_with("spiffe_id:spiffe://") && one.ends_with(agent.id.as_str())
    };
    let alias = |entry: &&Entry| {
        (entry.parent == SERVER || entry.parent == agent.id)
            && !entry.selectors.is_empty()
            && entry.selectors.iter().all(has)
    };
    names.extend(all.iter().filter(alias).map(|entry| entry.id.as_str()));
    names
}

/// How an entry's selectors compare with a pod.
#[derive(Default)]
struct Compared {
    /// In words, each that does not hold.
    differs: Vec<String>,
    /// Those of which it is not known.
    unknown: Vec<String>,
}

/// By the workload attestor `k8s` (SPIRE, agent plugin `k8s`: "Workload Selectors").
fn compare(entry: &Entry, pod: &Pod) -> Compared {
    let mut compared = Compared::default();
    for selector in &entry.selectors {
        let Some(says) = selector.strip_prefix("k8s:") else {
            compared.unknown.push(selector.clone());
            continue;
        };
        let (key, wanted) = says.split_once(':').unwrap_or((says, ""));
        let running = pod.containers.iter().filter(|one| !one.init);
        let is: BTreeSet<&str> = match key {
            "ns" => [pod.namespace.as_str()].into(),
            "sa" => [pod.service_account.as_str()].into(),
            "node-name" => [pod.node.as_str()].into(),
            "pod-name" => [pod.name.as_str()].into(),
            "pod-uid" => [pod.uid.as_str()].into(),
            "container-name" => running.map(|one| one.name.as_str()).collect(),
            "container-image" | "pod-image" => {
                running.flat_map(|one| one.images.iter().map(String::as_str)).collect()
            }
            "pod-label" => {
                compared.differs.extend(label(wanted, pod));
                continue;
            }
            "pod-owner" => {
                let (kind, name) = wanted.split_once(':').unwrap_or((wanted, ""));
                if !pod.owners.iter().any(|one| one.0 == kind && one.1 == name) {
                    compared
                        .differs
                        .push(format!("the entry selects owner {kind} {name}, and the pod's is another"));
                }
                continue;
            }
            _ => {
                compared.unknown.push(selector.clone());
                continue;
            }
        };
        if !is.contains(wanted) {
            let what = key.replace('-', " ");
            let what = match key {
                "ns" => "namespace",
                "sa" => "service account",
                _ => what.as_str(),
            };
            let is: Vec<_> = is.into_iter().collect();
            compared.differs.push(format!("its {what} is {}, the entry selects {wanted}", is.join(" or ")));
        }
    }
    compared
}

/// A label's key may have colons of its own, but no value has.
fn label(wanted: &str, pod: &Pod) -> Option<String> {
    let (key, value) = wanted.rsplit_once(':').unwrap_or((wanted, ""));
    match pod.labels.get(key) {
        Some(is) if is == value => None,
        Some(is) => Some(format!("the pod has {key}={is}, the entry selects {key}={value}")),
        None => {
            // Without that of its ReplicaSet.
            let own = pod.labels.iter().filter(|(key, _)| !key.ends_with("-hash"));
            let has: Vec<_> = own.map(|(key, is)| format!("{key}={is}")).collect();
            let has = if has.is_empty() { "no label".into() } else { has.join(", ") };
            Some(format!("the pod has {has}, the entry selects {key}={value}"))
        }
    }
}
