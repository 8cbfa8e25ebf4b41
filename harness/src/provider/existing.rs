//! A cluster that is there. Nothing of it is ours but what the lease names. It is reached by a kubeconfig of
//! the run's own, whatever becomes of the user's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kube::config::Kubeconfig;

use super::{Cluster, ClusterOptions, Provider, ProviderError};
use crate::cluster::kube::Kube;
use crate::lease::{Lease, Place};
use crate::sys::files;

/// Finds the cluster that the user names, and writes into the lease how it is reached.
pub async fn reach(options: &ClusterOptions, lease: &Lease) -> Result<(Cluster, Kube), ProviderError> {
    let from_env = || {
        std::env::var_os("KUBECONFIG")
            .and_then(|paths| std::env::split_paths(&paths).find(|path| path.exists()))
    };
    let from_home =
        || std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists());
    let theirs: PathBuf =
        options.kubeconfig.clone().or_else(from_env).or_else(from_home).ok_or(ProviderError::NoKubeconfig)?;
    let name = named(options, &theirs)?;
    // Proves that the context is there and whole.
    Kube::connect(&theirs, Some(&name)).await.map_err(ProviderError::Kubeconfig)?;
    let kubeconfig = lease.dir.join("kubeconfig");
    files::replace(&kubeconfig, alone(&theirs, &name)?)?;
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

/// The context that the user names: the current one may be another the next moment.
fn named(options: &ClusterOptions, kubeconfig: &PathBuf) -> Result<String, ProviderError> {
    if let Some(context) = &options.context {
        return Ok(context.clone());
    }
    let read = Kubeconfig::read_from(kubeconfig).map_err(|source| {
        let (path, source) = (kubeconfig.clone(), Box::new(source));
        ProviderError::Kubeconfig(crate::cluster::kube::KubeError::Kubeconfig { path, source })
    })?;
    Err(ProviderError::NoContext {
        kubeconfig: kubeconfig.clone(),
        known: read.contexts.into_iter().map(|one| one.name).collect(),
    })
}

/// The kubeconfig with this context alone, in JSON, which is YAML. Files that it names are named from the
/// root on by now.
fn alone(kubeconfig: &PathBuf, context: &str) -> Result<String, ProviderError> {
    let failed = |source| {
        let (path, source) = (kubeconfig.clone(), Box::new(source));
        ProviderError::Kubeconfig(crate::cluster::kube::KubeError::Kubeconfig { path, source })
    };
    let mut read = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
    read.contexts.retain(|one| one.name == context);
    let inner = read.contexts.first().and_then(|one| one.context.clone());
    let (cluster, user) = inner.map(|inner| (inner.cluster, inner.user)).unwrap_or_default();
    read.clusters.retain(|one| one.name == cluster);
    read.auth_infos.retain(|one| Some(&one.name) == user.as_ref());
    read.current_context = Some(context.into());
    serde_json::to_string(&read).map_err(|source| ProviderError::OwnKubeconfig { source })
}
