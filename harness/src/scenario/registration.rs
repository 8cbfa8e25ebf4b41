//! How the scenario's workloads are registered: entries, manifests of SPIRE's controller manager, or nothing
//! where all are there already.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{OneOrMany, schema};

/// Who is registered, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// Made by svidproof, by the server's API.
    pub entries: Vec<Entry>,
    /// Files and folders with `ClusterSPIFFEID`s and `ClusterStaticEntry`s, relative to the root.
    pub manifests: Vec<String>,
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Long {
    /// Entries that svidproof makes.
    #[serde(default)]
    entries: Vec<Entry>,
    /// Files with `ClusterSPIFFEID`s and `ClusterStaticEntry`s (SPIRE controller manager), and folders of
    /// such files, relative to the root: applied once the server is ready.
    #[serde(default)]
    manifests: Option<OneOrMany>,
}

impl<'de> Deserialize<'de> for Registration {
    /// A list is one of entries. By hand: an untagged enum would lose where in the file a mistake is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Registration;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a list of entries, or a map with `entries` and `manifests`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Registration, A::Error> {
                let entries = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Registration { entries, manifests: vec![] })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Registration, A::Error> {
                let Long { entries, manifests } = Long::deserialize(MapAccessDeserializer::new(map))?;
                let manifests = manifests.iter().flat_map(OneOrMany::iter).map(ToOwned::to_owned).collect();
                Ok(Registration { entries, manifests })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Registration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Registration".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (list, long) = (generator.subschema_for::<Vec<Entry>>(), generator.subschema_for::<Long>());
        schemars::json_schema!({
            "description": "How the workloads are registered: a list of entries, or the long form. Empty: by \
                            the entries that are there.",
            "anyOf": [list, long]
        })
    }
}

/// A registration entry, as `spire-server entry create` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(clippy::struct_excessive_bools, reason = "as SPIRE's entries have them")]
pub struct Entry {
    /// The path part of the SPIFFE ID: `/ns/default/sa/default/backend`.
    pub id: String,
    /// `type:value` each: `k8s:ns:default`.
    pub select: Vec<String>,
    /// A node alias: its parent is the server, and the parents of entries that name none are all of them.
    #[serde(default)]
    pub node: bool,
    /// The path part of the parent's SPIFFE ID: that of another entry, of an agent, or any. Absent: every
    /// node alias, or, where the scenario has none, every agent that has attested to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// DNS SANs.
    #[serde(default)]
    pub dns: Vec<String>,
    /// How long its SVIDs live; the server's own times where it is not said.
    #[serde(default, skip_serializing_if = "Ttl::is_default")]
    pub ttl: Ttl,
    /// Trust domains, without the scheme, whose bundles its workload is given too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federates_with: Vec<String>,
    /// Its SVID is an administrator's at the server's API.
    #[serde(default, skip_serializing_if = "is_false")]
    pub admin: bool,
    /// Its workload is a downstream SPIRE server.
    #[serde(default, skip_serializing_if = "is_false")]
    pub downstream: bool,
    /// What tells it from other SVIDs of its workload (SPIFFE Workload API, `hint`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Its SVIDs go into a store by the agent's plugin; all its selectors are of one type then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub store_svid: bool,
    /// Its JWT-SVIDs have a `jti` each.
    #[serde(default, skip_serializing_if = "is_false")]
    pub jti: bool,
}

/// How long the SVIDs of an entry live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ttl {
    /// An X.509-SVID: `30m`.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub x509: Option<SignedDuration>,
    /// A JWT-SVID: `5m`.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub jwt: Option<SignedDuration>,
}

impl Ttl {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

impl Registration {
    /// Whether somebody else makes entries too, or made all that there are.
    pub fn others_register(&self) -> bool {
        !self.manifests.is_empty() || self.entries.is_empty()
    }

    /// The paths of the node aliases.
    pub fn aliases(&self) -> Vec<&str> {
        let paths: BTreeSet<_> =
            self.entries.iter().filter(|entry| entry.node).map(|entry| entry.id.as_str()).collect();
        paths.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Registration {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_list_is_one_of_entries_and_the_long_form_has_both() {
        let entry = "{id: /web, select: ['k8s:ns:a']}";
        let list = read(&format!("[{entry}]"));
        assert_eq!((list.entries.len(), list.manifests.len()), (1, 0));
        assert_eq!(read(&format!("entries: [{entry}]")), list);
        let long = read("{manifests: ids.yaml}");
        assert_eq!((long.entries.len(), long.manifests), (0, vec!["ids.yaml".to_owned()]));
        assert_eq!(read("[]"), Registration::default());
    }

    /// What is kept of a run is read again.
    #[test]
    fn an_entry_that_was_written_is_read_as_it_was() {
        let all = "[{id: /web, select: ['k8s:ns:a'], parent: /agent, dns: [web], ttl: {x509: 30m}, \
                   federates-with: [other.org], admin: true, downstream: true, hint: out, store-svid: true, \
                   jti: true}, {id: /agent, select: ['k8s_psat:cluster:c'], node: true}]";
        let read = read(all);
        let entries: Vec<Entry> =
            serde_json::from_value(serde_json::to_value(&read.entries).unwrap()).unwrap();
        assert_eq!(entries, read.entries);
        assert_eq!(read.aliases(), ["/agent"]);
    }
}
