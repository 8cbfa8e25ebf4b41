//! Which hop broke, for each cell that did not pass and for a stage that could not be dialled.

use std::collections::BTreeMap;

use svidproof_probe::protocol::Outcome;

use super::StageError;
use crate::proof::hops::{Dial, Found, Hop, Walk, of_dial};
use crate::proof::judge::Judged;
use crate::proof::verdict::Verdict;
use crate::scenario::{Scenario, Stage};
use crate::session::{Hops, RunContext, System, look};

/// Why a stage could not be dialled, with the first hop that is broken.
pub(super) async fn told(run: &RunContext, system: &System, stage: &Stage, error: StageError) -> StageError {
    let last = match &error {
        StageError::Session(error) => error.reaches(),
        _ => Some(Hop::Application),
    };
    let Some(last) = last else { return error };
    let scenario = &system.scenario;
    let ends = stage.checks.iter().flat_map(|check| scenario.route(&check.to)).collect();
    let clients = if system.probes.is_empty() { vec![] } else { scenario.clients.keys().collect() };
    let clients = clients.into_iter().map(String::as_str).collect();
    match look(&run.kube, scenario, &ends, &clients).await.first(last) {
        Some(hop) => StageError::Hop { error: Box::new(error), hop: Box::new(hop) },
        None => error,
    }
}

/// With the hop that broke, where a cell did not pass. Nothing else of it changes.
pub(super) async fn named(run: &RunContext, system: &System, mut judged: Vec<Judged>) -> Vec<Judged> {
    let scenario = &system.scenario;
    let is_bad = |one: &&Judged| matches!(one.verdict, Verdict::Failed | Verdict::Errored);
    let bad: Vec<_> = judged.iter().filter(is_bad).collect();
    if bad.is_empty() {
        return judged;
    }
    let ends = bad.iter().flat_map(|one| scenario.route(&one.cell.endpoint)).collect();
    let clients = bad.iter().map(|one| one.cell.client.as_str());
    // Without a probe nobody in the cluster dials.
    let clients = clients.filter(|_| !system.probes.is_empty()).collect();
    let hops = look(&run.kube, scenario, &ends, &clients).await;
    let own: BTreeMap<_, _> = bad.iter().map(|one| (one.cell.id.clone(), of(scenario, &hops, one))).collect();
    // What a control did not hold for is told where it counts too.
    let of_check = |check: &str| {
        let same = bad.iter().filter(|one| one.cell.check == check);
        same.filter_map(|one| own[&one.cell.id].clone()).find(|walk| walk.broken.is_some())
    };
    let controls: BTreeMap<_, _> = bad
        .iter()
        .filter_map(|one| one.cell.control.as_ref())
        .filter_map(|check| Some((check.clone(), of_check(check)?)))
        .collect();
    for one in &mut judged {
        let Some(walk) = own.get(&one.cell.id) else { continue };
        let broken = walk.as_ref().is_some_and(|walk| walk.broken.is_some());
        let of_control = one.cell.control.as_ref().and_then(|check| controls.get(check));
        let is_its_controls = !broken && one.verdict == Verdict::Errored;
        one.hop = of_control.filter(|_| is_its_controls).or(walk.as_ref()).cloned();
    }
    judged
}

fn of(scenario: &Scenario, hops: &Hops, judged: &Judged) -> Option<Walk> {
    let route: Vec<_> = scenario.route(&judged.cell.endpoint).collect();
    hops.of(&judged.cell.client, &route, dialled(scenario, hops, judged, &route))
}

/// What its own dial says, where that came to something that was not expected.
fn dialled(scenario: &Scenario, hops: &Hops, judged: &Judged, route: &[&str]) -> Option<Found> {
    let outcome = &judged.observed.as_ref()?.outcome;
    let says = judged.verdict == Verdict::Failed
        || matches!(outcome, Outcome::Failed { .. } | Outcome::ServerRefused { .. });
    let client = &judged.cell.client;
    let identity = scenario.clients.get(client).and_then(|one| one.identity());
    let legs = route.iter().map(|name| {
        let mut leg = hops.leg(name);
        leg.counted = judged.evidence.iter().find(|one| one.endpoint == *name).and_then(|one| one.counted);
        leg
    });
    let dial = Dial {
        client,
        id: identity.map(|path| scenario.spiffe_id(path)),
        refusal: judged.cell.expect.is_refusal(),
        outcome,
        by: judged.by,
        legs: legs.collect(),
    };
    if says { of_dial(&dial) } else { None }
}
