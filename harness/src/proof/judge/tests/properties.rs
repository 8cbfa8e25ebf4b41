//! What holds of every stage, whatever was dialled, seen and said.

use proptest::prelude::*;

use super::*;

fn any_cell() -> impl Strategy<Value = (&'static str, &'static str, Expect)> {
    let client = prop::sample::select(vec!["nobody", "friend", "stranger"]);
    let expect = vec![
        status(200),
        status(403),
        by(By::Application, 403),
        by(By::Envoy, 200),
        grpc("7"),
        Expect { counts: Some(Kind::AuthzDenied), ..status(403) },
        alert_named("certificate_required"),
        alert_named("certificate_unknown"),
        alert_named("unknown_ca"),
        forged("certificate_unknown", Some(Kind::Chain)),
        forged("unknown_ca", Some(Kind::Broken)),
        forged("decrypt_error", None),
        Expect::default(),
        Expect { cut_off: Some(CutOff::NoChain), ..Expect::default() },
        Expect { cut_off: Some(CutOff::NetworkRbac), ..Expect::default() },
        Expect { upstream: Some(counted(|all| all.san = 1)), ..status(200) },
    ];
    (client, prop::sample::select(vec!["backend", "proxy", "page"]), prop::sample::select(expect))
}

/// What a cell expects, as an honest system gives it.
fn fitting(expect: &Expect) -> Met {
    match &expect.alert {
        Some(name) => {
            let number = alert::number(name).unwrap();
            let kind = match number {
                116 => Kind::NoCert,
                46 => Kind::San,
                51 => Kind::Broken,
                _ => Kind::Chain,
            };
            refused(number, expect.counts.unwrap_or(kind))
        }
        None if expect.counts == Some(Kind::AuthzDenied) => {
            local(403, "no").by(Origin::Denied(Kind::AuthzDenied, 0))
        }
        None if expect.cut_off.is_some() => {
            let cut = expect.cut_off.unwrap_or(CutOff::NoChain);
            failed(DialFailure::Closed).by(Origin::CutOff(cut))
        }
        None if expect.is_grpc_refusal() => denied_call(),
        None if expect.by == Some(By::Envoy) => local(200, "ok"),
        None if expect.by == Some(By::Application) => answered(403, "no"),
        None if expect.status == Some(403) => denied(),
        None => answered(200, "ok"),
    }
}

fn any_met() -> impl Strategy<Value = Met> {
    prop::sample::select(vec![
        answered(200, "ok"),
        answered(403, RBAC_DENIED),
        denied(),
        denied_call(),
        denied().by(Origin::Application),
        local(200, "ok").by(Origin::Denied(Kind::Denied, 0)),
        local(403, "no").by(Origin::Denied(Kind::AuthzDenied, 0)),
        local(401, "no").by(Origin::Denied(Kind::JwtDenied, 0)),
        local(503, "upstream connect error"),
        refused(40, Kind::NoCert),
        refused(46, Kind::San),
        refused(46, Kind::Chain),
        refused(48, Kind::Chain),
        refused(51, Kind::Broken),
        refused(116, Kind::NoCert),
        failed(DialFailure::Reset),
        failed(DialFailure::Reset).by(Origin::CutOff(CutOff::NoChain)),
        failed(DialFailure::Closed).by(Origin::CutOff(CutOff::NetworkRbac)),
        failed(DialFailure::TimedOut),
        impostor(),
    ])
}

fn any_marks() -> impl Strategy<Value = Marks> {
    prop::sample::select(vec![
        Marks::default(),
        Marks::default(),
        Marks { time: false, denial: false, serves: true, ..Marks::default() },
        Marks { time: false, denial: false, serves: false, ..Marks::default() },
    ])
}

/// Whether a scenario that says what is counted is not itself the one that is wrong.
fn is_sayable(expect: &Expect, met: &Met) -> bool {
    let fitting = fitting(expect);
    let asked = expect.upstream.is_none() || met.origin == Origin::Application;
    asked && (met.seen != fitting.seen || met.origin == fitting.origin || expect.alert.is_none())
}

/// Mostly as it should be, with the evidence that fits.
fn honest_scene() -> impl Strategy<Value = Scene> {
    let met = (any_cell(), prop::option::weighted(0.25, any_met()));
    (prop::collection::vec(met, 1..6), any_marks(), any::<bool>()).prop_map(|(cases, marks, logged)| {
        let cases = cases.into_iter().enumerate().map(|(number, ((client, endpoint, expect), met))| {
            let met = met.filter(|met| is_sayable(&expect, met)).unwrap_or_else(|| fitting(&expect));
            let met = if marks.time && met.origin == Origin::Application { met.timed() } else { met };
            (cell(&format!("it {number}"), client, endpoint, expect), met)
        });
        let scenario = if logged { world() } else { world_without_log() };
        Scene::of(scenario, marks, cases.collect())
    })
}

/// Now and then a lie on top.
fn any_scene() -> impl Strategy<Value = Scene> {
    let lie = prop::option::weighted(0.4, (0..10_usize, any::<prop::sample::Index>()));
    (honest_scene(), lie).prop_map(|(mut scene, lie)| {
        if let Some((kind, at)) = lie {
            let at = at.index(scene.windows.len());
            tell(&mut scene, kind, at);
        }
        scene
    })
}

/// A lie of this kind about this window.
fn tell(scene: &mut Scene, kind: usize, at: usize) {
    let window = &mut scene.windows[at];
    let pods = window.witnesses.values_mut().flat_map(|witness| witness.pods.values_mut());
    if let Some(happened) = pods.flatten().next() {
        match kind {
            0 => happened.counted.no_cert += 1,
            1 => happened.counted.san += 1,
            2 => happened.counted.chain += 1,
            3 => happened.counted.denied += 1,
            4 => happened.counted.forwarded += 1,
            5 => happened.counted.broken += 1,
            6 => happened.counted.network_rbac += 1,
            7 => drop(happened.elsewhere.insert("hidden".into(), 1)),
            _ => {}
        }
    }
    let dial = window.dials[0].id.clone();
    if let Some(Ok(log)) = scene.logs.get_mut("backend") {
        match kind {
            8 => drop(log.insert(dial)),
            9 => drop(log.remove(&dial)),
            _ => {}
        }
    }
}

/// The dial of a cell, with its window.
fn dial<'a>(scene: &'a Scene, cell: &'a str) -> (&'a Window, &'a Dialled) {
    let of = |window: &'a Window| Some((window, window.dials.iter().find(|dial| dial.cell == cell)?));
    scene.windows.iter().find_map(of).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_passes_only_by_both_sides_and_its_control(scene in any_scene()) {
        for one in scene.judge() {
            if one.verdict != Verdict::Passed || !one.cell.expect.is_refusal() {
                continue;
            }
            let (window, seen) = dial(&scene, &one.cell.id);
            let exact = match &seen.observation.outcome {
                Outcome::Alert { number } => {
                    one.cell.expect.alert.as_ref().and_then(alert::number) == Some(*number)
                }
                Outcome::Response { status, .. } => one.cell.expect.status == Some(*status),
                Outcome::Failed { .. } => {
                    let counted = one.evidence[0].counted;
                    one.cell.expect.cut_off.is_some() && counted == one.cell.expect.cut_off.map(CutOff::once)
                }
                _ => false,
            };
            prop_assert!(exact);
            // Both sides' accounts are the same everywhere on its way.
            let way = route(&scene.scenario, &one.cell.endpoint);
            let counting = way.iter().filter(|name| window.witnesses.contains_key(**name)).count();
            prop_assert_eq!(one.evidence.len(), counting);
            prop_assert!(counting > 0);
            for account in &one.evidence {
                prop_assert_eq!(account.counted, Some(account.tallied));
                let said = window.witnesses[&account.endpoint].happened(None).unwrap().counted;
                prop_assert_eq!(Some(said), account.counted);
            }
            let (_, control) = dial(&scene, one.cell.control.as_ref().unwrap());
            let served = matches!(control.observation.outcome, Outcome::Response { status: 200, .. });
            prop_assert!(served);
            if let Some(Ok(log)) = scene.logs.get("backend") {
                prop_assert!(!log.contains(&seen.id) && log.contains(&control.id));
            }
        }
    }

    #[test]
    fn an_alert_that_is_expected_is_the_only_way_to_pass(scene in any_scene()) {
        for one in scene.judge().into_iter().filter(|one| one.verdict == Verdict::Passed) {
            let Some(expected) = one.cell.expect.alert.as_ref().and_then(alert::number) else { continue };
            let seen = one.observed.map(|observation| observation.outcome);
            prop_assert!(matches!(seen, Some(Outcome::Alert { number }) if number == expected), "{seen:?}");
            let Origin::Handshake(kind) = fitting(&one.cell.expect).origin else { panic!("an alert") };
            let account = one.evidence.iter().find(|account| account.endpoint == one.cell.endpoint);
            let counted = account.and_then(|account| account.counted).unwrap();
            prop_assert_eq!(counted.since(kind.once()) + kind.once(), counted, "it counted this one");
        }
    }

    #[test]
    fn what_came_to_nothing_never_passes_and_never_fails(scene in any_scene()) {
        for one in scene.judge() {
            let nothing =
                |observation: &Observation| matches!(observation.outcome, Outcome::Failed { .. });
            if one.cut_off.is_none() && one.observed.as_ref().is_none_or(nothing) {
                prop_assert_eq!(one.verdict, Verdict::Errored);
            }
        }
    }

    #[test]
    fn what_expects_nothing_never_passes_and_never_fails(scene in any_scene()) {
        for one in scene.judge() {
            if one.cell.expect.is_stated() {
                prop_assert_ne!(one.verdict, Verdict::Recorded);
            } else {
                prop_assert!(matches!(one.verdict, Verdict::Recorded | Verdict::Errored));
            }
        }
    }

    #[test]
    fn taking_evidence_away_makes_nothing_pass(
        scene in any_scene(),
        endpoint in prop::sample::select(vec!["backend", "proxy"]),
        how in 0..5,
    ) {
        let before = scene.judge();
        let mut scene = scene;
        let read = scene.windows.iter_mut().filter_map(|window| window.witnesses.get_mut(endpoint));
        match how {
            0 => read.for_each(|witness| drop(witness.pods.insert("p".into(), Err("gone".into())))),
            1 => read.for_each(|witness| witness.pods.clear()),
            2 => scene.windows.iter_mut().for_each(|window| drop(window.witnesses.remove(endpoint))),
            3 => drop(scene.logs.remove("backend")),
            _ => drop(scene.logs.insert("backend".into(), Err("gone".into()))),
        }
        let good = |verdict| matches!(verdict, Verdict::Passed | Verdict::Recorded);
        for (before, after) in before.iter().zip(scene.judge()) {
            let words = format!("{}: {} {}", after.cell.check, before.reason, after.reason);
            prop_assert!(good(before.verdict) || !good(after.verdict), "{words}");
            // What was seen is red with or without evidence.
            let red = |one: &Judged| one.verdict == Verdict::Failed && one.reason.starts_with("expected");
            // That a connection was cut off is what the evidence says.
            let is_cut = before.cut_off.or(after.cut_off).is_some();
            prop_assert!(is_cut || red(before) == red(&after), "{}", words);
        }
    }

    #[test]
    fn honest_servers_are_believed(scene in honest_scene()) {
        for one in scene.judge() {
            prop_assert!(!one.reason.contains("evidence disagrees"), "{}: {}", one.cell.check, one.reason);
        }
    }

    /// Whatever an answer looks like: where the servers are honest, nobody's word is taken for another's.
    #[test]
    fn honest_servers_say_who_answered(scene in honest_scene()) {
        for one in scene.judge() {
            let (_, dial) = dial(&scene, &one.cell.id);
            if let (Some(By::Application), Some(Ok(log))) = (one.by, scene.logs.get("backend")) {
                prop_assert!(log.contains(&dial.id), "{}", one.cell.check);
            }
        }
    }
}
