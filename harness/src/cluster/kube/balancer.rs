//! Addresses for Services of the type `LoadBalancer`, in a cluster that has nobody who gives them: kind's. As
//! k3s's `ServiceLB` does, a Service is given a node's own address, which kube-proxy then takes its ports at.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Kube, KubeError};
use crate::cluster::manifest::Named;

/// What nodes themselves listen at (Kubernetes documentation, "Ports and Protocols", and kube-proxy's own):
/// a Service there would take the API server's place.
const OF_NODES: [u16; 8] = [2379, 2380, 6443, 10249, 10250, 10256, 10257, 10259];

/// A port at a node, with its protocol.
type Taken = (String, u16, String);

/// One is given its address after the other: two must not choose the same.
static TURN: Mutex<()> = Mutex::const_new(());

impl Kube {
    /// Gives the Service an address if it wants one and has none that is its own alone.
    ///
    /// # Errors
    /// Its ports are taken at every node, or the API does not answer.
    pub async fn balance(&self, service: &Named) -> Result<(), KubeError> {
        let what =
            format!("give Service {}/{} the address of a load balancer", service.namespace, service.name);
        let own: Api<Service> = Api::namespaced(self.client(), &service.namespace);
        let _turn = TURN.lock().await;
        let Some(wanting) = own.get_opt(&service.name).await.map_err(KubeError::api(&what))? else {
            return Ok(());
        };
        if !is_balancer(&wanting) {
            return Ok(());
        }
        let every = ListParams::default();
        let all: Api<Service> = Api::all(self.client());
        let all = all.list(&every).await.map_err(KubeError::api(&what))?;
        let others = all.items.iter().filter(|one| one.metadata.uid != wanting.metadata.uid);
        let taken: BTreeSet<Taken> = others.flat_map(at).collect();
        let nodes: Api<Node> = Api::all(self.client());
        let nodes = nodes.list(&every).await.map_err(KubeError::api(&what))?;
        let nodes: Vec<_> = nodes.items.iter().filter_map(address).collect();
        let now = addresses(&wanting);
        let ip = free(&now, &nodes, &taken, &ports(&wanting)).map_err(KubeError::other(&what))?;
        if now.contains(&ip) {
            return Ok(());
        }
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
        let patched = own.patch_status(&service.name, &PatchParams::default(), &Patch::Merge(status)).await;
        patched.map(drop).map_err(KubeError::api(&what))
    }
}

/// The first node at which none of these ports is taken: the one that the Service has now, unless its ports
/// have become others since, and another's there.
///
/// # Errors
/// In words, why there is none.
fn free(
    now: &[String],
    nodes: &[String],
    taken: &BTreeSet<Taken>,
    ports: &[(u16, String)],
) -> Result<String, String> {
    if let Some((port, _)) = ports.iter().find(|(port, _)| OF_NODES.contains(port)) {
        return Err(format!(
            "a node listens at port {port} itself, and nodes' addresses are all that there are here"
        ));
    }
    let is_free = |node: &&String| {
        ports.iter().all(|(port, protocol)| !taken.contains(&((*node).clone(), *port, protocol.clone())))
    };
    now.iter().chain(nodes).find(is_free).cloned().ok_or_else(|| {
        let ports: Vec<_> = ports.iter().map(|(port, _)| port.to_string()).collect();
        format!(
            "another Service has port {} at each of the {} nodes\nhint: `--workers N` makes more of them",
            ports.join(" or "),
            nodes.len()
        )
    })
}

/// Whether a cloud is asked for an address.
pub(super) fn is_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

/// What a Service was given: IP addresses, and names of hosts where a cloud gives those.
pub(super) fn addresses(service: &Service) -> Vec<String> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    ingress.into_iter().flatten().filter_map(|one| one.ip.clone().or_else(|| one.hostname.clone())).collect()
}

fn ports(service: &Service) -> Vec<(u16, String)> {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some((u16::try_from(port.port).ok()?, protocol))
    };
    all.filter_map(port).collect()
}

/// What a Service has taken.
fn at(service: &Service) -> Vec<Taken> {
    let ports = ports(service);
    let taken =
        |ip: String| ports.clone().into_iter().map(move |(port, protocol)| (ip.clone(), port, protocol));
    addresses(service).into_iter().flat_map(taken).collect()
}

/// The node's own address.
pub fn address(node: &Node) -> Option<String> {
    let all = node.status.as_ref()?.addresses.iter().flatten();
    all.into_iter().find(|one| one.type_ == "InternalIP").map(|one| one.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ip: Option<&str>, ports: &[u16]) -> Service {
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect();
        let ingress: Vec<_> = ip.iter().map(|ip| json!({"ip": ip})).collect();
        let service = json!({
            "spec": {"type": "LoadBalancer", "ports": ports}, "status": {"loadBalancer": {"ingress": ingress}},
        });
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn a_service_gets_the_first_node_where_its_ports_are_free() {
        let nodes = ["a", "b"].map(ToOwned::to_owned);
        let wanting = |taken: &[Service], port| {
            let taken = taken.iter().flat_map(at).collect();
            free(&[], &nodes, &taken, &ports(&service(None, &[port])))
        };
        assert_eq!(wanting(&[], 443).as_deref(), Ok("a"));
        assert_eq!(wanting(&[service(None, &[443])], 443).as_deref(), Ok("a"));
        let one = service(Some("a"), &[443, 80]);
        assert_eq!(wanting(std::slice::from_ref(&one), 80).as_deref(), Ok("b"));
        assert_eq!(wanting(std::slice::from_ref(&one), 3000).as_deref(), Ok("a"));
        let none = wanting(&[one, service(Some("b"), &[80])], 80).unwrap_err();
        assert!(none.starts_with("another Service has port 80 at each of the 2 nodes"), "{none}");
        let again = |taken: &Service| {
            free(&["b".to_owned()], &nodes, &at(taken).into_iter().collect(), &[(80, "TCP".into())])
        };
        assert_eq!(again(&service(Some("a"), &[80])).as_deref(), Ok("b"), "it keeps its own");
        assert_eq!(again(&service(Some("b"), &[80])).as_deref(), Ok("a"), "which is another's now");
        let api = wanting(&[], 6443).unwrap_err();
        assert!(api.starts_with("a node listens at port 6443 itself"), "{api}");
    }
}
