//! False passes that somebody looked for: each of these was let through once.

use super::*;

/// `by` is a claim like any other: it wants proof.
#[rstest]
#[case(By::Application)]
#[case(By::Envoy)]
fn who_answered_must_be_told_where_it_is_expected(#[case] who: By) {
    let page = Met { seen: respond(200, &[], ""), origin: Origin::Application };
    let it = cell("it", "nobody", "page", by(who, 200));
    let scene = Scene::exactly(world(), Marks::default(), &[(it, page)]);
    assert_last(&scene, Verdict::Errored, "nothing says who answered at page");
}

/// A gRPC call that was denied has HTTP status 200 all the same.
#[test]
fn a_call_that_was_denied_is_no_success() {
    let scene = Scene::one(cell("it", "friend", "backend", status(200)), denied_call());
    assert_last(&scene, Verdict::Failed, "expected 200, saw 200 grpc-status 7");
    let stated = Expect { by: Some(By::Application), ..grpc("5") };
    let met = answered(200, "").header("grpc-status", "5");
    let stated = Scene::one(cell("it", "friend", "backend", stated), met);
    assert_eq!(stated.last(), (Verdict::Passed, String::new()));
}

/// `local_reply_config` can make a denial a 200.
#[test]
fn a_denial_that_says_200_is_no_success() {
    let marks = Marks { denial: false, ..Marks::default() };
    let scene = |endpoint, expect, met| {
        Scene::of(world_without_log(), marks, vec![(cell("it", "friend", endpoint, expect), met)])
    };
    let here = local(200, "ok").by(Origin::Denied(Kind::Denied, 0));
    assert_last(&scene("backend", status(200), here.clone()), Verdict::Failed, "a policy denied the request");
    let behind = answered(200, "ok").by(Origin::Denied(Kind::Denied, 1));
    assert_last(&scene("proxy", status(200), behind), Verdict::Failed, "a policy denied the request");
    let said = scene("backend", by(By::Envoy, 200), here);
    assert_eq!(said.last(), (Verdict::Passed, String::new()));
}

/// A control that expects nothing shows nothing, whatever came.
#[rstest]
#[case(answered(200, "ok"))]
#[case(answered(500, "broken"))]
#[case(failed(DialFailure::Refused))]
fn a_control_that_expects_nothing_does_not_hold(#[case] met: Met) {
    let control = cell("control backend", "friend", "backend", Expect::default());
    let it = cell("it", "nobody", "backend", alert_named("certificate_required"));
    let scene = Scene::exactly(world(), Marks::default(), &[(control, met), (it, no_cert())]);
    assert_last(&scene, Verdict::Errored, "the control `control backend` did not hold");
}

/// A control must pass, with all that it expects and all that it ever saw.
#[test]
fn a_control_that_did_not_pass_does_not_hold() {
    let scene = || {
        let it = cell("it", "nobody", "backend", alert_named("certificate_required"));
        Scene::one(it, no_cert())
    };
    for before in [local(503, ""), failed(DialFailure::TimedOut)] {
        let mut scene = scene();
        let control = &mut scene.last_window().dials[0];
        control.earlier = vec![Attempt { id: control.id.clone(), observation: before.seen }];
        assert_last(&scene, Verdict::Errored, "the control `control backend` did not hold");
    }
    let mut cut = scene();
    cut.cells[0].expect.lacks = vec!["secret".into()];
    let Outcome::Response { body_cut, .. } = &mut cut.last_window().dials[0].observation.outcome else {
        panic!("the control is answered")
    };
    *body_cut = true;
    assert_last(&cut, Verdict::Errored, "the control `control backend` did not hold");
}

/// Behind a proxy that counts nothing, that the backend was not asked says nothing of where the request went.
#[test]
fn a_refusal_on_a_way_that_is_not_watched_from_the_start_errs() {
    let mut scenario = world();
    scenario.endpoints.get_mut("proxy").unwrap().admin = None;
    // In truth some application behind the proxy may have given it: nobody counts there.
    let it = cell("it", "friend", "proxy", status(403));
    let case = (it.clone(), local(403, "no").by(Origin::Envoy(0)));
    let scene = Scene::of(scenario.clone(), Marks::default(), vec![case]);
    assert_last(&scene, Verdict::Errored, "no evidence can be had at proxy");
    // What the backend counted as its own denial is proof enough.
    let scene = Scene::of(scenario, Marks::default(), vec![(it, denied_behind().bare())]);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
}

/// Where the scenario says that nobody may read the counters, what the client saw is told apart from what both
/// sides say; it is never more than that, and a control is needed as ever.
#[test]
fn without_counters_a_refusal_is_of_the_clients_side_only() {
    let mut scenario = world_without_log();
    let backend = scenario.endpoints.get_mut("backend").unwrap();
    (backend.admin, backend.evidence) = (None, Some(Evidence::ClientSide));
    let it = |expect| cell("it", "stranger", "backend", expect);
    let scene =
        |one: &Cell, met: Met| Scene::of(scenario.clone(), Marks::default(), vec![(one.clone(), met)]);
    let by_san = it(alert_named("certificate_unknown"));
    let told = scene(&by_san, refused(46, Kind::San));
    assert_eq!(told.last(), (Verdict::ClientSide, String::new()));
    let told = scene(&it(status(403)), denied());
    assert_eq!(told.last(), (Verdict::ClientSide, String::new()));
    // Another alert, or an answer, fails as ever.
    assert_eq!(scene(&by_san, refused(48, Kind::Chain)).last().0, Verdict::Failed);
    assert_eq!(scene(&by_san, answered(200, "")).last().0, Verdict::Failed);
    // What only a counter can say is not said.
    let counted = it(forged("certificate_unknown", Some(Kind::San)));
    assert_last(&scene(&counted, refused(46, Kind::San)), Verdict::Errored, "no evidence can be had");
    let claimed = it(Expect { by: Some(By::Envoy), ..status(403) });
    assert_last(&scene(&claimed, denied()), Verdict::Errored, "no evidence can be had");
    let mut alone = by_san.clone();
    alone.control = None;
    assert_last(&scene(&alone, refused(46, Kind::San)), Verdict::Errored, "without a control");
    // Where counters are read, they decide.
    let mut scenario = world();
    scenario.endpoints.get_mut("proxy").unwrap().evidence = Some(Evidence::ClientSide);
    let it = cell("it", "stranger", "proxy", alert_named("certificate_unknown"));
    let watched = Scene::of(scenario, Marks::default(), vec![(it, refused(46, Kind::San))]);
    assert_eq!(watched.last().0, Verdict::Passed);
}

/// What Envoy is said to have answered itself went to no other cluster either.
#[test]
fn what_envoy_answers_itself_went_nowhere_else() {
    let mut scene = Scene::one(cell("it", "friend", "backend", by(By::Envoy, 200)), local(200, "lives"));
    assert_eq!(scene.last().0, Verdict::Passed);
    scene.says("backend").elsewhere.insert("hidden".into(), 1);
    assert_last(&scene, Verdict::Errored, "cluster `hidden`");
}

/// What a front Envoy sends to another application is no answer of the Envoy behind it: nothing came there.
#[rstest]
#[case::a_denial(status(403), denied_behind())]
#[case::not_found(by(By::Envoy, 404), answered(404, "no").by(Origin::Envoy(1)))]
#[case::served(status(200), answered(200, "other").by(Origin::Envoy(1)))]
fn an_answer_of_another_application_is_not_the_upstreams(#[case] expect: Expect, #[case] met: Met) {
    let mut scene = Scene::one(cell("it", "friend", "proxy", expect), met);
    assert_ne!(scene.last().0, Verdict::Errored, "{}", scene.last().1);
    let behind = scene.says("backend");
    behind.requests -= 1;
    behind.counted.denied = 0;
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
}

/// A port that passes bytes on answers no request itself: nor does it here, where another was asked.
#[test]
fn a_tcp_proxy_behind_gives_no_answer_of_its_own() {
    let case = (cell("it", "friend", "proxy", by(By::Envoy, 404)), answered(404, "no").by(Origin::Envoy(1)));
    let mut scene = Scene::of(world_without_log(), Marks::default(), vec![case]);
    for window in &mut scene.windows {
        let Some(behind) = window.witnesses.get_mut("backend") else { continue };
        (behind.speaks_http, behind.passes_bytes) = (false, true);
    }
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
    for window in &mut scene.windows {
        let Some(behind) = window.witnesses.get_mut("backend") else { continue };
        (behind.speaks_http, behind.passes_bytes) = (true, true);
    }
    assert_eq!(scene.last(), (Verdict::Passed, String::new()), "one that has both may answer");
}

/// An alert that is expected is counted as just that refusal, also where nobody else is there.
#[test]
fn an_alert_is_no_other_refusal_s() {
    let case = (cell("it", "stranger", "backend", alert_named("certificate_unknown")), wrong_san());
    let control = (cell("control backend", "friend", "backend", status(200)), answered(200, "ok"));
    let mut scene = Scene::exactly(world(), Marks::default(), &[control]);
    let alone = scene.window(Marks::default(), &[&case], "b");
    scene.cells.push(case.0);
    scene.windows.push(alone);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    *scene.counted() = counted(|all| all.chain = 1);
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
}

/// Two Envoys of one pod may listen at one port, or the one that is read at none: each connection is counted.
#[test]
fn a_dial_that_the_envoy_did_not_see_met_another() {
    let it = cell("it", "nobody", "backend", alert_named("certificate_required"));
    let mut scene = Scene::one(it, no_cert());
    assert_eq!(scene.last().0, Verdict::Passed);
    scene.says("backend").connections -= 1;
    assert_last(&scene, Verdict::Errored, "somebody else listens there");
}

/// A request that was refused, and whose copy an application has.
#[test]
fn a_copy_of_a_refused_request_reached_somebody() {
    let case = (cell("it", "friend", "backend", status(503)), local(503, "no"));
    let mut crowded = Scene::of(world_without_log(), Marks::default(), vec![case.clone()]);
    crowded.says("backend").mirrored = 1;
    assert_last(
        &crowded,
        Verdict::Errored,
        "nothing says whether the request reached the application at backend",
    );
    let control = (cell("control backend", "friend", "backend", status(200)), answered(200, "ok"));
    let mut scene = Scene::exactly(world_without_log(), Marks::default(), &[control]);
    let alone = scene.window(Marks::default(), &[&case], "b");
    scene.cells.push(case.0);
    scene.windows.push(alone);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.says("backend").mirrored = 1;
    assert_last(&scene, Verdict::Errored, "meanwhile backend sent 1 copy(ies) of requests to a mirror");
}

/// What was forwarded and not answered is answered by Envoy: it has no time of an upstream on it.
#[rstest]
#[case::an_error(by(By::Application, 503), 503)]
#[case::rewritten(by(By::Application, 200), 200)]
#[case::nobody_said(status(200), 200)]
fn an_answer_in_the_applications_place_is_not_its_own(#[case] expect: Expect, #[case] code: u16) {
    let met = local(code, "fine").by(Origin::Unanswered(0));
    let case = vec![(cell("it", "friend", "backend", expect), met)];
    let scene = Scene::of(world_without_log(), Marks { denial: false, ..Marks::default() }, case);
    assert_last(&scene, Verdict::Errored, "Envoy answered in the application's place");
}

/// Without that mark, nothing tells.
#[test]
fn an_error_that_envoy_gives_too_is_not_taken_for_the_applications() {
    let marks = Marks { time: false, ..Marks::default() };
    let of = |code| {
        let met = answered(code, "no").bare();
        Scene::of(
            world_without_log(),
            marks,
            vec![(cell("it", "friend", "backend", by(By::Application, code)), met)],
        )
    };
    assert_last(
        &of(503),
        Verdict::Errored,
        "the header `x-envoy-upstream-service-time` of the Envoy before it would",
    );
    assert_eq!(of(404).last(), (Verdict::Passed, String::new()));
}

/// A gRPC call is told of such an error by its own status (gRPC, "HTTP to gRPC Status Code Mapping").
#[test]
fn a_call_that_envoy_gives_up_is_not_taken_for_the_applications() {
    let marks = Marks { time: false, ..Marks::default() };
    let of = |code: &str| {
        let expect = Expect { by: Some(By::Application), ..grpc(code) };
        let met = answered(200, "").bare().header("grpc-status", code);
        Scene::of(world_without_log(), marks, vec![(cell("it", "friend", "backend", expect), met)])
    };
    assert_last(
        &of("14"),
        Verdict::Errored,
        "the header `x-envoy-upstream-service-time` of the Envoy before it would",
    );
    assert_last(
        &of("4"),
        Verdict::Errored,
        "the header `x-envoy-upstream-service-time` of the Envoy before it would",
    );
    assert_eq!(of("5").last(), (Verdict::Passed, String::new()));
}

/// The first Envoy's time is on whatever the second says, and so on what that one says in the application's
/// place.
#[test]
fn an_error_of_an_envoy_behind_is_not_taken_for_the_applications() {
    let of = |code| {
        let case = (cell("it", "friend", "proxy", by(By::Application, code)), answered(code, "no"));
        Scene::of(world_without_log(), Marks::default(), vec![case])
    };
    assert_last(
        &of(503),
        Verdict::Errored,
        "the header `x-envoy-upstream-service-time` of the Envoy before it would",
    );
    assert_eq!(of(404).last(), (Verdict::Passed, String::new()));
}

/// An application that logs a request and then dies did not answer it.
#[test]
fn what_the_application_only_logged_it_did_not_answer() {
    let met = local(503, "upstream connect error").by(Origin::Unanswered(0));
    let case = (cell("it", "friend", "backend", by(By::Application, 503)), met);
    let mut scene = Scene::exactly(world(), Marks::default(), &[case]);
    for word in ["a", "b"] {
        let id = format!("{}.{word}", scene.cells[0].id);
        scene.log().insert(id);
    }
    assert_last(&scene, Verdict::Errored, "Envoy answered in the application's place");
    // The same among others.
    let case = (scene.cells[0].clone(), scene.last_dial().clone());
    let control = (cell("control backend", "friend", "backend", status(200)), answered(200, "ok"));
    let mut crowd = Scene::exactly(world(), Marks::default(), &[control]);
    crowd.cells.push(case.0);
    crowd.windows[0].dials.push(Dialled { id: "it".into(), ..case.1 });
    crowd.log().insert("it".into());
    *crowd.says("backend") = Happened {
        counted: counted(|all| all.forwarded = 2),
        requests: 2,
        connections: 2,
        ..Happened::default()
    };
    assert_ne!(crowd.last().0, Verdict::Passed, "{}", crowd.last().1);
}

/// Nor may it have where nothing shows it: a log says that the request came, and the time on an answer is the
/// first Envoy's, or is left out.
#[rstest]
#[case::behind_a_proxy("proxy", true, answered(503, "no").by(Origin::Unanswered(1)))]
#[case::without_the_time("backend", false, local(503, "no").by(Origin::Unanswered(0)))]
#[case::a_call("backend", false, local(200, "").header("grpc-status", "14").by(Origin::Unanswered(0)))]
fn nor_what_it_logged_where_no_time_shows_it(
    #[case] endpoint: &str,
    #[case] time: bool,
    #[case] met: Met,
    #[values(true, false)] any: bool,
) {
    let status = (!any).then_some(503);
    let expect = Expect { status, by: Some(By::Application), ..Expect::default() };
    let case = vec![(cell("it", "friend", endpoint, expect), met)];
    let mut scene = Scene::of(world(), Marks { time, ..Marks::default() }, case);
    scene.logged(true);
    assert_ne!(scene.last().0, Verdict::Passed, "{:?}", scene.last());
}

/// Where no mark tells, two requests may each have what the other is taken for: one that Envoy answers
/// itself, and one that its policy denies or that it forwards.
#[rstest]
#[case::denied(Expect { counts: Some(Kind::Denied), ..status(403) }, denied())]
#[case::forwarded(by(By::Application, 200), answered(200, "ok").bare())]
fn what_was_counted_among_others_may_be_theirs(#[case] expect: Expect, #[case] met: Met) {
    let it = cell("it", "friend", "backend", expect);
    let mut scene = Scene::of(world_without_log(), super::attribution::NO_MARKS, vec![(it, met)]);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.says("backend").requests += 1;
    assert_last(&scene, Verdict::Errored, "others were there meanwhile");
}

#[rstest]
#[case::beyond_a_float(r#"{"b": 12345678901234567890123}"#, "{b: 12345678901234567890124}", Verdict::Errored)]
#[case::a_long_fraction(r#"{"b": 0.12345678901234567}"#, "{b: 0.12345678901234567}", Verdict::Errored)]
#[case::whole_ones_of_64_bits(r#"{"b": 18446744073709551615}"#, "{b: 18446744073709551615}", Verdict::Passed)]
#[case::another(r#"{"b": 9007199254740993}"#, "{b: 9007199254740992}", Verdict::Failed)]
#[case::one_number_in_two_forms(r#"{"b": 1.0}"#, "{b: 1}", Verdict::Passed)]
#[case::a_long_text(r#"{"b": "12345678901234567890123"}"#, "{b: '12345678901234567890123'}", Verdict::Passed)]
fn numbers_are_compared_as_they_are(#[case] body: &str, #[case] json: &str, #[case] verdict: Verdict) {
    let json: serde_json::Value = serde_saphyr::from_str(json).unwrap();
    let expect = Expect { json: Some(json), ..status(200) };
    let scene = Scene::one(cell("it", "friend", "backend", expect), answered(200, body));
    assert_eq!(scene.last().0, verdict, "{}", scene.last().1);
}

/// A header that stands there twice says two things.
#[test]
fn every_value_of_a_header_is_the_expected_one() {
    let expect = Expect { headers: [("x-policy".to_owned(), "strict".to_owned())].into(), ..status(200) };
    let met = answered(200, "").header("x-policy", "strict");
    let scene = |met| Scene::one(cell("it", "friend", "backend", expect.clone()), met);
    assert_eq!(scene(met.clone()).last(), (Verdict::Passed, String::new()));
    let twice = scene(met.header("x-policy", "off"));
    assert_last(&twice, Verdict::Failed, "expected the header `x-policy: strict`, saw strict, off");
}

/// Envoy's router puts its time on no answer that came before its request was whole; that of a request with a
/// body may.
#[test]
fn an_answer_that_came_early_has_no_time_and_is_the_applications_all_the_same() {
    let whole = cell("it", "friend", "backend", status(200));
    let early = Cell { body: b"basket".to_vec(), ..whole.clone() };
    let met = || Met { seen: respond(200, &[("server", "envoy")], ""), origin: Origin::Application };
    let marks = Marks { time: true, denial: true, serves: false, ..Marks::default() };
    let of = |it: &Cell| Scene::of(world_without_log(), marks, vec![(it.clone(), met())]).last();
    assert_eq!(of(&early), (Verdict::Passed, String::new()));
    assert_eq!(of(&whole).0, Verdict::Errored);
    // An error that Envoy gives for a dead application has no time either, logged or not.
    let it = Cell { expect: by(By::Application, 503), ..early };
    for scenario in [world_without_log(), world()] {
        let dead = Met { seen: respond(503, &[("server", "envoy")], ""), origin: Origin::Application };
        let scene = Scene::of(scenario, marks, vec![(it.clone(), dead)]);
        assert_last(&scene, Verdict::Errored, "from one that Envoy gives in its place at backend");
    }
}

/// Pods that went meanwhile are other pods, also where nobody counts.
#[test]
fn what_answered_and_went_says_nothing_though_nobody_counts() {
    let went = |mut scene: Scene, endpoint: &str, pod: &str| {
        scene.last_window().discredit(endpoint, &[pod], "its pods were restarted");
        assert_last(&scene, Verdict::Errored, "its pods were restarted");
    };
    let page = Met { seen: respond(200, &[], ""), origin: Origin::Application };
    let read = cell("it", "nobody", "page", status(200));
    let scene = Scene::exactly(world(), Marks::default(), &[(read, page)]);
    assert_eq!(scene.last().0, Verdict::Passed);
    went(scene, "page", "page-1");
    let mut scenario = world_without_log();
    let backend = scenario.endpoints.get_mut("backend").unwrap();
    (backend.admin, backend.evidence) = (None, Some(Evidence::ClientSide));
    let it = cell("it", "stranger", "backend", alert_named("certificate_unknown"));
    let scene = Scene::of(scenario, Marks::default(), vec![(it, refused(46, Kind::San))]);
    assert_eq!(scene.last().0, Verdict::ClientSide);
    went(scene, "backend", "backend-1");
}

/// Somebody at another port of the same Envoy, whose requests go to the same cluster, or who is cut off under
/// the same counter: what that one did is not taken for what became of ours.
#[rstest]
#[case::a_forwarded_request(by(By::Application, 404), local(404, "no"), |all: &mut Counted| all.forwarded = 1)]
#[case::any_answer(Expect { by: Some(By::Application), ..Expect::default() }, local(404, "no"), |all: &mut Counted| all.forwarded = 1)]
#[case::a_cut(
    Expect { cut_off: Some(CutOff::NetworkRbac), ..Expect::default() },
    failed(DialFailure::Reset),
    |all: &mut Counted| all.network_rbac = 1
)]
fn what_another_port_counts_in_the_same_place_is_not_ours(
    #[case] expect: Expect,
    #[case] met: Met,
    #[case] theirs: fn(&mut Counted),
) {
    // No mark tells who answered.
    let marks = Marks { time: false, denial: false, serves: true, ..Marks::default() };
    let case = (cell("it", "friend", "backend", expect), met);
    let mut scene = Scene::of(world_without_log(), marks, vec![case.clone()]);
    scene.windows.retain(|window| window.dials.iter().all(|dial| dial.cell != "it"));
    let alone = scene.window(marks, &[&case], "b");
    scene.windows.push(alone);
    assert_ne!(scene.last().0, Verdict::Passed, "{:?}", scene.last());
    theirs(scene.counted());
    let happened = scene.says("backend");
    (happened.connections, happened.beside) = (1, 1);
    assert!(is_disturbed(scene.last_window()));
    assert_last(&scene, Verdict::Errored, "others were there meanwhile");
    assert_last(&scene, Verdict::Errored, "1 came to a port of the same Envoy that counts there too");
}
