//! Two surfaces side by side: what changed, in words, the most dangerous first.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Got, Reach, Surface};
use crate::sys::in_a_line;
use crate::sys::terminal::Reader;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How bad it is.
    pub danger: Danger,
    /// Of which scenario.
    pub scenario: String,
    /// Of which of its stages.
    pub stage: String,
    /// What changed, as a sentence.
    pub words: String,
}

impl Change {
    /// `scenario · stage`.
    pub fn place(&self) -> String {
        format!("{} · {}", self.scenario, self.stage)
    }
}

/// The most dangerous first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// What was kept out gets through.
    Opened,
    /// A server proves its identity no longer, or a refusal comes later than before or is not shown at all.
    Weakened,
    /// Another answer gets through: another client's data, perhaps.
    Answered,
    /// Another refusal.
    Changed,
    /// What got through is kept out, or is kept out earlier.
    Closed,
    /// It was not tried before.
    New,
    /// It is not tried any more.
    Gone,
}

impl Danger {
    /// A refusal that is another, or came to be, is as good as before, and what is new was never otherwise.
    pub fn is_worse(self) -> bool {
        match self {
            Self::Opened | Self::Weakened | Self::Answered | Self::Gone => true,
            Self::Changed | Self::Closed | Self::New => false,
        }
    }
}

impl Display for Danger {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Opened => "opened up",
            Self::Weakened => "weakened",
            Self::Answered => "answered otherwise",
            Self::Changed => "changed",
            Self::Closed => "closed",
            Self::New => "new",
            Self::Gone => "gone",
        })
    }
}

/// Scenario, stage.
type Stage<'a> = (&'a str, &'a str);
/// Endpoint, client, request.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str);
type Cells<'a> = BTreeMap<Key<'a>, &'a Got>;

/// All that differs, by danger, then by scenario, stage, endpoint, client and request: one client's requests
/// stand together. Empty only where both are the same.
pub fn diff(old: &[Surface], new: &[Surface]) -> Vec<Change> {
    let (old, new) = (stages(old), stages(new));
    let stages = union(&old, &new).into_iter();
    let mut changes: Vec<_> =
        stages.flat_map(|stage| stage_changes(*stage, old.get(stage), new.get(stage))).collect();
    // Stable: within one danger, the order stays.
    changes.sort_by_key(|change| change.danger);
    changes
}

/// Whether anything is worse than before, or not known any more to be as good.
pub fn worse(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.danger.is_worse())
}

/// `1 opened up, 2 changed`; `nothing changed`.
pub fn change_counts(changes: &[Change]) -> String {
    let each = changes.chunk_by(|a, b| a.danger == b.danger);
    let each: Vec<_> = each.map(|all| format!("{} {}", all.len(), all[0].danger)).collect();
    if each.is_empty() { "nothing changed".into() } else { each.join(", ") }
}

/// The changes under their dangers and stages; `nothing changed` where there are none.
pub fn change_list(changes: &[Change], reader: Reader) -> String {
    if changes.is_empty() {
        return "nothing changed\n".into();
    }
    let mut text = String::new();
    for of_danger in changes.chunk_by(|a, b| a.danger == b.danger) {
        let gap = if text.is_empty() { "" } else { "\n" };
        text += &format!("{gap}{}: {}\n", of_danger[0].danger, of_danger.len());
        for of_stage in of_danger.chunk_by(|a, b| (&a.scenario, &a.stage) == (&b.scenario, &b.stage)) {
            text += &reader.wrapped(&of_stage[0].place(), "  ", "    ");
            let words = of_stage.iter().map(|change| in_a_line(&change.words));
            text.extend(words.map(|words| reader.wrapped(&words, "    ", "      ")));
        }
    }
    text
}

fn stages(surfaces: &[Surface]) -> BTreeMap<Stage<'_>, Cells<'_>> {
    let mut stages: BTreeMap<_, Cells> = BTreeMap::new();
    for surface in surfaces {
        let cells = stages.entry((surface.scenario.as_str(), surface.stage.as_str())).or_default();
        for (endpoint, clients) in &surface.cells {
            for (client, requests) in clients {
                for (request, outcome) in requests {
                    let cell = cells.entry((endpoint, client, request)).or_insert(outcome);
                    *cell = cell.more_open(outcome);
                }
            }
        }
    }
    stages
}

fn union<'m, K: Ord, V>(old: &'m BTreeMap<K, V>, new: &'m BTreeMap<K, V>) -> BTreeSet<&'m K> {
    old.keys().chain(new.keys()).collect()
}

fn stage_changes((scenario, stage): Stage, old: Option<&Cells>, new: Option<&Cells>) -> Vec<Change> {
    let change = |(danger, words)| Change { danger, scenario: scenario.into(), stage: stage.into(), words };
    match (old, new) {
        (Some(old), Some(new)) => {
            let changes = union(old, new)
                .into_iter()
                .filter_map(|key| cell_change(*key, old.get(key).copied(), new.get(key).copied()));
            changes.map(change).collect()
        }
        (None, Some(new)) => {
            vec![change((Danger::New, format!("the stage is new, with {}", count(new.len()))))]
        }
        (Some(old), None) => {
            vec![change((Danger::Gone, format!("the stage is gone, with {}", count(old.len()))))]
        }
        (None, None) => vec![],
    }
}

fn count(cells: usize) -> String {
    if cells == 1 { "1 cell".into() } else { format!("{cells} cells") }
}

/// `None` where there is no difference.
pub(super) fn cell_change(key: Key, old: Option<&Got>, new: Option<&Got>) -> Option<(Danger, String)> {
    let (endpoint, client, request) = key;
    match (old, new) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => {
            let (danger, words) = outcome_change(key, old, new);
            Some((danger, format!("{words} (was: {})", old.as_str())))
        }
        (None, Some(new)) => {
            Some((Danger::New, format!("{client}: {request} at {endpoint} is new: {}", new.as_str())))
        }
        (Some(old), None) => Some((
            Danger::Gone,
            format!("{client}: {request} at {endpoint} is not tried any more (was: {})", old.as_str()),
        )),
        (None, None) => None,
    }
}

fn outcome_change((endpoint, client, request): Key, old: &Got, new: &Got) -> (Danger, String) {
    let (before, after, now) = (old.reach(), new.reach(), new.as_str());
    if new.is_turned_down() && before != Reach::Unknown {
        return (
            Danger::Weakened,
            format!("{endpoint} no longer proves its identity to {client} for {request}"),
        );
    }
    match (before.cmp(&after), after) {
        (Less, Reach::Served) => (Danger::Opened, format!("{client} can now {request} at {endpoint}")),
        (Less, Reach::Application) => {
            (Danger::Opened, format!("{client} now gets through to {endpoint} with {request}: {now}"))
        }
        (Less, Reach::Unknown) => (
            Danger::Weakened,
            format!("{client} is no longer shown to be refused at {endpoint} for {request}: {now}"),
        ),
        (Less, Reach::Denied | Reach::Alert) => {
            (Danger::Weakened, format!("{client} is refused later at {endpoint} for {request}: {now}"))
        }
        (Equal, Reach::Served | Reach::Application) => {
            (Danger::Answered, format!("{client} gets another answer to {request} at {endpoint}: {now}"))
        }
        (Equal, Reach::Unknown) => {
            (Danger::Changed, format!("{client} still gets nowhere at {endpoint} with {request}: {now}"))
        }
        (Equal, Reach::Denied | Reach::Alert) => {
            (Danger::Changed, format!("{client} is refused otherwise at {endpoint} for {request}: {now}"))
        }
        (Greater, _) => {
            let words = match before {
                Reach::Served => format!("{client} can no longer {request} at {endpoint}"),
                Reach::Application => format!("{client} no longer gets through to {endpoint} with {request}"),
                Reach::Unknown => format!("{client} is now refused at {endpoint} for {request}"),
                Reach::Denied | Reach::Alert => {
                    format!("{client} is refused earlier at {endpoint} for {request}")
                }
            };
            (Danger::Closed, format!("{words}: {now}"))
        }
    }
}
