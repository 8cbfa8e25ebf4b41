//! A world of three endpoints, and windows as a stage makes them: all dials of an endpoint together, and each
//! alone where that does not settle who answered. What its servers count follows from who answered in truth,
//! which each test says; a lie is told afterwards. Counting here shares nothing with the judge's own.

mod again;
mod any_answer;
mod attribution;
mod bytes;
mod content;
mod cut_off;
mod deciders;
mod pods;
mod properties;
mod rounds;
mod strangers;
mod verdicts;

use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Timing, Tls, TlsVersions};

use super::attribution::route;
use super::words::RBAC_DENIED;
use super::*;
use crate::alert::{self, AlertName};
use crate::proof::envoy::{Happened, Marks};
use crate::proof::response;
use crate::scenario::{self, Expect, Kind};

/// A page whose application asks `backend`; a proxy that forwards to `backend`; `backend` with its
/// application's log.
fn world() -> Scenario {
    scenario::read_text(
        "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints:
  page: {service: a/page, port: 80, upstream: backend}
  proxy: {service: a/proxy, port: 443, identity: /proxy, admin: 1, upstream: backend}
  backend: {service: a/backend, port: 443, identity: /backend, admin: 1, app-log: app}
clients: {nobody: none, friend: /friend, stranger: /stranger}
stages:
  - stage: one
    checks:
      - {check: served, as: friend, to: backend, send: GET /, expect: {status: 200}}
",
    )
}

/// [`world`] without the application's log.
fn world_without_log() -> Scenario {
    let mut scenario = world();
    scenario.endpoints.get_mut("backend").unwrap().app_log = None;
    scenario
}

fn cell(check: &str, client: &str, endpoint: &str, expect: Expect) -> Cell {
    Cell {
        id: check.into(),
        scenario: "world".into(),
        stage: "one".into(),
        check: check.into(),
        client: client.into(),
        nobody: client == "nobody",
        forged: None,
        endpoint: endpoint.into(),
        method: "GET".into(),
        target: "/".into(),
        http: Http::Http1,
        tls: TlsVersions::Any,
        sni: None,
        authority: None,
        headers: vec![],
        body: vec![],
        trailers: vec![],
        control: expect.is_refusal().then(|| format!("control {endpoint}")),
        finding: None,
        source: scenario::Source::default(),
        expect,
    }
}

fn status(status: u16) -> Expect {
    Expect { status: Some(status), ..Expect::default() }
}

fn by(by: By, status: u16) -> Expect {
    Expect { status: Some(status), by: Some(by), ..Expect::default() }
}

fn alert_named(name: &str) -> Expect {
    Expect { alert: Some(AlertName::Name(name.into())), ..Expect::default() }
}

/// An alert, and what it says that Envoy counted where the alert does not tell it.
fn forged(alert: &str, counts: Option<Kind>) -> Expect {
    Expect { counts, ..alert_named(alert) }
}

fn grpc(status: &str) -> Expect {
    Expect { headers: BTreeMap::from([("grpc-status".into(), status.into())]), ..self::status(200) }
}

/// What a dial saw, and who gave it in truth.
#[derive(Debug, Clone)]
struct Met {
    seen: Observation,
    origin: Origin,
}

impl Met {
    fn by(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        if let Outcome::Response { headers, .. } = &mut self.seen.outcome {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// With Envoy's time of an upstream.
    fn timed(self) -> Self {
        self.bare().header("x-envoy-upstream-service-time", "1")
    }

    /// Without it.
    fn bare(mut self) -> Self {
        if let Outcome::Response { headers, .. } = &mut self.seen.outcome {
            headers.retain(|(name, _)| name != "x-envoy-upstream-service-time");
        }
        self
    }
}

fn seen(outcome: Outcome) -> Observation {
    Observation { outcome, tls: None, timing: Timing::default() }
}

fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Observation {
    seen(response(status, headers, body))
}

/// By the application, through Envoy.
fn answered(status: u16, body: &str) -> Met {
    let headers = [("server", "envoy"), ("x-envoy-upstream-service-time", "1")];
    Met { seen: respond(status, &headers, body), origin: Origin::Application }
}

/// By the first Envoy itself.
fn local(status: u16, body: &str) -> Met {
    Met { seen: respond(status, &[("server", "envoy")], body), origin: Origin::Envoy(0) }
}

/// By the first Envoy's policy.
fn denied() -> Met {
    local(403, RBAC_DENIED).by(Origin::Denied(Kind::Denied, 0))
}

/// By the second Envoy's policy.
fn denied_behind() -> Met {
    answered(403, RBAC_DENIED).by(Origin::Denied(Kind::Denied, 1))
}

/// A gRPC call that the first Envoy's policy denied: nothing but trailers came.
fn denied_call() -> Met {
    local(200, "")
        .header("grpc-status", "7")
        .header("grpc-message", RBAC_DENIED)
        .by(Origin::Denied(Kind::Denied, 0))
}

fn refused(number: u8, kind: Kind) -> Met {
    Met { seen: seen(Outcome::Alert { number }), origin: Origin::Handshake(kind) }
}

fn no_cert() -> Met {
    refused(116, Kind::NoCert)
}

fn wrong_san() -> Met {
    refused(46, Kind::San)
}

fn failed(kind: DialFailure) -> Met {
    Met { seen: seen(Outcome::Failed { kind, detail: "detail".into() }), origin: Origin::Uncounted }
}

fn impostor() -> Met {
    let reason = "wrong ID".into();
    Met { seen: seen(Outcome::ServerRefused { reason }), origin: Origin::Handshake(Kind::Broken) }
}

fn counted(field: impl Fn(&mut Counted)) -> Counted {
    let mut counted = Counted::default();
    field(&mut counted);
    counted
}

/// What honest Envoys count for one dial.
fn caused(scenario: &Scenario, cell: &Cell, met: &Met) -> Vec<(String, Counted)> {
    let way = route(scenario, &cell.endpoint);
    let way = if cell.expect.upstream.is_some() { &way[..1] } else { &way[..] };
    let at = |hop: usize, what: Counted| (way[hop].to_owned(), what);
    let through = |hops: usize| (0..hops).map(move |hop| at(hop, counted(|all| all.forwarded = 1)));
    let mut caused: Vec<_> = match met.origin {
        Origin::Handshake(kind) => vec![at(0, kind.once())],
        Origin::Denied(kind, hop) => through(hop).chain([at(hop, kind.once())]).collect(),
        Origin::Envoy(hop) => through(hop).collect(),
        Origin::Unanswered(hop) => through(hop + 1).collect(),
        Origin::Application => through(way.len()).collect(),
        Origin::CutOff(cut) => vec![at(0, cut.once())],
        Origin::Uncounted => vec![],
    };
    if let (Some(asked), Origin::Application) = (cell.expect.upstream, met.origin)
        && let Some(upstream) = &scenario.endpoints[&cell.endpoint].upstream
    {
        caused.push((upstream.clone(), asked));
    }
    caused
}

/// A stage: what was dialled, what was seen, what the servers say.
#[derive(Debug, Clone)]
struct Scene {
    scenario: Scenario,
    cells: Vec<Cell>,
    windows: Vec<Window>,
    logs: Logs,
}

impl Scene {
    /// With a control at each endpoint with TLS, which is served; the evidence fits.
    fn new(cases: Vec<(Cell, Met)>) -> Self {
        Self::of(world(), Marks::default(), cases)
    }

    fn one(cell: Cell, met: Met) -> Self {
        Self::new(vec![(cell, met)])
    }

    fn of(scenario: Scenario, marks: Marks, cases: Vec<(Cell, Met)>) -> Self {
        let controls = ["backend", "proxy"].map(|endpoint| {
            (cell(&format!("control {endpoint}"), "friend", endpoint, status(200)), answered(200, "ok"))
        });
        Self::exactly(scenario, marks, &controls.into_iter().chain(cases).collect::<Vec<_>>())
    }

    /// Without controls of its own.
    fn exactly(scenario: Scenario, marks: Marks, cases: &[(Cell, Met)]) -> Self {
        let mut logs = Logs::new();
        if scenario.endpoints["backend"].app_log.is_some() {
            let logged = cases.iter().filter(|(cell, met)| {
                met.origin == Origin::Application && route(&scenario, &cell.endpoint).ends_with(&["backend"])
            });
            let ids = logged.flat_map(|(cell, _)| ["a", "b"].map(|word| format!("{}.{word}", cell.id)));
            logs.insert("backend".into(), Ok(ids.collect()));
        }
        let cells = cases.iter().map(|(cell, _)| cell.clone()).collect();
        let mut scene = Self { scenario, cells, windows: vec![], logs };
        for entry in ["page", "proxy", "backend"] {
            let here = cases.iter().filter(|(cell, _)| cell.endpoint == entry);
            let (mut alone, together): (Vec<_>, Vec<_>) =
                here.partition(|(cell, _)| cell.expect.upstream.is_some());
            if !together.is_empty() {
                let window = scene.window(marks, &together, "a");
                if is_settled(&scene.scenario, &scene.cells, &window, &scene.logs) {
                    scene.windows.push(window);
                } else {
                    alone.extend(together);
                }
            }
            for one in alone {
                let window = scene.window(marks, &[one], "b");
                scene.windows.push(window);
            }
        }
        scene
    }

    /// What honest Envoys say of these dials.
    fn window(&self, marks: Marks, cases: &[&(Cell, Met)], word: &str) -> Window {
        let dial = |(cell, met): &&(Cell, Met)| Dialled {
            id: format!("{}.{word}", cell.id),
            cell: cell.id.clone(),
            pod: None,
            observation: met.seen.clone(),
            earlier: vec![],
        };
        let mut witnesses = BTreeMap::new();
        for (cell, met) in cases {
            let way = route(&self.scenario, &cell.endpoint).into_iter().map(ToOwned::to_owned);
            let upstream = self.scenario.endpoints[&cell.endpoint].upstream.clone();
            let asked = caused(&self.scenario, cell, met);
            for name in way.chain(cell.expect.upstream.and(upstream)) {
                if self.scenario.endpoints[&name].gives_evidence() {
                    witnesses.entry(name).or_insert_with(|| witness(marks, &[("p", Counted::default())]));
                }
            }
            for (name, what) in asked {
                if let Some(Ok(happened)) =
                    witnesses.get_mut(&name).and_then(|witness: &mut Witness| witness.pods.get_mut("p"))
                {
                    happened.counted = happened.counted + what;
                }
            }
            for name in self.passed(cell, met) {
                if let Some(Ok(happened)) =
                    witnesses.get_mut(&name).and_then(|witness: &mut Witness| witness.pods.get_mut("p"))
                {
                    happened.requests += u64::from(matches!(met.seen.outcome, Outcome::Response { .. }));
                    happened.connections += 1;
                }
            }
        }
        Window { dials: cases.iter().map(dial).collect(), witnesses }
    }

    /// The endpoints that a connection is made to for one dial.
    fn passed(&self, cell: &Cell, met: &Met) -> Vec<String> {
        let way = route(&self.scenario, &cell.endpoint);
        let way = if cell.expect.upstream.is_some() { &way[..1] } else { &way[..] };
        let count = match met.origin {
            Origin::Denied(_, hop) | Origin::Envoy(hop) | Origin::Unanswered(hop) => hop + 1,
            Origin::Application => way.len(),
            Origin::Handshake(_) => 1,
            Origin::CutOff(cut) => usize::from(cut != CutOff::NoChain),
            Origin::Uncounted => usize::from(!matches!(met.seen.outcome, Outcome::Failed { .. })),
        };
        let asked = cell.expect.upstream.and(self.scenario.endpoints[&cell.endpoint].upstream.clone());
        way.iter().take(count).map(|name| (*name).to_owned()).chain(asked).collect()
    }

    fn judge(&self) -> Vec<Judged> {
        judge(&self.scenario, &self.cells, &self.windows, &self.logs)
    }

    /// The last cell, which the test is about.
    fn last(&self) -> (Verdict, String) {
        let judged = self.judge().pop().unwrap();
        (judged.verdict, judged.reason)
    }

    fn last_by(&self) -> Option<By> {
        self.judge().pop().unwrap().by
    }

    /// The window that has the last cell's dial.
    fn last_window(&mut self) -> &mut Window {
        let id = &self.cells.last().unwrap().id;
        self.windows.iter_mut().find(|window| window.dials.iter().any(|dial| dial.cell == *id)).unwrap()
    }

    /// The last cell's dial.
    fn last_dial(&mut self) -> &mut Dialled {
        let id = self.cells.last().unwrap().id.clone();
        self.last_window().dials.iter_mut().find(|dial| dial.cell == id).unwrap()
    }

    /// What an endpoint says of the window of the last cell.
    fn says(&mut self, endpoint: &str) -> &mut Happened {
        self.last_window().witnesses.get_mut(endpoint).unwrap().pods.get_mut("p").unwrap().as_mut().unwrap()
    }

    fn counted(&mut self) -> &mut Counted {
        &mut self.says("backend").counted
    }

    fn log(&mut self) -> &mut BTreeSet<DialId> {
        self.logs.get_mut("backend").unwrap().as_mut().unwrap()
    }

    /// As if the application had, or had not, logged the last cell's request.
    fn logged(&mut self, logged: bool) {
        let id = self.last_dial().id.clone();
        if logged {
            self.log().insert(id);
        } else {
            self.log().remove(&id);
        }
    }
}

fn witness(marks: Marks, pods: &[(&str, Counted)]) -> Witness {
    let pods = pods.iter().map(|(name, counted)| {
        let Counted { no_cert, san, chain, broken, denied, forwarded, .. } = *counted;
        let by_others = counted.authz_denied + counted.authz_error + counted.jwt_denied;
        let requests = denied + by_others + forwarded;
        let connections = requests + no_cert + san + chain + broken;
        ((*name).to_owned(), Ok(Happened { counted: *counted, requests, connections, ..Happened::default() }))
    });
    Witness { marks, remarks: vec![], speaks_http: true, passes_bytes: false, pods: pods.collect() }
}

#[track_caller]
fn assert_last(scene: &Scene, verdict: Verdict, reason: &str) {
    let last = scene.last();
    assert!(last.0 == verdict && last.1.contains(reason), "{verdict:?} with {reason:?} was to be: {last:?}");
}
