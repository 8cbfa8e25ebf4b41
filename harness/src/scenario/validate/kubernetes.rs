//! Names and numbers that Kubernetes or Helm would refuse, minutes later.

use super::Found;
use super::identity::{is_label, is_pair};
use crate::scenario::place::{Node, Place};
use crate::scenario::{Endpoint, Release, Scenario, Spire};

/// Which ports a Service can be given on each node, unless the API server says otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

pub(super) fn names(scenario: &Scenario, places: &Node, found: &mut Found) {
    spire(&scenario.spire, places.at("spire"), found);
    for (wave, releases) in scenario.install.iter().enumerate() {
        for (number, release) in releases.iter().enumerate() {
            self::release(release, places.at("install").nth(wave).nth(number), found);
        }
    }
    for (name, endpoint) in &scenario.endpoints {
        self::endpoint(endpoint, places.at("endpoints").at(name), found);
    }
}

fn spire(spire: &Spire, place: &Node, found: &mut Found) {
    let Spire { namespace, server, container, bundle, authority_secret, socket_dir } = spire;
    label("namespace", namespace, place.at("namespace").place(), found);
    object("StatefulSet", server, place.at("server").place(), found);
    label("container", container, place.at("container").place(), found);
    if let Some(bundle) = bundle {
        object("ConfigMap", bundle, place.at("bundle").place(), found);
    }
    if let Some(secret) = authority_secret {
        object("Secret", secret, place.at("authority-secret").place(), found);
    }
    let plain = socket_dir.split('/').all(|part| part != "." && part != "..");
    found.check(socket_dir.starts_with('/') && plain, place.at("socket-dir").place(), || {
        format!("`{socket_dir}` is not a folder of the node: write its whole path, such as `/run/spire`")
    });
}

fn release(release: &Release, place: &Node, found: &mut Found) {
    label("namespace", &release.namespace, place.at("namespace").place(), found);
    let fits = is_subdomain(&release.name) && release.name.len() <= 53;
    found.check(fits, place.at("release").place(), || {
        format!(
            "Helm takes no release `{}`: lower-case letters, digits, `-` and `.`, at most 53, and neither \
             first nor last a `-` or `.`",
            release.name
        )
    });
}

fn endpoint(endpoint: &Endpoint, place: &Node, found: &mut Found) {
    if let Some((namespace, name)) = endpoint.service.split_once('/').filter(|_| is_pair(&endpoint.service)) {
        let at = place.at("service").place();
        label("namespace", namespace, at, found);
        label("Service", name, at, found);
    }
    found.check(endpoint.port != 0, place.at("port").place(), || no_port(0));
    found.check(endpoint.admin != Some(0), place.at("admin").place(), || no_port(0));
    if let Some(container) = &endpoint.app_log {
        label("container", container, place.at("app-log").place(), found);
    }
    if let Some(published) = &endpoint.published {
        let at = place.at("published").at("node-port").place();
        found.check(NODE_PORTS.contains(&published.node_port), at, || {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            format!("no Service is given the node port {}: expected {first} to {last}", published.node_port)
        });
    }
}

fn no_port(number: u16) -> String {
    format!("nothing listens on port {number}: expected 1 to 65535")
}

fn label(what: &str, name: &str, place: Place, found: &mut Found) {
    found.check(is_label(name), place, || {
        format!(
            "Kubernetes takes no {what} `{name}`: lower-case letters, digits and `-`, at most 63, and \
             neither first nor last a `-`"
        )
    });
}

fn object(what: &str, name: &str, place: Place, found: &mut Found) {
    found.check(is_subdomain(name), place, || {
        format!(
            "Kubernetes takes no {what} `{name}`: lower-case letters, digits, `-` and `.`, at most 253, and \
             neither first nor last a `-` or `.`"
        )
    });
}

/// A DNS subdomain (RFC 1123, section 2.1): labels with dots between them, 253 characters at most.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}
