//! Both accounts of one correct window, one of them falsified: the judge must not take it. A lie that passed
//! would let a broken system pass.

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::Failed;
use serde_json::json;
use svidproof::proof::envoy::Happened;
use svidproof::proof::judge::{self, Dialled, Dialling, Judged, Logs, Window};
use svidproof::proof::plan::Cell;
use svidproof::proof::verdict::Verdict;
use svidproof::scenario::{Counted, Scenario};
use svidproof_probe::protocol::{DialFailure, Outcome};

use crate::envoy::config::{NOBODY_HOME, Port};
use crate::envoy::{Rig, Round, closed, plan_of, scenario};
use crate::{House, Test, expect};

const ROOM: &str = "lies";

pub(crate) fn tests(house: &mut House) -> Vec<(String, Test)> {
    // A correct listener for each: nobody else may move its counters.
    let mut lie = |name: &str, test: AsyncLie| {
        let ports = std::iter::repeat_with(|| Port { sans: &["/frontend"], ..Port::default() });
        let port = house.take(ROOM, &json!({}), ports.take(2).collect());
        let test: Test = Box::new(move |house| house.run(ROOM, false, async |rig| test(rig, port).await));
        (format!("judge::{name}"), test)
    };
    vec![
        lie("counters of another listener err every cell", |rig, port| {
            Box::pin(counters_of_another_listener(rig, port))
        }),
        lie("counters that are off by one err every cell", |rig, port| {
            Box::pin(counters_off_by_one(rig, port))
        }),
        lie("a dial that is not in the plan errs every cell", |rig, port| {
            Box::pin(a_dial_that_is_not_in_the_plan(rig, port))
        }),
        lie("a log without the requests errs what was answered", |rig, port| {
            Box::pin(a_log_without_the_requests(rig, port))
        }),
        lie("an account that is off once makes a flake of what errs, and hides nothing", |rig, port| {
            Box::pin(an_account_that_is_off_once(rig, port))
        }),
        lie("a port that refuses errs every cell", |rig, _| Box::pin(a_port_that_refuses(rig))),
        lie("a published port with nothing behind it errs every cell", |rig, _| {
            Box::pin(a_port_with_nothing_behind(rig))
        }),
    ]
}

type AsyncLie = for<'a> fn(&'a Rig, u16) -> futures::future::LocalBoxFuture<'a, Result<(), Failed>>;

/// One honest window.
struct Told {
    scenario: Scenario,
    cells: Vec<Cell>,
    window: Window,
    logs: Logs,
}

impl Told {
    async fn at(rig: &Rig, port: u16) -> Self {
        let scenario = scenario("listener.yaml");
        let cells = plan_of(&scenario, &format!("{port}"));
        let round = Round::new(rig, &scenario, |_| port, None).await;
        let dials: Vec<_> = cells.iter().map(|cell| (cell.clone(), ())).collect();
        let window = Box::pin(round.window(&dials, "a")).await;
        let logs = round.logs();
        drop(round);
        Self { scenario, cells, window, logs }
    }

    fn happened(&mut self) -> &mut Happened {
        let pods = self.window.witnesses.values_mut().flat_map(|witness| witness.pods.values_mut());
        pods.last().expect("one pod").as_mut().expect("it was read")
    }

    fn judge(&self) -> Vec<Judged> {
        judge::judge(&self.scenario, &self.cells, std::slice::from_ref(&self.window), &self.logs)
    }

    fn all(&self, verdict: Verdict) -> Result<(), Failed> {
        expect(&self.judge(), |_| (verdict, ""))
    }
}

async fn counters_of_another_listener(rig: &Rig, port: u16) -> Result<(), Failed> {
    let mut told = Told::at(rig, port).await;
    told.all(Verdict::Passed)?;
    let scenario = scenario("listener.yaml");
    let other = Round::new(rig, &scenario, |_| port + 1, None).await;
    let idle = other.window(&[], "a").await;
    assert!(idle.witnesses.is_empty(), "nothing was dialled there");
    *told.happened() = Happened::default();
    told.all(Verdict::Errored)
}

async fn counters_off_by_one(rig: &Rig, port: u16) -> Result<(), Failed> {
    let mut told = Told::at(rig, port).await;
    told.all(Verdict::Passed)?;
    let honest = told.happened().counted;
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
        told.happened().counted = honest;
        lie(&mut told.happened().counted);
        told.all(Verdict::Errored)?;
    }
    for witness in told.window.witnesses.values_mut() {
        witness.pods.values_mut().for_each(|pod| *pod = Err("the admin interface did not answer".into()));
    }
    told.all(Verdict::Errored)
}

async fn a_dial_that_is_not_in_the_plan(rig: &Rig, port: u16) -> Result<(), Failed> {
    let mut told = Told::at(rig, port).await;
    told.all(Verdict::Passed)?;
    let mut more = told.happened().clone();
    more.counted = more.counted + svidproof::scenario::Kind::San.once();
    // What a dial more is counted as, by Envoy itself.
    let scenario = scenario("listener.yaml");
    let round = Round::new(rig, &scenario, |_| port, None).await;
    let refused = told.cells.iter().find(|cell| cell.client == "a wrong ID").expect("it is in the scenario");
    let window = round.window(&[(refused.clone(), ())], "b").await;
    assert_eq!(window.dials[0].observation.outcome, Outcome::Alert { number: 46 });
    let counted = window.witnesses["backend"].pods.values().flatten().map(|one| one.counted);
    assert_eq!(counted.collect::<Vec<_>>(), [svidproof::scenario::Kind::San.once()]);
    *told.happened() = more;
    let reason = "clients saw 2 SAN refusals, Envoy counted 3 (fail_verify_san)";
    expect(&told.judge(), |_| (Verdict::Errored, reason))
}

async fn a_log_without_the_requests(rig: &Rig, port: u16) -> Result<(), Failed> {
    let mut told = Told::at(rig, port).await;
    told.all(Verdict::Passed)?;
    // What was refused falls with its control.
    told.logs = BTreeMap::from([("backend".into(), Ok(BTreeSet::new()))]);
    told.all(Verdict::Errored)?;
    told.logs.clear();
    told.all(Verdict::Errored)
}

async fn an_account_that_is_off_once(rig: &Rig, port: u16) -> Result<(), Failed> {
    let mut lied = Told::at(rig, port).await;
    lied.happened().counted.forwarded += 1;
    let first = lied.judge();
    expect(&first, |_| (Verdict::Errored, ""))?;
    // Those that errored and, with them, what is their control: as a stage does.
    let again = |open: bool| async move {
        let mut honest = Told::at(rig, port).await;
        if open {
            let refused = |dial: &&mut Dialled| matches!(dial.observation.outcome, Outcome::Alert { .. });
            let answer = honest.window.dials.iter().find(|dial| dial.observation.outcome.is_answer());
            let answer = answer.expect("friend is served").observation.clone();
            let dial = honest.window.dials.iter_mut().find(refused).expect("a stranger is refused");
            dial.observation = answer;
        }
        Ok(honest.judge())
    };
    let second = judge::twice(first.clone(), async |_| again(false).await).await;
    expect(&second, |_| (Verdict::Flaky, "tried once more, it passed"))?;
    let opened = judge::twice(first, async |_| again(true).await).await;
    assert_eq!(opened.iter().filter(|one| one.verdict == Verdict::Failed).count(), 1, "{opened:?}");
    assert!(opened.iter().all(|one| one.verdict != Verdict::Passed), "{opened:?}");
    Ok(())
}

async fn a_port_that_refuses(rig: &Rig) -> Result<(), Failed> {
    let scenario = scenario("listener.yaml");
    let judged = Round::unwatched(rig, &scenario, &closed()).judge(&plan_of(&scenario, "refused")).await;
    let refused = |one: &Judged| {
        let seen = one.observed.as_ref().map(|seen| &seen.outcome);
        matches!(seen, Some(Outcome::Failed { kind: DialFailure::Refused, .. }))
    };
    assert!(judged.iter().all(refused), "{judged:?}");
    expect(&judged, |_| (Verdict::Errored, "connection refused"))
}

async fn a_port_with_nothing_behind(rig: &Rig) -> Result<(), Failed> {
    let scenario = scenario("listener.yaml");
    let address = rig.address(NOBODY_HOME).await;
    let judged = Round::unwatched(rig, &scenario, &address).judge(&plan_of(&scenario, "nobody-home")).await;
    expect(&judged, |_| (Verdict::Errored, "neither an answer nor a refusal"))
}
