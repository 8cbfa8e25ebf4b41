//! What must hold between the parts of a scenario, so that a run does not find out minutes later. Every
//! mistake is told, with its place.
//!
//! Nothing is asked but the file system, and that only for charts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use svidproof_probe::protocol::{Http, TlsVersions};

use super::parse::{Mistake, Node, Place, instead};
use super::{
    AlertName, Check, Client, Endpoint, Entry, Expect, FullClient, Release, Scenario, Stage, Stated,
};
use crate::alert;
use crate::forge::{self, SOUND};
use crate::proof::plan::CELL_HEADER;

/// In the order of the file; empty for a scenario that can be run.
pub(super) fn mistakes(scenario: &Scenario, places: &Node) -> Vec<Mistake> {
    let mut found = Found::default();
    names(scenario, places, &mut found);
    install(scenario, places.at("install"), &mut found);
    registration(&scenario.registration, places.at("registration"), &mut found);
    for (name, endpoint) in &scenario.endpoints {
        self::endpoint(scenario, name, endpoint, places.at("endpoints"), &mut found);
    }
    for (name, client) in &scenario.clients {
        self::client(client, places.at("clients").at(name), &mut found);
    }
    for (name, stated) in &scenario.forged {
        forged(name, stated, places.at("forged"), &mut found);
    }
    found.check(scenario.forged.is_empty() || scenario.spire.authority_secret.is_some(), places.key("forged"), || {
        "forged credentials take a CA that the trust domain's bundle holds: give `spire.authority-secret`, the Secret of the server's upstream CA"
            .into()
    });
    stages(scenario, places, &mut found);
    broken(scenario, places.at("broken"), &mut found);

    found.0.sort_by_key(|(place, _)| *place);
    let mistake = |(place, message): (Place, String)| Mistake {
        file: scenario.file.clone(),
        line: place.line,
        column: place.column,
        message,
    };
    found.0.into_iter().map(mistake).collect()
}

#[derive(Default)]
struct Found(Vec<(Place, String)>);

impl Found {
    fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push((place, message.into()));
    }

    fn check(&mut self, holds: bool, place: Place, message: impl FnOnce() -> String) {
        if !holds {
            self.add(place, message());
        }
    }

    /// A name that must be among those that are defined.
    fn known<'a>(
        &mut self,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
        place: Place,
    ) -> bool {
        let found = known.clone().into_iter().any(|one| one == name);
        self.check(found, place, || format!("{what} `{name}` is not defined{}", instead(name, known)));
        found
    }
}

fn names(scenario: &Scenario, places: &Node, found: &mut Found) {
    let place = places.at("scenario").place();
    found.check(is_label(&scenario.name), place, || label_wanted("scenario", &scenario.name));
    if let Err(why) = trust_domain(&scenario.trust_domain) {
        found.add(
            places.at("trust-domain").place(),
            format!("`{}` is not a trust domain: {why}", scenario.trust_domain),
        );
    }
}

fn install(scenario: &Scenario, places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (wave, releases) in scenario.install.iter().enumerate() {
        for (number, release) in releases.iter().enumerate() {
            let place = places.nth(wave).nth(number);
            found.check(
                seen.insert((&release.namespace, &release.name)),
                place.at("release").place(),
                || {
                    format!(
                        "release `{}` is already in namespace `{}`: give this one another name",
                        release.name, release.namespace
                    )
                },
            );
            chart(scenario, release, place.at("chart").place(), found);
        }
    }
}

fn chart(scenario: &Scenario, release: &Release, place: Place, found: &mut Found) {
    let folder = scenario.root.join(&release.chart);
    if folder.join("Chart.yaml").is_file() {
        return;
    }
    let siblings = folder.parent().and_then(|parent| parent.read_dir().ok()).into_iter().flatten().flatten();
    let charts = siblings.map(|entry| entry.path()).filter(|path| path.join("Chart.yaml").is_file());
    let mut charts: Vec<String> =
        charts.map(|path| path.strip_prefix(&scenario.root).unwrap_or(&path).display().to_string()).collect();
    charts.sort();
    let wrong = release.chart.display().to_string();
    let what = if folder.is_dir() { "has no Chart.yaml" } else { "is not there" };
    let root = scenario.root.display();
    found.add(
        place,
        format!(
            "chart `{wrong}` {what}, seen from {root}{}",
            instead(&wrong, charts.iter().map(String::as_str))
        ),
    );
}

fn registration(entries: &[Entry], places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (number, entry) in entries.iter().enumerate() {
        let place = places.nth(number);
        spiffe_path(&entry.id, place.at("id").place(), found);
        found.check(!entry.select.is_empty(), place.at("select").place(), || {
            format!("the entry for `{}` selects nothing: give at least one `type:value`", entry.id)
        });
        for (index, selector) in entry.select.iter().enumerate() {
            let typed =
                selector.split_once(':').is_some_and(|(kind, value)| !kind.is_empty() && !value.is_empty());
            found.check(typed, place.at("select").nth(index).place(), || {
                format!("selector `{selector}` has no type: write `type:value`, such as `k8s:ns:default`")
            });
        }
        let selectors: BTreeSet<&String> = entry.select.iter().collect();
        found.check(seen.insert((&entry.id, selectors)), place.at("id").place(), || {
            format!("the entry for `{}` with these selectors stands here twice", entry.id)
        });
    }
}

fn endpoint(scenario: &Scenario, name: &str, endpoint: &Endpoint, places: &Node, found: &mut Found) {
    let place = places.at(name);
    found.check(is_pair(&endpoint.service), place.at("service").place(), || {
        format!("`{}` does not name a Service: write `namespace/name`", endpoint.service)
    });
    if let Some(identity) = &endpoint.identity {
        spiffe_path(identity, place.at("identity").place(), found);
    }
    found.check(endpoint.dns.is_none() || endpoint.identity.is_some(), place.key("dns"), || {
        format!("endpoint `{name}` has `dns` but no `identity`: without an identity it is plain HTTP")
    });
    found.check(endpoint.app_log.is_none() || endpoint.admin.is_some(), place.key("app-log"), || {
        format!("endpoint `{name}` has `app-log` but no `admin`: the two are read together as evidence")
    });
    let Some(upstream) = &endpoint.upstream else { return };
    let at = place.at("upstream").place();
    if found.known("endpoint", upstream, scenario.endpoints.keys().map(String::as_str), at) {
        let behind = upstreams(scenario, endpoint);
        // Told for each endpoint on the circle, not for those that merely lead into it.
        if let Some(back) = behind.iter().position(|hop| *hop == name) {
            found.add(at, format!("`upstream` runs in a circle: {name} -> {}", behind[..=back].join(" -> ")));
        }
    }
}

/// The endpoints behind one, nearest first; ends with the first that comes twice.
fn upstreams<'a>(scenario: &'a Scenario, from: &'a Endpoint) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = from.upstream.as_deref();
    while let Some(name) = next {
        let again = path.contains(&name);
        path.push(name);
        next = if again {
            None
        } else {
            scenario.endpoints.get(name).and_then(|endpoint| endpoint.upstream.as_deref())
        };
    }
    path
}

fn client(client: &Client, place: &Node, found: &mut Found) {
    if let Some(id) = client.identity() {
        spiffe_path(id, place.at("id").place(), found);
    }
    let Client::Full(FullClient { outside, from: Some(from), .. }) = client else { return };
    let at = place.at("from").place();
    found.check(is_pair(from), at, || {
        format!("`{from}` does not name a workload: write `namespace/app`, after its pods' label `app`")
    });
    found.check(*outside, place.key("from"), || {
        "`from` is for a client with `outside: true`: others are attested where they dial".into()
    });
    found.check(client.identity().is_some(), place.key("from"), || {
        "`from` with `id: none`: nobody has no SVID to carry out".into()
    });
}

fn stages(scenario: &Scenario, places: &Node, found: &mut Found) {
    let place = places.at("stages");
    found.check(!scenario.stages.is_empty(), place.place(), || {
        "there is no stage, so there is nothing to check".into()
    });
    let mut seen = BTreeSet::new();
    for (number, stage) in scenario.stages.iter().enumerate() {
        let place = place.nth(number);
        let at = place.at("stage").place();
        found.check(is_label(&stage.name), at, || label_wanted("stage", &stage.name));
        found.check(seen.insert(&stage.name), at, || format!("there are two stages `{}`", stage.name));
        found.check(!stage.checks.is_empty(), place.at("checks").place(), || {
            format!("stage `{}` has no checks", stage.name)
        });
        values(scenario, &stage.values, place.at("values"), found);
        let mut names = BTreeSet::new();
        for (number, check) in stage.checks.iter().enumerate() {
            let place = place.at("checks").nth(number);
            found.check(names.insert(&check.name), place.at("check").place(), || {
                format!(
                    "stage `{}` has two checks `{}`: controls and reports go by the name",
                    stage.name, check.name
                )
            });
            self::check(scenario, stage, check, place, found);
        }
        forgings(scenario, stage, place.at("forged"), found);
        surface(scenario, stage, place.at("surface"), found);
    }
}

/// One statement of what must come of a forged credential.
fn forged(name: &str, stated: &Stated, places: &Node, found: &mut Found) {
    let place = places.at(name);
    let known = forge::RECIPES.keys().map(String::as_str).filter(|name| *name != SOUND);
    found.known("forged credential", name, known, places.key(name));
    let Stated { status, alert, counts, finding: _ } = stated;
    expect(
        &Expect { status: *status, alert: alert.clone(), counts: *counts, ..Expect::default() },
        place,
        found,
    );
}

fn forgings(scenario: &Scenario, stage: &Stage, places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (number, forging) in stage.forged.iter().enumerate() {
        let place = places.nth(number);
        let (to, like) = (place.at("to").place(), place.at("like").place());
        found.check(seen.insert(&forging.to), to, || {
            format!("endpoint `{}` stands here twice: one `forged` is enough", forging.to)
        });
        if found.known("endpoint", &forging.to, scenario.endpoints.keys().map(String::as_str), to) {
            found.check(scenario.endpoints[&forging.to].gives_evidence(), to, || {
                format!(
                    "a refusal needs evidence, and none can be had at `{}`: give it `identity` and `admin`",
                    forging.to
                )
            });
        }
        if found.known("client", &forging.like, scenario.clients.keys().map(String::as_str), like) {
            found.check(scenario.clients[&forging.like].identity().is_some(), like, || {
                format!("client `{}` has no SPIFFE ID that a credential could be like", forging.like)
            });
        }
        sent(&forging.send, Http::Http1, place.at("send").place(), found);
        for (name, stated) in &forging.but {
            forged(name, stated, place.at("but"), found);
            found.check(scenario.forged.contains_key(name), place.at("but").key(name), || {
                format!("the scenario's `forged` does not have `{name}`, so there is nothing to differ from")
            });
        }
    }
}

fn surface(scenario: &Scenario, stage: &Stage, places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (number, matrix) in stage.surface.iter().enumerate() {
        let place = places.nth(number);
        found.check(seen.insert(&matrix.name), place.at("surface").place(), || {
            format!("there are two surfaces `{}`", matrix.name)
        });
        for (number, name) in matrix.to.iter().enumerate() {
            let at = place.at("to").nth(number).place();
            if found.known("endpoint", name, scenario.endpoints.keys().map(String::as_str), at) {
                found.check(scenario.endpoints[name].gives_evidence(), at, || {
                    format!("a surface needs evidence, and none can be had at `{name}`: give it `identity` and `admin`")
                });
            }
        }
        for (number, name) in matrix.clients.iter().enumerate() {
            let at = place.at("as").nth(number).place();
            found.known("client", name, scenario.clients.keys().map(String::as_str), at);
            let outside = scenario.clients.get(name).is_some_and(Client::is_outside);
            let published = |to| {
                scenario.endpoints.get(to).is_none_or(|endpoint: &Endpoint| endpoint.published.is_some())
            };
            found.check(!outside || matrix.to.iter().all(published), at, || {
                format!("client `{name}` dials from outside the cluster, and not every endpoint here is `published`")
            });
        }
        for (key, many) in [
            ("as", &matrix.clients),
            ("to", &matrix.to),
            ("methods", &matrix.methods),
            ("paths", &matrix.paths),
        ] {
            found.check(many.iter().next().is_some(), place.at(key).place(), || {
                format!("`{key}` is empty, so nothing is dialled")
            });
        }
        found.check(!matrix.http.is_empty(), place.at("http").place(), || {
            "`http` is empty, so nothing is dialled".into()
        });
        found.check(!matrix.headers.is_empty(), place.at("headers").place(), || {
            "`headers` is empty, so nothing is dialled: `{}` stands for a request without any".into()
        });
        for (number, method) in matrix.methods.iter().enumerate() {
            sent(&format!("{method} /"), Http::Http1, place.at("methods").nth(number).place(), found);
        }
        for (number, path) in matrix.paths.iter().enumerate() {
            for http in &matrix.http {
                sent(&format!("GET {path}"), *http, place.at("paths").nth(number).place(), found);
            }
        }
        for (number, headers) in matrix.headers.iter().enumerate() {
            self::headers(headers, place.at("headers").nth(number), found);
        }
    }
}

fn headers(headers: &BTreeMap<String, String>, place: &Node, found: &mut Found) {
    for name in headers.keys() {
        found.check(!name.eq_ignore_ascii_case(CELL_HEADER), place.key(name), || {
            format!("`{CELL_HEADER}` is svidproof's own header")
        });
    }
}

fn sent(send: &str, http: Http, place: Place, found: &mut Found) {
    if let Err(why) = request(send, http) {
        found.add(place, format!("`{send}` is not a request: {why}; write `METHOD TARGET`, such as `GET /`"));
    }
}

fn values(scenario: &Scenario, values: &BTreeMap<String, Value>, place: &Node, found: &mut Found) {
    let releases = scenario.install.iter().flatten().map(|release| release.name.as_str());
    for name in values.keys() {
        found.known("release", name, releases.clone(), place.key(name));
    }
}

fn check(scenario: &Scenario, stage: &Stage, check: &Check, place: &Node, found: &mut Found) {
    found.check(check.clients.iter().next().is_some(), place.at("as").place(), || {
        format!("check `{}` has no client", check.name)
    });
    found.check(check.send.iter().next().is_some(), place.at("send").place(), || {
        format!("check `{}` sends nothing", check.name)
    });
    for (number, send) in check.send.iter().enumerate() {
        sent(send, check.http, place.at("send").nth(number).place(), found);
    }
    headers(&check.headers, place.at("headers"), found);
    let endpoint = scenario.endpoints.get(&check.to);
    found.known("endpoint", &check.to, scenario.endpoints.keys().map(String::as_str), place.at("to").place());
    for (number, name) in check.clients.iter().enumerate() {
        let at = place.at("as").nth(number).place();
        found.known("client", name, scenario.clients.keys().map(String::as_str), at);
        let outside = scenario.clients.get(name).is_some_and(Client::is_outside);
        found.check(!outside || endpoint.is_none_or(|endpoint| endpoint.published.is_some()), at, || {
            format!(
                "client `{name}` dials from outside the cluster, and endpoint `{}` is not `published`",
                check.to
            )
        });
    }
    expect(&check.expect, place.at("expect"), found);
    if let Some(endpoint) = endpoint {
        reach(scenario, check, endpoint, place, found);
    }
    control(stage, check, place, found);
}

/// What a check asks of its endpoint.
fn reach(scenario: &Scenario, check: &Check, endpoint: &Endpoint, place: &Node, found: &mut Found) {
    let to = &check.to;
    if endpoint.is_plain() {
        found.check(check.expect.alert.is_none(), place.at("expect").key("alert"), || {
            format!("endpoint `{to}` is plain HTTP (it has no `identity`), so it sends no alert")
        });
        found.check(check.http == Http::Http1, place.at("http").place(), || {
            format!("endpoint `{to}` is plain HTTP, which is HTTP/1.1 here")
        });
        found.check(check.tls == TlsVersions::Any, place.at("tls").place(), || {
            format!("endpoint `{to}` is plain HTTP: it has no TLS version")
        });
    }
    found.check(
        check.expect.upstream.is_none() || endpoint.upstream.is_some(),
        place.at("expect").key("upstream"),
        || format!("endpoint `{to}` has no `upstream` that could have counted this"),
    );
    // An alert comes from the endpoint itself, a status from it or from what stands behind it.
    let behind = if check.expect.alert.is_some() { Vec::new() } else { upstreams(scenario, endpoint) };
    let counts = std::iter::once(Some(endpoint))
        .chain(behind.into_iter().map(|name| scenario.endpoints.get(name)))
        .flatten();
    let readable = counts.last().is_some_and(|last| last.admin.is_some());
    found.check(!check.expect.is_refusal() || readable, place.at("to").place(), || {
        format!("a refusal needs evidence, and none can be had at `{to}`: give the endpoint that refuses the port of its Envoy's `admin`")
    });
}

fn control(stage: &Stage, check: &Check, place: &Node, found: &mut Found) {
    let Some(name) = &check.control else {
        found.check(!check.expect.is_refusal(), place.at("check").place(), || {
            format!("`{}` expects a refusal and has no `control`: name a check of this stage that succeeds at `{}`", check.name, check.to)
        });
        return;
    };
    let at = place.at("control").place();
    let others = stage.checks.iter().map(|other| other.name.as_str()).filter(|other| *other != check.name);
    let Some(control) = stage.checks.iter().find(|other| other.name == *name) else {
        found.add(
            at,
            format!("control `{name}` is not a check of stage `{}`{}", stage.name, instead(name, others)),
        );
        return;
    };
    found.check(!control.expect.is_refusal(), at, || {
        format!("control `{name}` is itself a refusal: a control must succeed")
    });
    found.check(control.to == check.to, at, || {
        format!(
            "control `{name}` goes to `{}`, not to `{}`: it says nothing about this refusal",
            control.to, check.to
        )
    });
}

fn expect(expect: &Expect, place: &Node, found: &mut Found) {
    match (expect.status, &expect.alert) {
        (None, None) => found.add(place.place(), "nothing is expected: give `status` or `alert`"),
        (Some(_), Some(_)) => found.add(
            place.key("alert"),
            "`status` and `alert` exclude each other: after an alert there is no answer",
        ),
        (Some(status), None) => {
            found.check((200..=599).contains(&status), place.at("status").place(), || {
                format!("{status} is not the status of a final answer: expected 200 to 599")
            });
            found.check(expect.counts.is_none(), place.key("counts"), || {
                "`counts` says what is counted with an `alert`".into()
            });
        }
        (None, Some(alert)) => {
            self::alert(alert, place.at("alert").place(), found);
            let needing = [
                ("json", expect.json.is_some()),
                ("body", expect.body.is_some()),
                ("contains", !expect.contains.is_empty()),
                ("lacks", !expect.lacks.is_empty()),
                ("count", !expect.count.is_empty()),
                ("headers", !expect.headers.is_empty()),
                ("upstream", expect.upstream.is_some()),
            ];
            for (key, _) in needing.into_iter().filter(|(_, there)| *there) {
                found.add(
                    place.key(key),
                    format!("`{key}` needs `status`: after an alert there is no answer"),
                );
            }
        }
    }
    for name in expect.headers.keys() {
        found.check(*name == name.to_lowercase(), place.at("headers").key(name), || {
            format!("write the header `{name}` in lower case")
        });
    }
}

fn alert(name: &AlertName, place: Place, found: &mut Found) {
    match name {
        AlertName::Number(number) => {
            found.check(alert::by_number(*number).is_some(), place, || {
                format!("no TLS alert has the number {number}")
            });
        }
        AlertName::Name(name) => match alert::by_boringssl(name) {
            Some(alert) => {
                found.add(place, format!("alerts go by their RFC name: did you mean `{}`?", alert.name))
            }
            None => drop(found.known("TLS alert", name, alert::ALERTS.iter().map(|alert| alert.name), place)),
        },
    }
}

fn broken(scenario: &Scenario, places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (number, broken) in scenario.broken.iter().enumerate() {
        let place = places.nth(number);
        found.check(seen.insert(&broken.name), place.at("broken").place(), || {
            format!("there are two faults `{}`", broken.name)
        });
        found.check(!broken.red.is_empty(), place.at("red").place(), || {
            format!("the fault `{}` turns no check red", broken.name)
        });
        values(scenario, &broken.values, place.at("values"), found);
        found.known(
            "stage",
            &broken.stage,
            scenario.stages.iter().map(|stage| stage.name.as_str()),
            place.at("stage").place(),
        );
        let Some(stage) = scenario.stages.iter().find(|stage| stage.name == broken.stage) else { continue };
        for (index, check) in broken.red.iter().enumerate() {
            let mut checks = stage.checks.iter().map(|check| check.name.as_str());
            found.check(checks.clone().any(|name| name == check), place.at("red").nth(index).place(), || {
                format!(
                    "`{check}` is not a check of stage `{}`{}",
                    stage.name,
                    instead(check, checks.by_ref())
                )
            });
        }
    }
}

/// `METHOD TARGET`. The target is checked no further than that a request line can carry it: odd ones are what
/// some checks are about.
fn request(send: &str, http: Http) -> Result<(), &'static str> {
    let (method, target) = send.split_once(' ').ok_or("it has no target")?;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err("its method is not in upper case");
    }
    let absolute = target.starts_with("http://") || target.starts_with("https://");
    if !target.starts_with('/') && !absolute {
        return Err("its target does not start with `/`");
    }
    if absolute && http == Http::Http2 {
        return Err("its target is absolute, which HTTP/2 has no form for");
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its target has a character that a request line cannot carry");
    }
    Ok(())
}

/// The path of a SPIFFE ID, by section 2.2 of the SPIFFE ID standard.
fn spiffe_path(path: &str, place: Place, found: &mut Found) {
    let why = if path.starts_with("spiffe://") {
        "write the path alone, without `spiffe://` and the trust domain"
    } else if !path.starts_with('/') {
        "it does not start with `/`"
    } else if path[1..].split('/').any(str::is_empty) {
        "it has an empty segment"
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        "it has a segment `.` or `..`"
    } else if !path.bytes().all(|byte| byte == b'/' || is_spiffe_byte(byte)) {
        "only letters, digits, `.`, `-` and `_` may stand between the `/`"
    } else {
        return;
    };
    found.add(place, format!("`{path}` is not the path of a SPIFFE ID: {why}"));
}

/// By section 2.1 of the SPIFFE ID standard.
fn trust_domain(name: &str) -> Result<(), &'static str> {
    if name.contains("://") {
        return Err("write it without `spiffe://`");
    }
    if name.is_empty() || name.len() > 255 {
        return Err("it has 1 to 255 characters");
    }
    if !name.bytes().all(|byte| is_spiffe_byte(byte) && !byte.is_ascii_uppercase()) {
        return Err("only lower-case letters, digits, `.`, `-` and `_` may stand in it");
    }
    Ok(())
}

fn is_spiffe_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn is_pair(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
}

/// A DNS label (RFC 1123).
pub fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    ends && name.len() <= 63 && name.bytes().all(|byte| plain(byte) || byte == b'-')
}

fn label_wanted(what: &str, name: &str) -> String {
    format!(
        "`{name}` cannot name a {what}: it goes into files, headers and logs; lower-case letters, digits and `-` are fit for all of them"
    )
}
