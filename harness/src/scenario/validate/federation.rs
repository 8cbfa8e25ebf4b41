//! What must hold of other trust domains: who names one names one that the scenario knows, and nothing that
//! is not to be had of it.

use super::Found;
use super::identity::{spiffe_path, trust_domain};
use crate::scenario::place::Node;
use crate::scenario::{Client, FullClient, Scenario};

pub(super) fn federation(scenario: &Scenario, places: &Node, found: &mut Found) {
    for name in scenario.federation.keys() {
        let at = places.at("federation").key(name);
        if let Err(why) = trust_domain(name) {
            found.add(at, format!("`{name}` is not a trust domain: {why}"));
        }
        found.check(*name != scenario.trust_domain, at, || {
            format!("`{name}` is the scenario's own trust domain: nobody federates with himself")
        });
    }
    for (number, stage) in scenario.stages.iter().enumerate() {
        known(scenario, &stage.federation, places.at("stages").nth(number).at("federation"), found);
    }
    for (name, client) in &scenario.clients {
        let Some((domain, path)) = client.foreign() else { continue };
        let place = places.at("clients").at(name);
        spiffe_path(path, place.at("id").place(), found);
        let domains = scenario.federation.keys().map(String::as_str);
        found.known("trust domain", domain, domains, place.at("trust-domain").place());
        let Client::Full(FullClient { outside, from, jwt, .. }) = client else { continue };
        let more = [("outside", *outside), ("from", from.is_some()), ("jwt", jwt.is_some())];
        for (key, _) in more.into_iter().filter(|(_, there)| *there) {
            found.add(
                place.key(key),
                format!(
                    "`{key}` with `trust-domain`: of another trust domain there is an X.509-SVID within, and \
                     no more"
                ),
            );
        }
    }
}

fn known(scenario: &Scenario, names: &[String], place: &Node, found: &mut Found) {
    for (number, name) in names.iter().enumerate() {
        let domains = scenario.federation.keys().map(String::as_str);
        found.known("trust domain", name, domains, place.nth(number).place());
    }
}
