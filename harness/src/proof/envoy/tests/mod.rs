//! An Envoy in a few lines: one TLS listener on port 9001 whose connection manager `in` routes all to
//! cluster `app`. Each test changes what it is about. The names of counters are those that an Envoy 1.40
//! with such a configuration lists.

#![expect(clippy::needless_pass_by_value, reason = "a `json!` that is written in place needs no `&`")]

mod aside;
mod between;
mod clusters;
mod doubt;
mod filters;
mod fuzz;
mod listeners;
mod marks;
mod property;
mod ready;
mod routes;
mod shared;

use serde_json::{Value, json};

use super::{ConfigError, Envoy, Happened, Meter, Stats};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";

/// What `/stats` lists besides, where such filters are in it.
const DECIDERS: [&str; 4] = [
    "http.in.ext_authz.denied",
    "http.in.ext_authz.error",
    "http.in.ext_authz.failure_mode_allowed",
    "http.in.jwt_authn.denied",
];

/// What `/stats` lists of [`Dump::default`], all at zero.
const COUNTERS: [&str; 10] = [
    "listener.0.0.0.0_9001.no_filter_chain_match",
    "listener.0.0.0.0_9001.downstream_cx_total",
    "listener.0.0.0.0_9001.ssl.fail_verify_no_cert",
    "listener.0.0.0.0_9001.ssl.fail_verify_san",
    "listener.0.0.0.0_9001.ssl.fail_verify_error",
    "listener.0.0.0.0_9001.ssl.connection_error",
    "http.in.downstream_rq_total",
    "cluster.app.upstream_rq_total",
    "cluster.app.upstream_rq_retry",
    "cluster.other.upstream_rq_total",
];

struct Dump {
    bootstrap: Value,
    clusters: Vec<Value>,
    listeners: Vec<Value>,
    dynamic: Vec<Value>,
    routes: Vec<Value>,
    extensions: Vec<Value>,
}

impl Default for Dump {
    fn default() -> Self {
        Self {
            bootstrap: json!({}),
            clusters: vec![json!({"name": "app"}), json!({"name": "other"})],
            listeners: vec![listener("0.0.0.0", 9001, vec![hcm(json!({}))])],
            dynamic: vec![],
            routes: vec![],
            extensions: vec![],
        }
    }
}

impl Dump {
    /// The default one whose connection manager is changed.
    fn http(patch: Value) -> Self {
        Self { listeners: vec![listener("0.0.0.0", 9001, vec![hcm(patch)])], ..Self::default() }
    }

    /// The default one with this filter before the router.
    fn filter(filter: Value) -> Self {
        Self::http(json!({"http_filters": [filter, router(json!({}))]}))
    }

    /// The default one with these routes.
    fn routes(routes: Value) -> Self {
        Self::http(
            json!({"route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}}),
        )
    }

    /// The default one with these network filters.
    fn network(filters: Vec<Value>) -> Self {
        Self { listeners: vec![listener("0.0.0.0", 9001, filters)], ..Self::default() }
    }

    fn cluster(mut self, cluster: Value) -> Self {
        self.clusters.retain(|one| one["name"] != cluster["name"]);
        self.clusters.push(cluster);
        self
    }

    fn bootstrap(mut self, bootstrap: Value) -> Self {
        self.bootstrap = bootstrap;
        self
    }

    fn text(&self) -> String {
        let wrap = |all: &[Value], inner: &str| -> Vec<Value> {
            all.iter().map(|one| json!({inner: one})).collect()
        };
        let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
        json!({"configs": [
            {"@type": kind("Bootstrap"), "bootstrap": self.bootstrap},
            {"@type": kind("Clusters"), "static_clusters": wrap(&self.clusters, "cluster")},
            {"@type": kind("Ecds"), "ecds_filters": wrap(&self.extensions, "ecds_filter")},
            {
                "@type": kind("Listeners"),
                "static_listeners": wrap(&self.listeners, "listener"),
                "dynamic_listeners": self.dynamic,
            },
            {"@type": kind("Routes"), "dynamic_route_configs": wrap(&self.routes, "route_config")},
            {"@type": kind("Secrets")},
        ]})
        .to_string()
    }

    fn read(&self) -> Envoy {
        Envoy::read(&self.text()).unwrap()
    }

    fn meter(&self) -> Meter {
        self.read().at(9001, None).unwrap()
    }

    /// Why port 9001 of it cannot be read.
    fn why_not(&self) -> String {
        match self.read().at(9001, None).unwrap_err() {
            ConfigError::Unexplained(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => *base = patch,
    }
}

fn tls() -> Value {
    let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    json!({"name": "tls", "typed_config": {"@type": kind}})
}

fn listener(address: &str, port: u16, filters: Vec<Value>) -> Value {
    json!({
        "name": format!("to-{port}"),
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": filters, "transport_socket": tls()}],
    })
}

/// A network filter.
fn network(package: &str, mut config: Value) -> Value {
    merge(&mut config, json!({"@type": format!("{NETWORK}.{package}.v3.Config")}));
    json!({"name": package, "typed_config": config})
}

/// The connection manager `in` with a router and one route to `app`, changed by a merge patch.
fn hcm(patch: Value) -> Value {
    let mut config = json!({
        "stat_prefix": "in",
        "http_filters": [router(json!({}))],
        "route_config": {"name": "local", "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "app"}},
            ]},
        ]},
    });
    merge(&mut config, patch);
    network("http_connection_manager", config)
}

/// An HTTP filter.
fn http(package: &str, mut config: Value) -> Value {
    merge(&mut config, json!({"@type": format!("{HTTP}.{package}.v3.Config")}));
    json!({"name": package, "typed_config": config})
}

fn router(config: Value) -> Value {
    http("router", config)
}

fn tcp(config: Value) -> Value {
    network("tcp_proxy", config)
}

/// [`COUNTERS`] with these values.
fn stats(values: &[(&str, u64)]) -> Stats {
    COUNTERS.iter().map(|name| (*name, 0)).chain(values.iter().copied()).collect()
}

/// What happened when these counters moved, of those that were all there at zero.
fn happened(meter: &Meter, moved: &[(&str, u64)]) -> Happened {
    let deciders = DECIDERS.map(|name| (name, 0));
    let before: Vec<_> = deciders.into_iter().chain(moved.iter().map(|(name, _)| (*name, 0))).collect();
    let after: Vec<_> = deciders.iter().chain(moved).copied().collect();
    meter.between(&stats(&before), &stats(&after)).unwrap()
}

/// What keeps from saying what happened, where nothing moved.
fn missing(meter: &Meter) -> String {
    meter.between(&stats(&[]), &stats(&[])).unwrap_err()
}
