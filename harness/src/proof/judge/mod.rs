//! From what both sides saw to a verdict for each cell. Pure: dialling, and reading Envoy's counters and the
//! application's log, are others' work.
//!
//! An unexpected answer fails a cell; whatever leaves room for doubt errs it. A cell passes only where the
//! client's side and the server's side tell the same story: the client saw what is expected, Envoy counted
//! exactly what the clients saw, what was refused did not reach the application and what was answered did,
//! and the control held. Nothing that is missing can make a cell pass.

mod diff;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use svidproof_probe::protocol::{Observation, Outcome};

use crate::alert;
use crate::proof::plan::{Cell, CellId};
use crate::proof::verdict::Verdict;
use crate::scenario::{Counted, Endpoint, Kind, Scenario};

use diff::differences;
pub use words::in_words;
use words::{failure_in_words, is_local_reply, is_rbac_denial};

/// What the server's side of one endpoint says about one window of dials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What Envoy counted during the window, over all of the endpoint's pods.
    pub counted: Counted,
    /// Whether an RBAC filter is there, which counts what it allows too.
    pub rbac: bool,
    /// The cells whose request the application logged; `None` where the log was not read.
    pub reached: Option<BTreeSet<CellId>>,
}

/// A cell and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub cell: Cell,
    pub observed: Option<Observation>,
    pub verdict: Verdict,
    /// Why it did not pass; empty where it did.
    pub reason: String,
    pub evidence: Vec<Account>,
    pub control: Option<Control>,
}

/// One endpoint's two accounts of the window, side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Account {
    pub endpoint: String,
    /// By Envoy; absent where it could not be read.
    pub counted: Option<Counted>,
    /// What Envoy must have counted, by what the clients saw.
    pub tallied: Counted,
    /// Whether this cell's request reached the application behind this endpoint; absent where nothing says
    /// so.
    pub reached: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Control {
    pub check: String,
    pub held: bool,
}

/// Judges all cells of one window. `evidence` has an entry for each endpoint with an `admin`: what was read,
/// or why it could not be.
pub fn judge(
    scenario: &Scenario,
    cells: &[Cell],
    observations: &BTreeMap<CellId, Observation>,
    evidence: &BTreeMap<String, Result<Evidence, String>>,
) -> Vec<Judged> {
    let mut window = Window { scenario, cells, observations, evidence, tallies: BTreeMap::new() };
    window.tally();
    cells.iter().map(|cell| window.judge(cell)).collect()
}

/// The endpoint whose application answers what is sent to `endpoint`: the last of its upstreams. A page's
/// application is its own.
pub fn terminal<'a>(scenario: &'a Scenario, endpoint: &'a str) -> &'a str {
    route(scenario, endpoint).last().copied().unwrap_or(endpoint)
}

/// Whether this is an answer of the application itself and not of an Envoy in front of it, as far as a client
/// can tell.
pub fn is_from_application(observation: &Observation) -> bool {
    matches!(&observation.outcome, Outcome::Response { headers, .. } if !is_local_reply(headers))
        && !is_rbac_denial(&observation.outcome)
}

/// The endpoints that a request passes, first to last. What a page's application asks of its upstream is its
/// own request, not this one.
fn route<'a>(scenario: &'a Scenario, endpoint: &str) -> Vec<&'a str> {
    let mut at_a_page = false;
    let on_its_way = |name: &&str| !std::mem::replace(&mut at_a_page, scenario.endpoints[*name].is_plain());
    scenario.route(endpoint).take_while(on_its_way).collect()
}

struct Window<'a> {
    scenario: &'a Scenario,
    cells: &'a [Cell],
    observations: &'a BTreeMap<CellId, Observation>,
    evidence: &'a BTreeMap<String, Result<Evidence, String>>,
    /// By endpoint, from the observations of all cells.
    tallies: BTreeMap<&'a str, Counted>,
}

impl<'a> Window<'a> {
    fn endpoint(&self, name: &str) -> Option<&'a Endpoint> {
        self.scenario.endpoints.get(name)
    }

    fn has_admin(&self, name: &str) -> bool {
        self.endpoint(name).is_some_and(Endpoint::gives_evidence)
    }

    fn has_app_log(&self, name: &str) -> bool {
        self.endpoint(name).is_some_and(|endpoint| endpoint.app_log.is_some())
    }

    fn observed(&self, cell: &Cell) -> Option<&'a Observation> {
        self.observations.get(&cell.id)
    }

    /// The endpoints that a cell's own request passes. Where `expect.upstream` says what goes on behind the
    /// first, the request ends there.
    fn route(&self, cell: &'a Cell) -> Vec<&'a str> {
        if cell.expect.upstream.is_some() {
            vec![&cell.endpoint]
        } else {
            route(self.scenario, &cell.endpoint)
        }
    }

    /// The endpoints whose evidence bears on a cell: those on its way, and the upstream that
    /// `expect.upstream` speaks of.
    fn concerned(&self, cell: &'a Cell) -> Vec<&'a str> {
        let mut endpoints = self.route(cell);
        if cell.expect.upstream.is_some() {
            endpoints.extend(self.endpoint(&cell.endpoint).and_then(|endpoint| endpoint.upstream.as_deref()));
        }
        endpoints.retain(|name| self.has_admin(name));
        endpoints
    }

    /// The endpoint with the application that a cell's request would reach, where its log can tell.
    fn logging(&self, cell: &'a Cell) -> Option<&'a str> {
        let terminal = self.route(cell).last().copied()?;
        self.has_app_log(terminal).then_some(terminal)
    }

    /// Whether a cell's request reached the application; `None` where nothing says so.
    fn reached(&self, cell: &'a Cell) -> Option<bool> {
        let evidence = self.evidence.get(self.logging(cell)?)?.as_ref().ok()?;
        evidence.reached.as_ref().map(|reached| reached.contains(&cell.id))
    }

    fn tally(&mut self) {
        let caused: Vec<_> = self.cells.iter().flat_map(|cell| self.caused(cell)).collect();
        for (endpoint, counted) in caused {
            let tally = self.tallies.entry(endpoint).or_default();
            *tally = *tally + counted;
        }
        for (endpoint, tally) in &mut self.tallies {
            if matches!(self.evidence.get(*endpoint), Some(Ok(Evidence { rbac: true, .. }))) {
                tally.allowed = tally.forwarded;
            }
        }
    }

    /// What each endpoint must have counted for a cell, by what its client saw.
    fn caused(&self, cell: &'a Cell) -> Vec<(&'a str, Counted)> {
        let outcome = self.observed(cell).map(|observation| &observation.outcome);
        let mut caused = match outcome {
            Some(Outcome::Alert { number }) => vec![(cell.endpoint.as_str(), refusal(cell, *number).once())],
            Some(Outcome::Response { headers, .. }) => {
                self.passage(cell, outcome.is_some_and(is_rbac_denial), is_local_reply(headers))
            }
            Some(Outcome::ServerRefused { .. }) => {
                return vec![(cell.endpoint.as_str(), Kind::Broken.once())];
            }
            Some(Outcome::Failed { .. }) | None => return vec![],
        };
        let upstream = self.endpoint(&cell.endpoint).and_then(|endpoint| endpoint.upstream.as_deref());
        caused.extend(upstream.zip(cell.expect.upstream));
        caused
    }

    /// What an answered request made each endpoint on its way count.
    fn passage(&self, cell: &'a Cell, rbac: bool, local: bool) -> Vec<(&'a str, Counted)> {
        let forwarded = Counted { forwarded: 1, ..Counted::default() };
        let denied = Counted { denied: 1, ..Counted::default() };
        let route = self.route(cell);
        let Some((last, before)) = route.split_last() else { return vec![] };
        // The first Envoy puts its own time of an upstream on whatever it passes on, so only its own replies
        // can be told by it.
        if local && let Some(first) = before.first() {
            return if rbac { vec![(first, denied)] } else { vec![] };
        }
        let mut passage: Vec<_> = before.iter().map(|endpoint| (*endpoint, forwarded)).collect();
        match self.reached(cell) {
            Some(true) => passage.push((last, forwarded)),
            _ if rbac => passage.push((last, denied)),
            Some(false) => {}
            None if local => {}
            None => passage.push((last, forwarded)),
        }
        passage
    }

    /// How the two accounts of an endpoint differ; `None` where they agree.
    fn disagreement(&self, endpoint: &str, counted: Counted) -> Option<String> {
        let tallied = self.tallies.get(endpoint).copied().unwrap_or_default();
        let kinds = [
            (
                tallied.no_cert,
                counted.no_cert,
                "refusal for want of a certificate",
                "refusals for want of a certificate",
                "fail_verify_no_cert",
            ),
            (tallied.san, counted.san, "SAN refusal", "SAN refusals", "fail_verify_san"),
            (tallied.chain, counted.chain, "chain refusal", "chain refusals", "fail_verify_error"),
            (tallied.denied, counted.denied, "RBAC denial", "RBAC denials", "rbac.denied"),
            (
                tallied.forwarded,
                counted.forwarded,
                "forwarded request",
                "forwarded requests",
                "upstream_rq_total",
            ),
            (tallied.broken, counted.broken, "broken handshake", "broken handshakes", "connection_error"),
            (
                tallied.allowed,
                counted.allowed,
                "request that the policy allowed",
                "requests that the policy allowed",
                "rbac.allowed",
            ),
        ];
        let differing = kinds.iter().filter(|(tallied, counted, ..)| tallied != counted);
        let differences: Vec<_> = differing
            .map(|(tallied, counted, one, many, counter)| {
                format!(
                    "clients saw {tallied} {}, Envoy counted {counted} ({counter})",
                    if *tallied == 1 { one } else { many }
                )
            })
            .collect();
        if differences.is_empty() {
            return None;
        }
        let loose: Vec<_> = self.loose(endpoint).into_iter().map(|name| format!("`{name}`")).collect();
        let unknown = if loose.is_empty() {
            String::new()
        } else {
            format!("; what {} caused there is not known", loose.join(", "))
        };
        Some(format!("evidence disagrees at {endpoint}: {}{unknown}", differences.join(", ")))
    }

    /// The checks whose share in an endpoint's counters cannot be told from what their clients saw.
    fn loose(&self, endpoint: &str) -> BTreeSet<&'a str> {
        let loose = self.cells.iter().filter(|cell| self.concerned(cell).contains(&endpoint)).filter(
            |cell| match self.observed(cell) {
                None => true,
                Some(observation) => match &observation.outcome {
                    Outcome::Failed { .. } | Outcome::ServerRefused { .. } => true,
                    Outcome::Response { .. } | Outcome::Alert { .. } => {
                        cell.expect.upstream.is_some()
                            && cell.endpoint != endpoint
                            && !differences(cell, observation).is_empty()
                    }
                },
            },
        );
        loose.map(|cell| cell.check.as_str()).collect()
    }

    fn judge(&self, cell: &'a Cell) -> Judged {
        let observed = self.observed(cell);
        let control = cell.control.as_ref().map(|check| (check, self.control(check)));
        let (verdict, reason) = match observed {
            None => (Verdict::Errored, "nothing came back from the dial".into()),
            Some(Observation { outcome: Outcome::Failed { kind, detail }, .. }) => {
                let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
                (
                    Verdict::Errored,
                    format!("neither an answer nor a refusal: {}{detail}", failure_in_words(*kind)),
                )
            }
            Some(Observation { outcome: Outcome::ServerRefused { reason }, .. })
                if !cell.expect.is_stated() =>
            {
                (Verdict::Errored, format!("the client turned the server's certificate down: {reason}"))
            }
            Some(observation) => {
                let differences = differences(cell, observation);
                let doubts = if differences.is_empty() {
                    self.doubts(cell, control.as_ref().map(|(_, held)| held))
                } else {
                    vec![]
                };
                match (differences.is_empty(), doubts.is_empty()) {
                    (false, _) => (Verdict::Failed, differences.join("; ")),
                    (true, false) => (Verdict::Errored, doubts.join("; ")),
                    (true, true) => (Verdict::Passed, String::new()),
                }
            }
        };
        let account = |endpoint: &str| Account {
            endpoint: endpoint.into(),
            counted: self
                .evidence
                .get(endpoint)
                .and_then(|evidence| evidence.as_ref().ok())
                .map(|evidence| evidence.counted),
            tallied: self.tallies.get(endpoint).copied().unwrap_or_default(),
            reached: self.reached(cell).filter(|_| self.logging(cell) == Some(endpoint)),
        };
        Judged {
            cell: cell.clone(),
            observed: observed.cloned(),
            verdict,
            reason,
            evidence: self.concerned(cell).into_iter().map(account).collect(),
            control: control.map(|(check, held)| Control { check: check.clone(), held: held.is_ok() }),
        }
    }

    /// Why what the client saw, though as expected, does not count. Empty where it does.
    fn doubts(&self, cell: &'a Cell, control: Option<&Result<(), String>>) -> Vec<String> {
        let mut doubts = Vec::new();
        for endpoint in self.concerned(cell) {
            match self.evidence.get(endpoint) {
                None => doubts.push(format!("there is no evidence from {endpoint}")),
                Some(Err(why)) => doubts.push(format!("the evidence at {endpoint} could not be read: {why}")),
                Some(Ok(Evidence { reached: None, .. })) if self.has_app_log(endpoint) => {
                    doubts.push(format!("the application's log at {endpoint} was not read"));
                }
                Some(Ok(evidence)) => doubts.extend(self.disagreement(endpoint, evidence.counted)),
            }
        }
        if let Some(endpoint) = self.logging(cell) {
            match (self.reached(cell), self.is_refused(cell)) {
                (None, _) if doubts.is_empty() => {
                    doubts.push(format!("nothing says what reached the application at {endpoint}"));
                }
                (Some(true), true) => {
                    doubts.push(format!(
                        "evidence disagrees at {endpoint}: refused, yet the request reached the application"
                    ));
                }
                (Some(false), false) => {
                    doubts.push(format!(
                        "evidence disagrees at {endpoint}: answered, yet the application \
                        did not log the request"
                    ));
                }
                (Some(true), false) | (Some(false), true) | (None, _) => {}
            }
        }
        if cell.expect.is_refusal() {
            let counting =
                if cell.expect.alert.is_some() { vec![cell.endpoint.as_str()] } else { self.concerned(cell) };
            if !counting.iter().any(|endpoint| self.has_admin(endpoint)) {
                doubts.push(format!("no evidence can be had at {}", cell.endpoint));
            }
            if control.is_none() {
                doubts.push("a refusal without a control".into());
            }
        }
        doubts.extend(control.and_then(|held| held.as_ref().err()).cloned());
        doubts
    }

    /// Whether the request must not have reached the application: by what is expected, or else by what was
    /// seen.
    fn is_refused(&self, cell: &'a Cell) -> bool {
        if cell.expect.is_stated() {
            return cell.expect.is_refusal();
        }
        self.observed(cell).is_none_or(|seen| match &seen.outcome {
            // An answer of an Envoy further on has passed the first, and shows no sign of who gave it: the
            // log tells.
            Outcome::Response { status, .. } if *status >= 400 && self.route(cell).len() > 1 => {
                self.reached(cell) != Some(true)
            }
            _ => !is_from_application(seen),
        })
    }

    /// Whether every cell of a control was answered as it expects, by the application where its log can tell.
    fn control(&self, check: &str) -> Result<(), String> {
        let mut cells = self.cells.iter().filter(|cell| cell.check == check).peekable();
        if cells.peek().is_none() {
            return Err(format!("the control `{check}` was not made"));
        }
        let failure = cells.find_map(|cell| {
            let Some(observation) = self.observed(cell) else {
                return Some("nothing came back from the dial".into());
            };
            if cell.expect.is_refusal() {
                return Some("it is itself a refusal".into());
            }
            if let Some(difference) = differences(cell, observation).into_iter().next() {
                return Some(difference);
            }
            (self.logging(cell).is_some() && self.reached(cell) != Some(true))
                .then(|| "it did not reach the application".into())
        });
        failure.map_or(Ok(()), |why: String| Err(format!("the control `{check}` did not hold: {why}")))
    }
}

/// What an alert says that Envoy counted. Where it is the expected one, the scenario may know better: one
/// alert can stand for several.
fn refusal(cell: &Cell, number: u8) -> Kind {
    let expected = cell.expect.alert.as_ref().and_then(alert::number) == Some(number);
    if let Some(kind) = cell.expect.counts.filter(|_| expected) {
        return kind;
    }
    match number {
        alert::CERTIFICATE_REQUIRED => Kind::NoCert,
        // TLS 1.2 has no word of its own for it.
        alert::HANDSHAKE_FAILURE if cell.nobody => Kind::NoCert,
        alert::CERTIFICATE_UNKNOWN => Kind::San,
        alert::BAD_CERTIFICATE
        | alert::UNSUPPORTED_CERTIFICATE
        | alert::CERTIFICATE_REVOKED
        | alert::CERTIFICATE_EXPIRED
        | alert::UNKNOWN_CA
        | alert::ACCESS_DENIED => Kind::Chain,
        _ => Kind::Broken,
    }
}

#[cfg(test)]
mod tests;
