//! Other trust domains in the same cluster, with which stages federate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spire::{default_binary, default_container};
use super::{Entry, Scenario, ServerApi};

// Its keys are those of `spire`, written out again: serde cannot flatten what denies unknown keys.
/// The SPIRE server of another trust domain, in the same cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Neighbour {
    /// Where it stands.
    pub namespace: String,
    /// Its StatefulSet or Deployment; `deployment/NAME` or `statefulset/NAME` where there are both.
    pub server: String,
    /// Its container.
    #[serde(default = "default_container")]
    pub container: String,
    /// Its program in that container.
    #[serde(default = "default_binary")]
    pub binary: String,
    /// The socket of its API there; absent: where the program itself looks for it.
    #[serde(default)]
    pub api_socket: Option<String>,
}

impl Neighbour {
    /// Where it is asked.
    pub fn api(&self) -> ServerApi {
        ServerApi {
            namespace: self.namespace.clone(),
            server: self.server.clone(),
            container: self.container.clone(),
            binary: self.binary.clone(),
            api_socket: self.api_socket.clone(),
        }
    }
}

impl Scenario {
    /// The entries of the registration where, of the trust domains of `federation`, only these are federated
    /// with.
    pub fn entries_with(&self, federated: &[String]) -> Vec<Entry> {
        let given = |name: &String| !self.federation.contains_key(name) || federated.contains(name);
        let mut entries = self.registration.entries.clone();
        for entry in &mut entries {
            entry.federates_with.retain(given);
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario;

    /// What is no stage's to say is the entry's own: somebody else brought that bundle.
    #[test]
    fn an_entry_is_given_those_that_are_federated_with_and_those_that_no_stage_speaks_of() {
        let scenario = scenario::read_text(
            "
scenario: world
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
federation:
  a.example: {namespace: a, server: server}
  b.example: {namespace: b, server: server}
install: []
registration: [{id: /web, select: ['k8s:ns:a'], federates-with: [a.example, b.example, other.example]}]
endpoints: {web: {service: a/web, port: 443, identity: /web, admin: 1}}
clients: {friend: /friend}
stages:
  - {stage: one, checks: [{check: served, as: friend, to: web, send: GET /, expect: {status: 200}}]}
",
        );
        let of = |federated: &[&str]| {
            let federated: Vec<_> = federated.iter().map(|one| (*one).to_owned()).collect();
            scenario.entries_with(&federated)[0].federates_with.join(" ")
        };
        assert_eq!(of(&[]), "other.example");
        assert_eq!(of(&["b.example"]), "b.example other.example");
        assert_eq!(of(&["b.example", "a.example", "c.example"]), "a.example b.example other.example");
    }
}
