//! From what both sides saw to a verdict for each cell. Pure: dialling, and reading Envoy's counters and the
//! application's log, are others' work.
//!
//! An unexpected answer fails a cell; whatever leaves room for doubt errs it. A cell passes only where the
//! client's side and the server's side tell the same story at every pod: the client saw what is expected,
//! Envoy counted exactly that, what was refused did not reach the application and what was answered did,
//! and the control held at the same pod. Nothing that is missing can make a cell pass. A cell that expects
//! nothing is recorded where the story is the same, and never passes.

mod accounts;
mod again;
mod alike;
mod attribution;
mod contradiction;
mod control;
mod cut_off;
mod diff;
mod origin;
mod registered;
mod rounds;
mod window;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use svidproof_probe::protocol::{Observation, Outcome};

use crate::proof::hops::Walk;
use crate::proof::plan::{Cell, CellId};
use crate::proof::verdict::Verdict;
use crate::scenario::{By, Counted, CutOff, Endpoint, Evidence, Scenario};

pub use again::twice;
pub use alike::across;
use alike::{of_pods, severity};
pub use attribution::route;
use attribution::{Attribution, Unsettled, is_timed, units};
use contradiction::{is_denial, wanted};
use diff::{differences, expected_in_words, undecided};
use origin::Origin;
pub use registered::registered;
pub use rounds::{Dialling, settled};
pub use window::{Attempt, DialId, Dialled, Logs, Window, Witness};
use words::is_an_end;
pub use words::{cut_off_in_words, failure_in_words, seen_in_words};

/// A cell and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What was asked.
    pub cell: Cell,
    /// Of several pods' the one that the verdict is of.
    pub observed: Option<Observation>,
    /// Who gave the answer; absent where there was none, or nothing tells.
    pub by: Option<By>,
    /// Why the server ended the connection, by its own counter; absent where it did not, or nothing tells.
    pub cut_off: Option<CutOff>,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it did not pass; empty where it did.
    pub reason: String,
    /// Both accounts of each endpoint on the way, nearest first.
    pub evidence: Vec<Account>,
    /// Absent where the cell has none.
    pub control: Option<Control>,
    /// Which hop broke, where it did not pass and that was looked for. Nothing is judged by it.
    pub hop: Option<Walk>,
}

/// One endpoint's two accounts of the window, side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Account {
    /// By its name in the scenario.
    pub endpoint: String,
    /// By Envoy; absent where it could not be read.
    pub counted: Option<Counted>,
    /// What Envoy must have counted, by what the clients saw.
    pub tallied: Counted,
    /// Whether this cell's request reached the application behind this endpoint, by its log; absent where
    /// no log says so.
    pub reached: Option<bool>,
}

/// The check that shows that the same dial with the right identity succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Control {
    /// Its name.
    pub check: String,
    /// Whether it came out as expected, at the same pod.
    pub held: bool,
}

impl Judged {
    /// A cell that was not dialled.
    pub fn untried(cell: Cell, verdict: Verdict, reason: String) -> Self {
        let (evidence, control) = (vec![], None);
        Self { cell, observed: None, by: None, cut_off: None, verdict, reason, evidence, control, hop: None }
    }
}

/// Judges all cells by the windows in which they were dialled.
pub fn judge(scenario: &Scenario, cells: &[Cell], windows: &[Window], logs: &Logs) -> Vec<Judged> {
    let judge = Judge::new(scenario, cells, windows, logs);
    cells.iter().map(|cell| judge.cell(cell)).collect()
}

/// Whether a window says who answered each of its dials; if not, each wants a window of its own.
pub fn is_settled(scenario: &Scenario, cells: &[Cell], window: &Window, logs: &Logs) -> bool {
    let judge = Judge::new(scenario, cells, std::slice::from_ref(window), logs);
    judge.settled.iter().all(Result::is_ok)
}

/// Whether a window that is not settled may well be, once more: others than we were there.
pub fn is_disturbed(window: &Window) -> bool {
    window.witnesses.values().any(|witness| witness.is_disturbed(window.dials.len() as u64))
}

/// The endpoint whose application answers what is sent to `endpoint`: the last of its upstreams. A page's
/// application is its own.
pub fn terminal<'a>(scenario: &'a Scenario, endpoint: &'a str) -> &'a str {
    attribution::route(scenario, endpoint).last().copied().unwrap_or(endpoint)
}

/// One dial in its window.
#[derive(Clone, Copy)]
struct Place<'a> {
    window: usize,
    /// Among the window's dials.
    number: usize,
    dial: &'a Dialled,
}

struct Judge<'a> {
    attribution: Attribution<'a>,
    cells: BTreeMap<&'a str, &'a Cell>,
    windows: &'a [Window],
    /// By window, and in it by dial.
    settled: Vec<Result<Vec<Vec<Origin>>, Unsettled>>,
    /// By cell.
    dials: BTreeMap<&'a CellId, Vec<Place<'a>>>,
    by_check: BTreeMap<&'a str, Vec<&'a Cell>>,
}

/// What came of one dial.
struct Ruling {
    verdict: Verdict,
    reason: String,
    by: Option<By>,
    cut_off: Option<CutOff>,
    control: Option<bool>,
}

impl<'a> Judge<'a> {
    fn new(scenario: &'a Scenario, cells: &'a [Cell], windows: &'a [Window], logs: &'a Logs) -> Self {
        let attribution = Attribution { scenario, logs };
        let by_id: BTreeMap<_, _> = cells.iter().map(|cell| (cell.id.as_str(), cell)).collect();
        let mut dials: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (window, dialled) in windows.iter().enumerate() {
            for (number, dial) in dialled.dials.iter().enumerate() {
                dials.entry(&dial.cell).or_default().push(Place { window, number, dial });
            }
        }
        let mut by_check: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for cell in cells {
            by_check.entry(cell.check.as_str()).or_default().push(cell);
        }
        let settled =
            windows.iter().map(|window| attribution.settle(window, &|dial| by_id[dial.cell.as_str()]));
        let settled = settled.collect();
        Self { attribution, cells: by_id, windows, settled, dials, by_check }
    }

    fn cell(&self, cell: &'a Cell) -> Judged {
        let places = self.dials.get(&cell.id).map(Vec::as_slice).unwrap_or_default();
        let rulings: Vec<_> = places.iter().map(|place| (*place, self.dial(cell, *place))).collect();
        let worst = rulings.iter().max_by_key(|(_, ruling)| severity(ruling.verdict));
        let left_out = self.left_out(cell, places);
        let (place, ruling) = match (worst, left_out) {
            (Some((place, ruling)), None) => (place, ruling),
            (Some((place, ruling)), Some(_)) if ruling.verdict == Verdict::Failed => (place, ruling),
            (_, left_out) => {
                let pod = left_out.map(|pod| format!(" at pod {pod}")).unwrap_or_default();
                let why = format!("nothing came back from the dial{pod}");
                return Judged::untried(cell.clone(), Verdict::Errored, why);
            }
        };
        let (verdict, reason) = of_pods(ruling.verdict, ruling.reason.clone(), place.dial, &rulings);
        Judged {
            cell: cell.clone(),
            observed: Some(place.dial.observation.clone()),
            by: ruling.by,
            cut_off: ruling.cut_off,
            verdict,
            reason,
            evidence: self.accounts(cell, *place),
            control: cell.control.clone().zip(ruling.control).map(|(check, held)| Control { check, held }),
            hop: None,
        }
    }

    /// A pod that is a witness and at which a cell, though made at pods of its own choice, was not made.
    fn left_out(&self, cell: &Cell, places: &[Place<'a>]) -> Option<&str> {
        let made: BTreeSet<_> = places.iter().filter_map(|place| place.dial.pod.as_deref()).collect();
        let witnesses = self.windows.iter().filter_map(|window| window.witnesses.get(&cell.endpoint));
        let mut pods = witnesses.flat_map(|witness| witness.pods.keys()).map(String::as_str);
        pods.find(|pod| !made.is_empty() && !made.contains(pod))
    }

    fn dial(&self, cell: &'a Cell, place: Place<'a>) -> Ruling {
        let control = self.control_of(cell, place);
        let (by, doubts) = self.answered_by(cell, place);
        let cut_off = self.cut_off(place);
        let ruling = |verdict, reason: String| {
            let control = cell.control.as_ref().map(|_| control.is_ok());
            Ruling { verdict, reason, by, cut_off, control }
        };
        let seen = &place.dial.observation;
        let all = || place.dial.seen();
        // Whether an Envoy's own counter says how it ended.
        let is_cut = |seen: &Observation| {
            cut_off.is_some() && matches!(seen.outcome, Outcome::Failed { kind, .. } if is_an_end(kind))
        };
        for observation in all().filter(|seen| !is_cut(seen)) {
            if let Outcome::Failed { kind, detail } = &observation.outcome {
                let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
                let kind = words::failure_in_words(*kind);
                let version = words::of_another_version(cell, observation);
                let version = version.filter(|_| !self.is_spoken(cell)).unwrap_or_default();
                let why = format!("neither an answer nor a refusal: {kind}{detail}{version}");
                let uncut = cell.expect.cut_off.map(|_| self.uncut(cell, place)).unwrap_or_default();
                let why = why + &uncut;
                return ruling(Verdict::Errored, why);
            }
        }
        if let (Some(cut), Some(expected)) = (cut_off, expected_in_words(&cell.expect))
            && cell.expect.cut_off != Some(cut)
        {
            return ruling(Verdict::Failed, format!("expected {expected}, saw {}", cut_off_in_words(cut)));
        }
        if let Some(differences) = all().map(|one| differences(cell, one)).find(|found| !found.is_empty()) {
            return ruling(Verdict::Failed, differences.join("; "));
        }
        if let (false, Outcome::ServerRefused { reason }) = (cell.expect.is_stated(), &seen.outcome) {
            return ruling(
                Verdict::Errored,
                format!("the client turned the server's certificate down: {reason}"),
            );
        }
        let in_words = |one: &Observation| match cut_off.filter(|_| is_cut(one)) {
            Some(cut) => cut_off_in_words(cut),
            None => seen_in_words(&one.outcome),
        };
        let words: BTreeSet<_> = all().map(in_words).collect();
        let mut doubts = doubts;
        if words.len() > 1 {
            let words: Vec<_> = words.into_iter().collect();
            doubts.push(format!(
                "the same dial, made again, came to something else: {}",
                words.join(", then ")
            ));
        }
        doubts.extend(undecided(&cell.expect, &seen.outcome));
        doubts.extend(self.doubts_of(cell, place));
        if doubts.is_empty()
            && let Some(why) = self.contradicts(cell, place, by)
        {
            // Where nothing is expected, nothing is contradicted, and a snapshot would not tell it.
            let verdict = if cell.expect.is_stated() { Verdict::Failed } else { Verdict::Errored };
            return ruling(verdict, why);
        }
        let is_blind = self.is_blind(cell, place);
        if !(is_blind && by.is_none()) {
            doubts.extend(self.doubts_of_answerer(cell, place, by));
        }
        if cell.expect.is_refusal() {
            doubts.extend(self.doubts_of_refusal(cell, place));
        }
        if cell.control.is_some() || cell.expect.is_refusal() {
            doubts.extend(control.as_ref().err().cloned());
        }
        doubts.dedup();
        match (doubts.is_empty(), cell.expect.is_stated()) {
            (false, _) => ruling(Verdict::Errored, doubts.join("; ")),
            (true, true) if is_blind => ruling(Verdict::ClientSide, String::new()),
            (true, true) => ruling(Verdict::Passed, String::new()),
            (true, false) => ruling(Verdict::Recorded, String::new()),
        }
    }

    /// Whether the endpoint answered anybody in this version of HTTP.
    fn is_spoken(&self, cell: &Cell) -> bool {
        let alike = |other: &&Cell| other.endpoint == cell.endpoint && other.http == cell.http;
        let dials = self.cells.values().copied().filter(alike).filter_map(|other| self.dials.get(&other.id));
        dials.flatten().any(|place| matches!(place.dial.observation.outcome, Outcome::Response { .. }))
    }

    fn origins(&self, place: Place<'a>) -> Result<&[Origin], &Unsettled> {
        self.settled[place.window].as_ref().map(|all| all[place.number].as_slice())
    }

    /// Who answered, and why that is in doubt.
    fn answered_by(&self, cell: &'a Cell, place: Place<'a>) -> (Option<By>, Vec<String>) {
        let logged = self.attribution.logged(cell, place.dial);
        let end = self.attribution.route(cell).last().copied().unwrap_or_default();
        let attempts: BTreeSet<_> = place.dial.ids().map(|id| self.attribution.logged_as(cell, id)).collect();
        if attempts.len() > 1 {
            let what = "of the same dial, made again, some requests reached the application and some did not";
            return (None, vec![format!("evidence disagrees at {end}: {what}")]);
        }
        let doubt = |what: &str| vec![format!("evidence disagrees at {end}: {what}")];
        if !place.dial.observation.outcome.is_answer() {
            let came_through = logged == Some(true);
            let doubts = came_through.then(|| doubt("refused, yet the request reached the application"));
            return (None, doubts.unwrap_or_default());
        }
        let by_log = logged.filter(|logged| *logged).map(|_| By::Application);
        let Ok(origins) = self.origins(place) else { return (by_log, vec![]) };
        if !origins.is_empty() && origins.iter().all(|one| matches!(one, Origin::Unanswered(_))) {
            return (None, doubt("the request was forwarded, and Envoy answered in the application's place"));
        }
        let forwarded: BTreeSet<_> = origins.iter().map(|origin| *origin == Origin::Application).collect();
        let by = match (forwarded.contains(&true), forwarded.contains(&false)) {
            (true, false) => Some(By::Application),
            (false, true) => Some(By::Envoy),
            _ => by_log,
        };
        let doubts = match (by, logged) {
            (Some(By::Envoy), Some(true)) => {
                doubt("Envoy answered itself, yet the request reached the application")
            }
            (Some(By::Application), Some(false)) => {
                doubt("answered, yet the application did not log the request")
            }
            _ => vec![],
        };
        (by, doubts)
    }

    /// Why the server's side leaves room for doubt.
    fn doubts_of(&self, cell: &'a Cell, place: Place<'a>) -> Vec<String> {
        let mut doubts = vec![];
        let concerned = self.attribution.concerned(cell);
        match self.origins(place) {
            Ok(_) => {}
            Err(Unsettled::Crowded) => {
                doubts.push("who answered cannot be told among the dials of its window".into());
            }
            Err(Unsettled::Disagreement(all)) => {
                let here = all.iter().filter(|(endpoint, _)| concerned.contains(&endpoint.as_str()));
                doubts.extend(here.map(|(_, why)| why.clone()));
            }
        }
        let window = &self.windows[place.window];
        for name in &concerned {
            let endpoint = self.attribution.scenario.endpoints.get(*name);
            if endpoint.is_some_and(Endpoint::gives_evidence) && !window.witnesses.contains_key(*name) {
                doubts.push(format!("there is no evidence from {name}"));
            }
        }
        let end = self.attribution.route(cell).last().copied().unwrap_or_default();
        if self.attribution.scenario.endpoints.get(end).is_some_and(|one| one.app_log.is_some()) {
            match self.attribution.logs.get(end) {
                Some(Ok(_)) => {}
                Some(Err(why)) => {
                    doubts.push(format!("the application's log at {end} could not be read: {why}"));
                }
                None => doubts.push(format!("the application's log at {end} was not read")),
            }
        }
        doubts
    }

    /// Why who answered is in doubt, where it matters: by what is expected of it, or since it is a refusal.
    fn doubts_of_answerer(&self, cell: &'a Cell, place: Place<'a>, by: Option<By>) -> Vec<String> {
        let mut doubts = vec![];
        let Some(wanted) = wanted(&cell.expect).filter(|_| !cell.expect.is_before_a_request()) else {
            return doubts;
        };
        let at = &cell.endpoint;
        let window = &self.windows[place.window];
        let route = self.attribution.route(cell);
        let is_watched = |endpoint: &str| window.witnesses.contains_key(endpoint);
        if by.is_none() {
            doubts.push(match wanted {
                _ if !route.iter().any(|endpoint| is_watched(endpoint)) && cell.expect.is_refusal() => {
                    format!("no evidence can be had at {at}")
                }
                By::Envoy if cell.expect.is_refusal() => {
                    format!("nothing says whether the request reached the application at {at}")
                }
                By::Envoy | By::Application => format!("nothing says who answered at {at}"),
            });
        }
        if wanted == By::Application && self.may_be_in_its_place(cell, place) {
            doubts.push(format!(
                "nothing tells the application's answer from one that Envoy gives in its place at {at}: \
                 the header `x-envoy-upstream-service-time` of the Envoy before it would"
            ));
        }
        doubts.extend(self.replaced(cell, place).filter(|_| wanted == By::Application));
        if by != Some(By::Envoy) {
            return doubts;
        }
        let counts = cell.expect.counts;
        if !self
            .origins(place)
            .unwrap_or_default()
            .iter()
            .all(|one| counts.is_none() || is_denial(*one, counts))
        {
            doubts.push(format!("nothing says what denied the request at {at}"));
        }
        // Where nobody counts, another application may have been asked.
        let hops = self.origins(place).unwrap_or_default().iter().filter_map(|origin| match origin {
            Origin::Denied(_, hop) | Origin::Envoy(hop) => route.get(*hop),
            _ => None,
        });
        let unwatched: BTreeSet<_> = hops.filter(|endpoint| !is_watched(endpoint)).collect();
        doubts.extend(unwatched.iter().map(|endpoint| format!("no evidence can be had at {endpoint}")));
        doubts.extend(self.strayed(cell, place));
        doubts
    }

    /// Whether what was forwarded may have come to nothing, and an Envoy made the answer: no time on it is
    /// the last Envoy's, and it is one that Envoy gives then, or in gRPC what that is there (gRPC, "HTTP to
    /// gRPC Status Code Mapping"; 4 where the call's own time is over), or an Envoy on the way gives it any
    /// other. A log that names the request says that it came: an application that dies then lets Envoy
    /// answer.
    fn may_be_in_its_place(&self, cell: &'a Cell, place: Place<'a>) -> bool {
        let witnesses = &self.windows[place.window].witnesses;
        let route = self.attribution.route(cell);
        let is_only = route.len() == 1;
        let marks = witnesses.get(&cell.endpoint).map(|witness| witness.marks).unwrap_or_default();
        let restates = route.iter().any(|name| witnesses.get(*name).is_some_and(|one| one.marks.restates));
        let outcome = &place.dial.observation.outcome;
        let is_timed = is_only && is_timed(marks, cell, outcome);
        let is_error = matches!(outcome, Outcome::Response { status: 502..=504, .. })
            || words::grpc_status(outcome).is_some_and(|status| ["4", "14"].contains(&status));
        !is_timed && (is_error || restates)
    }

    /// Whether a refusal is judged by what the client sees: the scenario says that its Envoy's counters
    /// cannot be read, and no other on the way has any.
    fn is_blind(&self, cell: &'a Cell, place: Place<'a>) -> bool {
        let expect = &cell.expect;
        let endpoint = self.attribution.scenario.endpoints.get(&cell.endpoint);
        let said = endpoint.is_some_and(|one| one.evidence == Some(Evidence::ClientSide));
        let window = &self.windows[place.window];
        let route = self.attribution.route(cell);
        let is_watched = route.iter().any(|name| window.witnesses.contains_key(*name));
        let wants_counters = expect.cut_off.is_some() || expect.counts.is_some() || expect.by.is_some();
        expect.is_refusal() && !wants_counters && said && !is_watched
    }

    /// What a refusal needs besides.
    fn doubts_of_refusal(&self, cell: &'a Cell, place: Place<'a>) -> Vec<String> {
        let mut doubts = vec![];
        let is_watched = self.windows[place.window].witnesses.contains_key(&cell.endpoint);
        if cell.expect.is_before_a_request() && !is_watched && !self.is_blind(cell, place) {
            doubts.push(format!("no evidence can be had at {}", cell.endpoint));
        }
        if cell.expect.cut_off.is_some() {
            doubts.extend(self.strayed(cell, place));
        }
        doubts.extend(cell.control.is_none().then(|| "a refusal without a control".into()));
        doubts.extend(self.unanswered(cell, place));
        doubts
    }

    fn accounts(&self, cell: &'a Cell, place: Place<'a>) -> Vec<Account> {
        let window = &self.windows[place.window];
        let cell_of = |dial: &Dialled| self.cells[dial.cell.as_str()];
        let firsts: Vec<_> = match &self.settled[place.window] {
            Ok(all) => all.iter().filter_map(|origins| origins.first().copied()).collect(),
            Err(_) => {
                window.dials.iter().map(|dial| self.attribution.likely(cell_of(dial), dial, window)).collect()
            }
        };
        let end = self.attribution.route(cell).last().copied();
        let concerned = self.attribution.concerned(cell).into_iter();
        let witnessed = concerned.filter_map(|name| Some((name, window.witnesses.get(name)?)));
        let account = |(name, witness): (&str, &Witness)| {
            let pods = units(name, witness, window, &cell_of);
            let pod = if pods == [None] { None } else { place.dial.pod.as_deref() };
            Account {
                endpoint: name.into(),
                counted: witness.happened(pod).ok().map(|happened| happened.counted),
                tallied: self.attribution.tally(name, pod, window, &cell_of, &firsts),
                reached: self.attribution.logged(cell, place.dial).filter(|_| end == Some(name)),
            }
        };
        witnessed.map(account).collect()
    }
}

#[cfg(test)]
mod tests;
