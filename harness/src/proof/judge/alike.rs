//! What one cell came to in several places: at its pods, and from the nodes that dialled it. The worst
//! verdict is the cell's, and what nothing is expected of has to be the same everywhere: a snapshot holds one
//! outcome.

use std::collections::BTreeSet;

use svidproof_probe::protocol::Observation;

use super::Judged;
use super::window::Dialled;
use super::words::seen_in_words;
use crate::proof::verdict::Verdict;

/// Of several verdicts the one with the most counts.
pub(super) fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Failed => 2,
        Verdict::Errored => 1,
        Verdict::Passed | Verdict::ClientSide | Verdict::Recorded | Verdict::Skipped => 0,
    }
}

/// What is said of a cell by the worst of its dials: at which pod that was, where there are several.
pub(super) fn of_pods<'a>(
    verdict: Verdict,
    reason: String,
    worst: &Dialled,
    dials: impl Iterator<Item = &'a Dialled> + Clone,
) -> (Verdict, String) {
    let at = |dial: &Dialled| format!("at pod {}", dial.pod.as_deref().unwrap_or("?"));
    let told = unlike(dials.clone().map(|dial| (at(dial), &dial.observation)));
    let pods: BTreeSet<_> = dials.filter_map(|dial| dial.pod.as_ref()).collect();
    match told {
        Some(told) if verdict == Verdict::Recorded => {
            (Verdict::Errored, format!("its pods do not answer alike: {told}"))
        }
        _ if pods.len() > 1 && !reason.is_empty() => (verdict, format!("{}: {reason}", at(worst))),
        _ => (verdict, reason),
    }
}

/// In words, what was seen where; `None` where it was the same everywhere.
fn unlike<'a>(seen: impl Iterator<Item = (String, &'a Observation)>) -> Option<String> {
    let all: Vec<_> = seen.map(|(place, one)| (place, seen_in_words(&one.outcome))).collect();
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
    let seen =
        from.iter().filter_map(|(node, one)| Some((format!("from node {node}"), one.observed.as_ref()?)));
    let unlike = unlike(seen);
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
