//! A stage as the dials it takes: one cell for each client and request of each check. Dialling and judging
//! are others' work.

use std::collections::BTreeMap;

use svidproof_probe::protocol::{Http, Request, TlsVersions};

pub use crate::scenario::CELL_HEADER;
use crate::scenario::{Check, Client, Expect, Scenario, Source, Stage, written_out};

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
    /// As it goes on the wire; [`BYTES`] without HTTP.
    pub method: String,
    /// As the scenario writes it: see [`written_out`](crate::scenario::written_out). Without HTTP, the bytes
    /// that are sent, in Rust's escapes.
    pub target: String,
    /// The version that is spoken.
    pub http: Http,
    /// The versions that are offered.
    pub tls: TlsVersions,
    /// The server name that is sent, where it is not the endpoint's DNS name.
    pub sni: Option<String>,
    /// The `Host` or `:authority`, where the check has one of its own.
    pub authority: Option<String>,
    /// Those of the check, and [`CELL_HEADER`].
    pub headers: Vec<(String, String)>,
    /// The request's body, or all that is sent.
    pub body: Vec<u8>,
    /// Sent after the body.
    pub trailers: Vec<(String, String)>,
    /// What must come of it; nothing: it is recorded.
    pub expect: Expect,
    /// The check of the same stage that must hold for this cell to count.
    pub control: Option<String>,
    /// Why what is expected is not what should be.
    pub finding: Option<String>,
    /// Where its check is written.
    pub source: Source,
}

/// What stands for a method where there is none.
pub const BYTES: &str = "bytes";

impl Cell {
    /// Its number in its stage: the same in each plan of that.
    pub fn number(&self) -> &str {
        self.id.rsplit('.').next().unwrap_or_default()
    }

    /// What is sent for one dial of it, with an id of the dial's own. `authority` is the endpoint's.
    pub fn request(&self, id: &str, authority: &str) -> Request {
        let own = self.headers.iter().filter(|(name, _)| name != CELL_HEADER).cloned();
        Request {
            method: self.method.clone(),
            target: written_out(&self.target),
            authority: self.authority.as_deref().unwrap_or(authority).into(),
            http: self.http,
            headers: own.chain([(CELL_HEADER.into(), id.into())]).collect(),
            body: self.body.clone(),
            trailers: self.trailers.clone(),
            reply: self.expect.reply.as_ref().map_or(0, String::len),
        }
    }
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
        let (method, target, body) = match check.http {
            Http::None => (BYTES, send.escape_debug().to_string(), send.as_bytes().to_vec()),
            Http::Http1 | Http::Http2 => {
                let (method, target) = send.split_once(' ').unwrap_or((send, "/"));
                (method, target.to_owned(), check.sent.clone())
            }
        };
        let fields = |all: &BTreeMap<String, String>| all.clone().into_iter().collect::<Vec<_>>();
        let endpoint = scenario.endpoints.get(&check.to);
        Cell {
            scenario: scenario.name.clone(),
            stage: stage.name.clone(),
            check: check.name.clone(),
            client: client.into(),
            nobody: scenario.clients.get(client).is_some_and(Client::is_nobody),
            forged: scenario.clients.get(client).and_then(Client::credential).map(Into::into),
            endpoint: check.to.clone(),
            method: method.into(),
            target,
            http: check.http,
            tls: check.tls,
            sni: check.sni.clone().or_else(|| endpoint?.sni.clone()),
            authority: check.authority.clone(),
            headers: fields(&check.headers).into_iter().chain([(CELL_HEADER.into(), id.clone())]).collect(),
            body,
            trailers: fields(&check.trailers),
            expect: check.expect.clone(),
            control: stage.control_of(check, send).map(Into::into),
            finding: check.finding.clone(),
            source: scenario.source(check.place),
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

    const TEXT: &str = "
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
";

    fn world() -> Scenario {
        scenario::read_text(TEXT)
    }

    /// What a word stands for goes out, and what it says must come back.
    #[test]
    fn a_word_is_spelled_out() {
        let of = |keys: &str| {
            let again = "- {check: again, as: friend, to: backend, grpc: a.B/C, expect: {grpc-status: 0}}";
            let text =
                TEXT.replacen("send: GET /, expect: {status: 200}}", &format!("{keys}}}\n      {again}"), 1);
            let scenario = scenario::read_text(&text);
            let cell = plan(&scenario, &scenario.stages[0], "run").remove(0);
            (cell.request("id", "backend"), cell.expect)
        };
        let (call, expect) = of("grpc: a.B/C, body: abc, expect: {grpc-status: 7}, control: again");
        assert_eq!((call.method.as_str(), call.target.as_str(), call.http), ("POST", "/a.B/C", Http::Http2));
        assert_eq!(call.body, b"\0\0\0\0\x03abc");
        let has = |name: &str, value: &str| call.headers.contains(&(name.into(), value.into()));
        assert!(has("content-type", "application/grpc") && has("te", "trailers"), "{:?}", call.headers);
        assert_eq!((expect.status, expect.headers["grpc-status"].as_str()), (Some(200), "7"));
        assert!(expect.is_grpc_refusal());
        let own = "grpc: a.B/C, headers: {Content-Type: application/grpc+json}, expect: {grpc-status: 0}";
        assert!(!of(own).0.headers.contains(&("content-type".into(), "application/grpc".into())));
        let (opening, expect) = of("websocket: /chat, expect: {status: 101}");
        assert!(opening.headers.contains(&("sec-websocket-key".into(), "dGhlIHNhbXBsZSBub25jZQ==".into())));
        assert_eq!((opening.method.as_str(), opening.target.as_str()), ("GET", "/chat"));
        assert_eq!(expect.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (bytes, _) = of("http: none, send: \"PING\\r\\n\", expect: {reply: PONG}");
        assert_eq!((bytes.body.as_slice(), bytes.reply), (&b"PING\r\n"[..], 4));
        let (put, _) = of("send: PUT /, body: x, trailers: {x-end: a}, expect: {status: 200}");
        assert_eq!((put.body, put.trailers), (b"x".to_vec(), vec![("x-end".to_owned(), "a".into())]));
        assert_eq!(put.authority, "backend");
        assert_eq!(of("send: GET /, authority: other, expect: {status: 200}").0.authority, "other");
    }

    /// A check's own, else the endpoint's.
    #[test]
    fn the_nearest_server_name_is_sent() {
        let of = |endpoint: &str, check: &str| {
            let text = TEXT.replacen("admin: 1", &format!("admin: 1{endpoint}"), 1).replacen(
                "send: GET /",
                check,
                1,
            );
            let scenario = scenario::read_text(&text);
            plan(&scenario, &scenario.stages[0], "run").remove(0).sni
        };
        assert_eq!(of("", "send: GET /"), None);
        assert_eq!(of(", sni: a.b", "send: GET /").as_deref(), Some("a.b"));
        assert_eq!(of(", sni: a.b", "sni: c.d, send: GET /").as_deref(), Some("c.d"));
        assert_eq!(of("", "sni: '', send: GET /").as_deref(), Some(""));
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
