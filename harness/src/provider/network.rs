//! The network between the nodes that svidproof's own image makes: each gives its pods addresses of its own
//! range, and knows by which node each other range is reached.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};

use super::ProviderError;
use crate::cluster::kube::{KubeError, WatchEnd, address};
use crate::engine::Engine;
use crate::sys::wait::{self, Look};

/// Where a node's pods are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    /// The pods' addresses: `10.244.1.0/24`.
    pods: String,
    /// The node's own address.
    node: String,
}

/// Gives each of several nodes its range and the ways to the others'.
pub(super) async fn link(engine: &Engine, client: Client, nodes: &[String]) -> Result<(), ProviderError> {
    let ranges = ranges(client, nodes.len()).await?;
    let each = ranges.keys().map(|node| {
        let script = script(node, &ranges);
        engine.docker().args(["exec", node, "sh", "-ec", &script]).run()
    });
    try_join_all(each).await?;
    Ok(())
}

/// Waits until every node has been given its range (Kubernetes documentation, `--allocate-node-cidrs` of
/// kube-controller-manager).
async fn ranges(client: Client, nodes: usize) -> Result<BTreeMap<String, Range>, ProviderError> {
    let mut known = BTreeMap::new();
    let look = |node: Node| {
        known.extend(range(&node));
        if known.len() < nodes {
            return Look::NotYet(format!("{} of {nodes} nodes have theirs", known.len()));
        }
        Look::Ready(std::mem::take(&mut known))
    };
    until("the nodes' ranges of pod addresses", client, look).await
}

/// Waits until pods may run on every node.
pub(super) async fn ready(client: Client, nodes: &[String]) -> Result<(), ProviderError> {
    let mut unready: BTreeMap<_, _> =
        nodes.iter().map(|node| (node.clone(), "it has not joined".to_owned())).collect();
    let look = |node: Node| {
        let name = node.metadata.name.clone().unwrap_or_default();
        match unfit(&node) {
            Some(why) => drop(unready.insert(name, why)),
            None => drop(unready.remove(&name)),
        }
        let each = unready.iter().map(|(node, why)| format!("{node}: {why}"));
        if unready.is_empty() { Look::Ready(()) } else { Look::NotYet(each.collect::<Vec<_>>().join("; ")) }
    };
    until("the nodes to be ready", client, look).await
}

/// Looks at each node, and at each change of one, until that is enough.
async fn until<T>(
    what: &str,
    client: Client,
    look: impl FnMut(Node) -> Look<T, KubeError>,
) -> Result<T, ProviderError> {
    let all: Api<Node> = Api::all(client);
    let mut events = pin!(watcher(all, watcher::Config::default()).default_backoff().applied_objects());
    let next =
        async || Ok::<_, KubeError>(events.next().await.ok_or(WatchEnd::Closed)?.map_err(WatchEnd::from)?);
    Ok(wait::events(what, Duration::from_mins(1), next, look).await?)
}

/// Why a node takes no pods yet.
fn unfit(node: &Node) -> Option<String> {
    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let ready = conditions.into_iter().find(|one| one.type_ == "Ready");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    match ready {
        None => Some("it says nothing of itself".into()),
        Some(one) if one.status != "True" => Some(one.message.clone().unwrap_or_default()),
        // A controller takes it away a moment later.
        Some(_) => {
            taints.into_iter().any(|taint| taint.key == NOT_READY).then(|| format!("taint {NOT_READY}"))
        }
    }
}

/// By the node's name; `None` where it has none yet.
fn range(node: &Node) -> Option<(String, Range)> {
    let pods = node.spec.as_ref()?.pod_cidr.clone()?;
    Some((node.metadata.name.clone()?, Range { pods, node: address(node)? }))
}

/// What a node has to do: the image's own file moved back with its range in it, and a route a node.
fn script(node: &str, ranges: &BTreeMap<String, Range>) -> String {
    let own = &ranges[node].pods;
    // containerd looks when a file is written there, not when one is moved there.
    let mut script = format!(
        "file=10-ptp.conflist\n\
         if [ -e /etc/cni/$file ]; then\n  \
         sed 's#\"subnet\": \"[^\"]*\"#\"subnet\": \"{own}\"#' /etc/cni/$file > /etc/cni/net.d/$file\nfi\n"
    );
    for (_, Range { pods, node }) in ranges.iter().filter(|(name, _)| *name != node) {
        let _ = writeln!(script, "ip route replace {pods} via {node}");
    }
    script
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_told_its_range_and_the_ways_to_the_others() {
        let node = |name: &str, pods: &str, address: &str| {
            let addresses = [
                json!({"type": "Hostname", "address": name}),
                json!({"type": "InternalIP", "address": address}),
            ];
            let node = json!({"metadata": {"name": name}, "spec": {"podCIDR": pods}, "status": {"addresses": addresses}});
            range(&serde_json::from_value(node).unwrap()).unwrap()
        };
        let ranges: BTreeMap<_, _> =
            [node("a", "10.244.0.0/24", "172.18.0.2"), node("b", "10.244.1.0/24", "172.18.0.3")].into();
        let told = script("b", &ranges);
        assert!(told.contains("\"subnet\": \"10.244.1.0/24\"#'"), "{told}");
        assert!(told.ends_with("fi\nip route replace 10.244.0.0/24 via 172.18.0.2\n"), "{told}");
        let early = json!({"metadata": {"name": "c"}, "spec": {}, "status": {"addresses": []}});
        assert_eq!(range(&serde_json::from_value(early).unwrap()), None);
    }

    #[rstest::rstest]
    #[case::early(json!({}), Some("it says nothing of itself"))]
    #[case::without_a_network(json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "no cni"}]}}), Some("no cni"))]
    #[case::a_moment_before(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}}), Some("taint node.kubernetes.io/not-ready"))]
    #[case::a_control_plane(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}}), None)]
    fn a_node_that_takes_no_pods_says_why(#[case] node: serde_json::Value, #[case] why: Option<&str>) {
        assert_eq!(unfit(&serde_json::from_value(node).unwrap()).as_deref(), why);
    }
}
