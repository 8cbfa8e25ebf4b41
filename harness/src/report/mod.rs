//! What a run tells its reader: one [`Report`], written as JSON, as JUnit, as a page and as a table. Not for
//! judging, and not for writing files.

pub mod console;
pub mod html;
mod json;
pub mod junit;
pub mod schema;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome};

use crate::alert;
use crate::forge::{self, Clause, Recipe};
use crate::proof::judge::{self, Account, Control, Judged};
use crate::proof::verdict::{Totals, Verdict};
use crate::scenario::Expect;
use crate::surface;
use crate::sys::progress::Phase;

/// `report.json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// The version that made it.
    pub svidproof: &'static str,
    pub run: String,
    pub provider: String,
    /// Where the images came from.
    pub images: String,
    /// What is in the images: part -> version. Empty where the cluster brought its own.
    pub versions: BTreeMap<String, String>,
    pub started: Timestamp,
    /// In the order in which they ended.
    pub phases: Vec<Phase>,
    pub checks: Vec<Row>,
    pub totals: Totals,
}

/// One cell.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Row {
    pub scenario: String,
    pub stage: String,
    pub check: String,
    #[serde(rename = "as")]
    pub client: String,
    pub to: String,
    /// `METHOD TARGET`.
    pub send: String,
    /// The request and what came of it as the surface has them, which is what `svidproof diff` compares.
    pub request: String,
    pub got: String,
    pub expected: Expect,
    pub observed: Option<Observed>,
    pub control: Option<Control>,
    /// For each endpoint whose evidence bears on this cell.
    pub evidence: Vec<Account>,
    pub verdict: Verdict,
    /// Empty where it passed.
    pub reason: String,
    /// Where what the system under test does surprises: in a few words, whatever the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
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
    pub why: String,
    pub clause: Clause,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Observed {
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

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Seen {
    Response {
        status: u16,
        #[serde(with = "schema::HttpVersion")]
        http: Http,
    },
    Alert {
        alert: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        boringssl: Option<&'static str>,
    },
    ServerRefused {
        reason: String,
    },
    Failed {
        #[serde(with = "schema::FailureKind")]
        kind: DialFailure,
        detail: String,
    },
}

impl Report {
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
        }
    }
}

impl Row {
    fn new(judged: &Judged) -> Self {
        let cell = &judged.cell;
        Self {
            scenario: cell.scenario.clone(),
            stage: cell.stage.clone(),
            check: cell.check.clone(),
            client: cell.client.clone(),
            to: cell.endpoint.clone(),
            send: format!("{} {}", cell.method, cell.target),
            request: surface::request(cell),
            got: surface::Got::of(judged).as_str().into(),
            expected: cell.expect.clone(),
            observed: judged.observed.as_ref().map(Observed::new),
            control: judged.control.clone(),
            evidence: judged.evidence.clone(),
            verdict: judged.verdict,
            reason: judged.reason.clone(),
            finding: cell.finding.clone(),
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
    fn new(observation: &Observation) -> Self {
        let outcome = match &observation.outcome {
            Outcome::Response { status, http, .. } => Seen::Response { status: *status, http: *http },
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
            words: judge::in_words(&observation.outcome),
        }
    }
}

fn milliseconds(microseconds: u64) -> f64 {
    (Duration::from_micros(microseconds).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
