//! The network filters of a chain and the HTTP filters of a connection manager or a cluster: which of them
//! count what, and what an unknown one takes away from what can be told.
//!
//! The names of counters are those of Envoy's documentation ("HTTP connection manager", "Role Based Access
//! Control", "TCP proxy": section Statistics of each).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::error::ConfigError;
use super::json::{items, mentions, named, text, typed};
use super::marks::Marks;
use super::names;
use crate::scenario::Kind;

/// HTTP filters that neither answer with 2xx themselves nor change anything about another's answer that a
/// client can see.
const PLAIN: &[&str] = &[
    "buffer",
    "local_ratelimit",
    "ratelimit",
    "csrf",
    "header_to_metadata",
    "grpc_stats",
    "set_metadata",
    "set_filter_state",
    "upstream_codec",
];
/// Those that may answer with 2xx themselves and are plain otherwise. A fault may: its status is whatever the
/// configuration, or with `header_abort` the client, says.
const SERVING: &[&str] = &["health_check", "cors", "fault"];
/// Those that may answer themselves or change another's answer, but send requests nowhere but to a service
/// that their configuration names in the common way.
const CHANGING: &[&str] = &[
    "adaptive_concurrency",
    "admission_control",
    "api_key_auth",
    "bandwidth_limit",
    "basic_auth",
    "cdn_loop",
    "compressor",
    "credential_injector",
    "custom_response",
    "decompressor",
    "ext_authz",
    "ext_proc",
    "grpc_field_extraction",
    "grpc_http1_bridge",
    "grpc_http1_reverse_bridge",
    "grpc_json_transcoder",
    "grpc_web",
    "header_mutation",
    "json_to_metadata",
    "oauth2",
    "rate_limit_quota",
    "stateful_session",
];
/// Those among them that may answer themselves after the request was forwarded.
const REPLACING: &[&str] =
    &["custom_response", "ext_proc", "grpc_http1_reverse_bridge", "grpc_json_transcoder"];
/// What a Lua script must have to send a request of its own, or to be other than what the dump shows.
const REACHES_OUT: &[&str] = &["httpcall", "require", "filename", "environment_variable"];

/// Filter state by which a TCP proxy's cluster is chosen (Envoy's documentation, "TCP proxy": Dynamic cluster
/// selection).
const CHOSEN_CLUSTER: &str = "envoy.tcp_proxy.cluster";

/// A network filter.
pub(super) enum Network<'a> {
    /// The HTTP connection manager.
    Http(&'a Value),
    /// A TCP proxy, and the clusters that it forwards to.
    Tcp(BTreeSet<String>),
    /// Role based access control of connections.
    Rbac { denied: String },
    /// It forwards nothing itself.
    Transparent,
    /// It forwards nothing itself, but says of each connection to which cluster the TCP proxy does.
    Chooser,
}

/// `rbac` of `envoy.extensions.filters.http.rbac.v3.RBAC`, where the rest is `http`; nothing of any other's.
fn package<'a>(kind: &'a str, of: &str) -> &'a str {
    let inner = kind.strip_prefix("envoy.extensions.filters.").and_then(|rest| rest.strip_prefix(of));
    inner
        .and_then(|rest| rest.strip_prefix('.')?.split_once(".v3."))
        .map(|(name, _)| name)
        .unwrap_or_default()
}

/// What a network filter does.
///
/// # Errors
/// Nobody knows of this filter what it forwards.
pub(super) fn network(filter: &Value) -> Result<Network<'_>, ConfigError> {
    let (kind, config) = typed(&filter["typed_config"]);
    let name = text(filter, "name");
    let unexplained = |why: &str| {
        Err(ConfigError::Unexplained(format!(
            "the network filter `{name}` ({kind}) {why}: what it forwards cannot be counted"
        )))
    };
    Ok(match package(kind, "network") {
        "http_connection_manager" => Network::Http(config),
        "tcp_proxy" => {
            let one = Some(text(config, "cluster")).filter(|name| !name.is_empty());
            let all: BTreeSet<_> =
                named(&config["weighted_clusters"]["clusters"], "name").chain(one).collect();
            if all.is_empty() {
                return unexplained("names no cluster");
            }
            Network::Tcp(all)
        }
        "rbac" => {
            Network::Rbac { denied: names::of_filter(&text(config, "stat_prefix"), "rbac", "", "denied") }
        }
        "set_filter_state" if mentions(config, CHOSEN_CLUSTER) => Network::Chooser,
        "sni_cluster" => Network::Chooser,
        "connection_limit" | "local_ratelimit" | "ratelimit" | "ext_authz" | "set_filter_state" => {
            Network::Transparent
        }
        _ => return unexplained("is not known here"),
    })
}

/// Why a listener filter makes it doubtful where connections are forwarded.
pub(super) fn before_a_chain(filter: &Value) -> Option<String> {
    let (kind, config) = typed(&filter["typed_config"]);
    let known = match package(kind, "listener") {
        "tls_inspector" | "http_inspector" | "original_dst" | "original_src" | "proxy_protocol"
        | "local_ratelimit" => true,
        "set_filter_state" => !mentions(config, CHOSEN_CLUSTER),
        _ => false,
    };
    let name = text(filter, "name");
    (!known).then(|| format!("the listener filter `{name}` ({kind}) may choose where connections go"))
}

/// What the HTTP filters of one place make of what can be told there.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// Counters of requests that a filter denied, by what denies: a route's own policy (`RBACPerRoute`) is
    /// counted by the filter's, whatever prefix it names.
    pub(super) denied: BTreeMap<Kind, BTreeSet<String>>,
    /// Those of requests that a policy allowed.
    pub(super) allowed: BTreeSet<String>,
    /// Those of requests that were let in though their authorizer gave no answer.
    pub(super) opened: BTreeSet<String>,
    /// Some policy, a filter's or a route's, is enforced.
    pub(super) denies: bool,
    /// RBAC filters that are there and have rules, but are `disabled` where no route wakes them.
    asleep: BTreeSet<String>,
    pub(super) marks: Marks,
    /// Filters that may forward requests themselves, to whatever cluster.
    pub(super) strays: BTreeSet<String>,
}

impl Filters {
    /// A filter of a chain (`HttpFilter`), its discovered configuration in place. `prefix` is
    /// `http.<stat_prefix>`.
    pub(super) fn add(&mut self, prefix: &str, filter: &Value, config: &Value) {
        let name = text(filter, "name");
        let (kind, config) = typed(config);
        if kind == "envoy.extensions.common.matching.v3.ExtensionWithMatcher" {
            let inner = &config["extension_config"];
            return self.add(prefix, filter, &inner["typed_config"]);
        }
        match package(kind, "http") {
            "rbac" => {
                let of =
                    |counter| names::of_filter(prefix, "rbac", &text(config, "rules_stat_prefix"), counter);
                self.denied.entry(Kind::Denied).or_default().insert(of("denied"));
                self.allowed.insert(of("allowed"));
                if enforces(config) {
                    let asleep = filter["disabled"] == true;
                    self.denies |= !asleep;
                    self.asleep.extend(asleep.then_some(name));
                }
            }
            "router" => {
                for filter in items(&config["upstream_http_filters"]) {
                    self.add(prefix, filter, &filter["typed_config"]);
                }
                self.marks.time &= config["suppress_envoy_headers"] != true;
            }
            "jwt_authn" => {
                let own = text(config, "stat_prefix");
                let denied = names::of_filter(&names::scope(prefix), "jwt_authn", &own, "denied");
                self.denied.entry(Kind::JwtDenied).or_default().insert(denied);
                // Its denials have texts of their own.
                self.marks.denial = false;
            }
            package => {
                if package == "ext_authz" {
                    let of = |counter| {
                        names::of_filter(prefix, "ext_authz", &text(config, "stat_prefix"), counter)
                    };
                    self.denied.entry(Kind::AuthzDenied).or_default().insert(of("denied"));
                    self.denied.entry(Kind::AuthzError).or_default().insert(of("error"));
                    self.opened.insert(of("failure_mode_allowed"));
                }
                self.takes_away(package, &name, kind, config);
            }
        }
    }

    /// Configuration that a route, a virtual host or a whole route configuration has for filters.
    pub(super) fn add_at_route(&mut self, configs: &Value) {
        for (name, config) in configs.as_object().into_iter().flatten() {
            let (kind, outer) = typed(config);
            let wrapped = kind == "envoy.config.route.v3.FilterConfig";
            let (kind, config) = if wrapped { typed(&outer["config"]) } else { (kind, outer) };
            if wrapped && (outer["disabled"] == true || kind.is_empty()) {
                self.denies |= outer["disabled"] != true && self.asleep.contains(name);
                continue;
            }
            match package(kind, "http") {
                "rbac" => self.denies |= enforces(&config["rbac"]),
                // Which of the filter's requirements holds there: it counts as the filter does.
                "jwt_authn" => {}
                package => self.takes_away(package, name, kind, config),
            }
        }
    }

    fn takes_away(&mut self, package: &str, name: &str, kind: &str, config: &Value) {
        if PLAIN.contains(&package) {
            return;
        }
        self.marks.serves = true;
        if SERVING.contains(&package) {
            return;
        }
        self.marks.time = false;
        self.marks.denial = false;
        let stays = CHANGING.contains(&package)
            || package == "lua" && !REACHES_OUT.iter().any(|word| mentions(config, word));
        self.marks.replaces |= !stays || REPLACING.contains(&package);
        if !stays {
            self.strays.insert(format!("the HTTP filter `{name}` ({kind}) may forward requests itself"));
        }
    }
}

/// The longest `clock_skew_seconds` of the providers of any JWT filter in it; each has 60 where it does not
/// say (`envoy.extensions.filters.http.jwt_authn.v3.JwtProvider`).
pub(super) fn clock_skew(value: &Value) -> u64 {
    match value {
        Value::Array(all) => all.iter().map(clock_skew).max().unwrap_or_default(),
        Value::Object(fields) => {
            let (kind, config) = typed(value);
            let providers = config["providers"].as_object().filter(|_| package(kind, "http") == "jwt_authn");
            let skew = |provider: &Value| match &provider["clock_skew_seconds"] {
                Value::Number(seconds) if seconds.as_u64() != Some(0) => seconds.as_u64().unwrap_or(60),
                _ => 60,
            };
            let own = providers.into_iter().flat_map(|all| all.values()).map(skew);
            own.chain(fields.values().map(clock_skew)).max().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Whether an RBAC configuration has a policy that denies; one of shadow rules alone only counts.
fn enforces(rbac: &Value) -> bool {
    rbac.get("rules").is_some() || rbac.get("matcher").is_some()
}
