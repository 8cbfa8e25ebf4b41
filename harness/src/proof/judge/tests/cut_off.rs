//! A connection that ends without an answer and without an alert: by the server's own counter for exactly that
//! it was cut off, and by nothing else. A crash, a firewall and a time-out look the same to a client.

use super::*;

fn expecting(cut: CutOff) -> Expect {
    Expect { cut_off: Some(cut), ..Expect::default() }
}

/// A cell of a client that speaks what makes such a cut possible.
fn it(cut: CutOff, expect: Expect) -> Cell {
    let tls = if cut == CutOff::NotTls { TlsVersions::None } else { TlsVersions::Any };
    Cell { tls, ..cell("it", "friend", "backend", expect) }
}

fn cut_by(cut: CutOff) -> Met {
    failed(DialFailure::Closed).by(Origin::CutOff(cut))
}

fn scene(cut: CutOff) -> Scene {
    Scene::one(it(cut, expecting(cut)), cut_by(cut))
}

#[rstest]
#[case(CutOff::NoChain, DialFailure::Closed)]
#[case(CutOff::NoChain, DialFailure::Reset)]
#[case(CutOff::NetworkRbac, DialFailure::Closed)]
#[case(CutOff::NetworkRbac, DialFailure::Reset)]
#[case(CutOff::NotTls, DialFailure::Closed)]
#[case(CutOff::NotTls, DialFailure::Reset)]
#[case(CutOff::NotTls, DialFailure::SpeaksTls)]
fn it_passes_by_the_counter_of_its_kind(#[case] cut: CutOff, #[case] kind: DialFailure) {
    let scene = Scene::one(it(cut, expecting(cut)), failed(kind).by(Origin::CutOff(cut)));
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    let judged = scene.judge().pop().unwrap();
    assert_eq!((judged.cut_off, judged.by), (Some(cut), None));
    assert_eq!(judged.evidence[0].counted, Some(cut.once()));
}

const CUTS: [CutOff; 3] = CutOff::ALL;

#[test]
fn an_end_that_no_counter_explains_errs() {
    for cut in CUTS {
        for kind in [DialFailure::Closed, DialFailure::Reset] {
            let scene = Scene::one(it(cut, expecting(cut)), failed(kind));
            assert_last(
                &scene,
                Verdict::Errored,
                "no counter of Envoy's says that it cut the connection off",
            );
        }
    }
}

#[test]
fn a_cut_of_another_kind_fails() {
    for cut in CUTS {
        for other in CUTS.into_iter().filter(|other| *other != cut) {
            let cell = Cell { tls: TlsVersions::None, ..it(cut, expecting(cut)) };
            let words = [cut, other].map(super::super::cut_off_in_words);
            let reason = format!("expected {}, saw {}", words[0], words[1]);
            assert_eq!(Scene::one(cell, cut_by(other)).last(), (Verdict::Failed, reason));
        }
    }
}

/// Envoy's own account of something that is no end of a connection.
#[rstest]
#[case(DialFailure::Unresolved)]
#[case(DialFailure::Refused)]
#[case(DialFailure::TimedOut)]
#[case(DialFailure::Protocol)]
#[case(DialFailure::Credential)]
#[case(DialFailure::Unasked)]
fn what_never_was_a_connection_is_not_cut_off_whatever_was_counted(#[case] kind: DialFailure) {
    for cut in CUTS {
        let scene = Scene::one(it(cut, expecting(cut)), failed(kind).by(Origin::CutOff(cut)));
        assert_last(&scene, Verdict::Errored, "neither an answer nor a refusal");
    }
}

/// Who speaks TLS breaks off a handshake for other reasons.
#[test]
fn a_broken_handshake_is_no_plain_text() {
    let cell = cell("it", "friend", "backend", expecting(CutOff::NotTls));
    assert_last(&Scene::one(cell, cut_by(CutOff::NotTls)), Verdict::Errored, "evidence disagrees at backend");
}

#[rstest]
#[case::twice(|scene: &mut Scene, cut: CutOff| *scene.counted() = cut.once() + cut.once(), "evidence disagrees")]
#[case::another_too(|scene: &mut Scene, _| scene.counted().san += 1, "evidence disagrees")]
#[case::forwarded(|scene: &mut Scene, _| scene.counted().forwarded = 1, "evidence disagrees")]
#[case::denied(|scene: &mut Scene, _| scene.counted().denied = 1, "evidence disagrees")]
#[case::logged(|scene: &mut Scene, _| scene.logged(true), "refused, yet the request reached the application")]
#[case::elsewhere(|scene: &mut Scene, _| scene.says("backend").elsewhere = [("hidden".into(), 1)].into(), "cluster `hidden`")]
#[case::mirrored(|scene: &mut Scene, _| scene.says("backend").mirrored = 1, "to a mirror")]
#[case::no_log(|scene: &mut Scene, _| drop(scene.logs.remove("backend")), "the application's log at backend was not read")]
#[case::crashed(|scene: &mut Scene, _| drop(scene.last_window().witnesses.get_mut("backend").unwrap().pods.insert("p".into(), Err("gone".into()))), "gone")]
#[case::unwatched(|scene: &mut Scene, _| drop(scene.last_window().witnesses.remove("backend")), "no evidence")]
#[case::no_control(|scene: &mut Scene, _| scene.cells.last_mut().unwrap().control = None, "a refusal without a control")]
#[case::a_control_that_fails(|scene: &mut Scene, _| fail_the_control(scene), "did not hold")]
fn what_the_server_does_not_confirm_errs(#[case] change: fn(&mut Scene, CutOff), #[case] reason: &str) {
    for cut in CUTS {
        let mut scene = scene(cut);
        assert_eq!(scene.last().0, Verdict::Passed);
        change(&mut scene, cut);
        assert_last(&scene, Verdict::Errored, reason);
    }
}

fn fail_the_control(scene: &mut Scene) {
    let mut dials = scene.windows.iter_mut().flat_map(|window| &mut window.dials);
    let control = dials.find(|dial| dial.cell == "control backend").unwrap();
    control.observation = failed(DialFailure::Reset).seen;
}

/// The connection that a policy closes was made, and a handshake needs one.
#[test]
fn a_cut_of_a_connection_that_nobody_made_errs() {
    for cut in [CutOff::NetworkRbac, CutOff::NotTls] {
        let mut scene = scene(cut);
        scene.says("backend").connections = 0;
        assert_last(&scene, Verdict::Errored, "somebody else listens there");
    }
}

#[rstest]
#[case::let_in(answered(200, "ok"), "saw 200: the endpoint let friend in")]
#[case::denied(denied(), "saw 403 RBAC: access denied: the endpoint let friend in")]
#[case::an_alert(wrong_san(), "saw alert 46 certificate_unknown")]
#[case::an_impostor(impostor(), "turned the server's certificate down")]
fn another_outcome_fails(#[case] met: Met, #[case] reason: &str) {
    let scene = Scene::one(it(CutOff::NoChain, expecting(CutOff::NoChain)), met);
    assert_last(&scene, Verdict::Failed, reason);
}

#[test]
fn whoever_is_cut_off_was_not_answered_nor_refused_otherwise() {
    for expect in [status(200), status(403), alert_named("certificate_required"), grpc("7")] {
        let scene = Scene::one(it(CutOff::NoChain, expect), cut_by(CutOff::NoChain));
        assert_last(&scene, Verdict::Failed, "saw cut off: no-chain");
    }
    let recorded = Scene::one(it(CutOff::NoChain, Expect::default()), cut_by(CutOff::NoChain));
    assert_eq!(recorded.last(), (Verdict::Recorded, String::new()));
}

/// An earlier attempt ended, too, whichever way; or it did not, and then nothing is sure.
#[test]
fn each_attempt_is_cut_off() {
    let earlier = |met: Met| {
        let mut scene = scene(CutOff::NetworkRbac);
        let dial = scene.last_dial();
        dial.earlier = vec![Attempt { id: "before".into(), observation: met.seen }];
        scene.last()
    };
    assert_eq!(earlier(failed(DialFailure::Reset)), (Verdict::Passed, String::new()));
    assert_eq!(earlier(failed(DialFailure::TimedOut)).0, Verdict::Errored);
    assert_eq!(earlier(answered(200, "ok")).0, Verdict::Failed);
}

/// Another client's connection moved the counter, and ours ended for some other reason (`connection_limit`, an
/// error of the protocol): no mark on a connection that ended says whose cut it was.
#[test]
fn a_cut_among_others_connections_may_be_theirs() {
    for cut in CUTS {
        let mut scene = scene(cut);
        assert_eq!(scene.last().0, Verdict::Passed);
        scene.says("backend").connections += 1;
        assert!(is_disturbed(scene.last_window()), "{cut:?} is dialled again");
        assert_last(&scene, Verdict::Errored, "others were there meanwhile");
    }
}
