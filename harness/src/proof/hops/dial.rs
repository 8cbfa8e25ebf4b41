//! The hops of a dial that was made: the handshake, the policy, the application.

use svidproof_probe::protocol::{DialFailure, Outcome};

use super::{Found, Hop};
use crate::alert;
use crate::proof::envoy::{Gate, Rbac, San};
use crate::scenario::{By, Counted};

/// A dial that did not come to what was expected.
#[derive(Debug, Clone)]
pub struct Dial<'a> {
    /// The check's client.
    pub client: &'a str,
    /// Its SPIFFE ID, where it presents one of the trust domain's own.
    pub id: Option<String>,
    /// Whether the server had to turn it away.
    pub refusal: bool,
    /// What came.
    pub outcome: &'a Outcome,
    /// Who answered, where that is known.
    pub by: Option<By>,
    /// The endpoints on its way, nearest first.
    pub legs: Vec<Leg>,
}

/// One endpoint on the way of a dial.
#[derive(Debug, Clone, Default)]
pub struct Leg {
    /// Its name.
    pub endpoint: String,
    /// The SPIFFE ID that it proves where it dials on, if it does.
    pub id: Option<String>,
    /// What its Envoy counted in the dial's window.
    pub counted: Option<Counted>,
    /// Whom its Envoy lets in, where that was read.
    pub gate: Option<Gate>,
    /// Whom its Envoy takes for its upstream.
    pub upstream: Vec<San>,
    /// How often its Envoy turned an upstream's certificate down since it began.
    pub turned_down: u64,
}

/// Which of the dial's own hops is broken. `None` where what came says nothing of them.
pub fn of_dial(dial: &Dial<'_>) -> Option<Found> {
    let first = dial.legs.first()?;
    let of = format!("endpoint {}", first.endpoint);
    match dial.outcome {
        Outcome::Alert { number } => Some(refused(first, &of, dial.id.as_deref(), &alert::describe(*number))),
        Outcome::ServerRefused { reason } => Some(Found::broken(
            Hop::Handshake,
            &of,
            format!("client {} turned the server's certificate down: {reason}", dial.client),
            "`identity` of the endpoint, the entry by which it has its SVID, or the client's bundle",
        )),
        Outcome::Failed { kind, detail } => Some(failed(dial, first, &of, *kind, detail)),
        Outcome::Response { status, body, .. } => Some(answered(dial, first, &of, *status, body)),
        Outcome::Bytes { .. } if dial.refusal => Some(let_in(dial, first, &of)),
        Outcome::Bytes { text } => Some(Found::broken(
            Hop::Application,
            &of,
            format!("it replied {:?}", text.chars().take(80).collect::<String>()),
            "compare with `reply` of the check",
        )),
    }
}

/// Why a listener turned somebody with this SPIFFE ID away in the handshake.
fn refused(leg: &Leg, of: &str, id: Option<&str>, seen: &str) -> Found {
    let sans = leg.gate.as_ref().map(|gate| gate.sans.as_slice()).unwrap_or_default();
    let takes = |id: &str| sans.is_empty() || sans.iter().any(|san| san.takes(id) != Some(false));
    if let Some(id) = id.filter(|id| !takes(id)) {
        return Found::broken(
            Hop::Policy,
            of,
            format!("{seen}: its listener's SAN list takes {}, and the client is {id}", in_words(sans)),
            "`match_typed_subject_alt_names` of the listener must have it, letter by letter",
        );
    }
    let counted = leg.counted.map(in_counts).unwrap_or_default();
    Found::broken(
        Hop::Handshake,
        of,
        format!("{seen}{counted}"),
        "docs/reading-a-report.md has the alerts by number: which certificate, which CA, which bundle",
    )
}

fn failed(dial: &Dial<'_>, leg: &Leg, of: &str, kind: DialFailure, detail: &str) -> Found {
    let counted = leg.counted.unwrap_or_default();
    let client = format!("client {}", dial.client);
    match kind {
        DialFailure::Unresolved => Found::broken(
            Hop::Service,
            of,
            format!("its name does not resolve: {detail}"),
            "is there a Service of that name?",
        ),
        DialFailure::Credential => Found::broken(
            Hop::Svid,
            &client,
            format!("it has no SVID to present: {detail}"),
            "the probe holds an SVID for each client that an entry selects it for",
        ),
        DialFailure::Unasked => Found::unread(Hop::Handshake, of, detail),
        _ if counted.network_rbac > 0 => Found::broken(
            Hop::Policy,
            of,
            format!("a network RBAC filter cut the connection off: {}", denied(leg)),
            "the policies of that filter, which sees the client before any request",
        ),
        _ => Found::broken(
            Hop::Handshake,
            of,
            format!("{} {detail}{}", of_kind(kind), in_counts(counted)),
            "a NetworkPolicy, a port that nobody listens at, plain text for TLS, or other server names",
        ),
    }
}

fn of_kind(kind: DialFailure) -> &'static str {
    match kind {
        DialFailure::Refused => "the connection was refused:",
        DialFailure::TimedOut => "nothing came in time:",
        DialFailure::Reset => "the connection was reset without an alert:",
        DialFailure::Closed => "the connection was closed without an alert:",
        _ => "neither TLS nor HTTP as expected:",
    }
}

fn answered(dial: &Dial<'_>, first: &Leg, of: &str, status: u16, body: &str) -> Found {
    let begin: String = body.chars().take(200).collect();
    if let Some(found) = upstream(dial, status, body) {
        return found;
    }
    if dial.by == Some(By::Application) {
        return Found::broken(
            Hop::Application,
            of,
            format!("the application itself answered {status}: {begin:?}"),
            "compare with what the check expects; Envoy let the request through",
        );
    }
    for leg in &dial.legs {
        let of = format!("endpoint {}", leg.endpoint);
        let Some(counted) = leg.counted else { continue };
        let denied = [
            (counted.denied, denied(leg)),
            (counted.authz_denied, "its authorizer (ext_authz) denied the request".to_owned()),
            (counted.authz_error, "its authorizer (ext_authz) gave no answer".to_owned()),
            (counted.jwt_denied, format!("its JWT filter denied the request: {begin:?}")),
        ];
        if status >= 400
            && let Some((_, why)) = denied.into_iter().find(|(count, _)| *count > 0)
        {
            let hint = "mend the policy, or what the check expects of it";
            return Found::broken(Hop::Policy, &of, format!("{status}: {why}"), hint);
        }
    }
    if dial.refusal && status < 400 {
        return let_in(dial, first, of);
    }
    Found::broken(
        Hop::Application,
        of,
        format!("the answer was {status}: {begin:?}"),
        "does the application run, and listen where Envoy forwards to?",
    )
}

/// What went wrong between an Envoy and its upstream, by the text that it answers with (Envoy's
/// documentation, "Local reply"): the reason of the reset, and that of the transport.
fn upstream(dial: &Dial<'_>, status: u16, body: &str) -> Option<Found> {
    if !(502..=504).contains(&status) || dial.by == Some(By::Application) {
        return None;
    }
    let at = dial.legs.len().checked_sub(2).map_or(0, |_| 1);
    let (from, to) = (dial.legs.first()?, dial.legs.get(at)?);
    if at == 1 {
        let of = format!("endpoint {}", to.endpoint);
        let counted = to.counted.unwrap_or_default();
        // The other side counts a handshake that broke off; since when its own were counted is not known.
        let turned_down = from.turned_down > 0 && (to.counted.is_none() || counted.broken > 0);
        if turned_down || body.contains("CERTIFICATE_VERIFY_FAILED") {
            let id = to.id.clone().unwrap_or_default();
            let list = if from.upstream.is_empty() { "any".into() } else { in_words(&from.upstream) };
            return Some(Found::broken(
                Hop::Handshake,
                &of,
                format!(
                    "the Envoy of {} turned its upstream's certificate down: it takes {list}, and {} is {id}",
                    from.endpoint, to.endpoint
                ),
                "`match_typed_subject_alt_names` of that cluster, or the entry of the upstream",
            ));
        }
        if body.contains("ALERT") || counted.san + counted.no_cert + counted.chain > 0 {
            return Some(refused(to, &of, from.id.as_deref(), &format!("refused {}", from.endpoint)));
        }
    }
    let end = dial.legs.last()?;
    let begin: String = body.chars().take(200).collect();
    Some(Found::broken(
        Hop::Application,
        &format!("endpoint {}", end.endpoint),
        format!("Envoy answered {status} in its place: {begin:?}"),
        "does the application run, and listen where Envoy's cluster leads to?",
    ))
}

fn let_in(dial: &Dial<'_>, leg: &Leg, of: &str) -> Found {
    let gate = leg.gate.clone().unwrap_or_default();
    let list = match (&leg.gate, gate.sans.is_empty()) {
        (None, _) => "what its listener asks for was not read".into(),
        (Some(_), true) => "its listener has no SAN list".into(),
        (Some(_), false) => format!("its listener's SAN list takes {}", in_words(&gate.sans)),
    };
    let client = dial.id.as_deref().unwrap_or(dial.client);
    Found::broken(
        Hop::Policy,
        of,
        format!("it let {client} in: {list}; {}", policies(leg)),
        "who is to be refused must not be on the list, and the list must be there",
    )
}

/// By which policy, as far as the configuration tells.
fn denied(leg: &Leg) -> String {
    match leg.gate.as_ref().map(|gate| gate.rbac.as_slice()) {
        Some([one @ Rbac { allows: true, .. }]) => format!("none of the policies {one} allows it"),
        Some([one]) => format!("one of the policies {one} denies it"),
        _ => policies(leg),
    }
}

fn policies(leg: &Leg) -> String {
    let rbac = leg.gate.iter().flat_map(|gate| &gate.rbac);
    let rbac: Vec<_> = rbac
        .map(|one| format!("RBAC {} by the policies {one}", if one.allows { "allows" } else { "denies" }))
        .collect();
    if rbac.is_empty() { "it has no RBAC filter".into() } else { rbac.join(", ") }
}

fn in_words(sans: &[San]) -> String {
    sans.iter().map(San::to_string).collect::<Vec<_>>().join(", ")
}

fn in_counts(counted: Counted) -> String {
    let all = [
        (counted.no_cert, "without a certificate"),
        (counted.san, "with a SAN that is not on the list"),
        (counted.chain, "with a chain that does not verify"),
        (counted.broken, "broken off otherwise"),
        (counted.no_chain, "that no filter chain takes"),
    ];
    let all = all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let all: Vec<_> = all.collect();
    if all.is_empty() { String::new() } else { format!("; Envoy counted {}", all.join(", ")) }
}
