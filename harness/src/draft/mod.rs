//! A scenario for a chart that has none yet, drafted from its rendered manifests: which listeners ask for
//! certificates, which Services lead to them, whom they admit. Text in, text out; not for what must come of a
//! request beyond what the chart itself says.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use text::text;

use crate::cluster::helm::documents;
use crate::spiffe_id::split;

/// Why no scenario can be drafted of a chart. Each message says what was looked for, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum DraftError {
    #[error("a document of the rendered manifests is not YAML: {problem}")]
    NotYaml { problem: String },
    #[error(
        "the chart has no Envoy listener with mTLS: {looked}\n\
         looked for: a ConfigMap with a YAML text that has `static_resources.listeners`, and in one of them \
         a filter chain whose\n\
         `transport_socket` is a DownstreamTlsContext\n\
         hint: does a value switch it on? --values FILE gives the chart its values"
    )]
    NoListener { looked: String },
    #[error(
        "{listener} proves no SPIFFE ID\n\
         looked for: `common_tls_context.tls_certificate_sds_secret_configs` with a name that starts with \
         `spiffe://`"
    )]
    NoIdentity { listener: String },
    #[error(
        "no Service leads to {listener}\n\
         looked for: a Service whose selector matches the labels of the pods that mount the ConfigMap, and \
         whose target port is that of the listener"
    )]
    NoService { listener: String },
    #[error("{first} and {second} prove identities of two trust domains, and a scenario has one")]
    TwoTrustDomains { first: String, second: String },
}

/// What the user says about the scenario.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the scenario.
    pub name: &'a str,
    /// As the scenario names it: relative to the project.
    pub chart: &'a str,
    /// Of the Helm release that the chart becomes.
    pub release: &'a str,
    /// Where the release goes.
    pub namespace: &'a str,
    /// The release's values; null for the chart's own.
    pub values: &'a Value,
}

/// A listener that asks for certificates, and all that its Envoy's configuration says about it.
#[derive(Debug)]
struct Listener {
    /// For messages.
    place: String,
    config_map: String,
    port: u64,
    /// As SPIFFE IDs.
    identity: String,
    required: bool,
    http2: bool,
    /// The SAN list; empty for any SVID that verifies.
    sans: Vec<String>,
    /// Matchers of the SAN list that name no single SPIFFE ID.
    other_sans: usize,
    rbac: Option<Policy>,
    /// The first domain, where the virtual hosts do not take every host name.
    domain: Option<String>,
    /// Where requests go.
    cluster: Option<String>,
    admin: Option<u64>,
    /// The directory of the SPIRE agent's socket.
    socket_dir: Option<String>,
}

#[derive(Debug, Default)]
struct Policy {
    principals: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    service: String,
    port: u64,
    /// Selectors of the registration entry.
    select: Vec<String>,
    listener: Listener,
}

/// The scenario's file.
pub fn draft(wanted: &Wanted, manifests: &str) -> Result<String, DraftError> {
    let objects = documents(manifests)
        .map(|document| {
            serde_saphyr::from_str(document).map_err(|e| DraftError::NotYaml { problem: e.to_string() })
        })
        .collect::<Result<Vec<Value>, _>>()?;
    let listeners = listeners(&objects)?;
    let mut taken = BTreeSet::new();
    let endpoints = listeners
        .into_iter()
        .map(|listener| endpoint(wanted, &objects, listener, &mut taken))
        .collect::<Result<Vec<_>, _>>()?;
    let trust_domain = trust_domain(&endpoints)?;
    Ok(text(wanted, &trust_domain, &endpoints))
}

fn listeners(objects: &[Value]) -> Result<Vec<Listener>, DraftError> {
    let (mut found, mut configs, mut plain) = (vec![], vec![], 0);
    let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    for map in maps.clone() {
        let name = string(&map["metadata"]["name"]);
        for (key, text) in map["data"].as_object().into_iter().flatten() {
            let Some(Ok(config)) = text.as_str().map(serde_saphyr::from_str::<Value>) else { continue };
            let Some(all) = config["static_resources"]["listeners"].as_array() else { continue };
            configs.push(format!("{name}/{key}"));
            for listener in all {
                let chains = listener["filter_chains"].as_array().into_iter().flatten();
                match chains
                    .into_iter()
                    .find(|chain| is_type(&chain["transport_socket"]["typed_config"], "DownstreamTlsContext"))
                {
                    Some(chain) => found.push(self::listener(&name, key, &config, listener, chain)?),
                    None => plain += 1,
                }
            }
        }
    }
    if found.is_empty() {
        let looked = match (maps.count(), configs.is_empty()) {
            (0, _) => "it makes no ConfigMap".into(),
            (maps, true) => format!("none of its {maps} ConfigMap(s) holds an Envoy configuration"),
            _ => format!("{} has {plain} listener(s), all without TLS", configs.join(", ")),
        };
        return Err(DraftError::NoListener { looked });
    }
    Ok(found)
}

fn listener(
    map: &str,
    key: &str,
    config: &Value,
    listener: &Value,
    chain: &Value,
) -> Result<Listener, DraftError> {
    let port = listener["address"]["socket_address"]["port_value"].as_u64().unwrap_or_default();
    let named = listener["name"].as_str().map(|name| format!(" `{name}`")).unwrap_or_default();
    let place = format!("listener{named} on port {port} (ConfigMap {map}, {key})");
    let tls = &chain["transport_socket"]["typed_config"];
    let common = &tls["common_tls_context"];
    let secrets = list(&common["tls_certificate_sds_secret_configs"]);
    let mut ids = secrets.filter_map(|secret| secret["name"].as_str());
    let identity = ids
        .find(|id| split(id).is_some())
        .ok_or_else(|| DraftError::NoIdentity { listener: place.clone() })?
        .to_owned();
    let matchers = matchers(common);
    let sans: Vec<_> = matchers
        .iter()
        .filter_map(|matcher| matcher["exact"].as_str())
        .filter(|san| split(san).is_some())
        .collect();
    let filters: Vec<_> =
        list(&chain["filters"]).flat_map(|filter| list(&filter["typed_config"]["http_filters"])).collect();
    let policy =
        filters.iter().map(|filter| &filter["typed_config"]).find(|config| is_type(config, "rbac.v3.RBAC"));
    let hosts: Vec<_> = list(&chain["filters"])
        .flat_map(|filter| list(&filter["typed_config"]["route_config"]["virtual_hosts"]))
        .collect();
    let domains: Vec<_> =
        hosts.iter().flat_map(|host| list(&host["domains"])).filter_map(Value::as_str).collect();
    let domain =
        if domains.contains(&"*") { None } else { domains.first().map(|domain| (*domain).to_owned()) };
    let mut clusters = hosts
        .iter()
        .flat_map(|host| list(&host["routes"]))
        .filter_map(|route| route["route"]["cluster"].as_str());
    Ok(Listener {
        config_map: map.into(),
        port,
        identity,
        required: tls["require_client_certificate"] == true,
        http2: list(&common["alpn_protocols"]).any(|protocol| protocol == "h2"),
        other_sans: matchers.len() - sans.len(),
        sans: sans.into_iter().map(ToOwned::to_owned).collect(),
        rbac: policy.map(self::policy),
        domain,
        cluster: clusters.next().map(ToOwned::to_owned),
        admin: config["admin"]["address"]["socket_address"]["port_value"].as_u64(),
        socket_dir: socket_dir(&config["static_resources"]["clusters"]),
        place,
    })
}

/// The SAN list, however it is written.
fn matchers(common_tls_context: &Value) -> Vec<&Value> {
    let contexts = [
        &common_tls_context["validation_context"],
        &common_tls_context["combined_validation_context"]["default_validation_context"],
    ];
    let matchers = contexts.into_iter().flat_map(|context| {
        let typed = list(&context["match_typed_subject_alt_names"]).map(|san| &san["matcher"]);
        typed.chain(list(&context["match_subject_alt_names"]))
    });
    matchers.collect()
}

/// The folder of the first socket that a cluster leads to: the SPIRE agent's.
fn socket_dir(clusters: &Value) -> Option<String> {
    let mut folder = None;
    walk(clusters, &mut |key, value| {
        if key == "pipe" && folder.is_none() {
            let path = value["path"].as_str().and_then(|path| path.rsplit_once('/'));
            folder = path.map(|(folder, _)| folder.to_owned());
        }
    });
    folder
}

/// All that the policies name, whatever stands around it.
fn policy(rbac: &Value) -> Policy {
    let mut found = Policy::default();
    walk(&rbac["rules"]["policies"], &mut |key, value| {
        let (into, text) = match key {
            "principal_name" => (&mut found.principals, &value["exact"]),
            "header" if value["name"] == ":method" => (&mut found.methods, &value["string_match"]["exact"]),
            "url_path" if value["path"]["exact"].is_string() => (&mut found.paths, &value["path"]["exact"]),
            "url_path" => (&mut found.paths, &value["path"]["prefix"]),
            _ => return,
        };
        if let Some(text) = text.as_str().map(ToOwned::to_owned)
            && !into.contains(&text)
        {
            into.push(text);
        }
    });
    // A prefix that ends in a slash says no more than the path without.
    let exact = found.paths.clone();
    found.paths.retain(|path| {
        !path.strip_suffix('/').is_some_and(|shorter| exact.iter().any(|other| other == shorter))
    });
    found
}

/// Every key with its value, at any depth, in the order of the file's keys.
fn walk<'a>(value: &'a Value, see: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                see(key, value);
                walk(value, see);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| walk(value, see)),
        _ => {}
    }
}

/// The Service that leads to the listener, through the pods that mount its configuration.
fn endpoint(
    wanted: &Wanted,
    objects: &[Value],
    listener: Listener,
    taken: &mut BTreeSet<String>,
) -> Result<Endpoint, DraftError> {
    let mounts = |pod: &&Value| {
        list(&pod["spec"]["volumes"])
            .any(|volume| volume["configMap"]["name"] == listener.config_map.as_str())
    };
    let pods: Vec<&Value> = objects.iter().map(|object| &object["spec"]["template"]).filter(mounts).collect();
    for pod in pods {
        for service in objects.iter().filter(|object| object["kind"] == "Service") {
            let Some(selector) = service["spec"]["selector"].as_object() else { continue };
            if !selector.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value) {
                continue;
            }
            let Some(port) =
                list(&service["spec"]["ports"]).find(|port| target(port, pod) == Some(listener.port))
            else {
                continue;
            };
            let namespace = service["metadata"]["namespace"].as_str().unwrap_or(wanted.namespace);
            let service = string(&service["metadata"]["name"]);
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
            let mut select = vec![format!("k8s:ns:{namespace}"), format!("k8s:sa:{account}")];
            select.extend(
                pod["metadata"]["labels"]["app"].as_str().map(|app| format!("k8s:pod-label:app:{app}")),
            );
            let name = unique(&service, taken);
            let port = port["port"].as_u64().unwrap_or_default();
            return Ok(Endpoint { name, service: format!("{namespace}/{service}"), port, select, listener });
        }
    }
    Err(DraftError::NoService { listener: listener.place })
}

/// The port on the pod that a Service's port leads to.
fn target(port: &Value, pod: &Value) -> Option<u64> {
    match &port["targetPort"] {
        Value::String(name) => {
            let mut ports = list(&pod["spec"]["containers"]).flat_map(|container| list(&container["ports"]));
            ports.find(|port| port["name"] == name.as_str())?["containerPort"].as_u64()
        }
        Value::Null => port["port"].as_u64(),
        number => number.as_u64(),
    }
}

fn trust_domain(endpoints: &[Endpoint]) -> Result<String, DraftError> {
    let domain = |endpoint: &Endpoint| {
        split(&endpoint.listener.identity).map(|(domain, _)| domain.to_owned()).unwrap_or_default()
    };
    let Some((first, rest)) = endpoints.split_first() else { return Ok(String::new()) };
    match rest.iter().find(|endpoint| domain(endpoint) != domain(first)) {
        Some(second) => Err(DraftError::TwoTrustDomains {
            first: first.listener.place.clone(),
            second: second.listener.place.clone(),
        }),
        None => Ok(domain(first)),
    }
}

fn is_type(config: &Value, name: &str) -> bool {
    config["@type"].as_str().is_some_and(|kind| kind.ends_with(name))
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
    // The chain does not end.
    names.find(|name| taken.insert(name.clone())).unwrap_or_default()
}

/// `/ns/shop/sa/default` goes by its namespace, any other by its last segment.
fn client_name(path: &str) -> &str {
    let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match segments[..] {
        ["ns", namespace, "sa", "default"] => namespace,
        [.., last] => last,
        [] => path,
    }
}

/// Everyone whom a listener names: path of the SPIFFE ID -> name. And the IDs of other trust domains, which
/// no probe can have.
fn clients(trust_domain: &str, endpoints: &[Endpoint]) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let mut taken: BTreeSet<_> = [NOBODY, STRANGER].map(String::from).into();
    let (mut own, mut foreign) = (BTreeMap::new(), BTreeSet::new());
    for id in endpoints.iter().flat_map(|endpoint| named(&endpoint.listener)) {
        match split(id) {
            Some((domain, path)) if domain == trust_domain => {
                if !own.contains_key(path) {
                    own.insert(path.to_owned(), unique(client_name(path), &mut taken));
                }
            }
            _ => drop(foreign.insert(id.to_owned())),
        }
    }
    (own, foreign)
}

fn named(listener: &Listener) -> impl Iterator<Item = &str> {
    listener.sans.iter().chain(listener.rbac.iter().flat_map(|policy| &policy.principals)).map(String::as_str)
}

const NOBODY: &str = "nobody";
const STRANGER: &str = "stranger";

#[cfg(test)]
mod tests;
