//! The container tier: a real Envoy in every configuration that matters, and the judge that must neither pass
//! what is wrong there nor err what is right.
//!
//! `variants` hold broken listeners against a scenario that states what holds at a correct one. `cases` are
//! configurations as others have them, each with its right verdicts and with a planted break that must turn
//! them red, with the application's log and without. `lies` falsify one side's account. A group of them shares
//! an Envoy, which has a listener for each.

#![expect(clippy::needless_pass_by_value, reason = "a `json!` that is written in place needs no `&`")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use svidproof::proof::judge::Judged;
use svidproof::proof::verdict::Verdict;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};

mod cases;
mod envoy;
mod lies;
mod variants;

use envoy::config::Port;
use envoy::{Rig, Round, plan_of, scenario};
use variants::{Variant, listeners, policies};

/// All Envoys of the tier, by the group that they serve.
struct House {
    runtime: Runtime,
    rooms: BTreeMap<&'static str, Room>,
}

/// One Envoy. It is started by the first test that needs it.
struct Room {
    bootstrap: Value,
    ports: Vec<(u16, Port)>,
    rig: OnceCell<Result<Rig, String>>,
    /// Some configurations have every cluster of an Envoy looked at: their tests are alone there.
    turn: RwLock<()>,
}

/// What a test is to do, once all rooms are known.
type Test = Box<dyn FnOnce(&House) -> Result<(), Failed> + Send>;

impl House {
    /// Makes room for these listeners, one port after the other; gives the first.
    fn take(&mut self, room: &'static str, bootstrap: &Value, ports: Vec<Port>) -> u16 {
        let new = || Room {
            bootstrap: bootstrap.clone(),
            ports: vec![],
            rig: OnceCell::new(),
            turn: RwLock::new(()),
        };
        let all = &mut self.rooms.entry(room).or_insert_with(new).ports;
        let first = all.last().map_or(10_001, |(port, _)| port + 1);
        all.extend((first..).zip(ports));
        first
    }

    /// `alone`: nobody else is at that Envoy meanwhile.
    fn run(
        &self,
        room: &str,
        alone: bool,
        test: impl AsyncFnOnce(&Rig) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let room = &self.rooms[room];
        self.runtime.block_on(async {
            let (_shared, _own) = if alone {
                (None, Some(room.turn.write().await))
            } else {
                (Some(room.turn.read().await), None)
            };
            let rig = room.rig.get_or_init(|| Rig::start(&room.bootstrap, &room.ports)).await;
            test(rig.as_ref().map_err(|problem| Failed::from(problem.as_str()))?).await
        })
    }
}

fn main() -> ExitCode {
    // The client of Envoy's admin interface wants one, though it asks in plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads.get_or_insert(8);
    let mut house = House { runtime: Runtime::new().expect("a runtime"), rooms: BTreeMap::new() };
    let mut tests = variants(&mut house);
    tests.extend(lies::tests(&mut house));
    tests.extend(cases::tests(&mut house));
    let house = Arc::new(house);
    let trial = |(name, test): (String, Test)| {
        let house = house.clone();
        Trial::test(name, move || test(&house))
    };
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
    let house = Arc::into_inner(house).expect("the tests are over");
    let rigs = house.rooms.into_values().filter_map(|room| room.rig.into_inner()?.ok());
    let ended = futures::future::join_all(rigs.map(Rig::end));
    house.runtime.block_on(ended).into_iter().for_each(|ended| ended.expect("the containers are removed"));
    conclusion.exit_code()
}

fn variants(house: &mut House) -> Vec<(String, Test)> {
    let mut held = |file: &'static str, group: &'static str, variant: Variant, by: fn(&Judged) -> &str| {
        let port = house.take(group, &json!({}), vec![variant.port.clone()]);
        let test: Test = Box::new(move |house| {
            house.run(group, false, async |rig| {
                let scenario = scenario(file);
                let round = Round::new(rig, &scenario, |_| port, None).await;
                exactly(&round.judge(&plan_of(&scenario, &format!("{port}"))).await, &variant, by)
            })
        });
        test
    };
    let mut all = vec![];
    for variant in listeners() {
        let name = format!("listener::{}", variant.name);
        all.push((name, held("listener.yaml", "listener", variant, |judged| &judged.cell.client)));
    }
    for variant in policies() {
        let name = format!("policy::{}", variant.name);
        all.push((name, held("policy.yaml", "policy", variant, |judged| &judged.cell.check)));
    }
    all
}

/// The cells that a variant opens fail, and all others pass.
fn exactly(judged: &[Judged], Variant { red, .. }: &Variant, by: fn(&Judged) -> &str) -> Result<(), Failed> {
    let known: BTreeSet<_> = judged.iter().map(by).collect();
    assert!(red.iter().all(|name| known.contains(name)), "{red:?} are not all among {known:?}");
    expect(judged, |one| (if red.contains(&by(one)) { Verdict::Failed } else { Verdict::Passed }, ""))
}

/// Tells all differences at once: in the verdict, or where the reason lacks some text.
fn expect<'a>(judged: &[Judged], wanted: impl Fn(&Judged) -> (Verdict, &'a str)) -> Result<(), Failed> {
    let difference = |one: &Judged| {
        let (verdict, reason) = wanted(one);
        let cell = &one.cell;
        (one.verdict != verdict || !one.reason.contains(reason)).then(|| {
            let why = if one.reason.is_empty() { "as expected" } else { &one.reason };
            let because = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            format!(
                "{} ({} {}): {verdict:?}{because} was to be, {:?} it is: {why}",
                cell.check, cell.method, cell.target, one.verdict
            )
        })
    };
    let differences: Vec<_> = judged.iter().filter_map(difference).collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}
