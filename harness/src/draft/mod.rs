//! A scenario for a chart that has none yet, drafted from its rendered manifests: which listeners ask for
//! certificates, which Services lead to them, whom they admit. Text in, text out; not for what must come of a
//! request beyond what the chart itself says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::helm::documents;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DraftError {
    #[error("a document of the rendered manifests is not YAML: {problem}")]
    NotYaml { problem: String },
    #[error(
        "the chart has no Envoy listener with mTLS: {looked}\n\
         looked for: a ConfigMap with a YAML text that has `static_resources.listeners`, and in one of them a filter chain whose\n\
         `transport_socket` is a DownstreamTlsContext\n\
         hint: does a value switch it on? --values FILE gives the chart its values"
    )]
    NoListener { looked: String },
    #[error(
        "{listener} proves no SPIFFE ID\n\
         looked for: `common_tls_context.tls_certificate_sds_secret_configs` with a name that starts with `spiffe://`"
    )]
    NoIdentity { listener: String },
    #[error(
        "no Service leads to {listener}\n\
         looked for: a Service whose selector matches the labels of the pods that mount the ConfigMap, and whose target port is that of the listener"
    )]
    NoService { listener: String },
    #[error("{first} and {second} prove identities of two trust domains, and a scenario has one")]
    TwoTrustDomains { first: String, second: String },
}

/// What the user says about the scenario.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// As the scenario names it: relative to the project.
    pub chart: &'a str,
    pub release: &'a str,
    pub namespace: &'a str,
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
    let contexts =
        [&common["validation_context"], &common["combined_validation_context"]["default_validation_context"]];
    let matchers: Vec<_> = contexts
        .into_iter()
        .flat_map(|context| {
            let typed = list(&context["match_typed_subject_alt_names"]).map(|san| &san["matcher"]);
            typed.chain(list(&context["match_subject_alt_names"]))
        })
        .collect();
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
    let mut pipe = None;
    walk(&config["static_resources"]["clusters"], &mut |key, value| {
        if key == "pipe" && pipe.is_none() {
            pipe = value["path"]
                .as_str()
                .and_then(|path| path.rsplit_once('/'))
                .map(|(folder, _)| folder.to_owned());
        }
    });
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
        socket_dir: pipe,
        place,
    })
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

/// Trust domain and path of a SPIFFE ID.
fn split(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://")?;
    let slash = rest.find('/')?;
    Some(rest.split_at(slash))
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
/// Of the charts that svidproof's project brings along.
const SPIRE_CHART: &str = "helm/spire";
const CLUSTER: &str = "demo-cluster";
const METHODS: &str = "[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]";

fn text(wanted: &Wanted, trust_domain: &str, endpoints: &[Endpoint]) -> String {
    let Wanted { name, chart, release, namespace, values } = wanted;
    let socket_dir = endpoints.iter().find_map(|endpoint| endpoint.listener.socket_dir.clone());
    let socket_dir = socket_dir.unwrap_or_else(|| format!("/run/spire/{trust_domain}"));
    let socket_dir = quoted(&socket_dir);
    let (clients, foreign) = clients(trust_domain, endpoints);
    let values = if values.is_null() { String::new() } else { format!(", values: {values}") };
    let spire = format!("spire-{name}");
    let shared = format!("fullnameOverride: {spire}, trustDomain: {trust_domain}, clusterName: {CLUSTER}");
    let mut text = format!(
        "# Drafted by `svidproof new` from what the chart renders. It runs as it is; read what stands behind each # first.\n\
         # `svidproof up`, then `svidproof test --accept`: that keeps what every client gets now, to be compared with from then on.\n\
         scenario: {name}\n\
         trust-domain: {trust_domain}\n\n\
         spire:\n  \
           namespace: spire\n  \
           server: {spire}-server\n  \
           bundle: {spire}-bundle\n  \
           authority-secret: {spire}-ca\n  \
           socket-dir: {socket_dir}\n\n\
         install:\n  \
           - - release: {spire}-server\n      \
               chart: {SPIRE_CHART}\n      \
               namespace: spire\n      \
               values: {{{shared}, agent: {{enabled: false}}, server: {{cacheReloadInterval: 500ms, upstreamAuthority: {{secret: {spire}-ca}}}}}}\n  \
           - - release: {spire}-agent\n      \
               chart: {SPIRE_CHART}\n      \
               namespace: spire\n      \
               values: {{{shared}, server: {{enabled: false}}, agent: {{socketDir: {socket_dir}, syncInterval: 500ms, pollRetryInterval: 100ms}}}}\n  \
           # Add the releases that this one needs: what its Envoys forward to, who calls it.\n  \
           - - {{release: {release}, chart: {}, namespace: {namespace}{values}}}\n\n\
         # Make the selectors as narrow as those of your own entries: who matches them is given the identity.\n\
         registration:\n  \
           - id: /ns/spire/sa/spire-agent\n    \
             node: true\n    \
             select: [\"k8s_psat:cluster:{CLUSTER}\", \"k8s_psat:agent_ns:spire\", \"k8s_psat:agent_sa:{spire}-agent\"]\n",
        quoted(chart),
    );
    let mut registered = BTreeSet::new();
    for Endpoint { select, listener, .. } in endpoints {
        if registered.insert((&listener.identity, select)) {
            text += &format!("  - id: {}\n    select: {}\n", quoted(path(&listener.identity)), flow(select));
            text.extend(listener.domain.iter().map(|domain| format!("    dns: [{}]\n", quoted(domain))));
        }
    }
    text += "\n# What is dialled.\nendpoints:\n";
    text.extend(endpoints.iter().map(endpoint_text));
    text +=
        "\n# Those whom the chart's SAN lists and policies name, each attested for the probe.\nclients:\n";
    text.extend(clients.iter().map(|(path, name)| format!("  {}: {}\n", quoted(name), quoted(path))));
    text.extend(foreign.iter().map(|id| format!("  # {id} is named too, and is of another trust domain.\n")));
    text += &format!(
        "  # Of the trust domain, and on nobody's list.\n  {STRANGER}: /ns/{namespace}/sa/{STRANGER}\n  {NOBODY}: none\n"
    );
    text += "\n# Further stages: the same with other `values`, by release. Forged credentials: docs/writing-scenarios.md, `forged`.\n";
    text += "stages:\n  - stage: installed\n    checks:\n";
    text.extend(endpoints.iter().map(|endpoint| checks_text(endpoint, &clients)));
    // Without the admin port nothing can be judged there, and the scenario would not be valid.
    let provable: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.listener.admin.is_some()).collect();
    if !provable.is_empty() {
        text += "    # Every client with every request. Fill in the paths that your application has; what comes of them is left to --accept.\n";
        text += "    surface:\n";
    }
    for Endpoint { name, listener, .. } in provable {
        let who: Vec<_> = clients.values().map(String::as_str).chain([STRANGER, NOBODY]).collect();
        let http = if listener.http2 { "[\"1.1\", \"2\"]" } else { "[\"1.1\"]" };
        let (who, to, paths) = (flow(&who), quoted(name), flow(&paths(listener)));
        text += &format!("      - surface: requests at {name}\n        as: {who}\n        to: {to}\n");
        text += &format!("        methods: {METHODS}\n        paths: {paths}\n        http: {http}\n");
    }
    text += "\n# Faults that the checks must notice, for `svidproof verify`: values that open what a check says is closed, such as\n\
             # - broken: the SAN list is gone\n\
             #   stage: installed\n";
    text + &format!(
        "#   values: {{{release}: {{envoy: {{allow: []}}}}}}\n#   red: [the names of the checks]\n"
    )
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let Endpoint { name, service, port, listener, .. } = endpoint;
    let mut text = format!(
        "  {}:\n    service: {}\n    port: {port}\n    identity: {}\n",
        quoted(name),
        quoted(service),
        quoted(path(&listener.identity))
    );
    text.extend(listener.domain.iter().map(|domain| format!("    dns: {}\n", quoted(domain))));
    text += &listener.admin.map_or_else(
        || "    # admin: Envoy's admin interface is not configured; without it no refusal can be proved from the server's side.\n".into(),
        |admin| format!("    admin: {admin}\n"),
    );
    if let Some(cluster) = listener.cluster.as_ref().filter(|cluster| *cluster != "local_service") {
        text += &format!("    app-cluster: {}\n", quoted(cluster));
        text +=
            "    # upstream: the endpoint that it forwards to, if that is an Envoy with an identity too.\n";
    }
    text += "    # app-log: the container that logs the header x-svidproof-cell, if one does.\n";
    if listener.other_sans > 0 {
        text += &format!(
            "    # {} matcher(s) of its SAN list name no single SPIFFE ID: add clients that they let in, and keep out.\n",
            listener.other_sans
        );
    }
    text
}

fn checks_text(endpoint: &Endpoint, clients: &BTreeMap<String, String>) -> String {
    let Endpoint { name, listener, .. } = endpoint;
    let of = |id: &String| clients.get(path(id)).map(String::as_str);
    let allowed = |id: &&String| {
        listener
            .rbac
            .as_ref()
            .is_none_or(|policy| policy.principals.is_empty() || policy.principals.contains(id))
    };
    let listed = listener.sans.iter().find(allowed).or(listener.sans.first());
    let principal = listener.rbac.iter().flat_map(|policy| &policy.principals).next();
    let open = listener.sans.is_empty() && listener.other_sans == 0;
    let friend = listed.or(principal).and_then(of).unwrap_or(STRANGER);
    let method =
        listener.rbac.as_ref().and_then(|policy| policy.methods.first()).map_or("GET", String::as_str);
    let send = quoted(&format!("{method} {}", paths(listener)[0])).into_owned();
    let to = quoted(name);
    let check = |check: &str, who: &str, more: &str| {
        format!(
            "      - check: {}\n        as: {}\n        to: {to}\n        send: {send}\n{more}",
            quoted(check),
            quoted(who)
        )
    };
    let control = format!("{friend} gets an answer from {name}");
    let refused =
        |alert: &str| format!("        expect: {{alert: {alert}}}\n        control: {}\n", quoted(&control));
    // Without the admin port a refusal cannot be proved, and the scenario would not be valid.
    let provable = listener.admin.is_some();
    let mut text = "      # Fill in a request that the application answers, and what it answers with: `json`, `contains`.\n".to_owned();
    text += &check(&control, friend, "        expect: {status: 200}\n");
    if listener.required && provable {
        text += &check(&format!("nobody is refused by {name}"), NOBODY, &refused("certificate_required"));
    }
    if !listener.required {
        text += &format!("      # {name} does not require a certificate.\n");
    }
    if open {
        text += &format!("      # {name} has no SAN list: every SVID that verifies is let in.\n");
    } else if friend != STRANGER && provable {
        text +=
            &check(&format!("a stranger is refused by {name}"), STRANGER, &refused("certificate_unknown"));
    }
    text
}

/// The paths that the policies name, or the root.
fn paths(listener: &Listener) -> Vec<String> {
    let paths = listener.rbac.iter().flat_map(|policy| policy.paths.iter().cloned()).collect::<Vec<_>>();
    if paths.is_empty() { vec!["/".into()] } else { paths }
}

fn path(id: &str) -> &str {
    split(id).map_or(id, |(_, path)| path)
}

fn flow<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// As YAML takes it, in flow and in block: in quotes where it could be anything but a plain text.
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b' ');
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && !word && text.bytes().all(plain) && !text.ends_with(' ') {
        text.into()
    } else {
        Value::from(text).to_string().into()
    }
}

#[cfg(test)]
mod tests;
