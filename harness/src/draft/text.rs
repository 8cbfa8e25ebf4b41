//! The drafted scenario as text. What stands in it was found by `draft`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Endpoint, Listener, NOBODY, STRANGER, Wanted, clients};
use crate::spiffe_id::split;

/// Of the charts that svidproof brings along.
const SPIRE_CHART: &str = "builtin:spire";

const CLUSTER: &str = "demo-cluster";

const METHODS: &str = "[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]";

/// The file, part by part in its order.
pub(super) fn text(wanted: &Wanted, trust_domain: &str, endpoints: &[Endpoint]) -> String {
    let Wanted { release, namespace, .. } = wanted;
    let (clients, foreign) = clients(trust_domain, endpoints);
    let mut text = head(wanted, trust_domain, endpoints) + &registration_text(endpoints);
    text += "\n# What is dialled.\nendpoints:\n";
    text.extend(endpoints.iter().map(endpoint_text));
    text +=
        "\n# Those whom the chart's SAN lists and policies name, each attested for the probe.\nclients:\n";
    text.extend(clients.iter().map(|(path, name)| format!("  {}: {}\n", quoted(name), quoted(path))));
    text.extend(foreign.iter().map(|id| format!("  # {id} is named too, and is of another trust domain.\n")));
    text += &format!(
        "  # Of the trust domain, and on nobody's list.\n  {STRANGER}: /ns/{namespace}/sa/{STRANGER}\n  \
         {NOBODY}: none\n"
    );
    text += "\n# Further stages: the same with other `values`, by release. Forged credentials: \
             docs/writing-scenarios.md, `forged`.\n";
    text += "stages:\n  - stage: installed\n    checks:\n";
    text.extend(endpoints.iter().map(|endpoint| checks_text(endpoint, &clients)));
    text += &surface_text(endpoints, &clients);
    text += "\n# Faults that the checks must notice, for `svidproof verify`: values that open what a check \
             says is closed, such as\n\
             # - broken: the SAN list is gone\n\
             #   stage: installed\n";
    text + &format!(
        "#   values: {{{release}: {{envoy: {{allow: []}}}}}}\n#   red: [the names of the checks]\n"
    )
}

/// All that comes before the charts' own identities.
fn head(wanted: &Wanted, trust_domain: &str, endpoints: &[Endpoint]) -> String {
    let Wanted { name, chart, release, namespace, values } = wanted;
    let socket_dir = endpoints.iter().find_map(|endpoint| endpoint.listener.socket_dir.clone());
    let socket_dir = socket_dir.unwrap_or_else(|| format!("/run/spire/{trust_domain}"));
    let socket_dir = quoted(&socket_dir);
    let values = if values.is_null() { String::new() } else { format!(", values: {values}") };
    let spire = format!("spire-{name}");
    let shared = format!("fullnameOverride: {spire}, trustDomain: {trust_domain}, clusterName: {CLUSTER}");
    format!(
        "# Drafted by `svidproof new` from what the chart renders. It runs as it is; read what stands behind \
         each # first.\n\
         # `svidproof up`, then `svidproof test --accept`: that keeps what every client gets now, to be \
         compared with from then on.\n\
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
               values: {{{shared}, agent: {{enabled: false}}, server: {{cacheReloadInterval: 500ms, \
               upstreamAuthority: {{secret: {spire}-ca}}}}}}\n  \
           - - release: {spire}-agent\n      \
               chart: {SPIRE_CHART}\n      \
               namespace: spire\n      \
               values: {{{shared}, server: {{enabled: false}}, agent: {{socketDir: {socket_dir}, \
               syncInterval: 500ms, pollRetryInterval: 100ms}}}}\n  \
           # Add the releases that this one needs: what its Envoys forward to, who calls it.\n  \
           - - {{release: {release}, chart: {}, namespace: {namespace}{values}}}\n\n\
         # Make the selectors as narrow as those of your own entries: who matches them is given the \
         identity.\n\
         registration:\n  \
           - id: /ns/spire/sa/spire-agent\n    \
             node: true\n    \
             select: [\"k8s_psat:cluster:{CLUSTER}\", \"k8s_psat:agent_ns:spire\", \
             \"k8s_psat:agent_sa:{spire}-agent\"]\n",
        quoted(chart),
    )
}

fn registration_text(endpoints: &[Endpoint]) -> String {
    let mut text = String::new();
    let mut registered = BTreeSet::new();
    for Endpoint { select, listener, .. } in endpoints {
        if registered.insert((&listener.identity, select)) {
            text += &format!("  - id: {}\n    select: {}\n", quoted(path(&listener.identity)), flow(select));
            text.extend(listener.domain.iter().map(|domain| format!("    dns: [{}]\n", quoted(domain))));
        }
    }
    text
}

fn surface_text(endpoints: &[Endpoint], clients: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    // Without the admin port nothing can be judged there, and the scenario would not be valid.
    let provable: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.listener.admin.is_some()).collect();
    if !provable.is_empty() {
        text += "    # Every client with every request. Fill in the paths that your application has; what \
                 comes of them is left to --accept.\n";
        text += "    surface:\n";
    }
    for Endpoint { name, listener, .. } in provable {
        let who: Vec<_> = clients.values().map(String::as_str).chain([STRANGER, NOBODY]).collect();
        let http = if listener.http2 { "[\"1.1\", \"2\"]" } else { "[\"1.1\"]" };
        let (who, to, paths) = (flow(&who), quoted(name), flow(&paths(listener)));
        text += &format!("      - surface: requests at {name}\n        as: {who}\n        to: {to}\n");
        text += &format!("        methods: {METHODS}\n        paths: {paths}\n        http: {http}\n");
    }
    text
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
        || "    # admin: Envoy's admin interface is not configured; without it no refusal can be proved from \
            the server's side.\n".into(),
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
            "    # {} matcher(s) of its SAN list name no single SPIFFE ID: add clients that they let in, and \
             keep out.\n",
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
    let mut text = "      # Fill in a request that the application answers, and what it answers with: \
                    `json`, `contains`.\n"
        .to_owned();
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
pub(super) fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
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
