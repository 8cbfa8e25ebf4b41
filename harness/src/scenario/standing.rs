//! A scenario as it is checked on what stands already: of what it would make nothing is left, and who of its
//! clients can only be made by what is not to be touched is named.

use std::collections::BTreeMap;

use super::{Client, Endpoint, Evidence, Restart, Scenario};
use crate::forge::JwtFlaw;

/// What is left of a scenario where nothing is installed, registered or changed.
#[derive(Debug, Clone)]
pub struct Standing {
    /// One stage, and nothing that a run would make.
    pub scenario: Scenario,
    /// Who is not tried.
    pub untried: Untried,
}

/// By client: why nobody dials as it, in words.
pub type Untried = BTreeMap<String, String>;

impl Scenario {
    /// The scenario as it is checked on what stands, in the stage of this name or else its first.
    ///
    /// # Errors
    /// It has no such stage; returned are the names of those that it has.
    pub fn as_it_stands(mut self, stage: Option<&str>) -> Result<Standing, Vec<String>> {
        let names: Vec<_> = self.stages.iter().map(|one| one.name.clone()).collect();
        self.stages.retain(|one| Some(&one.name) == stage.map(ToOwned::to_owned).as_ref().or(names.first()));
        let Some(chosen) = self.stages.first_mut() else { return Err(names) };
        chosen.values.clear();
        chosen.federation.clear();
        chosen.restart = Restart::All(false);
        chosen.banned.clear();
        let untried = self.clients.iter();
        let untried =
            untried.filter_map(|(name, client)| Some((name.clone(), unmakeable(client)?))).collect();
        self.install.clear();
        self.registration = super::Registration::default();
        self.federation.clear();
        self.machines.clear();
        self.images.clear();
        self.broken.clear();
        self.spire.authority_secret = None;
        self.spire.x509pop_secret = None;
        self.spire.outside = None;
        Ok(Standing { scenario: self, untried })
    }
}

impl Endpoint {
    /// The endpoint where what its Envoy counts is not to be had: only what the client sees is judged.
    pub fn client_side(&mut self) {
        if self.admin.take().is_some() {
            self.app_log = None;
            self.evidence = Some(Evidence::ClientSide);
        }
    }
}

/// Why the credential of such a client could not be had without the help of the SPIRE server under test.
fn unmakeable(client: &Client) -> Option<String> {
    let why = match client {
        Client::Forged { .. } => {
            "credentials are forged with the CA that svidproof gives a SPIRE server, and this one has its own"
        }
        Client::Full(full) if full.machine.is_some() => {
            "the SPIRE server would have to let an agent on its machine in"
        }
        Client::Full(full) if full.trust_domain.is_some() => {
            "the SPIRE server of its trust domain would have to sign for it without attesting anybody"
        }
        Client::Full(full) if full.jwt.as_ref().and_then(|jwt| jwt.forged) == Some(JwtFlaw::Expired) => {
            "the SPIRE server would have to sign a token for it that is over at once"
        }
        Client::Short(_) | Client::Full(_) => return None,
    };
    Some(format!("not tried on what stands: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run, authority-secret: ca, bundle: bundle, outside: {service: spire/server, port: 8081, published: {node-port: 30081}}}
federation: {partner.example: {namespace: spire, server: partner}}
forged: spiffe-validator
registration: [{id: /web, select: ['k8s:ns:a']}, {id: /vm-1/batch, parent: /vm-1, select: ['unix:uid:7']}]
machines: {vm-1: {id: /vm-1, attest: join-token}}
endpoints: {web: {service: a/web, port: 443, identity: /web, admin: 1, published: {node-port: 30001}}}
clients:
  friend: /friend
  partner: {id: /p, trust-domain: partner.example}
  late: {id: /friend, jwt: {audience: a, forged: expired}}
  bearer: {id: /friend, jwt: {audience: a}}
  batch: {id: /vm-1/batch, machine: vm-1, user: 7}
stages:
  - stage: one
    checks: [{check: served, as: friend, to: web, send: GET /, expect: {status: 200}}]
  - stage: two
    federation: [partner.example]
    restart: true
    banned: [vm-1]
    forged: [{to: web, like: friend, send: GET /}]
    checks: [{check: served, as: [friend, partner, late], to: web, send: GET /, expect: {status: 200}}]
";

    #[test]
    fn an_endpoint_whose_envoy_is_not_read_is_judged_by_the_clients_side() {
        let mut web = crate::scenario::read_text(TEXT).endpoints.remove("web").unwrap();
        web.client_side();
        assert_eq!((web.admin, web.app_log.as_ref(), web.evidence), (None, None, Some(Evidence::ClientSide)));
        let mut page = Endpoint { evidence: None, ..web };
        page.client_side();
        assert_eq!(page.evidence, None, "nothing was to be read there");
    }

    #[test]
    fn what_a_run_would_make_is_left_out_and_who_cannot_dial_is_named() {
        let whole = crate::scenario::read_text(TEXT);
        let Standing { scenario, untried } = whole.clone().as_it_stands(Some("two")).unwrap();
        assert_eq!(scenario.stages.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["two"]);
        let stage = &scenario.stages[0];
        assert!(stage.federation.is_empty() && matches!(stage.restart, Restart::All(false)));
        assert!(stage.banned.is_empty() && scenario.machines.is_empty(), "no agent is let in, or banned");
        assert!(untried["batch"].contains("let an agent on its machine in"), "{untried:?}");
        assert!(scenario.federation.is_empty() && scenario.install.is_empty());
        assert_eq!(scenario.registration, super::super::Registration::default());
        // Where its bundle is published is read, from outside.
        assert_eq!(
            (scenario.spire.authority_secret.as_ref(), scenario.spire.bundle()),
            (None, Some(("spire", "bundle")))
        );
        assert!(untried["partner"].contains("without attesting"), "{untried:?}");
        assert!(
            untried["late"].contains("over at once") && untried["rogue-ca like friend"].contains("its own")
        );
        assert!(!untried.contains_key("friend") && !untried.contains_key("bearer"));
        assert_eq!(whole.clone().as_it_stands(None).unwrap().scenario.stages[0].name, "one");
        assert_eq!(whole.as_it_stands(Some("three")).unwrap_err(), ["one", "two"]);
    }
}
