//! Envoy's admin interface: what its configuration is, what it has counted, whom it would forward to. What is
//! made of it is `proof::envoy`'s.
//!
//! The admin interface listens on the pod's loopback; it is reached over the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::cluster::kube::{Backend, Kube, KubeError, PodHttp, PodHttpError};
use crate::proof::envoy::{Stats, lacking, trusted};
use crate::sys::chain;
use crate::sys::wait::{self, Look, WaitError};

/// A read of the admin interface takes milliseconds; a large configuration comes over the API server.
const READ: Duration = Duration::from_secs(10);

/// No configuration that can be read in that time is larger.
const LONGEST: usize = 64 << 20;

/// Why an Envoy's own account could not be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum EnvoyError {
    #[error("the admin interface of Envoy in pod {pod} is not reached")]
    Forward { pod: String, source: KubeError },
    #[error("could not read {path} from the admin interface of Envoy in pod {pod}")]
    Read { pod: String, path: &'static str, source: PodHttpError },
    #[error(
        "the admin interface of Envoy in pod {pod} answers {path} with more than {} MB\n\
         hint: is it an Envoy that listens at the port of `admin`?",
        LONGEST >> 20
    )]
    TooLong { pod: String, path: &'static str },
    #[error(transparent)]
    Wait(#[from] WaitError<NotClusters>),
}

impl EnvoyError {
    /// Whether the API server does not let it be reached.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forward { source, .. } if source.is_forbidden())
    }

    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Read { source: PodHttpError::Status(status), .. } => Some(status.as_u16()),
            Self::Read { .. } | Self::Forward { .. } | Self::TooLong { .. } | Self::Wait(_) => None,
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
    http: PodHttp,
}

impl Admin {
    /// At this port of the pod; asks nothing yet.
    pub fn of(kube: &Kube, backend: &Backend, port: u16) -> Self {
        Self { pod: backend.pod.clone(), http: kube.http(backend, port) }
    }

    /// `/config_dump`, JSON (envoy.admin.v3.ConfigDump).
    pub async fn config(&self) -> Result<String, EnvoyError> {
        self.get("/config_dump").await
    }

    /// Waits until Envoy serves (`/ready`; Envoy's documentation, "Administration interface"), with its
    /// listener at this port and the secrets that it needs there; `first` is what [`Admin::answers`] gave.
    /// Returns `/config_dump` as it was then.
    pub async fn ready_at(&self, port: u16, first: String, limit: Duration) -> Result<String, EnvoyError> {
        let what = format!("Envoy in pod {} to be ready at port {port}", self.pod);
        // Envoy offers its state for reading only, not for watching.
        let every = Duration::from_millis(100);
        let mut first = Some(first);
        let mut dump = async || match first.take() {
            Some(first) => Ok(first),
            None => self.config().await,
        };
        let look =
            async || match dump().await.map(|dump| (lacking(&dump, port).map(|one| one.in_words()), dump)) {
                Ok((Ok(lacking), dump)) if lacking.is_empty() => match self.get("/ready").await {
                    Ok(_) => Look::Ready(dump),
                    Err(error) => Look::NotYet(chain(&error)),
                },
                Ok((Ok(lacking), _)) => Look::NotYet(lacking.join("; ")),
                Ok((Err(error), _)) => Look::NotYet(chain(&error)),
                Err(error) => Look::NotYet(chain(&error)),
            };
        Ok(wait::poll(&what, limit, every, look).await?)
    }

    /// Waits until, of the trust domains that it may know, Envoy verifies by the bundles of exactly those
    /// that are wanted.
    pub async fn trusts(
        &self,
        known: &BTreeSet<String>,
        wanted: &BTreeSet<String>,
        limit: Duration,
    ) -> Result<(), EnvoyError> {
        let names = |domains: &BTreeSet<String>| {
            let names: Vec<_> = domains.iter().map(String::as_str).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let of = format!("of {}, Envoy in pod {}", names(known), self.pod);
        let what = format!("{of} to have the bundles of {}", names(wanted));
        let look = async || match self.config().await.map(|dump| trusted(&dump)) {
            Ok(Ok(trusted)) => {
                let there = trusted.intersection(known).cloned().collect();
                if there == *wanted {
                    Look::Ready(())
                } else {
                    Look::NotYet(format!("it has {}", names(&there)))
                }
            }
            Ok(Err(error)) => Look::NotYet(chain(&error)),
            Err(error) => Look::NotYet(chain(&error)),
        };
        // Envoy offers its state for reading only, not for watching.
        Ok(wait::poll(&what, limit, Duration::from_millis(100), look).await?)
    }

    /// `/config_dump` as soon as there is one: Envoy opens its admin interface before anything else.
    pub async fn answers(&self, limit: Duration) -> Result<String, EnvoyError> {
        let mut last = None;
        let what = format!("the admin interface of Envoy in pod {}", self.pod);
        let look = async || match self.config().await {
            Ok(dump) => Look::<_, NotClusters>::Ready(Ok(dump)),
            // What answers otherwise is no Envoy, and will not become one.
            Err(error) if error.status().is_some() => Look::Ready(Err(error)),
            Err(error) => {
                let status = chain(&error);
                last = Some(error);
                Look::NotYet(status)
            }
        };
        match wait::poll(&what, limit, Duration::from_millis(100), look).await {
            Ok(answer) => answer,
            Err(late) => Err(last.unwrap_or(late.into())),
        }
    }

    /// Every counter and gauge since Envoy's start.
    pub async fn stats(&self) -> Result<Stats, EnvoyError> {
        Ok(Stats::read(&self.get("/stats").await?))
    }

    /// Where those of these clusters lead that lead off the pod, by cluster.
    pub async fn leads(&self, clusters: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<String>>, String> {
        let text = self.get("/clusters?format=json").await.map_err(|error| chain(&error))?;
        let mut led = upstreams(&text, clusters).map_err(|error| error.to_string())?;
        for name in clusters {
            led.entry(name.clone()).or_default();
        }
        Ok(led)
    }

    /// Waits until one of these clusters leads to addresses of `allowed` and to no other: what other clusters
    /// lead to is another Service's.
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
                    Ok(found) if found.values().any(|all| all.iter().all(|one| allowed.contains(one))) => {
                        Look::Ready(())
                    }
                    Ok(found) => Look::NotYet(in_words(&found)),
                },
            });
        Ok(waited.await?)
    }

    /// What it answers to a GET of this path (Envoy's documentation, "Administration interface").
    pub async fn get(&self, path: &'static str) -> Result<String, EnvoyError> {
        let pod = self.pod.clone();
        match self.http.get(path, LONGEST, READ).await {
            Ok(body) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(PodHttpError::Way(source)) => Err(EnvoyError::Forward { pod, source }),
            Err(PodHttpError::TooLong) => Err(EnvoyError::TooLong { pod, path }),
            Err(source) => Err(EnvoyError::Read { pod, path, source }),
        }
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

/// The addresses off the pod's loopback, of those of these clusters that have any.
fn upstreams(
    text: &str,
    wanted: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<String>>, serde_json::Error> {
    let all: Clusters = serde_json::from_str(text)?;
    let clusters = all.cluster_statuses.into_iter().filter(|cluster| wanted.contains(&cluster.name));
    let off = clusters.map(|cluster| {
        let sockets = cluster.host_statuses.into_iter().filter_map(|host| host.address.socket_address);
        let addresses = sockets.map(|socket| socket.address);
        let off = addresses.filter(|address| !address.starts_with("127.") && address != "::1");
        (cluster.name, off.collect::<Vec<_>>())
    });
    Ok(off.filter(|(_, addresses)| !addresses.is_empty()).collect())
}

fn in_words(found: &BTreeMap<String, Vec<String>>) -> String {
    let each = found.iter().map(|(cluster, all)| format!("cluster `{cluster}` leads to {}", all.join(", ")));
    if found.is_empty() {
        "none of its clusters leads off the pod".into()
    } else {
        each.collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API server that answers everything like that.
    fn refusing(status: &str, message: &str) -> u16 {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (code, reason) = status.split_once(' ').unwrap();
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code.parse::<u16>().unwrap(),
        })
        .to_string();
        let answer =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn why_the_way_to_an_envoy_is_barred_is_told() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let message = "pods \"web-0\" is forbidden: cannot create resource \"pods/portforward\"";
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{{name: u, user: {{}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
            refusing("403 Forbidden", message)
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let kube = Kube::connect(&kubeconfig, None).await.unwrap();
        let backend = Backend { namespace: "shop".into(), pod: "web-0".into(), ..Backend::default() };
        let admin = Admin::of(&kube, &backend, 9901);
        let error = admin.stats().await.unwrap_err();
        assert!(error.is_forbidden(), "{error:?}");
        let told = chain(&error);
        let tried = "the admin interface of Envoy in pod web-0 is not reached: could not open the way to port \
                     9901 of pod shop/web-0: ";
        assert!(told.starts_with(tried) && told.contains("403"), "{told}");
    }

    #[test]
    fn upstreams_are_the_addresses_off_the_pod_of_the_clusters_that_are_asked_for() {
        let clusters = r#"{"cluster_statuses":[
            {"name":"spire_agent","host_statuses":[{"address":{"pipe":{"path":"/run/a.sock"}}}]},
            {"name":"admin","host_statuses":[{"address":{"socket_address":{"address":"127.0.0.1","port_value":9901}}}]},
            {"name":"tracing","host_statuses":[{"address":{"socket_address":{"address":"10.244.0.8","port_value":4317}}}]},
            {"name":"backend","host_statuses":[{"address":{"socket_address":{"address":"10.244.0.9","port_value":9001}}}]},
            {"name":"empty"}]}"#;
        let wanted = ["backend", "admin", "empty"].map(ToOwned::to_owned).into();
        let found = upstreams(clusters, &wanted).unwrap();
        assert_eq!(found, [("backend".to_owned(), vec!["10.244.0.9".to_owned()])].into());
        assert_eq!(in_words(&found), "cluster `backend` leads to 10.244.0.9");
        assert!(upstreams("<html>", &wanted).is_err());
    }
}
