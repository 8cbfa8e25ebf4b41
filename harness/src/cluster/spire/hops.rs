//! What a server knows, as which hop breaks is told by it.

use serde_json::Value;

use super::{Agents, Server, SpireError};
use crate::proof::hops::{Agent, Entry};

impl Server {
    /// All agents that it knows, with the selectors by which they attested.
    pub async fn attested(&self) -> Result<Vec<Agent>, SpireError> {
        let answer = self.run(&["agent", "list", "-output", "json"], &Value::Null).await?;
        let listed: Agents = self.parsed(&answer)?;
        let agents = listed.agents.into_iter().map(|agent| Agent {
            id: agent.id.path,
            selectors: agent.selectors.iter().map(|one| format!("{}:{}", one.kind, one.value)).collect(),
            banned: agent.banned,
            expires: seconds(&agent.x509svid_expires_at),
        });
        Ok(agents.collect())
    }

    /// All entries that it has.
    pub async fn registered(&self) -> Result<Vec<Entry>, SpireError> {
        Ok(self.entries().await?.iter().map(super::Shown::as_hop).collect())
    }
}

fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As SPIRE 1.15 prints it, shortened.
    #[test]
    fn an_agent_is_read_with_its_selectors() {
        let text = r#"{"agents":[{"attestation_type":"k8s_psat","banned":true,"can_reattest":true,
            "id":{"path":"/spire/agent/k8s_psat/demo/1","trust_domain":"example.org"},
            "selectors":[{"type":"k8s_psat","value":"agent_node_name:worker"}],
            "x509svid_expires_at":"1732650000","x509svid_serial_number":"1"}]}"#;
        let listed: Agents = serde_json::from_str(text).unwrap();
        let agent = &listed.agents[0];
        assert_eq!(agent.selectors[0].value, "agent_node_name:worker");
        assert_eq!((agent.banned, seconds(&agent.x509svid_expires_at)), (true, Some(1_732_650_000)));
        assert_eq!(seconds(&json!(0)), None);
    }
}
