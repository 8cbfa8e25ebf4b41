//! Envoy's admin interface: what its configuration is, what it has counted, whom it would forward to. What is
//! made of it is `proof::envoy`'s.
//!
//! The admin interface listens on the pod's loopback; it is reached by a forwarded port.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::cluster::kube::{Backend, Forward, Kube, KubeError};
use crate::proof::envoy::Stats;
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

/// A read of the admin interface takes milliseconds; a large configuration comes over the API server.
const READ: Duration = Duration::from_secs(10);

/// Why an Envoy's own account could not be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum EnvoyError {
    #[error("the admin interface of Envoy in pod {pod}")]
    Forward { pod: String, source: KubeError },
    #[error("could not read {path} from the admin interface of Envoy in pod {pod}")]
    Read { pod: String, path: &'static str, source: reqwest::Error },
    #[error(transparent)]
    Wait(#[from] WaitError<NotClusters>),
}

impl EnvoyError {
    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Read { source, .. } => source.status().map(|status| status.as_u16()),
            Self::Forward { .. } | Self::Wait(_) => None,
        }
    }
}

/// What the admin interface gave for its clusters is not what Envoy documents.
#[derive(Debug, thiserror::Error)]
#[error("/clusters is not understood")]
pub struct NotClusters(#[from] serde_json::Error);

/// The admin interface of one pod's Envoy.
pub struct Admin {
    pod: String,
    forward: Forward,
    http: reqwest::Client,
}

impl Admin {
    /// Makes the way there; asks nothing yet.
    pub async fn open(kube: &Kube, backend: &Backend, port: u16) -> Result<Self, EnvoyError> {
        let pod = backend.pod.clone();
        let forward = kube.forward(backend, port).await;
        let forward = forward.map_err(|source| EnvoyError::Forward { pod: pod.clone(), source })?;
        Ok(Self { pod, forward, http: reqwest::Client::new() })
    }

    /// `/config_dump`, JSON (envoy.admin.v3.ConfigDump).
    pub async fn config(&self) -> Result<String, EnvoyError> {
        self.get("/config_dump").await
    }

    /// Every counter and gauge since Envoy's start.
    pub async fn stats(&self) -> Result<Stats, EnvoyError> {
        Ok(Stats::read(&self.get("/stats").await?))
    }

    /// Waits until every address of these clusters that is off the pod is one of `allowed`, and there is one.
    pub async fn forwards_only_to(
        &self,
        clusters: &BTreeSet<String>,
        allowed: &[String],
        limit: Duration,
    ) -> Result<(), EnvoyError> {
        let what = format!("Envoy in pod {} to find its upstream at {}", self.pod, allowed.join(", "));
        // Envoy offers its view of DNS for reading only, not for watching.
        let every = Duration::from_millis(100);
        let waited =
            wait::poll(&what, limit, every, async || match self.get("/clusters?format=json").await {
                Err(error) => Look::NotYet(chain(&error)),
                Ok(text) => match upstreams(&text, clusters) {
                    Err(error) => Look::Fatal(error.into()),
                    Ok(found)
                        if !found.is_empty() && found.iter().all(|address| allowed.contains(address)) =>
                    {
                        Look::Ready(())
                    }
                    Ok(found) => Look::NotYet(format!("it knows {found:?}")),
                },
            });
        Ok(waited.await?)
    }

    async fn get(&self, path: &'static str) -> Result<String, EnvoyError> {
        let failed = |source| EnvoyError::Read { pod: self.pod.clone(), path, source };
        let url = format!("http://{}{path}", self.forward.address);
        let response = self.http.get(url).timeout(READ).send().await;
        let response = response.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        response.text().await.map_err(failed)
    }
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    name: String,
    #[serde(default)]
    host_statuses: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    address: Address,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: String,
}

/// The addresses off the pod's loopback, of these clusters.
fn upstreams(text: &str, wanted: &BTreeSet<String>) -> Result<Vec<String>, serde_json::Error> {
    let all: Clusters = serde_json::from_str(text)?;
    let clusters = all.cluster_statuses.into_iter().filter(|cluster| wanted.contains(&cluster.name));
    let addresses =
        clusters.flat_map(|cluster| cluster.host_statuses).filter_map(|host| host.address.socket_address);
    let addresses = addresses.map(|socket| socket.address);
    Ok(addresses.filter(|address| !address.starts_with("127.") && address != "::1").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_the_addresses_off_the_pod_of_the_clusters_that_are_asked_for() {
        let clusters = r#"{"cluster_statuses":[
            {"name":"spire_agent","host_statuses":[{"address":{"pipe":{"path":"/run/a.sock"}}}]},
            {"name":"admin","host_statuses":[{"address":{"socket_address":{"address":"127.0.0.1","port_value":9901}}}]},
            {"name":"tracing","host_statuses":[{"address":{"socket_address":{"address":"10.244.0.8","port_value":4317}}}]},
            {"name":"backend","host_statuses":[{"address":{"socket_address":{"address":"10.244.0.9","port_value":9001}}}]},
            {"name":"empty"}]}"#;
        let wanted = ["backend", "admin", "empty"].map(ToOwned::to_owned).into();
        assert_eq!(upstreams(clusters, &wanted).unwrap(), ["10.244.0.9"]);
        assert!(upstreams("<html>", &wanted).is_err());
    }
}
