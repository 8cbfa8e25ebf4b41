//! A report as a large run would make it: two scenarios, every verdict, findings, and texts that break what
//! is careless with them.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use jiff::Timestamp;
use svidproof::alert;
use svidproof::proof::hops::{Found, Hop, Walk, walk};
use svidproof::proof::judge::{Account, Control, Judged};
use svidproof::proof::plan::{Cell, plan};
use svidproof::proof::verdict::Verdict;
use svidproof::report::Report;
use svidproof::scenario::{self, Counted};
use svidproof::sys::progress::Phase;
use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome, Timing, Tls};

/// Where the two scenarios are that it is made of, whichever package has its tests.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../harness/tests/sample");

/// Ends the page's data, begins a comment in them, leaves the string and the attribute, and is no XML.
pub(crate) const AWKWARD: &str = "</script><script>window.broken = true</script><!-- <script> \
    \"quoted\" 'too' & \
    <img src=x onerror=\"window.broken = true\"> \
    \\u003c @DATA@ ]]> \u{1b}[31mred\u{1b}[0m \u{0} Zażółć gęślą jaźń 😀 \u{202e}thgir";
pub(crate) const FINDING: &str = "Envoy takes a leaf with two URI SANs where one of them is on the list; \
    the X.509-SVID standard forbids it (section 2)";

pub(crate) fn report() -> Report {
    let judged: Vec<Judged> = ["symbank.yaml", "front-proxy.yaml"]
        .iter()
        .flat_map(|file| cells(file))
        .enumerate()
        .map(judged)
        .collect();
    let versions = [
        ("envoy", "1.39.0"),
        ("spire", "1.15.2"),
        ("kubernetes", "1.36.3"),
        ("nginx", "1.30.1"),
        ("kind", "0.32.0"),
    ];
    let versions =
        versions.into_iter().map(|(part, version)| (part.to_owned(), version.to_owned())).collect();
    let started: Timestamp = "2026-03-01T09:30:00.5Z".parse().unwrap();
    let mut report = Report::new("5f3a91c2", "kind", "packages", &versions, started, phases(), &judged);
    report.svidproof = "0.0.0";
    for row in &mut report.checks {
        row.finding =
            (row.client.starts_with("two-uris") && row.stage != "profiles-only").then(|| FINDING.to_owned());
    }
    let last = report.checks.last_mut().unwrap();
    last.check = AWKWARD.into();
    last.reason = format!("{AWKWARD}\n{}", "a long body 0123456789 ".repeat(1000));
    last.send = format!("GET /{}", "a".repeat(8192));
    last.expected.body = Some(AWKWARD.into());
    last.finding = Some(AWKWARD.into());
    report
}

fn cells(file: &str) -> Vec<Cell> {
    let scenario = scenario::load(&Path::new(FOLDER).join(file)).unwrap();
    scenario.stages.iter().flat_map(|stage| plan(&scenario, stage, "r")).collect()
}

fn judged((number, cell): (usize, Cell)) -> Judged {
    let as_expected = match (&cell.expect.alert, cell.expect.status) {
        (Some(name), _) => Outcome::Alert { number: alert::number(name).unwrap() },
        (None, status) => response(status.unwrap()),
    };
    let (verdict, reason, outcome) = match (cell.stage.as_str(), cell.client.as_str(), cell.target.as_str()) {
        ("only-frontend", "allowed-and-slash", _) => {
            (Verdict::Failed, "expected alert 46 certificate_unknown, saw 200", Some(response(200)))
        }
        ("profiles-only", "frontend", "/profiles/../balances/balance_1") => (
            Verdict::Failed,
            "expected 403 RBAC: access denied, saw 200 with {\"balance\": 10.95}",
            Some(response(200)),
        ),
        ("both-frontends", "expired", _) => {
            let timed_out =
                Outcome::Failed { kind: DialFailure::TimedOut, detail: "no answer within 10 s".into() };
            (
                Verdict::Errored,
                "neither an answer nor a refusal: timed out: no answer within 10 s",
                Some(timed_out),
            )
        }
        ("both-frontends", "not-yet-valid", _) => (
            Verdict::Flaky,
            "neither an answer nor a refusal: timed out\ntried once more, it passed",
            Some(as_expected),
        ),
        ("closed", "laptop", "/echo") => {
            (Verdict::Errored, "Envoy counted 1 request more than the clients sent", Some(as_expected))
        }
        ("closed", _, "/headers") => (Verdict::Skipped, "the stage's chart has no such route", None),
        ("closed", "nobody", _) => {
            (Verdict::Failed, "expected alert 116 certificate_required, saw 200", Some(response(200)))
        }
        // A cell of a surface: nothing is expected of it.
        ("open", "laptop", _) if cell.method == "OPTIONS" => (Verdict::Recorded, "", Some(as_expected)),
        _ => (Verdict::Passed, "", Some(as_expected)),
    };
    let tls = Tls {
        version: if number % 3 == 0 { "1.2" } else { "1.3" }.into(),
        alpn: None,
        peer_id: Some(format!("spiffe://example.org/{}", cell.endpoint)),
        peer_dns: vec![],
        peer_chain: vec![],
    };
    let done_us = 1_200 + 37 * (number as u64 % 90);
    let tallied = Counted { no_cert: 2, san: 14, forwarded: 21, ..Counted::default() };
    let counted = if verdict == Verdict::Errored { Counted { forwarded: 22, ..tallied } } else { tallied };
    let reached = outcome.as_ref().map(|outcome| matches!(outcome, Outcome::Response { status: 200, .. }));
    Judged {
        by: None,
        cut_off: None,
        observed: outcome.map(|outcome| Observation {
            outcome,
            tls: Some(tls),
            timing: Timing { done_us, ..Timing::default() },
        }),
        verdict,
        reason: reason.into(),
        evidence: vec![Account { endpoint: cell.endpoint.clone(), counted: Some(counted), tallied, reached }],
        control: cell.control.clone().map(|check| Control { check, held: true }),
        hop: hop(verdict),
        cell,
    }
}

/// As a gatherer finds it where a cell did not pass.
fn hop(verdict: Verdict) -> Option<Walk> {
    let broken = Found::broken(
        Hop::Selectors,
        "endpoint backend",
        "pod backend-7: the pod has app=front, the entry selects app=frontend",
        "each selector of an entry must hold for the pod",
    );
    let unread = Found::unread(Hop::Agent, "client frontend", "could not be read: 403 Forbidden");
    match verdict {
        Verdict::Failed => walk(&[broken]),
        Verdict::Errored => walk(&[broken, unread]),
        _ => None,
    }
}

fn response(status: u16) -> Outcome {
    Outcome::Response {
        status,
        http: Http::Http1,
        headers: vec![],
        body: "{}".into(),
        body_cut: false,
        trailers: vec![],
    }
}

/// The two scenarios come up and are checked side by side.
fn phases() -> Vec<Phase> {
    let phases = [
        ("container engine", 0.0, 1.2),
        ("images", 1.2, 8.4),
        ("cluster (kind)", 9.6, 31.0),
        ("symbank: SPIRE server, bundle and entries", 40.6, 9.1),
        ("front-proxy: SPIRE server, bundle and entries", 40.7, 9.9),
        ("symbank: SPIRE agent", 49.7, 3.2),
        ("front-proxy: SPIRE agent", 50.6, 3.0),
        ("symbank: workloads and probe", 52.9, 7.5),
        ("front-proxy: workloads and probe", 53.6, 8.8),
        ("symbank: both-frontends", 60.4, 1.1),
        ("symbank: only-frontend", 61.5, 4.2),
        ("front-proxy: open", 62.4, 1.0),
        ("front-proxy: closed", 63.4, 4.4),
        ("symbank: profiles-only", 65.7, 3.9),
        ("teardown", 69.6, 2.3),
    ];
    phases.into_iter().map(|(name, started, seconds)| Phase { name: name.into(), started, seconds }).collect()
}
