//! Several pods behind one endpoint: each is dialled and each says what it counted.

use super::*;

/// `it`, a refusal of nobody, and its control, both at pods `p` and `q`, whose accounts fit.
fn at_two_pods() -> Scene {
    let control = cell("control backend", "friend", "backend", status(200));
    let it = cell("it", "nobody", "backend", alert_named("certificate_required"));
    let dial = |cell: &Cell, pod: &str, met: Met| Dialled {
        id: format!("{}.{pod}", cell.id),
        cell: cell.id.clone(),
        pod: Some(pod.into()),
        observation: met.seen,
        earlier: vec![],
    };
    let both = |pod| [dial(&control, pod, answered(200, "ok")), dial(&it, pod, no_cert())];
    let dials: Vec<_> = ["p", "q"].into_iter().flat_map(both).collect();
    let each = counted(|all| (all.forwarded, all.no_cert) = (1, 1));
    let witness = witness(Marks::default(), &[("p", each), ("q", each)]);
    let window = Window { dials, witnesses: BTreeMap::from([("backend".into(), witness)]) };
    let reached = ["p", "q"].map(|pod| format!("control backend.{pod}"));
    Scene {
        scenario: world(),
        cells: vec![control, it],
        windows: vec![window],
        logs: Logs::from([("backend".into(), Ok(reached.into()))]),
    }
}

impl Scene {
    fn at(&mut self, cell: &str, pod: &str) -> &mut Dialled {
        let mut dials = self.windows.iter_mut().flat_map(|window| &mut window.dials);
        dials.find(|dial| dial.cell == cell && dial.pod.as_deref() == Some(pod)).unwrap()
    }

    fn pods(&mut self) -> &mut BTreeMap<String, Result<Happened, String>> {
        &mut self.windows[0].witnesses.get_mut("backend").unwrap().pods
    }

    fn pod(&mut self, pod: &str) -> &mut Counted {
        &mut self.pods().get_mut(pod).unwrap().as_mut().unwrap().counted
    }
}

#[test]
fn what_holds_at_every_pod_passes() {
    for judged in at_two_pods().judge() {
        assert_eq!((judged.verdict, judged.reason.as_str()), (Verdict::Passed, ""));
        assert_eq!(judged.evidence.len(), 1);
        assert_eq!(judged.evidence[0].counted, Some(judged.evidence[0].tallied));
    }
}

#[rstest]
#[case("p")]
#[case("q")]
fn one_pod_that_lets_nobody_in_fails_and_is_named(#[case] pod: &str) {
    let mut scene = at_two_pods();
    scene.at("it", pod).observation = answered(200, "ok").seen;
    let reason =
        format!("at pod {pod}: expected alert 116 certificate_required, saw 200: the endpoint let nobody in");
    assert_eq!(scene.last(), (Verdict::Failed, reason));
    let observed = scene.judge().pop().unwrap().observed.unwrap();
    assert!(matches!(observed.outcome, Outcome::Response { status: 200, .. }), "the verdict's own pod");
}

#[test]
fn failed_is_worse_than_errored() {
    for (open, other) in [("p", "q"), ("q", "p")] {
        let mut scene = at_two_pods();
        scene.at("it", open).observation = answered(200, "ok").seen;
        scene.at("it", other).observation = failed(DialFailure::TimedOut).seen;
        assert_last(&scene, Verdict::Failed, &format!("at pod {open}"));
    }
}

/// One pod alone has no need to be named.
#[test]
fn where_there_is_one_pod_it_is_not_named() {
    let mut scene = at_two_pods();
    scene.windows[0].dials.retain(|dial| dial.pod.as_deref() == Some("p"));
    scene.pods().remove("q");
    scene.at("it", "p").observation = answered(200, "ok").seen;
    let reason = "expected alert 116 certificate_required, saw 200: the endpoint let nobody in";
    assert_eq!(scene.last(), (Verdict::Failed, reason.into()));
}

#[test]
fn failed_is_worse_than_left_out_at_another_pod() {
    let mut scene = at_two_pods();
    scene.at("it", "p").observation = answered(200, "ok").seen;
    scene.windows[0].dials.retain(|dial| dial.id != "it.q");
    assert_last(&scene, Verdict::Failed, "the endpoint let nobody in");
}

/// Counters are held against the dials pod by pod: what one has too many does not make up for another.
#[test]
fn what_one_pod_counted_says_nothing_of_another() {
    let mut scene = at_two_pods();
    scene.pod("p").no_cert = 2;
    scene.pod("q").no_cert = 0;
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend (pod p)");
    assert_last(&scene, Verdict::Errored, "evidence disagrees at backend (pod q)");
    let judged = scene.judge().pop().unwrap();
    assert_eq!(
        judged.evidence[0].counted,
        Some(*scene.pod("q")),
        "the account is that of the verdict's own pod"
    );
    assert_eq!(judged.evidence[0].tallied, counted(|all| (all.forwarded, all.no_cert) = (1, 1)));
}

#[test]
fn a_pod_that_could_not_be_read_errs() {
    let mut scene = at_two_pods();
    scene.pods().insert("q".into(), Err("it was restarted".into()));
    for judged in scene.judge() {
        assert_eq!(judged.verdict, Verdict::Errored);
        assert!(judged.reason.contains("pod q: it was restarted"), "{}", judged.reason);
    }
}

#[test]
fn a_pod_that_was_dialled_and_is_no_witness_errs() {
    let mut scene = at_two_pods();
    scene.pods().remove("q");
    assert_last(&scene, Verdict::Errored, "no pod q was read");
    scene.pods().clear();
    assert_last(&scene, Verdict::Errored, "was read");
}

#[test]
fn the_control_must_hold_at_the_same_pod() {
    let mut scene = at_two_pods();
    scene.at("control backend", "q").observation = wrong_san().seen;
    *scene.pod("q") = counted(|all| (all.san, all.no_cert) = (1, 1));
    scene.log().remove("control backend.q");
    assert_last(&scene, Verdict::Errored, "at pod q: the control `control backend` did not hold");
}

#[test]
fn a_control_that_was_not_made_at_the_pod_does_not_hold_there() {
    let mut scene = at_two_pods();
    scene.windows[0].dials.retain(|dial| dial.id != "control backend.q");
    scene.pod("q").forwarded = 0;
    assert_last(&scene, Verdict::Errored, "nothing came back from the dial at pod q");
}

/// Every cell is made at every pod: one that was left out leaves it open.
#[test]
fn a_cell_that_was_not_made_at_a_pod_errs() {
    let mut scene = at_two_pods();
    scene.windows[0].dials.retain(|dial| dial.id != "it.q");
    scene.pod("q").no_cert = 0;
    assert_last(&scene, Verdict::Errored, "nothing came back from the dial at pod q");
}

/// A control that the cluster sent to some pod says nothing of this one, unless there is no other.
#[test]
fn a_control_at_whichever_pod_holds_only_where_there_is_one() {
    let mut scene = at_two_pods();
    let mut outside = scene.windows[0].clone();
    scene.windows[0].dials.retain(|dial| dial.cell == "it");
    scene.pod("p").forwarded = 0;
    scene.pod("q").forwarded = 0;
    let served = counted(|all| all.forwarded = 1);
    let witness = witness(Marks::default(), &[("p", served), ("q", Counted::default())]);
    outside.witnesses.insert("backend".into(), witness);
    outside.dials.truncate(1);
    outside.dials[0].pod = None;
    scene.windows.push(outside);
    assert_last(&scene, Verdict::Errored, "let a client from within make it too");
    for window in &mut scene.windows {
        window.dials.retain(|dial| dial.pod.as_deref() != Some("q"));
        window.witnesses.get_mut("backend").unwrap().pods.remove("q");
    }
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
}

/// From outside the cluster chooses a pod for each: nothing says that the control met the same one, but where
/// either had a window of its own in which only one pod was asked.
#[test]
fn a_control_from_outside_must_be_seen_to_have_met_the_same_pod() {
    let alone = |scene: &Scene, cell: &str, pod: &str, what: Counted| {
        let mut dial = scene.windows[0].dials.iter().find(|dial| dial.cell == cell).unwrap().clone();
        dial.pod = None;
        let idle = ["p", "q", "r"].map(|pod| (pod, Counted::default()));
        let mut witness = witness(Marks::default(), &idle);
        let asked = Happened { counted: what, connections: 1, requests: 1, ..Happened::default() };
        witness.pods.insert(pod.into(), Ok(asked));
        Window { dials: vec![dial], witnesses: BTreeMap::from([("backend".into(), witness)]) }
    };
    let served = counted(|all| all.forwarded = 1);
    let refused = counted(|all| all.no_cert = 1);
    for (control, it) in [("p", "p"), ("p", "q"), ("q", "p"), ("q", "q")] {
        let mut scene = at_two_pods();
        scene.windows =
            vec![alone(&scene, "control backend", control, served), alone(&scene, "it", it, refused)];
        if control == it {
            assert_eq!(scene.last(), (Verdict::Passed, String::new()));
            // Somebody else was at the other pod meanwhile: then it may have been that one.
            let other = if it == "p" { "q" } else { "p" };
            let there = scene.windows[1].witnesses.get_mut("backend").unwrap().pods.get_mut(other).unwrap();
            there.as_mut().unwrap().connections = 1;
        }
        assert_last(&scene, Verdict::Errored, "is not known to have met this: let a client from within");
    }
}

/// Whichever pod a dial from outside met, a control at every pod was there too.
#[test]
fn a_control_at_every_pod_holds_for_a_dial_at_whichever() {
    let mut scene = at_two_pods();
    let mut outside = scene.windows[0].clone();
    scene.windows[0].dials.retain(|dial| dial.cell == "control backend");
    for pod in ["p", "q"] {
        *scene.pod(pod) = counted(|all| all.forwarded = 1);
    }
    outside.dials.retain(|dial| dial.id == "it.p");
    outside.dials[0].pod = None;
    let pods = [("p", counted(|all| all.no_cert = 1)), ("q", Counted::default())];
    outside.witnesses.insert("backend".into(), witness(Marks::default(), &pods));
    scene.windows.push(outside);
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.at("control backend", "q").observation = wrong_san().seen;
    assert_last(&scene, Verdict::Errored, "the control `control backend` did not hold");
}

/// A check that is made from outside and from within is a control by its dials from within.
#[test]
fn what_a_control_saw_from_outside_is_no_word_about_a_pod() {
    let mut scene = at_two_pods();
    let outside = cell("control backend outside", "friend", "backend", status(200));
    let outside = Cell { check: "control backend".into(), ..outside };
    let served = counted(|all| all.forwarded = 1);
    let witness = witness(Marks::default(), &[("p", served), ("q", Counted::default())]);
    let dial = Dialled {
        id: outside.id.clone(),
        cell: outside.id.clone(),
        pod: None,
        observation: answered(200, "ok").seen,
        earlier: vec![],
    };
    scene.log().insert(outside.id.clone());
    scene.cells.insert(0, outside);
    scene.windows.push(Window { dials: vec![dial], witnesses: [("backend".into(), witness)].into() });
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.at("control backend", "q").observation = answered(500, "no").seen;
    assert_last(&scene, Verdict::Errored, "at pod q: the control `control backend` did not hold");
}

/// A connection that was cut off is one pod's, also in what is said of the others.
#[test]
fn a_cut_off_is_looked_for_at_the_pod_that_was_dialled() {
    let mut scene = at_two_pods();
    let it = scene.windows[0].dials.pop().unwrap();
    let observation = failed(DialFailure::Closed).seen;
    let mut witness = witness(Marks::default(), &[("p", Counted::default()), ("q", Counted::default())]);
    let there = witness.pods.get_mut("q").unwrap().as_mut().unwrap();
    (there.counted.network_rbac, there.connections) = (1, 1);
    let witnesses = BTreeMap::from([("backend".into(), witness)]);
    let window = Window { dials: vec![Dialled { observation, ..it }], witnesses };
    assert!(is_settled(&scene.scenario, &scene.cells, &window, &scene.logs));
}

/// Through the cluster's own choice of a pod, all are summed up.
#[test]
fn dials_of_no_pod_in_particular_are_held_against_all_of_them_together() {
    let mut scene = at_two_pods();
    for dial in &mut scene.windows[0].dials {
        dial.pod = None;
    }
    *scene.pod("p") = counted(|all| (all.forwarded, all.no_cert) = (2, 2));
    scene.pods().insert("q".into(), Ok(Happened::default()));
    scene.pods().get_mut("p").unwrap().as_mut().unwrap().connections = 4;
    assert_eq!(scene.last(), (Verdict::Passed, String::new()));
    scene.pod("q").no_cert = 1;
    let told = "clients saw 2 refusals for want of a certificate, Envoy counted 3";
    assert_last(&scene, Verdict::Errored, told);
}

/// `it` of [`at_two_pods`] with nothing expected of it.
fn recorded_at_two_pods() -> Scene {
    let mut scene = at_two_pods();
    let it = scene.cells.last_mut().unwrap();
    (it.expect, it.control) = (Expect::default(), None);
    scene
}

#[test]
fn what_is_recorded_is_the_same_at_every_pod() {
    assert_eq!(recorded_at_two_pods().last(), (Verdict::Recorded, String::new()));
    for (open, shut) in [("p", "q"), ("q", "p")] {
        let mut scene = recorded_at_two_pods();
        scene.at("it", open).observation = answered(200, "ok").seen;
        let counts = scene.pod(open);
        (counts.forwarded, counts.no_cert) = (2, 0);
        scene.log().insert(format!("it.{open}"));
        let (verdict, reason) = scene.last();
        assert_eq!(verdict, Verdict::Errored);
        assert!(reason.starts_with("its pods do not answer alike: at pod p "), "{reason}");
        let at = |pod: &str, words: &str| reason.contains(&format!("at pod {pod} {words}"));
        assert!(at(open, "200") && at(shut, "alert 116"), "{reason}");
    }
}

/// What was judged of `scene`, as it was dialled from two nodes.
fn from_nodes(scenes: [&Scene; 2]) -> Judged {
    let [a, b] = scenes.map(Scene::judge);
    across(vec![("a".into(), a), ("b".into(), b)]).pop().unwrap()
}

#[test]
fn the_worst_node_decides_and_is_named() {
    let right = at_two_pods();
    let mut open = at_two_pods();
    open.at("it", "q").observation = answered(200, "ok").seen;
    let same = from_nodes([&right, &right]);
    assert_eq!((same.verdict, same.reason.as_str()), (Verdict::Passed, ""));
    for (node, scenes) in [("b", [&right, &open]), ("a", [&open, &right])] {
        let judged = from_nodes(scenes);
        assert_eq!(judged.verdict, Verdict::Failed);
        assert!(judged.reason.starts_with(&format!("from node {node}: at pod q: expected ")), "{judged:?}");
    }
    let alone = across(vec![("a".into(), open.judge())]).pop().unwrap();
    assert!(alone.reason.starts_with("at pod q: "), "one node is not named: {alone:?}");
}

#[test]
fn what_is_recorded_is_the_same_from_every_node() {
    let shut = recorded_at_two_pods();
    let mut open = recorded_at_two_pods();
    for pod in ["p", "q"] {
        open.at("it", pod).observation = answered(200, "ok").seen;
        let counts = open.pod(pod);
        (counts.forwarded, counts.no_cert) = (2, 0);
        open.log().insert(format!("it.{pod}"));
    }
    assert_eq!(from_nodes([&shut, &shut]).verdict, Verdict::Recorded);
    assert_eq!(from_nodes([&open, &open]).verdict, Verdict::Recorded);
    let judged = from_nodes([&shut, &open]);
    assert_eq!(judged.verdict, Verdict::Errored);
    assert!(judged.reason.starts_with("it is not the same from every node: from node a "), "{judged:?}");
}
