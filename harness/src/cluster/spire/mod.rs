//! The SPIRE server of a scenario: entries created and deleted, by its own command line in its own pod.

mod federation;
mod pem;

use serde::Deserialize;
use serde_json::{Value, json};
use svidproof_probe::protocol::{Carried, Token};

use crate::cluster::kube::{Exec, Kube, KubeError};
use crate::scenario::{Entry, OneOrMany};
use crate::spiffe_id::spiffe_id;

/// gRPC's status codes (google.rpc.Code), as `entry create` reports them an entry.
const OK: i32 = 0;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;

/// What a SPIRE server did not do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum SpireError {
    #[error("SPIRE server {server}")]
    Exec { server: String, source: KubeError },
    #[error("SPIRE server {server} refused entry {id}: {message} (code {code})")]
    Refused { server: String, id: String, message: String, code: i32 },
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

/// The server's pod, and the trust domain that it signs for.
#[derive(Clone)]
pub struct Server {
    kube: Kube,
    namespace: String,
    pod: String,
    container: String,
}

impl Server {
    /// The first pod of this StatefulSet.
    pub fn new(kube: Kube, namespace: &str, stateful_set: &str, container: &str) -> Self {
        Self {
            kube,
            namespace: namespace.into(),
            pod: format!("{stateful_set}-0"),
            container: container.into(),
        }
    }

    /// Creates the entries in one call. Their IDs begin with `prefix`, by which [`Server::delete`] knows its
    /// own.
    pub async fn create(
        &self,
        trust_domain: &str,
        prefix: &str,
        entries: &[Entry],
    ) -> Result<Created, SpireError> {
        let answer = self
            .run(
                &["entry", "create", "-data", "-", "-output", "json"],
                &document(trust_domain, prefix, entries),
            )
            .await?;
        let mut created = Created::default();
        for (result, entry) in self.results(&answer)?.iter().zip(entries) {
            match result.status.code {
                OK => created.new += 1,
                ALREADY_EXISTS => created.kept += 1,
                code => {
                    return Err(SpireError::Refused {
                        server: self.name(),
                        id: entry.id.clone(),
                        message: result.status.message.clone(),
                        code,
                    });
                }
            }
        }
        Ok(created)
    }

    /// Deletes the entries whose IDs begin with `prefix`, and no other. Returns how many there were.
    pub async fn delete(&self, prefix: &str) -> Result<usize, SpireError> {
        let shown: Shown =
            self.parsed(&self.run(&["entry", "show", "-output", "json"], &Value::Null).await?)?;
        let ids: Vec<_> =
            shown.entries.into_iter().map(|entry| entry.id).filter(|id| id.starts_with(prefix)).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let answer =
            self.run(&["entry", "delete", "-file", "-", "-output", "json"], &json!({ "ids": ids })).await?;
        for (result, id) in self.results(&answer)?.iter().zip(&ids) {
            if ![OK, NOT_FOUND].contains(&result.status.code) {
                let (code, message) = (result.status.code, result.status.message.clone());
                return Err(SpireError::Refused { server: self.name(), id: id.clone(), message, code });
            }
        }
        Ok(ids.len())
    }

    /// An X.509-SVID with this SPIFFE ID, signed without any attestation.
    pub async fn mint(&self, id: &str) -> Result<Carried, SpireError> {
        let answer = self.run(&["x509", "mint", "-spiffeID", id, "-output", "json"], &Value::Null).await?;
        minted(&answer).map_err(|problem| SpireError::Answer { server: self.name(), problem })
    }

    /// A JWT-SVID with this SPIFFE ID for this audience, signed without any attestation, that is valid for a
    /// second.
    pub async fn mint_brief_jwt(&self, id: &str, audience: &str) -> Result<Token, SpireError> {
        let mint = ["jwt", "mint", "-spiffeID", id, "-audience", audience, "-ttl", "1s"];
        Ok(Token(self.run(&mint, &Value::Null).await?.trim().to_owned()))
    }

    async fn run(&self, command: &[&str], stdin: &Value) -> Result<String, SpireError> {
        let argv = std::iter::once("/opt/spire/bin/spire-server")
            .chain(command.iter().copied())
            .map(Into::into)
            .collect();
        let exec = Exec {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            container: self.container.clone(),
            argv,
        };
        let stdin = if stdin.is_null() { vec![] } else { stdin.to_string().into_bytes() };
        self.kube.exec(&exec, &stdin).await.map_err(|source| SpireError::Exec { server: self.name(), source })
    }

    fn results(&self, answer: &str) -> Result<Vec<EntryResult>, SpireError> {
        self.parsed::<Results>(answer).map(|answer| answer.results)
    }

    fn parsed<'a, T: Deserialize<'a>>(&self, answer: &'a str) -> Result<T, SpireError> {
        let problem =
            |e| SpireError::Answer { server: self.name(), problem: format!("{e} in {answer:.300}") };
        serde_json::from_str(answer).map_err(problem)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

#[derive(Deserialize)]
struct Results {
    results: Vec<EntryResult>,
}

#[derive(Deserialize)]
struct EntryResult {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: i32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    entries: Vec<ShownEntry>,
    #[serde(default)]
    bundles: Vec<ShownBundle>,
}

#[derive(Deserialize)]
struct ShownBundle {
    trust_domain: String,
}

#[derive(Deserialize)]
struct ShownEntry {
    id: String,
}

/// The document that `entry create -data -` reads. Node aliases hang under the server, everything else under
/// the first of them.
fn document(trust_domain: &str, prefix: &str, entries: &[Entry]) -> Value {
    let spiffe = |path: &str| spiffe_id(trust_domain, path);
    let alias = entries.iter().find(|entry| entry.node).map_or("/spire/server", |entry| &entry.id);
    let entries = entries.iter().enumerate().map(|(number, entry)| {
        let selectors = entry.select.iter().map(|selector| {
            let (kind, value) = selector.split_once(':').unwrap_or((selector, ""));
            json!({ "type": kind, "value": value })
        });
        json!({
            "entry_id": format!("{prefix}{number}"),
            "spiffe_id": spiffe(&entry.id),
            "parent_id": spiffe(if entry.node { "/spire/server" } else { alias }),
            "selectors": selectors.collect::<Vec<_>>(),
            "dns_names": entry.dns,
        })
    });
    json!({ "entries": entries.collect::<Vec<_>>() })
}

/// The SVID with this SPIFFE ID out of what `spire-agent api fetch x509 -output json` printed.
///
/// The document has DER in base64 (SPIFFE Workload API, `X509SVID`); before SPIRE 1.15 it came wrapped in a
/// list.
pub fn carried(printed: &str, id: &str) -> Result<Carried, String> {
    let unread = |e: serde_json::Error| format!("spire-agent's answer is not understood: {e}");
    let document: Value = serde_json::from_str(printed).map_err(unread)?;
    let document = match document {
        Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        other => other,
    };
    let fetched: Fetched = serde_json::from_value(document).map_err(unread)?;
    let held: Vec<_> = fetched.svids.iter().map(|svid| svid.spiffe_id.clone()).collect();
    let svid = fetched.svids.into_iter().find(|svid| svid.spiffe_id == id);
    let svid = svid.ok_or(format!("the workload holds no SVID {id}, but {}", held.join(", ")))?;
    let certificates = |base64: &str| {
        pem::certificates(base64).map_err(|problem| format!("the SVID {id} is not understood: {problem}"))
    };
    Ok(Carried {
        chain: certificates(&svid.x509_svid)?,
        key: pem::block("PRIVATE KEY", &svid.x509_svid_key),
        bundle: certificates(&svid.bundle)?,
    })
}

/// What `x509 mint -output json` printed: DER in base64, a certificate a text or all of them in one.
fn minted(printed: &str) -> Result<Carried, String> {
    let unread = |e: serde_json::Error| format!("the minted SVID is not understood: {e}");
    let document: Value = serde_json::from_str(printed).map_err(unread)?;
    let document = match document {
        Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        other => other,
    };
    let minted: Minted = serde_json::from_value(document).map_err(unread)?;
    let certificates = |texts: &OneOrMany| texts.iter().map(pem::certificates).collect::<Result<String, _>>();
    Ok(Carried {
        chain: certificates(&minted.x509_svid)?,
        key: pem::block("PRIVATE KEY", &minted.private_key),
        bundle: certificates(&minted.root_cas)?,
    })
}

#[derive(Deserialize)]
struct Minted {
    x509_svid: OneOrMany,
    private_key: String,
    root_cas: OneOrMany,
}

#[derive(Deserialize)]
struct Fetched {
    svids: Vec<FetchedSvid>,
}

#[derive(Deserialize)]
struct FetchedSvid {
    spiffe_id: String,
    x509_svid: String,
    x509_svid_key: String,
    bundle: String,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn workloads_hang_under_the_node_alias_and_keep_their_selectors_colons() {
        let node = Entry {
            id: "/agent".into(),
            select: vec!["k8s_psat:cluster:c".into()],
            node: true,
            ..Entry::default()
        };
        let work = Entry {
            id: "/web".into(),
            select: vec!["k8s:pod-label:app:web".into()],
            dns: vec!["web".into()],
            ..Entry::default()
        };
        let made = document("example.org", "run-", &[node, work]);
        assert_eq!(made["entries"][0]["parent_id"], "spiffe://example.org/spire/server");
        let expected = json!({
            "entry_id": "run-1", "spiffe_id": "spiffe://example.org/web",
            "parent_id": "spiffe://example.org/agent",
            "selectors": [{ "type": "k8s", "value": "pod-label:app:web" }], "dns_names": ["web"],
        });
        assert_eq!(made["entries"][1], expected);
    }

    /// A certificate, as SPIRE's commands print it: DER in base64.
    fn der(name: &str) -> String {
        STANDARD.encode(rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der())
    }

    fn fetched() -> Value {
        let svid = |id: &str| {
            let (leaf, ca) = (der("leaf"), der("ca"));
            json!({ "spiffe_id": id, "x509_svid": leaf, "x509_svid_key": "a2V5", "bundle": ca })
        };
        json!({ "svids": [svid("spiffe://example.org/other"), svid("spiffe://example.org/web")] })
    }

    fn is_whole(carried: &Carried) -> bool {
        let one = |text: &str| text.matches("BEGIN CERTIFICATE").count() == 1;
        one(&carried.chain) && one(&carried.bundle) && carried.key.contains("BEGIN PRIVATE KEY-----\na2V5\n")
    }

    #[test]
    fn an_svid_is_read_as_either_form_prints_it() {
        for printed in [fetched(), json!([fetched()])] {
            let svid = carried(&printed.to_string(), "spiffe://example.org/web").unwrap();
            assert!(is_whole(&svid), "{printed}");
        }
    }

    #[test]
    fn what_is_no_such_svid_says_why() {
        let mut broken = fetched();
        broken["svids"][1]["x509_svid"] = "AAAA".into();
        for (printed, expected) in [
            (json!({ "svids": [] }).to_string(), "the workload holds no SVID spiffe://example.org/web, but "),
            (json!([]).to_string(), "spire-agent's answer is not understood: "),
            (json!({}).to_string(), "spire-agent's answer is not understood: missing field `svids`"),
            ("no identity issued".into(), "spire-agent's answer is not understood: expected "),
            (broken.to_string(), "the SVID spiffe://example.org/web is not understood: "),
        ] {
            let told = carried(&printed, "spiffe://example.org/web").unwrap_err();
            assert!(told.starts_with(expected), "{printed}: {told}");
        }
        let told = carried(&fetched().to_string(), "spiffe://example.org/none").unwrap_err();
        assert!(told.ends_with("but spiffe://example.org/other, spiffe://example.org/web"), "{told}");
    }

    #[test]
    fn a_minted_svid_is_read_as_each_form_prints_it() {
        let form =
            |leaf: Value, cas: Value| json!({ "x509_svid": leaf, "private_key": "a2V5", "root_cas": cas });
        let texts = form(der("leaf").into(), der("ca").into());
        let lists = form(json!([der("leaf")]), json!([der("ca")]));
        for printed in [&texts, &lists, &json!([lists])] {
            assert!(is_whole(&minted(&printed.to_string()).unwrap()), "{printed}");
        }
        for (printed, expected) in [
            (
                json!({ "x509_svid": der("leaf") }).to_string(),
                "the minted SVID is not understood: missing field",
            ),
            (form("%".into(), der("ca").into()).to_string(), "Invalid "),
            (String::new(), "the minted SVID is not understood: EOF"),
        ] {
            let told = minted(&printed).unwrap_err();
            assert!(told.starts_with(expected), "{printed}: {told}");
        }
    }

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
        let none: Shown = serde_json::from_str("{}").unwrap();
        assert!(none.entries.is_empty(), "a server without entries prints no list");
        let some: Shown = serde_json::from_str(r#"{"entries":[{"id":"run-0","spiffe_id":{}}]}"#).unwrap();
        assert_eq!(some.entries[0].id, "run-0");
    }
}
