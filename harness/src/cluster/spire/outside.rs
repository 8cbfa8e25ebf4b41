//! Agents outside of the cluster, as their server knows them: tokens given out to join by, agents banned and
//! evicted.

use std::collections::BTreeMap;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::entries::Shown;
use super::{Agents, Server, SpireError};

/// For how many seconds a token may be joined by: the agent that it is for is started at once.
const TOKEN: &str = "120";

/// The path of the SPIFFE ID of the agent that joins by a token (SPIRE, server plugin `join_token`).
pub fn of_token(token: &str) -> String {
    format!("/spire/agent/join_token/{token}")
}

/// The path of the SPIFFE ID of the agent that proves that it has the first certificate of this PEM (SPIRE,
/// server plugin `x509pop`: the SHA-1 of the DER).
pub fn of_certificate(pem: &str) -> Option<String> {
    let leaf = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &leaf.contents);
    Some(format!("/spire/agent/x509pop/{}", hex::encode(fingerprint)))
}

impl Server {
    /// A token by which one agent can join, once.
    pub async fn token(&self) -> Result<String, SpireError> {
        let given = self.run(&["token", "generate", "-ttl", TOKEN, "-output", "json"], &Value::Null).await?;
        self.parsed::<Token>(&given).map(|token| token.value)
    }

    /// The paths of the SPIFFE IDs of all agents that it knows, and whether each is banned.
    pub async fn known_agents(&self) -> Result<BTreeMap<String, bool>, SpireError> {
        let listed: Agents =
            self.parsed(&self.run(&["agent", "list", "-output", "json"], &Value::Null).await?)?;
        Ok(listed.agents.into_iter().map(|agent| (agent.id.path, agent.banned)).collect())
    }

    /// Lets the agent with this SPIFFE ID come no more: neither does it go on, nor can it attest again.
    pub async fn ban(&self, id: &str) -> Result<(), SpireError> {
        self.run(&["agent", "ban", "-spiffeID", id, "-output", "json"], &Value::Null).await.map(drop)
    }

    /// Forgets the agent with this SPIFFE ID, and that it was banned: what it would be again, it must attest.
    pub async fn evict(&self, id: &str) -> Result<(), SpireError> {
        self.run(&["agent", "evict", "-spiffeID", id, "-output", "json"], &Value::Null).await.map(drop)
    }

    /// Evicts those agents that entries of the run's own stand for: no others are its own.
    pub(super) async fn evict_own(&self, entries: &[Shown]) -> Result<(), SpireError> {
        let own: BTreeMap<_, _> = entries.iter().filter_map(Shown::agent).collect();
        if own.is_empty() {
            return Ok(());
        }
        let known = self.known_agents().await?;
        for (_, id) in own.iter().filter(|(path, _)| known.contains_key(**path)) {
            self.evict(id).await?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Token {
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_known_by_its_certificate_or_its_token() {
        let made = rcgen::generate_simple_self_signed(["vm".to_owned()]).unwrap().cert;
        let path = of_certificate(&made.pem()).unwrap();
        let fingerprint = path.strip_prefix("/spire/agent/x509pop/").unwrap();
        assert_eq!((fingerprint.len(), hex::decode(fingerprint).is_ok()), (40, true), "{path}");
        assert_eq!(of_certificate("none"), None);
        assert_eq!(of_token("a-b"), "/spire/agent/join_token/a-b");
    }
}
