//! What was seen, in a few exact words.

use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome};

use crate::alert;
use crate::proof::plan::Cell;
use crate::scenario::CutOff;

/// What Envoy's RBAC filter answers with a 403 (Envoy's documentation, "Role Based Access Control (RBAC)
/// Filter").
pub(super) const RBAC_DENIED: &str = "RBAC: access denied";
/// `PERMISSION_DENIED` (gRPC, "Status codes and their use in gRPC").
const GRPC_PERMISSION_DENIED: &str = "7";

/// Whether a dial that came to nothing ended as one does that an Envoy cuts off: connected, and then closed
/// or reset by the other side.
pub(super) fn is_an_end(kind: DialFailure) -> bool {
    matches!(kind, DialFailure::Closed | DialFailure::Reset | DialFailure::SpeaksTls)
}

/// `cut off: no-chain`, in the scenario's word for it.
pub fn cut_off_in_words(cut: CutOff) -> String {
    let word = match cut {
        CutOff::NoChain => "no-chain",
        CutOff::NetworkRbac => "network-rbac",
        CutOff::NotTls => "not-tls",
    };
    format!("cut off: {word}")
}

/// `alert 116 certificate_required`, `403 RBAC: access denied`, `200 grpc-status 7`, `200`, `timed out`.
pub fn seen_in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Response { status, .. } => match grpc_status(outcome).filter(|status| *status != "0") {
            Some(grpc) => format!("{status} grpc-status {grpc}"),
            None if is_rbac_denial(outcome) => format!("{status} {RBAC_DENIED}"),
            None => status.to_string(),
        },
        Outcome::Bytes { text } => format!("the reply {}", excerpt(text)),
        Outcome::Alert { number } => alert::describe(*number),
        Outcome::ServerRefused { .. } => "server turned down".into(),
        Outcome::Failed { kind, .. } => failure_in_words(*kind).into(),
    }
}

/// Why a dial came to nothing: `timed out`.
pub fn failure_in_words(kind: DialFailure) -> &'static str {
    match kind {
        DialFailure::Unresolved => "name not resolved",
        DialFailure::Refused => "connection refused",
        DialFailure::Reset => "reset without an alert",
        DialFailure::Closed => "closed without an alert",
        DialFailure::TimedOut => "timed out",
        DialFailure::Protocol => "protocol error",
        DialFailure::Credential => "credential not to be had",
        DialFailure::SpeaksTls => "a TLS alert in answer to plain text",
        DialFailure::Unasked => "it could not be asked for",
    }
}

/// Where nothing came after a handshake in which the server agreed to none of the HTTP versions that were
/// offered (RFC 7301, section 3.2: some servers go on without one).
pub(super) fn of_another_version(cell: &Cell, observation: &Observation) -> Option<String> {
    let (offered, other) = match cell.http {
        Http::Http1 => ("HTTP/1.1", "HTTP/2"),
        Http::Http2 => ("HTTP/2", "HTTP/1.1"),
        Http::None => return None,
    };
    let silent = observation.tls.as_ref()?.alpn.is_none();
    silent.then(|| {
        format!("\nhint: the server did not agree to {offered} by ALPN: it may speak {other} alone (`http:`)")
    })
}

/// Whether this looks like a denial by Envoy's RBAC filter with its own text: who gave it, counters tell.
pub(super) fn is_rbac_denial(outcome: &Outcome) -> bool {
    let Outcome::Response { status, body, headers, .. } = outcome else { return false };
    if header(headers, "grpc-message") == Some(RBAC_DENIED) {
        return grpc_status(outcome) == Some(GRPC_PERMISSION_DENIED);
    }
    // A HEAD has no body, but the length that it would have.
    let length = header(headers, "content-length").and_then(|length| length.parse().ok());
    *status == 403 && (body == RBAC_DENIED || body.is_empty() && length == Some(RBAC_DENIED.len()))
}

/// The status of a gRPC call, where the answer has one: in the trailers, or, where nothing but trailers
/// came, in the headers (gRPC over HTTP/2, "Responses").
pub(super) fn grpc_status(outcome: &Outcome) -> Option<&str> {
    let Outcome::Response { headers, trailers, .. } = outcome else { return None };
    header(trailers, "grpc-status").or_else(|| header(headers, "grpc-status"))
}

pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
}

/// A body as a reader can take it in: quoted, and no more than its beginning.
pub(super) fn excerpt(body: &str) -> String {
    const LONGEST: usize = 160;
    if body.is_empty() {
        return "no body".into();
    }
    let begin: String = body.chars().take(LONGEST).collect();
    let more = if begin.len() < body.len() { " …" } else { "" };
    format!("{begin:?}{more}")
}
