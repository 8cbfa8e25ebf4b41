//! Who answered: by marks where the configuration vouches for them, else by the counters of a window of one
//! dial, and by the application's log; and what servers that tell something else make of it.

use super::*;

pub(super) const NO_MARKS: Marks = Marks { time: false, denial: false, serves: true, replaces: false };

#[test]
fn counters_that_moved_otherwise_err_every_cell_of_the_window_and_no_other() {
    let refused =
        |check| (cell(check, "stranger", "backend", alert_named("certificate_unknown")), wrong_san());
    let mut scene = Scene::new(vec![refused("a"), refused("b"), refused("c")]);
    scene.counted().san = 2;
    let reason =
        "evidence disagrees at backend: clients saw 3 SAN refusals, Envoy counted 2 (fail_verify_san)";
    for judged in scene.judge() {
        let (verdict, told) =
            if judged.cell.endpoint == "proxy" { (Verdict::Passed, false) } else { (Verdict::Errored, true) };
        assert_eq!((judged.verdict, judged.reason.contains(reason)), (verdict, told), "{}", judged.reason);
    }
}

/// What it makes its upstream count is told of no dial among others.
#[test]
fn a_dial_that_asks_for_the_upstreams_count_wants_a_window_of_its_own() {
    let asking = Expect { upstream: Some(counted(|all| all.forwarded = 1)), ..status(200) };
    let of = |expect: &Expect| {
        let cases = ["it", "other"].map(|name| cell(name, "friend", "proxy", expect.clone()));
        let cases = cases.map(|cell| (cell, answered(200, "ok")));
        let mut scene = Scene::exactly(world_without_log(), Marks::default(), &[]);
        scene.cells = cases.iter().map(|(cell, _)| cell.clone()).collect();
        let window = scene.window(Marks::default(), &cases.each_ref(), "a");
        is_settled(&scene.scenario, &scene.cells, &window, &scene.logs)
    };
    assert!(of(&status(200)));
    assert!(!of(&asking));
}

/// Of several dials on their way through a proxy each came to the Envoy behind it.
#[test]
fn as_many_requests_come_on_as_were_passed_on() {
    let mut scene = Scene::one(cell("it", "friend", "proxy", status(200)), answered(200, "ok"));
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    assert_eq!(scene.says("backend").requests, 2, "the control's, and its own");
    scene.says("backend").requests = 1;
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
}

/// An application that answers otherwise may have asked otherwise too.
#[test]
fn what_an_unexpected_answer_made_the_upstream_count_is_not_known() {
    let asking = Expect { upstream: Some(counted(|all| all.forwarded = 1)), ..status(200) };
    let of = |met: Met| {
        let case = (cell("it", "nobody", "page", asking.clone()), met.bare());
        let mut scene = Scene::exactly(world_without_log(), Marks::default(), &[]);
        scene.cells = vec![case.0.clone()];
        let window = scene.window(Marks::default(), &[&case], "a");
        is_settled(&scene.scenario, &scene.cells, &window, &scene.logs)
    };
    assert!(of(answered(200, "ok")));
    assert!(!of(answered(500, "no")));
    // Nor whether it asked at all.
    assert!(!of(answered(500, "no").by(Origin::Envoy(0))));
}

/// As many requests as dials are ours, however many connections there were.
#[test]
fn others_are_those_beyond_our_dials() {
    let of = |requests, connections| {
        let happened = Happened { requests, connections, ..Happened::default() };
        super::super::accounts::others(&witness(Marks::default(), &[]), &happened, 2)
    };
    assert_eq!(of(2, 2), "");
    assert_eq!(of(2, 3), "; 3 connections came there meanwhile, 2 of ours");
    assert_eq!(of(3, 3), "; 3 requests came there meanwhile, 2 of ours");
}

#[rstest]
#[case(|scene: &mut Scene| scene.counted().no_cert += 1, "Envoy counted 1 (fail_verify_no_cert)")]
#[case(|scene: &mut Scene| scene.counted().chain += 1, "Envoy counted 1 (fail_verify_error)")]
#[case(|scene: &mut Scene| scene.counted().denied += 1, "Envoy counted 1 (rbac.denied)")]
#[case(|scene: &mut Scene| scene.counted().broken += 1, "Envoy counted 1 (connection_error)")]
#[case(|scene: &mut Scene| scene.counted().forwarded += 1, "clients saw 1 forwarded request, Envoy counted 2 (upstream_rq_total)")]
#[case(|scene: &mut Scene| scene.counted().san = 0, "clients saw 1 SAN refusal, Envoy counted 0")]
#[case(|scene: &mut Scene| scene.counted().network_rbac += 1, "Envoy counted 1 (network rbac.denied)")]
#[case(|scene: &mut Scene| drop(scene.logs.remove("backend")), "the application's log at backend was not read")]
#[case(|scene: &mut Scene| drop(scene.logs.insert("backend".into(), Err("gone".into()))), "the application's log at backend could not be read: gone")]
#[case(|scene: &mut Scene| scene.logged(true), "refused, yet the request reached the application")]
#[case(|scene: &mut Scene| scene.log().clear(), "the control `control backend` did not hold: evidence disagrees at backend: answered, yet the application did not log the request")]
#[case(|scene: &mut Scene| drop(scene.last_window().witnesses.remove("backend")), "there is no evidence from backend")]
fn a_refusal_that_the_server_does_not_confirm_errs(#[case] change: fn(&mut Scene), #[case] reason: &str) {
    let it = cell("it", "stranger", "backend", alert_named("certificate_unknown"));
    let mut scene = Scene::one(it, wrong_san());
    assert_eq!(scene.last().0, Verdict::Passed);
    change(&mut scene);
    assert_last(&scene, Verdict::Errored, reason);
}

#[test]
fn evidence_that_could_not_be_read_errs() {
    let it = cell("it", "stranger", "backend", alert_named("certificate_unknown"));
    let mut scene = Scene::one(it, wrong_san());
    let witness = scene.last_window().witnesses.get_mut("backend").unwrap();
    witness.pods.insert("p".into(), Err("connection refused".into()));
    let (verdict, reason) = scene.last();
    assert_eq!(verdict, Verdict::Errored);
    let told = "the evidence at backend could not be read: pod p: connection refused";
    assert!(reason.starts_with(told), "{reason}");
}

#[test]
fn an_answer_that_the_application_did_not_log_errs() {
    let mut scene = Scene::one(cell("it", "friend", "backend", status(200)), answered(200, "ok"));
    scene.logged(false);
    assert_last(&scene, Verdict::Errored, "answered, yet the application did not log the request");
}

#[test]
fn an_answer_of_envoys_own_that_the_application_logged_errs() {
    let mut scene = Scene::one(cell("it", "friend", "backend", status(403)), denied());
    scene.logged(true);
    assert_eq!(scene.last().0, Verdict::Errored, "{}", scene.last().1);
    let case = (cell("it", "friend", "backend", by(By::Envoy, 200)), local(200, "lives"));
    let mut alone = Scene::of(world(), NO_MARKS, vec![case]);
    alone.logged(true);
    assert_last(&alone, Verdict::Errored, "Envoy answered itself, yet the request reached the application");
}

#[test]
fn a_relayed_denial_is_counted_where_it_was_made() {
    let mut scene = Scene::one(cell("it", "friend", "proxy", status(403)), denied_behind());
    assert_eq!(scene.says("proxy").counted, counted(|all| all.forwarded = 2));
    assert_eq!(*scene.counted(), counted(|all| (all.forwarded, all.denied) = (1, 1)));
    assert_eq!((scene.last().0, scene.last_by()), (Verdict::Passed, Some(By::Envoy)));
    // The proxy says that it was its own denial, the backend that it was the backend's: one of them is wrong.
    scene.says("proxy").counted = counted(|all| (all.forwarded, all.denied) = (1, 1));
    assert_eq!(scene.last().0, Verdict::Errored);
}

/// Whether a window of many dials says who answered each of them, by what the configuration vouches for.
#[rstest]
#[case::time(Marks::default(), answered(200, "ok"), true)]
#[case::time_of_an_error(Marks::default(), answered(500, "no"), true)]
#[case::time_of_a_spoofed_denial(Marks::default(), answered(403, RBAC_DENIED), true)]
#[case::no_time(Marks::default(), local(404, ""), true)]
#[case::no_time_denied(Marks::default(), denied(), true)]
#[case::no_time_denied_call(Marks::default(), denied_call(), true)]
#[case::no_time_served(Marks { serves: true, ..Marks::default() }, local(200, "lives"), true)]
#[case::no_time_and_other_texts(Marks { denial: false, ..Marks::default() }, local(403, "no"), false)]
#[case::time_and_other_texts(Marks { denial: false, ..Marks::default() }, answered(403, "no"), true)]
#[case::text(Marks { time: false, ..Marks::default() }, denied(), true)]
#[case::text_of_a_call(Marks { time: false, ..Marks::default() }, denied_call(), true)]
#[case::served(Marks { time: false, ..Marks::default() }, answered(200, "ok").bare(), true)]
#[case::served_where_envoy_serves(Marks { time: false, denial: true, serves: true, replaces: false }, answered(200, "ok").bare(), false)]
#[case::served_and_other_texts(Marks { time: false, denial: false, serves: false, replaces: false }, answered(200, "ok").bare(), false)]
#[case::an_error(Marks { time: false, ..Marks::default() }, answered(404, "no").bare(), false)]
#[case::a_redirect(Marks { time: false, ..Marks::default() }, answered(302, "").bare(), false)]
#[case::a_call_that_failed(Marks { time: false, ..Marks::default() }, answered(200, "").bare().header("grpc-status", "5"), false)]
#[case::spoofed(Marks { time: false, ..Marks::default() }, answered(403, RBAC_DENIED).bare(), false)]
#[case::an_alert(NO_MARKS, wrong_san(), true)]
#[case::nothing(NO_MARKS, failed(DialFailure::Closed), true)]
fn marks_tell_who_answered_among_many_or_a_window_of_its_own_has_to(
    #[case] marks: Marks,
    #[case] met: Met,
    #[case] told: bool,
) {
    // One dial beside it, that nothing has to tell.
    let other = (cell("other", "nobody", "backend", Expect::default()), no_cert());
    let it = (cell("it", "friend", "backend", Expect::default()), met.clone());
    let scene = Scene::exactly(world_without_log(), marks, &[other, it]);
    assert_eq!(scene.windows.len(), if told { 1 } else { 2 });
    let by = match met.origin {
        Origin::Application => Some(By::Application),
        Origin::Denied(..) | Origin::Envoy(_) => Some(By::Envoy),
        Origin::Handshake(_) | Origin::CutOff(_) | Origin::Uncounted | Origin::Unanswered(_) => None,
    };
    assert_eq!(scene.last_by(), by, "{}", scene.last().1);
    let came_to_nothing = matches!(met.seen.outcome, Outcome::Failed { .. });
    assert_eq!(scene.last().0 == Verdict::Recorded, !came_to_nothing);
}

/// What the application did not log, Envoy answered, also where no time tells and others were there.
#[test]
fn what_is_not_logged_is_envoys_own() {
    let other = (cell("other", "nobody", "backend", Expect::default()), no_cert());
    for met in [local(404, ""), local(200, "lives")] {
        let it = (cell("it", "friend", "backend", Expect::default()), met);
        let scene = Scene::exactly(world(), Marks { time: false, ..Marks::default() }, &[other.clone(), it]);
        assert_eq!((scene.windows.len(), scene.last_by()), (1, Some(By::Envoy)));
    }
}

/// A window of one dial: whatever the answer looks like, counters tell.
#[rstest]
#[case::application("backend", status(200), answered(200, "ok"))]
#[case::application_behind("proxy", status(200), answered(200, "ok"))]
#[case::envoy("backend", status(404), local(404, ""))]
#[case::envoy_with_a_time("backend", status(404), answered(404, "").by(Origin::Envoy(0)))]
#[case::envoy_behind("proxy", status(404), local(404, "").by(Origin::Envoy(1)))]
#[case::policy("backend", status(403), local(403, "go away").by(Origin::Denied(Kind::Denied, 0)))]
#[case::policy_behind("proxy", status(403), answered(403, "go away").by(Origin::Denied(Kind::Denied, 1)))]
#[case::policy_of_the_proxy("proxy", status(403), local(403, "go away").by(Origin::Denied(Kind::Denied, 0)))]
#[case::call("backend", grpc("16"), local(200, "").header("grpc-status", "16").by(Origin::Denied(Kind::Denied, 0)))]
fn alone_counters_tell_each_origin(#[case] endpoint: &str, #[case] expect: Expect, #[case] met: Met) {
    for scenario in [world(), world_without_log()] {
        let case = (cell("it", "friend", endpoint, expect.clone()), met.clone());
        let mut scene = Scene::of(scenario, NO_MARKS, vec![case]);
        // What the application logged is told by that among many too.
        let logged =
            met.origin == Origin::Application && scene.scenario.endpoints["backend"].app_log.is_some();
        assert!(logged || scene.last_window().dials.len() == 1);
        assert_eq!(scene.last(), (Verdict::Passed, String::new()));
        let by = if met.origin == Origin::Application { By::Application } else { By::Envoy };
        assert_eq!(scene.last_by(), Some(by));
        // And each event that none of its origins makes is a contradiction.
        let lies: [fn(&mut Counted); 4] =
            [|all| all.san += 1, |all| all.denied += 2, |all| all.broken += 1, |all| all.forwarded += 2];
        for (number, lie) in lies.iter().enumerate() {
            let mut lied = scene.clone();
            lie(&mut lied.says("backend").counted);
            assert_ne!(lied.last().0, Verdict::Passed, "lie {number}");
        }
    }
}

/// An application's own refusal that looks like Envoy's in every way.
#[test]
fn alone_counters_overrule_what_an_answer_looks_like() {
    for (expect, met) in [
        (status(403), denied().by(Origin::Application)),
        (status(404), local(404, "").by(Origin::Application)),
        (grpc("7"), denied_call().by(Origin::Application)),
    ] {
        for scenario in [world(), world_without_log()] {
            let it = cell("it", "friend", "backend", expect.clone());
            let scene = Scene::of(scenario, NO_MARKS, vec![(it, met.clone())]);
            assert_last(&scene, Verdict::Failed, "it is the application's own answer");
        }
    }
}

#[rstest]
#[case::none(1, 0, Verdict::Passed)]
#[case::one(2, 1, Verdict::Passed)]
#[case::one_that_found_no_connection(1, 1, Verdict::Passed)]
#[case::never_forwarded(0, 1, Verdict::Errored)]
#[case::more_than_were_retried(3, 1, Verdict::Errored)]
#[case::somebody_elses(2, 0, Verdict::Errored)]
fn alone_a_dials_own_retries_are_told_from_others(
    #[case] forwarded: u64,
    #[case] retries: u64,
    #[case] verdict: Verdict,
) {
    let it = cell("it", "friend", "backend", by(By::Application, 200));
    let mut scene = Scene::exactly(world(), NO_MARKS, &[(it, answered(200, "ok"))]);
    scene.says("backend").counted.forwarded = forwarded;
    scene.says("backend").retries = retries;
    assert_last(&scene, verdict, "");
}

#[test]
fn among_many_retries_are_nobodys_in_particular() {
    let mut scene = Scene::one(cell("it", "friend", "backend", status(200)), answered(200, "ok"));
    scene.counted().forwarded += 1;
    scene.says("backend").retries += 1;
    assert_last(&scene, Verdict::Errored, "clients saw 2 forwarded requests, Envoy counted 3");
}

/// A refusal by status while requests went to a cluster that no route is known to lead to.
#[test]
fn requests_that_went_elsewhere_leave_a_refusal_in_doubt() {
    for expect in [status(403), by(By::Envoy, 403)] {
        let mut scene = Scene::one(cell("it", "friend", "backend", expect), denied());
        scene.says("backend").elsewhere.insert("hidden".into(), 1);
        assert_last(&scene, Verdict::Errored, "meanwhile backend sent 1 request(s) to cluster `hidden`");
    }
}

#[test]
fn a_disturbed_window_says_who_else_was_there() {
    let mut scene = Scene::one(cell("it", "friend", "backend", status(200)), answered(200, "ok"));
    assert!(!is_disturbed(scene.last_window()));
    scene.counted().forwarded += 1;
    scene.says("backend").requests = 7;
    assert!(is_disturbed(scene.last_window()));
    assert_last(&scene, Verdict::Errored, "7 requests came there meanwhile, 2 of ours");
    scene.says("backend").requests = 2;
    scene.says("backend").connections = 9;
    scene.last_window().witnesses.get_mut("backend").unwrap().remarks = vec!["two ports count there".into()];
    assert!(is_disturbed(scene.last_window()));
    let told = "9 connections came there meanwhile, 2 of ours; two ports count there";
    assert_last(&scene, Verdict::Errored, told);
}

/// Where no counter and no log says who answered, a refusal by status is nobody's.
#[test]
fn a_refusal_at_a_page_has_no_evidence() {
    let mut it = cell("it", "nobody", "page", status(403));
    it.control = Some("served".into());
    let page = |status| Met { seen: respond(status, &[], ""), origin: Origin::Application };
    let control = cell("served", "nobody", "page", status(200));
    let scene = Scene::exactly(world(), Marks::default(), &[(control, page(200)), (it, page(403))]);
    assert_last(&scene, Verdict::Errored, "no evidence can be had at page");
    assert_eq!(scene.judge()[0].verdict, Verdict::Passed);
}

#[test]
fn the_end_of_the_way_is_where_the_application_answers() {
    let world = world();
    let ends = ["page", "proxy", "backend"].map(|name| terminal(&world, name));
    assert_eq!(ends, ["page", "backend", "backend"]);
}

/// What the proxy tries again comes to the backend as often, be it answered or denied there.
#[rstest]
#[case::answered(status(200), answered(200, "ok"), |all: &mut Counted| all.forwarded = 2)]
#[case::denied(status(403), denied_behind(), |all: &mut Counted| (all.forwarded, all.denied) = (0, 2))]
fn a_request_that_a_proxy_tries_again_may_come_to_the_backend_as_often(
    #[case] expect: Expect,
    #[case] met: Met,
    #[case] twice: fn(&mut Counted),
) {
    let it = cell("it", "friend", "proxy", expect);
    // Without a mark and a log each dial goes alone.
    let mut scene = Scene::of(world_without_log(), NO_MARKS, vec![(it, met)]);
    assert_eq!(scene.last().0, Verdict::Passed, "{}", scene.last().1);
    twice(scene.counted());
    scene.says("proxy").counted.forwarded = 2;
    assert_eq!(scene.last().0, Verdict::Errored);
    scene.says("proxy").retries = 1;
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    // Not oftener than that, and nothing else.
    let right = *scene.counted();
    for wrong in [
        |all: &mut Counted| all.forwarded += 1,
        |all: &mut Counted| all.denied += 1,
        |all: &mut Counted| all.broken += 1,
    ] {
        *scene.counted() = right;
        wrong(scene.counted());
        assert_eq!(scene.last().0, Verdict::Errored, "{:?}", scene.counted());
    }
}

/// What goes on in another protocol has no time on it, whoever let it through: the counters alone tell.
#[test]
fn who_switched_protocols_is_told_by_what_was_forwarded() {
    let switched = || (cell("it", "friend", "backend", status(101)), answered(101, "").bare());
    let other = (cell("other", "nobody", "backend", Expect::default()), no_cert());
    let scene = || Scene::exactly(world_without_log(), Marks::default(), &[other.clone(), switched()]);
    assert_eq!(
        (scene().last(), scene().last_by()),
        ((Verdict::Passed, String::new()), Some(By::Application))
    );
    let mut unseen = scene();
    unseen.counted().forwarded = 0;
    assert_eq!(unseen.last_by(), Some(By::Envoy));
    let mut twice = scene();
    twice.counted().forwarded = 2;
    assert_last(&twice, Verdict::Errored, "evidence disagrees at backend");
}
