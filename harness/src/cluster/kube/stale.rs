//! Pods that are older than what they mount: Kubernetes replaces no pod when a ConfigMap or Secret changes,
//! and an Envoy goes on with the configuration that it read at its start. Pods that are not what their owner
//! wants are `owner`'s.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;

use super::{Backend, Kube, KubeError};

/// What a pod mounts or takes its environment from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    ConfigMap(String),
    Secret(String),
}

impl Kube {
    /// Which of these pods are not what their owner wants now, or started before a ConfigMap or Secret of
    /// theirs was last changed, in words.
    ///
    /// # Errors
    /// The Kubernetes API does not answer, or does not let it be read.
    pub async fn stale(&self, pods: &[Backend]) -> Result<Vec<String>, KubeError> {
        let read = pods.iter().map(async |backend| {
            let what = format!("read pod {}/{}", backend.namespace, backend.pod);
            let pods: Api<Pod> = Api::namespaced(self.client(), &backend.namespace);
            pods.get_opt(&backend.pod).await.map_err(KubeError::api(what))
        });
        let read = try_join_all(read).await?;
        let there: Vec<_> =
            pods.iter().zip(&read).filter_map(|(one, pod)| Some((one, pod.as_ref()?))).collect();
        let mut found = self.unlike_their_owners(&there).await?;
        let older = there.iter().map(|(backend, pod)| self.older(backend, pod));
        found.extend(try_join_all(older).await?.into_iter().flatten());
        Ok(found)
    }

    /// Which of its `ConfigMaps` and Secrets the pod is older than.
    async fn older(&self, backend: &Backend, pod: &Pod) -> Result<Vec<String>, KubeError> {
        let mut found = vec![];
        let what = format!("read what pod {}/{} mounts", backend.namespace, backend.pod);
        for source in sources(pod.spec.as_ref()) {
            let (kind, name, meta) = match &source {
                Source::ConfigMap(name) => {
                    let all: Api<ConfigMap> = Api::namespaced(self.client(), &backend.namespace);
                    let one = all.get_opt(name).await.map_err(KubeError::api(&what))?;
                    ("ConfigMap", name, one.map(|one| one.metadata))
                }
                Source::Secret(name) => {
                    let all: Api<Secret> = Api::namespaced(self.client(), &backend.namespace);
                    let one = all.get_metadata_opt(name).await.map_err(KubeError::api(&what))?;
                    ("Secret", name, one.map(|one| one.metadata))
                }
            };
            if let (Some(changed), Some(started)) = (meta.as_ref().and_then(last_change), started(pod))
                && started < changed
            {
                found.push(format!(
                    "pod {} started at {} and is older than {kind} {name}, changed at {}",
                    backend.pod, started.0, changed.0
                ));
            }
        }
        Ok(found)
    }
}

/// The `ConfigMaps` and Secrets that a pod's containers read when they start. What every pod is given
/// (`kube-root-ca.crt`) is nobody's configuration.
fn sources(spec: Option<&PodSpec>) -> BTreeSet<Source> {
    let mut found = BTreeSet::new();
    let Some(spec) = spec else { return found };
    let mut add = |source: Option<Source>| found.extend(source);
    let map = |name: &str| (name != "kube-root-ca.crt").then(|| Source::ConfigMap(name.into()));
    for volume in spec.volumes.iter().flatten() {
        add(volume.config_map.as_ref().and_then(|one| map(&one.name)));
        add(volume.secret.as_ref().and_then(|one| one.secret_name.clone()).map(Source::Secret));
        for projected in volume.projected.iter().flat_map(|one| one.sources.iter().flatten()) {
            add(projected.config_map.as_ref().and_then(|one| map(&one.name)));
            add(projected.secret.as_ref().map(|one| Source::Secret(one.name.clone())));
        }
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        for from in container.env_from.iter().flatten() {
            add(from.config_map_ref.as_ref().and_then(|one| map(&one.name)));
            add(from.secret_ref.as_ref().map(|one| Source::Secret(one.name.clone())));
        }
        for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            add(from.config_map_key_ref.as_ref().and_then(|one| map(&one.name)));
            add(from.secret_key_ref.as_ref().map(|one| Source::Secret(one.name.clone())));
        }
    }
    found
}

/// When its data was last written: every writer's time is in its managed fields.
fn last_change(meta: &ObjectMeta) -> Option<Time> {
    let fields = meta.managed_fields.iter().flatten().filter_map(|field| field.time.clone());
    fields.chain(meta.creation_timestamp.clone()).max()
}

/// When the first of its containers that still run started.
fn started(pod: &Pod) -> Option<Time> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.filter_map(|one| one.state.as_ref()?.running.as_ref()?.started_at.clone()).min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn volumes_projections_and_environments_are_sources() {
        let pod = pod(json!({"spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "mounted"}},
                {"name": "b", "secret": {"secretName": "kept"}},
                {"name": "c", "projected": {"sources": [
                    {"configMap": {"name": "kube-root-ca.crt"}},
                    {"configMap": {"name": "projected"}},
                    {"secret": {"name": "projected"}},
                ]}},
                {"name": "d", "emptyDir": {}},
            ],
            "containers": [{"name": "app", "envFrom": [{"configMapRef": {"name": "env"}}], "env": [
                {"name": "X", "valueFrom": {"secretKeyRef": {"name": "one", "key": "x"}}},
                {"name": "Y", "value": "plain"},
            ]}],
        }}));
        let maps = ["env", "mounted", "projected"].map(|name| Source::ConfigMap(name.into()));
        let secrets = ["kept", "one", "projected"].map(|name| Source::Secret(name.into()));
        assert_eq!(sources(pod.spec.as_ref()), maps.into_iter().chain(secrets).collect());
        assert_eq!(sources(None), BTreeSet::new());
    }

    #[test]
    fn the_oldest_running_container_and_the_newest_write_count() {
        let running = |at: &str| {
            json!({"name": "x", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                                        "state": {"running": {"startedAt": at}}})
        };
        let pod = pod(json!({"status": {"containerStatuses": [running("2026-01-01T00:00:05Z"),
                                                              running("2026-01-01T00:00:02Z")]}}));
        let meta: ObjectMeta = serde_json::from_value(json!({
            "creationTimestamp": "2026-01-01T00:00:01Z",
            "managedFields": [{"time": "2026-01-01T00:00:03Z"}, {"time": "2026-01-01T00:00:02Z"}, {}],
        }))
        .unwrap();
        let (started, changed) = (started(&pod).unwrap(), last_change(&meta).unwrap());
        assert_eq!(changed.0.to_string(), "2026-01-01T00:00:03Z");
        assert!(started < changed);
        assert_eq!(super::started(&Pod::default()), None);
        assert_eq!(last_change(&ObjectMeta::default()), None);
    }
}
