//! The SPIRE server of a scenario: entries created, shown and deleted, agents and bundle asked for, by its
//! own command line in its own pod.

mod bundle;
mod entries;
mod federation;
pub mod found;
mod hops;
mod outside;
mod pem;
mod svid;

pub use bundle::{lacks, pem as bundle_pem};
pub use entries::{Shown, Wanted, standing_for, under};
pub use outside::{of_certificate, of_token};
pub use svid::{carried, held};

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use svidproof_probe::protocol::{Carried, Token};

use crate::cluster::kube::{Exec, Kube, KubeError};
use crate::cluster::manifest::{Workload, WorkloadKind};
use crate::scenario::ServerApi;
use entries::{Id, document};

/// gRPC's status codes (google.rpc.Code), as `entry create` reports them an entry.
const OK: i32 = 0;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;

/// What a SPIRE server did not do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum SpireError {
    #[error("SPIRE server {server}")]
    Kube { server: String, source: KubeError },
    #[error(
        "SPIRE server {server}: there is neither a StatefulSet nor a Deployment of that name\n\
         hint: `spire: {{namespace, server}}` of the scenario names it"
    )]
    NoServer { server: String },
    #[error(
        "SPIRE server {server}: there is a StatefulSet and a Deployment of that name\n\
         hint: say which in the scenario: `server: statefulset/NAME` or `server: deployment/NAME`"
    )]
    Two { server: String },
    #[error("SPIRE server {server} has no pod that is ready\nhint: `kubectl get pods` in its namespace")]
    NoPod { server: String },
    #[error("SPIRE server {server} refused entry {id}: {message} (code {code})")]
    Refused { server: String, id: String, message: String, code: i32 },
    #[error(
        "SPIRE server {server} has an entry for {id} with these selectors already ({entry}), and it is \
         another in: {}\n\
         hint: without it in `registration` the one that is there is used",
        keys.join(", ")
    )]
    Differs { server: String, id: String, entry: String, keys: Vec<&'static str> },
    #[error("SPIRE server {server} answered what is not understood: {problem}")]
    Answer { server: String, problem: String },
}

/// What became of the entries that were asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Entries that were not there before.
    pub new: usize,
    /// There was an equal one: it stays whoever's it is.
    pub kept: usize,
}

/// A server, wherever its pod is at the moment.
#[derive(Clone)]
pub struct Server {
    kube: Kube,
    api: ServerApi,
}

impl Server {
    /// Nothing is asked of it yet.
    pub fn new(kube: Kube, api: ServerApi) -> Self {
        Self { kube, api }
    }

    /// Its workload, if that is there.
    pub async fn workload(&self) -> Result<Option<Workload>, SpireError> {
        let mut found = None;
        for workload in self.candidates() {
            if self.kube.has_workload(&workload).await.map_err(|source| self.kube(source))?
                && found.replace(workload).is_some()
            {
                return Err(SpireError::Two { server: self.name() });
            }
        }
        Ok(found)
    }

    /// That it is not there, as an error.
    pub fn missing(&self) -> SpireError {
        SpireError::NoServer { server: self.name() }
    }

    /// Waits for its workload to be there, for which its caller knows how long it may take, and then, for
    /// `limit` at most, for that to be rolled out.
    pub async fn ready(&self, limit: Duration) -> Result<(), SpireError> {
        let comes = self.kube.comes(&self.candidates()).await.map_err(|source| self.kube(source))?;
        let workload = self.workload().await?.unwrap_or(comes);
        self.kube.rolled_out(&workload, limit).await.map_err(|source| self.kube(source))
    }

    /// Its name may be that of either kind, unless the scenario says which.
    fn candidates(&self) -> Vec<Workload> {
        let both = [WorkloadKind::StatefulSet, WorkloadKind::Deployment];
        let (kinds, name) = match self.api.server.split_once('/') {
            Some(("deployment", name)) => (&both[1..], name),
            Some((_, name)) => (&both[..1], name),
            None => (&both[..], self.api.server.as_str()),
        };
        let workload = |kind: &WorkloadKind| Workload {
            kind: *kind,
            namespace: self.api.namespace.clone(),
            name: name.into(),
        };
        kinds.iter().map(workload).collect()
    }

    /// The version in its image's tag, or the image's name where that is not SPIRE's own.
    pub async fn version(&self) -> Result<Option<String>, SpireError> {
        let workload = self.workload().await?.ok_or_else(|| self.missing())?;
        let image = self.kube.image_of(&workload, &self.api.container).await;
        Ok(image.map_err(|source| self.kube(source))?.map(|image| match image.rsplit_once(':') {
            Some((name, tag)) if name.ends_with("/spire-server") => tag.into(),
            _ => image,
        }))
    }

    /// Creates the entries in one call; those that are there already stay. Their IDs begin with `prefix`, by
    /// which [`Server::delete`] knows its own.
    pub async fn create(
        &self,
        trust_domain: &str,
        prefix: &str,
        wanted: &[Wanted],
    ) -> Result<Created, SpireError> {
        let mut created = Created::default();
        if wanted.is_empty() {
            return Ok(created);
        }
        let document = document(trust_domain, prefix, wanted);
        let answer = self.run(&["entry", "create", "-data", "-", "-output", "json"], &document).await?;
        for (result, one) in self.results(&answer)?.into_iter().zip(wanted) {
            let id = one.entry.id.clone();
            match result.status.code {
                OK => created.new += 1,
                ALREADY_EXISTS => {
                    let keys = result.entry.as_ref().map(|is| is.differs(one)).unwrap_or_default();
                    if !keys.is_empty() {
                        let entry = result.entry.unwrap_or_default().id;
                        return Err(SpireError::Differs { server: self.name(), id, entry, keys });
                    }
                    created.kept += 1;
                }
                code => {
                    let message = result.status.message;
                    return Err(SpireError::Refused { server: self.name(), id, message, code });
                }
            }
        }
        Ok(created)
    }

    /// All entries that the server has.
    pub async fn entries(&self) -> Result<Vec<Shown>, SpireError> {
        let shown: Entries =
            self.parsed(&self.run(&["entry", "show", "-output", "json"], &Value::Null).await?)?;
        Ok(shown.entries)
    }

    /// The paths of the SPIFFE IDs of the agents that have attested, in order.
    pub async fn agents(&self) -> Result<Vec<String>, SpireError> {
        let known = self.known_agents().await?.into_iter();
        Ok(known.filter(|(_, banned)| !banned).map(|(path, _)| path).collect())
    }

    /// The DER of each CA certificate of the trust domain.
    pub async fn authorities(&self) -> Result<BTreeSet<Vec<u8>>, SpireError> {
        let printed = self.run(&["bundle", "show"], &Value::Null).await?;
        bundle::authorities(&printed).map_err(|problem| SpireError::Answer {
            server: self.name(),
            problem: format!("its bundle: {problem}"),
        })
    }

    /// The same, as PEM.
    pub async fn bundle_pem(&self) -> Result<String, SpireError> {
        Ok(pem::certificates_of(&self.authorities().await?))
    }

    /// Waits until the key of the `ConfigMap` holds the bundle that the server's API hands out.
    pub async fn publishes(&self, key: [&str; 3], limit: Duration) -> Result<(), SpireError> {
        let own = self.authorities().await?;
        let published = self.kube.config_map_key(key, limit, |text| bundle::lacks(text, &own)).await;
        published.map_err(|source| self.kube(source))
    }

    /// Deletes the entries whose IDs begin with `prefix`, and no other, and evicts the agents that such an
    /// entry stands for. Returns how many entries there were.
    pub async fn delete(&self, prefix: &str) -> Result<usize, SpireError> {
        let all = self.entries().await?.into_iter();
        let own: Vec<_> = all.filter(|entry| entry.is_ours(prefix)).collect();
        let ids: Vec<_> = own.iter().map(|entry| entry.id.as_str()).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        self.evict_own(&own).await?;
        let answer =
            self.run(&["entry", "delete", "-file", "-", "-output", "json"], &json!({ "ids": ids })).await?;
        for (result, id) in self.results(&answer)?.iter().zip(&ids) {
            if ![OK, NOT_FOUND].contains(&result.status.code) {
                let (code, message) = (result.status.code, result.status.message.clone());
                return Err(SpireError::Refused { server: self.name(), id: (*id).into(), message, code });
            }
        }
        Ok(ids.len())
    }

    /// An X.509-SVID with this SPIFFE ID, signed without any attestation.
    pub async fn mint(&self, id: &str) -> Result<Carried, SpireError> {
        let answer = self.run(&["x509", "mint", "-spiffeID", id, "-output", "json"], &Value::Null).await?;
        svid::minted(&answer).map_err(|problem| SpireError::Answer { server: self.name(), problem })
    }

    /// A JWT-SVID with this SPIFFE ID for this audience, signed without any attestation, that is valid for a
    /// second.
    pub async fn mint_brief_jwt(&self, id: &str, audience: &str) -> Result<Token, SpireError> {
        let mint = ["jwt", "mint", "-spiffeID", id, "-audience", audience, "-ttl", "1s"];
        Ok(Token(self.run(&mint, &Value::Null).await?.trim().to_owned()))
    }

    /// What its own command line prints of a command that asks for something.
    pub async fn says(&self, command: &[&str]) -> Result<String, SpireError> {
        self.run(command, &Value::Null).await
    }

    async fn run(&self, command: &[&str], stdin: &Value) -> Result<String, SpireError> {
        let workload = self.workload().await?.ok_or_else(|| self.missing())?;
        let pod = self.kube.ready_pod(&workload).await.map_err(|source| self.kube(source))?;
        let exec = Exec {
            namespace: self.api.namespace.clone(),
            pod: pod.ok_or_else(|| SpireError::NoPod { server: self.name() })?,
            container: self.api.container.clone(),
            argv: self.argv(command),
        };
        let stdin = if stdin.is_null() { vec![] } else { stdin.to_string().into_bytes() };
        self.kube.exec(&exec, &stdin).await.map_err(|source| self.kube(source))
    }

    fn argv(&self, command: &[&str]) -> Vec<String> {
        let socket = self.api.api_socket.iter().flat_map(|socket| ["-socketPath", socket]);
        std::iter::once(self.api.binary.as_str())
            .chain(command.iter().copied())
            .chain(socket)
            .map(Into::into)
            .collect()
    }

    fn results(&self, answer: &str) -> Result<Vec<EntryResult>, SpireError> {
        self.parsed::<Results>(answer).map(|answer| answer.results)
    }

    fn parsed<'a, T: Deserialize<'a>>(&self, answer: &'a str) -> Result<T, SpireError> {
        let problem =
            |e| SpireError::Answer { server: self.name(), problem: format!("{e} in {answer:.300}") };
        serde_json::from_str(answer).map_err(problem)
    }

    fn kube(&self, source: KubeError) -> SpireError {
        SpireError::Kube { server: self.name(), source }
    }

    fn name(&self) -> String {
        self.to_string()
    }
}

impl Display for Server {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.api.namespace, self.api.server)
    }
}

#[derive(Deserialize)]
struct Results {
    results: Vec<EntryResult>,
}

#[derive(Deserialize)]
struct EntryResult {
    status: Status,
    #[serde(default)]
    entry: Option<Shown>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: i32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Entries {
    #[serde(default)]
    entries: Vec<Shown>,
}

#[derive(Deserialize)]
struct Agents {
    #[serde(default)]
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Agent {
    id: Id,
    #[serde(default)]
    banned: bool,
    #[serde(default)]
    selectors: Vec<entries::Selector>,
    /// Seconds since 1970, as text (protojson: int64).
    #[serde(default)]
    x509svid_expires_at: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_about_entries_are_read_whatever_is_left_out() {
        let answer: Results = serde_json::from_value(json!({ "results": [
            { "status": { "code": ALREADY_EXISTS, "message": "similar entry already exists" } },
            { "status": {} },
        ] }))
        .unwrap();
        let codes: Vec<_> = answer.results.iter().map(|one| one.status.code).collect();
        assert_eq!(codes, [ALREADY_EXISTS, OK], "a code of zero is left out (protojson)");
        assert_eq!(answer.results[0].status.message, "similar entry already exists");
        assert!(serde_json::from_str::<Results>("{}").is_err());
        let none: Entries = serde_json::from_str("{}").unwrap();
        assert!(none.entries.is_empty(), "a server without entries prints no list");
        let some: Entries = serde_json::from_str(r#"{"entries":[{"id":"run-0","spiffe_id":{}}]}"#).unwrap();
        assert_eq!(some.entries[0].id, "run-0");
        let none: Agents = serde_json::from_str("{}").unwrap();
        assert!(none.agents.is_empty(), "a server without agents prints no list");
    }
}
