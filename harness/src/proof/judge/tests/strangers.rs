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
    let here = local(200, "ok").by(Origin::Denied(0));
    assert_last(&scene("backend", status(200), here.clone()), Verdict::Failed, "a policy denied the request");
    let behind = answered(200, "ok").by(Origin::Denied(1));
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

/// What Envoy is said to have answered itself went to no other cluster either.
#[test]
fn what_envoy_answers_itself_went_nowhere_else() {
    let mut scene = Scene::one(cell("it", "friend", "backend", by(By::Envoy, 200)), local(200, "lives"));
    assert_eq!(scene.last().0, Verdict::Passed);
    scene.says("backend").elsewhere.insert("hidden".into(), 1);
    assert_last(&scene, Verdict::Errored, "cluster `hidden`");
}
