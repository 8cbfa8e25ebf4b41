//! The surface: what each client got from each endpoint for each request in one stage, without what differs
//! from run to run.
//!
//! It says what was seen, not whether that is right: judging is `judge`'s. `body` says what of an answer
//! counts, `change` compares two surfaces, `held` holds recorded cells against what is kept, and `file` alone
//! reads and writes.

mod body;
mod change;
mod file;
mod held;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use svidproof_probe::protocol::{self, DialFailure, Http, TlsVersions};

pub use change::{Change, Danger, change_counts, change_list, diff, worse};
pub use file::{SurfaceError, load, read, store};
pub use held::{Held, hold, keep_unseen, observed};

use crate::proof::judge::{self, Judged};
use crate::proof::plan::Cell;
use crate::scenario::By;
use crate::scenario::CELL_HEADER;

/// One stage of one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surface {
    /// The scenario's name.
    pub scenario: String,
    /// The stage's name.
    pub stage: String,
    /// Endpoint -> client -> request -> outcome.
    pub cells: BTreeMap<String, BTreeMap<String, BTreeMap<String, Got>>>,
}

/// What a client got, in a few exact words: `200 json 2f1d6ac0b3e4`, `403 RBAC: access denied`, `alert 116
/// certificate_required`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Got(String);

/// How far a client came. The later, the more is open to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Its connection was turned down: a TLS alert, or cut off by the server's own account.
    Alert,
    /// Its request was turned down by an Envoy.
    Denied,
    /// Neither an answer nor a refusal: nothing shows that it is kept out.
    Unknown,
    /// The application answered with an error or a denial of its own, so the request came through.
    Application,
    /// It was served.
    Served,
}

const TURNED_DOWN: &str = "server turned down";
const CUT_OFF: &str = "cut off: ";
const NOT_OBSERVED: &str = "not observed";
/// Nobody could make such a dial, or had what it was to present: nothing of the server could be seen.
const UNDONE: [DialFailure; 2] = [DialFailure::Unasked, DialFailure::Credential];
/// Where an Envoy on the way answers for itself. Not followed by a digest: its errors name addresses and
/// times.
const BY_ENVOY: &str = " by Envoy";

/// A cell as a surface has it. In report.json, a row of `checks`.
#[derive(Debug, Deserialize)]
struct Line {
    scenario: String,
    stage: String,
    #[serde(rename = "to")]
    endpoint: String,
    #[serde(rename = "as")]
    client: String,
    request: String,
    #[serde(rename = "got")]
    outcome: Got,
}

/// The surfaces of all stages that were judged, by scenario and stage.
pub fn surfaces(judged: &[Judged]) -> Vec<Surface> {
    gather(judged.iter().map(|one| Line {
        scenario: one.cell.scenario.clone(),
        stage: one.cell.stage.clone(),
        endpoint: one.cell.endpoint.clone(),
        client: one.cell.client.clone(),
        request: request(&one.cell),
        outcome: Got::of(one),
    }))
}

/// What sets a client's request to an endpoint apart from its others: `GET /tada (HTTP/2, TLS 1.3,
/// x-forwarded-for: 10.0.0.1)`.
pub fn request(cell: &Cell) -> String {
    let http = match cell.http {
        Http::Http2 => Some("HTTP/2".to_owned()),
        Http::Http1 | Http::None => None,
    };
    let tls = match cell.tls {
        TlsVersions::Any => None,
        TlsVersions::Tls12 => Some("TLS 1.2".to_owned()),
        TlsVersions::Tls13 => Some("TLS 1.3".to_owned()),
        TlsVersions::None => Some("plain text".to_owned()),
    };
    let own = cell.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CELL_HEADER));
    let headers = own.map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), shortened(value)));
    let sni = cell.sni.as_ref().map(|name| format!("SNI {}", if name.is_empty() { "none" } else { name }));
    let authority = cell.authority.as_ref().map(|name| format!("authority {}", shortened(name)));
    // Without HTTP it is the request itself.
    let has_body = cell.http != Http::None && !cell.body.is_empty();
    let body = has_body.then(|| format!("body {}", body::digest(&cell.body)));
    let trailers = cell.trailers.iter();
    let trailers = trailers.map(|(name, value)| format!("trailer {name}: {}", shortened(value)));
    let particulars: Vec<_> = http
        .into_iter()
        .chain(tls)
        .chain(sni)
        .chain(authority)
        .chain(headers)
        .chain(body)
        .chain(trailers)
        .collect();
    let line = format!("{} {}", cell.method, shortened(&cell.target));
    if particulars.is_empty() { line } else { format!("{line} ({})", particulars.join(", ")) }
}

impl Got {
    /// What came of a cell, out of what its client saw and what the server's side counted.
    pub fn of(judged: &Judged) -> Self {
        let Some(observation) = &judged.observed else { return Self(NOT_OBSERVED.into()) };
        if let Some(cut) = judged.cut_off {
            return Self(judge::cut_off_in_words(cut));
        }
        let words = judge::seen_in_words(&observation.outcome);
        Self(match (&observation.outcome, judged.by) {
            (protocol::Outcome::Response { status, .. }, Some(By::Envoy)) if words == status.to_string() => {
                words + BY_ENVOY
            }
            (protocol::Outcome::Bytes { text }, _) => {
                format!("reply {}", body::fingerprint(text, &judged.cell.id))
            }
            (protocol::Outcome::Response { body, .. }, Some(By::Application)) => {
                format!("{words} {}", body::fingerprint(body, &judged.cell.id))
            }
            (protocol::Outcome::Response { status, body, .. }, None) if words == status.to_string() => {
                format!("{words} {}", body::fingerprint(body, &judged.cell.id))
            }
            _ => words,
        })
    }

    /// As a report has it.
    pub fn in_words(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// Whether anything of the server could be seen.
    pub fn is_observed(&self) -> bool {
        self.0 != NOT_OBSERVED && UNDONE.iter().all(|kind| self.0 != judge::failure_in_words(*kind))
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn reach(&self) -> Reach {
        if self.0.starts_with("alert ") || self.0.starts_with(CUT_OFF) {
            return Reach::Alert;
        }
        if self.0.starts_with("reply ") {
            return Reach::Served;
        }
        match self.0.split(' ').next().and_then(|status| status.parse::<u16>().ok()) {
            None => Reach::Unknown,
            Some(..=399) if !self.0.contains(" grpc-status ") => Reach::Served,
            Some(_) if body::is_fingerprinted(&self.0) => Reach::Application,
            Some(_) => Reach::Denied,
        }
    }

    /// The client could not prove who the server is.
    fn is_turned_down(&self) -> bool {
        self.0 == TURNED_DOWN
    }

    /// The one of two that is more open, whichever comes first.
    pub fn more_open<'a>(&'a self, other: &'a Self) -> &'a Self {
        if (other.reach(), &other.0) > (self.reach(), &self.0) { other } else { self }
    }
}

/// Where a request was made more than once, the most open outcome stands: a surface must not hide that
/// something got through.
fn gather(lines: impl IntoIterator<Item = Line>) -> Vec<Surface> {
    let mut surfaces: BTreeMap<(String, String), Surface> = BTreeMap::new();
    for Line { scenario, stage, endpoint, client, request, outcome } in lines {
        let key = (scenario.clone(), stage.clone());
        let surface =
            surfaces.entry(key).or_insert_with(|| Surface { scenario, stage, cells: BTreeMap::new() });
        let requests = surface.cells.entry(endpoint).or_default().entry(client).or_default();
        let stands = requests.entry(request).or_insert_with(|| outcome.clone());
        *stands = stands.more_open(&outcome).clone();
    }
    surfaces.into_values().collect()
}

/// Longer than this, what is sent stands in a surface by its beginning, its length and a digest.
const LONGEST: usize = 120;

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.into();
    }
    let beginning: String = text.chars().take(LONGEST / 2).collect();
    format!("{beginning}… [{} bytes, {}]", text.len(), body::digest(text))
}

#[cfg(test)]
mod tests;
