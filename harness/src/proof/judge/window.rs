//! One window: dials that were made together, and what the server's side says of that time.

use std::collections::{BTreeMap, BTreeSet};

use svidproof_probe::protocol::{Observation, Outcome};

use crate::proof::envoy::{Happened, Marks, Meter};
use crate::proof::plan::{Cell, CellId};
use crate::scenario::Counted;

/// Unique across a run, and what the request's `x-svidproof-cell` header says.
pub type DialId = String;

/// One dial of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Dialled {
    /// Its own.
    pub id: DialId,
    /// The cell that it is a dial of.
    pub cell: CellId,
    /// The pod that was dialled; absent where the cluster chose one.
    pub pod: Option<String>,
    /// What the client saw.
    pub observation: Observation,
    /// The same dial before, in windows that did not settle who had answered.
    pub earlier: Vec<Attempt>,
}

/// A dial that was made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its own.
    pub id: DialId,
    /// What it saw.
    pub observation: Observation,
}

impl From<Dialled> for Attempt {
    fn from(dial: Dialled) -> Self {
        Self { id: dial.id, observation: dial.observation }
    }
}

impl Dialled {
    /// What each attempt saw, the last one last.
    pub(super) fn seen(&self) -> impl Iterator<Item = &Observation> + Clone {
        self.earlier.iter().map(|attempt| &attempt.observation).chain([&self.observation])
    }

    /// The ids of all attempts.
    pub(super) fn ids(&self) -> impl Iterator<Item = &DialId> {
        self.earlier.iter().map(|attempt| &attempt.id).chain([&self.id])
    }
}

/// Dials, and what was counted from just before the first until just after the last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// In the order in which they were begun.
    pub dials: Vec<Dialled>,
    /// By endpoint; one without an `admin` has none.
    pub witnesses: BTreeMap<String, Witness>,
}

impl Window {
    /// Whether an Envoy counted fewer handshakes that it turned down than their clients have an alert of: it
    /// sends the alert first, and counts then. `cells` are those of the dials.
    pub fn is_short(&self, cells: &[Cell]) -> bool {
        let is_at = |id: &CellId, endpoint: &str| {
            cells.iter().any(|cell| cell.id == *id && cell.endpoint == endpoint)
        };
        self.witnesses.iter().any(|(endpoint, witness)| {
            let Ok(happened) = witness.happened(None) else { return false };
            let Counted { no_cert, san, chain, broken, .. } = happened.counted;
            let alerts = self.dials.iter().filter(|dial| {
                matches!(dial.observation.outcome, Outcome::Alert { .. }) && is_at(&dial.cell, endpoint)
            });
            no_cert + san + chain + broken < alerts.count() as u64
        })
    }

    /// These pods of the endpoint are not what they were when they were first looked at: what they counted
    /// says nothing, and where nobody counts, neither does what they answered.
    pub fn discredit(&mut self, endpoint: &str, pods: &[&str], why: &str) {
        let witness = self.witnesses.entry(endpoint.into()).or_default();
        witness.pods.extend(pods.iter().map(|pod| ((*pod).to_owned(), Err(why.to_owned()))));
    }
}

/// What the Envoys of one endpoint say of one window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Witness {
    /// What can be relied on at every pod.
    pub marks: Marks,
    /// What makes counting harder, in words.
    pub remarks: Vec<String>,
    /// Whether requests are counted there at all, at any pod: where not, no Envoy there answers one.
    pub speaks_http: bool,
    /// Whether some may go by without being counted.
    pub passes_bytes: bool,
    /// By pod: what it counted, or why that could not be read.
    pub pods: BTreeMap<String, Result<Happened, String>>,
}

/// By endpoint with an `app-log`: the dials whose request the application logged, or why the log could not be
/// read.
pub type Logs = BTreeMap<String, Result<BTreeSet<DialId>, String>>;

impl Witness {
    /// Takes on what one more pod's meter says of marks and of counting: what holds at one alone is not
    /// relied on.
    pub fn heed(&mut self, meter: &Meter) {
        self.speaks_http |= meter.speaks_http();
        self.passes_bytes |= meter.passes_bytes();
        self.marks.time &= meter.marks.time;
        self.marks.denial &= meter.marks.denial;
        self.marks.serves |= meter.marks.serves;
        self.marks.replaces |= meter.marks.replaces;
        self.marks.restates |= meter.marks.restates;
        let new: Vec<_> = meter.remarks.iter().filter(|one| !self.remarks.contains(one)).cloned().collect();
        self.remarks.extend(new);
    }

    /// How many requests went on behind it, as far as that could be read.
    pub fn forwarded(&self) -> u64 {
        self.pods.values().flatten().map(|happened| happened.counted.forwarded).sum()
    }

    /// What the pods counted: one of them, or all together.
    ///
    /// # Errors
    /// A pod of them could not be read; the words say which and why.
    pub(super) fn happened(&self, pod: Option<&str>) -> Result<Happened, String> {
        let mut sum = Happened::default();
        let asked = self.pods.iter().filter(|(name, _)| pod.is_none_or(|pod| pod == *name));
        let mut any = false;
        for (name, happened) in asked {
            let one = happened.as_ref().map_err(|why| format!("pod {name}: {why}"))?;
            sum = sum.plus(one);
            any = true;
        }
        if any {
            Ok(sum)
        } else {
            Err(format!("no pod{} was read", pod.map(|pod| format!(" {pod}")).unwrap_or_default()))
        }
    }

    /// Whether others than we were there: more requests or connections than our dials, or any at a port that
    /// counts in the same place.
    pub(super) fn is_disturbed(&self, dials: u64) -> bool {
        let Ok(happened) = self.happened(None) else { return false };
        happened.requests > dials || happened.reached() > dials || happened.beside > 0
    }
}
