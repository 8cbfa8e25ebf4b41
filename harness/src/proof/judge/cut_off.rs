//! Whether an Envoy ended a connection, and why: its own counters alone say so. A reset looks the same
//! whoever sent it.

use super::origin::Origin;
use super::{Judge, Place};
use crate::proof::plan::Cell;
use crate::scenario::CutOff;

impl<'a> Judge<'a> {
    /// Why an Envoy ended the connection: its counters say so, and nothing else explains them.
    pub(super) fn cut_off(&self, place: Place<'a>) -> Option<CutOff> {
        match self.origins(place) {
            Ok([Origin::CutOff(cut)]) => Some(*cut),
            _ => None,
        }
    }

    /// Why a connection that ended is not known to have been cut off.
    pub(super) fn uncut(&self, cell: &'a Cell, place: Place<'a>) -> String {
        let doubts = self.doubts_of(cell, place);
        if doubts.is_empty() {
            return "; and no counter of Envoy's says that it cut the connection off".into();
        }
        format!("; {}", doubts.join("; "))
    }

    /// What went on meanwhile behind the Envoys on a cell's way, to where none of their routes leads: what is
    /// said to have come no further may be among it.
    pub(super) fn strayed(&self, cell: &'a Cell, place: Place<'a>) -> Vec<String> {
        let mut doubts = vec![];
        let window = &self.windows[place.window];
        for name in self.attribution.route(cell) {
            let Some(Ok(happened)) = window.witnesses.get(name).map(|one| one.happened(None)) else {
                continue;
            };
            if happened.mirrored > 0 {
                let copies = happened.mirrored;
                doubts.push(format!("meanwhile {name} sent {copies} copy(ies) of requests to a mirror"));
            }
            for (cluster, times) in happened.elsewhere {
                doubts.push(format!(
                    "meanwhile {name} sent {times} request(s) to cluster `{cluster}`, to which no route leads"
                ));
            }
        }
        doubts
    }
}
