//! What must hold in a stage: its checks, its forged credentials, its surface, and the faults planted in it.

use std::collections::{BTreeMap, BTreeSet};

use svidproof_probe::protocol::{Http, TlsVersions};

use super::Found;
use super::expect::expect;
use super::identity::{is_label, label_wanted};
use super::request::{self, authority, headers, sent, server_name};
use super::values::{release, values};
use crate::forge::{self, SOUND};
use crate::scenario::mistake::instead;
use crate::scenario::place::{Node, Place};
use crate::scenario::{
    self, Check, Client, CutOff, Endpoint, Expect, Forged, Matrix, OneOrMany, Restart, Scenario, Stage,
    Stated, Table,
};

pub(super) fn stages(scenario: &Scenario, places: &Node, found: &mut Found) {
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
        if let Restart::Of(releases) = &stage.restart {
            for (number, name) in releases.iter().enumerate() {
                release(scenario, name, place.at("restart").nth(number).place(), found);
            }
        }
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

/// What the scenario as a whole says of forged credentials.
pub(super) fn forged(scenario: &Scenario, places: &Node, found: &mut Found) {
    let place = places.at("forged");
    if let Some(Forged { table, but }) = &scenario.forged {
        self::table(table, place.at("table").place(), found);
        self::but(but, place.at("but"), found);
    }
    let tried = scenario.forged.is_some() || scenario.stages.iter().any(|stage| !stage.forged.is_empty());
    found.check(!tried || scenario.spire.authority_secret.is_some(), places.key("forged"), || {
        "forged credentials take a CA that the trust domain's bundle holds: give `spire.authority-secret`, \
         the Secret of the server's upstream CA"
            .into()
    });
}

fn table(name: &str, place: Place, found: &mut Found) {
    let known = scenario::tables().into_iter().flatten().map(|(name, _)| *name);
    found.known("forged table", name, known, place);
}

/// What must come of some credentials otherwise than a table says.
fn but(but: &Table, places: &Node, found: &mut Found) {
    for (name, stated) in but {
        self::stated(name, stated, places, found);
    }
}

fn stated(name: &str, stated: &Stated, places: &Node, found: &mut Found) {
    let place = places.at(name);
    let known = forge::catalogue().into_iter().flatten().map(|(name, _)| name.as_str());
    found.known("forged credential", name, known.filter(|name| *name != SOUND), places.key(name));
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
        if let Some(name) = &forging.table {
            table(name, place.at("table").place(), found);
        }
        found.check(forging.table.is_some() || scenario.forged.is_some(), to, || {
            "nothing says what must come of the forged credentials: give the scenario `forged: \
             spiffe-validator`, or this one a `table`"
                .into()
        });
        but(&forging.but, place.at("but"), found);
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
                    format!(
                        "a surface needs evidence, and none can be had at `{name}`: give it `identity` \
                             and `admin`"
                    )
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
                format!(
                    "client `{name}` dials from outside the cluster, and not every endpoint here is \
                         `published`"
                )
            });
        }
        requests(scenario, matrix, place, found);
    }
}

/// What a surface dials with: something, and nothing that a request cannot carry.
fn requests(scenario: &Scenario, matrix: &Matrix, place: &Node, found: &mut Found) {
    let calls = place.has("grpc");
    let (methods, paths) = (("methods", &matrix.methods), ("paths", &matrix.paths));
    let requests = if calls { vec![("grpc", &matrix.grpc)] } else { vec![methods, paths] };
    for (key, many) in [("as", &matrix.clients), ("to", &matrix.to)].into_iter().chain(requests) {
        found.check(many.iter().next().is_some(), place.at(key).place(), || {
            format!("`{key}` is empty, so nothing is dialled")
        });
    }
    for key in ["methods", "paths", "http"].into_iter().filter(|key| calls && place.has(key)) {
        let why = "a call is a POST of HTTP/2 to a path of its own";
        found.add(place.key(key), format!("`grpc` and `{key}` exclude each other: {why}"));
    }
    request::calls(&matrix.grpc, place.at("grpc"), found);
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
    found.check(!matrix.http.contains(&Http::None), place.at("http").place(), || {
        "the requests of a surface are HTTP".into()
    });
    let over2 = calls || matrix.http.contains(&Http::Http2);
    found.check(matrix.tls != TlsVersions::None || !over2, place.at("http").place(), || {
        "in plain text (`tls: none`) HTTP/1.1 is spoken here".into()
    });
    server_name(matrix.sni.as_deref(), place.at("sni").place(), found);
    authority(matrix.authority.as_deref(), over2, place.at("authority").place(), found);
    for (number, headers) in matrix.headers.iter().enumerate() {
        self::headers(headers, place.at("headers").nth(number), found);
        one_token(scenario, &matrix.clients, headers, place.at("headers").nth(number), found);
    }
}

/// A request bears one `authorization` (RFC 9110, section 11.6.2): a client's JWT-SVID is it.
fn one_token(
    scenario: &Scenario,
    clients: &OneOrMany,
    headers: &BTreeMap<String, String>,
    place: &Node,
    found: &mut Found,
) {
    let Some(name) = headers.keys().find(|name| name.eq_ignore_ascii_case("authorization")) else { return };
    let bears = |client: &&str| scenario.clients.get(*client).is_some_and(|client| client.jwt().is_some());
    if let Some(client) = clients.iter().find(bears) {
        found.add(
            place.key(name),
            format!("client `{client}` has a `jwt`, which is its `{name}`: a request bears one alone"),
        );
    }
}

fn check(scenario: &Scenario, stage: &Stage, check: &Check, place: &Node, found: &mut Found) {
    found.check(check.clients.iter().next().is_some(), place.at("as").place(), || {
        format!("check `{}` has no client", check.name)
    });
    request::kind(scenario, check, place, found);
    one_token(scenario, &check.clients, &check.headers, place.at("headers"), found);
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
    bodiless(check, place, found);
    if let Some(endpoint) = endpoint {
        reach(scenario, check, endpoint, place, found);
    }
    control(scenario, stage, check, place, found);
}

/// What is said of the body of an answer that has none (RFC 9110, sections 6.4.1 and 15.3.5): no answer could
/// be otherwise, or none could be so.
fn bodiless(check: &Check, place: &Node, found: &mut Found) {
    let head = check.send.iter().find(|send| send.starts_with("HEAD "));
    let why = match (head, check.expect.status) {
        (Some(send), _) => format!("the answer to `{send}`"),
        (None, Some(status @ (204 | 205 | 304))) => format!("an answer with status {status}"),
        _ => return,
    };
    let Expect { json, body, contains, lacks, count, .. } = &check.expect;
    let said = [
        ("json", json.is_some()),
        // `""` says just that.
        ("body", body.as_ref().is_some_and(|body| !body.is_empty())),
        ("contains", !contains.is_empty()),
        ("lacks", !lacks.is_empty()),
        ("count", !count.is_empty()),
    ];
    for (key, _) in said.into_iter().filter(|(_, said)| *said) {
        found.add(place.at("expect").key(key), format!("{why} has no body, so `{key}` looks at nothing"));
    }
}

/// What a check asks of its endpoint.
fn reach(scenario: &Scenario, check: &Check, endpoint: &Endpoint, place: &Node, found: &mut Found) {
    let to = &check.to;
    let plain = endpoint.is_plain() || check.tls == TlsVersions::None;
    found.check(
        check.expect.cut_off != Some(CutOff::NotTls) || plain,
        place.at("expect").at("cut-off").place(),
        || "who speaks TLS is not cut off for want of it: add `tls: none`".into(),
    );
    found.check(!plain || check.sni.is_none(), place.key("sni"), || {
        "plain text carries no server name".into()
    });
    if check.tls == TlsVersions::None {
        found.check(check.expect.alert.is_none(), place.at("expect").key("alert"), || {
            "who speaks plain text (`tls: none`) reads no alert: expect `cut-off: not-tls`".into()
        });
        found.check(check.http != Http::Http2, place.at("http").place(), || {
            "in plain text (`tls: none`) HTTP/1.1 is spoken here".into()
        });
    }
    if endpoint.is_plain() {
        found.check(check.expect.alert.is_none(), place.at("expect").key("alert"), || {
            format!("endpoint `{to}` is plain HTTP (it has no `identity`), so it sends no alert")
        });
        found.check(check.http != Http::Http2, place.at("http").place(), || {
            format!("endpoint `{to}` is plain HTTP, which is HTTP/1.1 here")
        });
        let none = matches!(check.tls, TlsVersions::Any | TlsVersions::None);
        found.check(none, place.at("tls").place(), || {
            format!("endpoint `{to}` is plain HTTP: it has no TLS version")
        });
    }
    found.check(
        check.expect.upstream.is_none() || endpoint.upstream.is_some(),
        place.at("expect").key("upstream"),
        || format!("endpoint `{to}` has no `upstream` that could have counted this"),
    );
    // An alert and a cut come from the endpoint itself, a status from it or from what stands behind it.
    let hops = if check.expect.is_before_a_request() { 1 } else { usize::MAX };
    let refusing = scenario.route(to).take(hops).last().map(|last| &scenario.endpoints[last]);
    let readable = refusing.is_some_and(|last| last.admin.is_some());
    let Expect { cut_off, counts, by, .. } = &check.expect;
    let counted = cut_off.is_some() || counts.is_some() || by.is_some();
    let seen = refusing.is_some_and(|last| last.evidence.is_some()) && !counted;
    found.check(by.is_none() || check.expect.is_refusal() || readable, place.at("expect").key("by"), || {
        format!(
            "who answered is told by counters, and none can be had at `{to}`: give the endpoint behind \
             which the application stands the port of its Envoy's `admin`"
        )
    });
    found.check(!check.expect.is_refusal() || readable || seen, place.at("to").place(), || {
        format!(
            "a refusal needs evidence, and none can be had at `{to}`: give the endpoint that refuses the \
             port of its Envoy's `admin`, or, where nobody may read it, `evidence: client-side` (a \
             `cut-off`, `counts` and `by` are told by counters alone)"
        )
    });
}

fn control(scenario: &Scenario, stage: &Stage, check: &Check, place: &Node, found: &mut Found) {
    let Some(name) = &check.control else {
        let controlled = check.send.iter().all(|send| stage.control_of(check, send).is_some());
        found.check(!check.expect.is_refusal() || controlled, place.at("check").place(), || {
            format!(
                "`{}` expects a refusal and has no `control`: name a check of this stage that succeeds \
                     at `{}`",
                check.name, check.to
            )
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
    let is_plain = scenario.endpoints.get(&check.to).is_none_or(Endpoint::is_plain);
    let same_way = is_plain || control.tls != TlsVersions::None || check.tls == TlsVersions::None;
    found.check(same_way || control.to != check.to, at, || {
        format!("control `{name}` speaks plain text (`tls: none`): it says nothing about who speaks TLS")
    });
    // Envoy turns down, with a status, whatever kind of request it does not let through at all.
    let kinds = [
        ("opens no WebSocket", &check.websocket, &control.websocket),
        ("makes no gRPC call", &check.grpc, &control.grpc),
    ];
    for (what, of_check, of_control) in kinds {
        let shows = of_check.is_empty() || !of_control.is_empty() || check.expect.is_before_a_request();
        found.check(shows, at, || {
            format!("control `{name}` {what}: where none is let through, everyone is refused")
        });
    }
    // The name chooses the filter chain: another may refuse everyone.
    let same_name = control.sni == check.sni || check.expect.cut_off.is_some();
    found.check(same_name || control.to != check.to, at, || {
        format!(
            "control `{name}` sends another server name (`sni`), which may lead to another filter chain: it \
             says nothing about this refusal"
        )
    });
    found.check(control.to == check.to, at, || {
        format!(
            "control `{name}` goes to `{}`, not to `{}`: it says nothing about this refusal",
            control.to, check.to
        )
    });
}

pub(super) fn broken(scenario: &Scenario, places: &Node, found: &mut Found) {
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
