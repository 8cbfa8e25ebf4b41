//! Jobs and pods that others wait for, such as Helm for its hooks: whether an image of theirs cannot be had.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};

use super::fate::trouble;
use super::settle::{in_words, is_job, is_pod};
use super::{Kube, KubeError};
use crate::cluster::manifest::Named;

impl Kube {
    /// Ends once a pod of one of these Jobs, or one of these pods, has an image that cannot be had, and else
    /// never. `new`: those that are there at first are of before, and about to go.
    pub async fn lacks_image(&self, objects: &[Named], new: bool) -> KubeError {
        let objects: Vec<_> = objects.iter().filter(|one| is_job(one) || is_pod(one)).collect();
        let namespaces: BTreeSet<_> = objects.iter().map(|one| one.namespace.as_str()).collect();
        let pods = namespaces.into_iter().map(|namespace| {
            let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
            watch(pods, watcher::Config::default()).default_backoff().boxed()
        });
        let mut seen = select_all(pods);
        let mut of_before = BTreeSet::new();
        while let Some(seen) = seen.next().await {
            let pod = match seen {
                Ok(Event::InitApply(pod)) if new => {
                    of_before.extend(pod.uid());
                    continue;
                }
                Ok(Event::InitApply(pod) | Event::Apply(pod)) => pod,
                _ => continue,
            };
            let is_of_before = pod.uid().is_some_and(|uid| of_before.contains(&uid));
            if let Some(error) = lacking(&objects, &pod).filter(|_| !is_of_before) {
                return error;
            }
        }
        std::future::pending().await
    }
}

fn lacking(objects: &[&Named], pod: &Pod) -> Option<KubeError> {
    let of_job = |one: &Named| pod.labels().get("job-name") == Some(&one.name);
    let is_its = |one: &&&Named| {
        let is = if is_job(one) { of_job(one) } else { pod.name_any() == one.name };
        is && pod.namespace().as_ref() == Some(&one.namespace)
    };
    let object = objects.iter().find(is_its)?;
    let (image, stuck) = trouble(pod)?;
    image.then(|| KubeError::Stuck { what: in_words(object), why: stuck.why, hint: stuck.hint })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn named(api_version: &str, kind: &str, name: &str) -> Named {
        Named {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[rstest]
    #[case::a_job(
        "seed-x",
        "seed",
        "ErrImagePull",
        "job shop/seed will never be rolled out: pod seed-x: the image `none:v1`"
    )]
    #[case::a_pod(
        "check",
        "",
        "ImagePullBackOff",
        "pod shop/check will never be rolled out: pod check: the image"
    )]
    #[case::anothers("other-x", "other", "ErrImagePull", "-")]
    #[case::it_begins("seed-x", "seed", "ContainerCreating", "-")]
    // A Job makes another one in its place.
    #[case::it_crashes("seed-x", "seed", "CrashLoopBackOff", "-")]
    fn an_image_that_cannot_be_had_ends_the_wait(
        #[case] name: &str,
        #[case] job: &str,
        #[case] reason: &str,
        #[case] expected: &str,
    ) {
        let pod = json!({
            "metadata": {"name": name, "namespace": "shop", "labels": {"job-name": job}},
            "status": {"containerStatuses": [{
                "name": "seed", "image": "none:v1", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason}},
            }]},
        });
        let objects = [named("batch/v1", "Job", "seed"), named("v1", "Pod", "check")];
        let objects: Vec<_> = objects.iter().collect();
        let told = lacking(&objects, &serde_json::from_value(pod).unwrap());
        let told = told.map_or_else(|| "-".into(), |error| error.to_string());
        assert!(told.starts_with(expected), "{told}");
    }
}
