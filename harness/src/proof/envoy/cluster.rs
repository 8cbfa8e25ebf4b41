//! The clusters of an Envoy: what each is counted by, where it may lead, and which of them serve Envoy
//! itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::json::{items, named, secrets, text};
use super::listener::is_loopback;
use super::names;

/// Where a cluster says what its HTTP connections are like, and which filters stand before them.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// What its counters are named by: `cluster.<stat>.` (Envoy's documentation, "Cluster manager":
    /// Statistics).
    pub(super) stat: String,
    /// Of an aggregate or composite cluster: those that it chooses from. They count what they forward, not
    /// it.
    pub(super) among: Vec<String>,
    /// It has endpoints of its own, and some of them are on other machines or pods, or may be.
    pub(super) leaves: bool,
    /// It leads to a listener of this same Envoy, by an internal address.
    pub(super) internal: bool,
    /// The ports that it leads to on this pod's own loopback.
    pub(super) local: BTreeSet<u16>,
    /// What it forwards goes through no pool of connections that is known to count (`upstream_config`).
    pub(super) uncounted: bool,
    /// `HttpProtocolOptions`: filters and mirrors of its own.
    pub(super) http: Value,
    /// The names of the secrets that SDS has to bring before it connects.
    pub(super) secrets: BTreeSet<String>,
}

impl Cluster {
    pub(super) fn read(cluster: &Value) -> Self {
        let alt = text(cluster, "alt_stat_name");
        let stat =
            names::scope(if alt.is_empty() { cluster["name"].as_str().unwrap_or_default() } else { &alt });
        let among = &cluster["cluster_type"]["typed_config"]["clusters"];
        // An aggregate cluster lists names, a composite one objects with a name.
        let among: Vec<_> = items(among)
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .chain(named(among, "name"))
            .collect();
        let has_endpoints = among.is_empty() && !is_found_by_request(cluster);
        Self {
            stat,
            leaves: has_endpoints && may_leave(cluster),
            among,
            internal: endpoints(cluster).any(|one| one.pointer("/address/envoy_internal_address").is_some()),
            local: local_ports(cluster),
            uncounted: has_own_pool(cluster),
            http: cluster["typed_extension_protocol_options"][HTTP_OPTIONS].clone(),
            secrets: secrets(cluster),
        }
    }
}

fn has_own_pool(cluster: &Value) -> bool {
    let kind = cluster["upstream_config"]["typed_config"]["@type"].as_str().unwrap_or_default();
    let counts = ["generic", "http", "tcp"].map(|pool| format!("envoy.extensions.upstreams.http.{pool}.v3."));
    cluster.get("upstream_config").is_some()
        && !counts.iter().any(|counting| kind.contains(counting.as_str()))
}

/// Whether it learns its endpoints of the requests: it has none before.
fn is_found_by_request(cluster: &Value) -> bool {
    let kind = cluster["cluster_type"]["typed_config"]["@type"].as_str().unwrap_or_default();
    cluster["type"] == "ORIGINAL_DST"
        || kind.contains(".original_dst.")
        || kind.contains(".dynamic_forward_proxy.")
}

fn endpoints(cluster: &Value) -> impl Iterator<Item = &Value> {
    let localities = items(&cluster["load_assignment"]["endpoints"]);
    localities.flat_map(|one| items(&one["lb_endpoints"])).filter_map(|one| one.get("endpoint"))
}

fn local_ports(cluster: &Value) -> BTreeSet<u16> {
    let sockets = endpoints(cluster).filter_map(|one| one.pointer("/address/socket_address"));
    let local = sockets.filter(|socket| {
        let host = socket["address"].as_str().unwrap_or_default();
        host == "localhost" || is_loopback(host)
    });
    local.filter_map(|socket| u16::try_from(socket["port_value"].as_u64()?).ok()).collect()
}

/// Whether a cluster's endpoints may be off the pod: a name may lead anywhere, an address says it itself.
fn may_leave(cluster: &Value) -> bool {
    let mut addresses = endpoints(cluster).filter_map(|one| one.pointer("/address/socket_address/address"));
    let off = |address: &str| address != "localhost" && !is_loopback(address);
    cluster.pointer("/load_assignment/endpoints").is_none()
        || addresses.any(|one| one.as_str().is_some_and(off))
}

/// Finds the clusters that a gRPC or HTTP service of Envoy's own names, and those that requests are
/// mirrored to.
pub(super) fn servants(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| servants(one, found)),
        Value::Object(fields) => {
            // An HttpUri (envoy.config.core.v3), under whatever name: JWKS, authorization, tokens, traces.
            if value["uri"].is_string() {
                found.insert(text(value, "cluster"));
            }
            for (key, value) in fields {
                match key.as_str() {
                    "envoy_grpc" => drop(found.insert(text(value, "cluster_name"))),
                    "collector_cluster" | "tcp_cluster_name" => {
                        found.extend(value.as_str().map(ToOwned::to_owned));
                    }
                    "request_mirror_policies" => found.extend(named(value, "cluster")),
                    _ => {}
                }
                servants(value, found);
            }
        }
        _ => {}
    }
}
