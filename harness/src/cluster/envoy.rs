//! Envoy's own account: its counters, and whom it would forward to, from its admin interface.
//!
//! The admin interface listens on the pod's loopback; it is reached by a forwarded port.

use std::time::Duration;

use serde::Deserialize;

use crate::cluster::kube::{Backend, Forward, Kube, KubeError};
use crate::scenario::Counted;
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

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

/// What the admin interface gave for its clusters is not what Envoy documents.
#[derive(Debug, thiserror::Error)]
#[error("/clusters is not understood")]
pub struct NotClusters(#[from] serde_json::Error);

/// What an Envoy has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// What went by, in the words that an outcome is counted in.
    pub counted: Counted,
    /// Whether there is an RBAC filter.
    pub rbac: bool,
}

/// The admin interface of one pod's Envoy.
pub struct Admin {
    pod: String,
    forward: Forward,
    http: reqwest::Client,
}

const COUNTERS: &str =
    "/stats?filter=(fail_verify|connection_error|rbac\\.(allowed|denied)|upstream_rq_total)";

impl Admin {
    /// Forwards a local port to the pod's admin port; asks nothing yet.
    pub async fn open(kube: &Kube, backend: &Backend, port: u16) -> Result<Self, EnvoyError> {
        let pod = backend.pod.clone();
        let forward = kube
            .forward(backend, port)
            .await
            .map_err(|source| EnvoyError::Forward { pod: pod.clone(), source })?;
        Ok(Self { pod, forward, http: reqwest::Client::new() })
    }

    /// The counters since Envoy's start; `app_cluster` is the cluster that leads to the application.
    pub async fn counters(&self, app_cluster: &str) -> Result<Counters, EnvoyError> {
        Ok(counted(&self.get(COUNTERS).await?, app_cluster))
    }

    /// Waits until every address off the pod that Envoy would forward to is one of `allowed`, and there is
    /// one.
    pub async fn forwards_only_to(&self, allowed: &[String], limit: Duration) -> Result<(), EnvoyError> {
        let what = format!("Envoy in pod {} to find its upstream at {}", self.pod, allowed.join(", "));
        // Envoy offers its view of DNS for reading only, not for watching.
        let every = Duration::from_millis(100);
        let waited =
            wait::poll(&what, limit, every, async || match self.get("/clusters?format=json").await {
                Err(e) => Look::NotYet(chain(&e)),
                Ok(text) => match upstreams(&text) {
                    Err(problem) => Look::Fatal(problem),
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
        // A tunnel that broke shows here as a connection closed early, which says nothing of why.
        let failed = |source| match self.forward.take_failure() {
            Some(source) => EnvoyError::Forward { pod: self.pod.clone(), source },
            None => EnvoyError::Read { pod: self.pod.clone(), path, source },
        };
        let url = format!("http://{}{path}", self.forward.address);
        let response =
            self.http.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        response.text().await.map_err(failed)
    }
}

/// What these lines of `name: value` say (Envoy's admin interface, `/stats`). All listeners that they speak
/// of are summed.
pub fn counted(stats: &str, app_cluster: &str) -> Counters {
    let mut sum = Counted::default();
    let mut rbac = false;
    for (name, value) in stats.lines().filter_map(|line| line.rsplit_once(": ")) {
        let Ok(value) = value.parse::<u64>() else { continue };
        let listener = name.starts_with("listener.");
        if listener && name.ends_with(".ssl.fail_verify_no_cert") {
            sum.no_cert += value;
        } else if listener && name.ends_with(".ssl.fail_verify_san") {
            sum.san += value;
        } else if listener && name.ends_with(".ssl.fail_verify_error") {
            sum.chain += value;
        } else if listener && name.ends_with(".ssl.connection_error") {
            sum.broken += value;
        } else if name.starts_with("http.") && name.ends_with(".rbac.denied") {
            sum.denied += value;
        } else if name.starts_with("http.") && name.ends_with(".rbac.allowed") {
            rbac = true;
            sum.allowed += value;
        } else if name.strip_prefix("cluster.").and_then(|rest| rest.strip_suffix(".upstream_rq_total"))
            == Some(app_cluster)
        {
            sum.forwarded += value;
        }
    }
    Counters { counted: sum, rbac }
}

#[derive(Deserialize)]
struct Clusters {
    #[serde(default)]
    cluster_statuses: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
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

/// The addresses off the pod's loopback, of all clusters.
fn upstreams(clusters: &str) -> Result<Vec<String>, NotClusters> {
    let clusters: Clusters = serde_json::from_str(clusters)?;
    let hosts = clusters.cluster_statuses.into_iter().flat_map(|cluster| cluster.host_statuses);
    let addresses = hosts.filter_map(|host| host.address.socket_address).map(|socket| socket.address);
    Ok(addresses.filter(|address| !address.starts_with("127.") && address != "::1").collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_right_counters_are_summed_and_no_other() {
        let stats = "\
            cluster.backend.ssl.fail_verify_san: 90\n\
            cluster.local_service.upstream_rq_total: 4\n\
            cluster.admin.upstream_rq_total: 50\n\
            http.ingress_http.rbac.denied: 3\n\
            http.ingress_http.rbac.allowed: 7\n\
            listener.0.0.0.0_9001.ssl.connection_error: 9\n\
            listener.0.0.0.0_9001.ssl.fail_verify_error: 5\n\
            listener.0.0.0.0_9001.ssl.fail_verify_no_cert: 1\n\
            listener.0.0.0.0_9001.ssl.fail_verify_san: 2\n\
            listener.0.0.0.0_9003.ssl.fail_verify_san: 6\n\
            http.x.rbac.denied_rq_time: No recorded values\n";
        let sum = Counted { no_cert: 1, san: 8, chain: 5, denied: 3, forwarded: 4, broken: 9, allowed: 7 };
        assert_eq!(counted(stats, "local_service"), Counters { counted: sum, rbac: true });
        assert!(!counted("http.x.rbac_other: 1\n", "local_service").rbac);
    }

    #[test]
    fn upstreams_are_the_addresses_off_the_pod() {
        let at =
            |name: &str, address: Value| json!({ "name": name, "host_statuses": [{ "address": address }] });
        let socket = |address: &str| json!({ "socket_address": { "address": address, "port_value": 9001 } });
        let clusters = json!({ "cluster_statuses": [
            at("spire_agent", json!({ "pipe": { "path": "/run/a.sock" } })),
            at("admin", socket("127.0.0.1")),
            at("backend", socket("10.244.0.9")),
            { "name": "empty" },
        ] })
        .to_string();
        assert_eq!(upstreams(&clusters).unwrap(), ["10.244.0.9"]);
        assert!(upstreams("<html>").is_err());
    }
}
