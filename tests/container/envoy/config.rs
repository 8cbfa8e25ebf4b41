//! Envoy's configuration: a listener for each port under test, all with the same applications behind them, and
//! the SDS files that they read.

use serde_json::{Value, json};

use super::credentials::Authority;

pub(crate) const ADMIN: u16 = 9901;
/// The applications of `nginx.conf`, on the loopback of Envoy's network namespace, as in a pod.
pub(crate) const APPLICATION: u16 = 8080;
pub(crate) const ANOTHER: u16 = 8081;
pub(crate) const AUTHORIZER: u16 = 8082;
/// Nothing listens there.
pub(crate) const DOWN: u16 = 9;
/// Published, and nothing listens there.
pub(crate) const NOBODY_HOME: u16 = 9999;
/// The container's own name, which leads to another address than its loopback.
pub(crate) const HOST: &str = "envoy-itself";
pub(crate) const FOLDER: &str = "/etc/envoy";
pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// One listener: what differs from a correct one, as JSON merge patches (RFC 7396). In all of it `~` stands for
/// something of this port's own, so that two ports have no name in common, and `~below` for the port before it.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) listener: Value,
    pub(crate) chain: Value,
    pub(crate) tls: Value,
    /// The paths of the SPIFFE IDs that are let in; with none, there is no SAN matcher.
    pub(crate) sans: &'static [&'static str],
    /// Network filters before the connection manager.
    pub(crate) network: Vec<Value>,
    pub(crate) hcm: Value,
    /// HTTP filters before the router.
    pub(crate) filters: Vec<Value>,
    pub(crate) router: Value,
    pub(crate) routes: Value,
    /// The cluster `~app`.
    pub(crate) app: Value,
    /// Clusters besides that.
    pub(crate) clusters: Vec<Value>,
}

impl Default for Port {
    fn default() -> Self {
        Self {
            listener: json!({}),
            chain: json!({}),
            tls: json!({}),
            sans: &["/friend", "/blocked"],
            network: vec![],
            hcm: json!({}),
            filters: vec![],
            router: json!({}),
            routes: json!([to("/", "~app")]),
            app: json!({}),
            clusters: vec![],
        }
    }
}

impl Port {
    /// Its listener and its clusters.
    fn json(&self, port: u16) -> (Value, Vec<Value>) {
        let all = json!({
            "listener": self.json_listener(port),
            "clusters": std::iter::once(merged(cluster("~app", APPLICATION), &self.app))
                .chain(self.clusters.iter().cloned())
                .collect::<Vec<_>>(),
        });
        let mut all: Value = serde_json::from_str(&own(&all.to_string(), port)).expect("it was JSON");
        let clusters = all["clusters"].as_array_mut().map(std::mem::take).unwrap_or_default();
        (all["listener"].take(), clusters)
    }

    fn json_listener(&self, port: u16) -> Value {
        let router = merged(json!({"@type": typed("filters.http.router.v3.Router")}), &self.router);
        let filters = self.filters.iter().cloned();
        let filters = filters.chain([json!({"name": "envoy.filters.http.router", "typed_config": router})]);
        let manager = json!({
            "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "~in",
            "route_config": {"name": "~routes", "virtual_hosts": [
                {"name": "app", "domains": ["*"], "routes": self.routes},
            ]},
            "http_filters": filters.collect::<Vec<_>>(),
        });
        let manager = json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": merged(manager, &self.hcm),
        });
        let network: Vec<_> = self.network.iter().cloned().chain([manager]).collect();
        let chain = json!({
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": self.tls()},
            "filters": network,
        });
        let listener = json!({
            "name": "~to",
            "address": address("0.0.0.0", port),
            "filter_chains": [merged(chain, &self.chain)],
        });
        merged(listener, &self.listener)
    }

    fn tls(&self) -> Value {
        let sans = self.sans.iter();
        let sans = sans.map(|path| json!({"san_type": "URI", "matcher": {"exact": spiffe(path)}}));
        let context = json!({
            "@type": typed("transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificate_sds_secret_configs": [sds("svid")],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": sans.collect::<Vec<_>>()},
                    "validation_context_sds_secret_config": sds("bundle"),
                },
            },
        });
        merged(context, &self.tls)
    }
}

/// `~` as this port's own.
pub(crate) fn own(text: &str, port: u16) -> String {
    text.replace("~below", &(port - 1).to_string()).replace('~', &format!("p{port}-"))
}

/// RFC 7396.
pub(crate) fn merged(mut base: Value, patch: &Value) -> Value {
    let (Some(fields), Value::Object(patch)) = (base.as_object_mut(), patch) else { return patch.clone() };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            let before = fields.remove(key).unwrap_or_else(|| json!({}));
            fields.insert(key.clone(), merged(before, value));
        }
    }
    base
}

pub(crate) fn spiffe(path: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}{path}")
}

/// An application, or whatever else listens on this port.
pub(crate) fn cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address("127.0.0.1", port)}}]},
        ]},
    })
}

/// A route from a prefix to a cluster.
pub(crate) fn to(prefix: &str, cluster: &str) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}})
}

/// An HTTP filter, by its package: `rbac`.
pub(crate) fn http(kind: &str, config: &Value) -> Value {
    extension("http", kind, config)
}

/// A network filter: `rbac.v3.RBAC`.
pub(crate) fn network(kind: &str, config: &Value) -> Value {
    extension("network", kind, config)
}

fn extension(family: &str, kind: &str, config: &Value) -> Value {
    let package = kind.split('.').next().unwrap_or_default();
    let own = json!({"@type": typed(&format!("filters.{family}.{kind}"))});
    json!({"name": format!("envoy.filters.{family}.{package}"), "typed_config": merged(own, config)})
}

/// Envoy's files, by their names in [`FOLDER`].
pub(crate) fn files(bootstrap: &Value, ports: &[(u16, Port)], authority: &Authority) -> Vec<(String, Value)> {
    let (listeners, clusters): (Vec<_>, Vec<_>) = ports.iter().map(|(port, what)| what.json(*port)).unzip();
    let envoy = json!({
        // SDS wants to be told who asks, also of a file.
        "node": {"id": "backend", "cluster": "container-tier"},
        "admin": {"address": address("0.0.0.0", ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters.concat()},
    });
    let certificate = |id: &str| {
        let svid = authority.svid(&spiffe(id));
        json!({"certificate_chain": {"inline_string": svid.chain}, "private_key": {"inline_string": svid.key}})
    };
    let bundle = json!({"trusted_ca": {"inline_string": authority.pem()}});
    let mut envoy = merged(envoy, bootstrap);
    let mut discovered = vec![];
    if bootstrap.get("dynamic_resources").is_some() {
        discovered = discover(&mut envoy);
    }
    let mut files = vec![
        ("envoy.json".into(), envoy),
        ("svid.json".into(), secret("svid", "tls_certificate", &certificate("/backend"))),
        ("friend.json".into(), secret("friend", "tls_certificate", &certificate("/friend"))),
        ("bundle.json".into(), secret("bundle", "validation_context", &bundle)),
    ];
    files.extend(discovered);
    files
}

/// What a bootstrap must have so that listeners, clusters and routes come by discovery, from files.
pub(crate) fn dynamic() -> Value {
    json!({"dynamic_resources": {"lds_config": source("lds"), "cds_config": source("cds")}})
}

fn source(file: &str) -> Value {
    json!({"resource_api_version": "V3", "path_config_source": {"path": format!("{FOLDER}/{file}.json")}})
}

/// Moves what is static to files of its own.
fn discover(envoy: &mut Value) -> Vec<(String, Value)> {
    let mut fixed = envoy["static_resources"].take();
    let resources = |kind: &str, all: Vec<Value>| {
        let of_kind = json!({"@type": format!("type.googleapis.com/envoy.config.{kind}")});
        json!({"resources": all.iter().map(|one| merged(of_kind.clone(), one)).collect::<Vec<_>>()})
    };
    let mut take = |key: &str| fixed[key].as_array_mut().map(std::mem::take).unwrap_or_default();
    let (mut listeners, clusters) = (take("listeners"), take("clusters"));
    let mut routes = vec![];
    for listener in &mut listeners {
        let filters = listener.pointer_mut("/filter_chains/0/filters").and_then(Value::as_array_mut);
        let manager = filters.and_then(|filters| filters.last_mut()).expect("a connection manager");
        let settings = manager["typed_config"].as_object_mut().expect("its configuration");
        let own = settings.remove("route_config").expect("its routes");
        let name = own["name"].as_str().expect("a name").to_owned();
        let rds = json!({"route_config_name": name, "config_source": source(&name)});
        settings.insert("rds".into(), rds);
        // A file of routes has one of them alone.
        routes.push((format!("{name}.json"), resources("route.v3.RouteConfiguration", vec![own])));
    }
    routes.push(("lds.json".into(), resources("listener.v3.Listener", listeners)));
    routes.push(("cds.json".into(), resources("cluster.v3.Cluster", clusters)));
    routes
}

/// The type of an extension's configuration.
pub(crate) fn typed(extension: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{extension}")
}

pub(crate) fn address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

pub(crate) fn sds(name: &str) -> Value {
    let path = format!("{FOLDER}/{name}.json");
    json!({"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": path}}})
}

fn secret(name: &str, kind: &str, content: &Value) -> Value {
    json!({"resources": [{
        "@type": typed("transport_sockets.tls.v3.Secret"),
        "name": name,
        kind: content,
    }]})
}
