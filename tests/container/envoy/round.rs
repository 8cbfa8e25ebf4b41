//! Dialling and reading at one Envoy, as a stage does at those of a cluster: which dials go together and which
//! again alone is the judge's own (`judge::settled`). What a stage takes of a scenario to make a dial is said
//! here once more: it has no cluster to ask.

use std::cell::Cell as Counter;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use svidproof::proof::envoy::{Meter, Stats};
use svidproof::proof::judge::{self, Dialled, Dialling, Judged, Logs, Window, Witness};
use svidproof::proof::plan::{Cell, plan};
use svidproof::scenario::Scenario;
use svidproof::sys::wait::{self, Look};
use svidproof_probe::protocol::{Dial, Observation, Outcome, ServerProof, TrustAnchors};
use svidproof_probe::{Identities, dial};

use super::Rig;

/// How long a request's line may take from nginx's standard output to here.
const LOG: Duration = Duration::from_secs(1);
/// As a stage waits for what is counted after the alert.
const COUNTED: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(10);
/// The one pod.
const POD: &str = "envoy";

/// Somebody else, who is there at this port in the first windows of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) port: u16,
    pub(crate) windows: usize,
    /// It only connects, as a kubelet's TCP probe does.
    pub(crate) knocks: bool,
}

/// A scenario's one stage at one Envoy.
pub(crate) struct Round<'a> {
    rig: &'a Rig,
    scenario: &'a Scenario,
    /// By endpoint.
    addresses: BTreeMap<&'a str, String>,
    meters: BTreeMap<&'a str, Result<Meter, String>>,
    crowd: Option<(String, Counter<usize>, bool)>,
}

/// The cells of a scenario's one stage. `run` sets them apart from those of other rounds.
pub(crate) fn plan_of(scenario: &Scenario, run: &str) -> Vec<Cell> {
    plan(scenario, &scenario.stages[0], run)
}

impl<'a> Round<'a> {
    /// `at` is the port of each endpoint.
    pub(crate) async fn new(
        rig: &'a Rig,
        scenario: &'a Scenario,
        at: impl Fn(&str) -> u16,
        crowd: Option<Crowd>,
    ) -> Self {
        let mut round =
            Self { rig, scenario, addresses: BTreeMap::new(), meters: BTreeMap::new(), crowd: None };
        for (name, endpoint) in &scenario.endpoints {
            round.addresses.insert(name, rig.address(at(name)).await);
            if endpoint.admin.is_some() {
                let meter = rig.config.at(at(name), endpoint.app_cluster.as_deref());
                round.meters.insert(name, meter.map_err(|error| error.to_string()));
            }
        }
        if let Some(crowd) = crowd {
            round.crowd = Some((rig.address(crowd.port).await, Counter::new(crowd.windows), crowd.knocks));
        }
        round
    }

    /// As [`Self::new`], with every endpoint at one address at which no Envoy counts.
    pub(crate) fn unwatched(rig: &'a Rig, scenario: &'a Scenario, address: &str) -> Self {
        let addresses = scenario.endpoints.keys().map(|name| (name.as_str(), address.to_owned()));
        Self { rig, scenario, addresses: addresses.collect(), meters: BTreeMap::new(), crowd: None }
    }

    /// Dials all cells, an endpoint after the other, and judges them.
    pub(crate) async fn judge(&self, cells: &[Cell]) -> Vec<Judged> {
        let mut windows = vec![];
        for endpoint in self.scenario.endpoints.keys() {
            let here = cells.iter().filter(|cell| cell.endpoint == *endpoint);
            let dials: Vec<_> = here.map(|cell| (cell.clone(), ())).collect();
            if !dials.is_empty() {
                windows.extend(Box::pin(judge::settled(self, self.scenario, cells, dials)).await);
            }
        }
        judge::judge(self.scenario, cells, &windows, &self.logs())
    }

    pub(crate) async fn dial(&self, cell: &Cell, id: &str) -> Observation {
        let address = self.addresses[cell.endpoint.as_str()].clone();
        self.dial_at(cell, address, id).await
    }

    async fn dial_at(&self, cell: &Cell, address: String, id: &str) -> Observation {
        let request = cell.request(id, "backend");
        let identity = self.scenario.endpoints[&cell.endpoint].identity.as_deref();
        let server = identity.map(|path| ServerProof {
            spiffe_id: self.scenario.spiffe_id(path),
            dns: None,
            anchors: TrustAnchors::Pem(self.rig.bundle.clone()),
        });
        let credential = self.rig.credentials[cell.client.as_str()].clone();
        let asked = Dial {
            address,
            credential,
            server,
            tls: cell.tls,
            sni: cell.sni.clone(),
            request,
            timeout_ms: 10_000,
        };
        dial(&asked, &Identities::none()).await
    }

    async fn witnesses(&self, names: &BTreeSet<&str>, before: &Stats) -> BTreeMap<String, Witness> {
        let after = self.rig.stats().await.unwrap_or_else(|error| panic!("{error}"));
        let witness = |name: &&str| Some(((*name).to_owned(), self.witness(name, before, &after)?));
        names.iter().filter_map(witness).collect()
    }

    fn witness(&self, endpoint: &str, before: &Stats, after: &Stats) -> Option<Witness> {
        let mut witness = Witness::default();
        let happened = match self.meters.get(endpoint)? {
            Ok(meter) => {
                witness.heed(meter);
                meter.between(before, after)
            }
            Err(why) => Err(why.clone()),
        };
        witness.pods.insert(POD.into(), happened);
        Some(witness)
    }

    /// Somebody else asks, whom no scenario speaks of.
    async fn disturb(&self, dials: &[(Cell, ())]) {
        let Some((address, left, knocks)) = &self.crowd else { return };
        if left.get() == 0 {
            return;
        }
        left.set(left.get() - 1);
        if *knocks {
            return drop(tokio::net::TcpStream::connect(address).await);
        }
        let mut cell = dials[0].0.clone();
        (cell.client, cell.method, cell.target) = ("friend".into(), "GET".into(), "/prices".into());
        self.dial_at(&cell, address.clone(), "-").await;
    }

    /// Waits until as many of these dials are named in the log as were forwarded. A line that does not come is
    /// for the judge to see.
    async fn settle(&self, ids: &BTreeSet<&str>, forwarded: u64) {
        let mut seen = self.rig.seen.clone();
        let enough = |seen: &BTreeSet<String>| {
            let named = seen.iter().filter(|id| ids.contains(id.as_str())).count() as u64;
            named >= forwarded.min(ids.len() as u64)
        };
        let _ = tokio::time::timeout(LOG, seen.wait_for(enough)).await;
    }
}

impl Dialling for Round<'_> {
    type Place = ();

    async fn window(&self, dials: &[(Cell, ())], word: &str) -> Window {
        let before = self.rig.stats().await.unwrap_or_else(|error| panic!("{error}"));
        self.disturb(dials).await;
        let made = dials.iter().map(async |(cell, ())| {
            let id = format!("{}.{word}", cell.id);
            let observation = self.dial(cell, &id).await;
            Dialled { id, cell: cell.id.clone(), pod: None, observation, earlier: vec![] }
        });
        let made = join_all(made).await;
        let entries: BTreeSet<_> = dials.iter().map(|(cell, ())| cell.endpoint.as_str()).collect();
        let names: BTreeSet<_> = entries.iter().flat_map(|entry| self.scenario.route(entry)).collect();
        let cells: Vec<_> = dials.iter().map(|(cell, ())| cell.clone()).collect();
        let mut window = Window { dials: made, witnesses: self.witnesses(&names, &before).await };
        if window.is_short(&cells) {
            let look = async || {
                window.witnesses = self.witnesses(&names, &before).await;
                let short = || Look::<(), String>::NotYet("fewer are counted than clients saw".into());
                if window.is_short(&cells) { short() } else { Look::Ready(()) }
            };
            // What stays short is for the judge to tell.
            let _ = wait::poll("Envoy to count what it turned down", COUNTED, AGAIN, look).await;
        }
        let answered =
            window.dials.iter().filter(|dial| matches!(dial.observation.outcome, Outcome::Response { .. }));
        let ids: BTreeSet<_> = answered.map(|dial| dial.id.as_str()).collect();
        for end in entries.iter().map(|entry| judge::terminal(self.scenario, entry)) {
            if self.scenario.endpoints[end].app_log.is_some() {
                self.settle(&ids, window.witnesses.get(end).map_or(0, Witness::forwarded)).await;
            }
        }
        window
    }

    fn logs(&self) -> Logs {
        let logging = self.scenario.endpoints.iter().filter(|(_, endpoint)| endpoint.app_log.is_some());
        logging.map(|(name, _)| (name.clone(), Ok(self.rig.seen.borrow().clone()))).collect()
    }
}
