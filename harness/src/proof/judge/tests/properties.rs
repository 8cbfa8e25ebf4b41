//! What holds whatever is seen and whatever the servers say.

use super::*;

fn any_cell() -> impl Strategy<Value = (&'static str, &'static str, Expect)> {
    let client = prop::sample::select(vec!["nobody", "friend", "stranger"]);
    let expect = prop_oneof![
        Just(status(200)),
        Just(status(403)),
        Just(alert_named("certificate_required")),
        Just(alert_named("certificate_unknown")),
        Just(alert_named("unknown_ca")),
        Just(forged("certificate_unknown", Some(Kind::Chain))),
        Just(forged("unknown_ca", Some(Kind::Broken))),
        Just(forged("decrypt_error", None)),
        Just(Expect::default()),
        Just(Expect { upstream: Some(Counted { san: 1, ..Counted::default() }), ..status(200) }),
    ];
    (client, prop::sample::select(vec!["backend", "proxy", "page"]), expect)
}

fn any_observation() -> impl Strategy<Value = Option<Observation>> {
    prop_oneof![
        4 => Just(Some(answered(200, "ok"))),
        2 => Just(Some(answered(403, RBAC_DENIED))),
        2 => Just(Some(local(403, RBAC_DENIED))),
        1 => Just(Some(local(503, "upstream connect error"))),
        4 => prop::sample::select(vec![40_u8, 46, 48, 51, 116]).prop_map(|number| Some(alerted(number))),
        1 => prop::sample::select(vec![DialFailure::Reset, DialFailure::TimedOut, DialFailure::Refused]).prop_map(|kind| Some(failed(kind))),
        1 => Just(Some(seen(Outcome::ServerRefused { reason: String::new() }))),
        1 => Just(None),
    ]
}

/// Mostly as it should be, with the evidence that fits; now and then a lie on top.
fn any_scene() -> impl Strategy<Value = Scene> {
    let met = any_cell().prop_flat_map(|(client, endpoint, expect)| {
        let fitting = match &expect.alert {
            Some(name) => alerted(alert::number(name).unwrap()),
            None if expect.status == Some(403) => local(403, RBAC_DENIED),
            None => answered(200, "ok"),
        };
        let observation = prop_oneof![3 => Just(Some(fitting)), 1 => any_observation()];
        (Just((client, endpoint, expect)), observation)
    });
    let lie = prop_oneof![
        4 => Just(None),
        1 => (0..9_usize, prop::sample::select(vec!["backend", "proxy"])).prop_map(Some),
    ];
    (prop::collection::vec(met, 1..6), lie).prop_map(|(cases, lie)| {
        let mut missing = vec![];
        let cases =
            cases.into_iter().enumerate().map(|(number, ((client, endpoint, expect), observation))| {
                let it = cell(&format!("it {number}"), client, endpoint, expect);
                if observation.is_none() {
                    missing.push(it.id.clone());
                }
                (it, observation.unwrap_or_else(|| failed(DialFailure::Closed)))
            });
        let mut scene = Scene::new(cases.collect());
        for id in missing {
            scene.observations.remove(&id);
        }
        if let Some((kind, endpoint)) = lie
            && let Some(Ok(evidence)) = scene.evidence.get_mut(endpoint)
        {
            match kind {
                0 => evidence.counted.no_cert += 1,
                1 => evidence.counted.san += 1,
                2 => evidence.counted.chain += 1,
                3 => evidence.counted.denied += 1,
                4 => evidence.counted.forwarded += 1,
                5 => evidence.counted.broken += 1,
                6 => evidence.counted.allowed += 1,
                7 => drop(evidence.reached.as_mut().map(BTreeSet::pop_first)),
                _ => evidence.reached.iter_mut().for_each(|reached| reached.extend(["it 0".into()])),
            }
        }
        scene
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refusal_passes_only_by_both_sides_and_its_control(scene in any_scene()) {
        let judged = scene.judge();
        let fitting = scene.fitting();
        for one in judged.iter().filter(|one| one.verdict == Verdict::Passed && one.cell.expect.is_refusal()) {
            let observation = one.observed.as_ref();
            let exact = observation.is_some_and(|observation| match &observation.outcome {
                Outcome::Alert { number } => one.cell.expect.alert.as_ref().and_then(alert::number) == Some(*number),
                Outcome::Response { status, .. } => one.cell.expect.status == Some(*status),
                _ => false,
            });
            prop_assert!(exact);
            let on_the_way = route(&world(), &one.cell.endpoint).into_iter().map(str::to_owned).collect::<Vec<_>>();
            for endpoint in on_the_way {
                prop_assert_eq!(scene.evidence[&endpoint].as_ref().map(|evidence| evidence.counted), fitting[&endpoint].as_ref().map(|evidence| evidence.counted));
            }
            let Ok(backend) = &scene.evidence["backend"] else { panic!("unread") };
            let reached = backend.reached.as_ref().unwrap();
            prop_assert!(!reached.contains(&one.cell.id));
            let control = one.cell.control.as_ref().unwrap();
            let served = matches!(scene.observations[control].outcome, Outcome::Response { status: 200, .. });
            prop_assert!(served && reached.contains(control));
        }
    }

    #[test]
    fn an_alert_that_is_expected_is_the_only_way_to_pass(scene in any_scene()) {
        for one in scene.judge().into_iter().filter(|one| one.verdict == Verdict::Passed) {
            let Some(expected) = one.cell.expect.alert.as_ref().and_then(alert::number) else { continue };
            let seen = one.observed.map(|observation| observation.outcome);
            prop_assert!(matches!(seen, Some(Outcome::Alert { number }) if number == expected), "{seen:?}");
            let kind = refusal(&one.cell, expected);
            let account = one.evidence.iter().find(|account| account.endpoint == one.cell.endpoint);
            let counted = account.and_then(|account| account.counted).unwrap();
            prop_assert_eq!(counted.since(kind.once()) + kind.once(), counted, "the server counted at least \
                this one");
        }
    }

    #[test]
    fn what_came_to_nothing_never_passes_and_never_fails(scene in any_scene()) {
        for one in scene.judge() {
            if one.observed.as_ref().is_none_or(|observation| matches!(observation.outcome, Outcome::Failed { .. })) {
                prop_assert_eq!(one.verdict, Verdict::Errored);
            }
        }
    }

    #[test]
    fn taking_evidence_away_makes_nothing_pass(scene in any_scene(), endpoint in prop::sample::select(vec!["backend", "proxy"]), how in 0..3) {
        let before = scene.judge();
        let mut scene = scene;
        match how {
            0 => drop(scene.evidence.remove(endpoint)),
            1 => drop(scene.evidence.insert(endpoint.into(), Err("gone".into()))),
            _ => scene.backend().reached = None,
        }
        for (before, after) in before.iter().zip(scene.judge()) {
            prop_assert!(before.verdict == Verdict::Passed || after.verdict != Verdict::Passed, "{}: {}", after.cell.check, before.reason);
            prop_assert_eq!(before.verdict == Verdict::Failed, after.verdict == Verdict::Failed);
        }
    }

    #[test]
    fn honest_servers_are_believed(scene in any_scene()) {
        let mut scene = scene;
        scene.evidence = scene.fitting();
        for one in scene.judge() {
            prop_assert!(!one.reason.contains("evidence disagrees"), "{}: {}", one.cell.check, one.reason);
        }
    }
}
