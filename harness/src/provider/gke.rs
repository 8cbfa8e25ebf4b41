//! Google Kubernetes Engine, through `terraform/gke`. It could not be run where svidproof was written: see
//! docs/gke.md.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{Cluster, Provider, ProviderError, Site};
use crate::cluster::kube::Kube;
use crate::lease::{Place, Thing};
use crate::provider::terraform::Terraform;
use crate::sys::files;

pub(super) async fn create(site: &Site<'_>) -> Result<(Cluster, Kube), ProviderError> {
    let dir = site.lease.dir.join("terraform");
    let (provider, engine) = ("gke".into(), String::new());
    site.lease.making(Thing::Cluster { provider, terraform: dir.clone(), env: vec![], engine })?;
    let terraform = Terraform::copy(&site.home.join("terraform/gke"), dir, vec![])?;
    let mut variables: serde_json::Map<String, Value> = site.options.set.clone().into_iter().collect();
    let name = format!("svidproof-{}", site.lease.id);
    variables.entry("name").or_insert_with(|| name.clone().into());
    terraform.apply(&Value::Object(variables)).await?;
    let outputs = terraform.outputs().await?;
    let kubeconfig: PathBuf = site.lease.dir.join("kubeconfig");
    let content = outputs["kubeconfig"].as_str().ok_or(ProviderError::Output("kubeconfig"))?;
    files::replace(&kubeconfig, content)?;
    let kube = Kube::connect(&kubeconfig, None).await?;
    kube.version().await?;
    let uid = kube.identity().await?;
    site.lease.working_in(Place { name: name.clone(), kubeconfig: kubeconfig.clone(), uid: uid.clone() })?;
    let cluster =
        Cluster { provider: Provider::Gke, name, kubeconfig, context: None, uid, published: BTreeMap::new() };
    Ok((cluster, kube))
}
