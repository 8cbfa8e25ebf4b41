//! A workload that is known by its name: whether it is there, when it comes, and a pod of it that is ready.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::rollout::{named, unbroken};
use super::{Kube, KubeError, is_ready};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::sys::wait::Look;

impl Kube {
    /// Whether there is such a workload.
    pub async fn has_workload(&self, workload: &Workload) -> Result<bool, KubeError> {
        match workload.kind {
            WorkloadKind::Deployment => self.has::<Deployment>(workload).await,
            WorkloadKind::StatefulSet => self.has::<StatefulSet>(workload).await,
            WorkloadKind::DaemonSet => self.has::<DaemonSet>(workload).await,
        }
    }

    async fn has<K>(&self, workload: &Workload) -> Result<bool, KubeError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug,
        K: DeserializeOwned,
    {
        let Workload { namespace, name, .. } = workload;
        let api: Api<K> = Api::namespaced(self.client(), namespace);
        let found = api.get_metadata_opt(name).await;
        let found = found.map_err(KubeError::api(format!("look for {}", in_words(workload))))?;
        Ok(found.is_some())
    }

    /// Waits until one of these workloads is there; how long that may take, its caller knows.
    pub async fn comes(&self, any: &[Workload]) -> Result<Workload, KubeError> {
        let seen = any.iter().map(|workload| {
            let Workload { namespace, name, .. } = workload;
            let is = workload.clone();
            match workload.kind {
                WorkloadKind::Deployment => {
                    named(Api::<Deployment>::namespaced(self.client(), namespace), name)
                        .map(move |seen| seen.map(|_| is.clone()))
                        .boxed()
                }
                WorkloadKind::StatefulSet => {
                    named(Api::<StatefulSet>::namespaced(self.client(), namespace), name)
                        .map(move |seen| seen.map(|_| is.clone()))
                        .boxed()
                }
                WorkloadKind::DaemonSet => {
                    named(Api::<DaemonSet>::namespaced(self.client(), namespace), name)
                        .map(move |seen| seen.map(|_| is.clone()))
                        .boxed()
                }
            }
        });
        let what = any.iter().map(in_words).collect::<Vec<_>>().join(" or ");
        Ok(unbroken(select_all(seen), &what, Duration::MAX, Look::Ready).await?)
    }

    /// The first pod of the workload, by name, that is ready.
    pub async fn ready_pod(&self, workload: &Workload) -> Result<Option<String>, KubeError> {
        Ok(self.first_ready(workload).await?.map(|pod| pod.name_any()))
    }

    /// The image of a container of such a pod, as its manifest names it.
    pub async fn image_of(&self, workload: &Workload, container: &str) -> Result<Option<String>, KubeError> {
        let pod = self.first_ready(workload).await?;
        let containers = pod.and_then(|pod| pod.spec).map(|spec| spec.containers).unwrap_or_default();
        let found = containers.into_iter().find(|one| one.name == container);
        Ok(found.and_then(|one| one.image))
    }

    async fn first_ready(&self, workload: &Workload) -> Result<Option<Pod>, KubeError> {
        let what = format!("find a pod of {}", in_words(workload));
        let selector = self.selector(workload, &what).await?;
        let pods: Api<Pod> = Api::namespaced(self.client(), &workload.namespace);
        let listed = pods.list(&ListParams::default().labels_from(&selector)).await;
        let ready = listed.map_err(KubeError::api(what))?.items.into_iter().filter(is_ready);
        Ok(ready.min_by_key(ResourceExt::name_any))
    }
}

fn in_words(workload: &Workload) -> String {
    let Workload { kind, namespace, name } = workload;
    format!("{kind:?} {namespace}/{name}").to_lowercase()
}
