//! What a stage says in a few lines, `forged` and `surface`, written out as the checks that it stands for.
//! Only for a scenario that is valid.

use std::collections::BTreeMap;

use svidproof_probe::protocol::{Http, TlsVersions};

use super::place::{Node, Place};
use super::{Check, Client, Expect, Forging, Matrix, OneOrMany, Scenario, Stated, forged, spelled};
use crate::forge::SOUND;

/// What a matrix stands for stands where that does, in the document that `places` is.
pub(super) fn expand(scenario: &mut Scenario, places: &Node) {
    let Scenario { stages, forged, clients, .. } = scenario;
    for (number, stage) in stages.iter_mut().enumerate() {
        let places = places.at("stages").nth(number);
        for (number, forging) in stage.forged.iter().enumerate() {
            let place = places.at("forged").nth(number).place();
            let like = clients.get(&forging.like).and_then(Client::identity).unwrap_or_default().to_owned();
            let sound = Stated { status: Some(200), ..Stated::default() };
            let stated = forged::stated(forged.as_ref(), forging);
            for (credential, stated) in std::iter::once((SOUND, &sound)).chain(stated) {
                let client = format!("{credential} like {}", forging.like);
                stage.checks.extend(
                    [TlsVersions::Tls12, TlsVersions::Tls13]
                        .map(|tls| Check { place, ..check(forging, &client, credential, stated, tls) }),
                );
                clients.insert(client, Client::Forged { credential: credential.into(), like: like.clone() });
            }
        }
        let surface = stage.surface.iter().enumerate().flat_map(|(number, matrix)| {
            let place = places.at("surface").nth(number).place();
            cells(matrix).into_iter().map(move |check| Check { place, ..check })
        });
        stage.checks.extend(surface);
    }
}

fn check(forging: &Forging, client: &str, credential: &str, stated: &Stated, tls: TlsVersions) -> Check {
    let version = if tls == TlsVersions::Tls12 { "1.2" } else { "1.3" };
    let named = |credential: &str| format!("{}: forged {credential}, TLS {version}", forging.to);
    let expect = Expect {
        status: stated.status,
        alert: stated.alert.clone(),
        counts: stated.counts,
        ..Expect::default()
    };
    Check {
        name: named(credential),
        clients: OneOrMany::One(client.into()),
        to: forging.to.clone(),
        send: OneOrMany::One(forging.send.clone()),
        http: Http::default(),
        tls,
        sni: None,
        authority: None,
        headers: BTreeMap::new(),
        body: None,
        body_file: None,
        trailers: BTreeMap::new(),
        sent: vec![],
        place: Place::default(),
        grpc: OneOrMany::default(),
        websocket: OneOrMany::default(),
        control: expect.is_refusal().then(|| named(SOUND)),
        expect,
        finding: stated.finding.clone(),
    }
}

/// One check for each endpoint, HTTP version and set of headers; gRPC has one version.
fn cells(matrix: &Matrix) -> Vec<Check> {
    let calls = !matrix.grpc.is_empty();
    let versions = if calls { &[Http::Http2] } else { matrix.http.as_slice() };
    let sends: Vec<String> = matrix
        .methods
        .iter()
        .flat_map(|method| matrix.paths.iter().map(move |path| format!("{method} {path}")))
        .collect();
    let mut checks = vec![];
    for to in matrix.to.iter() {
        for http in versions {
            for headers in &matrix.headers {
                let over = if *http == Http::Http2 && !calls { " over HTTP/2" } else { "" };
                let with = if headers.is_empty() {
                    String::new()
                } else {
                    format!(" with {}", headers.keys().cloned().collect::<Vec<_>>().join(", "))
                };
                let mut check = Check {
                    name: format!("{to}: surface of {}{over}{with}", matrix.name),
                    clients: matrix.clients.clone(),
                    to: to.into(),
                    send: OneOrMany::Many(sends.clone()),
                    http: *http,
                    tls: matrix.tls,
                    sni: matrix.sni.clone(),
                    authority: matrix.authority.clone(),
                    headers: headers.clone(),
                    body: matrix.body.clone(),
                    body_file: None,
                    trailers: BTreeMap::new(),
                    sent: matrix.body.clone().unwrap_or_default().into_bytes(),
                    place: Place::default(),
                    grpc: matrix.grpc.clone(),
                    websocket: OneOrMany::default(),
                    expect: Expect::default(),
                    control: None,
                    finding: None,
                };
                if calls {
                    spelled::call(&mut check);
                    check.sent = spelled::framed(&check.sent);
                }
                checks.push(check);
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests;
