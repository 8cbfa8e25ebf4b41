//! Whose a cluster is, and whose a thing in it: what a run makes carries the run's label, and what does not
//! carry it is neither changed nor deleted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::{Kube, KubeError};

/// The label that all that a run makes carries, with the run's ID: Secrets, namespaces, and Helm's own record
/// of a release.
pub const RUN_LABEL: &str = "svidproof.run";

/// Whose something in a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// There is no such thing.
    Nobody,
    /// It carries the run's label.
    Ours,
    /// It is there, and does not.
    Another,
}

impl Holder {
    fn of(labels: Option<&BTreeMap<String, String>>, run: &str) -> Self {
        let ours = labels.and_then(|labels| labels.get(RUN_LABEL)).is_some_and(|label| label == run);
        if ours { Self::Ours } else { Self::Another }
    }
}

impl Kube {
    /// What tells this cluster from every other, also from one that is made anew under its name and address:
    /// the UID of namespace kube-system.
    pub async fn identity(&self) -> Result<String, KubeError> {
        let what = "read namespace kube-system, by whose UID the cluster is known";
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = namespaces.get("kube-system").await.map_err(KubeError::api(what))?;
        found.metadata.uid.ok_or_else(|| KubeError::other(what)("it has no UID".into()))
    }

    /// Whose the namespace is.
    pub async fn namespace_of(&self, name: &str, run: &str) -> Result<Holder, KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found =
            namespaces.get_opt(name).await.map_err(KubeError::api(format!("read namespace {name}")))?;
        Ok(found.map_or(Holder::Nobody, |found| Holder::of(found.metadata.labels.as_ref(), run)))
    }

    /// Whose the Secret is.
    pub async fn secret_of(&self, namespace: &str, name: &str, run: &str) -> Result<Holder, KubeError> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
        let found = secrets.get_metadata_opt(name).await;
        let found = found.map_err(KubeError::api(format!("read secret {namespace}/{name}")))?;
        Ok(found.map_or(Holder::Nobody, |found| Holder::of(found.metadata.labels.as_ref(), run)))
    }

    /// Whose the Helm release is, by Helm's own records of it (a Secret a revision, or a ConfigMap: Helm
    /// documentation, "Storage backends"), which carry what was given by `--labels`.
    pub async fn release_of(&self, namespace: &str, name: &str, run: &str) -> Result<Holder, KubeError> {
        let what = || format!("look for Helm release {name} in namespace {namespace}");
        let records = ListParams::default().labels(&format!("owner=helm,name={name}"));
        let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        let secrets = secrets.list_metadata(&records).await.map_err(KubeError::api(what()))?;
        let maps = maps.list_metadata(&records).await.map_err(KubeError::api(what()))?;
        let secrets = secrets.items.into_iter().map(|record| record.metadata);
        let all: Vec<_> = secrets
            .chain(maps.items.into_iter().map(|record| record.metadata))
            .map(|record| Holder::of(record.labels.as_ref(), run))
            .collect();
        Ok(match all.as_slice() {
            [] => Holder::Nobody,
            // One revision that somebody else made, and the release is not the run's own any more.
            all if all.contains(&Holder::Another) => Holder::Another,
            _ => Holder::Ours,
        })
    }

    /// Makes the namespace, with the run's label and these, unless it is there.
    pub async fn create_namespace(
        &self,
        name: &str,
        run: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let mut metadata = labelled(name, run);
        metadata.labels.get_or_insert_default().extend(owned(labels));
        let made = Namespace { metadata, ..Namespace::default() };
        match namespaces.create(&PostParams::default(), &made).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            made => made.map(drop).map_err(KubeError::api(format!("make namespace {name}"))),
        }
    }

    /// Gives a namespace that is the run's these labels too, if it lacks one: to patch it is a right that not
    /// everybody has who may make it. Another's stays as it is.
    pub async fn label_namespace(
        &self,
        name: &str,
        run: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), KubeError> {
        let what = || format!("label namespace {name}");
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = namespaces.get_opt(name).await.map_err(KubeError::api(what()))?;
        let there = found.and_then(|found| found.metadata.labels).unwrap_or_default();
        let wanted: BTreeMap<_, _> = owned(labels).collect();
        if Holder::of(Some(&there), run) != Holder::Ours
            || wanted.iter().all(|(key, value)| there.get(key) == Some(value))
        {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "metadata": { "labels": wanted } }));
        let labelled = namespaces.patch_metadata(name, &PatchParams::default(), &patch).await;
        labelled.map(drop).map_err(KubeError::api(what()))
    }

    /// Makes the Secret, with the run's label. One that is there stays as it is, and is an error.
    pub async fn create_secret(
        &self,
        namespace: &str,
        name: &str,
        kind: &str,
        data: &[(&str, &str)],
        run: &str,
    ) -> Result<(), KubeError> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
        let made = Secret {
            metadata: labelled(name, run),
            type_: Some(kind.into()),
            string_data: Some(owned(data).collect()),
            ..Secret::default()
        };
        let created = secrets.create(&PostParams::default(), &made).await;
        created.map(drop).map_err(|error| match error {
            kube::Error::Api(status) if status.code == 409 => {
                KubeError::Foreign { what: format!("secret {namespace}/{name}") }
            }
            error => KubeError::api(format!("make secret {namespace}/{name}"))(error),
        })
    }

    /// Deletes a Secret that carries the run's label. One that is not there is as good as deleted, and one
    /// that is another's stays.
    pub async fn delete_secret(&self, namespace: &str, name: &str, run: &str) -> Result<(), KubeError> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
        let found = secrets.get_metadata_opt(name).await;
        let found = found.map_err(KubeError::api(format!("read secret {namespace}/{name}")))?;
        match found.as_ref().and_then(|found| only(&found.metadata, run)) {
            Some(only) => gone(secrets.delete(name, &only).await)
                .map_err(KubeError::api(format!("delete secret {namespace}/{name}"))),
            None => Ok(()),
        }
    }

    /// Deletes a namespace that carries the run's label, and waits until it is gone; another's stays.
    pub async fn delete_namespace(&self, name: &str, run: &str) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found =
            namespaces.get_opt(name).await.map_err(KubeError::api(format!("read namespace {name}")))?;
        let Some(only) = found.as_ref().and_then(|found| only(&found.metadata, run)) else { return Ok(()) };
        gone(namespaces.delete(name, &only).await)
            .map_err(KubeError::api(format!("delete namespace {name}")))?;
        self.namespace_gone(name).await
    }
}

fn owned(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
}

fn labelled(name: &str, run: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some([(RUN_LABEL.to_owned(), run.to_owned())].into()),
        ..ObjectMeta::default()
    }
}

/// Deletes this very object, if it is the run's: what takes its name in between stays.
fn only(metadata: &ObjectMeta, run: &str) -> Option<DeleteParams> {
    let own = Holder::of(metadata.labels.as_ref(), run) == Holder::Ours;
    let this = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    own.then(|| DeleteParams { preconditions: Some(this), ..DeleteParams::default() })
}

/// Not there is as good as deleted; a conflict says that another has taken its place.
pub(super) fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        deleted => deleted.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_the_runs_own_label_is_deleted_and_only_that_very_object() {
        let mut mine = labelled("their-ca", "0a1b2c3d");
        mine.uid = Some("u1".into());
        let params = only(&mine, "0a1b2c3d").unwrap();
        assert_eq!(params.preconditions.unwrap().uid.as_deref(), Some("u1"));
        assert!(only(&mine, "another").is_none());
        assert!(only(&ObjectMeta::default(), "0a1b2c3d").is_none());
    }
}
