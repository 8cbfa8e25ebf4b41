//! Both accounts of one correct window, one of them falsified: the judge must not take it. A lie that passed
//! would let a broken system pass.

use std::collections::BTreeSet;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use svidproof::proof::judge::{Evidence, Judged};
use svidproof::proof::verdict::Verdict;
use svidproof::scenario::Counted;
use svidproof_probe::protocol::{DialFailure, Outcome};

use crate::envoy::config::Listener;
use crate::envoy::{closed, scenario};
use crate::{Shared, expect};

/// Correct listeners, one for each lie: nobody else may move their counters.
pub(crate) fn told_of() -> [Listener; 5] {
    [10_201, 10_202, 10_203, 10_204, 10_205].map(Listener::correct)
}

pub(crate) fn trials(shared: &Arc<Shared>) -> impl Iterator<Item = Trial> {
    let lie = |name: &str, test: fn(&Shared) -> Result<(), Failed>| {
        let shared = shared.clone();
        Trial::test(format!("judge::{name}"), move || test(&shared))
    };
    [
        lie("counters of another listener err every cell", counters_of_another_listener),
        lie("counters that are off by one err every cell", counters_off_by_one),
        lie("a dial that is not in the plan errs every cell", a_dial_that_is_not_in_the_plan),
        lie("a log without the requests errs what was answered", a_log_without_the_requests),
        lie("a port that refuses errs every cell", a_port_that_refuses),
        lie("a published port with nothing behind it errs every cell", a_port_with_nothing_behind),
    ]
    .into_iter()
}

fn all_err(judged: &[Judged]) -> Result<(), Failed> {
    expect(judged, |_| Verdict::Errored)
}

fn counters_of_another_listener(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [listener, other, ..] = told_of();
        let scenario = scenario("listener.yaml");
        let before = rig.counted(&other).await;
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        let counted = rig.counted(&other).await.counted.since(before.counted);
        assert_eq!(counted, Counted::default());
        all_err(&dialled.judge(&scenario, Ok(Evidence { counted, ..evidence })))
    })
}

fn counters_off_by_one(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [_, _, listener, ..] = told_of();
        let scenario = scenario("listener.yaml");
        let (dialled, honest) = rig.window(&scenario, &listener).await;
        expect(&dialled.judge(&scenario, Ok(honest.clone())), |_| Verdict::Passed)?;
        let lies: [fn(&mut Counted); 9] = [
            |counted| counted.no_cert -= 1,
            |counted| counted.no_cert += 1,
            |counted| counted.san -= 1,
            |counted| counted.san += 1,
            |counted| counted.chain -= 1,
            |counted| counted.broken += 1,
            |counted| counted.denied += 1,
            |counted| counted.forwarded -= 1,
            |counted| counted.forwarded += 1,
        ];
        for lie in lies {
            let mut told = honest.clone();
            lie(&mut told.counted);
            all_err(&dialled.judge(&scenario, Ok(told)))?;
        }
        all_err(&dialled.judge(&scenario, Err("the admin interface did not answer".into())))
    })
}

fn a_dial_that_is_not_in_the_plan(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [.., listener, _] = told_of();
        let scenario = scenario("listener.yaml");
        let before = rig.counted(&listener).await;
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        let refused =
            dialled.cells.iter().find(|cell| cell.client == "a wrong ID").expect("it is in the scenario");
        let seen = rig.dial_one(refused, &rig.address(&listener).await).await;
        assert_eq!(seen.outcome, Outcome::Alert { number: 46 });
        let counted = rig.counted(&listener).await.counted.since(before.counted);
        let judged = dialled.judge(&scenario, Ok(Evidence { counted, ..evidence }));
        let reason = "clients saw 2 SAN refusals, Envoy counted 3 (fail_verify_san)";
        assert!(judged.iter().all(|one| one.reason.contains(reason)), "{}", judged[0].reason);
        all_err(&judged)
    })
}

fn a_log_without_the_requests(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [.., listener] = told_of();
        let scenario = scenario("listener.yaml");
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        // What was refused falls with its control.
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..evidence.clone() })),
        )?;
        all_err(&dialled.judge(&scenario, Ok(Evidence { reached: None, ..evidence })))
    })
}

fn a_port_that_refuses(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let scenario = scenario("listener.yaml");
        let dialled = rig.dial(&scenario, "refused", &closed()).await;
        let refused =
            |outcome: &Outcome| matches!(outcome, Outcome::Failed { kind: DialFailure::Refused, .. });
        assert!(
            dialled.observations.values().all(|seen| refused(&seen.outcome)),
            "{:?}",
            dialled.observations
        );
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..Evidence::default() })),
        )
    })
}

fn a_port_with_nothing_behind(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let scenario = scenario("listener.yaml");
        let dialled = rig.dial(&scenario, "nobody-home", &rig.nobody_home().await).await;
        assert!(
            dialled.observations.values().all(|seen| matches!(seen.outcome, Outcome::Failed { .. })),
            "{:?}",
            dialled.observations
        );
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..Evidence::default() })),
        )
    })
}
