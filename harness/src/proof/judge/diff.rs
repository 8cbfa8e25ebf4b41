//! How what was seen differs from what is expected, in words. Empty where it is as expected.

use svidproof_probe::protocol::{Observation, Outcome, TlsVersions};

use super::words::{in_words, is_rbac_denial};
use crate::alert;
use crate::proof::plan::Cell;
use crate::scenario::Expect;

/// How what was seen differs from what is expected, in words. Empty where it is as expected.
pub(super) fn differences(cell: &Cell, observation: &Observation) -> Vec<String> {
    let expect = &cell.expect;
    let expected = match (&expect.alert, expect.status) {
        (Some(name), _) => alert::number(name).map_or_else(|| format!("an alert {name:?}"), alert::describe),
        (None, Some(status)) => status.to_string(),
        (None, None) => return vec![],
    };
    let seen = in_words(&observation.outcome);
    match &observation.outcome {
        Outcome::Alert { number } => {
            let wanted = expect.alert.as_ref().and_then(alert::number);
            let met = wanted == Some(*number)
                || wanted == Some(alert::CERTIFICATE_REQUIRED)
                    && *number == alert::HANDSHAKE_FAILURE
                    && cell.nobody
                    && is_tls12(cell, observation);
            if met { vec![] } else { vec![format!("expected {expected}, saw {seen}")] }
        }
        Outcome::Response { .. } if expect.alert.is_some() => {
            let who = if cell.nobody { "nobody" } else { cell.client.as_str() };
            vec![format!("expected {expected}, saw {seen}: the endpoint let {who} in")]
        }
        Outcome::Response { status, headers, body, .. } if Some(*status) == expect.status => {
            content(expect, headers, body)
        }
        Outcome::Response { body, .. } if body.is_empty() || is_rbac_denial(&observation.outcome) => {
            vec![format!("expected {expected}, saw {seen}")]
        }
        Outcome::Response { body, .. } => {
            vec![format!("expected {expected}, saw {seen} with {}", excerpt(body))]
        }
        Outcome::ServerRefused { reason } => {
            vec![format!(
                "expected {expected}, but the client turned the server's certificate down: {reason}"
            )]
        }
        Outcome::Failed { detail, .. } => {
            vec![format!("expected {expected}, but the dial came to nothing: {seen} ({detail})")]
        }
    }
}

fn is_tls12(cell: &Cell, observation: &Observation) -> bool {
    match &observation.tls {
        Some(tls) => tls.version == "1.2",
        None => cell.tls == TlsVersions::Tls12,
    }
}

/// How an answer with the right status differs from what narrows it down.
fn content(expect: &Expect, headers: &[(String, String)], body: &str) -> Vec<String> {
    let mut differences = Vec::new();
    if let Some(json) = &expect.json {
        match serde_json::from_str::<serde_json::Value>(body) {
            Ok(seen) if seen == *json => {}
            Ok(_) => differences.push(format!("expected the JSON {json}, saw {}", excerpt(body))),
            Err(error) => differences
                .push(format!("expected the JSON {json}, saw {}, which is not JSON: {error}", excerpt(body))),
        }
    }
    if let Some(whole) = expect.body.as_deref().filter(|whole| *whole != body) {
        differences.push(format!("expected the body {}, saw {}", excerpt(whole), excerpt(body)));
    }
    differences.extend(
        expect
            .contains
            .iter()
            .filter(|text| !body.contains(*text))
            .map(|text| format!("the body lacks {text:?}: {}", excerpt(body))),
    );
    differences.extend(
        expect
            .lacks
            .iter()
            .filter(|text| body.contains(*text))
            .map(|text| format!("the body has {text:?}, which it must not")),
    );
    for (text, times) in &expect.count {
        let seen = if text.is_empty() { 0 } else { body.matches(text).count() };
        if seen != *times {
            differences.push(format!("the body has {text:?} {seen} times, expected {times}"));
        }
    }
    for (name, value) in &expect.headers {
        let seen: Vec<_> =
            headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_str()).collect();
        if !seen.contains(&value.as_str()) {
            let seen = if seen.is_empty() { "none".into() } else { seen.join(", ") };
            differences.push(format!("expected the header `{name}: {value}`, saw {seen}"));
        }
    }
    differences
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
