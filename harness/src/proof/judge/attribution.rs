//! Who answered each dial of a window: by the counters of the Envoys on its way, and by the application's
//! log.
//!
//! Each dial has *candidates*: the ways in which what its client saw can have come about. Each candidate says
//! what every Envoy on the way must have counted for it. A window is *settled* where the candidates add up to
//! exactly what was counted, and nothing else would.
//!
//! In a window of many dials each must have one candidate only, told by a mark that the configuration vouches
//! for: every denial has Envoy's own text, say, so those without it are none; if then as many were counted as
//! have the text, those are they. Where no mark tells, a dial needs a window of its own: there the counters
//! alone tell. They are never overruled by what an answer looks like.

use std::collections::BTreeSet;

use svidproof_probe::protocol::{Http, Observation, Outcome, TlsVersions};

use super::accounts::{Times, differ, is_counted, missed, others};
use super::diff::differences;
use super::origin::Origin;
use super::window::{DialId, Dialled, Logs, Window, Witness};
use super::words::{grpc_status, header, is_an_end, is_rbac_denial};
use crate::alert;
use crate::proof::envoy::{Happened, Marks};
use crate::proof::plan::Cell;
use crate::scenario::{Counted, CutOff, Endpoint, Kind, Scenario};

/// Why a window does not say who answered its dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// By endpoint: what differs, in words.
    Disagreement(Vec<(String, String)>),
    /// Of some dials, what was seen fits several origins: each needs a window of its own.
    Crowded,
}

pub(super) struct Attribution<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) logs: &'a Logs,
}

impl<'a> Attribution<'a> {
    /// The endpoints that a cell's own request passes, first to last. Where `expect.upstream` says what
    /// goes on behind the first, the request ends there.
    pub(super) fn route(&self, cell: &'a Cell) -> Vec<&'a str> {
        if cell.expect.upstream.is_some() {
            return vec![&cell.endpoint];
        }
        route(self.scenario, &cell.endpoint)
    }

    /// The endpoints whose counters bear on a cell.
    pub(super) fn concerned(&self, cell: &'a Cell) -> Vec<&'a str> {
        let mut endpoints = self.route(cell);
        if cell.expect.upstream.is_some() {
            endpoints.extend(self.endpoint(&cell.endpoint).and_then(|endpoint| endpoint.upstream.as_deref()));
        }
        endpoints
    }

    /// Whether the client speaks plain text.
    fn is_plain(&self, cell: &Cell) -> bool {
        cell.tls == TlsVersions::None || self.endpoint(&cell.endpoint).is_some_and(Endpoint::is_plain)
    }

    fn endpoint(&self, name: &str) -> Option<&'a Endpoint> {
        self.scenario.endpoints.get(name)
    }

    /// Whether the application's log names this dial; `None` where no log says so.
    pub(super) fn logged(&self, cell: &'a Cell, dial: &Dialled) -> Option<bool> {
        self.logged_as(cell, &dial.id)
    }

    /// Whether the application's log names one attempt of a cell's dial.
    pub(super) fn logged_as(&self, cell: &'a Cell, id: &DialId) -> Option<bool> {
        // Bytes alone carry no id that a log could name.
        let last = self.route(cell).last().copied().filter(|_| cell.http != Http::None)?;
        Some(self.logs.get(last)?.as_ref().ok()?.contains(id))
    }

    /// Who answered each dial, in their order. One dial may have several origins that nothing tells apart:
    /// then none of them contradicts what was counted.
    pub(super) fn settle(
        &self,
        window: &Window,
        cell_of: &dyn Fn(&Dialled) -> &'a Cell,
    ) -> Result<Vec<Vec<Origin>>, Unsettled> {
        if let [dial] = window.dials.as_slice() {
            let cell = cell_of(dial);
            let candidates = self.candidates_alone(cell, &dial.observation, window);
            let disagreement = |origin: &Origin| self.disagreement(window, cell_of, &[*origin]);
            let (agreeing, differing): (Vec<_>, Vec<_>) = candidates
                .iter()
                .map(|origin| (*origin, disagreement(origin)))
                .partition(|(_, why)| why.is_empty());
            if agreeing.is_empty() {
                let likely = self.likely(cell, dial, window);
                let of = |origin: &Origin| differing.iter().find(|(one, _)| one == origin);
                let why = of(&likely).or(differing.first()).map(|(_, why)| why.clone()).unwrap_or_default();
                return Err(Unsettled::Disagreement(why));
            }
            let agreeing: Vec<_> = agreeing.into_iter().map(|(origin, _)| origin).collect();
            // What a mark tells is ours, whoever else was there.
            let told = self.told(cell, dial, window).unwrap_or_default();
            let is_told = agreeing.iter().all(|origin| told.contains(origin));
            return match self.theirs(window, cell, dial).filter(|_| !is_told) {
                Some(theirs) => Err(Unsettled::Disagreement(vec![theirs])),
                None => Ok(vec![agreeing]),
            };
        }
        // Whose copy it is that went to a mirror, and who was let in without an authorizer's word, shows only
        // where a dial is alone.
        let unclear = |one: &Happened| one.mirrored > 0 || one.counted.authz_open > 0;
        let unclear = |witness: &Witness| witness.pods.values().flatten().any(unclear);
        if window.witnesses.values().any(unclear) {
            return Err(Unsettled::Crowded);
        }
        let one = |dial: &Dialled| self.told(cell_of(dial), dial, window);
        let origins: Option<Vec<_>> = window.dials.iter().map(one).collect();
        let origins = origins.ok_or(Unsettled::Crowded)?;
        // Of each dial any will do: they make the same be counted.
        let firsts: Vec<_> = origins.iter().filter_map(|origins| origins.first().copied()).collect();
        let differing = self.disagreement(window, cell_of, &firsts);
        if differing.is_empty() { Ok(origins) } else { Err(Unsettled::Disagreement(differing)) }
    }

    /// What a dial with a window of its own may have come to, by what its client saw.
    fn candidates_alone(&self, cell: &'a Cell, seen: &Observation, window: &Window) -> Vec<Origin> {
        match &seen.outcome {
            Outcome::Alert { number } if cell.expect.is_stated() => {
                vec![Origin::Handshake(refusal(cell, *number))]
            }
            Outcome::Alert { number } => {
                let first = refusal(cell, *number);
                let others = Kind::OF_HANDSHAKES.into_iter().filter(|kind| *kind != first);
                std::iter::once(first).chain(others).map(Origin::Handshake).collect()
            }
            Outcome::ServerRefused { .. } => vec![Origin::Handshake(Kind::Broken), Origin::Uncounted],
            Outcome::Failed { kind, .. } => {
                let cuts = CutOff::ALL.into_iter().filter(|_| is_an_end(*kind));
                // Who speaks TLS is not cut off for want of it.
                let cuts = cuts.filter(|cut| *cut != CutOff::NotTls || self.is_plain(cell));
                let (expected, others): (Vec<_>, Vec<_>) =
                    cuts.partition(|cut| cell.expect.cut_off == Some(*cut));
                let [expected, others] = [expected, others].map(|all| all.into_iter().map(Origin::CutOff));
                expected.chain([Origin::Uncounted]).chain(others).collect()
            }
            Outcome::Response { .. } | Outcome::Bytes { .. } => {
                let hops = self.route(cell).len();
                let answers = |hop: &usize| {
                    // A port that passes bytes alone gives no answer of its own to a request.
                    let witness = self.route(cell).get(*hop).and_then(|name| window.witnesses.get(*name));
                    witness.is_none_or(|witness| witness.speaks_http || !witness.passes_bytes)
                };
                let by_envoys = (0..hops).filter(answers);
                let by_envoys = by_envoys.flat_map(by_envoy);
                let first = window
                    .witnesses
                    .get(&cell.endpoint)
                    .is_some_and(|one| is_timed(one.marks, cell, &seen.outcome));
                if first && !has_service_time(&seen.outcome) {
                    // What was forwarded and answered has the first Envoy's time on it.
                    return by_envoys.chain((0..hops).map(Origin::Unanswered)).collect();
                }
                std::iter::once(Origin::Application).chain(by_envoys).collect()
            }
        }
    }

    /// The origins that the marks on an answer leave, where all of them make the same be counted; `None`
    /// where a window of its own has to tell.
    fn told(&self, cell: &'a Cell, dial: &Dialled, window: &Window) -> Option<Vec<Origin>> {
        match &dial.observation.outcome {
            Outcome::Alert { number } => Some(vec![Origin::Handshake(refusal(cell, *number))]),
            Outcome::ServerRefused { .. } => Some(vec![Origin::Handshake(Kind::Broken)]),
            Outcome::Failed { .. } => Some(vec![Origin::Uncounted]),
            Outcome::Response { .. } | Outcome::Bytes { .. } if cell.expect.upstream.is_some() => None,
            Outcome::Response { .. } | Outcome::Bytes { .. } => self.answerer(cell, dial, window),
        }
    }

    fn answerer(&self, cell: &'a Cell, dial: &Dialled, window: &Window) -> Option<Vec<Origin>> {
        let route = self.route(cell);
        let marks: Vec<_> =
            route.iter().map(|name| window.witnesses.get(*name).map(|one| one.marks)).collect();
        let outcome = &dial.observation.outcome;
        let logged = self.logged(cell, dial);
        match marks.first().copied().flatten() {
            // The first Envoy puts its own time of an upstream on whatever it passes on. An application that
            // has the request in its log and then died did not answer it.
            Some(first) if is_timed(first, cell, outcome) && !has_service_time(outcome) => {
                by_itself(first, outcome).filter(|_| logged != Some(true)).map(|one| vec![one])
            }
            _ if logged == Some(true) => Some(vec![Origin::Application]),
            Some(first) if is_timed(first, cell, outcome) && route.len() == 1 => {
                Some(vec![Origin::Application])
            }
            Some(first) if is_timed(first, cell, outcome) => behind(1, &marks, logged, outcome),
            _ => behind(0, &marks, logged, outcome),
        }
    }

    /// Which origin to tell of where none fits.
    pub(super) fn likely(&self, cell: &'a Cell, dial: &Dialled, window: &Window) -> Origin {
        if !dial.observation.outcome.is_answer() {
            return self.candidates_alone(cell, &dial.observation, window)[0];
        }
        let told = self.answerer(cell, dial, window).and_then(|origins| origins.first().copied());
        told.unwrap_or(Origin::Application)
    }

    /// What an origin makes the endpoints count.
    fn caused(&self, cell: &'a Cell, seen: &Observation, origin: Origin) -> Vec<(&'a str, Counted)> {
        let forwarded = Counted { forwarded: 1, ..Counted::default() };
        let route = self.route(cell);
        let passed = |hops: usize| route.iter().take(hops).map(move |name| (*name, forwarded));
        let mut caused: Vec<_> = match origin {
            Origin::Handshake(kind) => vec![(route[0], kind.once())],
            Origin::Denied(kind, hop) => passed(hop).chain([(route[hop], kind.once())]).collect(),
            Origin::Envoy(hop) => passed(hop).collect(),
            Origin::Unanswered(hop) => passed(hop + 1).collect(),
            Origin::Application => passed(route.len()).collect(),
            Origin::CutOff(cut) => vec![(route[0], cut.once())],
            Origin::Uncounted => vec![],
        };
        // Where an answer is not the expected one, what its application asked upstream is not known.
        let as_expected = differences(cell, seen).is_empty();
        if let Some(counted) = cell.expect.upstream.filter(|_| as_expected) {
            caused.extend(
                self.endpoint(&cell.endpoint)
                    .and_then(|one| one.upstream.as_deref())
                    .map(|name| (name, counted)),
            );
        }
        caused
    }

    /// What every Envoy of an endpoint must have counted, by pod where the dials chose it.
    pub(super) fn tally(
        &self,
        endpoint: &str,
        pod: Option<&str>,
        window: &Window,
        cell_of: &dyn Fn(&Dialled) -> &'a Cell,
        origins: &[Origin],
    ) -> Counted {
        let here =
            window.dials.iter().zip(origins).filter(|(dial, _)| pod.is_none() || dial.pod.as_deref() == pod);
        let caused = here.flat_map(|(dial, origin)| self.caused(cell_of(dial), &dial.observation, *origin));
        caused.filter(|(name, _)| *name == endpoint).fold(Counted::default(), |sum, (_, one)| sum + one)
    }

    /// How often one dial's request may have been forwarded at an endpoint, and how often it may have come
    /// there: retries are requests too, here and at every Envoy behind. Alone, a dial's own are told from
    /// those of others.
    fn times(
        &self,
        endpoint: &str,
        window: &Window,
        cell_of: &dyn Fn(&Dialled) -> &'a Cell,
        happened: &Happened,
    ) -> Times {
        let [dial] = window.dials.as_slice() else { return Times::ONCE };
        let route = self.route(cell_of(dial));
        let before = route.iter().position(|name| *name == endpoint).unwrap_or_default();
        let before =
            route[..before].iter().filter_map(|name| window.witnesses.get(*name)?.happened(None).ok());
        let came = before.fold(1, |times: u64, one| times.saturating_mul(1 + one.retries));
        Times { came, forwarded: came.saturating_add(happened.retries) }
    }

    /// Where a dial was alone among ours and not among all: what was counted may be another's, and ours have
    /// come to what that one is taken for. A connection that ended is no request.
    fn theirs(&self, window: &Window, cell: &'a Cell, dial: &Dialled) -> Option<(String, String)> {
        let is_request = matches!(dial.observation.outcome, Outcome::Response { .. });
        self.route(cell).into_iter().find_map(|name| {
            let witness = window.witnesses.get(name)?;
            let happened = witness.happened(dial.pod.as_deref().filter(|_| name == cell.endpoint)).ok()?;
            let came = self.times(name, window, &|_| cell, &happened).came;
            let crowded = if is_request {
                happened.requests > came || happened.beside > 0
            } else {
                name == cell.endpoint && (happened.reached() > 1 || happened.beside > 0)
            };
            let others = others(witness, &happened, 1);
            let why = "others were there meanwhile, and nothing says whose it is that was counted";
            crowded.then(|| (name.to_owned(), format!("evidence is in doubt at {name}: {why}{others}")))
        })
    }

    /// How many requests must have come to an endpoint from the one before it on their way.
    fn came(
        &self,
        endpoint: &str,
        window: &Window,
        cell_of: &dyn Fn(&Dialled) -> &'a Cell,
        origins: &[Origin],
    ) -> u64 {
        let came = window.dials.iter().zip(origins).filter(|(dial, origin)| {
            let hop = self.route(cell_of(dial)).iter().position(|name| *name == endpoint);
            let last = match **origin {
                Origin::Denied(_, hop) | Origin::Envoy(hop) | Origin::Unanswered(hop) => hop,
                Origin::Application => usize::MAX,
                Origin::Handshake(_) | Origin::CutOff(_) | Origin::Uncounted => 0,
            };
            hop.is_some_and(|hop| hop > 0 && hop <= last)
        });
        came.count() as u64
    }

    /// How the accounts differ, by endpoint. Empty where they agree.
    fn disagreement(
        &self,
        window: &Window,
        cell_of: &dyn Fn(&Dialled) -> &'a Cell,
        origins: &[Origin],
    ) -> Vec<(String, String)> {
        let mut differing = vec![];
        for (endpoint, witness) in &window.witnesses {
            let unknown = |dial: &Dialled| {
                let cell = cell_of(dial);
                cell.expect.upstream.is_some()
                    && cell.endpoint != *endpoint
                    && !differences(cell, &dial.observation).is_empty()
            };
            if window.dials.iter().any(unknown) {
                let why =
                    "the answer is not the expected one, so what its application asked there is not known";
                differing.push((endpoint.clone(), why.into()));
                continue;
            }
            for pod in units(endpoint, witness, window, cell_of) {
                let tallied = self.tally(endpoint, pod.as_deref(), window, cell_of, origins);
                let here = |dial: &Dialled| {
                    cell_of(dial).endpoint == *endpoint && (pod.is_none() || dial.pod == pod)
                };
                let place =
                    pod.as_ref().map_or_else(|| endpoint.clone(), |pod| format!("{endpoint} (pod {pod})"));
                match witness.happened(pod.as_deref()) {
                    Err(why) => differing.push((
                        endpoint.clone(),
                        format!("the evidence at {endpoint} could not be read: {why}"),
                    )),
                    Ok(happened) => {
                        let times = self.times(endpoint, window, cell_of, &happened);
                        let mut found = differ(&tallied, &happened, times);
                        let dials = window.dials.iter().zip(origins);
                        let connected =
                            dials.filter(|(dial, origin)| here(dial) && is_counted(dial, **origin));
                        let came = self.came(endpoint, window, cell_of, origins);
                        let came = if witness.passes_bytes { 0 } else { came };
                        found.extend(missed(connected.count() as u64, came, &happened));
                        if !found.is_empty() {
                            let others = others(witness, &happened, window.dials.len());
                            differing.push((
                                endpoint.clone(),
                                format!("evidence disagrees at {place}: {}{others}", found.join(", ")),
                            ));
                        }
                    }
                }
            }
        }
        differing
    }
}

/// The parts of an endpoint whose accounts are held against each other: pod by pod where each dial chose
/// its own, else all together.
pub(super) fn units<'a>(
    endpoint: &str,
    witness: &Witness,
    window: &Window,
    cell_of: &dyn Fn(&Dialled) -> &'a Cell,
) -> Vec<Option<String>> {
    let chosen = |dial: &Dialled| dial.pod.is_some() && cell_of(dial).endpoint == endpoint;
    if window.dials.iter().all(chosen) {
        // One that was dialled and is no witness is missed, not passed over.
        let dialled = window.dials.iter().filter_map(|dial| dial.pod.as_ref());
        let all: BTreeSet<_> = witness.pods.keys().chain(dialled).cloned().collect();
        return all.into_iter().map(Some).collect();
    }
    vec![None]
}

/// The endpoints that a request to `endpoint` passes, first to last. What a page's application asks of its
/// upstream is its own request, not this one.
pub fn route<'a>(scenario: &'a Scenario, endpoint: &'a str) -> Vec<&'a str> {
    if scenario.endpoints.get(endpoint).is_none_or(Endpoint::is_plain) {
        return vec![endpoint];
    }
    scenario.route(endpoint).collect()
}

/// How a hop's Envoy may have come to answer by itself.
fn by_envoy(hop: usize) -> impl Iterator<Item = Origin> {
    Kind::DENIALS.into_iter().map(move |kind| Origin::Denied(kind, hop)).chain([Origin::Envoy(hop)])
}

/// The first Envoy answered by itself: its policy, or something else of it.
fn by_itself(marks: Marks, outcome: &Outcome) -> Option<Origin> {
    let origin = if is_rbac_denial(outcome) { Origin::Denied(Kind::Denied, 0) } else { Origin::Envoy(0) };
    marks.denial.then_some(origin)
}

/// Who answered at the hop `first` or behind it, where no time tells.
fn behind(
    first: usize,
    marks: &[Option<Marks>],
    logged: Option<bool>,
    outcome: &Outcome,
) -> Option<Vec<Origin>> {
    let left = marks.get(first..)?;
    if left.iter().all(Option::is_none) {
        // Nobody counts there, so it makes no difference.
        let by_envoys = (first..marks.len()).flat_map(by_envoy);
        let application = logged.is_none().then_some(Origin::Application);
        return Some(application.into_iter().chain(by_envoys).collect());
    }
    // What passes several Envoys may have been turned down by any of them.
    let [Some(marks)] = left else { return None };
    if !marks.denial {
        return None;
    }
    if is_rbac_denial(outcome) {
        return Some(vec![Origin::Denied(Kind::Denied, first)]);
    }
    match logged {
        Some(false) => Some(vec![Origin::Envoy(first)]),
        // An Envoy that serves nothing itself answers with an error, or leads elsewhere.
        _ if is_served(outcome) && !marks.serves => Some(vec![Origin::Application]),
        _ => None,
    }
}

/// Whether such an answer has the time where it was passed on. Envoy's router puts none on one that goes on
/// in another protocol, nor on one that came before its request was whole.
pub(super) fn is_timed(marks: Marks, cell: &Cell, outcome: &Outcome) -> bool {
    let is_whole_at_once = cell.body.is_empty() && cell.trailers.is_empty();
    let may_lack = matches!(outcome, Outcome::Response { status: 101, .. }) || !is_whole_at_once;
    marks.time && (!may_lack || has_service_time(outcome))
}

fn has_service_time(outcome: &Outcome) -> bool {
    let Outcome::Response { headers, .. } = outcome else { return false };
    header(headers, "x-envoy-upstream-service-time").is_some()
}

fn is_served(outcome: &Outcome) -> bool {
    let served = matches!(outcome, Outcome::Response { status: 200..=299, .. });
    served && grpc_status(outcome).is_none_or(|status| status == "0")
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
