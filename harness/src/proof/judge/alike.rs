//! What one cell came to in several places: at its pods, and from the nodes that dialled it. The worst
//! verdict is the cell's, and what nothing is expected of has to be the same everywhere: a snapshot holds one
//! outcome.

use std::collections::BTreeSet;

use svidproof_probe::protocol::{Observation, Outcome};

use super::window::Dialled;
use super::words::{cut_off_in_words, seen_in_words};
use super::{Judged, Place, Ruling};
use crate::proof::verdict::Verdict;
use crate::scenario::{By, CutOff};

/// Of several verdicts the one with the most counts.
pub(super) fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Failed => 2,
        Verdict::Errored | Verdict::Flaky => 1,
        Verdict::Passed | Verdict::ClientSide | Verdict::Recorded | Verdict::Skipped => 0,
    }
}

/// What is said of a cell by the worst of its dials: at which pod that was, where there are several.
pub(super) fn of_pods(
    verdict: Verdict,
    reason: String,
    worst: &Dialled,
    dials: &[(Place, Ruling)],
) -> (Verdict, String) {
    let at = |dial: &Dialled| format!("at pod {}", dial.pod.as_deref().unwrap_or("?"));
    let told = |(place, ruling): &(Place, Ruling)| {
        (at(place.dial), came_to(&place.dial.observation, ruling.by, ruling.cut_off))
    };
    let told = unlike(dials.iter().map(told));
    let pods: BTreeSet<_> = dials.iter().filter_map(|(place, _)| place.dial.pod.as_ref()).collect();
    match told {
        Some(told) if verdict == Verdict::Recorded => {
            (Verdict::Errored, format!("its pods do not answer alike: {told}"))
        }
        _ if pods.len() > 1 && !reason.is_empty() => (verdict, format!("{}: {reason}", at(worst))),
        _ => (verdict, reason),
    }
}

/// What a snapshot tells apart, but for what is in a body: pods may say who they are.
pub(super) fn came_to(seen: &Observation, by: Option<By>, cut_off: Option<CutOff>) -> String {
    let words = seen_in_words(&seen.outcome);
    match (&seen.outcome, by) {
        (Outcome::Response { .. }, Some(By::Envoy)) => format!("{words} by Envoy"),
        (Outcome::Response { .. }, Some(By::Application)) => format!("{words} by the application"),
        _ => cut_off.map_or(words, cut_off_in_words),
    }
}

/// In words, what was seen where; `None` where it was the same everywhere.
fn unlike(all: impl Iterator<Item = (String, String)>) -> Option<String> {
    let all: Vec<_> = all.collect();
    let kinds: BTreeSet<_> = all.iter().map(|(_, words)| words).collect();
    let each = all.iter().map(|(place, words)| format!("{place} {words}"));
    (kinds.len() > 1).then(|| each.collect::<Vec<_>>().join(", "))
}

/// Puts together what was judged of the same cells, in the same order, as they were dialled from each of
/// these nodes.
pub fn across(nodes: Vec<(String, Vec<Judged>)>) -> Vec<Judged> {
    let mut nodes = nodes.into_iter();
    let Some((first, cells)) = nodes.next() else { return vec![] };
    let mut all: Vec<_> = cells.into_iter().map(|judged| vec![(first.clone(), judged)]).collect();
    for (node, judged) in nodes {
        for (cell, judged) in all.iter_mut().zip(judged) {
            cell.push((node.clone(), judged));
        }
    }
    all.into_iter().filter_map(together).collect()
}

fn together(from: Vec<(String, Judged)>) -> Option<Judged> {
    let several = from.len() > 1;
    let told = from.iter().filter_map(|(node, one)| {
        Some((format!("from node {node}"), came_to(one.observed.as_ref()?, one.by, one.cut_off)))
    });
    let unlike = unlike(told);
    // The first of those that are alike.
    let worst = from.into_iter().rev().max_by_key(|(_, one)| severity(one.verdict));
    worst.map(|(node, mut judged)| {
        if let (Verdict::Recorded, Some(told)) = (judged.verdict, unlike) {
            judged.verdict = Verdict::Errored;
            judged.reason = format!("it is not the same from every node: {told}");
        } else if several && severity(judged.verdict) > 0 {
            judged.reason = format!("from node {node}: {}", judged.reason);
        }
        judged
    })
}
