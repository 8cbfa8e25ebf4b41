//! Bytes alone, through a TCP proxy: what came back, and that the application sent it.

use super::*;

fn expecting(reply: &str) -> Expect {
    Expect { reply: Some(reply.into()), ..Expect::default() }
}

/// What came back, out of whoever's mouth.
fn replied(text: &str) -> Met {
    Met { seen: seen(Outcome::Bytes { text: text.into() }), origin: Origin::Application }
}

/// The endpoint `backend` is a TCP proxy of Envoy's.
fn scene(expect: Expect, met: Met) -> Scene {
    let it = Cell { http: Http::None, ..cell("it", "friend", "backend", expect) };
    let control =
        Cell { http: Http::None, ..cell("control backend", "friend", "backend", expecting("+PONG")) };
    let marks = Marks { time: false, denial: false, serves: true, ..Marks::default() };
    let mut scene = Scene::exactly(world_without_log(), marks, &[(control, replied("+PONG")), (it, met)]);
    for witness in scene.windows.iter_mut().flat_map(|window| window.witnesses.values_mut()) {
        (witness.speaks_http, witness.passes_bytes) = (false, true);
        witness.pods.values_mut().flatten().for_each(|happened| happened.requests = 0);
    }
    scene
}

#[test]
fn what_comes_back_passes_by_the_bytes_that_were_forwarded() {
    let scene = scene(expecting("+PONG"), replied("+PONG"));
    assert_eq!((scene.last(), scene.last_by()), ((Verdict::Passed, String::new()), Some(By::Application)));
}

#[rstest]
#[case::other("-ERR", "expected the reply \"+PONG\", saw the reply \"-ERR\"")]
#[case::less("+PO", "saw the reply \"+PO\"")]
fn another_reply_fails(#[case] text: &str, #[case] reason: &str) {
    assert_last(&scene(expecting("+PONG"), replied(text)), Verdict::Failed, reason);
}

#[test]
fn a_reply_where_none_may_be_fails() {
    let san = alert_named("certificate_unknown");
    assert_last(&scene(san, replied("+PONG")), Verdict::Failed, "the endpoint let friend in");
    let cut = Expect { cut_off: Some(CutOff::NoChain), ..Expect::default() };
    assert_last(&scene(cut, replied("+PONG")), Verdict::Failed, "the endpoint let friend in");
}

#[test]
fn a_reply_that_nobody_forwarded_errs() {
    let mut scene = scene(expecting("+PONG"), replied("+PONG"));
    scene.counted().forwarded = 0;
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
}

#[test]
fn a_refusal_without_http_is_as_any_other() {
    let refused = scene(alert_named("certificate_unknown"), wrong_san());
    assert_eq!(refused.last(), (Verdict::Passed, String::new()));
    let cut = Expect { cut_off: Some(CutOff::NetworkRbac), ..Expect::default() };
    let cut = scene(cut, failed(DialFailure::Closed).by(Origin::CutOff(CutOff::NetworkRbac)));
    assert_eq!(cut.last(), (Verdict::Passed, String::new()));
    let nothing = scene(expecting("+PONG"), failed(DialFailure::Closed));
    assert_last(&nothing, Verdict::Errored, "closed without an alert");
}

/// No log can name what has no header.
#[test]
fn a_log_says_nothing_of_bytes() {
    let it = Cell { http: Http::None, ..cell("it", "friend", "backend", expecting("+PONG")) };
    let mut scene =
        Scene::of(world(), Marks { time: false, ..Marks::default() }, vec![(it, replied("+PONG"))]);
    scene.logged(false);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
}

/// What is recorded is what came back.
#[test]
fn what_nothing_is_expected_of_is_recorded() {
    assert_eq!(scene(Expect::default(), replied("hello")).last(), (Verdict::Recorded, String::new()));
}
