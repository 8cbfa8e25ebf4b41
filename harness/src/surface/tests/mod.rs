//! What a surface holds, and the dials, answers and lines that its other tests are made of.

mod change;
mod file;
mod held;
mod properties;

use std::path::Path;
use std::process::Output;

use proptest::prelude::*;
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Observation, Timing};

use super::*;
use crate::proof::plan::plan;
use crate::proof::response;
use crate::proof::verdict::Verdict;
use crate::scenario::{self, CutOff};

/// One check a line: its client, what else is said of it, and what comes of it.
fn judged(dials: &[(&str, &str, protocol::Outcome)]) -> Vec<Judged> {
    let checks = dials.iter().enumerate().map(|(number, (client, more, _))| {
        let expect = match more {
            _ if more.contains("http: none") => "reply: x",
            _ if more.contains("grpc: ") => "grpc-status: 0",
            _ => "status: 200",
        };
        format!(
            "      - {{check: check {number}, as: {client}, to: backend, expect: {{{expect}}}, {more}}}\n"
        )
    });
    let text = format!(
        "
scenario: symbank
trust-domain: example.org
spire: {{namespace: spire, server: server, socket-dir: /run}}
install: []
registration: []
endpoints: {{backend: {{service: a/backend, port: 443, identity: /backend}}}}
clients: {{nobody: none, frontend: /frontend, frontend-2: /frontend-2}}
stages:
  - stage: only-frontend
    checks:
{}",
        checks.collect::<String>()
    );
    let scenario = scenario::read_text(&text);
    let cells = plan(&scenario, &scenario.stages[0], "run");
    let verdict = |cell: Cell, outcome: &protocol::Outcome| Judged {
        observed: Some(Observation { outcome: outcome.clone(), tls: None, timing: Timing::default() }),
        by: by(outcome),
        cut_off: None,
        verdict: Verdict::Recorded,
        reason: String::new(),
        evidence: vec![],
        control: None,
        hop: None,
        cell,
    };
    cells.into_iter().zip(dials).map(|(cell, (_, _, outcome))| verdict(cell, outcome)).collect()
}

/// Who gave it, in this world: [`answer`] and [`local`] mark theirs.
fn by(outcome: &protocol::Outcome) -> Option<By> {
    let protocol::Outcome::Response { headers, .. } = outcome else { return None };
    let has = |name: &str| headers.iter().any(|(one, _)| one == name);
    match (has("x-envoy-upstream-service-time"), has("server")) {
        (true, _) => Some(By::Application),
        (false, true) => Some(By::Envoy),
        (false, false) => None,
    }
}

fn surface(dials: &[(&str, &str, protocol::Outcome)]) -> Surface {
    let mut surfaces = surfaces(&judged(dials));
    assert_eq!(surfaces.len(), 1);
    surfaces.remove(0)
}

/// By the application, through Envoy.
fn answer(status: u16, body: &str) -> protocol::Outcome {
    response(status, &[("server", "envoy"), ("x-envoy-upstream-service-time", "1")], body)
}

/// By Envoy itself.
fn local(status: u16, body: &str) -> protocol::Outcome {
    response(status, &[("server", "envoy")], body)
}

fn alert(number: u8) -> protocol::Outcome {
    protocol::Outcome::Alert { number }
}

fn failed(kind: DialFailure) -> protocol::Outcome {
    protocol::Outcome::Failed { kind, detail: "10.0.0.1:443 in 12 ms".into() }
}

#[test]
fn a_surface_reads_well() {
    let surface = surface(&[
        ("frontend", "send: GET /balances/balance_1", answer(200, "{\"balance\": 10.95}")),
        (
            "frontend",
            "send: GET /balances/balance_1, tls: '1.2', http: '2'",
            answer(200, "{\"balance\":10.95}"),
        ),
        ("frontend", "send: GET /, headers: {X-Forwarded-For: 10.0.0.1}", answer(404, "none such")),
        ("frontend", "send: HEAD /", answer(200, "")),
        ("frontend", "send: POST /profiles", local(403, "RBAC: access denied")),
        ("frontend", "send: 'GET /a:#b'", local(400, "bad path at 10.0.0.1")),
        ("frontend-2", "send: GET /balances/balance_1", alert(46)),
        ("nobody", "send: GET /balances/balance_1", alert(116)),
        ("nobody", "send: GET /", failed(DialFailure::Refused)),
        ("nobody", "send: GET /x", protocol::Outcome::ServerRefused { reason: "at 12:00:00".into() }),
    ]);
    insta::assert_snapshot!(surface.to_yaml(), @r##"
    scenario: symbank
    stage: only-frontend
    cells:
      backend:
        frontend:
          "GET / (x-forwarded-for: 10.0.0.1)": 404 text 3d7f56a98c84
          "GET /a:#b": 400 by Envoy
          GET /balances/balance_1: 200 json f75f2b2b316b
          "GET /balances/balance_1 (HTTP/2, TLS 1.2)": 200 json f75f2b2b316b
          HEAD /: 200 no body
          POST /profiles: "403 RBAC: access denied"
        frontend-2:
          GET /balances/balance_1: alert 46 certificate_unknown
        nobody:
          GET /: connection refused
          GET /balances/balance_1: alert 116 certificate_required
          GET /x: server turned down
    "##);
}

#[test]
fn what_was_not_dialled_is_said() {
    let mut judged = judged(&[("nobody", "send: GET /", alert(116))]);
    judged[0].observed = None;
    assert_eq!(Got::of(&judged[0]).as_str(), "not observed");
}

#[rstest]
#[case::envoys_own(Some(By::Envoy), 400, "400 by Envoy")]
#[case::the_applications(Some(By::Application), 400, "400 text 2d711642b726")]
#[case::nobody_knows_whose(None, 400, "400 text 2d711642b726")]
#[case::envoy_serves(Some(By::Envoy), 200, "200 by Envoy")]
fn an_answer_is_its_giver_s(#[case] by: Option<By>, #[case] status: u16, #[case] got: &str) {
    let mut judged = judged(&[("frontend", "send: GET /", answer(status, "x"))]);
    judged[0].by = by;
    assert_eq!(Got::of(&judged[0]).as_str(), got);
}

#[test]
fn a_denied_grpc_call_is_denied() {
    let call = response(200, &[("grpc-status", "7"), ("grpc-message", "RBAC: access denied")], "");
    let mut judged = judged(&[("frontend", "send: POST /a.B/C", call)]);
    judged[0].by = Some(By::Envoy);
    let got = Got::of(&judged[0]);
    assert_eq!((got.as_str(), got.reach()), ("200 grpc-status 7", Reach::Denied));
}

#[rstest]
#[case("send: GET /, tls: none", "GET / (plain text)")]
#[case("send: GET /, sni: a.b", "GET / (SNI a.b)")]
#[case("send: GET /, sni: ''", "GET / (SNI none)")]
#[case("send: GET /, authority: a.b", "GET / (authority a.b)")]
#[case("send: PUT /, body: x, trailers: {x-end: '1'}", "PUT / (body 2d711642b726, trailer x-end: 1)")]
#[case("send: OPTIONS *", "OPTIONS *")]
#[case("send: CONNECT a.b:443", "CONNECT a.b:443")]
#[case("send: PING, http: none", "bytes PING")]
#[case("send: \"PING\\r\\n\", http: none", "bytes PING\\r\\n")]
#[case(
    "grpc: a.B/C",
    "POST /a.B/C (HTTP/2, content-type: application/grpc, te: trailers, body 8855508aade1)"
)]
fn a_request_says_what_sets_it_apart(#[case] send: &str, #[case] expected: &str) {
    let surface = surface(&[("nobody", send, alert(116))]);
    assert_eq!(surface.cells["backend"]["nobody"].keys().collect::<Vec<_>>(), [expected]);
}

#[test]
fn what_is_cut_off_is_kept_out_and_a_reply_is_an_answer() {
    let mut judged = judged(&[
        ("nobody", "send: GET /", failed(DialFailure::Reset)),
        ("nobody", "send: PING, http: none", protocol::Outcome::Bytes { text: "+PONG".into() }),
    ]);
    let got = |one: &Judged| (Got::of(one).as_str().to_owned(), Got::of(one).reach());
    assert_eq!(got(&judged[0]), ("reset without an alert".into(), Reach::Unknown));
    judged[0].cut_off = Some(CutOff::NoChain);
    assert_eq!(got(&judged[0]), ("cut off: no-chain".into(), Reach::Alert));
    assert_eq!(got(&judged[1]), ("reply text b158f37de9ce".into(), Reach::Served));
}

#[test]
fn a_long_target_is_told_by_its_beginning() {
    let of = |target: String| {
        let surface = surface(&[("nobody", &format!("send: GET /{target}"), alert(116))]);
        surface.cells["backend"]["nobody"].keys().next().unwrap().clone()
    };
    let long = of("a".repeat(8192));
    assert_eq!(long, format!("GET /{}… [8193 bytes, 2d3a8b45d677]", "a".repeat(59)));
    assert_ne!(long, of("a".repeat(8191) + "b"));
    assert_eq!(of("a".repeat(119)), format!("GET /{}", "a".repeat(119)));
    assert_eq!(shortened(&"ä".repeat(120)), "ä".repeat(120));
    assert!(shortened(&"ä".repeat(121)).starts_with(&format!("{}… [242 bytes, ", "ä".repeat(60))));
}

#[test]
fn of_two_outcomes_the_more_open_stands() {
    let send = "send: GET /";
    for dials in [
        [("nobody", send, alert(46)), ("nobody", send, answer(200, "x"))],
        [("nobody", send, answer(200, "x")), ("nobody", send, alert(46))],
    ] {
        let surface = surface(&dials);
        assert_eq!(surface.cells["backend"]["nobody"]["GET /"].as_str(), "200 text 2d711642b726");
    }
}

#[test]
fn a_run_does_not_show_in_the_surface() {
    let at = |run: &str, id: &str| {
        let body = format!("X-Svidproof-Cell: {run}.symbank.only-frontend.0\nX-Request-Id: {id}\n");
        let mut judged = judged(&[("frontend", "send: GET /", answer(200, &body))]);
        judged[0].cell.id = format!("{run}.symbank.only-frontend.0");
        surfaces(&judged)
    };
    let one = at("r1", "9fa0cdbf-f4c7-4e8a-9b1d-1f2e3d4c5b6a");
    assert_eq!(one, at("r2", "00000000-f4c7-4e8a-9b1d-1f2e3d4c5b6a"));
}

/// `endpoint client request` -> outcome.
fn written(stage: &str, cells: &[(&str, &str)]) -> Surface {
    let lines = cells.iter().map(|(cell, outcome)| {
        let [endpoint, client, request] = cell.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        line("symbank", stage, endpoint, client, request, outcome)
    });
    gather(lines).remove(0)
}

fn line(scenario: &str, stage: &str, endpoint: &str, client: &str, request: &str, outcome: &str) -> Line {
    Line {
        scenario: scenario.into(),
        stage: stage.into(),
        endpoint: endpoint.into(),
        client: client.into(),
        request: request.into(),
        outcome: Got(outcome.into()),
    }
}
