//! What the draft says of each client of an endpoint: that it gets an answer, or is refused, where the
//! chart's configuration leaves no doubt; for the rest, what could not be read.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::{Outcome, outcome};
use super::policy::{Request, Truth};
use super::services::Endpoint;
use super::yaml::{http_text, quoted};
use super::{NOBODY, STRANGER, System, named, within};
use crate::spiffe_id::spiffe_id;

/// A check as it is written.
#[derive(Debug)]
struct Drafted {
    name: String,
    client: String,
    /// `METHOD TARGET`
    send: String,
    expect: &'static str,
}

const NO_CERTIFICATE: &str = "{alert: certificate_required}";
const NOT_LISTED: &str = "{alert: certificate_unknown}";
const CUT_OFF: &str = "{cut-off: network-rbac}";
/// Which status it answers with, nothing in a chart says.
const BY_APPLICATION: &str = "{by: application}";
const SERVED: &str = "{status: 200}";

/// What could be told of the clients of an endpoint.
#[derive(Debug, Default)]
struct Told {
    answers: Vec<Drafted>,
    refusals: Vec<Drafted>,
    /// Client -> what could not be read.
    unread: BTreeMap<String, BTreeSet<String>>,
}

/// The checks of an endpoint, and comments.
pub(super) fn checks_text(
    system: &System,
    endpoint: &Endpoint,
    clients: &BTreeMap<String, String>,
) -> String {
    let name = &endpoint.name;
    let told = told(system, endpoint, clients);
    let mut text = String::new();
    let mut write = |check: &Drafted, control: Option<&str>| {
        let Drafted { name: check, client, send, expect } = check;
        text += &format!(
            "      - check: {}\n        as: {}\n        to: {}\n        send: {}\n{}        \
             expect: {expect}\n",
            quoted(check),
            quoted(client),
            quoted(name),
            quoted(send),
            http_text(endpoint.listener.http),
        );
        text.extend(control.map(|control| format!("        control: {}\n", quoted(control))));
    };
    for answer in &told.answers {
        write(answer, None);
    }
    // Without the admin port a refusal cannot be proved, and the scenario would not be valid.
    let provable = endpoint.listener.admin.is_some();
    for refusal in told.refusals.iter().filter(|_| provable) {
        let same = told.answers.iter().find(|answer| answer.send == refusal.send);
        if let Some(control) = same.or(told.answers.first()) {
            write(refusal, Some(&control.name));
        }
    }
    if !text.is_empty() {
        text.insert_str(
            0,
            "      # Where you know what the application answers with, say so: `status`, `json`, \
                            `contains`.\n",
        );
    }
    text + &remarks(endpoint, &told)
}

/// What no check says, and why.
fn remarks(endpoint: &Endpoint, told: &Told) -> String {
    let (name, tls) = (&endpoint.name, &endpoint.listener.tls);
    let mut text = String::new();
    let mut remark = |words: String| text += &format!("      # {words}\n");
    if told.answers.is_empty() {
        remark(format!(
            "Of no client is it sure that {name} answers it, and a refusal needs such a control."
        ));
        for refusal in &told.refusals {
            remark(format!("With one, this could be checked: {} ({}).", refusal.name, refusal.expect));
        }
    }
    for (client, unread) in &told.unread {
        let unread = unread.iter().map(String::as_str).collect::<Vec<_>>().join("; ");
        remark(format!("What becomes of {client} at {name} could not be read: {unread}."));
    }
    if !tls.required {
        remark(format!("{name} does not require a certificate."));
    }
    if tls.sans.is_empty() && tls.bundle.is_some() {
        remark(format!("{name} has no SAN list: the handshake lets in every SVID that verifies."));
    }
    if tls.bundle.is_none() {
        remark(format!("{name} asks for no certificate: no policy there sees who calls."));
    }
    text
}

fn told(system: &System, endpoint: &Endpoint, clients: &BTreeMap<String, String>) -> Told {
    let mut told = Told::default();
    let mut ids: Vec<(String, String)> = vec![];
    for id in named(endpoint) {
        let client = within(&system.trust_domain, &id).and_then(|path| clients.get(path));
        if let Some(name) = client
            && !ids.iter().any(|(known, _)| known == name)
        {
            ids.push((name.clone(), id));
        }
    }
    for (name, id) in &ids {
        say(system, endpoint, name, id, &mut told);
    }
    // The stranger is the last resort of a control; of it a draft says no more than that it is kept out.
    let stranger = stranger(system);
    let mut of_stranger = Told::default();
    say(system, endpoint, STRANGER, &stranger, &mut of_stranger);
    if told.answers.is_empty() {
        told.answers = of_stranger.answers;
    }
    told.unread.extend(of_stranger.unread);
    let first = told.answers.first().map(|answer| answer.send.clone());
    let send = first.unwrap_or_else(|| requests(endpoint).next().map(sent).unwrap_or_default());
    if endpoint.listener.tls.wants_one() == Truth::Yes {
        let name = format!("{NOBODY} is refused by {}", endpoint.name);
        let nobody = Drafted { name, client: NOBODY.into(), send: send.clone(), expect: NO_CERTIFICATE };
        told.refusals.insert(0, nobody);
    }
    told.refusals.extend(of_stranger.refusals);
    // A handshake is refused whatever would be sent, and a connection ended: as its control does.
    for refusal in told.refusals.iter_mut().filter(|refusal| [NOT_LISTED, CUT_OFF].contains(&refusal.expect))
    {
        refusal.send.clone_from(&send);
    }
    told
}

/// The SPIFFE ID of the client that nobody knows.
fn stranger(system: &System) -> String {
    spiffe_id(&system.trust_domain, &format!("/ns/{}/sa/{STRANGER}", system.wanted.namespace))
}

/// Method and path of each request that is tried: those of the policies first.
fn requests(endpoint: &Endpoint) -> impl Iterator<Item = (&str, &str)> {
    let words = &endpoint.words;
    words
        .paths
        .iter()
        .flat_map(|path| words.methods.iter().map(move |method| (method.as_str(), path.as_str())))
}

fn sent((method, path): (&str, &str)) -> String {
    format!("{method} {path}")
}

/// What becomes of a client: its first request that is surely answered, and its first that is surely not.
fn say(system: &System, endpoint: &Endpoint, client: &str, id: &str, told: &mut Told) {
    let listener = &endpoint.listener;
    let to = &endpoint.name;
    let article = if client == STRANGER { "a " } else { "" };
    let mut unread = match listener.tls.admits(id, &system.trust_domain) {
        Truth::Yes => BTreeSet::new(),
        Truth::No => {
            told.refusals.push(Drafted {
                name: format!("{article}{client} is refused by {to}"),
                client: client.into(),
                send: String::new(),
                expect: NOT_LISTED,
            });
            return;
        }
        Truth::Unknown(what) => what,
    };
    unread.extend(listener.unread.iter().cloned());
    // Without the admin port nothing says who answered, nor of an Envoy that the scenario does not know.
    let is_told = listener.admin.is_some() && !endpoint.by_others;
    let by_application = if is_told { BY_APPLICATION } else { SERVED };
    let (mut answered, mut denied, mut cut_off) = (None, None, None);
    for request in requests(endpoint) {
        let seen = Request { caller: listener.tls.seen(id), http: Some(request), port: listener.port };
        match outcome(&listener.filters, &unread, &endpoint.authority, seen) {
            Outcome::Forwarded => answered = answered.or(Some((request, by_application))),
            Outcome::Served => answered = answered.or(Some((request, SERVED))),
            Outcome::CutOff => cut_off = Some(request),
            Outcome::Denied => denied = denied.or(Some(request)),
            Outcome::Unknown(what) => {
                if answered.is_none() && denied.is_none() && cut_off.is_none() {
                    told.unread.entry(client.into()).or_default().extend(what);
                }
            }
        }
    }
    if answered.is_some() || denied.is_some() || cut_off.is_some() {
        told.unread.remove(client);
    }
    let check = |verb: &str, request, expect| Drafted {
        name: format!("{article}{client} {verb} {to}"),
        client: client.into(),
        send: sent(request),
        expect,
    };
    told.answers.extend(answered.map(|(request, expect)| check("gets an answer from", request, expect)));
    told.refusals.extend(cut_off.map(|request| check("is cut off by", request, CUT_OFF)));
    told.refusals.extend(
        denied.map(|request| check("is denied by", request, "{status: 403, body: \"RBAC: access denied\"}")),
    );
}
