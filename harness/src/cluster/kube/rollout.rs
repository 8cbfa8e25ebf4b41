//! Waiting for what Kubernetes does, by watches: roll-outs, and objects that come or go.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::{Kube, KubeError};
use crate::cluster::helm::{Workload, WorkloadKind};
use crate::sys::wait::{self, Look};

impl Kube {
    /// Waits until every pod of the workload is of its newest revision and available.
    pub async fn rolled_out(&self, workload: &Workload, limit: Duration) -> Result<(), KubeError> {
        let Workload { kind, namespace, name } = workload;
        let what = format!("{kind:?} {namespace}/{name} to roll out").to_lowercase();
        let waited = match kind {
            WorkloadKind::Deployment => self.watched(namespace, name, &what, limit, deployment).await,
            WorkloadKind::StatefulSet => self.watched(namespace, name, &what, limit, stateful_set).await,
            WorkloadKind::DaemonSet => self.watched(namespace, name, &what, limit, daemon_set).await,
        };
        match waited {
            Ok(()) => Ok(()),
            Err(e) => Err(KubeError::Wait(format!("{e}\n{}", self.pods_in_words(namespace).await))),
        }
    }

    /// Waits until the `ConfigMap` has this key.
    pub async fn config_map_key(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        limit: Duration,
    ) -> Result<(), KubeError> {
        let what = format!("key {key} of configmap {namespace}/{name}");
        let look = |map: ConfigMap| {
            let there =
                map.data.as_ref().is_some_and(|data| data.get(key).is_some_and(|text| !text.is_empty()));
            if there { Look::Ready(()) } else { Look::NotYet("the key is not there".into()) }
        };
        self.watched(namespace, name, &what, limit, look).await
    }

    pub(super) async fn namespace_gone(&self, name: &str) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = pin!(watch(namespaces, config).default_backoff());
        let next =
            async || events.next().await.ok_or("the watch ended".to_owned())?.map_err(|e| e.to_string());
        let mut seen = false;
        let look = |event: Event<Namespace>| match event {
            Event::Delete(_) => Look::<_, String>::Ready(()),
            Event::InitDone if !seen => Look::Ready(()),
            Event::InitApply(_) | Event::Apply(_) => {
                seen = true;
                Look::NotYet("it is still there".into())
            }
            Event::Init | Event::InitDone => Look::NotYet("it is still there".into()),
        };
        let waited =
            wait::events(&format!("namespace {name} to be gone"), Duration::from_mins(2), next, look).await;
        waited.map_err(|e| KubeError::Wait(e.to_string()))
    }

    async fn watched<K, T>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        look: impl FnMut(K) -> Look<T, String>,
    ) -> Result<T, KubeError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client(), namespace);
        let mut objects = pin!(named(api, name));
        let next = async || objects.next().await.ok_or("the watch ended".to_owned())?;
        wait::events(what, limit, next, look).await.map_err(|e| KubeError::Wait(e.to_string()))
    }

    /// What the pods of a namespace that are not ready say of themselves, for an error.
    async fn pods_in_words(&self, namespace: &str) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        match pods.list(&kube::api::ListParams::default()).await {
            Ok(list) => list
                .items
                .iter()
                .filter(|pod| !super::is_ready(pod))
                .map(|pod| format!("  {}", in_words(pod)))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(e) => format!("  (and the pods of {namespace} could not be listed: {e})"),
        }
    }
}

/// Every state of one object. A watch that breaks is taken up again; the wait's own limit bounds it.
fn named<K>(api: Api<K>, name: &str) -> impl Stream<Item = Result<K, String>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch(api, config).default_backoff().applied_objects().map_err(|e| e.to_string())
}

fn deployment(object: Deployment) -> Look<(), String> {
    let generation = object.metadata.generation;
    let wanted = object.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let status = object.status.unwrap_or_default();
    let (updated, available, all) = (
        status.updated_replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
        status.replicas.unwrap_or(0),
    );
    if status.observed_generation >= generation && updated == wanted && available == wanted && all == wanted {
        return Look::Ready(());
    }
    Look::NotYet(format!("{updated} of {wanted} updated, {available} available, {all} in all"))
}

fn stateful_set(object: StatefulSet) -> Look<(), String> {
    let generation = object.metadata.generation;
    let wanted = object.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let status = object.status.unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    let current = status.update_revision == status.current_revision;
    if status.observed_generation >= generation
        && ready == wanted
        && (current || status.updated_replicas == Some(wanted))
    {
        return Look::Ready(());
    }
    Look::NotYet(format!("{ready} of {wanted} ready"))
}

fn daemon_set(object: DaemonSet) -> Look<(), String> {
    let generation = object.metadata.generation;
    let status = object.status.unwrap_or_default();
    let (wanted, updated, ready) =
        (status.desired_number_scheduled, status.updated_number_scheduled.unwrap_or(0), status.number_ready);
    // A DaemonSet that is seen before its controller wants no pod at all yet.
    if status.observed_generation >= generation && wanted > 0 && updated == wanted && ready == wanted {
        return Look::Ready(());
    }
    Look::NotYet(format!("{updated} of {wanted} updated, {ready} ready"))
}

fn in_words(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let Some(status) = &pod.status else { return format!("pod {name} has no status yet") };
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waiting = containers.filter_map(|container| {
        let state = container.state.as_ref()?;
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let last =
            last.map(|end| format!(", its last run ended with status {}", end.exit_code)).unwrap_or_default();
        match (&state.waiting, &state.terminated) {
            (Some(waiting), _) => {
                let (reason, message) = (
                    waiting.reason.as_deref().unwrap_or("waiting"),
                    waiting.message.as_deref().unwrap_or_default(),
                );
                Some(format!("{}: {reason} {message}{last}", container.name))
            }
            (None, Some(end)) => Some(format!("{}: ended with status {}", container.name, end.exit_code)),
            (None, None) if !container.ready => Some(format!("{}: running, not ready{last}", container.name)),
            (None, None) => None,
        }
    });
    let waiting = waiting.collect::<Vec<_>>().join("; ");
    let conditions =
        status.conditions.iter().flatten().filter(|one| one.status == "False" && one.message.is_some());
    let conditions = conditions.filter_map(|one| one.message.as_deref()).collect::<Vec<_>>().join("; ");
    format!(
        "pod {name} is {}: {waiting}{}{conditions}",
        status.phase.as_deref().unwrap_or("unknown"),
        if waiting.is_empty() { "" } else { "; " }
    )
}
