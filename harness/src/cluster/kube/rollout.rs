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

use super::{Kube, KubeError, WatchEnd};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

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
            Err(WaitError::TimedOut(mut gave_up)) => {
                gave_up.status = format!("{}\n{}", gave_up.status, self.unready_pods(namespace).await);
                Err(WaitError::TimedOut(gave_up).into())
            }
            waited => Ok(waited?),
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
        Ok(self.watched(namespace, name, &what, limit, look).await?)
    }

    pub(super) async fn namespace_gone(&self, name: &str) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = pin!(watch(namespaces, config).default_backoff());
        let next = async || Ok(events.next().await.ok_or(WatchEnd::Closed)??);
        let mut seen = false;
        let look = |event: Event<Namespace>| match event {
            Event::Delete(_) => Look::<_, WatchEnd>::Ready(()),
            Event::InitDone if !seen => Look::Ready(()),
            Event::InitApply(_) | Event::Apply(_) => {
                seen = true;
                Look::NotYet("it is still there".into())
            }
            Event::Init | Event::InitDone => Look::NotYet("it is still there".into()),
        };
        let waited =
            wait::events(&format!("namespace {name} to be gone"), Duration::from_mins(2), next, look).await;
        Ok(waited?)
    }

    async fn watched<K, T>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        look: impl FnMut(K) -> Look<T, WatchEnd>,
    ) -> Result<T, WaitError<WatchEnd>>
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
        let next = async || objects.next().await.ok_or(WatchEnd::Closed)?;
        wait::events(what, limit, next, look).await
    }

    /// What the pods of a namespace that are not ready say of themselves, for an error.
    async fn unready_pods(&self, namespace: &str) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        match pods.list(&kube::api::ListParams::default()).await {
            Ok(list) => list
                .items
                .iter()
                .filter(|pod| !super::is_ready(pod))
                .map(|pod| format!("  {}", why_not_ready(pod)))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(e) => format!("  (and the pods of {namespace} could not be listed: {})", chain(&e)),
        }
    }
}

/// Every state of one object. A watch that breaks is taken up again; the wait's own limit bounds it.
fn named<K>(api: Api<K>, name: &str) -> impl Stream<Item = Result<K, WatchEnd>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch(api, config).default_backoff().applied_objects().map_err(WatchEnd::from)
}

fn deployment(object: Deployment) -> Look<(), WatchEnd> {
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

fn stateful_set(object: StatefulSet) -> Look<(), WatchEnd> {
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

fn daemon_set(object: DaemonSet) -> Look<(), WatchEnd> {
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

/// What the pod says of itself, for an error.
fn why_not_ready(pod: &Pod) -> String {
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn seen<K: DeserializeOwned>(object: Value, look: impl Fn(K) -> Look<(), WatchEnd>) -> String {
        match look(serde_json::from_value(object).unwrap()) {
            Look::Ready(()) => "ready".into(),
            Look::NotYet(status) => status,
            Look::Fatal(error) => panic!("{error}"),
        }
    }

    /// Generation 2 of an object of three pods, with this status.
    fn three(status: &Value) -> Value {
        let spec = json!({ "replicas": 3, "selector": {}, "template": {}, "serviceName": "s" });
        json!({ "metadata": { "generation": 2 }, "spec": spec, "status": status })
    }

    #[rstest]
    #[case::ok(2, 3, 3, 3, "ready")]
    #[case::not_seen_by_its_controller(1, 3, 3, 3, "3 of 3 updated, 3 available, 3 in all")]
    #[case::not_updated(2, 2, 3, 3, "2 of 3 updated, 3 available, 3 in all")]
    #[case::not_available(2, 3, 2, 3, "3 of 3 updated, 2 available, 3 in all")]
    #[case::an_old_pod_still_stands(2, 3, 3, 4, "3 of 3 updated, 3 available, 4 in all")]
    fn a_deployment(
        #[case] observed: i64,
        #[case] updated: i32,
        #[case] available: i32,
        #[case] all: i32,
        #[case] expected: &str,
    ) {
        let status = json!({
            "observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available,
            "replicas": all,
        });
        assert_eq!(seen(three(&status), deployment), expected);
    }

    #[test]
    fn a_deployment_without_a_status_is_not_there_and_wants_one_pod_unless_it_says_more() {
        assert_eq!(seen(three(&Value::Null), deployment), "0 of 3 updated, 0 available, 0 in all");
        let mut object = three(&Value::Null);
        object["spec"]["replicas"].take();
        assert_eq!(seen(object, deployment), "0 of 1 updated, 0 available, 0 in all");
    }

    #[rstest]
    #[case::ok(2, 3, Some(3), ["b", "b"], "ready")]
    #[case::all_are_new_and_not_yet_called_current(2, 3, Some(3), ["a", "b"], "ready")]
    #[case::one_is_old(2, 3, Some(2), ["a", "b"], "3 of 3 ready")]
    #[case::nobody_says_how_many_are_new(2, 3, None, ["a", "b"], "3 of 3 ready")]
    #[case::not_ready(2, 1, Some(3), ["b", "b"], "1 of 3 ready")]
    #[case::not_seen_by_its_controller(1, 3, Some(3), ["b", "b"], "3 of 3 ready")]
    fn a_stateful_set(
        #[case] observed: i64,
        #[case] ready: i32,
        #[case] updated: Option<i32>,
        #[case] revisions: [&str; 2],
        #[case] expected: &str,
    ) {
        let status = json!({
            "observedGeneration": observed, "replicas": 3, "readyReplicas": ready,
            "updatedReplicas": updated,
            "currentRevision": revisions[0], "updateRevision": revisions[1],
        });
        assert_eq!(seen(three(&status), stateful_set), expected);
    }

    #[test]
    fn a_set_without_a_status_is_not_there() {
        assert_eq!(seen(three(&Value::Null), stateful_set), "0 of 3 ready");
        assert_eq!(seen(three(&Value::Null), daemon_set), "0 of 0 updated, 0 ready");
    }

    #[rstest]
    #[case::ok(2, 2, Some(2), 2, "ready")]
    #[case::not_seen_by_its_controller(1, 2, Some(2), 2, "2 of 2 updated, 2 ready")]
    #[case::not_updated(2, 2, Some(1), 2, "1 of 2 updated, 2 ready")]
    #[case::not_ready(2, 2, Some(2), 1, "2 of 2 updated, 1 ready")]
    #[case::no_node_counted_yet(2, 0, Some(0), 0, "0 of 0 updated, 0 ready")]
    #[case::nobody_says_how_many_are_new(2, 1, None, 1, "0 of 1 updated, 1 ready")]
    fn a_daemon_set(
        #[case] observed: i64,
        #[case] wanted: i32,
        #[case] updated: Option<i32>,
        #[case] ready: i32,
        #[case] expected: &str,
    ) {
        let status = json!({
            "observedGeneration": observed, "desiredNumberScheduled": wanted,
            "updatedNumberScheduled": updated, "numberReady": ready,
            "currentNumberScheduled": wanted, "numberMisscheduled": 0,
        });
        assert_eq!(seen(three(&status), daemon_set), expected);
    }

    #[rstest]
    #[case::its_image_is_not_there(
        json!({ "waiting": { "reason": "ErrImagePull", "message": "not found" } }),
        Value::Null,
        "pod web is Pending: envoy: ErrImagePull not found; no node fits"
    )]
    #[case::it_crashes(
        json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        json!({ "terminated": { "exitCode": 1 } }),
        "pod web is Pending: envoy: CrashLoopBackOff , its last run ended with status 1; no node fits"
    )]
    #[case::it_ended(
        json!({ "terminated": { "exitCode": 3 } }),
        Value::Null,
        "pod web is Pending: envoy: ended with status 3; no node fits"
    )]
    #[case::it_runs_and_is_not_ready(
        json!({ "running": {} }),
        Value::Null,
        "pod web is Pending: envoy: running, not ready; no node fits"
    )]
    #[case::nothing_is_known_of_it(Value::Null, Value::Null, "pod web is Pending: no node fits")]
    fn a_pod_says_why_it_is_not_ready(#[case] state: Value, #[case] last: Value, #[case] expected: &str) {
        let container = json!({
            "name": "envoy", "image": "i", "imageID": "i", "ready": false, "restartCount": 1,
            "state": state, "lastState": last,
        });
        let condition = json!({ "type": "PodScheduled", "status": "False", "message": "no node fits" });
        let status =
            json!({ "phase": "Pending", "containerStatuses": [container], "conditions": [condition] });
        let pod = json!({ "metadata": { "name": "web" }, "status": status });
        assert_eq!(why_not_ready(&serde_json::from_value(pod).unwrap()), expected);
    }

    #[test]
    fn a_pod_that_nobody_has_seen_says_so() {
        assert_eq!(why_not_ready(&Pod::default()), "pod ? has no status yet");
    }
}
