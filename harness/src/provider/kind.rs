//! kind, through `terraform/kind`: nodes in the local container engine, their ports on the loopback. Sees to
//! the engine and the images first, and to what kind's own network plugin would do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::{Cluster, Created, Provider, ProviderError, Site, host_ports, mirror, network};
use crate::cluster::kube::{Kube, KubeError, WatchEnd};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::engine::{self, Engine};
use crate::halt::{self, Halt};
use crate::images::{self, Images, Source};
use crate::lease::Thing;
use crate::provider::terraform::Terraform;
use crate::scenario::OwnImage;
use crate::sys::progress::Progress;
use crate::sys::tool::Tool;
use crate::sys::wait::{self, Look};
use crate::sys::{chain, dirs};

pub(super) async fn create(site: &Site<'_>) -> Result<Created, ProviderError> {
    let step = site.progress.phase("container engine");
    let engine = engine::ensure(site.progress).await?;
    let (env, on) = engine_network(site, &engine).await?;
    halt::at(Halt::Engine).await;
    step.done();
    let step = site.progress.phase("images");
    let folder = site.lease.dir.join("images");
    let own = images::archives(&site.own, &engine, &site.home, &folder, site.progress).await?;
    let Site { source, versions, pulls, lease, progress, .. } = site;
    let images = images::build(&site.home, &engine, *source, versions, pulls, lease, progress).await?;
    let hosts = match pulls.mirror.filter(|_| images.source == Source::Upstream) {
        Some(mirror) => Some(mirror::open(site, &engine, &on, mirror).await?),
        None => None,
    };
    step.done();
    let step = site.progress.phase(format!("cluster ({})", Provider::Kind));
    let cluster = apply(site, &engine, env, &images, hosts).await?;
    let kube = Kube::connect(&cluster.kubeconfig, None).await?;
    load_archives(&engine, &cluster.name, images.load.iter().chain(&own)).await?;
    let nodes = nodes(&cluster.name, site.options.workers);
    let ready = async {
        // Upstream's node image has a plugin for it, and one node has no other to reach.
        if images.own_node && nodes.len() > 1 {
            network::link(&engine, kube.client(), &nodes).await?;
        }
        if nodes.len() > 1 {
            network::ready(kube.client(), &nodes).await?;
        }
        services(&kube, &nodes).await
    };
    tokio::try_join!(serving_certificates(kube.client(), nodes.len()), quick_dns(&kube), ready)?;
    halt::at(Halt::Cluster).await;
    step.done();
    Ok(Created { cluster, kube, images: Some(images) })
}

/// What kind calls the nodes' containers, and Kubernetes the nodes (kind's source, its docker provider).
fn nodes(cluster: &str, workers: u8) -> Vec<String> {
    let worker = |number: u8| match number {
        1 => format!("{cluster}-worker"),
        number => format!("{cluster}-worker{number}"),
    };
    [format!("{cluster}-control-plane")].into_iter().chain((1..=workers).map(worker)).collect()
}

/// Gives the nodes of a cluster that is there images of the user's own.
pub async fn load(
    own: &[OwnImage],
    home: &Path,
    cluster: &str,
    run: &Path,
    progress: &Progress,
) -> Result<(), ProviderError> {
    let engine = engine::ensure(progress).await?;
    let archives = images::archives(own, &engine, home, &run.join("images"), progress).await?;
    load_archives(&engine, cluster, &archives).await
}

async fn load_archives(
    engine: &Engine,
    cluster: &str,
    archives: impl IntoIterator<Item = &PathBuf>,
) -> Result<(), ProviderError> {
    for archive in archives {
        let kind = Tool::new(kind()?).envs(engine.env());
        kind.args(["load", "image-archive", "--name", cluster]).arg(archive).run().await?;
    }
    Ok(())
}

/// The kind that was built: no other is meant, whatever PATH has.
fn kind() -> Result<PathBuf, ProviderError> {
    images::tool("kind").ok_or(ProviderError::NoKind)
}

/// What kind must be started with, and the cluster's network. In a user's engine the run gets a network of
/// its own: what is shared is another's too, and nobody could say when to take it away.
async fn engine_network(
    site: &Site<'_>,
    engine: &Engine,
) -> Result<(Vec<(String, String)>, String), ProviderError> {
    if engine.private {
        return Ok((engine.env(), engine::NETWORK.into()));
    }
    let name = format!("{}-{}", engine::NETWORK, site.lease.id);
    let (env, id) = (engine.env(), engine.id.clone());
    site.lease.making(Thing::Network { name: name.clone(), env, engine: id })?;
    engine.make_network(&name, &site.lease.id).await?;
    Ok((engine.env_on(&name), name))
}

/// Applies the Terraform root; the cluster answers then.
async fn apply(
    site: &Site<'_>,
    engine: &Engine,
    mut env: Vec<(String, String)>,
    images: &Images,
    hosts: Option<PathBuf>,
) -> Result<Cluster, ProviderError> {
    let published = host_ports(&site.published)?;
    let name = format!("svidproof-{}", site.lease.id);
    let workers = site.options.workers;
    let stores = node_stores(site, images, workers)?;
    halt::at(Halt::Store).await;
    let dir = site.lease.dir.join("terraform");
    let path = std::env::var("PATH").unwrap_or_default();
    env.push(("PATH".into(), path));
    let kubeconfig = site.lease.dir.join("kubeconfig");
    let (provider, engine) = ("kind".into(), engine.id.clone());
    let made = Thing::Cluster { provider, terraform: dir.clone(), env: env.clone(), engine };
    site.lease.making(made)?;
    let terraform = Terraform::copy(&site.home.join("terraform/kind"), dir, env)?;
    let ports: Vec<_> = published
        .iter()
        .map(|(node, host)| json!({ "container_port": node, "host_port": host.port() }))
        .collect();
    terraform
        .apply(&json!({
            "kind": kind()?,
            "name": name,
            "node_image": images.node,
            "kubeconfig": kubeconfig,
            "port_mappings": ports,
            "workers": workers,
            "containerd_stores": stores,
            "registry_hosts": hosts.map(|path| path.display().to_string()).unwrap_or_default(),
            "packages_node": images.own_node,
            "kubernetes": images.kubernetes,
            "image_tags": images.tags,
        }))
        .await?;
    Ok(Cluster { provider: Provider::Kind, name, kubeconfig, context: None, uid: String::new(), published })
}

/// Each node's own containerd store, where images come as one.
fn node_stores(site: &Site<'_>, images: &Images, workers: u8) -> Result<Vec<PathBuf>, ProviderError> {
    let Some(store) = &images.store else { return Ok(vec![]) };
    // Hard links want one file system: beside the store.
    let folder = dirs::cache().join("nodes").join(&site.lease.id);
    site.lease.making(Thing::Folder { path: folder.clone() })?;
    let own = (0..=workers).map(|number| folder.join(number.to_string()));
    own.map(|own| images::link_store(store, &own).map(|()| own).map_err(Into::into)).collect()
}

/// Approves the nodes' requests for serving certificates (`serverTLSBootstrap`), so that SPIRE's agents can
/// verify the kubelets; as many as there are `nodes`.
///
/// No controller approves these by itself (Kubernetes documentation, "kubelet-serving signer"): here the
/// nodes are ours, and their names are the requesters'.
async fn serving_certificates(client: Client, nodes: usize) -> Result<(), ProviderError> {
    let requests: Api<CertificateSigningRequest> = Api::all(client);
    let config = watcher::Config::default().fields("spec.signerName=kubernetes.io/kubelet-serving");
    let mut events = pin!(watcher(requests.clone(), config).default_backoff().applied_objects());
    let mut approved = BTreeSet::new();
    let next = async || {
        let request = events.next().await.ok_or(WatchEnd::Closed)?.map_err(WatchEnd::from)?;
        let name = request.metadata.name.clone().unwrap_or_default();
        if request.spec.username.as_deref().is_some_and(|user| user.starts_with("system:node:"))
            && approved.insert(name.clone())
        {
            match approve(&requests, &name, &request).await {
                Ok(()) => {}
                // It has changed meanwhile, and is seen again.
                Err(kube::Error::Api(status)) if status.code == 409 => drop(approved.remove(&name)),
                Err(error) => {
                    let what = "approve the node's request for a serving certificate";
                    return Err(KubeError::api(what)(error));
                }
            }
        }
        Ok::<_, KubeError>(request)
    };
    let mut issued = BTreeSet::new();
    let look = |request: CertificateSigningRequest| {
        let has = request.status.is_some_and(|status| status.certificate.is_some());
        issued.extend(request.spec.username.filter(|_| has));
        if issued.len() >= nodes {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{} of {nodes} nodes have theirs", issued.len()))
        }
    };
    let waited =
        wait::events("the kubelets' serving certificates", Duration::from_secs(30), next, look).await;
    Ok(waited?)
}

async fn approve(
    requests: &Api<CertificateSigningRequest>,
    name: &str,
    request: &CertificateSigningRequest,
) -> Result<(), kube::Error> {
    let mut approved = serde_json::to_value(request).map_err(kube::Error::SerdeError)?;
    let condition = json!({
        "type": "Approved", "status": "True", "reason": "svidproof", "message": "the run's own node",
    });
    approved["status"]["conditions"] = json!([condition]);
    requests.replace_subresource("approval", name, &PostParams::default(), &approved).await.map(drop)
}

/// kubeadm gives `CoreDNS` a readiness period of 10 s, which is what names wait for in a cluster that lives
/// for a minute.
async fn quick_dns(kube: &Kube) -> Result<(), ProviderError> {
    let deployments: Api<Deployment> = Api::namespaced(kube.client(), "kube-system");
    let container = json!({ "name": "coredns", "readinessProbe": { "periodSeconds": 1 } });
    let patch = json!({ "spec": { "replicas": 1, "template": { "spec": { "containers": [container] } } } });
    let patched = deployments.patch("coredns", &PatchParams::default(), &Patch::Strategic(patch)).await;
    patched.map_err(KubeError::api("shorten CoreDNS's readiness period"))?;
    Ok(())
}

/// Waits until kube-proxy has programmed the Services once. Before that, a server that cannot reach the API
/// server's Service gives up for half a minute (SPIRE's bundle publisher).
async fn services(kube: &Kube, nodes: &[String]) -> Result<(), ProviderError> {
    let proxy = Workload {
        kind: WorkloadKind::DaemonSet,
        namespace: "kube-system".into(),
        name: "kube-proxy".into(),
    };
    kube.rolled_out(&proxy, Duration::from_mins(1)).await?;
    let each = nodes.iter().map(async |node| {
        let healthz = format!("/api/v1/nodes/{node}:10256/proxy/healthz");
        // It answers 200 once its first sync is done; that is no event of the API.
        let what = format!("kube-proxy to program the Services on {node}");
        let waited = wait::poll(&what, Duration::from_secs(30), Duration::from_millis(50), async || {
            match http::Request::get(healthz.as_str()).body(vec![]) {
                Err(e) => Look::Fatal(KubeError::api("ask kube-proxy")(kube::Error::HttpError(e))),
                Ok(request) => match kube.client().request_text(request).await {
                    Ok(_) => Look::Ready(()),
                    Err(e) => Look::NotYet(chain(&e)),
                },
            }
        });
        Ok(waited.await?)
    });
    try_join_all(each).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    #[test]
    fn nodes_are_called_as_kind_calls_them() {
        assert_eq!(nodes("c", 0), ["c-control-plane"]);
        assert_eq!(nodes("c", 2), ["c-control-plane", "c-worker", "c-worker2"]);
    }

    /// An API server with one request, which somebody else changes before it is approved.
    #[tokio::test]
    async fn an_approval_that_comes_too_late_is_made_again() {
        let request = |version: &str, status: Value| {
            json!({
                "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
                "metadata": { "name": "csr-1", "resourceVersion": version },
                "spec": { "request": "", "signerName": "kubernetes.io/kubelet-serving", "usages": [],
                    "username": "system:node:n" },
                "status": status,
            })
        };
        let approvals = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&approvals);
        let api = tower::service_fn(move |asked: Request<Body>| {
            let query = asked.uri().query().unwrap_or_default().to_owned();
            let (code, body) = if asked.method() == Method::PUT {
                match counted.fetch_add(1, Ordering::SeqCst) {
                    0 => (
                        409,
                        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {},
                        "status": "Failure", "message": "changed", "reason": "Conflict", "code": 409 })
                        .to_string(),
                    ),
                    _ => (200, request("3", json!({})).to_string()),
                }
            } else if query.contains("watch=true") {
                let seen = [request("2", json!({})), request("4", json!({ "certificate": "AAAA" }))];
                let event =
                    |object: &Value| json!({ "type": "MODIFIED", "object": object }).to_string() + "\n";
                (200, seen.iter().map(event).collect())
            } else {
                let list = json!({ "apiVersion": "certificates.k8s.io/v1",
                    "kind": "CertificateSigningRequestList", "metadata": { "resourceVersion": "1" },
                    "items": [request("1", json!({}))] });
                (200, list.to_string())
            };
            let answer = Response::builder().status(code).body(Body::from(body.into_bytes()));
            async move { answer }
        });
        serving_certificates(Client::new(api, "default"), 1).await.unwrap();
        assert_eq!(approvals.load(Ordering::SeqCst), 2);
    }
}
