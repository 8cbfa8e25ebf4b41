//! Envoy's configuration: a listener a variant under test, all with one application behind them, and the SDS
//! files that they read.

use serde_json::{Value, json};

use super::credentials::Authority;

pub(crate) const ADMIN: u16 = 9901;
/// nginx, on the loopback of Envoy's network namespace, as in a pod.
pub(crate) const APPLICATION: u16 = 8080;
/// Published, and nothing listens there.
pub(crate) const NOBODY_HOME: u16 = 9999;
pub(crate) const FOLDER: &str = "/etc/envoy";
pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// One listener; its defaults are a correct one's.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of Envoy's own")]
pub(crate) struct Listener {
    pub(crate) port: u16,
    pub(crate) require: bool,
    pub(crate) ca: bool,
    /// The paths of the SPIFFE IDs that are let in; with none, there is no SAN matcher.
    pub(crate) sans: &'static [&'static str],
    pub(crate) accept_untrusted: bool,
    /// Paths are normalised before the policy sees them.
    pub(crate) hardened: bool,
    pub(crate) policy: Option<Policy>,
}

/// The tutorial's policy, or a variant of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// GET alone.
    pub(crate) method: bool,
    /// `/profiles` as a folder; else as the beginning of a path, as in the tutorial.
    pub(crate) folder: bool,
}

impl Listener {
    pub(crate) fn correct(port: u16) -> Self {
        let sans = &["/ns/default/sa/default/frontend"];
        Self { port, require: true, ca: true, sans, accept_untrusted: false, hardened: true, policy: None }
    }

    /// What its counters' names begin with; the last one is its cluster's.
    pub(crate) fn counters(&self) -> [String; 3] {
        let port = self.port;
        [format!("listener.0.0.0.0_{port}."), format!("http.app-{port}."), format!("cluster.app-{port}.")]
    }

    pub(crate) fn cluster(&self) -> String {
        format!("app-{}", self.port)
    }

    fn json(&self) -> Value {
        let mut manager = json!({
            "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": self.cluster(),
            "route_config": {"virtual_hosts": [
                {"name": "app", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": self.cluster()}},
                ]},
            ]},
            "http_filters": self.policy.map(Policy::json).into_iter().chain([json!({
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": typed("filters.http.router.v3.Router")},
            })]).collect::<Vec<_>>(),
        });
        if self.hardened {
            manager["normalize_path"] = json!(true);
            manager["merge_slashes"] = json!(true);
            manager["path_with_escaped_slashes_action"] = json!("REJECT_REQUEST");
        }
        json!({
            "name": self.cluster(),
            "address": address("0.0.0.0", self.port),
            "filter_chains": [{
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": self.tls()},
                "filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
                ],
            }],
        })
    }

    fn tls(&self) -> Value {
        let mut common = json!({"tls_certificate_sds_secret_configs": [sds("svid")]});
        if self.ca {
            let sans =
                self.sans.iter().map(|path| json!({"san_type": "URI", "matcher": {"exact": spiffe(path)}}));
            let chain = if self.accept_untrusted { "ACCEPT_UNTRUSTED" } else { "VERIFY_TRUST_CHAIN" };
            common["combined_validation_context"] = json!({
                "default_validation_context": {
                    "match_typed_subject_alt_names": sans.collect::<Vec<_>>(),
                    "trust_chain_verification": chain,
                },
                "validation_context_sds_secret_config": sds("bundle"),
            });
        }
        json!({
            "@type": typed("transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": self.require,
            "common_tls_context": common,
        })
    }

    fn json_cluster(&self) -> Value {
        json!({
            "name": self.cluster(),
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": self.cluster(), "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address("127.0.0.1", APPLICATION)}}]},
            ]},
        })
    }
}

impl Policy {
    fn json(self) -> Value {
        let path = |matcher: Value| json!({"url_path": {"path": matcher}});
        let paths = if self.folder {
            vec![path(json!({"exact": "/profiles"})), path(json!({"prefix": "/profiles/"}))]
        } else {
            vec![path(json!({"prefix": "/profiles"}))]
        };
        let mut rules = vec![json!({"or_rules": {"rules": paths}})];
        if self.method {
            rules.push(json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}}));
        }
        let frontend = spiffe("/ns/default/sa/default/frontend");
        let frontend = json!({"authenticated": {"principal_name": {"exact": frontend}}});
        json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": typed("filters.http.rbac.v3.RBAC"),
                "rules": {"action": "ALLOW", "policies": {"general-rules": {
                    "permissions": [{"and_rules": {"rules": rules}}],
                    "principals": [frontend],
                }}},
            },
        })
    }
}

pub(crate) fn spiffe(path: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}{path}")
}

/// Envoy's files, by their names in [`FOLDER`].
pub(crate) fn files(listeners: &[Listener], authority: &Authority) -> [(&'static str, Value); 3] {
    let envoy = json!({
        // SDS wants to be told who asks, also of a file.
        "node": {"id": "backend", "cluster": "container-tier"},
        "admin": {"address": address("0.0.0.0", ADMIN)},
        "static_resources": {
            "listeners": listeners.iter().map(Listener::json).collect::<Vec<_>>(),
            "clusters": listeners.iter().map(Listener::json_cluster).collect::<Vec<_>>(),
        },
    });
    let svid = authority.svid(&spiffe("/ns/default/sa/default/backend"));
    let certificate = json!({
        "certificate_chain": {"inline_string": svid.chain},
        "private_key": {"inline_string": svid.key},
    });
    let bundle = json!({"trusted_ca": {"inline_string": authority.pem()}});
    [
        ("envoy.json", envoy),
        ("svid.json", secret("svid", "tls_certificate", &certificate)),
        ("bundle.json", secret("bundle", "validation_context", &bundle)),
    ]
}

/// The type of an extension's configuration.
fn typed(extension: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{extension}")
}

fn address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn sds(name: &str) -> Value {
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
