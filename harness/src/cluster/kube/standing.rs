//! How far a roll-out is, by what the workload and its pods say of themselves. Watching them is `rollout`'s.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::WatchEnd;
use super::fate::{Fate, Stuck, fate, never};
use crate::sys::wait::Look;

/// What a workload says of itself.
pub(super) struct State {
    /// Whether it is rolled out.
    look: Look<(), WatchEnd>,
    /// The labels of its pods.
    labels: BTreeMap<String, String>,
    /// Its pods of before this are of an older revision.
    since: Option<Time>,
}

impl State {
    fn new(meta: &ObjectMeta, selector: Option<&LabelSelector>, look: Look<(), WatchEnd>) -> Self {
        let labels = selector.and_then(|selector| selector.match_labels.clone()).unwrap_or_default();
        Self { look, labels, since: last_wanted_otherwise(meta) }
    }
}

/// When it was last written what is wanted, and not how it stands.
fn last_wanted_otherwise(meta: &ObjectMeta) -> Option<Time> {
    let fields = meta.managed_fields.iter().flatten().filter(|field| field.subresource.is_none());
    fields.filter_map(|field| field.time.clone()).max().or_else(|| meta.creation_timestamp.clone())
}

pub(super) enum Seen {
    State(State),
    Pod(Box<Event<Pod>>),
    /// Time went by.
    Nothing,
}

/// A roll-out under way: the workload as it was last seen, and the pods of its namespace.
#[derive(Default)]
pub(super) struct RollOut {
    labels: BTreeMap<String, String>,
    since: Option<Time>,
    status: String,
    pods: BTreeMap<String, Pod>,
    /// Since when a pod is stuck.
    stuck: BTreeMap<String, Instant>,
}

impl RollOut {
    pub(super) fn look(&mut self, seen: Seen, now: Instant) -> Look<(), WatchEnd> {
        match seen {
            Seen::State(State { look: Look::NotYet(status), labels, since }) => {
                (self.status, self.labels, self.since) = (status, labels, since);
            }
            Seen::State(State { look, .. }) => return look,
            Seen::Pod(event) => self.note(*event),
            Seen::Nothing => {}
        }
        match self.stuck(now) {
            Some((pod, stuck)) => Look::Fatal(WatchEnd::Stuck { pod, stuck: Box::new(stuck) }),
            None if self.status.is_empty() => Look::NotYet("nothing was seen".into()),
            None => Look::NotYet(self.status.clone()),
        }
    }

    fn note(&mut self, event: Event<Pod>) {
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Init => self.pods.clear(),
            Event::InitApply(pod) | Event::Apply(pod) => drop(self.pods.insert(name(&pod), pod)),
            Event::Delete(pod) => drop(self.pods.remove(&name(&pod))),
            Event::InitDone => {}
        }
    }

    /// A pod of the newest revision whose grace is over.
    fn stuck(&mut self, now: Instant) -> Option<(String, Stuck)> {
        let mut stuck = BTreeMap::new();
        for (name, pod) in self.pods.iter().filter(|(_, pod)| self.is_new(pod)) {
            if let Fate::Stuck(why) = fate(pod) {
                let since = self.stuck.get(name).copied().unwrap_or(now);
                stuck.insert(name.clone(), (since, why));
            }
        }
        self.stuck = stuck.iter().map(|(name, (since, _))| (name.clone(), *since)).collect();
        let over = |(since, why): &(Instant, Stuck)| now.saturating_duration_since(*since) >= why.grace;
        stuck.into_iter().find(|(_, one)| over(one)).map(|(name, (_, why))| (name, why))
    }

    /// Whether it is the workload's, and of its newest revision: those of before tell nothing of those to
    /// come.
    fn is_new(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value): (&String, &String)| labels.is_some_and(|all| all.get(key) == Some(value));
        !self.labels.is_empty()
            && self.labels.iter().all(has)
            && self.since.is_some()
            && pod.metadata.creation_timestamp >= self.since
    }
}

pub(super) fn deployment(object: Deployment) -> State {
    let meta = object.metadata.clone();
    let selector = object.spec.as_ref().map(|spec| spec.selector.clone());
    State::new(&meta, selector.as_ref(), deployment_state(object))
}

pub(super) fn stateful_set(object: StatefulSet) -> State {
    let meta = object.metadata.clone();
    let selector = object.spec.as_ref().map(|spec| spec.selector.clone());
    State::new(&meta, selector.as_ref(), stateful_set_state(object))
}

pub(super) fn daemon_set(object: DaemonSet) -> State {
    let meta = object.metadata.clone();
    let selector = object.spec.as_ref().map(|spec| spec.selector.clone());
    State::new(&meta, selector.as_ref(), daemon_set_state(object))
}

fn deployment_state(object: Deployment) -> Look<(), WatchEnd> {
    let generation = object.metadata.generation;
    let paused = object.spec.as_ref().and_then(|spec| spec.paused) == Some(true);
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
    let told = format!("{updated} of {wanted} updated, {available} available, {all} in all");
    if paused && status.observed_generation >= generation && (all > updated || (all == 0 && wanted > 0)) {
        return cannot_come(
            &object.metadata,
            &told,
            "it is paused (`spec.paused`)",
            "`kubectl rollout resume`",
        );
    }
    let refused = status.conditions.iter().flatten().filter(|one| one.type_ == "ReplicaFailure");
    let refused = refused.filter_map(|one| one.message.as_deref()).find(|why| why.contains(POD_SECURITY));
    if let Some(why) = refused.filter(|_| status.observed_generation >= generation) {
        return cannot_come(&object.metadata, &told, why, POD_SECURITY_HINT);
    }
    Look::NotYet(told)
}

/// How an API server refuses a pod that is not as its namespace's label wants it: no try of the controller's
/// that comes later ends otherwise (Kubernetes documentation, "Pod Security Admission").
const POD_SECURITY: &str = "violates PodSecurity";
const POD_SECURITY_HINT: &str = "the namespace's label `pod-security.kubernetes.io/enforce`, or the \
                                 cluster's default for it, asks for more than the chart gives";

/// Its controller leaves the pods of before to stand, or can make none.
fn cannot_come(meta: &ObjectMeta, told: &str, why: &str, hint: &'static str) -> Look<(), WatchEnd> {
    let name = meta.name.clone().unwrap_or_default();
    Look::Fatal(WatchEnd::Stuck { pod: name, stuck: Box::new(never(format!("{why}, with {told}"), hint)) })
}

const ON_DELETE: &str = "its pods are replaced only when somebody deletes them (`updateStrategy: OnDelete`)";
const ON_DELETE_HINT: &str = "`updateStrategy: RollingUpdate`, or delete the pods that are not updated";

fn stateful_set_state(object: StatefulSet) -> Look<(), WatchEnd> {
    let generation = object.metadata.generation;
    let strategy = object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    let on_delete = strategy == Some("OnDelete");
    let wanted = object.spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let status = object.status.unwrap_or_default();
    let (ready, updated) = (status.ready_replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    let current = status.update_revision == status.current_revision;
    if status.observed_generation >= generation
        && ready == wanted
        && ((current && !on_delete) || updated == wanted)
    {
        return Look::Ready(());
    }
    let told = format!("{updated} of {wanted} updated, {ready} ready");
    if on_delete && status.observed_generation >= generation && status.replicas > updated {
        return cannot_come(&object.metadata, &told, ON_DELETE, ON_DELETE_HINT);
    }
    Look::NotYet(told)
}

fn daemon_set_state(object: DaemonSet) -> Look<(), WatchEnd> {
    let generation = object.metadata.generation;
    let strategy = object.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    let on_delete = strategy == Some("OnDelete");
    let status = object.status.unwrap_or_default();
    let (wanted, updated, ready) =
        (status.desired_number_scheduled, status.updated_number_scheduled.unwrap_or(0), status.number_ready);
    // None of none are ready, where no node takes any: its controller has counted, as `observed_generation`
    // says.
    if status.observed_generation >= generation && updated == wanted && ready == wanted {
        return Look::Ready(());
    }
    let told = format!("{updated} of {wanted} updated, {ready} ready");
    if on_delete && status.observed_generation >= generation && status.current_number_scheduled > updated {
        return cannot_come(&object.metadata, &told, ON_DELETE, ON_DELETE_HINT);
    }
    Look::NotYet(told)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use serde::de::DeserializeOwned;
    use std::time::Duration;

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
        assert_eq!(seen(three(&status), deployment_state), expected);
    }

    #[test]
    fn a_deployment_without_a_status_is_not_there_and_wants_one_pod_unless_it_says_more() {
        assert_eq!(seen(three(&Value::Null), deployment_state), "0 of 3 updated, 0 available, 0 in all");
        let mut object = three(&Value::Null);
        object["spec"]["replicas"].take();
        assert_eq!(seen(object, deployment_state), "0 of 1 updated, 0 available, 0 in all");
    }

    #[rstest]
    #[case::ok(2, 3, Some(3), ["b", "b"], "ready")]
    #[case::all_are_new_and_not_yet_called_current(2, 3, Some(3), ["a", "b"], "ready")]
    #[case::one_is_old(2, 3, Some(2), ["a", "b"], "2 of 3 updated, 3 ready")]
    #[case::nobody_says_how_many_are_new(2, 3, None, ["a", "b"], "0 of 3 updated, 3 ready")]
    #[case::not_ready(2, 1, Some(3), ["b", "b"], "3 of 3 updated, 1 ready")]
    #[case::not_seen_by_its_controller(1, 3, Some(3), ["b", "b"], "3 of 3 updated, 3 ready")]
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
        assert_eq!(seen(three(&status), stateful_set_state), expected);
    }

    #[test]
    fn a_set_without_a_status_is_not_there() {
        assert_eq!(seen(three(&Value::Null), stateful_set_state), "0 of 3 updated, 0 ready");
        assert_eq!(seen(three(&Value::Null), daemon_set_state), "0 of 0 updated, 0 ready");
    }

    #[rstest]
    #[case::ok(2, 2, Some(2), 2, "ready")]
    #[case::not_seen_by_its_controller(1, 2, Some(2), 2, "2 of 2 updated, 2 ready")]
    #[case::not_updated(2, 2, Some(1), 2, "1 of 2 updated, 2 ready")]
    #[case::not_ready(2, 2, Some(2), 1, "2 of 2 updated, 1 ready")]
    #[case::no_node_takes_any(2, 0, None, 0, "ready")]
    #[case::no_node_counted_yet(1, 0, Some(0), 0, "0 of 0 updated, 0 ready")]
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
        assert_eq!(seen(three(&status), daemon_set_state), expected);
    }

    #[rstest]
    #[case::none_is_wanted(0, None, ["b", "b"], "ready")]
    #[case::none_is_wanted_of_a_new_revision(0, None, ["a", "b"], "ready")]
    fn a_stateful_set_of_none(
        #[case] ready: i32,
        #[case] updated: Option<i32>,
        #[case] revisions: [&str; 2],
        #[case] expected: &str,
    ) {
        let status = json!({
            "observedGeneration": 2, "replicas": 0, "readyReplicas": ready, "updatedReplicas": updated,
            "currentRevision": revisions[0], "updateRevision": revisions[1],
        });
        let mut object = three(&status);
        object["spec"]["replicas"] = json!(0);
        assert_eq!(seen(object, stateful_set_state), expected);
    }

    /// Whether it ends at once, with the strategy and the count of updated pods of three.
    #[rstest]
    #[case::pods_of_before_stand("OnDelete", 2, 1, true)]
    #[case::all_are_new("OnDelete", 2, 3, false)]
    #[case::not_seen_by_its_controller("OnDelete", 1, 1, false)]
    #[case::they_are_replaced("RollingUpdate", 2, 1, false)]
    fn what_nobody_replaces_does_not_come(
        #[case] strategy: &str,
        #[case] observed: i64,
        #[case] updated: i32,
        #[case] ends: bool,
    ) {
        let mut object = three(&json!({
            "observedGeneration": observed, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "updatedReplicas": updated, "currentRevision": "a", "updateRevision": "a",
            "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
            "updatedNumberScheduled": updated, "numberReady": 3,
        }));
        object["spec"]["updateStrategy"] = json!({ "type": strategy });
        object["spec"]["paused"] = json!(strategy == "OnDelete");
        let ended = |look| matches!(look, Look::Fatal(WatchEnd::Stuck { .. }));
        assert_eq!(ended(stateful_set_state(serde_json::from_value(object.clone()).unwrap())), ends);
        assert_eq!(ended(daemon_set_state(serde_json::from_value(object.clone()).unwrap())), ends);
        assert_eq!(ended(deployment_state(serde_json::from_value(object).unwrap())), ends);
    }

    #[rstest]
    #[case::for_ever(2, "pods \"web-1\" is forbidden: violates PodSecurity \"restricted:latest\"", true)]
    #[case::of_the_template_before(
        1,
        "pods \"web-1\" is forbidden: violates PodSecurity \"baseline:latest\"",
        false
    )]
    #[case::until_there_is_room(2, "pods \"web-1\" is forbidden: exceeded quota: small", false)]
    fn pods_that_the_api_server_refuses_do_not_come(
        #[case] observed: i64,
        #[case] why: &str,
        #[case] ends: bool,
    ) {
        let condition = json!({ "type": "ReplicaFailure", "status": "True", "message": why });
        let object = three(&json!({ "observedGeneration": observed, "conditions": [condition] }));
        match deployment_state(serde_json::from_value(object).unwrap()) {
            Look::Fatal(error) => {
                assert!(ends && error.to_string().contains("will never be ready"), "{error}");
            }
            _ => assert!(!ends),
        }
    }

    /// A workload that wants one pod, written at this second.
    fn wanting(second: u8) -> Seen {
        let object = json!({
            "metadata": { "generation": 1, "managedFields": [
                { "time": format!("2026-01-01T00:00:{second:02}Z") },
                { "time": "2026-01-01T00:00:59Z", "subresource": "status" },
            ] },
            "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": {} },
        });
        Seen::State(deployment(serde_json::from_value(object).unwrap()))
    }

    /// A pod that was made at this second, whose container waits for this reason.
    fn made(second: u8, app: &str, reason: &str) -> Seen {
        let waiting = json!({ "waiting": { "reason": reason } });
        let container = json!({
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
        });
        let pod = json!({
            "metadata": {
                "name": "web-1", "labels": { "app": app, "hash": "1" },
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "status": { "containerStatuses": [container] },
        });
        Seen::Pod(Box::new(Event::Apply(serde_json::from_value(pod).unwrap())))
    }

    #[rstest]
    #[case::its_own(10, "web", true)]
    #[case::of_the_revision_before(9, "web", false)]
    #[case::anothers(10, "db", false)]
    fn a_pod_that_never_comes_ends_the_roll_out(#[case] second: u8, #[case] app: &str, #[case] ends: bool) {
        let mut roll_out = RollOut::default();
        let now = Instant::now();
        assert!(matches!(roll_out.look(made(second, app, "ErrImagePull"), now), Look::NotYet(_)));
        assert_eq!(matches!(roll_out.look(wanting(10), now), Look::Fatal(WatchEnd::Stuck { .. })), ends);
        assert_eq!(matches!(roll_out.look(Seen::Nothing, now), Look::Fatal(_)), ends);
    }

    #[test]
    fn a_grace_is_of_the_time_without_a_break() {
        let mut roll_out = RollOut::default();
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        let missing = || made(10, "web", "CreateContainerConfigError");
        let mut ends = |seen, seconds| matches!(roll_out.look(seen, at(seconds)), Look::Fatal(_));
        assert!(!ends(wanting(10), 0) && !ends(missing(), 0) && !ends(Seen::Nothing, 4));
        assert!(!ends(made(10, "web", "ContainerCreating"), 4), "it came");
        assert!(!ends(missing(), 10) && !ends(Seen::Nothing, 14));
        assert!(ends(Seen::Nothing, 16));
    }

    #[test]
    fn a_pod_that_went_holds_nothing_up() {
        let mut roll_out = RollOut::default();
        let now = Instant::now();
        let Seen::Pod(event) = made(10, "web", "ErrImagePull") else { panic!() };
        let Event::Apply(pod) = *event else { panic!() };
        roll_out.note(Event::Apply(pod.clone()));
        roll_out.note(Event::Delete(pod));
        assert!(matches!(roll_out.look(wanting(10), now), Look::NotYet(_)));
    }
}
