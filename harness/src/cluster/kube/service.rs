//! A Service and what stands behind it now.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;

use super::{Kube, KubeError, is_ready};

/// A ready pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where the pod is.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its address in the cluster.
    pub ip: String,
    /// Init containers that go on running among them.
    pub containers: Vec<String>,
    /// Another after each restart of any of its containers, and for another pod of the same name.
    pub incarnation: String,
}

impl Backend {
    /// The pod's UID.
    pub fn uid(&self) -> &str {
        self.incarnation.split(' ').next().unwrap_or_default()
    }
}

/// A Service's ready pods, and how it leads to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Those that are ready and not on their way out.
    pub pods: Vec<Backend>,
    /// Absent where the Service is headless.
    pub cluster_ip: Option<String>,
    /// Where a cloud gave the Service an address: IP or host name.
    pub ingress: Option<String>,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    name: Option<String>,
    number: u16,
    /// The container's port, or the name that no container of the pods has for one.
    target: Result<u16, String>,
}

/// Why a Service leads nowhere: what names it is mistaken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// With the Services that the namespace has, in words.
    /// There is none of that name.
    NoService {
        /// What there is.
        instead: String,
    },
    /// It has no selector, so no pods are known to be its own.
    SelectsNothing,
}

impl Kube {
    /// The Service `namespace/name` and its pods that are ready and not on their way out.
    pub async fn resolve(&self, service: &str) -> Result<Result<Resolved, Unresolved>, KubeError> {
        let what = format!("resolve service {service}");
        let (namespace, name) = service
            .split_once('/')
            .ok_or_else(|| KubeError::other(&what)("it is not namespace/name".into()))?;
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let Some(service) = services.get_opt(name).await.map_err(KubeError::api(&what))? else {
            let all = services.list(&ListParams::default()).await.map_err(KubeError::api(&what))?;
            let names: Vec<_> = all.items.into_iter().filter_map(|one| one.metadata.name).collect();
            let instead = if names.is_empty() { "none in that namespace".into() } else { names.join(", ") };
            return Ok(Err(Unresolved::NoService { instead }));
        };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        if selector.is_empty() {
            return Ok(Err(Unresolved::SelectsNothing));
        }
        Ok(Ok(resolved(namespace, service, &self.pods(namespace, &selector).await?)))
    }

    /// The ready pods with these labels.
    pub async fn ready_pods(
        &self,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Backend>, KubeError> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let pods = self.pods(namespace, &labels).await?;
        Ok(pods.iter().filter_map(|pod| backend(namespace, pod)).collect())
    }

    async fn pods(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Result<Vec<Pod>, KubeError> {
        let pair = |(key, value): (&String, &String)| format!("{key}={value}");
        let selector = labels.iter().map(pair).collect::<Vec<_>>().join(",");
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let list = pods.list(&ListParams::default().labels(&selector)).await;
        let what = format!("list the pods {selector} in {namespace}");
        list.map(|list| list.items).map_err(KubeError::api(what))
    }
}

impl Resolved {
    /// The container's port behind a port of the Service.
    ///
    /// # Errors
    /// The Service has no such port, or its target has no number; in words that follow on its name.
    pub fn container_port(&self, port: u16) -> Result<u16, String> {
        let Some(found) = self.ports.iter().find(|one| one.number == port) else {
            let known: Vec<_> = self.ports.iter().map(Port::in_words).collect();
            let behind = self.ports.iter().find(|one| one.target == Ok(port));
            let hint = behind.map(|one| {
                format!("\nhint: {port} is the container's port; clients dial the Service's, {}", one.number)
            });
            return Err(format!(
                "has no port {port}: it has {}{}",
                known.join(", "),
                hint.unwrap_or_default()
            ));
        };
        found.target.clone().map_err(|name| {
            format!(
                "leads port {port} to a container's port named `{name}`, and no container of its pods has one"
            )
        })
    }

    /// What tells these pods from others, and from themselves after a restart.
    pub fn incarnations(&self) -> Vec<&str> {
        let mut all: Vec<_> = self.pods.iter().map(|pod| pod.incarnation.as_str()).collect();
        all.sort_unstable();
        all
    }
}

impl Port {
    fn in_words(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.number),
            None => self.number.to_string(),
        }
    }
}

fn resolved(namespace: &str, service: Service, pods: &[Pod]) -> Resolved {
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let ports = ports.iter().filter_map(|port| {
        Some(Port {
            name: port.name.clone(),
            number: u16::try_from(port.port).ok()?,
            target: target(port, pods),
        })
    });
    let ingress = service.status.and_then(|status| status.load_balancer?.ingress?.into_iter().next());
    Resolved {
        pods: pods.iter().filter_map(|pod| backend(namespace, pod)).collect(),
        cluster_ip: spec.cluster_ip.filter(|ip| ip != "None"),
        ingress: ingress.and_then(|one| one.ip.or(one.hostname)),
        ports: ports.collect(),
    }
}

fn target(port: &ServicePort, pods: &[Pod]) -> Result<u16, String> {
    let number = match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named_port(pods, name),
    };
    let name = match &port.target_port {
        Some(IntOrString::String(name)) => name.clone(),
        _ => port.port.to_string(),
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or(name)
}

/// Init containers that go on running serve ports too (Kubernetes, "Sidecar Containers").
fn named_port(pods: &[Pod], name: &str) -> Option<i32> {
    let ports = pods.iter().flat_map(containers).flat_map(|container| container.ports.iter().flatten());
    ports.into_iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

/// A pod's containers, and its init containers that go on running.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    sidecars.chain(spec.into_iter().flat_map(|spec| &spec.containers))
}

/// `None` where it is not ready.
fn backend(namespace: &str, pod: &Pod) -> Option<Backend> {
    if !is_ready(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let ids: Vec<_> = all.map(|one| one.container_id.clone().unwrap_or_default()).collect();
    Some(Backend {
        namespace: namespace.into(),
        pod: pod.metadata.name.clone()?,
        ip: status.pod_ip.clone()?,
        containers: containers(pod).map(|container| container.name.clone()).collect(),
        incarnation: format!("{} {}", pod.metadata.uid.clone().unwrap_or_default(), ids.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "shop-1", "uid": "u1"},
            "spec": spec,
            "status": {
                "podIP": "10.0.0.7",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "envoy", "containerID": "c1", "image": "", "imageID": "",
                                       "ready": true, "restartCount": 0}],
            },
        }))
        .unwrap()
    }

    fn service(ports: &Value) -> Service {
        serde_json::from_value(json!({"spec": {"clusterIP": "None", "ports": ports}})).unwrap()
    }

    fn shop() -> Value {
        json!({
            "initContainers": [
                {"name": "envoy", "restartPolicy": "Always", "ports": [{"name": "mtls", "containerPort": 8443}]},
                {"name": "wait", "ports": [{"name": "once", "containerPort": 1}]},
            ],
            "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}],
        })
    }

    #[rstest]
    #[case(json!([{"port": 443, "targetPort": 8443}]), 443, Ok(8443))]
    #[case(json!([{"port": 443}]), 443, Ok(443))]
    #[case(json!([{"port": 443, "targetPort": "mtls"}]), 443, Ok(8443))]
    #[case(json!([{"port": 80, "targetPort": "http"}]), 80, Ok(8080))]
    // An init container that ends serves nothing.
    #[case(json!([{"port": 80, "targetPort": "once"}]), 80, Err("named `once`"))]
    #[case(json!([{"port": 443, "name": "mtls", "targetPort": 8443}]), 8443, Err("has no port 8443: it has 443 (mtls)"))]
    #[case(json!([{"port": 443, "targetPort": 8443}]), 80, Err("has no port 80: it has 443"))]
    fn a_port_of_the_service_leads_to_one_of_a_container(
        #[case] ports: Value,
        #[case] port: u16,
        #[case] expected: Result<u16, &str>,
    ) {
        let found = resolved("default", service(&ports), &[pod(&shop(), "True")]).container_port(port);
        match expected {
            Ok(number) => assert_eq!(found, Ok(number)),
            Err(words) => assert!(found.clone().unwrap_err().contains(words), "{found:?}"),
        }
    }

    #[test]
    fn a_pod_that_is_ready_counts_with_its_sidecars_and_another_does_not() {
        let ports = json!([{"port": 443}]);
        let found = resolved("default", service(&ports), &[pod(&shop(), "True"), pod(&shop(), "False")]);
        let [one] = found.pods.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.containers.join(" "), one.ip.as_str()), ("envoy app".into(), "10.0.0.7"));
        assert_eq!(found.incarnations(), ["u1 c1"]);
        assert_eq!(found.cluster_ip, None);
    }
}
