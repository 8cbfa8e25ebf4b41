//! Registration entries as SPIRE's server takes them and tells of them (`spire-server entry`, JSON).

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::proof::hops;
use crate::scenario::Entry;
use crate::spiffe_id::spiffe_id;

/// The type of a selector that only the agent with this SPIFFE ID has (SPIRE's server gives it to every
/// agent).
const AGENT: &str = "spiffe_id";

/// The entry by which an agent has another SPIFFE ID too: `path`, which entries may name as their parent
/// before anybody knows the agent's own. `spire-server token generate -spiffeID` makes the same.
pub fn standing_for(agent: &str, trust_domain: &str, path: &str) -> Wanted {
    let select = vec![format!("{AGENT}:{}", spiffe_id(trust_domain, agent))];
    Wanted { entry: Entry { id: path.into(), select, ..Entry::default() }, parent: agent.into() }
}

/// An entry under one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it says.
    pub entry: Entry,
    /// The path of the parent's SPIFFE ID.
    pub parent: String,
}

/// Every entry under each of its parents: the one that it names, the server for a node alias, else all of
/// `nodes`, the paths of node aliases or of agents.
pub fn under(entries: &[Entry], nodes: &[&str]) -> Vec<Wanted> {
    let parents = |entry: &Entry| match &entry.parent {
        Some(parent) => vec![parent.clone()],
        None if entry.node => vec!["/spire/server".into()],
        None => nodes.iter().map(|node| (*node).to_owned()).collect(),
    };
    let each = |entry: &Entry| {
        let entry = entry.clone();
        parents(&entry).into_iter().map(move |parent| Wanted { entry: entry.clone(), parent })
    };
    entries.iter().flat_map(each).collect()
}

impl Wanted {
    fn selectors(&self) -> BTreeSet<Selector> {
        let selectors = self.entry.select.iter().map(|selector| {
            let (kind, value) = selector.split_once(':').unwrap_or((selector, ""));
            Selector { kind: kind.into(), value: value.into() }
        });
        selectors.collect()
    }

    /// The same for the same entry: made again, it is known again.
    fn number(&self) -> String {
        let key = (&self.entry.id, &self.parent, self.entry.select.iter().collect::<BTreeSet<_>>());
        hex::encode(&Sha256::digest(format!("{key:?}"))[..8])
    }

    /// As `entry create -data -` reads it (SPIRE, `proto/spire/common/common.proto`, `RegistrationEntry`).
    fn document(&self, trust_domain: &str, prefix: &str) -> Value {
        let Entry { id, ttl, dns, federates_with, admin, downstream, hint, store_svid, jti, .. } =
            &self.entry;
        let selectors = self.selectors().into_iter();
        let selectors = selectors.map(|one| json!({ "type": one.kind, "value": one.value }));
        let domains = federates_with.iter().map(|domain| format!("spiffe://{domain}"));
        let mut document = json!({
            "entry_id": format!("{prefix}{}", self.number()),
            "spiffe_id": spiffe_id(trust_domain, id),
            "parent_id": spiffe_id(trust_domain, &self.parent),
            "selectors": selectors.collect::<Vec<_>>(),
            "dns_names": dns,
            "x509_svid_ttl": seconds(ttl.x509),
            "jwt_svid_ttl": seconds(ttl.jwt),
            "federates_with": domains.collect::<Vec<_>>(),
            "admin": admin,
            "downstream": downstream,
            "hint": hint,
            "store_svid": store_svid,
        });
        if *jti {
            document["additional_attributes"] = json!({ "jwt_svid_include_jti": true });
        }
        document
    }
}

/// Zero is the server's own.
fn seconds(ttl: Option<SignedDuration>) -> i64 {
    ttl.map_or(0, |ttl| ttl.as_secs())
}

/// The document that `entry create -data -` reads.
pub(super) fn document(trust_domain: &str, prefix: &str, wanted: &[Wanted]) -> Value {
    json!({ "entries": wanted.iter().map(|one| one.document(trust_domain, prefix)).collect::<Vec<_>>() })
}

/// A selector, as SPIRE's API has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Selector {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) value: String,
}

/// A SPIFFE ID, as SPIRE's API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Id {
    #[serde(default)]
    pub(super) path: String,
}

/// An entry that a server has (SPIRE API SDK, `types/entry.proto`). What is as its type's default is left
/// out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Shown {
    pub(super) id: String,
    pub(super) spiffe_id: Id,
    parent_id: Id,
    selectors: BTreeSet<Selector>,
    x509_svid_ttl: i64,
    jwt_svid_ttl: i64,
    federates_with: BTreeSet<String>,
    admin: bool,
    downstream: bool,
    dns_names: Vec<String>,
    store_svid: bool,
    hint: String,
}

impl Shown {
    /// Whether a workload that this one is wanted for is given its SPIFFE ID by it.
    pub fn is(&self, wanted: &Wanted) -> bool {
        self.spiffe_id.path == wanted.entry.id
            && self.parent_id.path == wanted.parent
            && self.selectors == wanted.selectors()
    }

    /// Whether it gives anybody the SPIFFE ID with this path.
    pub fn is_of(&self, path: &str) -> bool {
        self.spiffe_id.path == path
    }

    /// The agent that it stands for, whichever workload is below it: the path of its SPIFFE ID, and that ID.
    pub(super) fn agent(&self) -> Option<(&str, &str)> {
        let selector = self.selectors.first().filter(|one| self.selectors.len() == 1 && one.kind == AGENT)?;
        let path = self.parent_id.path.as_str();
        selector.value.ends_with(path).then_some((path, selector.value.as_str()))
    }

    /// As which hop breaks is told by it.
    pub(super) fn as_hop(&self) -> hops::Entry {
        let selectors = self.selectors.iter().map(|one| format!("{}:{}", one.kind, one.value));
        hops::Entry {
            id: self.spiffe_id.path.clone(),
            parent: self.parent_id.path.clone(),
            selectors: selectors.collect(),
        }
    }

    /// Whether it is one of those that begin with this prefix: made by svidproof, for this run.
    pub fn is_ours(&self, prefix: &str) -> bool {
        self.id.starts_with(prefix)
    }

    /// In what it is another than wanted, though it is of the same workload: the scenario's keys.
    pub(super) fn differs(&self, wanted: &Wanted) -> Vec<&'static str> {
        let Entry { ttl, dns, federates_with, admin, downstream, hint, store_svid, .. } = &wanted.entry;
        let all = [
            ("ttl", self.x509_svid_ttl != seconds(ttl.x509) || self.jwt_svid_ttl != seconds(ttl.jwt)),
            ("dns", self.dns_names != *dns),
            ("federates-with", self.federates_with != federates_with.iter().cloned().collect()),
            ("admin", self.admin != *admin),
            ("downstream", self.downstream != *downstream),
            ("hint", self.hint != *hint),
            ("store-svid", self.store_svid != *store_svid),
        ];
        all.into_iter().filter(|(_, other)| *other).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        serde_saphyr::from_str(text).unwrap()
    }

    fn web() -> Entry {
        entry("{id: /web, select: ['k8s:ns:a', 'k8s:pod-label:app:web'], dns: [web]}")
    }

    #[test]
    fn workloads_hang_under_every_alias_and_keep_their_selectors_colons() {
        let nodes = ["/one", "/two"];
        let alias = |id: &str| entry(&format!("{{id: {id}, select: ['k8s_psat:cluster:c'], node: true}}"));
        let all = under(&[alias("/one"), alias("/two"), web()], &nodes);
        let made = document("example.org", "run.", &all);
        let of = |number: usize, key: &str| made["entries"][number][key].clone();
        assert_eq!(made["entries"].as_array().unwrap().len(), 4);
        assert_eq!(of(0, "parent_id"), "spiffe://example.org/spire/server");
        assert_eq!(of(2, "parent_id"), "spiffe://example.org/one");
        assert_eq!(of(3, "parent_id"), "spiffe://example.org/two");
        let selectors =
            json!([{"type": "k8s", "value": "ns:a"}, {"type": "k8s", "value": "pod-label:app:web"}]);
        assert_eq!((of(3, "selectors"), of(3, "dns_names")), (selectors, json!(["web"])));
        assert_ne!(of(2, "entry_id"), of(3, "entry_id"));
        assert!(of(2, "entry_id").as_str().unwrap().starts_with("run."));
    }

    #[test]
    fn a_parent_that_is_named_is_the_only_one() {
        let nested = entry("{id: /inner, select: ['k8s:ns:a'], parent: /outer}");
        let all = under(&[nested], &["/one", "/two"]);
        assert_eq!(all.iter().map(|one| one.parent.as_str()).collect::<Vec<_>>(), ["/outer"]);
    }

    /// By it an agent of the run's own is known again, and no other is taken for it.
    #[test]
    fn an_entry_says_which_agent_it_stands_for() {
        let agent = "/spire/agent/join_token/a-b";
        let wanted = standing_for(agent, "example.org", "/vm-1");
        let mut made = wanted.document("example.org", "run.");
        for (key, path) in [("spiffe_id", "/vm-1"), ("parent_id", agent)] {
            made[key] = json!({"trust_domain": "example.org", "path": path});
        }
        let shown: Shown = serde_json::from_value(made).unwrap();
        assert_eq!(shown.agent(), Some((agent, "spiffe://example.org/spire/agent/join_token/a-b")));
        // A workload's, one under another parent, and one with more selectors.
        assert_eq!(self::shown(&json!({})).agent(), None);
        let other = Shown { parent_id: Id { path: "/spire/agent/join_token/c".into() }, ..shown.clone() };
        assert_eq!(other.agent(), None);
        let more = Selector { kind: "unix".into(), value: "uid:1".into() };
        let more = Shown { selectors: shown.selectors.iter().cloned().chain([more]).collect(), ..shown };
        assert_eq!(more.agent(), None);
    }

    #[test]
    fn the_same_entry_made_again_has_the_same_id() {
        let number = |entry: Entry| under(&[entry], &["/one"])[0].number();
        assert_eq!(number(web()), number(web()));
        let turned = Entry { select: web().select.into_iter().rev().collect(), ..web() };
        assert_eq!(number(web()), number(turned));
        assert_ne!(number(web()), number(Entry { id: "/other".into(), ..web() }));
        assert_ne!(number(web()), number(Entry { select: vec!["k8s:ns:b".into()], ..web() }));
    }

    const ALL: &str = "{id: /web, select: ['k8s:ns:a'], parent: /one, dns: [web], ttl: {x509: 30m, jwt: \
                       90s}, federates-with: [other.org], admin: true, downstream: true, hint: out, \
                       store-svid: true, jti: true}";

    #[test]
    fn all_that_an_entry_says_goes_to_the_server() {
        let made = under(&[entry(ALL)], &[])[0].document("example.org", "run.");
        let expected = json!({
            "entry_id": made["entry_id"], "spiffe_id": "spiffe://example.org/web",
            "parent_id": "spiffe://example.org/one", "selectors": [{"type": "k8s", "value": "ns:a"}],
            "dns_names": ["web"], "x509_svid_ttl": 1800, "jwt_svid_ttl": 90,
            "federates_with": ["spiffe://other.org"], "admin": true, "downstream": true, "hint": "out",
            "store_svid": true, "additional_attributes": {"jwt_svid_include_jti": true},
        });
        assert_eq!(made, expected);
    }

    fn shown(over: &Value) -> Shown {
        let mut shown = json!({
            "id": "x", "spiffe_id": {"trust_domain": "example.org", "path": "/web"},
            "parent_id": {"trust_domain": "example.org", "path": "/one"},
            "selectors": [{"type": "k8s", "value": "ns:a"}], "dns_names": ["web"],
            "x509_svid_ttl": 1800, "jwt_svid_ttl": 90, "federates_with": ["other.org"], "admin": true,
            "downstream": true, "hint": "out", "store_svid": true, "revision_number": "7",
        });
        for (key, value) in over.as_object().unwrap() {
            shown[key] = value.clone();
        }
        serde_json::from_value(shown).unwrap()
    }

    #[test]
    fn an_entry_is_known_by_identity_parent_and_selectors() {
        let wanted = &under(&[entry(ALL)], &[])[0];
        assert!(shown(&json!({})).is(wanted));
        for other in [
            json!({"spiffe_id": {"path": "/other"}}),
            json!({"parent_id": {"path": "/two"}}),
            json!({"selectors": []}),
            json!({"selectors": [{"type": "k8s", "value": "ns:a"}, {"type": "k8s", "value": "sa:b"}]}),
        ] {
            assert!(!shown(&other).is(wanted), "{other}");
        }
    }

    #[test]
    fn in_what_it_is_another_is_told_by_the_scenarios_keys() {
        let wanted = &under(&[entry(ALL)], &[])[0];
        assert!(shown(&json!({})).differs(wanted).is_empty());
        for (other, key) in [
            (json!({"dns_names": []}), "dns"),
            (json!({"x509_svid_ttl": 60}), "ttl"),
            (json!({"jwt_svid_ttl": 0}), "ttl"),
            (json!({"federates_with": []}), "federates-with"),
            (json!({"admin": false}), "admin"),
            (json!({"downstream": false}), "downstream"),
            (json!({"hint": "in"}), "hint"),
            (json!({"store_svid": false}), "store-svid"),
        ] {
            assert_eq!(shown(&other).differs(wanted), [key], "{other}");
        }
    }
}
