//! A cluster that is there. Nothing of it is ours but what the lease names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Cluster, Provider, ProviderError, Site};
use crate::cluster::kube::Kube;

pub(super) async fn create(site: &Site<'_>) -> Result<(Cluster, Kube), ProviderError> {
    let from_env = || {
        std::env::var_os("KUBECONFIG")
            .and_then(|paths| std::env::split_paths(&paths).find(|path| path.exists()))
    };
    let from_home =
        || std::env::home_dir().map(|home| home.join(".kube/config")).filter(|path| path.exists());
    let kubeconfig: PathBuf = site
        .options
        .kubeconfig
        .clone()
        .or_else(from_env)
        .or_else(from_home)
        .ok_or(ProviderError::NoKubeconfig)?;
    let context = site.options.context.clone();
    let named = context.clone().unwrap_or_else(|| "(the current one)".into());
    let unreachable = |source| ProviderError::Unreachable {
        context: named.clone(),
        kubeconfig: kubeconfig.clone(),
        source,
    };
    let kube = Kube::connect(&kubeconfig, context.as_deref()).await.map_err(ProviderError::Kubeconfig)?;
    kube.version().await.map_err(unreachable)?;
    let cluster = Cluster {
        provider: Provider::Existing,
        name: named,
        kubeconfig,
        context,
        published: BTreeMap::new(),
    };
    Ok((cluster, kube))
}
