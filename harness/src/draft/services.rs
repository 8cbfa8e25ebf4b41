//! The Service that leads to a listener, by which it is dialled, and the selectors of the pods behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chain::{Vocabulary, vocabulary};
use super::listener::Listener;
use super::sources::{Config, Workload};
use super::upstream::{elsewhere, is_asked_over_tls};
use super::{DraftError, Wanted, list, path_of, string, unique};

/// A listener with the Service that leads to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    /// `namespace/name`.
    pub(super) service: String,
    pub(super) port: u64,
    /// The path of the SPIFFE ID that it proves, or the place where one is to be filled in.
    pub(super) identity: String,
    /// Selectors of the registration entry.
    pub(super) select: Vec<String>,
    /// The name that it is asked for, where its virtual hosts do not take the Service's.
    pub(super) dns: Option<String>,
    /// What requests are sent with.
    pub(super) authority: String,
    pub(super) words: Vocabulary,
    /// Whether what answers may be an Envoy of another's, and not the application.
    pub(super) by_others: bool,
    /// What it forwards to, and is not in the chart: `host:port`.
    pub(super) elsewhere: BTreeSet<String>,
    pub(super) listener: Listener,
}

/// The Service of the workload's namespace that leads to the listener.
pub(super) fn endpoint(
    wanted: &Wanted,
    objects: &[Value],
    config: &Config,
    listener: Listener,
    taken: &mut BTreeSet<String>,
) -> Result<Endpoint, DraftError> {
    let workload = &config.workload;
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let namespace = service["metadata"]["namespace"].as_str().unwrap_or(wanted.namespace);
        let Some(selector) = service["spec"]["selector"].as_object().filter(|all| !all.is_empty()) else {
            continue;
        };
        let labels = &workload.pod["metadata"]["labels"];
        if namespace != workload.namespace || !selector.iter().all(|(key, value)| labels[key] == *value) {
            continue;
        }
        let leads = |port: &&Value| target(port, workload) == Some(listener.port);
        let Some(port) = list(&service["spec"]["ports"]).find(leads) else { continue };
        let service = string(&service["metadata"]["name"]);
        let words = vocabulary(&listener.filters);
        let of = |cluster: &String| elsewhere(&config.bootstrap, cluster, objects, namespace);
        let by_others = words.clusters.iter().any(|name| is_asked_over_tls(&config.bootstrap, name));
        let elsewhere = words.clusters.iter().flat_map(of).collect();
        let dns = words.domains.as_ref().and_then(|domains| name_for(domains, &service));
        return Ok(Endpoint {
            name: unique(&service, taken),
            service: format!("{namespace}/{service}"),
            port: port["port"].as_u64().unwrap_or_default(),
            identity: path_of(wanted, &listener.identity),
            select: selectors(workload),
            authority: dns.clone().unwrap_or(service),
            dns,
            words,
            by_others,
            elsewhere,
            listener,
        });
    }
    Err(DraftError::NoService { listener: listener.place })
}

/// The port on the pod that a Service's port leads to. A native sidecar has ports as any container has.
fn target(port: &Value, workload: &Workload) -> Option<u64> {
    match &port["targetPort"] {
        Value::String(name) => {
            let mut ports = workload.containers().flat_map(|container| list(&container["ports"]));
            ports.find(|port| port["name"] == name.as_str())?["containerPort"].as_u64()
        }
        Value::Null => port["port"].as_u64(),
        number => number.as_u64(),
    }
}

/// Selectors that only the workload's pods match.
pub(super) fn selectors(workload: &Workload) -> Vec<String> {
    let spec = &workload.pod["spec"];
    let account =
        spec["serviceAccountName"].as_str().or(spec["serviceAccount"].as_str()).unwrap_or("default");
    let mut select = vec![format!("k8s:ns:{}", workload.namespace), format!("k8s:sa:{account}")];
    let labels = workload.labels().into_iter().map(|(key, value)| format!("k8s:pod-label:{key}:{value}"));
    select.extend(labels);
    select
}

/// A name that the virtual hosts take: `None` where the Service's own is one, and where no name can be made
/// of what they take.
fn name_for(domains: &[String], service: &str) -> Option<String> {
    if domains.iter().any(|domain| domain.eq_ignore_ascii_case(service)) {
        return None;
    }
    let label = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !text.is_empty() && text.bytes().all(inner)
    };
    // A name, not an address; and a port in it would have to be the one that is dialled.
    let is_name =
        |text: &str| text.split('.').all(label) && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let exact = domains.iter().find(|domain| is_name(domain)).cloned();
    let made = || {
        let made = domains.iter().map(|domain| domain.replacen('*', "x", 1));
        made.filter(|name| name.contains('.')).find(|name| is_name(name))
    };
    exact.or_else(made).map(|name| name.to_ascii_lowercase())
}
