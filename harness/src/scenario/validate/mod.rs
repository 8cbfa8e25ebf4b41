//! What must hold between the parts of a scenario, so that a run does not find out minutes later. Every
//! mistake is told, with its place.
//!
//! Nothing is asked but the file system, and that only for charts.

mod expect;
mod federation;
mod identity;
mod install;
mod kubernetes;
mod machines;
mod registration;
mod request;
mod stage;
mod values;

pub use identity::is_label;
use identity::{is_pair, label_wanted, spiffe_path, trust_domain};
use stage::{broken, forged, stages};

use super::mistake::{Mistake, instead};
use super::place::{Node, Place};
use super::{Client, Endpoint, FullClient, OwnImage, Registration, Scenario};

/// In the order of the file; empty for a scenario that can be run.
pub(super) fn mistakes(scenario: &Scenario, places: &Node) -> Vec<Mistake> {
    let mut found = Found::default();
    names(scenario, places, &mut found);
    kubernetes::names(scenario, places, &mut found);
    images(scenario, places.at("images"), &mut found);
    install::releases(scenario, places.at("install"), &mut found);
    registration::registration(scenario, places.at("registration"), &mut found);
    federation::federation(scenario, places, &mut found);
    for (name, endpoint) in &scenario.endpoints {
        self::endpoint(scenario, name, endpoint, places.at("endpoints"), &mut found);
    }
    for (name, client) in &scenario.clients {
        self::client(client, places.at("clients").at(name), &mut found);
    }
    machines::machines(scenario, places, &mut found);
    forged(scenario, places, &mut found);
    stages(scenario, places, &mut found);
    broken(scenario, places.at("broken"), &mut found);

    found.0.sort_by_key(|(place, _)| *place);
    let mistake = |(place, message): (Place, String)| Mistake {
        file: scenario.file.clone(),
        line: place.line,
        column: place.column,
        message,
    };
    found.0.into_iter().map(mistake).collect()
}

#[derive(Default)]
struct Found(Vec<(Place, String)>);

impl Found {
    fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push((place, message.into()));
    }

    fn check(&mut self, holds: bool, place: Place, message: impl FnOnce() -> String) {
        if !holds {
            self.add(place, message());
        }
    }

    /// A name that must be among those that are defined.
    fn known<'a>(
        &mut self,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
        place: Place,
    ) -> bool {
        let found = known.clone().into_iter().any(|one| one == name);
        self.check(found, place, || format!("{what} `{name}` is not defined{}", instead(name, known)));
        found
    }
}

fn names(scenario: &Scenario, places: &Node, found: &mut Found) {
    let place = places.at("scenario").place();
    found.check(is_label(&scenario.name), place, || label_wanted("scenario", &scenario.name));
    // What stands already is looked at; what is to be made must be said.
    let makes = !scenario.install.is_empty() || scenario.registration != Registration::default();
    for key in ["trust-domain", "spire"] {
        found.check(!makes || places.has(key), places.place(), || {
            format!("the key `{key}` is missing here: only where nothing is installed it is found out")
        });
    }
    if !places.has("trust-domain") {
        return;
    }
    if let Err(why) = trust_domain(&scenario.trust_domain) {
        found.add(
            places.at("trust-domain").place(),
            format!("`{}` is not a trust domain: {why}", scenario.trust_domain),
        );
    }
}

fn images(scenario: &Scenario, places: &Node, found: &mut Found) {
    for (number, image) in scenario.images.iter().enumerate() {
        if let Err(why) = OwnImage::read(image, &scenario.root) {
            found.add(places.nth(number).place(), why);
        }
    }
}

fn endpoint(scenario: &Scenario, name: &str, endpoint: &Endpoint, places: &Node, found: &mut Found) {
    let place = places.at(name);
    if let Some(identity) = &endpoint.identity {
        spiffe_path(identity, place.at("identity").place(), found);
    }
    found.check(endpoint.dns.is_none() || endpoint.identity.is_some(), place.key("dns"), || {
        format!("endpoint `{name}` has `dns` but no `identity`: without an identity it is plain HTTP")
    });
    found.check(endpoint.sni.is_none() || endpoint.identity.is_some(), place.key("sni"), || {
        format!("endpoint `{name}` has `sni` but no `identity`: plain HTTP carries no server name")
    });
    request::server_name(endpoint.sni.as_deref(), place.at("sni").place(), found);
    found.check(endpoint.evidence.is_none() || endpoint.admin.is_none(), place.key("evidence"), || {
        format!("endpoint `{name}` has `admin`, so there is more evidence than the client's side")
    });
    found.check(endpoint.app_log.is_none() || endpoint.admin.is_some(), place.key("app-log"), || {
        format!("endpoint `{name}` has `app-log` but no `admin`: the two are read together as evidence")
    });
    let Some(upstream) = &endpoint.upstream else { return };
    let at = place.at("upstream").place();
    if found.known("endpoint", upstream, scenario.endpoints.keys().map(String::as_str), at) {
        let route: Vec<_> = scenario.route(name).collect();
        let back = route.last().and_then(|last| scenario.endpoints[*last].upstream.as_deref());
        // Told for each endpoint on the circle, not for those that merely lead into it.
        found.check(back != Some(name), at, || {
            format!("`upstream` runs in a circle: {} -> {name}", route.join(" -> "))
        });
    }
}

fn client(client: &Client, place: &Node, found: &mut Found) {
    if let Some(id) = client.identity() {
        spiffe_path(id, place.at("id").place(), found);
    }
    if let Some(jwt) = client.jwt() {
        let place = place.at("jwt");
        found.check(!jwt.audience.is_empty(), place.at("audience").place(), || {
            "a JWT-SVID without an audience is for nobody: name whom it is for".into()
        });
        if jwt.audience.starts_with('/') {
            spiffe_path(&jwt.audience, place.at("audience").place(), found);
        }
        if let Some(id) = &jwt.id {
            spiffe_path(id, place.at("id").place(), found);
        }
        found.check(client.subject().is_some(), place.place(), || {
            "`jwt` with `id: none`: nobody has no JWT-SVID; name by `jwt.id` whose it is".into()
        });
    }
    let Client::Full(FullClient { outside, from: Some(from), .. }) = client else { return };
    let at = place.at("from").place();
    found.check(is_pair(from), at, || {
        format!("`{from}` does not name a workload: write `namespace/app`, after its pods' label `app`")
    });
    found.check(*outside, place.key("from"), || {
        "`from` is for a client with `outside: true`: others are attested where they dial".into()
    });
    found.check(client.identity().is_some(), place.key("from"), || {
        "`from` with `id: none`: nobody has no SVID to carry out".into()
    });
}
