//! A cluster that is there. Nothing of it is ours but what the lease names. It is reached by a kubeconfig of
//! the run's own, whatever becomes of the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;

use super::{Cluster, ClusterOptions, Provider, ProviderError};
use crate::cluster::kube::{Kube, KubeError};
use crate::lease::{Lease, Place};
use crate::sys::files;

/// Finds the cluster that the user names, and writes into the lease how it is reached.
pub async fn reach(options: &ClusterOptions, lease: &Lease) -> Result<(Cluster, Kube), ProviderError> {
    let (theirs, known) = theirs(options)?;
    let name = named(options, &theirs, &known)?;
    let kubeconfig = lease.dir.join("kubeconfig");
    files::replace(&kubeconfig, alone(known, &name)?)?;
    let kube = Kube::connect(&kubeconfig, None).await.map_err(ProviderError::Kubeconfig)?;
    let unreachable =
        |source| ProviderError::Unreachable { context: name.clone(), kubeconfig: theirs.clone(), source };
    kube.version().await.map_err(unreachable)?;
    let uid = kube.identity().await?;
    lease.working_in(Place { name: name.clone(), kubeconfig: kubeconfig.clone(), uid: uid.clone() })?;
    let cluster = Cluster {
        provider: Provider::Existing,
        name,
        kubeconfig,
        context: None,
        uid,
        published: BTreeMap::new(),
    };
    Ok((cluster, kube))
}

/// What the user's kubeconfig says, and where it is: a file, or all files of `KUBECONFIG` taken together as
/// kubectl does (Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files").
fn theirs(options: &ClusterOptions) -> Result<(PathBuf, Kubeconfig), ProviderError> {
    let read = |path: &Path| {
        Kubeconfig::read_from(path).map_err(|source| {
            let (path, source) = (path.to_owned(), Box::new(source));
            ProviderError::Kubeconfig(KubeError::Kubeconfig { path, source })
        })
    };
    if let Some(path) = &options.kubeconfig {
        return Ok((path.clone(), read(path)?));
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let there: Vec<_> = std::env::split_paths(&listed).filter(|path| path.exists()).collect();
    let mut files = there.iter();
    if let Some(first) = files.next() {
        let merge = |all: Kubeconfig, path: &PathBuf| {
            all.merge(read(path)?).map_err(|source| {
                let (path, source) = (path.clone(), Box::new(source));
                ProviderError::Kubeconfig(KubeError::Kubeconfig { path, source })
            })
        };
        return Ok((listed.into(), files.try_fold(read(first)?, merge)?));
    }
    let home = std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists());
    let home = home.ok_or(ProviderError::NoKubeconfig)?;
    let known = read(&home)?;
    Ok((home, known))
}

/// The context that the user names: the current one may be another the next moment.
fn named(options: &ClusterOptions, theirs: &Path, known: &Kubeconfig) -> Result<String, ProviderError> {
    let names: Vec<_> = known.contexts.iter().map(|one| one.name.clone()).collect();
    let Some(context) = &options.context else {
        return Err(ProviderError::NoContext { kubeconfig: theirs.into(), known: names });
    };
    if names.contains(context) {
        return Ok(context.clone());
    }
    let (path, context) = (theirs.to_owned(), context.clone());
    Err(ProviderError::Kubeconfig(KubeError::NoContext { path, context, known: names }))
}

/// The kubeconfig with this context alone, in JSON, which is YAML. Files that it names are named from the
/// root on by now.
fn alone(mut known: Kubeconfig, context: &str) -> Result<String, ProviderError> {
    known.contexts.retain(|one| one.name == context);
    let inner = known.contexts.first().and_then(|one| one.context.clone());
    let (cluster, user) = inner.map(|inner| (inner.cluster, inner.user)).unwrap_or_default();
    known.clusters.retain(|one| one.name == cluster);
    known.auth_infos.retain(|one| Some(&one.name) == user.as_ref());
    known.current_context = Some(context.into());
    serde_json::to_string(&known).map_err(|source| ProviderError::OwnKubeconfig { source })
}
