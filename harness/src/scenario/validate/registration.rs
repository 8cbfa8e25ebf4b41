//! What SPIRE would refuse of an entry, or take and never hand out.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::identity::{spiffe_path, trust_domain};
use super::{Found, install};
use crate::scenario::place::Node;
use crate::scenario::{Entry, Plain, Scenario};

pub(super) fn registration(scenario: &Scenario, places: &Node, found: &mut Found) {
    // In the long form they stand one level deeper.
    let entries = places.at("entries");
    let mut seen = BTreeSet::new();
    for (number, entry) in scenario.registration.entries.iter().enumerate() {
        let place = entries.nth(number);
        self::entry(scenario, entry, place, found);
        let selectors: BTreeSet<&String> = entry.select.iter().collect();
        found.check(seen.insert((&entry.id, selectors, &entry.parent)), place.at("id").place(), || {
            format!("the entry for `{}` with these selectors stands here twice", entry.id)
        });
    }
    let manifests = Plain::Manifests(scenario.registration.manifests.clone());
    for (number, path) in manifests.paths().into_iter().enumerate() {
        let place = places.at("manifests").nth(number).place();
        install::lies_there(scenario, &manifests, path, place, found);
    }
}

fn entry(scenario: &Scenario, entry: &Entry, place: &Node, found: &mut Found) {
    let Entry { id, select, parent, ttl, federates_with, .. } = entry;
    spiffe_path(id, place.at("id").place(), found);
    if let Some(parent) = parent {
        let at = place.at("parent").place();
        spiffe_path(parent, at, found);
        found.check(parent != id, at, || format!("the entry for `{id}` would be its own parent"));
        found.check(!entry.node, place.key("parent"), || {
            "a node alias has no `parent`: it hangs under the server".into()
        });
    }
    found.check(!select.is_empty(), place.at("select").place(), || {
        format!("the entry for `{id}` selects nothing: give at least one `type:value`")
    });
    let kind = |selector: &str| {
        let (kind, value) = selector.split_once(':')?;
        (!kind.is_empty() && !value.is_empty()).then(|| kind.to_owned())
    };
    for (index, selector) in select.iter().enumerate() {
        found.check(kind(selector).is_some(), place.at("select").nth(index).place(), || {
            format!("selector `{selector}` has no type: write `type:value`, such as `k8s:ns:default`")
        });
    }
    let kinds: BTreeSet<_> = select.iter().map(|selector| kind(selector)).collect();
    found.check(!entry.store_svid || kinds.len() < 2, place.key("store-svid"), || {
        "with `store-svid` all selectors are of one type: SPIRE refuses the entry otherwise".into()
    });
    for (key, ttl) in [("x509", ttl.x509), ("jwt", ttl.jwt)] {
        let whole = |ttl: SignedDuration| ttl.is_positive() && ttl.subsec_nanos() == 0;
        found.check(ttl.is_none_or(whole), place.at("ttl").at(key).place(), || {
            "SPIRE counts in whole seconds, from one on: give `30m` or `90s`".into()
        });
    }
    for (index, domain) in federates_with.iter().enumerate() {
        let at = place.at("federates-with").nth(index).place();
        match trust_domain(domain) {
            Err(why) => found.add(at, format!("`{domain}` is not a trust domain: {why}")),
            Ok(()) => found.check(*domain != scenario.trust_domain, at, || {
                format!("`{domain}` is the scenario's own trust domain: its bundle is handed out anyway")
            }),
        }
    }
}
