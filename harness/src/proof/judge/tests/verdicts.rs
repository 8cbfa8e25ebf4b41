//! What is expected, what is seen, and what comes of it where both sides tell the same.

use super::*;

#[rstest]
#[case::served("friend", "backend", status(200), answered(200, "ok"))]
#[case::served_through_the_proxy("friend", "proxy", status(200), answered(200, "ok"))]
#[case::nobody("nobody", "backend", alert_named("certificate_required"), no_cert())]
#[case::nobody_by_number("nobody", "backend", Expect { alert: Some(AlertName::Number(116)), ..Expect::default() }, no_cert())]
#[case::stranger("stranger", "backend", alert_named("certificate_unknown"), wrong_san())]
#[case::stranger_at_the_proxy("stranger", "proxy", alert_named("certificate_unknown"), wrong_san())]
#[case::other_ca("stranger", "backend", alert_named("unknown_ca"), refused(48, Kind::Chain))]
#[case::expired("stranger", "backend", alert_named("certificate_expired"), refused(45, Kind::Chain))]
#[case::no_version_in_common(
    "friend",
    "backend",
    alert_named("handshake_failure"),
    refused(40, Kind::Broken)
)]
#[case::denied("friend", "backend", status(403), denied())]
#[case::denied_behind_the_proxy("friend", "proxy", status(403), denied_behind())]
#[case::denied_by_the_proxy("friend", "proxy", status(403), denied())]
#[case::hardened_path("friend", "backend", status(400), local(400, ""))]
#[case::denied_call("friend", "backend", grpc("7"), denied_call())]
#[case::applications_own_refusal("friend", "backend", by(By::Application, 403), answered(403, "no"))]
#[case::applications_own_404("friend", "proxy", by(By::Application, 404), answered(404, "no"))]
#[case::direct_response("friend", "backend", by(By::Envoy, 200), local(200, "lives"))]
fn what_is_expected_and_agreed_passes(
    #[case] client: &str,
    #[case] endpoint: &str,
    #[case] expect: Expect,
    #[case] met: Met,
) {
    for judged in Scene::one(cell("it", client, endpoint, expect), met).judge() {
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Passed, ""), "{}", judged.cell.check);
    }
}

/// Of a check that names one, also where it is no refusal.
#[test]
fn a_control_that_somebody_names_must_hold() {
    let named = Cell { control: Some("control proxy".into()), ..cell("it", "friend", "proxy", status(200)) };
    let mut scene = Scene::one(named, answered(200, "ok"));
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.cells.iter_mut().find(|cell| cell.id == "control proxy").unwrap().expect = status(201);
    assert_last(&scene, Verdict::Errored, "the control `control proxy` did not hold");
}

/// The application's log bears on the endpoint that it stands at, and on no other on the way.
#[test]
fn evidence_says_of_each_endpoint_what_is_its_own() {
    let scene = Scene::one(cell("it", "friend", "proxy", status(200)), answered(200, "ok"));
    let judged = scene.judge().pop().unwrap();
    let reached: BTreeMap<_, _> =
        judged.evidence.iter().map(|account| (account.endpoint.as_str(), account.reached)).collect();
    assert_eq!(reached, BTreeMap::from([("backend", Some(true)), ("proxy", None)]));
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
    wrong_san(),
    "expected alert 116 certificate_required, saw alert 46 certificate_unknown"
)]
#[case::forty_is_not_it_in_tls_1_3(
    "nobody",
    alert_named("certificate_required"),
    refused(40, Kind::NoCert),
    "expected alert 116 certificate_required, saw alert 40 handshake_failure"
)]
#[case::shut_out("friend", status(200), wrong_san(), "expected 200, saw alert 46 certificate_unknown")]
#[case::denied("friend", status(200), denied(), "expected 200, saw 403 RBAC: access denied")]
#[case::not_denied("friend", status(403), answered(200, "secret"), "expected 403, saw 200 with \"secret\"")]
#[case::impostor(
    "friend",
    status(200),
    impostor(),
    "expected 200, but the client turned the server's certificate down: wrong ID"
)]
#[case::denied_call_by_its_http_status(
    "friend",
    status(403),
    denied_call(),
    "expected 403, saw 200 grpc-status 7: a gRPC call is denied by `grpc-status`, not by its HTTP status"
)]
#[case::call_not_denied(
    "friend",
    grpc("7"),
    answered(200, "").header("grpc-status", "0"),
    "expected the header `grpc-status: 7`, saw 0"
)]
#[case::the_applications_own_refusal(
    "friend",
    status(403),
    answered(403, "no"),
    "as expected, but it is the application's own answer: the request was let through to it"
)]
#[case::spoofed_denial(
    "friend",
    status(403),
    answered(403, RBAC_DENIED),
    "as expected, but it is the application's own answer: the request was let through to it"
)]
#[case::spoofed_denied_call(
    "friend",
    grpc("7"),
    answered(200, "").header("grpc-status", "7").header("grpc-message", RBAC_DENIED),
    "as expected, but it is the application's own answer: the request was let through to it"
)]
#[case::a_direct_response_for_the_application(
    "friend",
    by(By::Application, 200),
    local(200, "lives"),
    "as expected, but Envoy answered itself: the request did not reach the application"
)]
#[case::the_application_for_a_direct_response(
    "friend",
    by(By::Envoy, 200),
    answered(200, "lives"),
    "as expected, but it is the application's own answer: the request was let through to it"
)]
fn what_is_not_expected_fails(
    #[case] client: &str,
    #[case] expect: Expect,
    #[case] met: Met,
    #[case] reason: &str,
) {
    let mut scene = Scene::one(cell("it", client, "backend", expect), met);
    assert_eq!(scene.last(), (Verdict::Failed, reason.into()));
    if reason.starts_with("expected") {
        scene.counted().san += 7;
        assert_eq!(scene.last().0, Verdict::Failed, "a failure stays one where the evidence disagrees");
    }
}

#[rstest]
#[case(DialFailure::Unresolved)]
#[case(DialFailure::Refused)]
#[case(DialFailure::Reset)]
#[case(DialFailure::Closed)]
#[case(DialFailure::TimedOut)]
#[case(DialFailure::Protocol)]
#[case(DialFailure::Credential)]
#[case(DialFailure::SpeaksTls)]
#[case(DialFailure::Unasked)]
fn a_dial_that_came_to_nothing_is_no_refusal(#[case] kind: DialFailure) {
    for expect in [alert_named("certificate_required"), status(403), status(200), Expect::default()] {
        let scene = Scene::one(cell("it", "nobody", "backend", expect), failed(kind));
        assert_last(&scene, Verdict::Errored, "neither an answer nor a refusal");
    }
}

#[test]
fn a_missing_observation_errs() {
    let mut scene = Scene::one(cell("it", "friend", "backend", status(200)), answered(200, "ok"));
    scene.last_window().dials.pop();
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
    let mut met = refused(40, Kind::NoCert);
    met.seen.tls = version.map(|version| Tls {
        version: version.into(),
        alpn: None,
        peer_id: None,
        peer_dns: vec![],
        peer_chain: vec![],
    });
    assert_eq!(Scene::one(it, met).last().0, verdict);
}

#[rstest]
#[case::refused(wrong_san(), "expected 200, saw alert 46 certificate_unknown")]
#[case::timed_out(failed(DialFailure::TimedOut), "timed out")]
#[case::denied(denied(), "expected 200, saw 403 RBAC: access denied")]
#[case::envoys_own(local(200, "ok"), "it did not reach the application")]
fn a_refusal_falls_with_its_control(#[case] control: Met, #[case] why: &str) {
    let cases = vec![
        (cell("control backend", "friend", "backend", status(200)), control),
        (cell("it", "nobody", "backend", alert_named("certificate_required")), no_cert()),
    ];
    let scene = Scene::exactly(world(), Marks { serves: true, ..Marks::default() }, &cases);
    assert_last(&scene, Verdict::Errored, "the control `control backend` did not hold");
    assert_last(&scene, Verdict::Errored, why);
    assert_eq!(scene.judge()[1].control.as_ref().map(|control| control.held), Some(false));
}

#[test]
fn a_refusal_without_a_control_or_with_one_that_was_not_made_errs() {
    let mut scene =
        Scene::one(cell("it", "nobody", "backend", alert_named("certificate_required")), no_cert());
    scene.cells.last_mut().unwrap().control = None;
    assert_eq!(scene.last(), (Verdict::Errored, "a refusal without a control".into()));
    scene.cells.last_mut().unwrap().control = Some("another".into());
    assert_eq!(scene.last(), (Verdict::Errored, "the control `another` was not made".into()));
    scene.cells.last_mut().unwrap().control = Some("it".into());
    assert_last(&scene, Verdict::Errored, "it is itself a refusal");
}

#[test]
fn a_page_says_what_its_upstream_counted() {
    let expect = Expect {
        upstream: Some(counted(|all| all.san = 3)),
        contains: vec!["could not be read".into()],
        ..status(200)
    };
    let page = Met { seen: respond(200, &[], "the balance could not be read"), origin: Origin::Application };
    let mut scene = Scene::one(cell("page", "nobody", "page", expect), page);
    assert_eq!(*scene.counted(), counted(|all| all.san = 3));
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.counted().san = 2;
    assert_last(&scene, Verdict::Errored, "clients saw 3 SAN refusals, Envoy counted 2");
    scene.counted().san = 0;
    scene.last_dial().observation = respond(200, &[], "Your current balance is 10.95");
    assert_eq!(scene.last().0, Verdict::Failed);
}

#[rstest]
#[case(Expect { json: Some(serde_json::json!({"balance": 10.95})), ..status(200) }, "{\"balance\": 10.95}", "")]
#[case(Expect { json: Some(serde_json::json!({"balance": 310})), ..status(200) }, "{\"balance\": 10.95}", "expected the JSON {\"balance\":310}, saw \"{\\\"balance\\\": 10.95}\"")]
#[case(Expect { body: Some(String::new()), ..status(200) }, "x", "expected the body no body, saw \"x\"")]
#[case(Expect { contains: vec!["b".into()], ..status(200) }, "abc", "")]
#[case(Expect { contains: vec!["d".into()], ..status(200) }, "abc", "the body lacks \"d\": \"abc\"")]
#[case(Expect { lacks: vec!["b".into()], ..status(200) }, "abc", "the body has \"b\", which it must not")]
#[case(Expect { count: BTreeMap::from([("<tr>".into(), 2)]), ..status(200) }, "<tr>", "the body has \"<tr>\" 1 times, expected 2")]
#[case(Expect { headers: BTreeMap::from([("server".into(), "nginx".into())]), ..status(200) }, "", "expected the header `server: nginx`, saw envoy")]
fn the_content_counts_too(#[case] expect: Expect, #[case] body: &str, #[case] difference: &str) {
    let it = cell("it", "friend", "backend", expect);
    assert_eq!(differences(&it, &answered(200, body).seen).join("; "), difference);
}

/// What was not read of a body proves nothing about it.
#[rstest]
#[case::lacks(Expect { lacks: vec!["secret".into()], ..status(200) }, Verdict::Errored)]
#[case::lacks_what_was_read(Expect { lacks: vec!["abc".into()], ..status(200) }, Verdict::Failed)]
#[case::contains(Expect { contains: vec!["z".into()], ..status(200) }, Verdict::Errored)]
#[case::contains_what_was_read(Expect { contains: vec!["b".into()], ..status(200) }, Verdict::Passed)]
#[case::count(Expect { count: BTreeMap::from([("b".into(), 1)]), ..status(200) }, Verdict::Errored)]
#[case::count_beyond(Expect { count: BTreeMap::from([("b".into(), 0)]), ..status(200) }, Verdict::Failed)]
#[case::whole(Expect { body: Some("abc".into()), ..status(200) }, Verdict::Errored)]
#[case::json(Expect { json: Some(serde_json::json!({})), ..status(200) }, Verdict::Errored)]
#[case::status_alone(status(200), Verdict::Passed)]
fn a_body_that_was_cut_decides_only_what_was_read_of_it(#[case] expect: Expect, #[case] verdict: Verdict) {
    let mut met = answered(200, "abc");
    if let Outcome::Response { body_cut, .. } = &mut met.seen.outcome {
        *body_cut = true;
    }
    assert_eq!(Scene::one(cell("it", "friend", "backend", expect), met).last().0, verdict);
}

/// One alert, several counters: the scenario says which, and only that one will do.
#[rstest]
#[case::the_chain("certificate_unknown", Some(Kind::Chain), 46, Kind::Chain)]
#[case::the_san("certificate_unknown", None, 46, Kind::San)]
#[case::the_signature("decrypt_error", None, 51, Kind::Broken)]
#[case::no_certificate("handshake_failure", Some(Kind::NoCert), 40, Kind::NoCert)]
fn a_forged_credential_moves_its_counter_and_no_other(
    #[case] alert: &str,
    #[case] counts: Option<Kind>,
    #[case] number: u8,
    #[case] moved: Kind,
) {
    let it = cell("it", "stranger", "backend", forged(alert, counts));
    let mut scene = Scene::one(it, refused(number, moved));
    let served = counted(|all| all.forwarded = 1);
    assert_eq!((*scene.counted(), scene.last().0), (served + moved.once(), Verdict::Passed));
    for other in [Kind::NoCert, Kind::San, Kind::Chain, Kind::Broken].into_iter().filter(|one| *one != moved)
    {
        *scene.counted() = served + other.once();
        assert_eq!(scene.last().0, Verdict::Errored, "{other:?}");
    }
}

#[test]
fn what_the_scenario_says_is_counted_holds_for_the_expected_alert_alone() {
    let it = cell("it", "stranger", "backend", forged("unknown_ca", Some(Kind::Broken)));
    let mut scene = Scene::one(it, wrong_san());
    assert_eq!(scene.counted().san, 1);
    assert_eq!(scene.last().0, Verdict::Failed);
    let account = scene.judge().pop().unwrap().evidence.remove(0);
    assert_eq!(account.counted, Some(account.tallied));
}

#[rstest]
#[case::served(answered(200, "ok"), Verdict::Recorded)]
#[case::refused(wrong_san(), Verdict::Recorded)]
#[case::refused_by_another_kind(refused(46, Kind::Chain), Verdict::Recorded)]
#[case::denied(denied(), Verdict::Recorded)]
#[case::rejected(local(400, ""), Verdict::Recorded)]
#[case::denied_call(denied_call(), Verdict::Recorded)]
#[case::timed_out(failed(DialFailure::TimedOut), Verdict::Errored)]
#[case::impostor(impostor(), Verdict::Errored)]
fn where_nothing_is_stated_all_that_can_be_judged_is_recorded(#[case] met: Met, #[case] verdict: Verdict) {
    for endpoint in ["backend", "proxy"] {
        let it = cell("it", "stranger", endpoint, Expect::default());
        let mut scene = Scene::one(it, met.clone());
        assert_eq!(scene.last().0, verdict, "{endpoint}: {}", scene.last().1);
        scene.says(endpoint).counted.denied += 1;
        assert_eq!(scene.last().0, Verdict::Errored, "the two sides must agree all the same");
    }
}

#[test]
fn where_nothing_is_stated_the_log_must_still_tell_the_same() {
    let it = || cell("it", "stranger", "backend", Expect::default());
    let mut refused = Scene::one(it(), wrong_san());
    refused.logged(true);
    assert_last(&refused, Verdict::Errored, "refused, yet the request reached the application");
    let mut served = Scene::one(it(), answered(200, "ok"));
    served.logged(false);
    assert_last(&served, Verdict::Errored, "answered, yet the application did not log the request");
}

/// Whoever a cell's dial was made again for, all its answers are looked at.
#[rstest]
#[case::failed(status(200), failed(DialFailure::Reset), Verdict::Errored, "reset without an alert")]
#[case::unexpected(status(200), local(503, "no"), Verdict::Failed, "expected 200, saw 503")]
#[case::recorded(
    Expect::default(),
    local(503, "no"),
    Verdict::Errored,
    "came to something else: 200, then 503"
)]
#[case::the_same(status(200), answered(200, "ok"), Verdict::Passed, "")]
fn what_the_same_dial_saw_before_counts_too(
    #[case] expect: Expect,
    #[case] before: Met,
    #[case] verdict: Verdict,
    #[case] reason: &str,
) {
    let mut scene = Scene::one(cell("it", "friend", "backend", expect), answered(200, "ok"));
    let id = scene.last_dial().id.clone();
    scene.last_dial().earlier = vec![Attempt { id, observation: before.seen }];
    assert_last(&scene, verdict, reason);
}

/// The log is asked for every attempt: one that came through is not made good by another that did not.
#[rstest]
#[case::refused("stranger", alert_named("certificate_unknown"), wrong_san(), false)]
#[case::denied("friend", status(403), denied(), false)]
#[case::answered("friend", status(200), answered(200, "ok"), true)]
#[case::recorded("stranger", Expect::default(), wrong_san(), false)]
fn every_attempt_at_a_dial_is_looked_up_in_the_log(
    #[case] client: &str,
    #[case] expect: Expect,
    #[case] met: Met,
    #[case] reaches: bool,
) {
    for (logged, agrees) in [(reaches, true), (!reaches, false)] {
        let mut scene = Scene::one(cell("it", client, "backend", expect.clone()), met.clone());
        let good = scene.last().0;
        assert!(matches!(good, Verdict::Passed | Verdict::Recorded));
        let before = Attempt { id: "before".into(), observation: met.seen.clone() };
        scene.last_dial().earlier = vec![before];
        if logged {
            scene.log().insert("before".into());
        }
        if agrees {
            assert_eq!(scene.last(), (good, String::new()));
        } else {
            assert_last(&scene, Verdict::Errored, "some requests reached the application and some did not");
        }
    }
}

/// A server that speaks HTTP/2 alone says nothing to HTTP/1.1: what it did not agree to is said, unless it
/// answered somebody in it.
#[rstest]
#[case::nothing_agreed(None, Http::Http2, true)]
#[case::agreed(Some("http/1.1"), Http::Http2, false)]
#[case::spoken_with_another(None, Http::Http1, false)]
fn a_version_that_was_not_agreed_to_is_said(
    #[case] alpn: Option<&str>,
    #[case] others: Http,
    #[case] said: bool,
) {
    let mut met = failed(DialFailure::Closed);
    met.seen.tls = Some(Tls {
        version: "1.3".into(),
        alpn: alpn.map(Into::into),
        peer_id: None,
        peer_dns: vec![],
        peer_chain: vec![],
    });
    let other = Cell { http: others, ..cell("other", "friend", "backend", status(200)) };
    let it = cell("it", "friend", "backend", status(200));
    let cases = [(other, answered(200, "ok")), (it, met)];
    let (verdict, reason) = Scene::exactly(world(), Marks::default(), &cases).last();
    assert_eq!((verdict, reason.contains("it may speak HTTP/2 alone")), (Verdict::Errored, said), "{reason}");
}
