//! What errored in one run and was judged in the next of its leg, or at its second try.

use std::collections::HashMap;

use super::night::{Cell, Night, Text};
use super::{Flake, Timeline};

/// As report.json writes them.
const ERRORED: &str = "errored";
const FLAKY: &str = "flaky";
/// A verdict that says what the system does.
const JUDGED: [&str; 4] = ["passed", "client_side", "recorded", "failed"];

/// By the run in which they errored, a check each.
pub(super) fn flakes<'a>(timeline: &Timeline<'_, 'a>) -> Vec<Flake<'a>> {
    let Timeline { texts, nights, .. } = timeline;
    let has = |cell: &Cell, verdict: &str| texts.text(cell.verdict) == verdict;
    let mut flakes = vec![];
    for (run, night) in nights.iter().enumerate() {
        let retried = night.cells.iter().filter(|cell| has(cell, FLAKY));
        let mut found: Vec<(usize, &Cell)> = retried.map(|cell| (run, cell)).collect();
        if let Some(next) = next(timeline, run) {
            let judged = |cell: &&Cell| JUDGED.contains(&texts.text(cell.verdict));
            let later: HashMap<_, _> = nights[next].cells.iter().map(|cell| (identity(cell), cell)).collect();
            let errored = night.cells.iter().filter(|cell| has(cell, ERRORED));
            let and_then = errored.filter(|cell| later.get(&identity(cell)).is_some_and(judged));
            found.extend(and_then.map(|cell| (next, cell)));
        }
        let mut of_run: Vec<Flake> = vec![];
        for (judged, cell) in found {
            let [scenario, stage, check] = cell.check.map(|text| texts.text(text));
            let is_its = |one: &&mut Flake| {
                (one.judged, one.scenario, one.stage, one.check) == (judged, scenario, stage, check)
            };
            match of_run.iter_mut().find(is_its) {
                Some(flake) => flake.cells += 1,
                None => of_run.push(Flake {
                    run,
                    judged,
                    scenario,
                    stage,
                    check,
                    cells: 1,
                    why: texts.text(cell.why),
                }),
            }
        }
        flakes.append(&mut of_run);
    }
    flakes
}

/// The next run of the leg, where all that the two reports name is the same.
fn next(timeline: &Timeline, run: usize) -> Option<usize> {
    let leg = timeline.legs[run];
    let next = run + 1 + timeline.legs[run + 1..].iter().position(|one| *one == leg)?;
    let about = |night: &Night| (night.svidproof.clone(), night.images.clone(), night.versions.clone());
    (about(timeline.nights[run]) == about(timeline.nights[next])).then_some(next)
}

/// Which cell it is, whatever it came to.
fn identity(cell: &Cell) -> ([Text; 3], [Text; 3]) {
    (cell.check, [cell.client, cell.to, cell.request])
}
