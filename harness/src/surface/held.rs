//! Recorded cells held against the surface that is kept: what is worse than before fails. Not for cells of
//! which something is expected: their checks say what should be.

use std::collections::BTreeSet;

use svidproof_probe::protocol::Outcome;

use super::change::{Change, Danger, cell_change, diff};
use super::{Got, Surface, UNDONE, request, surfaces};
use crate::proof::judge::Judged;
use crate::proof::verdict::Verdict;

/// What a comparison with the kept surfaces came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The most dangerous first.
    pub changes: Vec<Change>,
    /// How many recorded cells no surface keeps: they are compared with nothing.
    pub new: usize,
    /// How many cells a surface keeps that were not observed now: whether they changed is not known.
    pub unseen: usize,
}

/// Holds cells against the surfaces that are kept of their scenario. A recorded cell that is worse than
/// before becomes a failed one. Of cells that were not observed nothing is said: their verdicts do.
///
/// `whole`: these are all the cells of their stages, so what is kept and not among them is gone.
pub fn hold(judged: &mut [Judged], kept: &[Surface], whole: bool) -> Held {
    let mut held = Held::default();
    let mut unseen = BTreeSet::new();
    for one in judged.iter_mut() {
        if !was_dialled(one) {
            held.unseen += usize::from(find(kept, one).is_some());
            unseen.insert(place(one));
            continue;
        }
        if one.verdict != Verdict::Recorded {
            continue;
        }
        let Some(before) = find(kept, one) else {
            held.new += 1;
            continue;
        };
        let now = Got::of(one);
        let (_, _, endpoint, client, sent) = place(one);
        if let Some((danger, words)) = cell_change((&endpoint, &client, &sent), Some(before), Some(&now))
            && danger.is_worse()
        {
            one.verdict = Verdict::Failed;
            one.reason =
                format!("{danger}: {words}\nhint: `svidproof test --accept` keeps it, if it is meant");
        }
    }
    let old: Vec<_> = kept.iter().filter_map(|surface| without(surface, &unseen)).collect();
    held.changes = diff(&old, &observed(judged));
    held.changes.retain(|change| whole || change.danger != Danger::Gone);
    held
}

/// Whether anything of the server could be seen: not where nobody could make the dial, or nobody had what it
/// was to present.
fn was_dialled(judged: &Judged) -> bool {
    let Some(observation) = &judged.observed else { return false };
    !matches!(&observation.outcome, Outcome::Failed { kind, .. } if UNDONE.contains(kind))
}

/// The surfaces of the cells that were observed.
pub fn observed(judged: &[Judged]) -> Vec<Surface> {
    let seen: Vec<_> = judged.iter().filter(|one| was_dialled(one)).cloned().collect();
    surfaces(&seen)
}

/// Adds to these surfaces what is kept of the cells that were not observed: nothing was learnt of them.
pub fn keep_unseen(surfaces: &mut [Surface], kept: &[Surface], judged: &[Judged]) {
    for one in judged.iter().filter(|one| !was_dialled(one)) {
        let Some(before) = find(kept, one) else { continue };
        let (scenario, stage, endpoint, client, sent) = place(one);
        let mut here = surfaces.iter_mut().filter(|one| one.scenario == scenario && one.stage == stage);
        if let Some(surface) = here.next() {
            let requests = surface.cells.entry(endpoint).or_default().entry(client).or_default();
            requests.entry(sent).or_insert_with(|| before.clone());
        }
    }
}

/// Scenario, stage, endpoint, client, request.
type Place = (String, String, String, String, String);

fn place(judged: &Judged) -> Place {
    let cell = &judged.cell;
    (cell.scenario.clone(), cell.stage.clone(), cell.endpoint.clone(), cell.client.clone(), request(cell))
}

fn find<'a>(kept: &'a [Surface], judged: &Judged) -> Option<&'a Got> {
    let (scenario, stage, endpoint, client, sent) = place(judged);
    let surface = kept.iter().find(|one| one.scenario == scenario && one.stage == stage)?;
    surface.cells.get(&endpoint)?.get(&client)?.get(&sent)
}

/// A surface without these cells; `None` where nothing is left.
fn without(surface: &Surface, unseen: &BTreeSet<Place>) -> Option<Surface> {
    let mut left = surface.clone();
    for (endpoint, clients) in &mut left.cells {
        for (client, requests) in clients.iter_mut() {
            requests.retain(|sent, _| {
                let (scenario, stage) = (surface.scenario.clone(), surface.stage.clone());
                !unseen.contains(&(scenario, stage, endpoint.clone(), client.clone(), sent.clone()))
            });
        }
        clients.retain(|_, requests| !requests.is_empty());
    }
    left.cells.retain(|_, clients| !clients.is_empty());
    (!left.cells.is_empty()).then_some(left)
}
