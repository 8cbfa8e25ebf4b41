//! Verdicts by check, and which checks came and went. A check that is gone keeps its row.

use std::collections::{HashMap, HashSet};

use super::night::{Cell, CheckKey, Text, Texts};
use super::{Cells, Check, Coming, Counts, Timeline, What};

/// The rows, and what came or went from run to run.
pub(super) fn grid<'a>(timeline: &Timeline<'_, 'a>, legs: usize) -> (Vec<Check<'a>>, Vec<Coming<'a>>) {
    let Timeline { texts, nights, .. } = timeline;
    let mut rows: Vec<(CheckKey, Vec<Option<Cells>>)> = vec![];
    let mut places: HashMap<CheckKey, usize> = HashMap::new();
    for (run, night) in nights.iter().enumerate() {
        for cell in &night.cells {
            let at = *places.entry(cell.check).or_insert_with(|| {
                rows.push((cell.check, vec![None; nights.len()]));
                rows.len() - 1
            });
            count(rows[at].1[run].get_or_insert_with(none), cell, texts);
        }
    }
    let (comings, gone) = comings(timeline, legs);
    let checks = rows.into_iter().map(|(key, runs)| {
        let [scenario, stage, check] = key.map(|text| texts.text(text));
        let gone = (0..legs).filter(|leg| gone[*leg].contains(&key)).collect();
        Check { scenario, stage, check, runs, gone }
    });
    (by_stage(checks.collect()), comings)
}

fn none<'a>() -> Cells<'a> {
    Cells { verdicts: Counts::default(), why: "" }
}

fn count<'a>(cells: &mut Cells<'a>, cell: &Cell, texts: &'a Texts) {
    cells.verdicts.add(texts.text(cell.verdict));
    if cells.why.is_empty() {
        cells.why = texts.text(cell.why);
    }
}

/// Scenarios, and their stages, stand together, in the order in which they first came up.
fn by_stage(mut checks: Vec<Check>) -> Vec<Check> {
    let mut ranks: HashMap<(&str, &str), usize> = HashMap::new();
    for check in &checks {
        for key in [(check.scenario, ""), (check.scenario, check.stage)] {
            let next = ranks.len();
            ranks.entry(key).or_insert(next);
        }
    }
    checks.sort_by_key(|check| (ranks[&(check.scenario, "")], ranks[&(check.scenario, check.stage)]));
    checks
}

/// Check -> whether it was there in the last run of its leg.
type Known = HashMap<CheckKey, bool>;

/// And for each leg the checks that its newest run lacks.
fn comings<'a>(timeline: &Timeline<'_, 'a>, legs: usize) -> (Vec<Coming<'a>>, Vec<HashSet<CheckKey>>) {
    let mut known: Vec<Known> = vec![Known::new(); legs];
    let mut comings = vec![];
    for (run, night) in timeline.nights.iter().enumerate() {
        let leg = timeline.legs[run];
        if let Some(before) = timeline.against[run].filter(|_| timeline.is_first_of_leg(run)) {
            let other = known[timeline.legs[before]].clone();
            known[leg] = other;
        }
        let mut came: Vec<(What, CheckKey)> = vec![];
        let mut now = HashSet::new();
        for cell in night.cells.iter().filter(|cell| now.insert(cell.check)) {
            match known[leg].insert(cell.check, true) {
                None => came.push((What::New, cell.check)),
                Some(false) => came.push((What::Back, cell.check)),
                Some(true) => {}
            }
        }
        for (check, is_there) in known[leg].iter_mut().filter(|(check, _)| !now.contains(*check)) {
            if std::mem::replace(is_there, false) {
                came.push((What::Gone, *check));
            }
        }
        if timeline.against[run].is_some() {
            comings.extend(by_what(came, run, !night.errors.is_empty(), timeline.texts));
        }
    }
    let absent = |known: Known| known.into_iter().filter(|(_, is_there)| !is_there).map(|(check, _)| check);
    (comings, known.into_iter().map(|known| absent(known).collect()).collect())
}

fn by_what(
    mut came: Vec<(What, CheckKey)>,
    run: usize,
    ended_early: bool,
    texts: &Texts,
) -> impl Iterator<Item = Coming<'_>> {
    came.sort();
    let same = |one: &(What, CheckKey), other: &(What, CheckKey)| {
        (one.0, one.1[0], one.1[1]) == (other.0, other.1[0], other.1[1])
    };
    let text = |number: Text| texts.text(number);
    let all = came.chunk_by(same).map(|some| Coming {
        run,
        what: some[0].0,
        scenario: text(some[0].1[0]),
        stage: text(some[0].1[1]),
        checks: some.iter().map(|(_, check)| text(check[2])).collect(),
        ended_early,
    });
    all.collect::<Vec<_>>().into_iter()
}
