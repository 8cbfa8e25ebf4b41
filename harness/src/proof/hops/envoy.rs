//! The hops within an Envoy: its SVID and its secrets, its listener, and where its upstreams are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Hop, Known};
use crate::proof::envoy::{ConfigError, Envoy, Stats, lacking, sources};

/// Names by which SPIRE's agent knows secrets besides SPIFFE IDs (agent configuration reference, `sds`).
const DEFAULTS: [&str; 3] = ["default", "ROOTCA", "ALL"];

/// An Envoy as its admin interface tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its pod.
    pub pod: String,
    /// The pod's port that the Service leads to, where that is known.
    pub port: Option<u16>,
    /// The ports that the pod's containers declare.
    pub declared: BTreeSet<u16>,
    /// `/config_dump`.
    pub dump: Known<String>,
    /// `/stats`.
    pub stats: Known<Stats>,
    /// The SVID that it proves, where it has one.
    pub svid: Option<Svid>,
    /// The last error in the log of the agent of its node.
    pub agent_error: Option<String>,
    /// Where the endpoint forwards to another.
    pub upstream: Option<Upstream>,
}

/// The endpoint that an Envoy forwards to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub endpoint: String,
    /// The addresses of its Service and of its ready pods.
    pub addresses: BTreeSet<String>,
    /// By cluster, where the Envoy finds its upstreams.
    pub led: Known<BTreeMap<String, Vec<String>>>,
}

/// The certificate that an Envoy was handed by SDS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// Its URI SAN.
    pub id: String,
    /// Its serial number, in hex.
    pub serial: String,
    /// For how many seconds it is still valid; negative once it is over.
    pub left: i64,
    /// Whether its chain ends in SPIRE's CA, or why not.
    pub trusted: Result<(), String>,
}

/// What is broken of this Envoy, which is to prove `identity`, a whole SPIFFE ID, where it is to prove one.
pub fn of_envoy(of: &str, identity: Option<&str>, proxy: &Proxy) -> Vec<Found> {
    let dump = match &proxy.dump {
        Ok(dump) => dump,
        Err(why) => return vec![Found::unread(Hop::Sds, of, why), Found::unread(Hop::Listener, of, why)],
    };
    let envoy = match Envoy::read(dump) {
        Ok(envoy) => envoy,
        Err(error) => return vec![Found::unread(Hop::Sds, of, error.to_string())],
    };
    let mut found = vec![];
    if let Some(identity) = identity {
        found.extend(of_secrets(of, identity, proxy, dump));
    }
    found.extend(of_listener(of, proxy, &envoy));
    found.extend(of_upstream(of, proxy));
    found
}

fn of_secrets(of: &str, identity: &str, proxy: &Proxy, dump: &str) -> Option<Found> {
    let missing = match lacking(dump, proxy.port.unwrap_or_default()) {
        Ok(lacking) => lacking.secrets,
        Err(error) => return Some(Found::unread(Hop::Sds, of, error.to_string())),
    };
    let pod = &proxy.pod;
    if missing.is_empty() {
        return of_svid(of, identity, proxy.svid.as_ref()?, pod);
    }
    let quoted: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    let quoted = quoted.join(", ");
    if let Some(why) = unreached(proxy, dump) {
        let evidence = format!("Envoy in pod {pod} waits for the SDS secrets {quoted}: {why}");
        let hint =
            "the socket's folder must be mounted into the pod, and the path be that of the agent's socket";
        return Some(Found::broken(Hop::Sds, of, evidence, hint));
    }
    let domain = identity.trim_start_matches("spiffe://").split('/').next().unwrap_or_default();
    let bundle = format!("spiffe://{domain}");
    let is_known = |name: &String| *name == identity || *name == bundle || DEFAULTS.contains(&name.as_str());
    if let Some(name) = missing.iter().find(|name| !is_known(name)) {
        let evidence =
            format!("Envoy in pod {pod} asks SDS for `{name}`, and the endpoint's SVID is {identity}");
        let hint =
            "`name` of its `tls_certificate_sds_secret_configs` must be the SPIFFE ID, letter by letter";
        return Some(Found::broken(Hop::Sds, of, evidence, hint));
    }
    let error = proxy.agent_error.as_ref().map(|line| format!("; the last error of its agent: {line}"));
    let evidence = format!("the agent gives Envoy in pod {pod} no {quoted}{}", error.unwrap_or_default());
    let hint = "the agent's log says whom it did not identify (`no identity issued`), or why it has no SVID";
    Some(Found::broken(Hop::Svid, of, evidence, hint))
}

fn of_svid(of: &str, identity: &str, svid: &Svid, pod: &str) -> Option<Found> {
    let Svid { id, serial, left, trusted } = svid;
    if *left <= 0 {
        let evidence = format!("the SVID of Envoy in pod {pod}, serial {serial}, ended {} s ago", -left);
        let hint = "its agent renews it at half of its life, while it reaches its server";
        return Some(Found::broken(Hop::Svid, of, evidence, hint));
    }
    if id != identity {
        let evidence =
            format!("Envoy in pod {pod} proves {id}, serial {serial}, and the endpoint is {identity}");
        let hint = "`identity` of the endpoint, or `name` of Envoy's `tls_certificate_sds_secret_configs`";
        return Some(Found::broken(Hop::Sds, of, evidence, hint));
    }
    let why = trusted.as_ref().err()?;
    let evidence =
        format!("the SVID of Envoy in pod {pod}, serial {serial}, is not this SPIRE server's: {why}");
    Some(Found::broken(
        Hop::Sds,
        of,
        evidence,
        "was the server made anew? Its agents take the new CA when they restart",
    ))
}

/// In words, that the socket of SDS is not reached: connections fail, and there is none.
fn unreached(proxy: &Proxy, dump: &str) -> Option<String> {
    let stats = proxy.stats.as_ref().ok()?;
    let sources = sources(dump).ok()?;
    sources.into_iter().find_map(|(cluster, socket)| {
        let get = |counter| stats.get(&format!("cluster.{cluster}.{counter}")).unwrap_or_default();
        let failed = get("upstream_cx_connect_fail");
        let where_ = socket.map(|path| format!("nobody answers at {path}"));
        let where_ = where_.unwrap_or_else(|| format!("its cluster `{cluster}` is not reached"));
        (failed > 0 && get("upstream_cx_active") == 0)
            .then(|| format!("{where_} ({failed} connections failed)"))
    })
}

fn of_listener(of: &str, proxy: &Proxy, envoy: &Envoy) -> Option<Found> {
    let port = proxy.port?;
    let pod = &proxy.pod;
    if let Err(ConfigError::NoListener { listeners, .. }) = envoy.at(port, None) {
        let listeners = if listeners.is_empty() { "no port".into() } else { listeners.join(", ") };
        // What containers declare is no more than a word, but it is one that somebody wrote down.
        let is_meant = proxy.declared.is_empty() || proxy.declared.contains(&port);
        let declared: Vec<_> = proxy.declared.iter().map(u16::to_string).collect();
        return Some(if is_meant {
            let evidence =
                format!("the Service leads to port {port} of pod {pod}, where Envoy listens at {listeners}");
            Found::broken(
                Hop::Listener,
                of,
                evidence,
                "`port_value` of Envoy's listener is the container's port",
            )
        } else {
            let evidence = format!(
                "the Service leads to port {port} of pod {pod}, whose containers declare {}; Envoy listens \
                 at {listeners}",
                declared.join(", ")
            );
            Found::broken(Hop::Service, of, evidence, "`targetPort` of the Service is the container's port")
        });
    }
    let lacking = lacking(proxy.dump.as_ref().ok()?, port).ok()?;
    let why = lacking.listeners.first()?;
    Some(Found::broken(
        Hop::Listener,
        of,
        format!("Envoy in pod {pod}: {why}"),
        "what its discovery service sends last, and what Envoy's log says of it",
    ))
}

fn of_upstream(of: &str, proxy: &Proxy) -> Option<Found> {
    let Upstream { endpoint: name, addresses, led } = proxy.upstream.as_ref()?;
    let clusters = match led {
        Ok(clusters) => clusters,
        Err(why) => return Some(Found::unread(Hop::Service, of, why)),
    };
    let leads = |all: &Vec<String>| !all.is_empty() && all.iter().all(|one| addresses.contains(one));
    if addresses.is_empty() || clusters.values().any(leads) {
        return None;
    }
    let told = clusters.iter().map(|(cluster, all)| {
        let all = if all.is_empty() { "no address".into() } else { all.join(", ") };
        format!("cluster `{cluster}` leads to {all}")
    });
    let told: Vec<_> = told.collect();
    let told =
        if told.is_empty() { "it has no cluster that leads off the pod".into() } else { told.join("; ") };
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let evidence = format!(
        "Envoy in pod {} does not find endpoint {name}, which is at {}: {told}",
        proxy.pod,
        addresses.join(", ")
    );
    Some(Found::broken(
        Hop::Service,
        of,
        evidence,
        "the name in that cluster must be that of the endpoint's Service",
    ))
}
