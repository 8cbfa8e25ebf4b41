//! Which filter denied a request, and who was let in without a word of the one that should have decided.

use super::attribution::NO_MARKS;
use super::*;

fn counts(status: u16, kind: Kind) -> Expect {
    Expect { counts: Some(kind), ..super::status(status) }
}

/// Where no mark tells, every dial has a window of its own.
fn alone(expect: Expect, met: Met) -> Scene {
    Scene::of(world_without_log(), NO_MARKS, vec![(cell("it", "friend", "backend", expect), met)])
}

fn let_in(expect: Expect) -> Scene {
    let mut scene = alone(expect, answered(200, "ok"));
    scene.counted().authz_open += 1;
    scene
}

/// Each of the four denials has a counter of its own, and none is taken for another.
#[test]
fn a_denial_is_told_by_the_filter_that_counted_it() {
    for counted in Kind::DENIALS {
        for (status_code, body) in [(401, "no"), (403, RBAC_DENIED), (302, "")] {
            let met = local(status_code, body).by(Origin::Denied(counted, 0));
            let scene = alone(status(status_code), met.clone());
            let wanted = match (status_code, counted) {
                (302, _) => Verdict::Failed,
                // Nobody decided, and nobody said that this is meant.
                (_, Kind::AuthzError) => Verdict::Errored,
                _ => Verdict::Passed,
            };
            assert_eq!(scene.last().0, wanted, "{counted:?} {status_code}: {}", scene.last().1);
            for said in Kind::DENIALS {
                let mut it = cell("it", "friend", "backend", counts(status_code, said));
                it.control = Some("control backend".into());
                let scene = Scene::of(world_without_log(), NO_MARKS, vec![(it, met.clone())]);
                if said == counted {
                    assert_last(&scene, Verdict::Passed, "");
                } else {
                    let why =
                        format!("as `counts: {}` says: it was counted as `{}`", said.word(), counted.word());
                    assert_last(&scene, Verdict::Failed, &why);
                }
            }
        }
    }
}

#[test]
fn an_answer_of_envoys_own_is_no_denial_and_neither_is_the_applications() {
    for said in Kind::DENIALS {
        let scene = alone(counts(403, said), local(403, "no"));
        assert_last(&scene, Verdict::Failed, "no filter counted a denial");
        let scene = alone(counts(403, said), answered(403, "no"));
        assert_last(&scene, Verdict::Failed, "no filter counted a denial");
    }
}

/// Two that denied one request, or one that denied twice, are others' denials too.
#[test]
fn a_denial_too_many_is_a_contradiction() {
    let lies: [fn(&mut Counted); 4] = [
        |all| all.denied += 1,
        |all| all.authz_denied += 1,
        |all| all.authz_error += 1,
        |all| all.jwt_denied += 1,
    ];
    for kind in Kind::DENIALS {
        for lie in lies {
            let mut scene = alone(counts(403, kind), local(403, "no").by(Origin::Denied(kind, 0)));
            lie(scene.counted());
            assert_last(&scene, Verdict::Errored, "evidence disagrees at backend");
        }
    }
}

#[test]
fn who_is_let_in_without_an_authorizers_word_does_not_pass_unless_it_is_said() {
    assert_last(&let_in(status(200)), Verdict::Failed, "the authorizer gave no answer");
    assert_last(&let_in(Expect::default()), Verdict::Errored, "the authorizer gave no answer");
    assert_last(&let_in(counts(200, Kind::AuthzOpen)), Verdict::Passed, "");
    let asked = alone(counts(200, Kind::AuthzOpen), answered(200, "ok"));
    assert_last(&asked, Verdict::Failed, "no Envoy let the request in for want of its authorizer's answer");
    let envoys = alone(counts(200, Kind::AuthzOpen), local(200, "ok"));
    assert_last(&envoys, Verdict::Failed, "no Envoy let the request in");
}

/// Whom Envoy let in is told by nothing but a counter, which has others' in it as well.
#[test]
fn where_others_were_there_it_is_not_known_who_was_let_in() {
    for expect in [status(200), counts(200, Kind::AuthzOpen)] {
        let mut scene = let_in(expect.clone());
        scene.says("backend").requests += 1;
        assert_last(&scene, Verdict::Errored, "Envoy let 1 request(s) in whose authorizer gave no answer");
        let mut scene = let_in(expect);
        scene.counted().authz_open += 1;
        assert_last(&scene, Verdict::Errored, "Envoy let 2 request(s) in whose authorizer gave no answer");
    }
    // Among many dials it is nobody's.
    let mut crowd = Scene::one(cell("it", "friend", "backend", status(200)), answered(200, "ok"));
    assert_eq!(crowd.last_window().dials.len(), 2);
    crowd.counted().authz_open += 1;
    assert_last(&crowd, Verdict::Errored, "cannot be told among the dials of its window");
}

#[test]
fn who_was_let_in_so_is_no_control() {
    let denied = local(403, "no").by(Origin::Denied(Kind::Denied, 0));
    let mut scene = alone(counts(403, Kind::Denied), denied);
    let control = scene.cells[0].id.clone();
    let own = |window: &&mut Window| window.dials[0].cell == control;
    let window = scene.windows.iter_mut().find(own).unwrap();
    let backend = window.witnesses.get_mut("backend").unwrap().pods.get_mut("p").unwrap().as_mut().unwrap();
    backend.counted.authz_open += 1;
    assert_last(&scene, Verdict::Errored, "the control `control backend` did not hold: as expected, but the");
}

/// A policy that denies whom an authorizer let in is a policy that denies.
#[test]
fn who_is_denied_all_the_same_is_denied() {
    let mut scene =
        alone(counts(403, Kind::Denied), local(403, RBAC_DENIED).by(Origin::Denied(Kind::Denied, 0)));
    scene.counted().authz_open += 1;
    assert_last(&scene, Verdict::Passed, "");
}
