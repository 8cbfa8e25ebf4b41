//! What a cluster that is somebody else's is made of, as far as it must be known: read, never written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Api;
use kube::api::ListParams;

use super::{Kube, KubeError};

impl Kube {
    /// Every pod of the cluster.
    pub async fn all_pods(&self) -> Result<Vec<Pod>, KubeError> {
        let pods: Api<Pod> = Api::all(self.client());
        let listed = pods.list(&ListParams::default()).await;
        listed.map(|list| list.items).map_err(KubeError::api("list the pods of all namespaces"))
    }

    /// The texts of a `ConfigMap` by their keys; none where it is not there.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, KubeError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        let found =
            maps.get_opt(name).await.map_err(KubeError::api(format!("read configmap {namespace}/{name}")))?;
        Ok(found.map(|map| map.data.unwrap_or_default()))
    }

    /// The names of the drivers that give volumes to pods.
    pub async fn csi_drivers(&self) -> Result<Vec<String>, KubeError> {
        let drivers: Api<CSIDriver> = Api::all(self.client());
        let listed =
            drivers.list(&ListParams::default()).await.map_err(KubeError::api("list the CSI drivers"))?;
        Ok(listed.items.into_iter().filter_map(|one| one.metadata.name).collect())
    }

    /// Where a node is reached: at the address that it has outside of the cluster, else at its own. Of a node
    /// that is ready, if there is one.
    pub async fn node_address(&self) -> Result<Option<IpAddr>, KubeError> {
        let nodes: Api<Node> = Api::all(self.client());
        let listed = nodes.list(&ListParams::default()).await.map_err(KubeError::api("list the nodes"))?;
        Ok(reached(&listed.items))
    }
}

fn reached(nodes: &[Node]) -> Option<IpAddr> {
    let is_ready = |node: &&Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let of_kind = |kind: &str| {
        nodes.iter().filter(is_ready).find_map(|node| {
            let addresses = node.status.as_ref()?.addresses.as_ref()?;
            addresses.iter().filter(|one| one.type_ == kind).find_map(|one| one.address.parse().ok())
        })
    };
    of_kind("ExternalIP").or_else(|| of_kind("InternalIP"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &str, addresses: &Value) -> Node {
        serde_json::from_value(json!({
            "status": {"conditions": [{"type": "Ready", "status": ready}], "addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_that_is_ready_is_reached_from_outside_if_it_can_be() {
        let inner =
            json!([{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "10.0.0.1"}]);
        let outer = json!([{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "ExternalIP", "address": "203.0.113.2"}]);
        let told = |nodes: &[Node]| reached(nodes).map(|ip| ip.to_string());
        assert_eq!(told(&[node("True", &inner)]).as_deref(), Some("10.0.0.1"));
        assert_eq!(told(&[node("True", &inner), node("True", &outer)]).as_deref(), Some("203.0.113.2"));
        assert_eq!(told(&[node("True", &inner), node("False", &outer)]).as_deref(), Some("10.0.0.1"));
        assert_eq!(told(&[node("Unknown", &inner)]), None);
    }
}
