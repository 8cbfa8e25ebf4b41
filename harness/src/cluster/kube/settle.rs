//! Waiting for objects that say of themselves when they are done or ready: Jobs, definitions of custom
//! resources, and custom resources; and what a hook that failed has to say. Workloads are `rollout`'s.
//!
//! The rules for custom resources are kstatus' (sigs.k8s.io/cli-utils, `pkg/kstatus`): the status must be of
//! the newest generation; `Stalled` that is true ends the wait; `Reconciling` that is true, and `Ready` or
//! `Available` that is there and not true, are waited out. One without any of these is as it shall be.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;

use super::rollout::unbroken;
use super::{Kube, KubeError, WatchEnd};
use crate::cluster::manifest::Named;
use crate::sys::wait::{Look, WaitError};

impl Kube {
    /// Waits until the object says that it is done or ready.
    ///
    /// # Errors
    /// It says that it failed, with the last line of a Job's log; or nothing in time.
    pub async fn settles(&self, object: &Named, limit: Duration) -> Result<(), KubeError> {
        let what = in_words(object);
        let api = self.dynamic(object).await?;
        let config = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
        let seen = watcher(api, config).default_backoff().applied_objects().boxed();
        let look = |seen: DynamicObject| standing(object, &serde_json::to_value(seen).unwrap_or_default());
        match unbroken(seen, &format!("{what} to be {}", wanted(object)), limit, look).await {
            Err(WaitError::Fatal { source: WatchEnd::Failed(why), .. }) => {
                let log = self.words_of(object).await;
                Err(KubeError::Failed { what, why: format!("{why}{log}"), hint: hint(object) })
            }
            Err(WaitError::TimedOut(mut gave_up)) if is_job(object) => {
                let pods = self.unready_pods(&object.namespace).await;
                gave_up.status = format!("{}{}\n{pods}", gave_up.status, self.words_of(object).await);
                Err(WaitError::TimedOut(gave_up).into())
            }
            waited => Ok(waited?),
        }
    }

    /// Of those hooks that are there and did not succeed, each in words, with the last line of its log.
    pub async fn failed_hooks(&self, hooks: &[Named]) -> Vec<String> {
        let mut all = vec![];
        for hook in hooks.iter().filter(|hook| is_job(hook) || is_pod(hook)) {
            let Ok(api) = self.dynamic(hook).await else { continue };
            let Ok(Some(object)) = api.get_opt(&hook.name).await else { continue };
            let status = match standing(hook, &serde_json::to_value(object).unwrap_or_default()) {
                Look::Ready(()) => continue,
                Look::NotYet(status) => format!("was not done: {status}"),
                Look::Fatal(WatchEnd::Failed(why)) => format!("failed: {why}"),
                Look::Fatal(end) => end.to_string(),
            };
            all.push(format!("hook {} {status}{}", in_words(hook), self.words_of(hook).await));
        }
        all
    }

    /// The first of these that is there, in words.
    pub async fn first_there(&self, objects: &[Named]) -> Result<Option<String>, KubeError> {
        for object in objects {
            let what = in_words(object);
            let api = match self.dynamic(object).await {
                Ok(api) => api,
                Err(KubeError::Api { source, .. }) if is_missing(&source) => continue,
                Err(error) => return Err(error),
            };
            let found = api.get_metadata_opt(&object.name).await;
            if found.map_err(KubeError::api(format!("look for {what}")))?.is_some() {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    /// Deletes the object; one that is not there, or whose kind is not, is as good as gone.
    pub async fn delete(&self, object: &Named) -> Result<(), KubeError> {
        let what = in_words(object);
        let api = match self.dynamic(object).await {
            Ok(api) => api,
            Err(KubeError::Api { source, .. }) if is_missing(&source) => return Ok(()),
            Err(error) => return Err(error),
        };
        let deleted = api.delete(&object.name, &DeleteParams::background()).await;
        super::ours::gone(deleted).map_err(KubeError::api(format!("delete {what}")))
    }

    pub(super) async fn dynamic(&self, object: &Named) -> Result<Api<DynamicObject>, KubeError> {
        let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
        let kind = GroupVersionKind::gvk(group, version, &object.kind);
        let found = pinned_kind(&self.client, &kind).await;
        let what = format!("find kind {} of {} in the API", object.kind, object.api_version);
        let (resource, capabilities) = found.map_err(KubeError::api(what))?;
        Ok(api(self.client(), object, &resource, &capabilities.scope))
    }

    /// The last line of the log of a Job's last pod, or of a pod; nothing for other objects.
    async fn words_of(&self, object: &Named) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client(), &object.namespace);
        let pod = if is_pod(object) {
            pods.get_opt(&object.name).await.ok().flatten()
        } else if is_job(object) {
            let of_job = ListParams::default().labels(&format!("job-name={}", object.name));
            let all = pods.list(&of_job).await.map(|list| list.items).unwrap_or_default();
            all.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone())
        } else {
            None
        };
        let Some(pod) = pod else { return String::new() };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let words = self.last_words(&object.namespace, name, failed_container(&pod)).await;
        if words.is_empty() { words } else { format!("; pod {name}{words}") }
    }
}

/// The API has no such group, version or kind.
fn is_missing(error: &kube::Error) -> bool {
    use kube::error::DiscoveryError::{MissingApiGroup, MissingKind};
    match error {
        kube::Error::Api(status) => status.code == 404,
        kube::Error::Discovery(error) => matches!(error, MissingApiGroup(_) | MissingKind(_)),
        _ => false,
    }
}

fn api(client: Client, object: &Named, resource: &ApiResource, scope: &Scope) -> Api<DynamicObject> {
    match scope {
        Scope::Namespaced => Api::namespaced_with(client, &object.namespace, resource),
        Scope::Cluster => Api::all_with(client, resource),
    }
}

/// The container that ended with another status than 0, else the first that was started.
fn failed_container(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let all =
        || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let ended = |one: &k8s_openapi::api::core::v1::ContainerStatus| {
        let both = [&one.state, &one.last_state].into_iter().flatten();
        both.filter_map(|state| state.terminated.as_ref()).any(|end| end.exit_code != 0)
    };
    let found = all().find(|one| ended(one)).or_else(|| status.container_statuses.iter().flatten().next());
    found.map(|one| one.name.as_str())
}

pub(super) fn is_job(object: &Named) -> bool {
    object.api_version.starts_with("batch/") && object.kind == "Job"
}

pub(super) fn is_pod(object: &Named) -> bool {
    object.api_version == "v1" && object.kind == "Pod"
}

fn is_definition(object: &Named) -> bool {
    object.api_version.starts_with("apiextensions.k8s.io/")
}

pub(super) fn in_words(object: &Named) -> String {
    let Named { kind, namespace, name, .. } = object;
    let kind = kind.to_lowercase();
    if is_definition(object) { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

fn wanted(object: &Named) -> &'static str {
    match (is_job(object), is_definition(object)) {
        (true, _) => "completed",
        (_, true) => "established",
        _ => "ready",
    }
}

fn hint(object: &Named) -> &'static str {
    if is_job(object) {
        "`kubectl logs` of its pods, which stay with the Job, shows the rest"
    } else {
        "`kubectl describe` shows all that its controller says of it"
    }
}

/// What the object says of itself.
fn standing(object: &Named, value: &Value) -> Look<(), WatchEnd> {
    let number = |at: &str| value.pointer(at).and_then(Value::as_i64).unwrap_or(0);
    let condition = |name: &str| {
        let all = value.pointer("/status/conditions").and_then(Value::as_array);
        all.into_iter().flatten().find(|one| one["type"] == name)
    };
    let is = |name: &str| condition(name).is_some_and(|one| one["status"] == "True");
    let told = |name: &str| condition(name).map(|one| reason(name, one)).unwrap_or_default();
    let failed = |why: String| Look::Fatal(WatchEnd::Failed(why));
    if is_job(object) {
        return match (is("Complete") || is("SuccessCriteriaMet"), is("Failed")) {
            (_, true) => failed(told("Failed")),
            (true, _) => Look::Ready(()),
            _ => Look::NotYet(format!(
                "{} succeeded, {} failed, {} at work",
                number("/status/succeeded"),
                number("/status/failed"),
                number("/status/active")
            )),
        };
    }
    if is_pod(object) {
        let phase = value.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Unknown");
        return match phase {
            "Succeeded" => Look::Ready(()),
            "Failed" => failed("a container of it ended with an error".into()),
            phase => Look::NotYet(format!("it is {phase}")),
        };
    }
    if is_definition(object) {
        return match (is("Established"), condition("NamesAccepted")) {
            (true, _) => Look::Ready(()),
            (_, Some(one)) if one["status"] == "False" => failed(told("NamesAccepted")),
            _ => Look::NotYet("the API does not serve it yet".into()),
        };
    }
    let seen = value.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if seen.is_some_and(|seen| seen < number("/metadata/generation")) {
        return Look::NotYet("its controller has not seen its newest generation".into());
    }
    if is("Stalled") {
        return failed(told("Stalled"));
    }
    if is("Reconciling") {
        return Look::NotYet(told("Reconciling"));
    }
    let not_yet = ["Ready", "Available"].into_iter().find(|name| condition(name).is_some() && !is(name));
    not_yet.map_or(Look::Ready(()), |name| Look::NotYet(told(name)))
}

/// `Failed: BackoffLimitExceeded: Job has reached the specified backoff limit`.
fn reason(name: &str, condition: &Value) -> String {
    let said = ["reason", "message"].map(|key| condition[key].as_str().unwrap_or_default());
    let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
    let status = condition["status"].as_str().unwrap_or("Unknown");
    format!("{name} is {status}{}{}", if said.is_empty() { "" } else { ": " }, said.join(": "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str) -> Named {
        let [api_version, kind, namespace, name] = [api_version, kind, "a", "n"].map(Into::into);
        Named { api_version, kind, namespace, name }
    }

    fn told(api_version: &str, kind: &str, value: &Value) -> String {
        match standing(&object(api_version, kind), value) {
            Look::Ready(()) => "ready".into(),
            Look::NotYet(status) => status,
            Look::Fatal(end) => end.to_string(),
        }
    }

    /// Conditions as `Type=Status`.
    fn conditions(all: &[&str]) -> Value {
        let one = |text: &&str| {
            let (name, status) = text.split_once('=').unwrap();
            json!({"type": name, "status": status, "reason": "R", "message": "m"})
        };
        all.iter().map(one).collect()
    }

    #[rstest]
    #[case::complete(&["SuccessCriteriaMet=True", "Complete=True"], "ready")]
    #[case::not_yet(&[], "0 succeeded, 1 failed, 2 at work")]
    #[case::suspended(&["Suspended=True"], "0 succeeded, 1 failed, 2 at work")]
    #[case::failed(&["FailureTarget=True", "Failed=True"], "it failed: Failed is True: R: m")]
    #[case::not_failed(&["Failed=False"], "0 succeeded, 1 failed, 2 at work")]
    fn a_job_is_done_when_it_is_complete(#[case] all: &[&str], #[case] expected: &str) {
        let job = json!({"status": {"conditions": conditions(all), "failed": 1, "active": 2}});
        assert_eq!(told("batch/v1", "Job", &job), expected);
    }

    #[rstest]
    #[case::established(&["NamesAccepted=True", "Established=True"], "ready")]
    #[case::not_yet(&["NamesAccepted=True", "Established=False"], "the API does not serve it yet")]
    #[case::nothing_said(&[], "the API does not serve it yet")]
    #[case::its_names_are_taken(&["NamesAccepted=False"], "it failed: NamesAccepted is False: R: m")]
    fn a_definition_is_there_when_it_is_served(#[case] all: &[&str], #[case] expected: &str) {
        let definition = json!({"status": {"conditions": conditions(all)}});
        assert_eq!(told("apiextensions.k8s.io/v1", "CustomResourceDefinition", &definition), expected);
    }

    #[rstest]
    #[case::no_status(json!({}), "ready")]
    #[case::no_condition_that_is_known(json!({"conditions": conditions(&["Synced=False"])}), "ready")]
    #[case::ready(json!({"conditions": conditions(&["Ready=True"]), "observedGeneration": 3}), "ready")]
    #[case::not_ready(json!({"conditions": conditions(&["Ready=False"])}), "Ready is False: R: m")]
    #[case::nobody_knows(json!({"conditions": conditions(&["Available=Unknown"])}), "Available is Unknown: R: m")]
    #[case::of_before(
        json!({"conditions": conditions(&["Ready=True"]), "observedGeneration": 2}),
        "its controller has not seen its newest generation"
    )]
    #[case::at_work(json!({"conditions": conditions(&["Ready=True", "Reconciling=True"])}), "Reconciling is True: R: m")]
    #[case::stalled(json!({"conditions": conditions(&["Stalled=True"])}), "it failed: Stalled is True: R: m")]
    fn a_custom_resource_is_ready_where_it_says_so(#[case] status: Value, #[case] expected: &str) {
        let resource = json!({"metadata": {"generation": 3}, "status": status});
        assert_eq!(told("example.test/v1", "Widget", &resource), expected);
    }

    #[rstest]
    #[case("Succeeded", "ready")]
    #[case("Failed", "it failed: a container of it ended with an error")]
    #[case("Pending", "it is Pending")]
    fn a_pod_that_is_a_hook_is_done_when_it_succeeded(#[case] phase: &str, #[case] expected: &str) {
        assert_eq!(told("v1", "Pod", &json!({"status": {"phase": phase}})), expected);
    }

    #[test]
    fn the_container_that_failed_is_the_one_that_is_asked() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let container = |name: &str, code: i32| json!({"name": name, "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": ended(code)});
        let of = |codes: [i32; 2]| {
            let all = [container("first", codes[0]), container("second", codes[1])];
            let pod = json!({"metadata": {}, "status": {"containerStatuses": all}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            failed_container(&pod).map(str::to_owned)
        };
        assert_eq!(of([0, 3]).as_deref(), Some("second"));
        assert_eq!(of([0, 0]).as_deref(), Some("first"));
        assert_eq!(failed_container(&Pod::default()), None);
    }
}
