//! A scenario for a chart that has none yet, drafted from its rendered manifests: which listeners ask for
//! certificates, which Services lead to them, whom they admit. Text in, text out; not for what must come of a
//! request beyond what the chart itself says.
//!
//! A draft says of a client that it gets an answer only where every filter lets that request through, and
//! that it is refused only where one surely does. What it could not read it names, in a comment.

mod chain;
mod checks;
mod listener;
mod policy;
mod services;
mod sources;
mod spire;
mod text;
mod upstream;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use listener::{Bundle, Identity};
use services::Endpoint;
use sources::{Config, Workload};
use text::text;

use crate::cluster::helm::documents;
use crate::spiffe_id::split;

/// Why no scenario can be drafted of a chart, or why one of its listeners has no part in it. Each message
/// says what was looked for, and where.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum DraftError {
    #[error("a document of the rendered manifests is not YAML: {problem}")]
    NotYaml { problem: String },
    #[error(
        "the chart has no Envoy listener with mTLS: {looked}\n\
         looked for: an Envoy configuration in a ConfigMap or a Secret that its pods mount, or after a \
         container's `--config-yaml`, and in one\n\
         of its listeners a filter chain whose `transport_socket` is a DownstreamTlsContext\n\
         hint: does a value switch it on? --values FILE gives the chart its values"
    )]
    NoListener { looked: String },
    #[error(
        "{listener} proves no SPIFFE ID\n\
         looked for: `common_tls_context.tls_certificate_sds_secret_configs` with a name that starts with \
         `spiffe://`, or is `default`, from the SPIRE agent's SDS"
    )]
    NoIdentity { listener: String },
    #[error(
        "no Service leads to {listener}\n\
         looked for: a Service of the same namespace whose selector matches the labels of the pods that run \
         it, and whose target port is that of the listener"
    )]
    NoService { listener: String },
    #[error(
        "{place} is an Envoy configuration, and no pod of the chart mounts it, so no Service leads to it\n\
         looked for: a pod template with a volume of that ConfigMap or Secret, and a container that mounts it"
    )]
    Unused { place: String },
    #[error("an Envoy configuration cannot be read to the end: {problem}")]
    Unread { problem: String },
    #[error("{first} and {second} prove identities of two trust domains, and a scenario has one")]
    TwoTrustDomains { first: String, second: String },
    #[error(
        "{listener} proves the SVID `default`, and nothing in the chart says of which trust domain it is\n\
         hint: --identity spiffe://TRUST-DOMAIN/PATH says it"
    )]
    NoTrustDomain { listener: String },
    #[error(
        "--identity is for the workload whose Envoy asks for the SVID `default`, and the chart has {}\n\
         hint: leave it out, and fill in what the draft leaves open",
        if workloads.is_empty() { "none".to_owned() } else { format!("several: {}", workloads.join(", ")) }
    )]
    NotOne { workloads: Vec<String> },
}

/// A scenario's file, and what a user must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where [`BLANK`] stands in it, it is not a scenario until that is filled in.
    pub text: String,
    /// What of the chart is left out, and why; a line each.
    pub notes: Vec<String>,
}

/// Stands where the chart does not say what must.
pub const BLANK: &str = "FILL-IN";

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
    /// What the SVID `default` says, as a SPIFFE ID or the path of one; `None` where that is not known.
    pub identity: Option<&'a str>,
}

/// An identity of a workload, for its registration entry.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The path of the SPIFFE ID, or [`BLANK`].
    path: String,
    /// Selectors.
    select: Vec<String>,
    /// DNS SANs.
    dns: Vec<String>,
}

/// All that goes into the scenario.
#[derive(Debug)]
struct System<'a> {
    wanted: &'a Wanted<'a>,
    trust_domain: String,
    endpoints: Vec<Endpoint>,
    entries: Vec<Entry>,
    /// What endpoints forward to, and is not in the chart: `host:port`, and the endpoints' names.
    absent: BTreeMap<String, Vec<String>>,
    /// IDs of Envoys that call others, and are of another trust domain.
    foreign: BTreeSet<String>,
    /// Where the agent's socket stands on the host.
    socket: spire::Socket,
    /// The chart's own SPIRE.
    spire: Option<spire::Own>,
    notes: Vec<String>,
}

/// The scenario's file.
pub fn draft(wanted: &Wanted, manifests: &str) -> Result<Draft, DraftError> {
    let documents = documents(manifests)
        .map(|document| {
            serde_saphyr::from_str(document).map_err(|e| DraftError::NotYaml { problem: e.to_string() })
        })
        .collect::<Result<Vec<Value>, _>>()?;
    // A `List` stands for what is in it.
    let objects: Vec<Value> = documents
        .into_iter()
        .flat_map(|mut object| match object["items"].take() {
            Value::Array(items) => items,
            _ => vec![object],
        })
        .collect();
    let found = sources::find(&objects, wanted.namespace);
    let (endpoints, passed_over) = endpoints(wanted, &objects, &found)?;
    let owners = owners(&found.configs);
    let trust_domain = trust_domain(wanted, &endpoints, &owners)?;
    let (entries, foreign) = entries(wanted, &trust_domain, &endpoints, &owners);
    let notes = passed_over.iter().map(|error| first_line(&error.to_string())).collect();
    let system = System {
        wanted,
        socket: spire::socket(&found.configs),
        spire: spire::own(&found.workloads),
        trust_domain,
        absent: absent(&endpoints),
        endpoints,
        entries,
        foreign,
        notes,
    };
    Ok(Draft { text: text(&system), notes: system.notes })
}

fn absent(endpoints: &[Endpoint]) -> BTreeMap<String, Vec<String>> {
    let mut absent: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Endpoint { name, elsewhere, .. } in endpoints {
        for place in elsewhere {
            absent.entry(place.clone()).or_default().push(name.clone());
        }
    }
    absent
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().into()
}

/// What can be dialled, and why the rest cannot.
fn endpoints(
    wanted: &Wanted,
    objects: &[Value],
    found: &sources::Found,
) -> Result<(Vec<Endpoint>, Vec<DraftError>), DraftError> {
    let (mut endpoints, mut passed_over) = (vec![], vec![]);
    let (mut plain, mut looked) = (0, BTreeSet::new());
    let mut taken = BTreeSet::new();
    for config in &found.configs {
        looked.insert(config.place.as_str());
        for listener in list(&config.bootstrap["static_resources"]["listeners"]) {
            match listener::read(config, listener) {
                Ok(None) => plain += 1,
                Ok(Some(listener)) => {
                    match services::endpoint(wanted, objects, config, listener, &mut taken) {
                        Ok(endpoint) => endpoints.push(endpoint),
                        Err(error) => passed_over.push(error),
                    }
                }
                Err(error) => passed_over.push(error),
            }
        }
    }
    passed_over.extend(found.unused.iter().map(|place| DraftError::Unused { place: place.clone() }));
    passed_over.extend(found.unread.iter().map(|problem| DraftError::Unread { problem: problem.clone() }));
    if !endpoints.is_empty() {
        return Ok((endpoints, passed_over));
    }
    if let Some(first) = passed_over.into_iter().next() {
        return Err(first);
    }
    let looked = looked.into_iter().collect::<Vec<_>>().join("; ");
    let callers = owners(&found.configs).into_iter().map(|owner| match owner.identity {
        Identity::Id(id) => id,
        Identity::Own => format!("the identity of {}", owner.workload.place()),
    });
    let callers: Vec<_> = callers.collect();
    let is_spire = spire::own(&found.workloads).is_some();
    Err(DraftError::NoListener {
        looked: match (looked.is_empty(), callers.is_empty()) {
            (true, _) if is_spire => {
                "nothing in it holds an Envoy configuration: it is the SPIRE that gives \
                                      others their SVIDs, which a scenario names under `spire`"
                    .into()
            }
            (true, _) => "nothing in it holds an Envoy configuration".into(),
            (false, true) => format!("{looked} has {plain} listener(s), all without TLS"),
            (false, false) => format!(
                "{looked} only calls others, as {}: draft from the chart that it calls, and add this one to \
                 `install` and its identity to `registration`",
                callers.join(", ")
            ),
        },
    })
}

/// An identity that an Envoy asks for, whichever way it dials, and whose it is.
#[derive(Debug)]
struct Owner<'a> {
    identity: Identity,
    workload: Workload<'a>,
}

fn owners<'a>(configs: &[Config<'a>]) -> Vec<Owner<'a>> {
    let mut owners: Vec<Owner> = vec![];
    for Config { workload, bootstrap, .. } in configs {
        walk(bootstrap, &mut |key, value| {
            if key != "typed_config" || !is_type(value, "streamTlsContext") {
                return;
            }
            for identity in listener::identities(&value["common_tls_context"]) {
                let same = |owner: &Owner| {
                    owner.identity == identity && std::ptr::eq(owner.workload.object, workload.object)
                };
                if !owners.iter().any(same) {
                    owners.push(Owner { identity, workload: *workload });
                }
            }
        });
    }
    owners
}

/// The trust domain that is proved. Of the SVID `default` it is that of those who are let in, where they are
/// held against the workload's own bundle.
fn trust_domain(wanted: &Wanted, endpoints: &[Endpoint], owners: &[Owner]) -> Result<String, DraftError> {
    let own: Vec<_> = owners.iter().filter(|owner| owner.identity == Identity::Own).collect();
    if wanted.identity.is_some() && own.len() != 1 {
        let workloads = own.iter().map(|owner| owner.workload.place()).collect();
        return Err(DraftError::NotOne { workloads });
    }
    let said = wanted.identity.and_then(split);
    let domain = |endpoint: &Endpoint| {
        let id = match &endpoint.listener.identity {
            Identity::Id(id) => split(id),
            Identity::Own => said,
        };
        id.map(|(domain, _)| (domain.to_owned(), endpoint.listener.place.clone()))
    };
    let mut proved = endpoints.iter().filter_map(domain);
    if let Some((domain, first)) = proved.next() {
        return match proved.find(|(other, _)| *other != domain) {
            Some((_, second)) => Err(DraftError::TwoTrustDomains { first, second }),
            None => Ok(domain),
        };
    }
    let callers = endpoints.iter().filter(|endpoint| endpoint.listener.tls.bundle == Some(Bundle::Own));
    let callers =
        callers.flat_map(|endpoint| endpoint.listener.tls.sans.iter().filter_map(listener::San::id));
    let domains: BTreeSet<_> =
        callers.filter_map(|id| split(&id).map(|(domain, _)| domain.to_owned())).collect();
    let mut domains = domains.into_iter();
    match (domains.next(), domains.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(DraftError::NoTrustDomain {
            listener: endpoints.first().map(|endpoint| endpoint.listener.place.clone()).unwrap_or_default(),
        }),
    }
}

/// The entries of all workloads whose Envoys ask for an SVID, and the IDs that no entry here can be for.
fn entries(
    wanted: &Wanted,
    trust_domain: &str,
    endpoints: &[Endpoint],
    owners: &[Owner],
) -> (Vec<Entry>, BTreeSet<String>) {
    let (mut entries, mut foreign): (Vec<Entry>, _) = (vec![], BTreeSet::new());
    for Owner { identity, workload } in owners {
        if let Identity::Id(id) = identity
            && within(trust_domain, id).is_none()
        {
            foreign.insert(id.clone());
            continue;
        }
        let (path, select) = (path_of(wanted, identity), services::selectors(workload));
        let names = endpoints
            .iter()
            .filter(|endpoint| endpoint.listener.identity == *identity && endpoint.select == select);
        let dns: BTreeSet<_> = names.filter_map(|endpoint| endpoint.dns.clone()).collect();
        let entry = Entry { path, select, dns: dns.into_iter().collect() };
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    (entries, foreign)
}

/// The path of an identity, as far as it is known.
fn path_of(wanted: &Wanted, identity: &Identity) -> String {
    let id = match (identity, wanted.identity) {
        (Identity::Id(id), _) => id,
        (Identity::Own, Some(said)) => said,
        (Identity::Own, None) => BLANK,
    };
    split(id).map_or(id, |(_, path)| path).to_owned()
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
fn clients(system: &System) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let mut taken: BTreeSet<_> = [NOBODY, STRANGER].map(String::from).into();
    let (mut own, mut foreign) = (BTreeMap::new(), BTreeSet::new());
    for id in system.endpoints.iter().flat_map(named) {
        match within(&system.trust_domain, &id) {
            Some(path) => {
                if !own.contains_key(path) {
                    own.insert(path.to_owned(), unique(client_name(path), &mut taken));
                }
            }
            None => drop(foreign.insert(id)),
        }
    }
    (own, foreign)
}

/// The path of a SPIFFE ID of the trust domain that an SVID can have (SPIFFE ID standard, section 2.2).
fn within<'a>(trust_domain: &str, id: &'a str) -> Option<&'a str> {
    let (_, path) = split(id).filter(|(domain, _)| *domain == trust_domain)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let segment = |one: &str| !one.is_empty() && one != "." && one != ".." && one.bytes().all(plain);
    path[1..].split('/').all(segment).then_some(path)
}

/// Whom the SAN list and the policies name.
fn named(endpoint: &Endpoint) -> impl Iterator<Item = String> {
    let Endpoint { listener, words, .. } = endpoint;
    listener.tls.sans.iter().filter_map(listener::San::id).chain(words.principals.iter().cloned())
}

const NOBODY: &str = "nobody";
const STRANGER: &str = "stranger";

#[cfg(test)]
mod tests;
