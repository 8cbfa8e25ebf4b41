//! The judge, held to what it says: a world of a page, a proxy and a backend, and what may come of it.

use proptest::prelude::*;
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Timing, Tls, TlsVersions};

use super::words::RBAC_DENIED;
use super::*;
use crate::alert::AlertName;
use crate::scenario::{self, Expect};

/// A page whose application asks `backend`; a proxy that forwards to `backend`; `backend` with its
/// application's log.
fn world() -> Scenario {
    scenario::read_text(
        "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints:
  page: {service: a/page, port: 80, upstream: backend}
  proxy: {service: a/proxy, port: 443, identity: /proxy, admin: 1, upstream: backend}
  backend: {service: a/backend, port: 443, identity: /backend, admin: 1, app-log: app}
clients: {nobody: none, friend: /friend, stranger: /stranger}
stages:
  - stage: one
    checks:
      - {check: served, as: friend, to: backend, send: GET /, expect: {status: 200}}
",
    )
}

fn cell(check: &str, client: &str, endpoint: &str, expect: Expect) -> Cell {
    Cell {
        id: check.into(),
        scenario: "world".into(),
        stage: "one".into(),
        check: check.into(),
        client: client.into(),
        nobody: client == "nobody",
        forged: None,
        endpoint: endpoint.into(),
        method: "GET".into(),
        target: "/".into(),
        http: Http::Http1,
        tls: TlsVersions::Any,
        headers: vec![],
        control: expect.is_refusal().then(|| format!("control {endpoint}")),
        finding: None,
        expect,
    }
}

fn status(status: u16) -> Expect {
    Expect { status: Some(status), ..Expect::default() }
}

fn alert_named(name: &str) -> Expect {
    Expect { alert: Some(AlertName::Name(name.into())), ..Expect::default() }
}

fn seen(outcome: Outcome) -> Observation {
    Observation { outcome, tls: None, timing: Timing::default() }
}

fn alerted(number: u8) -> Observation {
    seen(Outcome::Alert { number })
}

fn failed(kind: DialFailure) -> Observation {
    seen(Outcome::Failed { kind, detail: "detail".into() })
}

/// By the application, through Envoy.
fn answered(status: u16, body: &str) -> Observation {
    let headers = [("server", "envoy"), ("x-envoy-upstream-service-time", "1")];
    respond(status, &headers, body)
}

/// By Envoy itself.
fn local(status: u16, body: &str) -> Observation {
    respond(status, &[("server", "envoy")], body)
}

fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Observation {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    seen(Outcome::Response {
        status,
        http: Http::Http1,
        headers,
        body: body.into(),
        body_cut: false,
        trailers: vec![],
    })
}

type Evidences = BTreeMap<String, Result<Evidence, String>>;

/// One window: what is dialled, what is seen, what the servers say.
#[derive(Debug)]
struct Scene {
    cells: Vec<Cell>,
    observations: BTreeMap<CellId, Observation>,
    evidence: Evidences,
}

impl Scene {
    /// With a control at each endpoint with TLS, which is served; the evidence fits.
    fn new(cases: Vec<(Cell, Observation)>) -> Self {
        let controls = ["backend", "proxy"].map(|endpoint| {
            (cell(&format!("control {endpoint}"), "friend", endpoint, status(200)), answered(200, "ok"))
        });
        let all: Vec<_> = controls.into_iter().chain(cases).collect();
        let cells = all.iter().map(|(cell, _)| cell.clone()).collect();
        let observations = all.into_iter().map(|(cell, observation)| (cell.id, observation)).collect();
        let mut scene = Self { cells, observations, evidence: Evidences::new() };
        scene.evidence = scene.fitting();
        scene
    }

    /// What honest servers would say, given what the clients saw.
    fn fitting(&self) -> Evidences {
        let world = world();
        let behind = |cell: &&Cell| terminal(&world, &cell.endpoint) == "backend";
        let from_application =
            |cell: &&Cell| self.observations.get(&cell.id).is_some_and(is_from_application);
        let reached: BTreeSet<CellId> =
            self.cells.iter().filter(behind).filter(from_application).map(|cell| cell.id.clone()).collect();
        let logs = BTreeMap::from([(
            "backend".to_owned(),
            Ok(Evidence { counted: Counted::default(), rbac: true, reached: Some(reached.clone()) }),
        )]);
        let mut window = Window {
            scenario: &world,
            cells: &self.cells,
            observations: &self.observations,
            evidence: &logs,
            tallies: BTreeMap::new(),
        };
        window.tally();
        let counted = |endpoint: &str| window.tallies.get(endpoint).copied().unwrap_or_default();
        BTreeMap::from([
            ("proxy".into(), Ok(Evidence { counted: counted("proxy"), rbac: false, reached: None })),
            (
                "backend".into(),
                Ok(Evidence { counted: counted("backend"), rbac: true, reached: Some(reached) }),
            ),
        ])
    }

    fn judge(&self) -> Vec<Judged> {
        judge(&world(), &self.cells, &self.observations, &self.evidence)
    }

    /// The last cell, which the test is about.
    fn last(&self) -> (Verdict, String) {
        let judged = self.judge().pop().unwrap();
        (judged.verdict, judged.reason)
    }

    fn backend(&mut self) -> &mut Evidence {
        self.evidence.get_mut("backend").unwrap().as_mut().unwrap()
    }
}

#[rstest]
#[case::served("friend", "backend", status(200), answered(200, "ok"))]
#[case::served_through_the_proxy("friend", "proxy", status(200), answered(200, "ok"))]
#[case::nobody("nobody", "backend", alert_named("certificate_required"), alerted(116))]
#[case::nobody_by_number("nobody", "backend", Expect { alert: Some(AlertName::Number(116)), ..Expect::default() }, alerted(116))]
#[case::stranger("stranger", "backend", alert_named("certificate_unknown"), alerted(46))]
#[case::stranger_at_the_proxy("stranger", "proxy", alert_named("certificate_unknown"), alerted(46))]
#[case::other_ca("stranger", "backend", alert_named("unknown_ca"), alerted(48))]
#[case::expired("stranger", "backend", alert_named("certificate_expired"), alerted(45))]
#[case::denied("friend", "backend", status(403), local(403, RBAC_DENIED))]
#[case::denied_behind_the_proxy("friend", "proxy", status(403), answered(403, RBAC_DENIED))]
#[case::denied_by_the_proxy("friend", "proxy", status(403), local(403, RBAC_DENIED))]
#[case::hardened_path("friend", "backend", status(400), local(400, ""))]
fn what_is_expected_and_agreed_passes(
    #[case] client: &str,
    #[case] endpoint: &str,
    #[case] expect: Expect,
    #[case] observation: Observation,
) {
    let scene = Scene::new(vec![(cell("it", client, endpoint, expect), observation)]);
    for judged in scene.judge() {
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Passed, ""), "{}", judged.cell.check);
    }
}

#[rstest]
#[case::let_in(
    "nobody",
    alert_named("certificate_required"),
    answered(200, "ok"),
    "expected alert 116 certificate_required, saw 200: the endpoint let nobody in"
)]
#[case::let_in_by_name(
    "stranger",
    alert_named("certificate_unknown"),
    answered(200, ""),
    "expected alert 46 certificate_unknown, saw 200: the endpoint let stranger in"
)]
#[case::another_alert(
    "nobody",
    alert_named("certificate_required"),
    alerted(46),
    "expected alert 116 certificate_required, saw alert 46 certificate_unknown"
)]
#[case::forty_is_not_it_in_tls_1_3(
    "nobody",
    alert_named("certificate_required"),
    alerted(40),
    "expected alert 116 certificate_required, saw alert 40 handshake_failure"
)]
#[case::shut_out("friend", status(200), alerted(46), "expected 200, saw alert 46 certificate_unknown")]
#[case::denied("friend", status(200), local(403, RBAC_DENIED), "expected 200, saw 403 RBAC: access denied")]
#[case::not_denied("friend", status(403), answered(200, "secret"), "expected 403, saw 200 with \"secret\"")]
#[case::impostor("friend", status(200), seen(Outcome::ServerRefused { reason: "wrong ID".into() }), "expected 200, but the client turned the server's certificate down: wrong ID")]
fn what_is_not_expected_fails(
    #[case] client: &str,
    #[case] expect: Expect,
    #[case] observation: Observation,
    #[case] reason: &str,
) {
    let mut scene = Scene::new(vec![(cell("it", client, "backend", expect), observation)]);
    assert_eq!(scene.last(), (Verdict::Failed, reason.into()));
    scene.backend().counted.san += 7;
    assert_eq!(scene.last().0, Verdict::Failed, "a failure stays one where the evidence disagrees");
}

#[rstest]
#[case(DialFailure::Unresolved)]
#[case(DialFailure::Refused)]
#[case(DialFailure::Reset)]
#[case(DialFailure::Closed)]
#[case(DialFailure::TimedOut)]
#[case(DialFailure::Protocol)]
#[case(DialFailure::Credential)]
fn a_dial_that_came_to_nothing_is_no_refusal(#[case] kind: DialFailure) {
    for expect in [alert_named("certificate_required"), status(403), status(200)] {
        let scene = Scene::new(vec![(cell("it", "nobody", "backend", expect), failed(kind))]);
        assert_eq!(scene.last().0, Verdict::Errored);
    }
}

#[test]
fn a_missing_observation_errs() {
    let mut scene = Scene::new(vec![(cell("it", "friend", "backend", status(200)), answered(200, "ok"))]);
    scene.observations.remove("it");
    assert_eq!(scene.last(), (Verdict::Errored, "nothing came back from the dial".into()));
}

#[rstest]
#[case::by_the_check(TlsVersions::Tls12, None, Verdict::Passed)]
#[case::by_the_handshake(TlsVersions::Any, Some("1.2"), Verdict::Passed)]
#[case::unknown(TlsVersions::Any, None, Verdict::Failed)]
#[case::in_tls_1_3(TlsVersions::Any, Some("1.3"), Verdict::Failed)]
fn in_tls_1_2_forty_is_the_word_for_certificate_required(
    #[case] tls: TlsVersions,
    #[case] version: Option<&str>,
    #[case] verdict: Verdict,
) {
    let mut it = cell("it", "nobody", "backend", alert_named("certificate_required"));
    it.tls = tls;
    let mut observation = alerted(40);
    observation.tls = version.map(|version| Tls {
        version: version.into(),
        alpn: None,
        peer_id: None,
        peer_dns: vec![],
        peer_chain: vec![],
    });
    assert_eq!(Scene::new(vec![(it, observation)]).last().0, verdict);
}

#[test]
fn counters_that_moved_otherwise_err_every_cell_there() {
    let refused =
        |check| (cell(check, "stranger", "backend", alert_named("certificate_unknown")), alerted(46));
    let mut scene = Scene::new(vec![refused("a"), refused("b"), refused("c")]);
    scene.backend().counted.san = 2;
    let reason =
        "evidence disagrees at backend: clients saw 3 SAN refusals, Envoy counted 2 (fail_verify_san)";
    // The proxy's control too: its request ends at the backend.
    for judged in scene.judge() {
        assert_eq!(
            (judged.verdict, judged.reason.contains(reason)),
            (Verdict::Errored, true),
            "{}: {}",
            judged.cell.check,
            judged.reason
        );
    }
}

#[rstest]
#[case(|evidence: &mut Evidence| evidence.counted.no_cert += 1, "Envoy counted 1 (fail_verify_no_cert)")]
#[case(|evidence: &mut Evidence| evidence.counted.chain += 1, "Envoy counted 1 (fail_verify_error)")]
#[case(|evidence: &mut Evidence| evidence.counted.denied += 1, "Envoy counted 1 (rbac.denied)")]
#[case(|evidence: &mut Evidence| evidence.counted.broken += 1, "Envoy counted 1 (connection_error)")]
#[case(|evidence: &mut Evidence| evidence.counted.allowed += 1, "clients saw 2 requests that the policy \
    allowed, Envoy counted 3 (rbac.allowed)")]
#[case(|evidence: &mut Evidence| evidence.counted.forwarded += 1, "clients saw 2 forwarded requests, Envoy \
    counted 3 (upstream_rq_total)")]
#[case(|evidence: &mut Evidence| evidence.counted.san = 0, "clients saw 1 SAN refusal, Envoy counted 0")]
#[case(|evidence: &mut Evidence| evidence.reached = None, "the application's log at backend was not read")]
#[case(|evidence: &mut Evidence| evidence.reached.iter_mut().for_each(|reached| reached.extend(["it".into()])), "refused, yet the request reached the application")]
#[case(|evidence: &mut Evidence| evidence.reached.iter_mut().for_each(BTreeSet::clear), "the control \
    `control backend` did not hold: it did not reach the application")]
fn a_refusal_that_the_server_does_not_confirm_errs(#[case] change: fn(&mut Evidence), #[case] reason: &str) {
    let mut scene = Scene::new(vec![(
        cell("it", "stranger", "backend", alert_named("certificate_unknown")),
        alerted(46),
    )]);
    change(scene.backend());
    let (verdict, why) = scene.last();
    assert_eq!((verdict, why.contains(reason)), (Verdict::Errored, true), "{why}");
}

#[test]
fn evidence_that_could_not_be_read_errs() {
    let mut scene = Scene::new(vec![(
        cell("it", "stranger", "backend", alert_named("certificate_unknown")),
        alerted(46),
    )]);
    scene.evidence.insert("backend".into(), Err("connection refused".into()));
    let (verdict, reason) = scene.last();
    assert_eq!(verdict, Verdict::Errored);
    assert!(reason.starts_with("the evidence at backend could not be read: connection refused"), "{reason}");
}

#[test]
fn an_answer_that_the_application_did_not_log_errs() {
    let mut scene = Scene::new(vec![(cell("it", "friend", "backend", status(200)), answered(200, "ok"))]);
    scene.backend().reached.as_mut().unwrap().remove("it");
    let (verdict, reason) = scene.last();
    assert_eq!(verdict, Verdict::Errored);
    assert!(reason.contains("answered, yet the application did not log the request"), "{reason}");
}

#[rstest]
#[case::refused(alerted(46), "expected 200, saw alert 46 certificate_unknown")]
#[case::timed_out(failed(DialFailure::TimedOut), "timed out")]
fn a_refusal_falls_with_its_control(#[case] control: Observation, #[case] why: &str) {
    let mut scene = Scene::new(vec![(
        cell("it", "nobody", "backend", alert_named("certificate_required")),
        alerted(116),
    )]);
    scene.observations.insert("control backend".into(), control);
    scene.evidence = scene.fitting();
    let (verdict, reason) = scene.last();
    assert_eq!(verdict, Verdict::Errored);
    assert!(
        reason.contains("the control `control backend` did not hold") && reason.contains(why),
        "{reason}"
    );
}

#[test]
fn a_refusal_without_a_control_or_with_one_that_was_not_made_errs() {
    let mut scene = Scene::new(vec![(
        cell("it", "nobody", "backend", alert_named("certificate_required")),
        alerted(116),
    )]);
    scene.cells.last_mut().unwrap().control = None;
    assert_eq!(scene.last(), (Verdict::Errored, "a refusal without a control".into()));
    scene.cells.last_mut().unwrap().control = Some("another".into());
    assert_eq!(scene.last(), (Verdict::Errored, "the control `another` was not made".into()));
}

#[test]
fn a_page_says_what_its_upstream_counted() {
    let expect = Expect {
        upstream: Some(Counted { san: 3, ..Counted::default() }),
        contains: vec!["could not be read".into()],
        ..status(200)
    };
    let page = respond(200, &[], "the balance could not be read");
    let mut scene = Scene::new(vec![(cell("page", "nobody", "page", expect), page)]);
    assert_eq!(scene.backend().counted, Counted { san: 3, forwarded: 2, allowed: 2, ..Counted::default() });
    assert_eq!(scene.last().0, Verdict::Passed);
    scene.observations.insert("page".into(), respond(200, &[], "Your current balance is 10.95"));
    scene.backend().counted.san = 0;
    let judged = scene.judge();
    assert_eq!(judged[2].verdict, Verdict::Failed);
    assert!(judged[0].reason.ends_with("; what `page` caused there is not known"), "{}", judged[0].reason);
}

#[test]
fn a_relayed_denial_is_counted_where_it_was_made() {
    let scene = Scene::new(vec![(cell("it", "friend", "proxy", status(403)), answered(403, RBAC_DENIED))]);
    let counted = |endpoint: &str| scene.evidence[endpoint].as_ref().unwrap().counted;
    assert_eq!(counted("proxy"), Counted { forwarded: 2, ..Counted::default() });
    assert_eq!(counted("backend"), Counted { forwarded: 2, allowed: 2, denied: 1, ..Counted::default() });
}

#[rstest]
#[case(Expect { json: Some(serde_json::json!({"balance": 10.95})), ..status(200) }, "{\"balance\": 10.95}", "")]
#[case(Expect { json: Some(serde_json::json!({"balance": 310})), ..status(200) }, "{\"balance\": 10.95}", "expected the JSON {\"balance\":310}, saw \"{\\\"balance\\\": 10.95}\"")]
#[case(Expect { body: Some(String::new()), ..status(200) }, "x", "expected the body no body, saw \"x\"")]
#[case(Expect { contains: vec!["b".into()], ..status(200) }, "abc", "")]
#[case(Expect { contains: vec!["d".into()], ..status(200) }, "abc", "the body lacks \"d\": \"abc\"")]
#[case(Expect { lacks: vec!["b".into()], ..status(200) }, "abc", "the body has \"b\", which it must not")]
#[case(Expect { count: BTreeMap::from([("<tr>".into(), 2)]), ..status(200) }, "<tr>", "the body has \
    \"<tr>\" 1 times, expected 2")]
#[case(Expect { headers: BTreeMap::from([("server".into(), "nginx".into())]), ..status(200) }, "", "expected the header `server: nginx`, saw envoy")]
fn the_content_counts_too(#[case] expect: Expect, #[case] body: &str, #[case] difference: &str) {
    let it = cell("it", "friend", "backend", expect);
    assert_eq!(differences(&it, &answered(200, body)).join("; "), difference);
}

fn forged(alert: &str, counts: Option<Kind>) -> Expect {
    Expect { counts, ..alert_named(alert) }
}

/// One alert, several counters: the scenario says which, and only that one will do.
#[rstest]
#[case::the_chain("certificate_unknown", Some(Kind::Chain), 46, Counted { chain: 1, ..Counted::default() })]
#[case::the_san("certificate_unknown", None, 46, Counted { san: 1, ..Counted::default() })]
#[case::the_signature("decrypt_error", None, 51, Counted { broken: 1, ..Counted::default() })]
#[case::no_certificate("handshake_failure", Some(Kind::NoCert), 40, Counted { no_cert: 1, ..Counted::default() })]
fn a_forged_credential_moves_its_counter_and_no_other(
    #[case] alert: &str,
    #[case] counts: Option<Kind>,
    #[case] number: u8,
    #[case] moved: Counted,
) {
    let mut scene =
        Scene::new(vec![(cell("it", "stranger", "backend", forged(alert, counts)), alerted(number))]);
    let served = Counted { forwarded: 2, allowed: 2, ..Counted::default() };
    assert_eq!((scene.backend().counted, scene.last().0), (served + moved, Verdict::Passed));
    for other in [Kind::NoCert, Kind::San, Kind::Chain, Kind::Broken]
        .map(Kind::once)
        .into_iter()
        .filter(|other| *other != moved)
    {
        scene.backend().counted = served + other;
        assert_eq!(scene.last().0, Verdict::Errored, "{other:?}");
    }
}

#[test]
fn what_the_scenario_says_is_counted_holds_for_the_expected_alert_alone() {
    let mut scene = Scene::new(vec![(
        cell("it", "stranger", "backend", forged("unknown_ca", Some(Kind::Broken))),
        alerted(46),
    )]);
    assert_eq!(scene.backend().counted.san, 1);
    assert_eq!(scene.last().0, Verdict::Failed);
}

#[rstest]
#[case::served(answered(200, "ok"), Verdict::Passed)]
#[case::refused(alerted(46), Verdict::Passed)]
#[case::denied(local(403, RBAC_DENIED), Verdict::Passed)]
#[case::rejected(local(400, ""), Verdict::Passed)]
#[case::timed_out(failed(DialFailure::TimedOut), Verdict::Errored)]
#[case::impostor(seen(Outcome::ServerRefused { reason: "wrong ID".into() }), Verdict::Errored)]
fn where_nothing_is_stated_all_that_can_be_judged_passes(
    #[case] observation: Observation,
    #[case] verdict: Verdict,
) {
    for endpoint in ["backend", "proxy"] {
        let mut scene =
            Scene::new(vec![(cell("it", "stranger", endpoint, Expect::default()), observation.clone())]);
        assert_eq!(scene.last().0, verdict, "{endpoint}: {}", scene.last().1);
        scene.backend().counted.denied += 1;
        assert_eq!(scene.last().0, Verdict::Errored, "the two sides must agree all the same");
    }
}

#[test]
fn where_nothing_is_stated_the_log_must_still_tell_the_same() {
    let mut refused = Scene::new(vec![(cell("it", "stranger", "backend", Expect::default()), alerted(46))]);
    refused.backend().reached.as_mut().unwrap().insert("it".into());
    assert!(
        refused.last().1.contains("refused, yet the request reached the application"),
        "{}",
        refused.last().1
    );
    let mut served =
        Scene::new(vec![(cell("it", "stranger", "backend", Expect::default()), answered(200, "ok"))]);
    served.backend().reached.as_mut().unwrap().remove("it");
    assert!(
        served.last().1.contains("answered, yet the application did not log the request"),
        "{}",
        served.last().1
    );
}

mod properties;
