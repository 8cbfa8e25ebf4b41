//! Whether a pod is ready, may become so, or never will: read from what Kubernetes says of it, and nothing
//! else. What is then done is the roll-out's to say.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use super::is_ready;

/// A ConfigMap or Secret that another release makes at the same time is there by then.
const MADE_BESIDE: Duration = Duration::from_secs(5);
/// A node that is just coming, or a pod of before that has to go first.
const ROOM: Duration = Duration::from_secs(20);
/// Some programs crash until what they need is there; those come with their first restart or their second.
const RESTARTS: i32 = 2;
/// What the kubelet says of an image that cannot be had.
const NO_IMAGE: [&str; 4] = ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"];

/// What is to be expected of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Ready,
    /// In words, why not yet.
    NotYet(String),
    /// It will never be there, unless that changes within its grace.
    Stuck(Stuck),
}

/// Why a pod will never be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub(super) why: String,
    pub(super) hint: &'static str,
    pub(super) grace: Duration,
    /// The container whose log says more.
    pub(super) crashed: Option<String>,
}

/// It will never be there, by what its workload says.
pub(super) fn never(why: String, hint: &'static str) -> Stuck {
    Stuck { why, hint, grace: Duration::ZERO, crashed: None }
}

/// What Kubernetes says of the pod now.
pub(super) fn fate(pod: &Pod) -> Fate {
    if is_ready(pod) {
        return Fate::Ready;
    }
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let status = pod.status.as_ref().filter(|_| !leaving);
    let stuck =
        status.and_then(|status| containers(status).find_map(container).or_else(|| unscheduled(status)));
    match stuck {
        Some(stuck) => Fate::Stuck(Stuck { why: format!("pod {name}: {}", stuck.why), ..stuck }),
        None => Fate::NotYet(why_not_ready(pod)),
    }
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
}

fn container(status: &ContainerStatus) -> Option<Stuck> {
    let state = status.state.as_ref()?;
    let waiting = state.waiting.as_ref();
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or("it is not said why");
    let name = &status.name;
    let stuck = |why, hint, grace| Some(Stuck { why, hint, grace, crashed: None });
    match reason {
        reason if NO_IMAGE.contains(&reason) => stuck(
            format!("the image `{}` of container {name} cannot be had: {reason}: {message}", status.image),
            "is its name right, and does the registry that the node asks (`--registry-mirror`, else the \
             image's own) have it whole? With `imagePullPolicy: Never` it must be on the node: `svidproof \
             images list` names those that svidproof puts there",
            Duration::ZERO,
        ),
        "CreateContainerConfigError" => stuck(
            format!("container {name} cannot be made: {reason}: {message}"),
            "what it names must be in the pod's namespace: does the chart make it, and under this name?",
            MADE_BESIDE,
        ),
        _ => crashed(status).filter(|_| status.restart_count >= RESTARTS),
    }
}

/// Whether a container's image is why it does not run.
fn lacks_image(status: &ContainerStatus) -> bool {
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    NO_IMAGE.contains(&reason)
}

/// Why a pod that is not ready does not run, where something says so, and whether that is an image: without
/// the patience that a roll-out has.
pub(super) fn trouble(pod: &Pod) -> Option<(bool, Stuck)> {
    let status = pod.status.as_ref().filter(|_| !is_ready(pod))?;
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    // Between two of its crashes it runs.
    let again = |one: &ContainerStatus| {
        let last = one.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let ended = last.is_some_and(|end| end.exit_code != 0);
        if ended && one.restart_count >= RESTARTS && !one.ready { crashes(one) } else { None }
    };
    let of = |one: &ContainerStatus| {
        let stuck = container(one).or_else(|| crashed(one)).or_else(|| again(one))?;
        Some((lacks_image(one), stuck))
    };
    let found = containers(status).find_map(of).or_else(|| Some((false, unscheduled(status)?)));
    found.map(|(image, stuck)| (image, Stuck { why: format!("pod {name}: {}", stuck.why), ..stuck }))
}

/// It ended, and is not begun again at once.
fn crashed(status: &ContainerStatus) -> Option<Stuck> {
    let state = status.state.as_ref()?;
    let backs_off =
        state.waiting.as_ref().is_some_and(|one| one.reason.as_deref() == Some("CrashLoopBackOff"));
    let ended = state.terminated.as_ref().filter(|end| end.exit_code != 0);
    if backs_off || ended.is_some() { crashes(status) } else { None }
}

/// With how it ended last.
fn crashes(status: &ContainerStatus) -> Option<Stuck> {
    let ended = status.state.as_ref()?.terminated.as_ref();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let code = ended.or(last).map(|end| format!(" with status {}", end.exit_code)).unwrap_or_default();
    Some(Stuck {
        why: format!(
            "container {} crashes: it ended{code} and was restarted {} times",
            status.name, status.restart_count
        ),
        hint: "`kubectl logs --previous` in its namespace shows the rest",
        grace: Duration::ZERO,
        crashed: Some(status.name.clone()),
    })
}

/// Of a pod that was ready, with containers of these IDs: one that has ended since, and how, in words.
pub(super) fn ended(pod: &Pod, ids: &str) -> Option<(String, String)> {
    containers(pod.status.as_ref()?).find_map(|status| {
        let of = |state: &Option<ContainerState>| state.as_ref().and_then(|state| state.terminated.clone());
        let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
        let is_same = status.container_id.as_ref().is_some_and(|id| ids.contains(id.as_str()));
        let end = of(&status.state).or_else(|| of(&status.last_state)).filter(|_| !(runs && is_same))?;
        let code = end.exit_code;
        let why = format!("container {} ended with status {code}", status.name);
        // An init container ends when its work is done.
        (code != 0 || !is_same).then(|| (status.name.clone(), why))
    })
}

fn unscheduled(status: &PodStatus) -> Option<Stuck> {
    let is_it = |reason: &Option<String>| reason.as_deref() == Some("Unschedulable");
    let mut conditions = status.conditions.iter().flatten();
    let condition =
        conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False" && is_it(&one.reason))?;
    let message = condition.message.as_deref().unwrap_or("the scheduler does not say why");
    Some(Stuck {
        why: format!("no node takes it: {message}"),
        hint: "does a node have the room, the labels and the ports that it asks for?",
        grace: ROOM,
        crashed: None,
    })
}

/// What the pod says of itself, for an error.
pub(super) fn why_not_ready(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or("?");
    let Some(status) = &pod.status else { return format!("pod {name} has no status yet") };
    let waiting = containers(status).filter_map(|container| {
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

    /// A pod with one container in this state, after so many restarts.
    fn pod(state: &Value, restarts: i32) -> Pod {
        let container = json!({
            "name": "envoy", "image": "envoy:v0", "imageID": "i", "ready": false, "restartCount": restarts,
            "state": state, "lastState": { "terminated": { "exitCode": 9 } },
        });
        let status = json!({ "phase": "Pending", "containerStatuses": [container] });
        serde_json::from_value(json!({ "metadata": { "name": "web" }, "status": status })).unwrap()
    }

    fn waits(reason: &str, message: &str) -> Value {
        json!({ "waiting": { "reason": reason, "message": message } })
    }

    /// The grace in seconds and the words of a pod that is stuck; `-` for one that may still come.
    fn told(pod: &Pod) -> String {
        match fate(pod) {
            Fate::Stuck(stuck) => format!("{} {}", stuck.grace.as_secs(), stuck.why),
            Fate::NotYet(_) => "-".into(),
            Fate::Ready => "ready".into(),
        }
    }

    #[rstest]
    #[case::an_image_that_is_not_on_the_node(
        waits("ErrImageNeverPull", "not present"),
        0,
        "0 pod web: the image `envoy:v0` of container envoy cannot be had: ErrImageNeverPull: not present"
    )]
    #[case::an_image_that_is_not_in_the_registry(
        waits("ErrImagePull", "not found"),
        0,
        "0 pod web: the image `envoy:v0` of container envoy cannot be had: ErrImagePull: not found"
    )]
    #[case::the_same_a_little_later(
        waits("ImagePullBackOff", "Back-off pulling"),
        0,
        "0 pod web: the image `envoy:v0` of container envoy cannot be had: ImagePullBackOff: Back-off pulling"
    )]
    #[case::a_name_that_names_no_image(
        waits("InvalidImageName", "upper case"),
        0,
        "0 pod web: the image `envoy:v0` of container envoy cannot be had: InvalidImageName: upper case"
    )]
    #[case::a_config_map_that_is_not_there(
        waits("CreateContainerConfigError", "configmap \"c\" not found"),
        0,
        "5 pod web: container envoy cannot be made: CreateContainerConfigError: configmap \"c\" not found"
    )]
    #[case::it_crashed_once(waits("CrashLoopBackOff", ""), 0, "-")]
    #[case::it_crashed_twice(waits("CrashLoopBackOff", ""), 1, "-")]
    #[case::it_crashed_three_times(
        waits("CrashLoopBackOff", ""),
        2,
        "0 pod web: container envoy crashes: it ended with status 9 and was restarted 2 times"
    )]
    #[case::it_just_crashed_for_the_third_time(
        json!({ "terminated": { "exitCode": 1 } }), 2,
        "0 pod web: container envoy crashes: it ended with status 1 and was restarted 2 times"
    )]
    #[case::an_init_container_is_done(json!({ "terminated": { "exitCode": 0 } }), 2, "-")]
    #[case::it_runs_after_its_restarts(json!({ "running": {} }), 7, "-")]
    #[case::it_is_pulled(waits("ContainerCreating", ""), 0, "-")]
    #[case::it_waits_for_an_init_container(waits("PodInitializing", ""), 0, "-")]
    #[case::nothing_is_known(Value::Null, 0, "-")]
    fn a_container_seals_a_fate(#[case] state: Value, #[case] restarts: i32, #[case] expected: &str) {
        assert_eq!(told(&pod(&state, restarts)), expected);
    }

    #[test]
    fn an_init_container_counts_as_well() {
        let mut pod = pod(&waits("ErrImagePull", "not found"), 0);
        let status = pod.status.as_mut().unwrap();
        status.init_container_statuses = status.container_statuses.take();
        assert!(told(&pod).contains("ErrImagePull"), "{}", told(&pod));
    }

    #[rstest]
    #[case::no_room(
        "PodScheduled",
        "False",
        "Unschedulable",
        "20 pod web: no node takes it: 1 Insufficient cpu"
    )]
    #[case::it_waits_for_a_gate("PodScheduled", "False", "SchedulingGated", "-")]
    #[case::it_has_a_node("PodScheduled", "True", "", "-")]
    #[case::another_condition("Ready", "False", "Unschedulable", "-")]
    #[case::it_is_ready("Ready", "True", "", "ready")]
    fn the_scheduler_seals_a_fate(
        #[case] kind: &str,
        #[case] status: &str,
        #[case] reason: &str,
        #[case] expected: &str,
    ) {
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": "1 Insufficient cpu",
        });
        let pod = json!({ "metadata": { "name": "web" }, "status": { "conditions": [condition] } });
        assert_eq!(told(&serde_json::from_value(pod).unwrap()), expected);
    }

    /// Of a stage before, for one.
    #[test]
    fn a_pod_on_its_way_out_says_nothing_of_what_comes() {
        let mut pod = pod(&waits("ErrImagePull", "not found"), 0);
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(told(&pod), "-");
    }

    #[rstest]
    #[case::it_crashed(json!({ "terminated": { "exitCode": 1 } }), "containerd://1", "ended with status 1")]
    #[case::it_is_not_begun_again(waits("CrashLoopBackOff", ""), "containerd://1", "ended with status 9")]
    #[case::it_was_begun_again(json!({ "running": {} }), "containerd://2", "ended with status 9")]
    #[case::it_was_restarted_before(json!({ "running": {} }), "containerd://1", "")]
    #[case::an_init_container_is_done(json!({ "terminated": { "exitCode": 0 } }), "containerd://1", "")]
    fn a_container_that_was_there_has_ended(#[case] state: Value, #[case] id: &str, #[case] expected: &str) {
        let mut pod = pod(&state, 1);
        let statuses = pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
        statuses[0].container_id = Some(id.into());
        let found = ended(&pod, "uid containerd://1").map(|(name, why)| format!("{name}: {why}"));
        let expected = (!expected.is_empty()).then(|| format!("envoy: container envoy {expected}"));
        assert_eq!(found, expected);
    }

    /// Which hop broke is asked once something failed: nothing is waited for any more.
    #[rstest]
    #[case::an_image(waits("ErrImagePull", "not found"), 0, Some((true, "the image")))]
    #[case::its_first_crash(waits("CrashLoopBackOff", ""), 1, Some((false, "it ended with status 9")))]
    #[case::between_two_crashes(json!({ "running": {} }), 2, Some((false, "it ended with status 9")))]
    #[case::restarted_once(json!({ "running": {} }), 1, None)]
    #[case::it_begins(waits("ContainerCreating", ""), 0, None)]
    fn what_keeps_a_pod_from_running_is_told_at_once(
        #[case] state: Value,
        #[case] restarts: i32,
        #[case] expected: Option<(bool, &str)>,
    ) {
        let found = trouble(&pod(&state, restarts));
        assert_eq!(found.as_ref().map(|one| one.0), expected.map(|one| one.0), "{found:?}");
        let words = expected.map(|one| one.1).unwrap_or_default();
        assert!(found.is_none_or(|one| one.1.why.contains(words)));
    }

    #[test]
    fn a_crash_names_the_container_whose_log_says_more() {
        let Fate::Stuck(stuck) = fate(&pod(&waits("CrashLoopBackOff", ""), 2)) else { panic!() };
        assert_eq!(stuck.crashed.as_deref(), Some("envoy"));
    }
}
