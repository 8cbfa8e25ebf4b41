//! How what was seen differs from what is expected, in words.

use serde_json::{Number, Value};
use svidproof_probe::protocol::{Observation, Outcome, TlsVersions};

use super::words::{cut_off_in_words, excerpt, grpc_status, is_an_end, is_rbac_denial, seen_in_words};
use crate::alert;
use crate::proof::plan::Cell;
use crate::scenario::Expect;

/// Empty where it is as expected, or nothing is.
pub(super) fn differences(cell: &Cell, observation: &Observation) -> Vec<String> {
    let expect = &cell.expect;
    let Some(expected) = expected_in_words(expect) else { return vec![] };
    let seen = seen_in_words(&observation.outcome);
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
        Outcome::Response { .. } | Outcome::Bytes { .. } if expect.is_before_a_request() => {
            let who = if cell.nobody { "nobody" } else { cell.client.as_str() };
            vec![format!("expected {expected}, saw {seen}: the endpoint let {who} in")]
        }
        outcome @ Outcome::Response { .. } if expect.is_any_answer() => content(expect, outcome),
        outcome @ Outcome::Response { status, .. } if Some(*status) == expect.status => {
            let failed = grpc_status(outcome).is_some_and(|status| status != "0");
            if failed && !expect.headers.contains_key("grpc-status") {
                let hint = "a gRPC call that failed; where that is right, `headers` says its `grpc-status`";
                return vec![format!("expected {expected}, saw {seen}: {hint}")];
            }
            content(expect, outcome)
        }
        outcome @ Outcome::Response { .. } if grpc_status(outcome).is_some_and(|status| status != "0") => {
            let hint = "a gRPC call is denied by `grpc-status`, not by its HTTP status";
            vec![format!("expected {expected}, saw {seen}: {hint}")]
        }
        Outcome::Response { body, .. } if body.is_empty() || is_rbac_denial(&observation.outcome) => {
            vec![format!("expected {expected}, saw {seen}")]
        }
        Outcome::Response { body, .. } => {
            vec![format!("expected {expected}, saw {seen} with {}", excerpt(body))]
        }
        Outcome::Bytes { text } if expect.reply.as_ref() == Some(text) => vec![],
        Outcome::Bytes { .. } => vec![format!("expected {expected}, saw {seen}")],
        Outcome::ServerRefused { reason } => {
            vec![format!(
                "expected {expected}, but the client turned the server's certificate down: {reason}"
            )]
        }
        // Why it ended, the counters say.
        Outcome::Failed { kind, .. } if expect.cut_off.is_some() && is_an_end(*kind) => vec![],
        Outcome::Failed { detail, .. } => {
            vec![format!("expected {expected}, but the dial came to nothing: {seen} ({detail})")]
        }
    }
}

/// What is expected, in a few exact words; `None` where nothing is.
pub(super) fn expected_in_words(expect: &Expect) -> Option<String> {
    if let Some(name) = &expect.alert {
        return Some(alert::number(name).map_or_else(|| format!("an alert {name:?}"), alert::describe));
    }
    let cut = expect.cut_off.map(cut_off_in_words);
    let reply = expect.reply.as_ref().map(|text| format!("the reply {}", excerpt(text)));
    let any = expect.is_any_answer().then(|| "an answer of the application".to_owned());
    cut.or(reply).or(any).or_else(|| Some(expect.status?.to_string()))
}

fn is_tls12(cell: &Cell, observation: &Observation) -> bool {
    match &observation.tls {
        Some(tls) => tls.version == "1.2",
        None => cell.tls == TlsVersions::Tls12,
    }
}

/// How an answer with the right status differs from what narrows it down.
fn content(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let mut differences = Vec::new();
    let Outcome::Response { headers, trailers, body, body_cut, .. } = outcome else { return differences };
    if let Some(json) = expect.json.as_ref().filter(|_| !body_cut) {
        match serde_json::from_str::<Value>(body) {
            Ok(seen) if same(&seen, json) => {}
            Ok(_) => differences.push(format!("expected the JSON {json}, saw {}", excerpt(body))),
            Err(error) => differences
                .push(format!("expected the JSON {json}, saw {}, which is not JSON: {error}", excerpt(body))),
        }
    }
    if let Some(whole) = expect.body.as_deref().filter(|whole| *whole != body && !body_cut) {
        differences.push(format!("expected the body {}, saw {}", excerpt(whole), excerpt(body)));
    }
    let lacking = expect.contains.iter().filter(|text| !body.contains(*text) && !body_cut);
    differences.extend(lacking.map(|text| format!("the body lacks {text:?}: {}", excerpt(body))));
    let unwanted = expect.lacks.iter().filter(|text| body.contains(*text));
    differences.extend(unwanted.map(|text| format!("the body has {text:?}, which it must not")));
    for (text, times) in &expect.count {
        let seen = if text.is_empty() { 0 } else { body.matches(text).count() };
        // What was cut may have more of them.
        let otherwise = if *body_cut { seen > *times } else { seen != *times };
        if otherwise {
            differences.push(format!("the body has {text:?} {seen} times, expected {times}"));
        }
    }
    for (name, value) in &expect.headers {
        let seen: Vec<_> = headers
            .iter()
            .chain(trailers)
            .filter(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
            .collect();
        // One that stands there twice says two things: which of them counts, the next reader decides.
        if seen.is_empty() || seen.iter().any(|one| one != value) {
            let seen = if seen.is_empty() { "none".into() } else { seen.join(", ") };
            differences.push(format!("expected the header `{name}: {value}`, saw {seen}"));
        }
    }
    differences
}

/// Whether two documents are equal, 1 and 1.0 being the same number.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            // Beyond 2^53 a float stands for several whole numbers.
            let small = |number: &Number| number.as_f64().is_some_and(|float| float.abs() < 9e15);
            one == other || small(one) && one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other =
                |(key, value): (&String, &Value)| other.get(key).is_some_and(|one| same(value, one));
            one.len() == other.len() && one.iter().all(in_other)
        }
        _ => one == other,
    }
}

/// A number in a JSON text that has more digits than the comparison keeps: 15 of a float, or whole ones of 64
/// bits.
fn inexact(json: &str) -> Option<String> {
    let (mut inside, mut escaped) = (false, false);
    let outside = json.chars().map(|letter| {
        let quote = letter == '"' && !escaped;
        escaped = inside && letter == '\\' && !escaped;
        inside ^= quote;
        if inside || quote { ' ' } else { letter }
    });
    let outside: String = outside.collect();
    let mut numbers =
        outside.split(|letter: char| !(letter.is_ascii_alphanumeric() || ".+-".contains(letter)));
    let long = numbers.find(|number| {
        let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let whole = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
        digits > 15 && !whole
    });
    long.map(Into::into)
}

/// Why what is expected of a body cannot be decided: its end was not read, or it has a number that no
/// comparison keeps all of.
pub(super) fn undecided(expect: &Expect, outcome: &Outcome) -> Option<String> {
    if let (Some(_), Outcome::Response { body, .. }) = (&expect.json, outcome)
        && let Some(number) = inexact(body)
    {
        return Some(format!("{number} has more digits than are compared: look for it with `contains`"));
    }
    let Outcome::Response { body, body_cut: true, .. } = outcome else { return None };
    let missing = expect.contains.iter().any(|text| !body.contains(text));
    let of_the_whole = expect.json.is_some() || expect.body.is_some();
    let of_the_rest = missing || !expect.lacks.is_empty() || !expect.count.is_empty();
    let read = body.len() / 1024;
    (of_the_whole || of_the_rest)
        .then(|| format!("the body is longer than the {read} KiB that were read of it"))
}
