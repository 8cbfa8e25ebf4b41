//! Pods and Services as they stand, as which hop breaks is told by them: read once, and nothing waited for.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join, try_join3};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{self, Event, PodTemplateSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ListParams, LogParams};

use super::fate::{trouble, why_not_ready};
use super::service::{counts, is_selected};
use super::{Kube, KubeError, is_ready};
use crate::cluster::manifest::Workload;
use crate::proof::hops::{Container, Pod, Service, Trouble};

/// Where a last line is looked for.
const TAIL: i64 = 200;

impl Kube {
    /// The pods of a namespace with these labels, but for those on their way out.
    pub async fn as_they_stand(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Pod>, KubeError> {
        let pods = self.pods(namespace, labels).await?;
        Ok(self.seen(namespace, pods.iter().filter(|pod| stays(pod))).await)
    }

    /// Those of a workload; none where there is none of its name.
    pub async fn pods_of(&self, workload: &Workload) -> Result<Vec<Pod>, KubeError> {
        let what = format!("look at the pods of {}", workload.name);
        let selector = self.selector(workload, &what).await?;
        let pods: Api<v1::Pod> = Api::namespaced(self.client(), &workload.namespace);
        let listed = pods.list(&ListParams::default().labels_from(&selector)).await;
        let listed = listed.map_err(KubeError::api(&what))?.items;
        Ok(self.seen(&workload.namespace, listed.iter().filter(|pod| stays(pod))).await)
    }

    /// The Service `namespace/name` and what it selects; where there is none, those that there are, in words.
    pub async fn service_as_it_stands(&self, service: &str) -> Result<Result<Service, String>, KubeError> {
        let what = format!("look at service {service}");
        let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
        let services: Api<v1::Service> = Api::namespaced(self.client(), namespace);
        let Some(found) = services.get_opt(name).await.map_err(KubeError::api(&what))? else {
            let all = services.list(&ListParams::default()).await.map_err(KubeError::api(&what))?;
            let names: Vec<_> = all.items.into_iter().filter_map(|one| one.metadata.name).collect();
            let none = || "none in that namespace".into();
            return Ok(Err(if names.is_empty() { none() } else { names.join(", ") }));
        };
        let spec = found.spec.unwrap_or_default();
        let selector = spec.selector.unwrap_or_default();
        let slices: Api<EndpointSlice> = Api::namespaced(self.client(), namespace);
        let own = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let listed = async { slices.list(&own).await.map_err(KubeError::api(&what)) };
        let none = BTreeMap::new();
        let (all, slices) = try_join(self.pods(namespace, &none), listed).await?;
        let (selected, others): (Vec<_>, Vec<_>) =
            all.iter().filter(|pod| stays(pod)).partition(|pod| is_selected(pod, &selector));
        let makers =
            if selected.is_empty() { self.makers(namespace, &selector, &what).await? } else { vec![] };
        let tcp = |port: &v1::ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
        let ports = spec.ports.unwrap_or_default().into_iter().filter(tcp);
        let ready = slices.items.iter().filter(|slice| slice.ports.iter().flatten().next().is_some());
        let ready = ready.flat_map(|slice| slice.endpoints.iter().flatten()).filter(|one| counts(one));
        let labelled = |pod: &&v1::Pod| {
            (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.labels.clone().unwrap_or_default())
        };
        Ok(Ok(Service {
            selector,
            ports: ports.filter_map(|port| Some((u16::try_from(port.port).ok()?, target(&port)))).collect(),
            cluster_ip: spec.cluster_ip.filter(|ip| ip != "None"),
            others: others.iter().map(labelled).collect(),
            makers,
            ready: ready.count(),
            pods: self.seen(namespace, selected.into_iter()).await,
        }))
    }

    /// The last lines of a container's log.
    pub async fn tail(&self, pod: &Pod, container: &str) -> Result<String, KubeError> {
        let pods: Api<v1::Pod> = Api::namespaced(self.client(), &pod.namespace);
        let tail =
            LogParams { container: Some(container.into()), tail_lines: Some(TAIL), ..Default::default() };
        let what = format!("read the log of container {container} in pod {}/{}", pod.namespace, pod.name);
        pods.logs(&pod.name, &tail).await.map_err(KubeError::api(what))
    }

    async fn seen<'a>(&self, namespace: &str, pods: impl Iterator<Item = &'a v1::Pod>) -> Vec<Pod> {
        join_all(pods.map(async |pod| Pod { trouble: self.trouble(namespace, pod).await, ..read(pod) })).await
    }

    async fn trouble(&self, namespace: &str, pod: &v1::Pod) -> Option<Trouble> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if let Some((image, stuck)) = trouble(pod) {
            let log = self.last_words(namespace, name, stuck.crashed.as_deref()).await;
            return Some(Trouble { image, why: format!("{}{log}", stuck.why), hint: stuck.hint.into() });
        }
        // The kubelet says by an event alone that a volume cannot be mounted, or a sandbox cannot be made.
        let waits = pod.status.as_ref()?.container_statuses.iter().flatten().any(|one| {
            let waiting = one.state.as_ref().and_then(|state| state.waiting.as_ref());
            waiting.is_some_and(|one| one.reason.as_deref() == Some("ContainerCreating"))
        });
        if !waits {
            return None;
        }
        let events: Api<Event> = Api::namespaced(self.client(), namespace);
        let own = format!("type=Warning,involvedObject.name={name}");
        let told = events.list(&ListParams::default().fields(&own)).await.ok()?.items;
        let last = told.iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
        let (reason, message) = (last.reason.clone()?, last.message.clone()?);
        Some(Trouble {
            image: false,
            why: format!("pod {name}: its containers are not begun: {reason}: {}", message.trim()),
            hint: "a volume that is not there, or a folder of the node: `kubectl describe pod`".into(),
        })
    }

    /// The workloads whose pods would have these labels, and why they may have none.
    async fn makers(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        what: &str,
    ) -> Result<Vec<(String, String)>, KubeError> {
        let all = ListParams::default();
        let deployments: Api<Deployment> = Api::namespaced(self.client(), namespace);
        let sets: Api<StatefulSet> = Api::namespaced(self.client(), namespace);
        let daemons: Api<DaemonSet> = Api::namespaced(self.client(), namespace);
        let listed = try_join3(deployments.list(&all), sets.list(&all), daemons.list(&all)).await;
        let (deployments, sets, daemons) = listed.map_err(KubeError::api(what))?;
        let replicas: Api<ReplicaSet> = Api::namespaced(self.client(), namespace);
        let replicas = replicas.list(&all).await.map_err(KubeError::api(what))?;
        let mut makers = vec![];
        let fits = |template: Option<&PodTemplateSpec>| {
            let has = template.and_then(|one| one.metadata.as_ref()?.labels.as_ref());
            has.is_some_and(|has| labels.iter().all(|(key, value)| has.get(key) == Some(value)))
        };
        let named = |kind: &str, name: Option<String>| format!("{kind}/{}", name.unwrap_or_default());
        let scaled = |replicas: Option<i32>, why: Option<String>| match replicas {
            Some(0) => "it is scaled to 0".into(),
            _ => why.unwrap_or_else(|| "it is not said why".into()),
        };
        // What keeps a Deployment's pods from being made is said to its ReplicaSet.
        let refused = |name: &str| {
            let own = replicas
                .items
                .iter()
                .filter(|one| one.metadata.owner_references.iter().flatten().any(|owner| owner.name == name));
            let conditions =
                own.flat_map(|one| one.status.iter().flat_map(|one| one.conditions.iter().flatten()));
            conditions.filter(|one| one.type_ == "ReplicaFailure").find_map(|one| one.message.clone())
        };
        for one in deployments.items {
            let spec = one.spec.unwrap_or_default();
            if fits(Some(&spec.template)) {
                let why = refused(one.metadata.name.as_deref().unwrap_or_default());
                makers.push((named("deployment", one.metadata.name), scaled(spec.replicas, why)));
            }
        }
        for one in sets.items {
            let spec = one.spec.unwrap_or_default();
            if fits(Some(&spec.template)) {
                makers.push((named("statefulset", one.metadata.name), scaled(spec.replicas, None)));
            }
        }
        for one in daemons.items {
            let wanted = one.status.map(|status| status.desired_number_scheduled).unwrap_or_default();
            if fits(one.spec.as_ref().map(|spec| &spec.template)) {
                let why = format!("it wants a pod on {wanted} nodes: its node selector, or taints");
                makers.push((named("daemonset", one.metadata.name), why));
            }
        }
        Ok(makers)
    }
}

fn stays(pod: &v1::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

fn target(port: &v1::ServicePort) -> String {
    match &port.target_port {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(name)) => name.clone(),
        None => port.port.to_string(),
    }
}

fn read(pod: &v1::Pod) -> Pod {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let statuses = status.container_statuses.unwrap_or_default();
    let container = |one: v1::Container, init: bool| {
        let status = statuses.iter().find(|status| status.name == one.name);
        let images = one.image.into_iter().chain(status.map(|one| one.image.clone()));
        let images = images.chain(status.map(|one| one.image_id.clone())).filter(|name| !name.is_empty());
        let ports = one.ports.into_iter().flatten();
        Container {
            name: one.name,
            images: images.collect(),
            ports: ports
                .filter_map(|one| {
                    Some((u16::try_from(one.container_port).ok()?, one.name.unwrap_or_default()))
                })
                .collect(),
            init,
        }
    };
    let goes_on = |one: &v1::Container| one.restart_policy.as_deref() == Some("Always");
    let inits = spec.init_containers.into_iter().flatten();
    let inits: Vec<_> = inits.map(|one| container(one.clone(), !goes_on(&one))).collect();
    let folders = spec.volumes.into_iter().flatten().filter_map(|volume| Some(volume.host_path?.path));
    let owners = pod.metadata.owner_references.iter().flatten();
    Pod {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        node: spec.node_name.unwrap_or_default(),
        service_account: spec.service_account_name.unwrap_or_else(|| "default".into()),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        owners: owners.map(|one| (one.kind.clone(), one.name.clone())).collect(),
        ip: status.pod_ip.unwrap_or_default(),
        folders: folders.collect(),
        containers: spec.containers.into_iter().map(|one| container(one, false)).chain(inits).collect(),
        ready: is_ready(pod),
        trouble: None,
        state: if is_ready(pod) { String::new() } else { why_not_ready(pod) },
    }
}
