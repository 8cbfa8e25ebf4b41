//! Names and numbers that Kubernetes or Helm would refuse, minutes later.

use super::Found;
use super::identity::{is_label, is_pair};
use crate::scenario::place::{Node, Place};
use crate::scenario::{Endpoint, Published, Release, Scenario, Spire};

/// Which ports a Service can be given on each node, unless the API server says otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

pub(super) fn names(scenario: &Scenario, places: &Node, found: &mut Found) {
    if scenario.spire.is_stated() {
        spire(&scenario.spire, places.at("spire"), found);
    }
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
    label("namespace", &spire.namespace, place.at("namespace").place(), found);
    server(&spire.server, place.at("server").place(), found);
    label("container", &spire.container, place.at("container").place(), found);
    absolute("program", &spire.binary, place.at("binary").place(), found);
    if let Some(socket) = &spire.api_socket {
        absolute("socket", socket, place.at("api-socket").place(), found);
    }
    if let Some((namespace, bundle)) = spire.bundle() {
        label("namespace", namespace, place.at("bundle").place(), found);
        object("ConfigMap", bundle, place.at("bundle").place(), found);
    }
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = !spire.bundle_key.is_empty() && spire.bundle_key.bytes().all(is_key);
    found.check(fits, place.at("bundle-key").place(), || {
        format!("no ConfigMap has a key `{}`: letters, digits, `-`, `_` and `.` alone", spire.bundle_key)
    });
    found.check(spire.bundle.is_some() || !place.has("bundle-key"), place.key("bundle-key"), || {
        "`bundle-key` without `bundle`: of which ConfigMap?".into()
    });
    for (key, secret) in
        [("authority-secret", &spire.authority_secret), ("x509pop-secret", &spire.x509pop_secret)]
    {
        if let Some(secret) = secret {
            object("Secret", secret, place.at(key).place(), found);
        }
    }
    if let Some(outside) = &spire.outside {
        let place = place.at("outside");
        service(&outside.service, place.at("service").place(), found);
        found.check(outside.port != 0, place.at("port").place(), || no_port(0));
        published(outside.published, place.at("published"), found);
    }
    socket(spire, place, found);
}

/// Alone, or after its kind.
fn server(server: &str, place: Place, found: &mut Found) {
    match server.split_once('/') {
        None => object("StatefulSet or Deployment", server, place, found),
        Some(("statefulset", name)) => object("StatefulSet", name, place, found),
        Some(("deployment", name)) => object("Deployment", name, place, found),
        Some((kind, name)) => found.add(
            place,
            format!("a SPIRE server is no `{kind}`: write `deployment/{name}` or `statefulset/{name}`"),
        ),
    }
}

/// The agent's socket: where its folder comes from, and its name in it.
fn socket(spire: &Spire, place: &Node, found: &mut Found) {
    match (&spire.socket_dir, &spire.csi) {
        (Some(folder), None) => {
            found.check(is_absolute(folder), place.at("socket-dir").place(), || {
                format!("`{folder}` is not a folder of the node: write its whole path, such as `/run/spire`")
            });
        }
        (None, Some(driver)) => object("CSI driver", driver, place.at("csi").place(), found),
        (None, None) => found.add(
            place.place(),
            "where is the agent's socket? `socket-dir` is its folder on the node, `csi` the driver that \
             gives it to pods, such as `csi.spiffe.io`",
        ),
        (Some(_), Some(_)) => found.add(
            place.key("csi"),
            "`csi` and `socket-dir`: the folder of the agent's socket comes from one of them",
        ),
    }
    let file = &spire.socket_file;
    let plain = !file.is_empty() && !file.contains('/') && file != "." && file != "..";
    found.check(plain, place.at("socket-file").place(), || {
        format!("`{file}` is no name of a file: its folder is said by `socket-dir` or `csi`")
    });
}

fn absolute(what: &str, path: &str, place: Place, found: &mut Found) {
    found.check(is_absolute(path), place, || {
        format!("`{path}` is no {what} of the server's container: write its whole path")
    });
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part != "." && part != "..")
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
    service(&endpoint.service, place.at("service").place(), found);
    found.check(endpoint.port != 0, place.at("port").place(), || no_port(0));
    found.check(endpoint.admin != Some(0), place.at("admin").place(), || no_port(0));
    if let Some(container) = &endpoint.app_log {
        label("container", container, place.at("app-log").place(), found);
    }
    if let Some(published) = endpoint.published {
        self::published(published, place.at("published"), found);
    }
}

fn service(service: &str, at: Place, found: &mut Found) {
    found.check(is_pair(service), at, || {
        format!("`{service}` does not name a Service: write `namespace/name`")
    });
    if let Some((namespace, name)) = service.split_once('/').filter(|_| is_pair(service)) {
        label("namespace", namespace, at, found);
        label("Service", name, at, found);
    }
}

fn published(published: Published, place: &Node, found: &mut Found) {
    let at = place.at("node-port").place();
    found.check(published.node_port.is_some() || published.host_port.is_none(), at, || {
        "`host-port` leads to a `node-port`, and there is none".into()
    });
    let node_port = published.node_port;
    found.check(node_port.is_none_or(|port| NODE_PORTS.contains(&port)), at, || {
        let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
        format!(
            "no Service is given the node port {}: expected {first} to {last}",
            node_port.unwrap_or_default()
        )
    });
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
