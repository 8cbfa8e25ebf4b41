//! Whether a refusal's control held, and at the same pod. From outside the cluster chooses the pod for each
//! dial.

use super::diff::{differences, undecided};
use super::{Judge, Place};
use crate::proof::envoy::Happened;
use crate::proof::plan::Cell;
use crate::scenario::By;

impl<'a> Judge<'a> {
    /// Whether the control of a cell, named or (for a denied gRPC call) found, held at the same pod.
    pub(super) fn control_of(&self, cell: &'a Cell, place: Place<'a>) -> Result<(), String> {
        let Some(check) = &cell.control else { return Ok(()) };
        let cells = self.by_check.get(check.as_str()).map(Vec::as_slice).unwrap_or_default();
        if cells.is_empty() {
            return Err(format!("the control `{check}` was not made"));
        }
        let said = |why: String| format!("the control `{check}` did not hold: {why}");
        let mut comparable = false;
        for control in cells {
            comparable |= self.held(control, place).map_err(said)?;
        }
        if comparable {
            return Ok(());
        }
        let pod = place.dial.pod.as_ref().map_or("this".into(), |pod| format!("pod {pod}"));
        Err(said(format!(
            "it was made from outside, where the cluster chooses the pod, and is not known to have met \
             {pod}: let a client from within make it too"
        )))
    }

    /// The pod that a dial met, as far as it is told: it chose it, there is only one, or only one was asked
    /// in its window.
    fn met(&self, place: Place<'a>) -> Option<&'a str> {
        if let Some(pod) = &place.dial.pod {
            return Some(pod);
        }
        let window = &self.windows[place.window];
        let endpoint = &self.cells[place.dial.cell.as_str()].endpoint;
        let Some(witness) = window.witnesses.get(endpoint) else { return Some("") };
        let is_idle = |happened: &Result<Happened, String>| {
            happened.as_ref().is_ok_and(|one| one.connections == 0 && one.requests == 0)
        };
        let only_one = witness.pods.len() == 1;
        let asked = witness.pods.iter().filter(|(_, happened)| only_one || !is_idle(happened));
        let mut asked = asked.map(|(name, _)| name.as_str());
        asked.next().filter(|_| asked.next().is_none())
    }

    /// Whether it says something of this dial: from outside, nobody knows of which of several pods. All
    /// that it says must hold.
    fn held(&self, control: &'a Cell, place: Place<'a>) -> Result<bool, String> {
        if control.expect.is_refusal() {
            return Err("it is itself a refusal".into());
        }
        if !control.expect.is_stated() {
            return Err("it expects nothing".into());
        }
        let places = self.dials.get(&control.id).map(Vec::as_slice).unwrap_or_default();
        let pod = &place.dial.pod;
        // What was dialled at whichever pod needs a control at every one, or at that which it met.
        let met = self.met(place);
        let same_pod = |other: &&Place| {
            pod.is_none() && other.dial.pod.is_some() || met.is_some() && self.met(**other) == met
        };
        let mut there = places.iter().filter(same_pod).peekable();
        if there.peek().is_none() {
            if places.iter().any(|other| pod.is_none() || other.dial.pod.is_none()) {
                return Ok(false);
            }
            let pod = pod.as_ref().map(|pod| format!(" at pod {pod}")).unwrap_or_default();
            return Err(format!("nothing came back from the dial{pod}"));
        }
        for place in there {
            let seen = &place.dial.observation;
            let differing = place.dial.seen().find_map(|one| differences(control, one).into_iter().next());
            let (by, doubts) = self.answered_by(control, *place);
            let doubts = doubts.into_iter().chain(undecided(&control.expect, &seen.outcome));
            let doubts = doubts.chain(self.doubts_of_answerer(control, *place, by));
            let mut doubts = differing.into_iter().chain(doubts).chain(self.doubts_of(control, *place));
            if let Some(doubt) = doubts.next().or_else(|| self.contradicts(control, *place, by)) {
                return Err(doubt);
            }
            if by == Some(By::Envoy) {
                return Err("it did not reach the application".into());
            }
        }
        Ok(true)
    }
}
