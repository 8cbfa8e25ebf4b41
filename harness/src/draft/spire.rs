//! What the chart says of SPIRE: the agent's socket that its Envoys ask, and a SPIRE of its own.

use serde_json::Value;

use super::sources::{Config, Workload};
use super::{list, string, walk};

/// The agent's socket on the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// The folder, and the socket's name in it; `None` where the chart does not say it.
    pub(super) path: Option<(String, String)>,
    /// What of it the chart does not say, or says otherwise than the scenario can; a line each.
    pub(super) remarks: Vec<String>,
}

/// The name that the agent's socket has where nothing else is said.
pub(super) const SOCKET: &str = "agent.sock";

/// The socket on the host, by the mounts of the containers that run the Envoys.
pub(super) fn socket(configs: &[Config]) -> Socket {
    let (mut paths, mut remarks): (Vec<String>, Vec<String>) = (vec![], vec![]);
    for config in configs {
        let Some(path) = asked(&config.bootstrap) else { continue };
        match config.workload.on_host(config.container, &path) {
            Ok(host) if paths.contains(&host) => {}
            Ok(host) => paths.push(host),
            Err(why) => remarks.push(format!("{}: {path} is not on the host: {why}", config.place)),
        }
    }
    remarks.extend(paths.iter().skip(1).map(|path| format!("another Envoy asks {path}")));
    remarks.dedup();
    let path = paths.first().and_then(|path| path.rsplit_once('/'));
    Socket { path: path.map(|(folder, file)| (folder.into(), file.into())), remarks }
}

/// The path of the socket that an Envoy asks for its secrets: of the cluster that its SDS names, or of the
/// first that leads to a socket.
fn asked(bootstrap: &Value) -> Option<String> {
    let mut names = vec![];
    let mut path = None;
    walk(bootstrap, &mut |key, value| {
        if key == "sds_config" {
            for service in list(&value["api_config_source"]["grpc_services"]) {
                names.extend(service["envoy_grpc"]["cluster_name"].as_str());
                let uri = service["google_grpc"]["target_uri"].as_str();
                let uri = uri.and_then(|uri| uri.strip_prefix("unix:"));
                path = path.take().or(uri.map(|uri| format!("/{}", uri.trim_start_matches('/'))));
            }
        }
    });
    let clusters = || list(&bootstrap["static_resources"]["clusters"]);
    let of_sds = |cluster: &&Value| names.iter().any(|name| cluster["name"] == *name);
    path.or_else(|| clusters().filter(of_sds).find_map(pipe)).or_else(|| clusters().find_map(pipe))
}

fn pipe(cluster: &Value) -> Option<String> {
    let mut path = None;
    walk(cluster, &mut |key, value| {
        if key == "pipe" && path.is_none() {
            path = value["path"].as_str().map(ToOwned::to_owned);
        }
    });
    path
}

/// A SPIRE that the chart brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) namespace: String,
    /// Its StatefulSet or Deployment.
    pub(super) server: String,
    /// The server's container.
    pub(super) container: String,
    /// Whether its agent is in the chart too.
    pub(super) agent: bool,
}

/// The server that is among the workloads.
pub(super) fn own(workloads: &[Workload]) -> Option<Own> {
    let find = |program: &str| {
        workloads.iter().find_map(|workload| {
            Some((workload, workload.containers().find(|container| runs(container, program))?))
        })
    };
    let (workload, container) = find("spire-server")?;
    Some(Own {
        namespace: workload.namespace.into(),
        server: string(&workload.object["metadata"]["name"]),
        container: string(&container["name"]),
        agent: find("spire-agent").is_some(),
    })
}

/// By its image, or by its command.
fn runs(container: &Value, program: &str) -> bool {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let image = container["image"].as_str().map(last).unwrap_or_default();
    let command = container["command"][0].as_str().map(last);
    image.split([':', '@']).next() == Some(program) || command.as_deref() == Some(program)
}
