//! Waiting for what Kubernetes does, by watches: roll-outs, and objects that come or go.

use std::pin::pin;
use std::time::Duration;

use futures::stream::select_all;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::LogParams;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::fate::why_not_ready;
use super::standing::{RollOut, Seen, State, daemon_set, deployment, stateful_set};
use super::{Kube, KubeError, WatchEnd};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

/// How long what was deleted may still be there.
const GONE: Duration = Duration::from_mins(2);
/// How long a grace may be over before it is seen.
const LOOK: Duration = Duration::from_secs(1);

impl Kube {
    /// Waits until every pod of the workload is of its newest revision and available. Ends at once where one
    /// of them never will be.
    pub async fn rolled_out(&self, workload: &Workload, limit: Duration) -> Result<(), KubeError> {
        let Workload { kind, namespace, name } = workload;
        let what = format!("{kind:?} {namespace}/{name} to roll out").to_lowercase();
        let waited = match kind {
            WorkloadKind::Deployment => self.rolls_out(workload, &what, limit, deployment).await,
            WorkloadKind::StatefulSet => self.rolls_out(workload, &what, limit, stateful_set).await,
            WorkloadKind::DaemonSet => self.rolls_out(workload, &what, limit, daemon_set).await,
        };
        match waited {
            Err(WaitError::TimedOut(mut gave_up)) => {
                gave_up.status = format!("{}\n{}", gave_up.status, self.unready_pods(namespace).await);
                Err(WaitError::TimedOut(gave_up).into())
            }
            waited => self.unless_stuck(workload, waited).await,
        }
    }

    /// With a crashed container's last words, where a pod of the workload will never be ready.
    pub(super) async fn unless_stuck<T>(
        &self,
        workload: &Workload,
        waited: Result<T, WaitError<WatchEnd>>,
    ) -> Result<T, KubeError> {
        let Workload { kind, namespace, name } = workload;
        match waited {
            Err(WaitError::Fatal { source: WatchEnd::Stuck { pod, stuck }, .. }) => {
                let log = self.last_words(namespace, &pod, stuck.crashed.as_deref()).await;
                let what = format!("{kind:?} {namespace}/{name}").to_lowercase();
                Err(KubeError::Stuck { what, why: format!("{}{log}", stuck.why), hint: stuck.hint })
            }
            waited => Ok(waited?),
        }
    }

    async fn rolls_out<K: Watched>(
        &self,
        workload: &Workload,
        what: &str,
        limit: Duration,
        state: fn(K) -> State,
    ) -> Result<(), WaitError<WatchEnd>> {
        let api: Api<K> = Api::namespaced(self.client(), &workload.namespace);
        let pods: Api<Pod> = Api::namespaced(self.client(), &workload.namespace);
        let states =
            named(api, &workload.name).map(move |seen| seen.map(|object| Seen::State(state(object))));
        let pods = watch(pods, watcher::Config::default()).default_backoff();
        let pods = pods.map(|seen| seen.map(|event| Seen::Pod(Box::new(event))));
        let ticks = wait::ticks(LOOK).map(|()| Ok(Seen::Nothing));
        let seen = select_all([states.boxed(), pods.boxed(), ticks.boxed()]);
        let mut roll_out = RollOut::default();
        unbroken(seen, what, limit, |seen| roll_out.look(seen, Instant::now())).await
    }

    /// The last line that a container logged before it crashed, for an error.
    pub(super) async fn last_words(&self, namespace: &str, pod: &str, container: Option<&str>) -> String {
        let Some(container) = container else { return String::new() };
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let params = |previous| LogParams {
            container: Some(container.into()),
            previous,
            tail_lines: Some(5),
            ..Default::default()
        };
        // Where it has just ended, the log is still that of the run that ended.
        let mut log = pods.logs(pod, &params(true)).await;
        if log.as_ref().map_or(true, String::is_empty) {
            log = pods.logs(pod, &params(false)).await;
        }
        let line =
            log.map(|text| text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned));
        match line {
            Ok(Some(line)) => format!("; its log ends with: {line}"),
            Ok(None) => "; it logged nothing".into(),
            Err(error) => format!("; its log could not be read: {}", chain(&error)),
        }
    }

    /// Waits until what the `ConfigMap` has under this key is what it should be: `lacks` says what it lacks.
    pub async fn config_map_key(
        &self,
        [namespace, name, key]: [&str; 3],
        limit: Duration,
        lacks: impl Fn(&str) -> Option<String>,
    ) -> Result<(), KubeError> {
        let what = format!("key {key} of configmap {namespace}/{name}");
        let look = |map: ConfigMap| {
            let text = map.data.as_ref().and_then(|data| data.get(key)).filter(|text| !text.is_empty());
            match text.map(|text| lacks(text)) {
                None => Look::NotYet(format!("the key is not there{}", instead(&map))),
                Some(Some(lack)) => Look::NotYet(lack),
                Some(None) => Look::Ready(()),
            }
        };
        Ok(self.watched(namespace, name, &what, limit, look).await?)
    }

    pub(super) async fn namespace_gone(&self, name: &str) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        Ok(gone(namespaces, name, &format!("namespace {name} to be gone"), GONE).await?)
    }

    /// Waits until the workload is gone: what deletes it in the foreground says so before its pods are.
    pub async fn workload_gone(&self, workload: &Workload) -> Result<(), KubeError> {
        let Workload { kind, namespace, name } = workload;
        let what = format!("{kind:?} {namespace}/{name} to be gone").to_lowercase();
        let client = self.client();
        Ok(match kind {
            WorkloadKind::Deployment => {
                gone(Api::<Deployment>::namespaced(client, namespace), name, &what, GONE).await
            }
            WorkloadKind::StatefulSet => {
                gone(Api::<StatefulSet>::namespaced(client, namespace), name, &what, GONE).await
            }
            WorkloadKind::DaemonSet => {
                gone(Api::<DaemonSet>::namespaced(client, namespace), name, &what, GONE).await
            }
        }?)
    }

    pub(super) async fn watched<K: Watched, T>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        look: impl FnMut(K) -> Look<T, WatchEnd>,
    ) -> Result<T, WaitError<WatchEnd>> {
        unbroken(named(Api::namespaced(self.client(), namespace), name).boxed(), what, limit, look).await
    }

    /// What the pods of a namespace that are not ready say of themselves, for an error.
    pub(super) async fn unready_pods(&self, namespace: &str) -> String {
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

/// What can be watched in a namespace.
pub(super) trait Watched:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Send
    + DeserializeOwned
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + DeserializeOwned
        + 'static
{
}

/// The keys that a `ConfigMap` has, for one that lacks another.
fn instead(map: &ConfigMap) -> String {
    let keys: Vec<_> = map.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
    if keys.is_empty() { String::new() } else { format!(", but {}", keys.join(", ")) }
}

/// Waits until there is no such object.
pub(super) async fn gone<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
) -> Result<(), WaitError<WatchEnd>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + DeserializeOwned + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watch(api, config).default_backoff().boxed();
    let mut seen = false;
    let look = |event: Event<K>| match event {
        Event::Delete(_) => Look::Ready(()),
        Event::InitDone if !seen => Look::Ready(()),
        Event::InitApply(_) | Event::Apply(_) => {
            seen = true;
            Look::NotYet("it is still there".into())
        }
        Event::Init | Event::InitDone => Look::NotYet("it is still there".into()),
    };
    unbroken(events, what, limit, look).await
}

/// Every state of one object.
pub(super) fn named<K: Watched>(api: Api<K>, name: &str) -> impl Stream<Item = watcher::Result<K>> + use<K> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watch(api, config).default_backoff().applied_objects()
}

/// Takes what a watch tells until `look` is ready. A watch that breaks takes itself up again, with its own
/// pauses; the wait's own limit bounds it.
pub(super) async fn unbroken<V, T>(
    seen: impl Stream<Item = watcher::Result<V>>,
    what: &str,
    limit: Duration,
    mut look: impl FnMut(V) -> Look<T, WatchEnd>,
) -> Result<T, WaitError<WatchEnd>> {
    let mut seen = pin!(seen);
    let next = async || seen.next().await.ok_or(WatchEnd::Closed);
    wait::events(what, limit, next, |seen| seen.map_or_else(broken, &mut look)).await
}

fn broken<T>(error: watcher::Error) -> Look<T, WatchEnd> {
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    match error {
        // Nobody will allow it meanwhile.
        InitialListFailed(kube::Error::Api(ref status)) | WatchStartFailed(kube::Error::Api(ref status))
            if matches!(status.code, 401 | 403) =>
        {
            Look::Fatal(error.into())
        }
        error => Look::NotYet(format!("the watch broke, and is taken up again: {}", chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(code: u16) -> watcher::Error {
        let status = kube::core::Status { code, reason: "it broke".into(), ..Default::default() };
        watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_breaks_is_taken_up_again() {
        let seen = futures::stream::iter([Err(breaks(500)), Err(watcher::Error::NoResourceVersion), Ok(3)]);
        let look = |seen| if seen == 3 { Look::Ready(seen) } else { Look::NotYet(String::new()) };
        assert_eq!(unbroken(seen, "three", Duration::from_secs(1), look).await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_stays_broken_is_bounded_and_says_how_it_broke() {
        let seen = futures::stream::iter([Err(breaks(500))]).chain(futures::stream::pending());
        let look = |()| Look::<(), _>::NotYet(String::new());
        let error = unbroken(seen, "three", Duration::from_secs(1), look).await.unwrap_err().to_string();
        assert!(error.contains("after 1 s; last status: the watch broke, and is taken up again"), "{error}");
    }

    #[tokio::test]
    async fn a_watch_that_is_not_allowed_is_not_waited_for() {
        let seen = futures::stream::iter([Err(breaks(403))]).chain(futures::stream::pending());
        let look = |()| Look::<(), _>::NotYet(String::new());
        let error = unbroken(seen, "three", Duration::MAX, look).await.unwrap_err();
        assert!(matches!(error, WaitError::Fatal { source: WatchEnd::Broken(_), .. }), "{error}");
    }
}
