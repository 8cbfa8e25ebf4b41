//! What a run tells its reader: one [`Report`], written as JSON, as JUnit, as a page, as tables for a
//! terminal and for GitHub, as GitHub's annotations and as SARIF. Not for
//! judging, and not for writing files.

pub mod console;
pub mod github;
pub mod html;
mod json;
pub mod junit;
pub mod markdown;
mod problems;
pub mod sarif;
pub mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome};

use crate::alert;
use crate::forge::{self, Clause, Recipe};
use crate::proof::chart_test::ChartTest;
use crate::proof::hops::Walk;
use crate::proof::judge::{self, Account, Control, Judged};
use crate::proof::verdict::{Totals, Verdict};
use crate::scenario::{CutOff, Expect, Source};
use crate::surface;
use crate::sys::progress::Phase;

/// `report.json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// The version that made it.
    pub svidproof: &'static str,
    /// The run's id.
    pub run: String,
    /// Where the cluster came from: `kind`, `gke` or `existing`.
    pub provider: String,
    /// Where the images came from.
    pub images: String,
    /// What is in the images: part -> version; none where the cluster brought its own. And `helm`: which one
    /// installed, and whether it is that of PATH or was built.
    pub versions: BTreeMap<String, String>,
    /// When the run began.
    pub started: Timestamp,
    /// In the order in which they ended.
    pub phases: Vec<Phase>,
    /// A row a cell, in the order of the scenarios.
    pub checks: Vec<Row>,
    /// What `helm test` came to, where a release asks for it. Absent where none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helm_tests: Vec<ChartTest>,
    /// How many cells and Helm tests came to which verdict.
    pub totals: Totals,
    /// What kept the rest of the cells from being judged. Absent where nothing did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// One cell.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// The stage's name.
    pub stage: String,
    /// The check's name; several cells may be of one check.
    pub check: String,
    /// Where the check is written.
    #[serde(flatten)]
    pub source: Source,
    /// Who dialled.
    #[serde(rename = "as")]
    pub client: String,
    /// The endpoint that was dialled.
    pub to: String,
    /// `METHOD TARGET`.
    pub send: String,
    /// The request and what came of it as the surface has them, which is what `svidproof diff` compares.
    pub request: String,
    /// What came of it, in the words of the surface.
    pub got: String,
    /// What the scenario asks for.
    pub expected: Expect,
    /// What the client saw; nothing where it was not dialled.
    pub observed: Option<Observed>,
    /// The check that must hold for a refusal to count.
    pub control: Option<Control>,
    /// For each endpoint whose evidence bears on this cell.
    pub evidence: Vec<Account>,
    /// What became of it.
    pub verdict: Verdict,
    /// Empty where it passed.
    pub reason: String,
    /// Where it did not pass: the first hop on its way that is broken, and what of the hops before that could
    /// not be read. Absent where all hops are well, or nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<Walk>,
    /// Where it passed and yet surprises: in a few words. What was not seen is no finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// From the dial to its end.
    pub milliseconds: Option<f64>,
    /// Where the client's credential is forged: what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forged: Option<ForgedCredential>,
}

/// Why a credential is no good, and where that is laid down.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ForgedCredential {
    /// Its name in `fixtures/credentials/forged.yaml`.
    pub credential: String,
    /// What is wrong with it, in one sentence.
    pub why: String,
    /// The place in a standard that says so.
    pub clause: Clause,
}

/// What the client saw.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Observed {
    /// How the dial ended.
    #[serde(flatten)]
    pub outcome: Seen,
    /// The TLS version, where the handshake came that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The SPIFFE ID that the server proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    #[serde(skip)]
    words: String,
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Seen {
    /// An HTTP answer came.
    Response {
        /// Its status.
        status: u16,
        /// The answer's HTTP version.
        #[serde(with = "schema::HttpVersion")]
        http: Http,
    },
    /// Without HTTP: bytes came back.
    Bytes {
        /// The first of them; what is not UTF-8 is replaced.
        text: String,
    },
    /// The server refused with a TLS alert.
    Alert {
        /// Its number.
        alert: u8,
        /// The RFC's name for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
        /// BoringSSL's name for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        boringssl: Option<&'static str>,
    },
    /// The client did not accept who the server is.
    ServerRefused {
        /// In the words of the TLS library.
        reason: String,
    },
    /// Neither an answer nor a refusal came.
    Failed {
        /// What went wrong.
        #[serde(with = "schema::FailureKind")]
        kind: DialFailure,
        /// More about it.
        detail: String,
    },
}

impl Report {
    /// The report of a run, out of what was judged.
    pub fn new(
        run: &str,
        provider: &str,
        images: &str,
        versions: &BTreeMap<String, String>,
        started: Timestamp,
        phases: Vec<Phase>,
        judged: &[Judged],
    ) -> Self {
        Self {
            svidproof: env!("CARGO_PKG_VERSION"),
            run: run.into(),
            provider: provider.into(),
            images: images.into(),
            versions: versions.clone(),
            started,
            phases,
            checks: judged.iter().map(Row::new).collect(),
            totals: judged.iter().map(|judged| judged.verdict).collect(),
            helm_tests: vec![],
            errors: vec![],
        }
    }

    /// With what `helm test` came to.
    #[must_use]
    pub fn with_tests(self, tests: Vec<ChartTest>) -> Self {
        let verdicts = self.checks.iter().map(|row| row.verdict).chain(tests.iter().map(|test| test.verdict));
        let totals = verdicts.collect();
        Self { totals, helm_tests: tests, ..self }
    }
}

impl Row {
    fn new(judged: &Judged) -> Self {
        let cell = &judged.cell;
        Self {
            scenario: cell.scenario.clone(),
            stage: cell.stage.clone(),
            check: cell.check.clone(),
            source: cell.source.clone(),
            client: cell.client.clone(),
            to: cell.endpoint.clone(),
            send: format!("{} {}", cell.method, cell.target),
            request: surface::request(cell),
            got: surface::Got::of(judged).as_str().into(),
            expected: cell.expect.clone(),
            observed: judged.observed.as_ref().map(|observed| Observed::new(observed, judged.cut_off)),
            control: judged.control.clone(),
            evidence: judged.evidence.clone(),
            verdict: judged.verdict,
            reason: judged.reason.clone(),
            hop: judged.hop.clone(),
            finding: cell.finding.clone().filter(|_| judged.verdict == Verdict::Passed),
            milliseconds: judged.observed.as_ref().map(|observed| milliseconds(observed.timing.done_us)),
            forged: cell.forged.as_deref().and_then(ForgedCredential::new),
        }
    }
}

impl ForgedCredential {
    fn new(credential: &str) -> Option<Self> {
        let Recipe { why, clause, .. } = forge::recipe(credential)?;
        Some(Self { credential: credential.into(), why: why.clone(), clause: clause.clone() })
    }
}

impl Observed {
    fn new(observation: &Observation, cut_off: Option<CutOff>) -> Self {
        let outcome = match &observation.outcome {
            Outcome::Response { status, http, .. } => Seen::Response { status: *status, http: *http },
            Outcome::Bytes { text } => Seen::Bytes { text: text.clone() },
            Outcome::Alert { number } => {
                let known = alert::by_number(*number);
                let boringssl = known.map(|alert| alert.boringssl).filter(|name| !name.is_empty());
                Seen::Alert { alert: *number, name: known.map(|alert| alert.name), boringssl }
            }
            Outcome::ServerRefused { reason } => Seen::ServerRefused { reason: reason.clone() },
            Outcome::Failed { kind, detail } => Seen::Failed { kind: *kind, detail: detail.clone() },
        };
        Self {
            outcome,
            tls: observation.tls.as_ref().map(|tls| tls.version.clone()),
            peer_id: observation.tls.as_ref().and_then(|tls| tls.peer_id.clone()),
            words: cut_off
                .map_or_else(|| judge::seen_in_words(&observation.outcome), judge::cut_off_in_words),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    (Duration::from_micros(microseconds).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
