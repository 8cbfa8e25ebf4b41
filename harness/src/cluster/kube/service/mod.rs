//! A Service and what stands behind it now, as its `EndpointSlices` say: it is by them that kube-proxy and
//! `CoreDNS` lead clients. Not for reckoning anew, from selectors and pods, what Kubernetes has reckoned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::ListParams;

use super::{Kube, KubeError, is_ready};
use crate::sys::wait::{self, Look, WaitError};

/// How long the `EndpointSlice` controller may take after a roll-out.
const SLICES: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

/// A pod that a Service leads to, or one that is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where the pod is.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its address in the cluster.
    pub ip: String,
    /// The node that it is on.
    pub node: String,
    /// Init containers that go on running among them.
    pub containers: Vec<String>,
    /// Another after each restart of any of its containers, and for another pod of the same name.
    pub incarnation: String,
    /// By port of the Service: the pod's own that it leads to. Empty where no Service was asked about.
    pub ports: BTreeMap<u16, BTreeSet<u16>>,
}

impl Backend {
    /// The pod's UID.
    pub fn uid(&self) -> &str {
        self.incarnation.split(' ').next().unwrap_or_default()
    }
}

/// What a Service leads to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Those that it leads to, by name.
    pub pods: Vec<Backend>,
    /// Absent where the Service is headless.
    pub cluster_ip: Option<String>,
    /// Where a cloud gave the Service an address: IP or host name.
    pub ingress: Option<String>,
    /// The port of every node that leads to the port that was asked about: [`Resolved::at`].
    pub node_port: Option<u16>,
    /// Addresses that it leads to and that are no pod's of its namespace, with the Service's ports.
    strays: BTreeMap<String, BTreeSet<u16>>,
    ports: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    name: Option<String>,
    number: u16,
    protocol: String,
    of_nodes: Option<u16>,
    /// Of the containers.
    targets: BTreeSet<u16>,
    /// The name that no container of the pods has for a port.
    nameless: Option<String>,
}

/// Why a Service leads nowhere: what names it is mistaken, or the cluster is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// With the Services that the namespace has, in words.
    /// There is none of that name.
    NoService {
        /// What there is.
        instead: String,
    },
    /// It has neither a selector nor `EndpointSlices`, so no pods are known to be its own.
    SelectsNothing,
    /// Its `EndpointSlices` do not agree with the pods that there are, in words that follow on its name.
    Behind {
        /// What was last seen.
        why: String,
    },
}

impl Kube {
    /// The Service `namespace/name` and what it leads to, once its `EndpointSlices` agree with its pods.
    pub async fn resolve(&self, service: &str) -> Result<Result<Resolved, Unresolved>, KubeError> {
        let what = format!("the EndpointSlices of Service {service} to name its pods");
        let look = async || match self.look(service).await {
            Ok(Err(Unresolved::Behind { why })) => Look::NotYet(why),
            Ok(found) => Look::Ready(found),
            Err(error) => Look::Fatal(error),
        };
        match wait::poll(&what, SLICES, AGAIN, look).await {
            Ok(found) => Ok(found),
            Err(WaitError::Fatal { source, .. }) => Err(source),
            Err(WaitError::TimedOut(end)) => {
                let why = format!("{}, for {} s", end.status, end.waited.as_secs());
                Ok(Err(Unresolved::Behind { why }))
            }
        }
    }

    async fn look(&self, service: &str) -> Result<Result<Resolved, Unresolved>, KubeError> {
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
        let slices: Api<EndpointSlice> = Api::namespaced(self.client(), namespace);
        let own = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices = slices.list(&own).await.map_err(KubeError::api(&what))?.items;
        // A slice made by hand may name a pod that the selector does not match.
        let pods = self.pods(namespace, &BTreeMap::new()).await?;
        Ok(resolved(namespace, &service, &slices, &pods))
    }

    /// The ready pods with these labels.
    pub async fn ready_pods(
        &self,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Backend>, KubeError> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let pods = self.pods(namespace, &labels).await?;
        Ok(pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| backend(namespace, pod)).collect())
    }

    pub(super) async fn pods(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Pod>, KubeError> {
        let pair = |(key, value): (&String, &String)| format!("{key}={value}");
        let selector = labels.iter().map(pair).collect::<Vec<_>>().join(",");
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let list = pods.list(&ListParams::default().labels(&selector)).await;
        let what = format!("list the pods {selector} in {namespace}");
        list.map(|list| list.items).map_err(KubeError::api(what))
    }
}

impl Backend {
    /// Its port behind a port of the Service.
    ///
    /// # Errors
    /// There is none, or there are several; in words that follow on the Service's name.
    pub fn port(&self, of_service: u16) -> Result<u16, String> {
        let all: Vec<_> = self.ports.get(&of_service).into_iter().flatten().copied().collect();
        match all.as_slice() {
            [one] => Ok(*one),
            [] => Err(format!("does not lead port {of_service} to pod {}", self.pod)),
            several => {
                let several: Vec<_> = several.iter().map(u16::to_string).collect();
                let pod = &self.pod;
                Err(format!(
                    "leads port {of_service} to several of pod {pod}: {}; which one answers is not known",
                    several.join(", ")
                ))
            }
        }
    }
}

impl Resolved {
    /// What one port of the Service leads to, and nothing of its other ports.
    ///
    /// # Errors
    /// The Service has no such port, or its target has no number; in words that follow on its name.
    pub fn at(mut self, port: u16) -> Result<Self, String> {
        let tcp = |one: &&Port| one.protocol == TCP;
        let Some(found) = self.ports.iter().filter(tcp).find(|one| one.number == port) else {
            let known: Vec<_> = self.ports.iter().map(Port::in_words).collect();
            let behind = self.ports.iter().filter(tcp).find(|one| one.targets.contains(&port));
            let hint = behind.map(|one| {
                format!("\nhint: {port} is the container's port; clients dial the Service's, {}", one.number)
            });
            return Err(format!(
                "has no port {port}: it has {}{}",
                known.join(", "),
                hint.unwrap_or_default()
            ));
        };
        if let Some(name) = &found.nameless {
            return Err(format!(
                "leads port {port} to a container's port named `{name}`, and no container of its pods has one"
            ));
        }
        self.node_port = found.of_nodes;
        self.pods.retain(|pod| pod.ports.contains_key(&port));
        self.pods.iter_mut().for_each(|pod| pod.ports.retain(|one, _| *one == port));
        self.strays.retain(|_, ports| ports.contains(&port));
        Ok(self)
    }

    /// The addresses that it leads to and that are no pod's.
    pub fn strays(&self) -> Vec<&str> {
        self.strays.keys().map(String::as_str).collect()
    }

    /// What tells what it leads to from anything else, and its pods from themselves after a restart.
    pub fn incarnations(&self) -> Vec<String> {
        let pods = self.pods.iter().map(|pod| format!("{} {} {:?}", pod.incarnation, pod.ip, pod.ports));
        let mut all: Vec<_> = pods.chain(self.strays.keys().cloned()).collect();
        all.sort_unstable();
        all
    }
}

impl Port {
    fn in_words(&self) -> String {
        let number = match self.protocol.as_str() {
            TCP => self.number.to_string(),
            other => format!("{}/{other}", self.number),
        };
        match &self.name {
            Some(name) => format!("{number} ({name})"),
            None => number,
        }
    }
}

const TCP: &str = "TCP";

fn is_tcp(protocol: Option<&String>) -> bool {
    protocol.is_none_or(|protocol| protocol == TCP)
}

/// What the Service leads to, of its `EndpointSlices` and all pods of its namespace.
fn resolved(
    namespace: &str,
    service: &Service,
    slices: &[EndpointSlice],
    pods: &[Pod],
) -> Result<Resolved, Unresolved> {
    let spec = service.spec.clone().unwrap_or_default();
    let selector = spec.selector.clone().unwrap_or_default();
    if selector.is_empty() && slices.is_empty() {
        return Err(Unresolved::SelectsNothing);
    }
    let family = spec.ip_families.as_ref().and_then(|all| all.first()).map_or("IPv4", String::as_str);
    let slices: Vec<_> = slices.iter().filter(|slice| slice.address_type == family).collect();
    let selected: Vec<_> = pods.iter().filter(|pod| is_selected(pod, &selector)).collect();
    if let Some(why) = behind(&slices, &selected, pods) {
        return Err(Unresolved::Behind { why });
    }
    let service_ports = spec.ports.unwrap_or_default();
    let mut found: BTreeMap<String, Backend> = BTreeMap::new();
    let mut strays: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for slice in slices {
        let ports = ports_of(slice, &service_ports);
        for endpoint in slice.endpoints.iter().flatten().filter(|one| counts(one)) {
            for address in &endpoint.addresses {
                let pod = pod_of(endpoint, pods).filter(|pod| has_address(pod, address));
                let Some(backend) = pod.and_then(|pod| backend(namespace, pod)) else {
                    strays.entry(address.clone()).or_default().extend(ports.iter().map(|(one, _)| one));
                    continue;
                };
                let known = found.entry(backend.pod.clone()).or_insert(backend);
                known.ip.clone_from(address);
                for (of_service, of_pod) in &ports {
                    known.ports.entry(*of_service).or_default().insert(*of_pod);
                }
            }
        }
    }
    let ports = service_ports.iter().filter_map(|port| in_service(port, &found, &selected)).collect();
    let status = service.status.clone();
    let ingress = status.and_then(|status| status.load_balancer?.ingress?.into_iter().next());
    Ok(Resolved {
        pods: found.into_values().collect(),
        cluster_ip: spec.cluster_ip.filter(|ip| ip != "None"),
        ingress: ingress.and_then(|one| one.ip.or(one.hostname)),
        node_port: None,
        strays,
        ports,
    })
}

pub(super) fn is_selected(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.and_then(|all| all.get(key)) == Some(value);
    !selector.is_empty() && selector.iter().all(has)
}

/// As kube-proxy takes it: a condition that is not there is a promise.
pub(super) fn counts(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|all| all.ready).unwrap_or(true)
        && !conditions.and_then(|all| all.terminating).unwrap_or(false)
}

/// How the slices do not agree with the pods. `None` where they do.
fn behind(slices: &[&EndpointSlice], selected: &[&Pod], pods: &[Pod]) -> Option<String> {
    let counted =
        || slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()).filter(|one| counts(one));
    let is_named = |pod: &&&Pod| {
        counted().filter_map(|one| pod_of(one, pods)).any(|one| one.metadata.name == pod.metadata.name)
    };
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    if let Some(pod) = selected.iter().filter(|pod| is_ready(pod)).find(|pod| !is_named(pod)) {
        return Some(format!("has no EndpointSlice that names pod {}, which is ready", name(pod)));
    }
    let refers =
        |one: &&Endpoint| one.target_ref.as_ref().is_some_and(|to| to.kind.as_deref() == Some("Pod"));
    let gone = counted()
        .filter(refers)
        .find(|one| pod_of(one, pods).is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()))?;
    let pod = gone.target_ref.as_ref().and_then(|to| to.name.clone()).unwrap_or_default();
    Some(format!("has an EndpointSlice that names pod {pod}, which is gone or on its way out"))
}

/// The pod that an endpoint refers to; not another one of the same name.
fn pod_of<'a>(endpoint: &Endpoint, pods: &'a [Pod]) -> Option<&'a Pod> {
    let to = endpoint.target_ref.as_ref().filter(|to| to.kind.as_deref() == Some("Pod"))?;
    let same =
        |one: &Option<String>, other: &Option<String>| one.is_none() || other.is_none() || one == other;
    pods.iter().find(|pod| {
        let meta = &pod.metadata;
        to.name.is_some()
            && meta.name == to.name
            && same(&to.uid, &meta.uid)
            && same(&to.namespace, &meta.namespace)
    })
}

fn has_address(pod: &Pod, address: &str) -> bool {
    let status = pod.status.as_ref();
    let more = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|one| &one.ip);
    status.and_then(|status| status.pod_ip.as_ref()).into_iter().chain(more).any(|ip| ip == address)
}

/// The Service's TCP ports that a slice serves, each with the endpoints' own. They go together by name.
fn ports_of(slice: &EndpointSlice, of_service: &[ServicePort]) -> Vec<(u16, u16)> {
    let of_service = of_service.iter().filter(|port| is_tcp(port.protocol.as_ref()));
    let pairs = of_service.flat_map(|port| {
        let name = port.name.as_deref().unwrap_or_default();
        let own = slice.ports.iter().flatten().filter(move |own| {
            own.name.as_deref().unwrap_or_default() == name && is_tcp(own.protocol.as_ref())
        });
        own.filter_map(|own| Some((u16::try_from(port.port).ok()?, u16::try_from(own.port?).ok()?)))
    });
    pairs.collect()
}

fn in_service(port: &ServicePort, found: &BTreeMap<String, Backend>, selected: &[&Pod]) -> Option<Port> {
    let number = u16::try_from(port.port).ok()?;
    let protocol = port.protocol.clone().unwrap_or_else(|| TCP.into());
    let mut targets: BTreeSet<u16> = BTreeSet::new();
    if protocol == TCP {
        targets.extend(found.values().filter_map(|pod| pod.ports.get(&number)).flatten());
    }
    let mut nameless = None;
    match &port.target_port {
        None => drop(targets.insert(number)),
        Some(IntOrString::Int(target)) => targets.extend(u16::try_from(*target).ok()),
        Some(IntOrString::String(name)) => {
            let is_there = !targets.is_empty() || selected.iter().any(|pod| has_port(pod, name, &protocol));
            nameless = (!is_there).then(|| name.clone());
        }
    }
    let of_nodes = port.node_port.and_then(|port| u16::try_from(port).ok());
    Some(Port { name: port.name.clone(), number, protocol, of_nodes, targets, nameless })
}

/// Init containers that go on running serve ports too (Kubernetes, "Sidecar Containers").
fn has_port(pod: &Pod, name: &str, protocol: &str) -> bool {
    containers(pod)
        .flat_map(|container| container.ports.iter().flatten())
        .any(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or(TCP) == protocol)
}

/// A pod's containers, and its init containers that go on running.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    sidecars.chain(spec.into_iter().flat_map(|spec| &spec.containers))
}

/// `None` where it has no address yet.
fn backend(namespace: &str, pod: &Pod) -> Option<Backend> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let ids: Vec<_> = all.map(|one| one.container_id.clone().unwrap_or_default()).collect();
    Some(Backend {
        namespace: namespace.into(),
        pod: pod.metadata.name.clone()?,
        ip: status.pod_ip.clone()?,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        containers: containers(pod).map(|container| container.name.clone()).collect(),
        incarnation: format!("{} {}", pod.metadata.uid.clone().unwrap_or_default(), ids.join(" ")),
        ports: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests;
