//! What of a scenario is fixed once its cluster is up: what `up` makes and no upgrade changes. A kept run
//! notes it, and a scenario that says otherwise later is not judged on what stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Machine, Neighbour, Registration, Scenario, Spire};

/// As the cluster was brought up with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fixed {
    /// The scenario's name.
    pub name: String,
    trust_domain: String,
    spire: Spire,
    registration: Registration,
    #[serde(default)]
    federation: BTreeMap<String, Neighbour>,
    #[serde(default)]
    machines: BTreeMap<String, Machine>,
    identities: BTreeSet<String>,
    /// Namespace and name.
    releases: BTreeSet<(String, String)>,
    /// Which a cluster of svidproof's own maps once and for all.
    ports: BTreeSet<(Option<u16>, Option<u16>)>,
}

impl Scenario {
    /// What of it is fixed once its cluster is up.
    pub fn fixed(&self) -> Fixed {
        let identities = self.clients.values().flat_map(|client| client.probed().map(ToOwned::to_owned));
        let releases = self.install.iter().flatten();
        Fixed {
            name: self.name.clone(),
            trust_domain: self.trust_domain.clone(),
            spire: self.spire.clone(),
            registration: self.registration.clone(),
            federation: self.federation.clone(),
            machines: self.machines.clone(),
            identities: identities.collect(),
            releases: releases.map(|release| (release.namespace.clone(), release.name.clone())).collect(),
            ports: self.published().map(|published| (published.node_port, published.host_port)).collect(),
        }
    }
}

impl Fixed {
    /// In words, where `now` wants it otherwise. Fewer clients, releases or ports are no matter.
    pub fn needs_up(&self, now: &Self) -> Option<&'static str> {
        if self.name != now.name {
            Some("the scenario's name")
        } else if self.trust_domain != now.trust_domain {
            Some("the trust domain")
        } else if self.spire != now.spire {
            Some("the SPIRE")
        } else if self.registration != now.registration {
            Some("the registration")
        } else if self.federation != now.federation {
            Some("the federation")
        } else if self.machines != now.machines {
            Some("the machines outside of the cluster")
        } else if !now.identities.is_subset(&self.identities) {
            Some("the clients' SPIFFE IDs")
        } else if !now.releases.is_subset(&self.releases) {
            Some("the releases")
        } else if !now.ports.is_subset(&self.ports) {
            Some("the published ports")
        } else {
            None
        }
    }
}
