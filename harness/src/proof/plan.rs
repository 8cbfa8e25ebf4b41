//! A stage as the dials it takes: one cell for each client and request of each check. Dialling and judging
//! are others' work.

use svidproof_probe::protocol::{Http, TlsVersions};

pub use crate::scenario::CELL_HEADER;
use crate::scenario::{Check, Client, Expect, Scenario, Stage};

/// `RUN.SCENARIO.STAGE.NUMBER`: fit for a header and for a word in a log.
pub type CellId = String;

/// One dial, and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Unique across scenarios, stages and runs; fit for a header and for a word in a log.
    pub id: CellId,
    /// The scenario's name.
    pub scenario: String,
    /// The stage's name.
    pub stage: String,
    /// The check's name.
    pub check: String,
    /// Who dials, by the scenario's name for it.
    pub client: String,
    /// The client presents no certificate.
    pub nobody: bool,
    /// The name of the forged credential that it presents.
    pub forged: Option<String>,
    /// What is dialled, by the scenario's name for it.
    pub endpoint: String,
    /// As it goes on the wire.
    pub method: String,
    /// As the scenario writes it: see [`written_out`](crate::scenario::written_out).
    pub target: String,
    /// The version that is spoken.
    pub http: Http,
    /// The versions that are offered.
    pub tls: TlsVersions,
    /// Those of the check, and [`CELL_HEADER`].
    pub headers: Vec<(String, String)>,
    /// What must come of it; nothing: it is recorded.
    pub expect: Expect,
    /// The check of the same stage that must hold for this cell to count.
    pub control: Option<String>,
    /// Why what is expected is not what should be.
    pub finding: Option<String>,
}

/// The cells of a stage, in the order of the file. A control is a check of the stage, so its cells are among
/// them: nothing is dialled twice.
///
/// `run` sets this plan's cells apart from those of any other plan for the same cluster.
pub fn plan(scenario: &Scenario, stage: &Stage, run: &str) -> Vec<Cell> {
    let dials = stage.checks.iter().flat_map(|check| {
        let sends = move |client| check.send.iter().map(move |send| (check, client, send));
        check.clients.iter().flat_map(sends)
    });
    let cell = |(number, (check, client, send)): (usize, (&Check, &str, &str))| {
        let id = format!("{run}.{}.{}.{number}", scenario.name, stage.name);
        let (method, target) = send.split_once(' ').unwrap_or((send, "/"));
        let own = check.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        Cell {
            scenario: scenario.name.clone(),
            stage: stage.name.clone(),
            check: check.name.clone(),
            client: client.into(),
            nobody: scenario.clients.get(client).is_some_and(Client::is_nobody),
            forged: scenario.clients.get(client).and_then(Client::credential).map(Into::into),
            endpoint: check.to.clone(),
            method: method.into(),
            target: target.into(),
            http: check.http,
            tls: check.tls,
            headers: own.chain([(CELL_HEADER.into(), id.clone())]).collect(),
            expect: check.expect.clone(),
            control: stage.control_of(check, send).map(Into::into),
            finding: check.finding.clone(),
            id,
        }
    };
    dials.enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{self, Check, OneOrMany};

    fn world() -> Scenario {
        scenario::read_text(
            "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints:
  backend: {service: a/backend, port: 443, identity: /backend, admin: 1}
clients: {nobody: none, friend: /friend, stranger: /stranger}
stages:
  - stage: one
    checks:
      - {check: served, as: friend, to: backend, send: GET /, expect: {status: 200}}
",
        )
    }

    fn names(of: &'static [&'static str]) -> impl Strategy<Value = OneOrMany> {
        let many = proptest::sample::subsequence(of, 1..=of.len())
            .prop_map(|names| names.into_iter().map(Into::into).collect());
        prop_oneof![
            proptest::sample::select(of).prop_map(|name| OneOrMany::One(name.into())),
            many.prop_map(OneOrMany::Many)
        ]
    }

    fn checks() -> impl Strategy<Value = Vec<Check>> {
        let one = (names(&["nobody", "friend", "stranger"]), names(&["GET /a", "POST /a", "GET /a/../b"]));
        let base = world().stages[0].checks[0].clone();
        proptest::collection::vec(one, 0..8).prop_map(move |all| {
            let check = |(number, (clients, send))| Check {
                name: format!("check {number}"),
                clients,
                send,
                ..base.clone()
            };
            all.into_iter().enumerate().map(check).collect()
        })
    }

    proptest! {
        #[test]
        fn every_client_sends_every_request_of_its_check_once_in_order_under_an_id_of_its_own(checks in checks()) {
            let mut scenario = world();
            scenario.stages[0].checks = checks;
            let stage = &scenario.stages[0];
            let cells = plan(&scenario, stage, "run");
            let wanted = stage.checks.iter().flat_map(|check| {
                check.clients.iter().flat_map(move |client| check.send.iter().map(move |send| (check.name.as_str(), client, send.to_owned())))
            });
            let planned = cells.iter().map(|cell| (cell.check.as_str(), cell.client.as_str(), format!("{} {}", cell.method, cell.target)));
            prop_assert_eq!(planned.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            let ids: BTreeSet<_> = cells.iter().map(|cell| cell.id.as_str()).collect();
            prop_assert_eq!(ids.len(), cells.len());
            for cell in &cells {
                prop_assert_eq!(cell.nobody, cell.client == "nobody");
                prop_assert!(cell.headers.contains(&(CELL_HEADER.to_owned(), cell.id.clone())));
            }
            prop_assert_eq!(&plan(&scenario, stage, "run"), &cells);
            let other: Vec<_> = plan(&scenario, stage, "other");
            prop_assert!(other.iter().all(|cell| !ids.contains(cell.id.as_str())));
        }
    }
}
