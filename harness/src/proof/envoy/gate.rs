//! Whom a port lets in, by its listener's own words: for a reader, not for a verdict.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};

use serde_json::Value;

use super::config::Envoy;
use super::error::ConfigError;
use super::json::{each, items, text, typed};

/// Who may come in at a port, and what is asked about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The SANs of which a client's certificate must have one; none: every certificate that verifies is let
    /// in.
    pub sans: Vec<San>,
    /// Its RBAC filters.
    pub rbac: Vec<Rbac>,
}

/// An RBAC filter (envoy.config.rbac.v3.RBAC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rbac {
    /// Whether what a policy matches is allowed, and all else is denied; or else the other way round.
    pub allows: bool,
    /// The names of its policies.
    pub policies: Vec<String>,
}

impl Display for Rbac {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.policies.iter().map(|name| format!("`{name}`")).collect();
        f.write_str(&names.join(", "))
    }
}

/// A matcher of a certificate's SAN (`match_typed_subject_alt_names`;
/// `envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct San {
    kind: String,
    how: String,
    value: String,
}

impl San {
    /// Whether it takes a certificate with this SPIFFE ID; `None` where that is not told here.
    pub fn takes(&self, id: &str) -> Option<bool> {
        if self.kind != "URI" {
            return (!self.kind.is_empty()).then_some(false);
        }
        match self.how.as_str() {
            "exact" => Some(id == self.value),
            "prefix" => Some(id.starts_with(&self.value)),
            "suffix" => Some(id.ends_with(&self.value)),
            "contains" => Some(id.contains(&self.value)),
            _ => None,
        }
    }
}

impl Display for San {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { kind, how, value } = self;
        match (how.as_str(), kind.as_str()) {
            ("exact", "URI" | "") => f.write_str(value),
            (_, "URI" | "") => write!(f, "{how} {value}"),
            _ => write!(f, "{kind} {how} {value}"),
        }
    }
}

impl Envoy {
    /// Who is let in at this port, by the listeners there.
    pub fn gate(&self, port: u16) -> Gate {
        let mut gate = Gate::default();
        let chains = self.listeners.iter().filter(|one| one.is_at(port)).flat_map(|one| &one.chains);
        for chain in chains {
            sans(&chain["transport_socket"], &mut gate.sans);
            rbac(&chain["filters"], &mut gate.rbac);
        }
        gate
    }
}

/// The SANs of which an upstream of these clusters must have one.
///
/// # Errors
/// The text is not JSON.
pub fn wanted(dump: &str, clusters: &BTreeSet<String>) -> Result<Vec<San>, ConfigError> {
    let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
    let kinds = ["static_clusters", "dynamic_active_clusters"];
    let all = items(&dump["configs"]).flat_map(|config| each(config, &kinds, "cluster"));
    let mut found = vec![];
    for cluster in all.filter(|one| clusters.contains(&text(one, "name"))) {
        sans(cluster, &mut found);
    }
    Ok(found)
}

fn sans(value: &Value, found: &mut Vec<San>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| sans(one, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "match_typed_subject_alt_names" => {
                        found.extend(
                            items(value).filter_map(|one| san(&text(one, "san_type"), &one["matcher"])),
                        );
                    }
                    "match_subject_alt_names" => found.extend(items(value).filter_map(|one| san("", one))),
                    _ => sans(value, found),
                }
            }
        }
        _ => {}
    }
}

fn san(kind: &str, matcher: &Value) -> Option<San> {
    let (how, value) = matcher.as_object()?.iter().find(|(key, _)| *key != "ignore_case")?;
    let value = value.as_str().map_or_else(|| text(value, "regex"), ToOwned::to_owned);
    Some(San { kind: kind.into(), how: how.clone(), value })
}

fn rbac(value: &Value, found: &mut Vec<Rbac>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| rbac(one, found)),
        Value::Object(fields) => {
            let (kind, config) = typed(value);
            if kind.ends_with(".rbac.v3.RBAC") && config.get("rules").is_some() {
                let rules = &config["rules"];
                let policies = rules["policies"].as_object().into_iter().flatten();
                found.push(Rbac {
                    // The default is not told (protojson).
                    allows: rules["action"].as_str().unwrap_or("ALLOW") == "ALLOW",
                    policies: policies.map(|(name, _)| name.clone()).collect(),
                });
            }
            fields.values().for_each(|one| rbac(one, found));
        }
        _ => {}
    }
}
