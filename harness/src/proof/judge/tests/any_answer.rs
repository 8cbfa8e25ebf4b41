//! `by: application` alone: the application answered, whatever it said. Nobody else's answer is one.

use super::*;

fn any() -> Expect {
    Expect { by: Some(By::Application), ..Expect::default() }
}

/// At the backend with the application's log and without, and behind a proxy.
#[track_caller]
fn everywhere(expect: &Expect, met: &Met, verdict: Verdict, reason: &str) {
    for (scenario, endpoint) in
        [(world(), "backend"), (world_without_log(), "backend"), (world_without_log(), "proxy")]
    {
        let it = cell("it", "friend", endpoint, expect.clone());
        let scene = Scene::of(scenario, Marks::default(), vec![(it, met.clone())]);
        assert_last(&scene, verdict, reason);
    }
}

#[rstest]
#[case::served(answered(200, "ok"))]
#[case::moved(answered(302, ""))]
#[case::not_for_you(answered(403, "no"))]
#[case::not_there(answered(404, "no"))]
#[case::broken(answered(500, "no"))]
#[case::looks_like_a_policy(answered(403, RBAC_DENIED))]
#[case::a_call_that_it_does_not_know(answered(200, "").header("grpc-status", "12"))]
fn whatever_the_application_says_will_do(#[case] met: Met) {
    everywhere(&any(), &met, Verdict::Passed, "");
}

/// Of a 503 behind a proxy, no time says which of the two Envoys gave it.
#[rstest]
#[case::here("backend", Verdict::Passed, "")]
#[case::behind_a_proxy("proxy", Verdict::Errored, "the header `x-envoy-upstream-service-time`")]
fn what_an_envoy_says_too_is_the_applications_where_that_is_told(
    #[case] endpoint: &str,
    #[case] verdict: Verdict,
    #[case] reason: &str,
) {
    let it = cell("it", "friend", endpoint, any());
    let scene = Scene::of(world_without_log(), Marks::default(), vec![(it, answered(503, "later"))]);
    assert_last(&scene, verdict, reason);
}

#[rstest]
#[case::no_route(local(404, ""))]
#[case::a_redirect(local(301, ""))]
#[case::a_direct_response(local(200, "ok"))]
#[case::a_policy(denied())]
#[case::a_policy_of_calls(denied_call())]
#[case::an_authorizer(local(403, "no").by(Origin::Denied(Kind::AuthzDenied, 0)))]
#[case::no_token(local(401, "Jwt is missing").by(Origin::Denied(Kind::JwtDenied, 0)))]
#[case::no_healthy_upstream(local(503, "no healthy upstream"))]
fn what_an_envoy_says_is_no_answer_of_the_application(#[case] met: Met) {
    everywhere(
        &any(),
        &met,
        Verdict::Failed,
        "Envoy answered itself: the request did not reach the application",
    );
}

/// The second Envoy's are no more the application's than the first one's.
#[test]
fn nor_is_what_an_envoy_behind_says() {
    for met in [denied_behind(), answered(404, "").by(Origin::Envoy(1))] {
        let it = cell("it", "friend", "proxy", any());
        let scene = Scene::of(world_without_log(), Marks::default(), vec![(it, met)]);
        assert_last(&scene, Verdict::Failed, "Envoy answered itself");
    }
}

/// The request was forwarded and nothing came back, and the counters are those of an answer.
#[rstest]
#[case::reset(local(503, "upstream connect error").by(Origin::Unanswered(0)))]
#[case::too_late(local(504, "upstream request timeout").by(Origin::Unanswered(0)))]
#[case::a_call(local(200, "").header("grpc-status", "14").by(Origin::Unanswered(0)))]
fn what_an_envoy_says_in_the_applications_place_is_none(#[case] met: Met) {
    for (scenario, time) in [(world(), true), (world_without_log(), true), (world_without_log(), false)] {
        let marks = Marks { time, ..Marks::default() };
        let it = cell("it", "friend", "backend", any());
        let scene = Scene::of(scenario, marks, vec![(it, met.clone())]);
        assert_eq!(scene.last().0, Verdict::Errored, "{:?}", scene.last());
    }
}

#[rstest]
#[case::shut_out(wrong_san(), Verdict::Failed, "expected an answer of the application, saw alert 46")]
#[case::nobody(no_cert(), Verdict::Failed, "expected an answer of the application, saw alert 116")]
#[case::impostor(impostor(), Verdict::Failed, "turned the server's certificate down")]
#[case::down(failed(DialFailure::Refused), Verdict::Errored, "neither an answer nor a refusal")]
#[case::cut(failed(DialFailure::Reset).by(Origin::CutOff(CutOff::NetworkRbac)), Verdict::Failed, "saw cut off")]
fn without_an_answer_there_is_none(#[case] met: Met, #[case] verdict: Verdict, #[case] reason: &str) {
    let it = cell("it", "friend", "backend", any());
    assert_last(&Scene::one(it, met), verdict, reason);
}

/// It narrows down as ever.
#[test]
fn what_else_is_expected_of_it_must_be_there() {
    let contains = Expect { contains: vec!["sorry".into()], ..any() };
    everywhere(&contains, &answered(404, "sorry"), Verdict::Passed, "");
    everywhere(&contains, &answered(404, "no"), Verdict::Failed, "the body lacks \"sorry\"");
}

/// Where nobody counts, nobody says who it was; nor where somebody else was there.
#[test]
fn without_evidence_nothing_is_the_applications() {
    let page = Met { seen: respond(404, &[], ""), origin: Origin::Application };
    let scene = Scene::exactly(world(), Marks::default(), &[(cell("it", "nobody", "page", any()), page)]);
    assert_last(&scene, Verdict::Errored, "nothing says who answered at page");
    let mut scene = Scene::one(cell("it", "friend", "backend", any()), answered(404, "no"));
    scene.counted().forwarded -= 1;
    assert_eq!(scene.last().0, Verdict::Errored);
}

/// As a control it shows that the request came through.
#[test]
fn it_is_a_control() {
    let control =
        || Cell { id: "control backend".into(), ..cell("control backend", "friend", "backend", any()) };
    let it = || cell("it", "nobody", "backend", alert_named("certificate_required"));
    let scene = |met| Scene::exactly(world(), Marks::default(), &[(control(), met), (it(), no_cert())]);
    assert_eq!(scene(answered(403, "no")).last(), (Verdict::Passed, String::new()));
    // Where no mark tells it from what an Envoy says in the application's place, too.
    let marks = Marks { time: false, ..Marks::default() };
    let dead = (control(), local(503, "").by(Origin::Unanswered(0)));
    let unmarked = Scene::exactly(world_without_log(), marks, &[dead, (it(), no_cert())]);
    assert_last(&unmarked, Verdict::Errored, "the control `control backend` did not hold");
    for met in [local(404, ""), denied(), no_cert(), local(503, "").by(Origin::Unanswered(0))] {
        assert_last(&scene(met), Verdict::Errored, "the control `control backend` did not hold");
    }
}

/// Some filters answer when the application has (`ext_proc`, `custom_response`): what was forwarded is no
/// proof then.
#[test]
fn what_a_filter_may_replace_is_not_the_applications() {
    for expect in [any(), by(By::Application, 404)] {
        let marks = |replaces| Marks { time: false, denial: false, serves: true, replaces };
        let scene = |scenario, replaces| {
            let it = cell("it", "friend", "backend", expect.clone());
            Scene::of(scenario, marks(replaces), vec![(it, answered(404, "no").bare())])
        };
        assert_last(&scene(world_without_log(), false), Verdict::Passed, "");
        for scenario in [world(), world_without_log()] {
            assert_last(&scene(scenario, true), Verdict::Errored, "a filter may put an answer of its own");
        }
    }
}
