//! What opened and closed, and when: what each client gets is held against what it got when it was last seen.
//! So neither a night in which nobody could look nor one that left a request out hides what opened meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::night::{Cell, Night, Text, Texts};
use super::{Change, Timeline};
use crate::surface::{self, Got, Surface};

/// Scenario, stage, endpoint, client, request.
type Place = [Text; 5];

/// What was last seen of a leg's places, and which of them its last run did not try any more.
#[derive(Debug, Clone, Default)]
struct Known {
    got: HashMap<Place, Text>,
    gone: HashSet<Place>,
}

/// Per run, the most dangerous first.
pub(super) fn changes(timeline: &Timeline, legs: usize) -> Vec<Change> {
    let mut known: Vec<Known> = vec![Known::default(); legs];
    let mut all = vec![];
    for (run, night) in timeline.nights.iter().enumerate() {
        let leg = timeline.legs[run];
        let seen = Seen::of(night, timeline.texts);
        let is_first = timeline.is_first_of_leg(run);
        if let Some(before) = timeline.against[run].filter(|_| is_first) {
            known[leg] = known[timeline.legs[before]].clone();
            // Two legs need not try the same: what one alone does is neither new nor gone.
            known[leg].got.retain(|place, _| seen.got.contains_key(place) || seen.unseen.contains(place));
        }
        if timeline.against[run].is_some() {
            let changes = compare(&known[leg], &seen, is_first, timeline.texts);
            all.extend(changes.into_iter().map(|change| Change {
                run,
                danger: change.danger,
                worse: change.danger.is_worse(),
                stage: change.stage,
                words: change.words,
            }));
        }
        known[leg].learn(seen);
    }
    all
}

/// What a run saw.
struct Seen {
    got: HashMap<Place, Text>,
    /// Nobody could make these dials.
    unseen: HashSet<Place>,
    /// What is missing is not tried any more: it ended early otherwise, or wrote no surface yet.
    is_whole: bool,
}

impl Seen {
    fn of(night: &Night, texts: &Texts) -> Self {
        let mut seen = Self {
            got: HashMap::with_capacity(night.cells.len()),
            unseen: HashSet::new(),
            is_whole: night.errors.is_empty() && !night.cells.is_empty(),
        };
        for cell in &night.cells {
            // Helm's tests have no client.
            if texts.text(cell.client).is_empty() {
                continue;
            }
            if texts.text(cell.request).is_empty() || texts.text(cell.got).is_empty() {
                seen.is_whole = false;
            } else if Got::in_words(texts.text(cell.got)).is_observed() {
                seen.saw(cell, texts);
            } else {
                seen.unseen.insert(place(cell));
            }
        }
        seen
    }

    /// Where a request was made more than once, the most open outcome stands, as in a surface.
    fn saw(&mut self, cell: &Cell, texts: &Texts) {
        let got = |number: Text| Got::in_words(texts.text(number));
        let stands = self.got.entry(place(cell)).or_insert(cell.got);
        if *stands != cell.got && *got(*stands).more_open(&got(cell.got)) == got(cell.got) {
            *stands = cell.got;
        }
    }
}

impl Known {
    fn learn(&mut self, seen: Seen) {
        if seen.is_whole {
            let is_gone = |place: &&Place| !seen.got.contains_key(*place) && !seen.unseen.contains(*place);
            self.gone.extend(self.got.keys().filter(is_gone));
        }
        self.gone.retain(|place| !seen.got.contains_key(place));
        self.got.extend(seen.got);
    }
}

fn place(cell: &Cell) -> Place {
    let [scenario, stage, _] = cell.check;
    [scenario, stage, cell.to, cell.client, cell.request]
}

fn compare(known: &Known, seen: &Seen, is_first: bool, texts: &Texts) -> Vec<surface::Change> {
    // What is missing and may yet come is left out of both sides.
    let is_missing = |place: &Place| !seen.got.contains_key(place);
    let stays_out = |place: &Place| {
        is_missing(place) && (!seen.is_whole || known.gone.contains(place) || seen.unseen.contains(place))
    };
    let old: Vec<_> = known.got.iter().filter(|(place, _)| !stays_out(place)).collect();
    let new: Vec<_> =
        seen.got.iter().filter(|(place, _)| !is_first || known.got.contains_key(*place)).collect();
    // Most nights are as the one before: only stages in which something differs are written out.
    let new_to_it = new.iter().filter(|(place, got)| known.got.get(*place) != Some(*got));
    let missing = old.iter().filter(|(place, _)| is_missing(place));
    let differs: HashSet<[Text; 2]> = new_to_it.chain(missing).map(|(place, _)| stage(place)).collect();
    if differs.is_empty() {
        return vec![];
    }
    let surfaces = |all: &[(&Place, &Text)]| {
        surfaces(all.iter().filter(|(place, _)| differs.contains(&stage(place))).copied(), texts)
    };
    surface::diff(&surfaces(&old), &surfaces(&new))
}

fn stage(place: &Place) -> [Text; 2] {
    [place[0], place[1]]
}

fn surfaces<'p>(all: impl Iterator<Item = (&'p Place, &'p Text)>, texts: &Texts) -> Vec<Surface> {
    let mut surfaces: HashMap<[Text; 2], Surface> = HashMap::new();
    for (place, got) in all {
        let [scenario, stage_, to, client, request] = place.map(|text| texts.text(text).to_owned());
        let surface = surfaces.entry(stage(place)).or_insert_with(|| Surface {
            scenario,
            stage: stage_,
            cells: BTreeMap::new(),
        });
        let requests = surface.cells.entry(to).or_default().entry(client).or_default();
        requests.insert(request, Got::in_words(texts.text(*got)));
    }
    surfaces.into_values().collect()
}
