//! What an answer looks like, and what was seen in a few words. Not for whether it is what was expected.

use svidproof_probe::protocol::{DialFailure, Outcome};

use crate::alert;

/// What Envoy's RBAC filter answers with a 403.
pub(super) const RBAC_DENIED: &str = "RBAC: access denied";

/// What was seen, in a few words: `alert 116 certificate_required`, `200`, `timed out`.
pub fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Response { status, .. } if is_rbac_denial(outcome) => format!("{status} {RBAC_DENIED}"),
        Outcome::Response { status, .. } => status.to_string(),
        Outcome::Alert { number } => alert::describe(*number),
        Outcome::ServerRefused { .. } => "server turned down".into(),
        Outcome::Failed { kind, .. } => failure_in_words(*kind).into(),
    }
}

pub(super) fn failure_in_words(kind: DialFailure) -> &'static str {
    match kind {
        DialFailure::Unresolved => "name not resolved",
        DialFailure::Refused => "connection refused",
        DialFailure::Reset => "reset without an alert",
        DialFailure::Closed => "closed without an alert",
        DialFailure::TimedOut => "timed out",
        DialFailure::Protocol => "protocol error",
        DialFailure::Credential => "credential not to be had",
    }
}

/// Envoy made this answer itself: it forwarded nothing, so it has no time of an upstream to tell.
pub(super) fn is_local_reply(headers: &[(String, String)]) -> bool {
    let by_envoy = headers.iter().any(|(name, value)| name == "server" && value == "envoy");
    by_envoy && !headers.iter().any(|(name, _)| name == "x-envoy-upstream-service-time")
}

pub(super) fn is_rbac_denial(outcome: &Outcome) -> bool {
    // A HEAD has no body, but the length that it would have.
    matches!(outcome, Outcome::Response { status: 403, body, .. } if body == RBAC_DENIED)
        || matches!(outcome, Outcome::Response { status: 403, body, headers, .. }
            if body.is_empty() && has_length(headers, RBAC_DENIED.len()))
}

fn has_length(headers: &[(String, String)], length: usize) -> bool {
    headers.iter().any(|(name, value)| name == "content-length" && value.parse() == Ok(length))
}
