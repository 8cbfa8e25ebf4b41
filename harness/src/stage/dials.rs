//! Dials in their windows: what is dialled where, each cell at every pod, and what is read meanwhile. Which
//! dials go together, and which again alone, is `judge::settled`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join;
use svidproof_probe::Identities;
use svidproof_probe::protocol::{Dial, DialFailure, Observation, Outcome, ServerProof, Timing};

use super::log::Followed;
use super::target::Target;
use super::{Opened, StageError};
use crate::cluster::probe::Probe;
use crate::halt::{self, Halt};
use crate::proof::envoy::Stats;
use crate::proof::judge::{self, Dialled, Dialling, Judged, Logs, Window, Witness};
use crate::proof::plan::Cell;
use crate::scenario::Endpoint;
use crate::session::lost;
use crate::sys::wait::{self, Look};

/// A whole dial's bound: a refusal takes milliseconds, and Envoy's own upstream bound is 15 s.
const DIAL: Duration = Duration::from_secs(10);
/// Envoy counts a handshake that it turned down after it has sent the alert: on a busy machine, a moment
/// after. It tells nobody when it has.
const COUNTED: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(10);
/// How many dials are made at once; from outside they all pass one proxy of the container engine's.
const INSIDE: usize = 128;
const OUTSIDE: usize = 16;

/// Where a cell is dialled.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Absent where the cluster chooses.
    pod: Option<String>,
    /// `host:port`, or why there is none.
    address: Result<String, String>,
}

/// What dials and reads in a stage.
struct Round<'a> {
    opened: &'a Opened<'a>,
    followed: &'a Followed,
    at_once: usize,
    /// Who dials what is not dialled from outside.
    probe: Option<&'a Probe>,
    /// Keeps ids of the nodes' dials apart.
    mark: String,
}

impl Dialling for Round<'_> {
    type Place = Place;

    async fn window(&self, dials: &[(Cell, Place)], word: &str) -> Window {
        self.opened.window(self, dials, word).await
    }

    fn logs(&self) -> Logs {
        self.followed.read()
    }
}

type Readings = BTreeMap<String, BTreeMap<String, Result<Stats, String>>>;

impl Opened<'_> {
    pub(super) async fn run(mut self) -> Vec<Judged> {
        let untried = self.untried();
        let followed = Followed::open(&self.run.kube, &self.targets, &self.cells).await;
        let mut entries: Vec<&str> = vec![];
        for cell in &self.cells {
            if !entries.contains(&cell.endpoint.as_str()) {
                entries.push(&cell.endpoint);
            }
        }
        // Where there is no probe, this machine is the only place that is dialled from.
        let probes = self.system.probes.iter().map(Some);
        let probes = probes.chain(self.system.probes.is_empty().then_some(None));
        let mut nodes: Vec<(Option<&Probe>, Vec<Window>)> = probes.map(|probe| (probe, vec![])).collect();
        // One after the other: two may have an Envoy in common.
        for entry in entries {
            // What is dialled from outside the cluster is so once, and holds for each node.
            let outside = self.windows(entry, true, None, "", &followed).await;
            for (number, (probe, windows)) in nodes.iter_mut().enumerate() {
                let mark = if number == 0 { String::new() } else { format!("n{number}") };
                windows.extend(self.windows(entry, false, *probe, &mark, &followed).await);
                windows.extend(outside.iter().cloned());
            }
        }
        let noted = self.note_changed(nodes.iter_mut().flat_map(|(_, windows)| windows).collect());
        let ((), lost) = join(noted, lost(self.run, self.system)).await;
        let scenario = &self.system.scenario;
        let logs = followed.read();
        let judge = |(probe, windows): (Option<&Probe>, Vec<Window>)| {
            (
                probe.map(Probe::node).unwrap_or_default().to_owned(),
                judge::judge(scenario, &self.cells, &windows, &logs),
            )
        };
        let judged = judge::across(nodes.into_iter().map(judge).collect());
        judge::registered(scenario, judged, &lost).into_iter().chain(untried).collect()
    }

    /// The windows of the entry's cells that are dialled from outside the cluster, or of those by this probe.
    async fn windows(
        &self,
        entry: &str,
        outside: bool,
        probe: Option<&Probe>,
        mark: &str,
        followed: &Followed,
    ) -> Vec<Window> {
        let here = |cell: &&Cell| cell.endpoint == entry && self.is_dialled_from(cell, outside);
        let cells = self.cells.iter().filter(here);
        let at = |cell: &Cell| {
            let places = self.places(cell, outside).into_iter();
            places.map(|place| (cell.clone(), place)).collect::<Vec<_>>()
        };
        let dials: Vec<_> = cells.flat_map(at).collect();
        if dials.is_empty() {
            return vec![];
        }
        let at_once = if outside || probe.is_none() { OUTSIDE } else { INSIDE };
        let round = Round { opened: self, followed, at_once, probe, mark: mark.into() };
        judge::settled(&round, &self.system.scenario, &self.cells, dials).await
    }

    /// Makes these dials, and reads the counters of all Envoys on their way before and after.
    async fn window(&self, round: &Round<'_>, dials: &[(Cell, Place)], word: &str) -> Window {
        let Round { followed, at_once, probe, mark, .. } = round;
        let word = &format!("{mark}{word}");
        let names: BTreeSet<&str> = dials.iter().flat_map(|(cell, _)| self.counted(cell)).collect();
        let before = self.read(&names).await;
        let made = dials.iter().map(async |(cell, place)| self.dialled(*probe, cell, place, word).await);
        let made = futures::stream::iter(made).buffered(*at_once).collect();
        let made: Vec<Dialled> = halt::beside(Halt::Window, made).await;
        let mut window = Window { dials: made, witnesses: self.witnesses(&names, &before).await };
        if window.is_short(&self.cells) {
            let look = async || {
                window.witnesses = self.witnesses(&names, &before).await;
                let is_short = window.is_short(&self.cells);
                let short = || Look::<(), Infallible>::NotYet("fewer are counted than clients saw".into());
                if is_short { short() } else { Look::Ready(()) }
            };
            let what = "Envoy to count the handshakes that it turned down";
            // What stays short is for the judge to tell.
            let _ = wait::poll(what, COUNTED, AGAIN, look).await;
        }
        let ends: BTreeSet<_> =
            dials.iter().map(|(cell, _)| judge::terminal(&self.system.scenario, &cell.endpoint)).collect();
        // What was turned down before a request could be sent is not waited for.
        let answered =
            window.dials.iter().filter(|dial| matches!(dial.observation.outcome, Outcome::Response { .. }));
        let ids: BTreeSet<_> = answered.map(|dial| dial.id.as_str()).collect();
        for end in ends {
            // As many as were forwarded must be named there; what was not forwarded has nothing to wait for.
            let forwarded = window.witnesses.get(end).map_or(0, Witness::forwarded);
            followed.settle(end, &ids, forwarded.min(ids.len() as u64)).await;
        }
        window
    }

    /// What was counted since `before`, by endpoint.
    async fn witnesses(&self, names: &BTreeSet<&str>, before: &Readings) -> BTreeMap<String, Witness> {
        let after = self.read(names).await;
        let witnesses = names.iter().filter_map(|name| {
            let (before, after) = (before.get(*name)?, after.get(*name)?);
            Some(((*name).to_owned(), self.targets.get(*name)?.witness(before, after)?))
        });
        witnesses.collect()
    }

    /// The endpoints on a cell's way, and the one that `expect.upstream` speaks of, whose Envoys count.
    fn counted(&self, cell: &Cell) -> impl Iterator<Item = &str> {
        let scenario = &self.system.scenario;
        let spoken =
            cell.expect.upstream.and_then(|_| scenario.endpoints.get(&cell.endpoint)?.upstream.as_deref());
        let all: Vec<_> = scenario
            .route(&cell.endpoint)
            .chain(spoken)
            .filter_map(|name| {
                let (name, target) = self.targets.get_key_value(name)?;
                target.is_counted().then_some(name.as_str())
            })
            .collect();
        all.into_iter()
    }

    async fn read(&self, names: &BTreeSet<&str>) -> Readings {
        let read = names.iter().filter_map(|name| {
            let target = self.targets.get(*name)?;
            Some(async move { ((*name).to_owned(), target.read().await) })
        });
        futures::future::join_all(read).await.into_iter().collect()
    }

    async fn dialled(&self, probe: Option<&Probe>, cell: &Cell, place: &Place, word: &str) -> Dialled {
        let pod =
            place.pod.as_deref().and_then(|pod| self.number_of(&cell.endpoint, pod)).unwrap_or_default();
        let id = format!("{}.{word}{pod}", cell.id);
        let observation = match self.dial(probe, cell, place, &id).await {
            Ok(observation) => observation,
            Err(error) => failed(&crate::sys::chain(&error)),
        };
        Dialled { id, cell: cell.id.clone(), pod: place.pod.clone(), observation, earlier: vec![] }
    }

    fn number_of(&self, endpoint: &str, pod: &str) -> Option<usize> {
        self.targets.get(endpoint)?.pods.iter().position(|one| one.backend.pod == pod)
    }

    pub(super) async fn dial(
        &self,
        probe: Option<&Probe>,
        cell: &Cell,
        place: &Place,
        id: &str,
    ) -> Result<Observation, StageError> {
        let scenario = &self.system.scenario;
        let declared = self.targets[&cell.endpoint].declared;
        let address = match &place.address {
            Ok(address) => address.clone(),
            Err(problem) => return Ok(failed(problem)),
        };
        let service = || declared.service.rsplit('/').next().unwrap_or_default().to_owned();
        let now = jiff::Timestamp::now();
        if let Some(over) = self.system.given.get(&cell.client).and_then(|one| one.is_over(&cell.client, now))
        {
            return Ok(failed(&over));
        }
        let authorization = match self.credentials.authorization_of(&cell.client, scenario) {
            Ok(authorization) => authorization,
            Err(problem) => return Ok(failed(&problem)),
        };
        let mut request = cell.request(id, &declared.dns.clone().unwrap_or_else(service));
        request.headers.extend(authorization);
        let domain = &scenario.trust_domain;
        let server = declared.identity.as_deref().map(|path| ServerProof {
            spiffe_id: scenario.spiffe_id(path),
            dns: declared.dns.clone(),
            anchors: self.credentials.anchors_of(&cell.client, domain),
        });
        let credential = self.credentials.of(&cell.client, scenario);
        let timeout_ms = u64::try_from(DIAL.as_millis()).unwrap_or(u64::MAX);
        let dial =
            Dial { address, credential, server, tls: cell.tls, sni: cell.sni.clone(), request, timeout_ms };
        if let Some(probe) = probe.filter(|_| !self.is_outside(cell)) {
            return Ok(probe.dial(dial).await?);
        }
        let seen = svidproof_probe::dial(&dial, &Identities::none()).await;
        Ok(self.credentials.ended(&cell.client).map_or(seen, |why| failed(&why)))
    }

    pub(super) fn is_outside(&self, cell: &Cell) -> bool {
        self.system.scenario.clients[&cell.client].is_outside()
    }

    /// Whether the cell is dialled through the published port, or else at each pod. Without a probe both are
    /// done from here, as far as either can be: what the published port leads to is one of the pods.
    pub(super) fn is_dialled_from(&self, cell: &Cell, outside: bool) -> bool {
        let target = &self.targets[&cell.endpoint];
        match (self.system.probes.is_empty(), outside) {
            (false, _) => self.is_outside(cell) == outside,
            (true, true) => self.is_published(&cell.endpoint, target),
            (true, false) => target.is_forwarded(),
        }
    }

    /// Whether it has an address outside of the cluster. A mistaken one is told by its dials.
    pub(super) fn is_published(&self, name: &str, target: &Target) -> bool {
        !matches!(self.outside(name, target), Err(StageError::NotPublished { .. }))
    }

    /// Every pod of the cell's endpoint, or the one address from outside.
    pub(super) fn places(&self, cell: &Cell, outside: bool) -> Vec<Place> {
        let target = &self.targets[&cell.endpoint];
        if outside {
            return vec![Place {
                pod: None,
                address: self.outside(&cell.endpoint, target).map_err(|e| e.to_string()),
            }];
        }
        target
            .pods
            .iter()
            .map(|pod| Place { pod: Some(pod.backend.pod.clone()), address: pod.address() })
            .collect()
    }

    /// Where the endpoint's published port is dialled from this machine.
    pub(super) fn outside(&self, name: &str, target: &Target) -> Result<String, StageError> {
        let published = target.declared.published;
        let of_provider = published.and_then(|published| self.run.record().cluster.mapped(published));
        if let Some(said) = published.and_then(|one| one.node_port).filter(|_| of_provider.is_some()) {
            leads_here(name, target.declared, target.resolved.node_port, said)?;
        }
        let of_cloud =
            target.resolved.ingress.as_ref().map(|host| format!("{host}:{}", target.declared.port));
        of_provider.as_ref().map(SocketAddr::to_string).or(of_cloud).ok_or_else(|| StageError::NotPublished {
            endpoint: name.into(),
            hint: "its Service has no address of a load balancer: give it the type LoadBalancer, or say a \
                   `node-port` and use the provider `kind`",
        })
    }

    /// What is not any more what it was when it was first looked at is no witness, and where nobody counts it
    /// was not what was asked.
    async fn note_changed(&self, mut windows: Vec<&mut Window>) {
        let scenario = &self.system.scenario;
        let looked = self.targets.iter().map(async |(name, target)| (name, target.changed(self.run).await));
        for (name, changed) in futures::future::join_all(looked).await {
            let Some(why) = changed else { continue };
            let is_on_the_way = |cell: &str| {
                let cell = self.cells.iter().find(|one| one.id == cell);
                cell.is_some_and(|cell| judge::route(scenario, &cell.endpoint).contains(&name.as_str()))
            };
            let pods: Vec<_> = self.targets[name].pods.iter().map(|pod| pod.backend.pod.as_str()).collect();
            for window in &mut windows {
                let counts = window.witnesses.contains_key(name);
                if counts || window.dials.iter().any(|dial| is_on_the_way(&dial.cell)) {
                    window.discredit(name, &pods, &why);
                }
            }
        }
    }
}

/// A node port is whose Service has it.
fn leads_here(name: &str, declared: &Endpoint, own: Option<u16>, said: u16) -> Result<(), StageError> {
    let Endpoint { service, port, .. } = declared;
    let is = match own {
        Some(own) if own == said => return Ok(()),
        Some(own) => format!("Service {service} has {own} for its port {port}"),
        None => format!("Service {service} has none for its port {port}"),
    };
    Err(StageError::OtherNodePort { endpoint: name.into(), said, is })
}

fn failed(detail: &str) -> Observation {
    let outcome = Outcome::Failed { kind: DialFailure::Unasked, detail: detail.into() };
    Observation { outcome, tls: None, timing: Timing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::one_check;

    #[test]
    fn who_answers_at_another_services_node_port_is_not_the_endpoint() {
        let scenario = one_check();
        let (name, declared) = scenario.endpoints.first_key_value().unwrap();
        let told = |own| leads_here(name, declared, own, 30443).map_err(|error| error.to_string());
        assert_eq!(told(Some(30443)), Ok(()));
        for (own, is) in [(Some(30444), "has 30444 for its port"), (None, "has none for its port")] {
            let why = told(own).unwrap_err();
            assert!(why.contains(is) && why.contains("published at node port 30443"), "{why}");
        }
    }
}
