//! The listeners of an Envoy: where each listens, and what it is counted by.

use serde_json::Value;

use super::json::{items, text, typed};
use super::names;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) name: String,
    /// Address and TCP port; a pipe and UDP have none.
    addresses: Vec<(String, u16)>,
    /// What its counters are named by: `listener.<stat>.` (Envoy's documentation, "Listener": Statistics).
    pub(super) stat: String,
    pub(super) chains: Vec<Value>,
    /// It only takes connections that another listener hands it (`bind_to_port: false`).
    unbound: bool,
    /// Its chains come from a discovery service of their own (`fcds_config`) and are not in the dump.
    pub(super) discovers: bool,
    /// It is being made, or replaced by another of its name.
    pub(super) warming: bool,
    /// The filters that see a connection before a chain is chosen.
    pub(super) before: Vec<Value>,
}

impl Listener {
    /// Reads a `ListenersConfigDump` (envoy.admin.v3).
    pub(super) fn read_all(config: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for one in items(&config["static_listeners"]) {
            all.extend(one.get("listener").map(|listener| Self::read(listener, false)));
        }
        for one in items(&config["dynamic_listeners"]) {
            for (state, warming) in [("active_state", false), ("warming_state", true)] {
                all.extend(one[state].get("listener").map(|listener| Self::read(listener, warming)));
            }
        }
        all
    }

    fn read(listener: &Value, warming: bool) -> Self {
        let name = text(listener, "name");
        let more = items(&listener["additional_addresses"]).map(|one| &one["address"]);
        let addresses = std::iter::once(&listener["address"]).chain(more).filter_map(socket).collect();
        let prefix = text(listener, "stat_prefix");
        let stat = if prefix.is_empty() { in_stats(&listener["address"], &name) } else { prefix };
        let fallback = listener.get("default_filter_chain").into_iter();
        Self {
            name,
            addresses,
            stat: names::scope(&stat),
            chains: items(&listener["filter_chains"]).chain(fallback).cloned().collect(),
            unbound: listener["bind_to_port"] == false || listener["deprecated_v1"]["bind_to_port"] == false,
            discovers: listener.get("fcds_config").is_some(),
            warming,
            before: items(&listener["listener_filters"]).cloned().collect(),
        }
    }

    /// Whether it takes TCP connections that come from other machines or pods to this port.
    pub(super) fn is_at(&self, port: u16) -> bool {
        !self.unbound && self.addresses.iter().any(|(address, at)| *at == port && !is_loopback(address))
    }

    /// Whether it takes TCP connections that come from this pod itself, over its loopback, to this port.
    pub(super) fn is_behind(&self, port: u16) -> bool {
        let local = |address: &str| is_loopback(address) || ["0.0.0.0", "::"].contains(&address);
        self.addresses.iter().any(|(address, at)| *at == port && local(address))
    }

    pub(super) fn in_words(&self) -> String {
        let at: Vec<_> = self.addresses.iter().map(|(address, port)| format!("{address}:{port}")).collect();
        let name = if self.name.is_empty() { "one".into() } else { format!("`{}`", self.name) };
        let unbound = if self.unbound { ", to which it is not bound" } else { "" };
        if at.is_empty() { name } else { format!("{name} on {}{unbound}", at.join(" and ")) }
    }
}

/// Whether connections of this filter chain are TLS, also where another socket wraps that of TLS (`tap`,
/// `tcp_stats`, `proxy_protocol`): the counters of TLS are the listener's all the same.
pub(super) fn is_tls(chain: &Value) -> bool {
    let mut socket = &chain["transport_socket"];
    loop {
        let (kind, config) = typed(&socket["typed_config"]);
        if kind.ends_with(".DownstreamTlsContext") || kind.contains(".starttls.") {
            return true;
        }
        match config.get("transport_socket") {
            Some(inner) => socket = inner,
            None => return false,
        }
    }
}

/// The first address as Envoy prints it: an IPv6 one in brackets and in its short form, a pipe by its path.
/// The others of `additional_addresses` are counted with it.
fn in_stats(address: &Value, name: &str) -> String {
    if let Some(socket) = address.get("socket_address") {
        let (host, port) = (text(socket, "address"), socket["port_value"].as_u64().unwrap_or_default());
        return match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(host)) => format!("[{host}]:{port}"),
            _ => format!("{host}:{port}"),
        };
    }
    address.pointer("/pipe/path").and_then(Value::as_str).unwrap_or(name).to_owned()
}

fn socket(address: &Value) -> Option<(String, u16)> {
    let socket = address.get("socket_address").filter(|socket| socket["protocol"] != "UDP")?;
    let port = socket["port_value"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    Some((text(socket, "address"), port))
}

pub(super) fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}
