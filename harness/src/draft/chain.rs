//! What becomes of a request behind the handshake: filter by filter, then the route. Three answers and no
//! guess: a filter that is not known here ends what can be told.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Request, Truth, lets_through, matches, named};
use super::{is_type, list};

/// HTTP filters that turn nobody away, and change nothing that a policy or a route looks at.
const HARMLESS: [&str; 9] = [
    "router.v3.Router",
    "compressor.v3.Compressor",
    "decompressor.v3.Decompressor",
    "cors.v3.Cors",
    "grpc_stats.v3.FilterConfig",
    "grpc_web.v3.GrpcWeb",
    "header_to_metadata.v3.Config",
    "set_metadata.v3.Config",
    "tap.v3.Tap",
];

/// What the configuration says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every filter lets it through, and it is forwarded.
    Forwarded,
    /// Every filter lets it through, and the route itself answers with 200.
    Served,
    /// An HTTP RBAC filter answers 403.
    Denied,
    /// A network RBAC filter ends the connection.
    CutOff,
    /// This could not be read.
    Unknown(BTreeSet<String>),
}

/// What becomes of it. `authority` is that which it is sent with, `unread` what stands before the filters.
pub(super) fn outcome(
    filters: &[Value],
    unread: &BTreeSet<String>,
    authority: &str,
    request: Request,
) -> Outcome {
    // Seen and not read; what comes after may deny the request all the same.
    let mut unread = unread.clone();
    for filter in filters {
        if is_type(filter, "network.rbac.v3.RBAC") {
            match lets_through(filter, Request { http: None, ..request }) {
                Truth::Yes => {}
                Truth::No if unread.is_empty() => return Outcome::CutOff,
                Truth::No => unread.extend(["a network RBAC filter that cuts it off".to_owned()]),
                Truth::Unknown(what) => {
                    unread.extend(what.iter().map(|what| format!("{what} in a network RBAC filter")));
                }
            }
        } else if is_type(filter, "HttpConnectionManager") {
            return if unread.is_empty() {
                http(filter, authority, request)
            } else {
                Outcome::Unknown(unread)
            };
        } else {
            unread.insert(format!("the network filter {}", kind(filter)));
        }
    }
    unread.insert("a listener that is not HTTP".into());
    Outcome::Unknown(unread)
}

fn http(manager: &Value, authority: &str, request: Request) -> Outcome {
    let route = route(manager, authority, request);
    let mut unread = BTreeSet::new();
    for key in ["early_header_mutation_extensions", "original_ip_detection_extensions"] {
        if !manager[key].is_null() {
            return Outcome::Unknown([format!("`{key}`")].into());
        }
    }
    if let Some(key) = stray(manager, &route) {
        return Outcome::Unknown(
            [format!("`typed_per_filter_config` for `{key}`, which no filter is called")].into(),
        );
    }
    for filter in list(&manager["http_filters"]) {
        let name = filter["name"].as_str().unwrap_or_default();
        let own = &filter["typed_config"];
        let off = filter["disabled"] == true;
        let told = match per_route(&route, own, name, off) {
            Ok(None) => continue,
            Ok(Some(config)) if is_type(own, "http.rbac.v3.RBAC") => lets_through(config, request),
            Ok(Some(_)) if HARMLESS.iter().any(|known| is_type(own, known)) => continue,
            Ok(Some(_)) => {
                unread.insert(format!(
                    "the filter {}",
                    if own.is_null() { format!("`{name}`") } else { kind(own) }
                ));
                return Outcome::Unknown(unread);
            }
            Err(what) => Truth::Unknown(what),
        };
        match told {
            Truth::Yes => {}
            Truth::No if manager["local_reply_config"].is_null() => return Outcome::Denied,
            Truth::No => {
                unread.insert("what `local_reply_config` makes of a denial".into());
            }
            Truth::Unknown(what) => unread.extend(what),
        }
    }
    if unread.is_empty() { answered(&route) } else { Outcome::Unknown(unread) }
}

/// A route of a request, with all that it stands in, outermost first; `None` where no route takes it, which
/// is answered with 404; or why that cannot be told.
type Found<'a> = Result<Option<Vec<&'a Value>>, String>;

fn route<'a>(manager: &'a Value, authority: &str, request: Request) -> Found<'a> {
    let table = &manager["route_config"];
    let hosts = table["virtual_hosts"].as_array();
    let hosts = hosts.ok_or("routes that do not stand in the configuration")?;
    let rank = |domain: &str| {
        let domain = domain.to_ascii_lowercase();
        let authority = authority.to_ascii_lowercase();
        // Exact, then the longest suffix, then the longest prefix, then any (RouteConfiguration).
        match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(""), _) => Some((1, 0)),
            (Some(end), _) if authority.len() > end.len() && authority.ends_with(end) => Some((3, end.len())),
            (None, Some(start)) if authority.len() > start.len() && authority.starts_with(start) => {
                Some((2, start.len()))
            }
            (None, None) if domain == authority => Some((4, 0)),
            _ => None,
        }
    };
    let best = |host: &Value| list(&host["domains"]).filter_map(Value::as_str).filter_map(rank).max();
    let host = hosts.iter().filter_map(|host| Some((best(host)?, host))).max_by_key(|(rank, _)| *rank);
    let Some((_, host)) = host else { return Ok(None) };
    if !host["matcher"].is_null() {
        return Err("a route matcher tree".into());
    }
    for route in list(&host["routes"]) {
        match fits(&route["match"], request) {
            Truth::Yes => return Ok(Some(vec![table, host, route])),
            Truth::No => {}
            Truth::Unknown(what) => return Err(what.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }
    Ok(None)
}

fn fits(wanted: &Value, request: Request) -> Truth {
    let Some((_, path)) = request.http else { return Truth::unknown("a route") };
    let Some(wanted) = wanted.as_object() else { return Truth::unknown("a route without `match`") };
    Truth::all(wanted.iter().map(|(key, value)| match (key.as_str(), value.as_str()) {
        ("prefix", Some(prefix)) => matches("path", &serde_json::json!({"prefix": prefix}), path),
        ("path", Some(exact)) => matches("path", &serde_json::json!({"exact": exact}), path),
        ("path_separated_prefix", Some(prefix)) => {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')).into()
        }
        ("headers", _) => Truth::all(list(value).map(|one| lets_header(one, request))),
        // With a case of its own a path still matches as it is written.
        ("case_sensitive", _) => Truth::Yes,
        (other, _) => Truth::unknown(format!("a route by `{other}`")),
    }))
}

/// A header matcher of a route is one of a policy.
fn lets_header(header: &Value, request: Request) -> Truth {
    let policy = serde_json::json!({"permissions": [{"header": header}], "principals": [{"any": true}]});
    lets_through(&serde_json::json!({"rules": {"policies": {"route": policy}}}), request)
}

/// A filter's configuration for a route: the innermost that names it, else its own. `None`: it is off.
fn per_route<'a>(
    route: &Found<'a>,
    own: &'a Value,
    name: &str,
    off: bool,
) -> Result<Option<&'a Value>, BTreeSet<String>> {
    let own = if off { None } else { Some(own) };
    // Without a route the filter goes by its own; a route that cannot be told may say otherwise.
    let Some(places) = route.as_ref().map_err(|why| BTreeSet::from([why.clone()]))? else { return Ok(own) };
    let weighted = places.last().is_some_and(|route| {
        list(&route["route"]["weighted_clusters"]["clusters"])
            .any(|cluster| cluster["typed_per_filter_config"].is_object())
    });
    if weighted {
        return Err(["`typed_per_filter_config` of weighted clusters".to_owned()].into());
    }
    let told = |place: &&&'a Value| place["typed_per_filter_config"][name].is_object();
    let Some(config) = places.iter().rev().find(told).map(|place| &place["typed_per_filter_config"][name])
    else {
        return Ok(own);
    };
    let wrapped = is_type(config, "route.v3.FilterConfig");
    if wrapped && config["disabled"] == true {
        return Ok(None);
    }
    let config = if wrapped { &config["config"] } else { config };
    if is_type(config, "RBACPerRoute") {
        return Ok(Some(&config["rbac"]).filter(|rbac| rbac.is_object()));
    }
    if config["disabled"] == true { Ok(None) } else { Ok(Some(config)) }
}

/// A policy of the route that is laid under no filter's name: whether it counts is the Envoy version's.
fn stray<'a>(manager: &Value, route: &Found<'a>) -> Option<&'a String> {
    let places = route.as_ref().ok()?.as_ref()?;
    let configs = places.iter().filter_map(|place| place["typed_per_filter_config"].as_object()).flatten();
    let known = |key: &String| list(&manager["http_filters"]).any(|filter| filter["name"] == key.as_str());
    configs.map(|(key, _)| key).find(|key| !known(key))
}

/// What comes of a request that all filters let through.
fn answered(route: &Found) -> Outcome {
    let unknown = |what: &str| Outcome::Unknown([what.to_owned()].into());
    let place = match route {
        Err(why) => return unknown(why),
        Ok(None) => return unknown("no route takes the requests that are tried"),
        Ok(Some(places)) => places.last(),
    };
    match place {
        Some(route) if route["route"].is_object() => Outcome::Forwarded,
        Some(route) if route["direct_response"]["status"] == 200 => Outcome::Served,
        _ => unknown("a route that does not forward"),
    }
}

fn kind(filter: &Value) -> String {
    let kind = filter["@type"].as_str().unwrap_or("without a type");
    format!("`{}`", kind.rsplit('/').next().unwrap_or(kind).trim_start_matches("envoy.extensions.filters."))
}

/// What a chain's policies and routes name.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// SPIFFE IDs, or what else principals are.
    pub(super) principals: Vec<String>,
    /// Methods and paths of policies, then those that requests have where no policy names any.
    pub(super) methods: Vec<String>,
    pub(super) paths: Vec<String>,
    /// Where virtual hosts do not take every name: those that they take.
    pub(super) domains: Option<Vec<String>>,
    /// Where requests go, first of all the first route's.
    pub(super) clusters: Vec<String>,
    /// Whether any policy stands in it.
    pub(super) policies: bool,
}

/// All of it, each once.
pub(super) fn vocabulary(filters: &[Value]) -> Vocabulary {
    let mut words = Vocabulary::default();
    let mut routed = vec![];
    let mut domains = vec![];
    let add = |words: &mut Vocabulary, filter: &Value| {
        let found = named(filter);
        words.policies |= filter["rules"].is_object();
        for (into, found) in [
            (&mut words.principals, found.principals),
            (&mut words.methods, found.methods),
            (&mut words.paths, found.paths),
        ] {
            into.extend(found.into_iter().filter(|one| !into.contains(one)).collect::<Vec<_>>());
        }
    };
    for filter in filters {
        if is_type(filter, "rbac.v3.RBAC") {
            add(&mut words, filter);
        }
        list(&filter["http_filters"])
            .map(|filter| &filter["typed_config"])
            .filter(|config| is_type(config, "rbac.v3.RBAC"))
            .for_each(|config| add(&mut words, config));
        super::walk(&filter["route_config"], &mut |key, value| {
            if key == "rbac" {
                add(&mut words, value);
            }
        });
        for host in list(&filter["route_config"]["virtual_hosts"]) {
            domains.extend(list(&host["domains"]).filter_map(Value::as_str).map(ToOwned::to_owned));
            for route in list(&host["routes"]) {
                let wanted = &route["match"];
                let paths = ["path", "prefix", "path_separated_prefix"].map(|key| wanted[key].as_str());
                routed.extend(paths.into_iter().flatten().map(ToOwned::to_owned));
                let cluster = route["route"]["cluster"].as_str().map(ToOwned::to_owned);
                words.clusters.extend(cluster.filter(|name| !words.clusters.contains(name)));
            }
        }
    }
    words.domains = (!domains.is_empty() && !domains.iter().any(|domain| domain == "*")).then_some(domains);
    // `GET /` where nothing says otherwise.
    for path in routed.into_iter().chain(["/".to_owned()]) {
        if !words.paths.contains(&path) {
            words.paths.push(path);
        }
    }
    words.methods.sort_by_key(|method| method != "GET");
    if !words.methods.iter().any(|method| method == "GET") {
        words.methods.push("GET".into());
    }
    words.paths.retain(|path| is_plain(path));
    words.methods.retain(|method| method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'));
    words
}

/// A path that no proxy writes otherwise, and that a request can carry.
fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    path.starts_with('/') && path.bytes().all(plain) && !path.contains("//") && !dots
}
