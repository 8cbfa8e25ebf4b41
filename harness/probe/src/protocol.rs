//! What a dial is asked to do and what it saw, as Rust types and, one JSON object a line, as the protocol of
//! the in-cluster binary.

use serde::{Deserialize, Serialize};

/// One dial: a client with a credential, one address, at most one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// `address:port`; a name is resolved where the probe runs.
    pub address: String,
    pub credential: Credential,
    pub server: ServerProof,
    pub tls: TlsVersions,
    pub request: Request,
    /// The whole dial's bound, in milliseconds.
    pub timeout_ms: u64,
}

/// What the client presents.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// No certificate: an empty Certificate message (RFC 8446 4.4.2).
    Nobody,
    /// The X.509-SVID with this SPIFFE ID that the Workload API handed to the probe.
    Svid(String),
    /// A chain, leaf first, and its PKCS#8 key, both PEM. Sent as it is: a forged one too.
    Pem { chain: String, key: String },
}

impl std::fmt::Debug for Credential {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Svid(id) => f.debug_tuple("Svid").field(id).finish(),
            Self::Pem { chain, .. } => f.debug_struct("Pem").field("chain", chain).finish_non_exhaustive(),
        }
    }
}

/// What the server must prove, all of it, before the client sends anything inside TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerProof {
    /// The one URI SAN of its leaf (X.509-SVID, section 2), byte for byte.
    pub spiffe_id: String,
    /// A DNS SAN of its leaf as well (RFC 6125), sent as SNI too. Absent: no SNI is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// What its chain must lead to.
    pub anchors: TrustAnchors,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustAnchors {
    /// The bundle of this trust domain that the Workload API handed to the probe.
    TrustDomain(String),
    /// CA certificates, PEM.
    Pem(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsVersions {
    #[default]
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub method: String,
    /// The request target as it goes on the wire: neither normalised nor escaped.
    pub target: String,
    /// The Host header or the `:authority` pseudo-header.
    pub authority: String,
    pub http: Http,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Http {
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    #[serde(rename = "2")]
    Http2,
}

/// What one dial saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub outcome: Outcome,
    /// Absent where the TLS handshake did not come far enough to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    pub timing: Timing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Response {
        status: u16,
        http: Http,
        /// In the order of the wire (a repeated name's values together), names in lower case.
        headers: Vec<(String, String)>,
        /// At most 256 KiB; what is not UTF-8 is replaced.
        body: String,
        /// There was more of the body than `body` holds: what it lacks says nothing.
        #[serde(default, skip_serializing_if = "is_false")]
        body_cut: bool,
        /// What came after the body (RFC 9110 6.5), as `headers`; not read where the body was cut. A gRPC
        /// status is here, or in `headers` where there is no body.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        trailers: Vec<(String, String)>,
    },
    /// The peer's fatal alert, by its number (RFC 8446 6, RFC 5246 7.2).
    Alert { number: u8 },
    /// The client itself turned the server's certificate down.
    ServerRefused { reason: String },
    /// Nothing that could be judged: it is neither an answer nor a refusal.
    Failed { kind: DialFailure, detail: String },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialFailure {
    /// The name did not resolve.
    Unresolved,
    /// Connection refused (a TCP reset in answer to SYN).
    Refused,
    /// The connection was reset without a TLS alert.
    Reset,
    /// The connection was closed without a TLS alert and before an answer.
    Closed,
    TimedOut,
    /// Neither TLS nor HTTP as expected.
    Protocol,
    /// The dial asks for what the probe does not have: an SVID, a bundle, a key that cannot be read.
    Credential,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// The one URI SAN of the server's leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// The DNS SANs of the server's leaf.
    #[serde(default)]
    pub peer_dns: Vec<String>,
    /// SHA-256 of each certificate that the server sent, leaf first, in hexadecimal.
    #[serde(default)]
    pub peer_chain: Vec<String>,
}

/// Since the dial began, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<u64>,
    pub done_us: u64,
}

/// A line on the binary's standard input. `id` comes back with the answer; answers come as they are ready, in
/// any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub id: u64,
    pub ask: Ask,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Dial(Box<Dial>),
    /// Answered once the Workload API has handed out an SVID for each of these SPIFFE IDs.
    Await {
        ids: Vec<String>,
        timeout_ms: u64,
    },
    /// The SVID with this SPIFFE ID, to be carried out of the cluster.
    Fetch {
        id: String,
    },
}

/// A line on the binary's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Observed(Observation),
    /// Every SPIFFE ID that the Workload API hands out now.
    Held {
        ids: Vec<String>,
    },
    Svid(Carried),
    /// What was asked could not be done, and why; for `Await`, which IDs were missing.
    Error(String),
}

/// An X.509-SVID outside the workload that it was issued to. The key makes it a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Leaf first, PEM.
    pub chain: String,
    /// PKCS#8, PEM.
    pub key: String,
    /// The trust domain's CA certificates, PEM.
    pub bundle: String,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}
