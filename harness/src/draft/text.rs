//! The drafted scenario as text. What stands in it was found by `draft`.

use std::collections::BTreeMap;

use super::checks::checks_text;
use super::services::Endpoint;
use super::spire::{Own, SOCKET};
use super::yaml::{flow, quoted};
use super::{BLANK, NOBODY, STRANGER, System, Wanted, clients};

/// Of the charts that svidproof brings along.
const SPIRE_CHART: &str = "builtin:spire";

const CLUSTER: &str = "demo-cluster";

const METHODS: &str = "[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]";

/// The file, part by part in its order.
pub(super) fn text(system: &System) -> String {
    let Wanted { release, namespace, .. } = system.wanted;
    let (clients, foreign) = clients(system);
    let mut text = String::new();
    text += "\n# What is dialled.\nendpoints:\n";
    text.extend(system.endpoints.iter().map(endpoint_text));
    text.extend(system.notes.iter().map(|note| format!("  # Left out: {note}.\n")));
    text +=
        "\n# Those whom the chart's SAN lists and policies name, each attested for the probe.\nclients:\n";
    text.extend(clients.iter().map(|(path, name)| format!("  {}: {}\n", quoted(name), quoted(path))));
    text.extend(
        foreign
            .iter()
            .map(|id| format!("  # {id} is named too, and no SVID of this trust domain is called so.\n")),
    );
    text += &format!(
        "  # Of the trust domain, and on nobody's list.\n  {STRANGER}: /ns/{namespace}/sa/{STRANGER}\n  \
         {NOBODY}: none\n"
    );
    text += "\n# Further stages: the same with other `values`, by release. Forged credentials: \
             docs/writing-scenarios.md, `forged`.\n";
    text += &stage_text(system, &clients);
    text += "\n# Faults that the checks must notice, for `svidproof verify`: values that open what a check \
             says is closed, such as\n\
             # - broken: the SAN list is gone\n\
             #   stage: installed\n";
    text +=
        &format!("#   values: {{{release}: {{envoy: {{allow: []}}}}}}\n#   red: [the names of the checks]\n");
    let text = format!("{}{}{}", spire_text(system), registration_text(system), text);
    title(system, text.contains(BLANK)) + &text
}

fn title(system: &System, open: bool) -> String {
    let Wanted { name, .. } = system.wanted;
    let state = if open {
        format!("It does not run before every {BLANK} is filled in")
    } else if system.socket.remarks.is_empty() {
        "It runs as it is".into()
    } else {
        "Its SPIRE and the chart's Envoys may not meet: see `socket-dir`".into()
    };
    format!(
        "# Drafted by `svidproof new` from what the chart renders. {state}; read what stands behind each # \
         first.\n\
         # `svidproof up`, then `svidproof test --accept`: that keeps what every client gets now, to be \
         compared with from then on.\n\
         scenario: {name}\n"
    )
}

/// The SPIRE that issues the SVIDs, and what is installed.
fn spire_text(system: &System) -> String {
    let Wanted { name, chart, release, namespace, values, .. } = system.wanted;
    let trust_domain = &system.trust_domain;
    let (socket_dir, file) = match (&system.socket.path, &system.spire) {
        (Some((folder, file)), _) => (folder.clone(), file.as_str()),
        (None, None) => (format!("/run/spire/{trust_domain}"), SOCKET),
        (None, Some(_)) => (BLANK.into(), SOCKET),
    };
    let socket_dir = quoted(&socket_dir);
    let other = |key: &str, before: &str| match file {
        SOCKET => String::new(),
        file => format!("{before}{key}: {}", quoted(file)),
    };
    let socket = format!("socket-dir: {socket_dir}{}", other("socket-file", "\n  "));
    let remarks = system.socket.remarks.iter();
    let remarks = remarks.map(|remark| format!("  # The agent's socket: {remark}.\n")).collect::<String>();
    let values = if values.is_null() { String::new() } else { format!(", values: {values}") };
    let own = format!("{{release: {release}, chart: {}, namespace: {namespace}{values}}}", quoted(chart));
    let own = format!("{}  - - {own}", absent_text(system));
    let head = format!("trust-domain: {trust_domain}\n\nspire:\n");
    if let Some(spire) = &system.spire {
        return format!(
            "{head}{}  {socket}\n{remarks}\n\
             install:\n  \
               # Add the releases that this one needs: what its Envoys forward to, who calls it.\n\
             {own}\n\n\
             # Make the selectors as narrow as those of your own entries: who matches them is given the \
             identity.\n\
             registration:\n",
            own_spire(spire),
        );
    }
    let spire = format!("spire-{name}");
    let shared = format!("fullnameOverride: {spire}, trustDomain: {trust_domain}, clusterName: {CLUSTER}");
    format!(
        "{head}  \
           namespace: spire\n  \
           server: {spire}-server\n  \
           bundle: {spire}-bundle\n  \
           authority-secret: {spire}-ca\n  \
           {socket}\n{remarks}\n\
         install:\n  \
           - - release: {spire}-server\n      \
               chart: {SPIRE_CHART}\n      \
               namespace: spire\n      \
               values: {{{shared}, agent: {{enabled: false}}, server: {{cacheReloadInterval: 500ms, \
               upstreamAuthority: {{secret: {spire}-ca}}}}}}\n  \
           - - release: {spire}-agent\n      \
               chart: {SPIRE_CHART}\n      \
               namespace: spire\n      \
               values: {{{shared}, server: {{enabled: false}}, agent: {{socketDir: {socket_dir}{}, \
               syncInterval: 500ms, pollRetryInterval: 100ms}}}}\n  \
           # Add the releases that this one needs: what its Envoys forward to, who calls it.\n\
         {own}\n\n\
         # Make the selectors as narrow as those of your own entries: who matches them is given the \
         identity.\n\
         registration:\n  \
           - id: /ns/spire/sa/spire-agent\n    \
             node: true\n    \
             select: [\"k8s_psat:cluster:{CLUSTER}\", \"k8s_psat:agent_ns:spire\", \
             \"k8s_psat:agent_sa:{spire}-agent\"]\n",
        other("socketFile", ", "),
    )
}

/// The releases without which an endpoint has nothing to answer with.
fn absent_text(system: &System) -> String {
    let one = |(place, endpoints): (&String, &Vec<String>)| {
        let who = endpoints.join(", ");
        format!(
            "  - - {{release: {BLANK}, chart: {BLANK}, namespace: {BLANK}}}  # What answers at {place}, to \
             which {who} forwards.\n"
        )
    };
    system.absent.iter().map(one).collect()
}

/// The SPIRE of the chart, as far as its manifests tell it.
fn own_spire(spire: &Own) -> String {
    let Own { namespace, server, container, agent } = spire;
    let mut text = "  # The chart brings its own SPIRE.\n".to_owned();
    if !agent {
        text += "  # Its agent is not in the chart: add the release that has it.\n";
    }
    text + &format!(
        "  namespace: {namespace}\n  server: {}\n  container: {}\n  \
           # bundle: the ConfigMap that the server publishes its bundle to, where workloads wait for it.\n",
        quoted(server),
        quoted(container)
    )
}

fn registration_text(system: &System) -> String {
    let mut text = String::new();
    for entry in &system.entries {
        if entry.path == BLANK {
            text += "  # The workload's own identity, which its Envoy asks for by the SDS name `default`: \
                     the path of its SPIFFE ID.\n";
        }
        text += &format!("  - id: {}\n    select: {}\n", quoted(&entry.path), flow(&entry.select));
        if !entry.dns.is_empty() {
            text += &format!("    dns: {}\n", flow(&entry.dns));
        }
    }
    text.extend(
        system
            .foreign
            .iter()
            .map(|id| format!("  # {id} is asked for too, and is of another trust domain.\n")),
    );
    text
}

fn stage_text(system: &System, clients: &BTreeMap<String, String>) -> String {
    let checks = system.endpoints.iter().map(|endpoint| checks_text(system, endpoint, clients));
    let checks = checks.collect::<String>();
    let is_check = |line: &str| !line.trim_start().starts_with('#');
    let head = if checks.lines().any(is_check) {
        "    checks:\n".to_owned()
    } else {
        format!("    checks: []  # {BLANK}: no check could be drafted, and there must be one\n")
    };
    format!("stages:\n  - stage: installed\n{head}{checks}{}", surface_text(&system.endpoints, clients))
}

fn surface_text(endpoints: &[Endpoint], clients: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    // Without the admin port nothing can be judged there, and the scenario would not be valid.
    let swept = |endpoint: &&Endpoint| endpoint.listener.admin.is_some() && endpoint.listener.speaks_http();
    let provable: Vec<_> = endpoints.iter().filter(swept).collect();
    if !provable.is_empty() {
        text += "    # Every client with every request. Fill in the paths that your application has; what \
                 comes of them is left to --accept.\n";
        text += "    surface:\n";
    }
    for Endpoint { name, listener, words, .. } in provable {
        let who: Vec<_> = clients.values().map(String::as_str).chain([STRANGER, NOBODY]).collect();
        let http =
            listener.http.iter().map(|version| format!("\"{version}\"")).collect::<Vec<_>>().join(", ");
        let (who, to, paths) = (flow(&who), quoted(name), flow(&words.paths));
        text += &format!("      - surface: requests at {name}\n        as: {who}\n        to: {to}\n");
        text += &format!("        methods: {METHODS}\n        paths: {paths}\n        http: [{http}]\n");
    }
    text
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let Endpoint { name, service, port, identity, listener, words, dns, .. } = endpoint;
    let mut text = format!(
        "  {}:\n    service: {}\n    port: {port}\n    identity: {}\n",
        quoted(name),
        quoted(service),
        quoted(identity)
    );
    text.extend(dns.iter().map(|name| format!("    dns: {}\n", quoted(name))));
    let sni = listener.sni.iter().filter(|name| dns.as_ref() != Some(*name));
    text.extend(sni.map(|name| format!("    sni: {}\n", quoted(name))));
    text += &listener.admin.map_or_else(
        || "    # admin: Envoy's admin interface is not configured; without it no refusal can be proved from \
            the server's side.\n".into(),
        |admin| format!("    admin: {admin}\n"),
    );
    if let Some(cluster) = words.clusters.first().filter(|cluster| *cluster != "local_service") {
        text += &format!("    app-cluster: {}\n", quoted(cluster));
        text +=
            "    # upstream: the endpoint that it forwards to, if that is an Envoy with an identity too.\n";
    }
    text += "    # app-log: the container that logs the header x-svidproof-cell, if one does.\n";
    let others = listener.tls.sans.iter().filter(|san| !san.names_one()).count();
    if others > 0 {
        text += &format!(
            "    # {others} matcher(s) of its SAN list name no single SPIFFE ID: add clients that they let \
             in, and keep out.\n"
        );
    }
    text
}
