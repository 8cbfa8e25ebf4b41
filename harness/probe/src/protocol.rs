//! What a dial is asked to do and what it saw, as Rust types and, one JSON object a line, as the protocol of
//! the in-cluster binary.

use serde::{Deserialize, Serialize};

/// One dial: a client with a credential, one address, at most one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    /// `address:port`; a name is resolved where the probe runs.
    pub address: String,
    /// What the client presents.
    pub credential: Credential,
    /// What the server must prove.
    /// Absent: plain HTTP, where no identity is proved and no certificate is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerProof>,
    /// The TLS versions that the client offers.
    pub tls: TlsVersions,
    /// The server name that is sent (SNI, RFC 6066 3); empty: none is. Absent: the DNS name that the server
    /// must prove, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// What is asked once both sides have taken each other.
    pub request: Request,
    /// The whole dial's bound, in milliseconds: each wait and each read in it is over by then.
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
    Pem {
        /// Leaf first.
        chain: String,
        /// A secret: it is not shown by `Debug`.
        key: String,
    },
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
    /// A DNS SAN of its leaf as well (RFC 6125).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// What its chain must lead to.
    pub anchors: TrustAnchors,
}

/// The CA certificates that the server's chain must lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustAnchors {
    /// The bundle of this trust domain that the Workload API handed to the probe.
    TrustDomain(String),
    /// CA certificates, PEM.
    Pem(String),
}

/// The TLS versions that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsVersions {
    #[default]
    /// 1.3 and 1.2.
    #[serde(rename = "any")]
    Any,
    /// 1.2 alone (RFC 5246).
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 alone (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
    /// Plain text, whatever the server could prove: nothing is presented, and nothing is verified.
    #[serde(rename = "none")]
    None,
}

/// One HTTP request, or bytes alone. What could go on the wire only changed is not sent: the dial fails.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// As it goes on the wire, such as `GET`.
    pub method: String,
    /// The request target as it goes on the wire: neither normalised nor escaped.
    pub target: String,
    /// The Host header or the `:authority` pseudo-header.
    pub authority: String,
    /// The version of HTTP that is offered by ALPN, alone, and spoken.
    pub http: Http,
    /// Sent in this order, `Host` before them.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Empty: no body. Without HTTP, all that is sent.
    #[serde(default, with = "base64_text")]
    pub body: Vec<u8>,
    /// Sent after the body (RFC 9110 6.5); over HTTP/1.1, announced by `Trailer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, String)>,
    /// Without HTTP: how many bytes are waited for, unless the server closes before. 0: for any.
    #[serde(default)]
    pub reply: usize,
}

/// Bytes in a JSON line (RFC 4648 4).
mod base64_text {
    use base64::prelude::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Http {
    #[default]
    /// HTTP/1.1 (RFC 9112).
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 (RFC 9113).
    #[serde(rename = "2")]
    Http2,
    /// No HTTP at all: bytes go out as they are, and no protocol is offered by ALPN.
    #[serde(rename = "none")]
    None,
}

/// What one dial saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// How the dial ended.
    pub outcome: Outcome,
    /// What the TLS handshake came to, also where the dial ended in a refusal. Absent where it did not come
    /// far enough to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// When each step was done.
    pub timing: Timing,
}

/// How a dial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered the request.
    Response {
        /// The status code (RFC 9110 15).
        status: u16,
        /// The version that was spoken.
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
    /// Without HTTP: bytes came back.
    Bytes {
        /// The first of them, as many as were waited for or as came before the server closed; what is not
        /// UTF-8 is replaced.
        text: String,
    },
    /// The peer's fatal alert, by its number (RFC 8446 6, RFC 5246 7.2).
    Alert {
        /// `AlertDescription`, such as 116 for `certificate_required`.
        number: u8,
    },
    /// The client itself turned the server's certificate down.
    ServerRefused {
        /// In words: what was found and what was expected.
        reason: String,
    },
    /// Nothing that could be judged: it is neither an answer nor a refusal.
    Failed {
        /// Which kind of failure.
        kind: DialFailure,
        /// In words: what was tried, on what, and what came back.
        detail: String,
    },
}

impl Outcome {
    /// Whether something answered: in HTTP, or with bytes.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Response { .. } | Self::Bytes { .. })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

/// Why a dial came to neither an answer nor a refusal.
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
    /// The dial's bound, or the operating system's, was over.
    TimedOut,
    /// Neither TLS nor HTTP as expected.
    Protocol,
    /// The dial asks for what the probe does not have: an SVID, a bundle, a key that cannot be read.
    Credential,
    /// A client that speaks plain text got a TLS alert for it.
    SpeaksTls,
    /// Whoever makes the dials could not be asked for this one.
    Unasked,
}

/// What a TLS handshake came to, and who the server said it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: String,
    /// What the server chose of ALPN (RFC 7301): `h2` or `http/1.1`. Absent: it chose nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// The one URI SAN of the server's leaf; absent where it has none or several.
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
    /// TCP is connected. Absent: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_us: Option<u64>,
    /// The client's side of the TLS handshake is done. Absent: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<u64>,
    /// The dial is over.
    pub done_us: u64,
}

/// A line on the binary's standard input. `id` comes back with the answer; answers come as they are ready, in
/// any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The caller's number for this call.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What the binary can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// To dial once.
    Dial(Box<Dial>),
    /// Answered once the Workload API has handed out an SVID for each of these SPIFFE IDs.
    Await {
        /// SPIFFE IDs; none: answered at once.
        ids: Vec<String>,
        /// The bound of the wait, in milliseconds.
        timeout_ms: u64,
    },
    /// Whether a TCP connection to this `address:port` is accepted; nothing is sent over it.
    Reach {
        /// As in a dial.
        address: String,
        /// The bound, in milliseconds.
        timeout_ms: u64,
    },
    /// The SVID with this SPIFFE ID, to be carried out of the cluster.
    Fetch {
        /// The SPIFFE ID.
        id: String,
    },
    /// A JWT-SVID with this SPIFFE ID.
    Jwt {
        /// The SPIFFE ID.
        id: String,
        /// Whom it is for.
        audience: String,
    },
}

/// A line on the binary's standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The call's number; 0 where the line was no call.
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What the dial saw.
    Observed(Observation),
    /// Every SPIFFE ID that the Workload API hands out now.
    Held {
        /// In alphabetical order.
        ids: Vec<String>,
    },
    /// The connection was accepted.
    Reached,
    /// The SVID that was fetched.
    Svid(Carried),
    /// The JWT-SVID that was fetched.
    Jwt(Token),
    /// What was asked could not be done, and why; for `Await`, which IDs were missing.
    Error(String),
}

/// A JWT-SVID, or what is made of one, in JWS compact serialization (RFC 7515, section 7.1): a secret for as
/// long as it is valid.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
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
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}
