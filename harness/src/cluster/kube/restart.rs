//! Pods of a workload that go and come again, though nothing of what is wanted was written otherwise. One
//! way for all kinds of workloads: a workload that was scaled down would stay so where a run ends half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::Selector;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};

use super::fate::{Fate, fate, why_not_ready};
use super::rollout::unbroken;
use super::{Kube, KubeError, WatchEnd, is_ready};
use crate::cluster::manifest::{Named, Workload};
use crate::sys::wait::Look;

impl Kube {
    /// Deletes every pod of the workload, and waits until each is gone, as many others are ready, and the
    /// workload is rolled out.
    pub async fn restarted(&self, workload: &Workload, limit: Duration) -> Result<(), KubeError> {
        let begun = Instant::now();
        let Workload { kind, namespace, name } = workload;
        let words = format!("{kind:?} {namespace}/{name}").to_lowercase();
        let what = format!("restart the pods of {words}");
        let selector = self.selector(workload, &what).await?;
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let listed = pods.list(&ListParams::default().labels_from(&selector)).await;
        let old = listed.map_err(KubeError::api(&what))?.items;
        for pod in &old {
            // That very pod: one of the same name may have come meanwhile.
            let only = Preconditions { uid: pod.uid(), ..Default::default() };
            let only = DeleteParams { preconditions: Some(only), ..Default::default() };
            super::ours::gone(pods.delete(&pod.name_any(), &only).await).map_err(KubeError::api(&what))?;
        }
        let config = watcher::Config::default().labels_from(&selector);
        let events = watch(pods, config).default_backoff().boxed();
        let mut coming = Coming::new(&old);
        let what = format!("the pods of {words} to be gone and others ready");
        let waited = unbroken(events, &what, limit, |event| coming.look(event)).await;
        self.unless_stuck(workload, waited).await?;
        self.rolled_out(workload, limit.saturating_sub(begun.elapsed())).await
    }

    pub(super) async fn selector(&self, workload: &Workload, what: &str) -> Result<Selector, KubeError> {
        let Workload { kind, namespace, name } = workload;
        let named = Named {
            api_version: "apps/v1".into(),
            kind: format!("{kind:?}"),
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let object = self.dynamic(&named).await?.get(name).await.map_err(KubeError::api(what))?;
        let selector: Result<LabelSelector, _> =
            serde_json::from_value(object.data["spec"]["selector"].clone());
        let selector = selector
            .map_err(|error| error.to_string())
            .and_then(|selector| Selector::try_from(selector).map_err(|error| error.to_string()));
        selector.map_err(KubeError::other(what))
    }
}

/// Pods that are to go, and those in their place.
struct Coming {
    /// By their UIDs.
    old: BTreeSet<String>,
    wanted: usize,
    /// By name.
    there: BTreeMap<String, Pod>,
}

impl Coming {
    fn new(old: &[Pod]) -> Self {
        let wanted = old.iter().filter(|pod| is_ready(pod)).count();
        Self { old: old.iter().filter_map(ResourceExt::uid).collect(), wanted, there: BTreeMap::new() }
    }

    fn look(&mut self, event: Event<Pod>) -> Look<(), WatchEnd> {
        match event {
            Event::Init => {
                self.there.clear();
                return Look::NotYet("its pods are being listed".into());
            }
            Event::InitApply(pod) => {
                self.there.insert(pod.name_any(), pod);
                return Look::NotYet("its pods are being listed".into());
            }
            Event::InitDone => {}
            Event::Apply(pod) => drop(self.there.insert(pod.name_any(), pod)),
            Event::Delete(pod) => drop(self.there.remove(&pod.name_any())),
        }
        let is_old = |pod: &&Pod| pod.uid().is_some_and(|uid| self.old.contains(&uid));
        if let Some(old) = self.there.values().find(is_old) {
            return Look::NotYet(format!("pod {} is still there", old.name_any()));
        }
        let ready = self.there.values().filter(|pod| is_ready(pod)).count();
        if ready >= self.wanted {
            return Look::Ready(());
        }
        // What has a grace may still come.
        for pod in self.there.values() {
            if let Fate::Stuck(stuck) = fate(pod)
                && stuck.grace.is_zero()
            {
                return Look::Fatal(WatchEnd::Stuck { pod: pod.name_any(), stuck: Box::new(stuck) });
            }
        }
        let not_yet = self.there.values().find(|pod| !is_ready(pod)).map(why_not_ready);
        let why = not_yet.map(|why| format!("; {why}")).unwrap_or_default();
        Look::NotYet(format!("{ready} of {} are ready{why}", self.wanted))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, uid: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": uid},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn told(look: Look<(), WatchEnd>) -> String {
        match look {
            Look::Ready(()) => "ready".into(),
            Look::NotYet(status) => status,
            Look::Fatal(end) => panic!("{end}"),
        }
    }

    /// A StatefulSet's pod comes again under its own name.
    #[test]
    fn all_that_were_there_must_be_gone_and_as_many_others_ready() {
        let old = [pod("web-0", "1", "True"), pod("web-1", "2", "True")];
        let mut coming = Coming::new(&old);
        assert_eq!(told(coming.look(Event::Init)), "its pods are being listed");
        told(coming.look(Event::InitApply(pod("web-0", "1", "True"))));
        told(coming.look(Event::InitApply(pod("web-1", "2", "True"))));
        assert_eq!(told(coming.look(Event::InitDone)), "pod web-0 is still there");
        told(coming.look(Event::Apply(pod("web-0", "3", "True"))));
        assert_eq!(told(coming.look(Event::Delete(pod("web-1", "2", "True")))), "1 of 2 are ready");
        let waiting = told(coming.look(Event::Apply(pod("web-1", "4", "False"))));
        assert!(waiting.starts_with("1 of 2 are ready; pod web-1 is Running"), "{waiting}");
        assert_eq!(told(coming.look(Event::Apply(pod("web-1", "4", "True")))), "ready");
    }

    /// It is not there in two minutes either.
    #[test]
    fn an_image_that_cannot_be_had_is_not_waited_for() {
        let mut coming = Coming::new(&[pod("web-0", "1", "True")]);
        let mut new = pod("web-1", "2", "False");
        new.status.as_mut().unwrap().container_statuses = serde_json::from_value(json!([{
            "name": "web", "image": "none:v1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]))
        .unwrap();
        told(coming.look(Event::Init));
        told(coming.look(Event::InitDone));
        assert!(matches!(coming.look(Event::Apply(new)), Look::Fatal(WatchEnd::Stuck { .. })));
    }

    #[test]
    fn where_none_were_none_are_waited_for() {
        let mut coming = Coming::new(&[]);
        told(coming.look(Event::Init));
        assert_eq!(told(coming.look(Event::InitDone)), "ready");
    }
}
