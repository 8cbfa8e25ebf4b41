//! Pods held against who made them, whether or not anybody waited for that: one of the revision before goes
//! on answering, and would be judged for what is written now. What pods mount is `stale`'s.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod, PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Backend, Kube, KubeError};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "controller-revision-hash";
const POD_GENERATION: &str = "pod-template-generation";
const SET_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Who made a pod, as it was read.
enum Owner {
    Deployment(Box<(ReplicaSet, Deployment)>),
    StatefulSet(Box<StatefulSet>),
    /// With its revisions, where those may be read.
    DaemonSet(Box<DaemonSet>, Vec<ControllerRevision>),
    /// It replaces no pod when its template changes. By its kind and name.
    Template(String, Box<PodTemplateSpec>),
    /// Its pods are done.
    Done,
    /// It is gone, by its kind and name.
    Gone(String),
    /// Nobody knows here how it makes pods. By its kind and name.
    Other(String),
}

impl Kube {
    /// Which of these pods are not what their owner wants now, or may not be, in words.
    pub(super) async fn unlike_their_owners(
        &self,
        pods: &[(&Backend, &Pod)],
    ) -> Result<Vec<String>, KubeError> {
        let mut owners: BTreeMap<_, (_, Vec<_>)> = BTreeMap::new();
        for (backend, pod) in pods {
            if let Some(reference) = maker(&pod.metadata) {
                let key = (&backend.namespace, &reference.uid);
                owners.entry(key).or_insert((reference, vec![])).1.push(*pod);
            }
        }
        let held = owners.into_iter().map(async |((namespace, _), (reference, pods))| {
            let owner = self.owner(namespace, reference).await?;
            Ok::<_, KubeError>(pods.into_iter().filter_map(|pod| unlike(pod, &owner)).collect::<Vec<_>>())
        });
        Ok(try_join_all(held).await?.into_iter().flatten().collect())
    }

    async fn owner(&self, namespace: &str, reference: &OwnerReference) -> Result<Owner, KubeError> {
        let word = word(reference);
        let found = match group_and_kind(reference) {
            ("apps", "ReplicaSet") => {
                let Some(set) = self.same::<ReplicaSet>(namespace, reference).await? else {
                    return Ok(Owner::Gone(word));
                };
                return self.above(namespace, word, set).await;
            }
            ("apps", "StatefulSet") => {
                self.same(namespace, reference).await?.map(|set| Owner::StatefulSet(Box::new(set)))
            }
            ("apps", "DaemonSet") => match self.same(namespace, reference).await? {
                Some(set) => {
                    Some(Owner::DaemonSet(Box::new(set), self.revisions(namespace, &reference.uid).await))
                }
                None => None,
            },
            ("", "ReplicationController") => {
                let one: Option<ReplicationController> = self.same(namespace, reference).await?;
                one.map(|one| template(&word, one.spec.and_then(|spec| spec.template)))
            }
            ("batch", "Job") => {
                let one: Option<Job> = self.same(namespace, reference).await?;
                one.map(|one| match one.status.and_then(|status| status.completion_time) {
                    Some(_) => Owner::Done,
                    None => template(&word, one.spec.map(|spec| spec.template)),
                })
            }
            _ => return Ok(Owner::Other(word)),
        };
        Ok(found.unwrap_or(Owner::Gone(word)))
    }

    /// Who made the `ReplicaSet`, or the set itself where nobody did.
    async fn above(&self, namespace: &str, own: String, set: ReplicaSet) -> Result<Owner, KubeError> {
        let Some(reference) = maker(&set.metadata).cloned() else {
            return Ok(template(&own, set.spec.and_then(|spec| spec.template)));
        };
        if group_and_kind(&reference) != ("apps", "Deployment") {
            return Ok(Owner::Other(word(&reference)));
        }
        Ok(match self.same(namespace, &reference).await? {
            Some(deployment) => Owner::Deployment(Box::new((set, deployment))),
            None => Owner::Gone(word(&reference)),
        })
    }

    /// The object that is meant, and not another of its name.
    async fn same<K>(&self, namespace: &str, reference: &OwnerReference) -> Result<Option<K>, KubeError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let all: Api<K> = Api::namespaced(self.client(), namespace);
        let what = format!("read {} in namespace {namespace}", word(reference));
        let found = all.get_opt(&reference.name).await.map_err(KubeError::api(what))?;
        Ok(found.filter(|one| one.meta().uid.as_deref() == Some(&reference.uid)))
    }

    /// None where they may not be read: the generation says nearly as much.
    async fn revisions(&self, namespace: &str, owner: &str) -> Vec<ControllerRevision> {
        let all: Api<ControllerRevision> = Api::namespaced(self.client(), namespace);
        let all = all.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        let is_own = |one: &ControllerRevision| maker(&one.metadata).is_some_and(|by| by.uid == owner);
        all.into_iter().filter(is_own).collect()
    }
}

fn template(word: &str, template: Option<PodTemplateSpec>) -> Owner {
    Owner::Template(word.into(), Box::new(template.unwrap_or_default()))
}

fn maker(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let all = meta.owner_references.as_ref()?;
    all.iter().find(|one| one.controller == Some(true)).or_else(|| all.first())
}

fn group_and_kind(reference: &OwnerReference) -> (&str, &str) {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    (group, &reference.kind)
}

fn word(reference: &OwnerReference) -> String {
    format!("{} {}", reference.kind, reference.name)
}

/// Why the pod is not what its owner wants now, or why that is not known.
fn unlike(pod: &Pod, owner: &Owner) -> Option<String> {
    let name = pod.name_any();
    let hash = pod.labels().get(HASH);
    let why = match owner {
        Owner::Done => None,
        Owner::Gone(word) => Some(format!("is made by {word}, which is gone")),
        Owner::Other(word) => Some(format!("is made by {word}: whether it is what was written is not known")),
        Owner::Template(word, template) => {
            unfit(pod, template).map(|how| format!("is made by {word}, {how}"))
        }
        Owner::Deployment(both) => {
            let (set, deployment) = both.as_ref();
            let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
            let (own, current) = (set.annotations().get(REVISION), deployment.annotations().get(REVISION));
            let spec = deployment.spec.as_ref();
            // One that is paused counts no new revision.
            let paused = spec.filter(|spec| spec.paused == Some(true));
            unseen("Deployment", &deployment.metadata, observed)
                .or_else(|| otherwise("Deployment", &deployment.metadata, own, current))
                .or_else(|| {
                    let how = unfit(pod, &paused?.template)?;
                    Some(format!("is made by Deployment {}, which is paused, {how}", deployment.name_any()))
                })
        }
        Owner::StatefulSet(set) => {
            let status = set.status.as_ref();
            let current = status.and_then(|status| status.update_revision.as_ref());
            unseen("StatefulSet", &set.metadata, status.and_then(|status| status.observed_generation))
                .or_else(|| otherwise("StatefulSet", &set.metadata, hash, current))
        }
        Owner::DaemonSet(set, revisions) => {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation);
            let newest = revisions.iter().max_by_key(|one| one.revision);
            let (own, current) = match newest.and_then(|one| one.labels().get(HASH)) {
                Some(newest) => (hash, Some(newest)),
                None => (pod.labels().get(POD_GENERATION), set.annotations().get(SET_GENERATION)),
            };
            unseen("DaemonSet", &set.metadata, observed)
                .or_else(|| otherwise("DaemonSet", &set.metadata, own, current))
        }
    };
    why.map(|why| format!("pod {name} {why}"))
}

/// What the owner's controller has not seen yet.
fn unseen(kind: &str, meta: &ObjectMeta, observed: Option<i64>) -> Option<String> {
    let name = meta.name.as_deref().unwrap_or("?");
    let why = "its controller has not seen what is wanted of it now";
    (observed < meta.generation).then(|| format!("is made by {kind} {name}: {why}"))
}

fn otherwise(
    kind: &str,
    meta: &ObjectMeta,
    own: Option<&String>,
    current: Option<&String>,
) -> Option<String> {
    let name = meta.name.as_deref().unwrap_or("?");
    match (own, current) {
        (Some(own), Some(current)) if own == current => None,
        (Some(own), Some(current)) => {
            Some(format!("is of revision {own} of {kind} {name}, which is at {current}"))
        }
        _ => Some(format!("is made by {kind} {name}: of which revision it is is not known")),
    }
}

/// In what the pod lacks what the template says. What the template does not say (defaults, what was put in
/// beside it) does not count.
fn unfit(pod: &Pod, template: &PodTemplateSpec) -> Option<String> {
    let spec = template.spec.as_ref()?;
    let own = pod.spec.as_ref();
    let pairs = [
        (Some(&spec.containers), own.map(|own| &own.containers)),
        (spec.init_containers.as_ref(), own.and_then(|own| own.init_containers.as_ref())),
    ];
    pairs.into_iter().find_map(|(wanted, there)| {
        wanted.into_iter().flatten().find_map(|wanted| {
            let name = &wanted.name;
            match there.into_iter().flatten().find(|one| one.name == *name) {
                None => Some(format!("whose template has a container {name} that it has not")),
                Some(there) => lacking(there, wanted)
                    .map(|what| format!("whose template has another {what} for container {name}")),
            }
        })
    })
}

fn lacking(there: &Container, wanted: &Container) -> Option<&'static str> {
    fn has<T: PartialEq>(there: Option<&Vec<T>>, wanted: Option<&Vec<T>>) -> bool {
        wanted.into_iter().flatten().all(|one| there.is_some_and(|all| all.contains(one)))
    }
    [
        ("image", wanted.image.is_none() || there.image == wanted.image),
        ("command", wanted.command.is_none() || there.command == wanted.command),
        ("args", wanted.args.is_none() || there.args == wanted.args),
        ("env", has(there.env.as_ref(), wanted.env.as_ref())),
        ("ports", has(there.ports.as_ref(), wanted.ports.as_ref())),
        ("volumeMounts", has(there.volume_mounts.as_ref(), wanted.volume_mounts.as_ref())),
    ]
    .into_iter()
    .find_map(|(what, fits)| (!fits).then_some(what))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn of<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn told(pod: Value, owner: &Owner) -> String {
        unlike(&of(pod), owner).unwrap_or_else(|| "ok".into())
    }

    fn labelled(key: &str, value: &str) -> Value {
        json!({ "metadata": { "name": "p", "labels": { key: value } } })
    }

    #[rstest]
    #[case::ok("2", Some("2"), 5, false, "ok")]
    #[case::of_before("1", Some("2"), 5, false, "pod p is of revision 1 of Deployment d, which is at 2")]
    #[case::unseen(
        "2",
        Some("2"),
        4,
        false,
        "pod p is made by Deployment d: its controller has not seen what is wanted of it now"
    )]
    #[case::unknown(
        "2",
        None,
        5,
        false,
        "pod p is made by Deployment d: of which revision it is is not known"
    )]
    #[case::paused(
        "2",
        Some("2"),
        5,
        true,
        "pod p is made by Deployment d, which is paused, whose template has a container c that it has not"
    )]
    fn a_deployments(
        #[case] own: &str,
        #[case] current: Option<&str>,
        #[case] observed: i64,
        #[case] paused: bool,
        #[case] expected: &str,
    ) {
        let set = of(json!({ "metadata": { "annotations": { REVISION: own } } }));
        let annotations = current.map(|current| json!({ REVISION: current }));
        let deployment = of(json!({
            "metadata": { "name": "d", "generation": 5, "annotations": annotations },
            "spec": {
                "paused": paused, "selector": {}, "template": { "spec": { "containers": [{ "name": "c" }] } },
            },
            "status": { "observedGeneration": observed },
        }));
        let owner = Owner::Deployment(Box::new((set, deployment)));
        assert_eq!(told(json!({ "metadata": { "name": "p" } }), &owner), expected);
    }

    #[rstest]
    #[case::ok("b", 5, "ok")]
    #[case::of_before("a", 5, "pod p is of revision a of StatefulSet s, which is at b")]
    #[case::unseen(
        "b",
        4,
        "pod p is made by StatefulSet s: its controller has not seen what is wanted of it now"
    )]
    fn a_stateful_sets(#[case] own: &str, #[case] observed: i64, #[case] expected: &str) {
        let set = of(json!({
            "metadata": { "name": "s", "generation": 5 },
            "status": { "observedGeneration": observed, "updateRevision": "b", "replicas": 1 },
        }));
        assert_eq!(told(labelled(HASH, own), &Owner::StatefulSet(Box::new(set))), expected);
    }

    #[rstest]
    #[case::newest(HASH, "b", true, "ok")]
    #[case::of_before(HASH, "a", true, "pod p is of revision a of DaemonSet a, which is at b")]
    #[case::generation(POD_GENERATION, "3", false, "ok")]
    #[case::old_generation(
        POD_GENERATION,
        "2",
        false,
        "pod p is of revision 2 of DaemonSet a, which is at 3"
    )]
    #[case::unknown("app", "x", false, "pod p is made by DaemonSet a: of which revision it is is not known")]
    fn a_daemon_sets(#[case] key: &str, #[case] own: &str, #[case] known: bool, #[case] expected: &str) {
        let set = of(json!({ "metadata": { "name": "a", "annotations": { SET_GENERATION: "3" } } }));
        let revision =
            |hash: &str, at: i64| of(json!({ "metadata": { "labels": { HASH: hash } }, "revision": at }));
        let revisions = if known { vec![revision("b", 2), revision("a", 1)] } else { vec![] };
        assert_eq!(told(labelled(key, own), &Owner::DaemonSet(Box::new(set), revisions)), expected);
    }

    #[rstest]
    #[case::ok("/x", json!(1), None)]
    #[case::image("/image", json!("i:2"), Some("another image for"))]
    #[case::command("/command", json!(["b"]), Some("another command for"))]
    #[case::args("/args", json!(["b"]), Some("another args for"))]
    #[case::env("/env", json!([{ "name": "A", "value": "2" }]), Some("another env for"))]
    #[case::ports("/ports", json!([{ "containerPort": 2 }]), Some("another ports for"))]
    #[case::mounts(
        "/volumeMounts", json!([{ "name": "v", "mountPath": "/w" }]), Some("another volumeMounts for")
    )]
    #[case::name("/name", json!("d"), Some("a container d that it has not"))]
    fn a_pod_fits_its_template(#[case] at: &str, #[case] to: Value, #[case] expected: Option<&str>) {
        let there = json!({
            "name": "c", "image": "i:1", "command": ["a"], "args": ["a"], "imagePullPolicy": "Always",
            "env": [{ "name": "A", "value": "1" }, { "name": "injected", "value": "x" }],
            "ports": [{ "containerPort": 1 }],
            "volumeMounts": [{ "name": "v", "mountPath": "/v" }, { "name": "token", "mountPath": "/t" }],
        });
        let mut wanted = there.clone();
        wanted["env"].as_array_mut().unwrap().pop();
        wanted["volumeMounts"].as_array_mut().unwrap().pop();
        wanted[&at[1..]] = to;
        let both = |list: &str, one: &Value| {
            let mut spec = json!({ "containers": [] });
            spec[list] = json!([one]);
            spec
        };
        for list in ["containers", "initContainers"] {
            let owner = template("ReplicaSet r", Some(of(json!({ "spec": both(list, &wanted) }))));
            let told = told(json!({ "metadata": { "name": "p" }, "spec": both(list, &there) }), &owner);
            match expected {
                None => assert_eq!(told, "ok"),
                Some(part) => {
                    assert!(told.starts_with("pod p is made by ReplicaSet r") && told.contains(part));
                }
            }
        }
    }

    #[test]
    fn who_is_unknown_gone_or_done() {
        let pod = || json!({ "metadata": { "name": "p" } });
        let other = "pod p is made by Rollout r: whether it is what was written is not known";
        assert_eq!(told(pod(), &Owner::Other("Rollout r".into())), other);
        assert_eq!(told(pod(), &Owner::Gone("Job j".into())), "pod p is made by Job j, which is gone");
        assert_eq!(told(pod(), &Owner::Done), "ok");
    }

    #[test]
    fn the_controller_is_the_maker() {
        let owner = |kind: &str, controls: bool| json!({ "apiVersion": "apps/v1", "kind": kind, "name": "n", "uid": "u", "controller": controls });
        let meta: ObjectMeta = of(json!({ "ownerReferences": [owner("A", false), owner("B", true)] }));
        assert_eq!(maker(&meta).map(group_and_kind), Some(("apps", "B")));
        assert_eq!(maker(&ObjectMeta::default()), None);
    }
}
