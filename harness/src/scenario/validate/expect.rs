//! What must hold in what a check expects: that it says something, and nothing that excludes another part
//! of it.

use super::Found;
use crate::alert::{self, AlertName};
use crate::scenario::place::{Node, Place};
use crate::scenario::spelled::SWITCHING;
use crate::scenario::{By, Expect, Kind};

pub(super) fn expect(expect: &Expect, place: &Node, found: &mut Found) {
    looks_at_something(expect, place, found);
    let stated = [
        // A `grpc-status` was made a `status` of.
        ("status", expect.status.is_some() && (place.has("status") || !place.has("grpc-status"))),
        ("grpc-status", place.has("grpc-status")),
        ("reply", expect.reply.is_some()),
        ("alert", expect.alert.is_some()),
        ("cut-off", expect.cut_off.is_some()),
    ];
    let stated: Vec<_> = stated.into_iter().filter(|(_, there)| *there).map(|(key, _)| key).collect();
    match stated.as_slice() {
        [] if expect.is_any_answer() => {}
        [] => found.add(place.place(), "nothing is expected: give `status`, `alert` or `cut-off`"),
        [_] => {}
        [one, others @ ..] => {
            for other in others {
                let why = "after an alert or a cut there is no answer";
                found.add(place.key(other), format!("`{one}` and `{other}` exclude each other: {why}"));
            }
        }
    }
    if let Some(status) = expect.status {
        found.check(status == SWITCHING || (200..=599).contains(&status), place.at("status").place(), || {
            format!("{status} is not the status of a final answer: expected 101, or 200 to 599")
        });
    }
    if let Some(alert) = &expect.alert {
        self::alert(alert, place.at("alert").place(), found);
    }
    counts(expect, place, found);
    if expect.status.is_none() && expect.is_stated() && !expect.is_any_answer() {
        let needing = [
            ("json", expect.json.is_some()),
            ("body", expect.body.is_some()),
            ("contains", !expect.contains.is_empty()),
            ("lacks", !expect.lacks.is_empty()),
            ("count", !expect.count.is_empty()),
            ("headers", !expect.headers.is_empty()),
            ("upstream", expect.upstream.is_some()),
            ("by", expect.by.is_some()),
        ];
        let why = match (expect.reply.is_some(), expect.alert.is_some()) {
            (true, _) => "bytes alone are no answer in HTTP",
            (false, true) => "after an alert there is no answer",
            (false, false) => "after a cut there is no answer",
        };
        for (key, _) in needing.into_iter().filter(|(_, there)| *there) {
            found.add(place.key(key), format!("`{key}` needs `status`: {why}"));
        }
    }
    for name in expect.headers.keys() {
        found.check(*name == name.to_lowercase(), place.at("headers").key(name), || {
            format!("write the header `{name}` in lower case")
        });
    }
}

fn words(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| format!("`{}`", kind.word())).collect::<Vec<_>>().join(", ")
}

/// What an alert or a request is counted as.
fn counts(expect: &Expect, place: &Node, found: &mut Found) {
    let Some(kind) = expect.counts else { return };
    let at = place.key("counts");
    let word = kind.word();
    let Some(status) = expect.status else {
        found.check(expect.alert.is_some() && Kind::OF_HANDSHAKES.contains(&kind), at, || {
            format!(
                "with an `alert`, `counts` says what is counted of a handshake: {}",
                words(&Kind::OF_HANDSHAKES)
            )
        });
        return;
    };
    found.check(!Kind::OF_HANDSHAKES.contains(&kind), at, || {
        format!(
            "`{word}` is counted with an `alert`; of a request that is answered, {} or `authz-open` is",
            words(&Kind::DENIALS)
        )
    });
    found.check(!kind.is_denial() || expect.by != Some(By::Application), at, || {
        format!("`counts: {word}` and `by: application` exclude each other: what was denied did not reach it")
    });
    let open = kind == Kind::AuthzOpen;
    found.check(!open || status < 400 && expect.by != Some(By::Envoy), at, || {
        "`authz-open` is of a request that was let in: the application answers it, with a status below 400"
            .into()
    });
}

/// What is written and says nothing would pass whatever came.
fn looks_at_something(expect: &Expect, place: &Node, found: &mut Found) {
    let blank = [
        ("status", expect.status.is_none()),
        ("alert", expect.alert.is_none()),
        ("cut-off", expect.cut_off.is_none()),
        ("reply", expect.reply.as_ref().is_none_or(String::is_empty)),
        ("counts", expect.counts.is_none()),
        ("json", expect.json.is_none()),
        ("body", expect.body.is_none()),
        ("by", expect.by.is_none()),
        ("upstream", expect.upstream.is_none()),
        ("contains", expect.contains.is_empty()),
        ("lacks", expect.lacks.is_empty()),
        ("count", expect.count.is_empty()),
        ("headers", expect.headers.is_empty()),
    ];
    for (key, _) in blank.into_iter().filter(|(key, blank)| *blank && place.has(key)) {
        found.add(place.key(key), format!("`{key}` is left blank, so nothing is looked at: leave it out"));
    }
    for (key, texts) in [("contains", &expect.contains), ("lacks", &expect.lacks)] {
        for (number, _) in texts.iter().enumerate().filter(|(_, text)| text.is_empty()) {
            let at = place.at(key).nth(number).place();
            found.add(at, format!("an empty text in `{key}`: every body has it, so nothing is looked at"));
        }
    }
    found.check(!expect.count.contains_key(""), place.at("count").key(""), || {
        "an empty text in `count`: it stands nowhere and everywhere".into()
    });
}

/// Alerts that end nothing: a server does not refuse with them (RFC 8446, section 6; RFC 5246, section 7.2).
const NEVER_FATAL: [&str; 3] = ["close_notify", "user_canceled", "no_renegotiation"];

fn alert(name: &AlertName, place: Place, found: &mut Found) {
    let known = alert::number(name).and_then(alert::by_number);
    if let Some(alert) = known.filter(|alert| NEVER_FATAL.contains(&alert.name)) {
        found.add(place, format!("no server refuses with `{}`: it is never fatal", alert.name));
    }
    match name {
        AlertName::Number(number) => {
            found.check(alert::by_number(*number).is_some(), place, || {
                format!("no TLS alert has the number {number}")
            });
        }
        AlertName::Name(name) => match alert::by_boringssl(name) {
            Some(alert) => {
                found.add(place, format!("alerts go by their RFC name: did you mean `{}`?", alert.name));
            }
            None => drop(found.known("TLS alert", name, alert::ALERTS.iter().map(|alert| alert.name), place)),
        },
    }
}
