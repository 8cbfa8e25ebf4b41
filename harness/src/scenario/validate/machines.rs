//! What must hold of machines outside of the cluster, of their users, and of the stages in which they are
//! banned.

use jiff::SignedDuration;

use super::Found;
use super::identity::{is_label, label_wanted, spiffe_path};
use crate::scenario::place::Node;
use crate::scenario::{Attest, Check, Client, Entry, FullClient, Machine, Scenario};

/// As long as a stage waits, at most, for the SVIDs of a banned machine to end.
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// To the kernel, no user at all.
const NO_USER: u32 = u32::MAX;

pub(super) fn machines(scenario: &Scenario, places: &Node, found: &mut Found) {
    for (name, machine) in &scenario.machines {
        self::machine(scenario, name, machine, places, found);
    }
    for (number, entry) in scenario.registration.entries.iter().enumerate() {
        let of = scenario.machines.iter().find(|(_, machine)| entry.parent.as_ref() == Some(&machine.id));
        let Some((name, _)) = of else { continue };
        let place = places.at("registration").at("entries").nth(number).at("select");
        for (number, selector) in entry.select.iter().enumerate() {
            found.check(selector.starts_with("unix:"), place.nth(number).place(), || {
                format!(
                    "the agent of machine `{name}` knows its workloads by `unix:` selectors alone, such as \
                     `unix:uid:1000`"
                )
            });
        }
    }
    for (name, client) in &scenario.clients {
        user(scenario, client, places.at("clients").at(name), found);
    }
    for (number, stage) in scenario.stages.iter().enumerate() {
        let place = places.at("stages").nth(number);
        for (number, name) in stage.banned.iter().enumerate() {
            let at = place.at("banned").nth(number).place();
            found.known("machine", name, scenario.machines.keys().map(String::as_str), at);
        }
        for (number, check) in stage.checks.iter().enumerate() {
            banned(scenario, &stage.banned, check, place.at("checks").nth(number), found);
        }
    }
}

fn machine(scenario: &Scenario, name: &str, machine: &Machine, places: &Node, found: &mut Found) {
    let (place, spire) = (places.at("machines").at(name), places.at("spire"));
    found.check(is_label(name), places.at("machines").key(name), || label_wanted("machine", name));
    let at = place.at("id").place();
    spiffe_path(&machine.id, at, found);
    let mut others = scenario.machines.iter().filter(|(other, _)| *other != name);
    let taken = others.any(|(_, other)| other.id == machine.id)
        || scenario.registration.entries.iter().any(|entry| entry.id == machine.id);
    found.check(!taken, at, || {
        format!("`{}` is another's: the agent of machine `{name}` needs a SPIFFE ID of its own", machine.id)
    });
    found.check(scenario.spire.outside.is_some(), place.place(), || {
        "how does its agent reach the SPIRE server? give `spire.outside`, a Service that is `published`"
            .into()
    });
    let wants = machine.attest == Attest::X509pop && scenario.spire.x509pop_secret.is_none();
    found.check(!wants, if wants { place.at("attest").place() } else { spire.place() }, || {
        "certificates are of a CA that the SPIRE server must trust: give `spire.x509pop-secret`, the Secret \
         from which it takes that, or let the machine attest by `join-token`"
            .into()
    });
}

fn user(scenario: &Scenario, client: &Client, place: &Node, found: &mut Found) {
    let Client::Full(FullClient { machine, user, from, trust_domain, jwt, .. }) = client else { return };
    let Some(machine) = machine else {
        return found.check(user.is_none(), place.key("user"), || {
            "`user` is for a client of a `machine`: others are no Unix users".into()
        });
    };
    let more = [("from", from.is_some()), ("trust-domain", trust_domain.is_some()), ("jwt", jwt.is_some())];
    for (key, _) in more.into_iter().filter(|(_, there)| *there) {
        let why = "what such a client has is an X.509-SVID of that machine's agent, and no more";
        found.add(place.key(key), format!("`{key}` with `machine`: {why}"));
    }
    found.check(*user != Some(NO_USER), place.at("user").place(), || {
        format!("no user has the number {NO_USER}")
    });
    let names = scenario.machines.keys().map(String::as_str);
    if !found.known("machine", machine, names, place.at("machine").place()) {
        return;
    }
    let parent = &scenario.machines[machine].id;
    let known = scenario.registration.others_register() || client.identity().is_none();
    found.check(known || entry_of(scenario, client).is_some(), place.at("id").place(), || {
        format!(
            "`registration` has no entry for it with `parent: {parent}`: the machine's agent gives it none"
        )
    });
}

/// The entry by which the machine's agent gives the client its SVID.
fn entry_of<'a>(scenario: &'a Scenario, client: &Client) -> Option<&'a Entry> {
    let parent = &scenario.machines.get(client.machine()?)?.id;
    let mut entries = scenario.registration.entries.iter();
    entries
        .find(|entry| Some(entry.id.as_str()) == client.identity() && entry.parent.as_ref() == Some(parent))
}

/// A stage waits until the SVIDs of the machines that are banned in it have ended.
fn banned(scenario: &Scenario, banned: &[String], check: &Check, place: &Node, found: &mut Found) {
    for (number, name) in check.clients.iter().enumerate() {
        let Some(client) = scenario.clients.get(name) else { continue };
        let Some(machine) = client.machine().filter(|machine| banned.iter().any(|one| one == machine)) else {
            continue;
        };
        let ttl = entry_of(scenario, client).and_then(|entry| entry.ttl.x509);
        let soon = client.identity().is_none() || ttl.is_some_and(|ttl| ttl <= LONGEST);
        found.check(soon, place.at("as").nth(number).place(), || {
            format!(
                "machine `{machine}` is banned in this stage, which waits until the SVID of client `{name}` \
                 ends: give its entry a `ttl: {{x509: …}}` of {} minutes at most",
                LONGEST.as_mins()
            )
        });
    }
}
