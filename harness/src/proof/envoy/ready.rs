//! What an Envoy still waits for before a connection at one port can be judged. Pure: it reads a dump.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cluster::{self, Cluster};
use super::config::Envoy;
use super::error::ConfigError;
use super::json::{each, items, secrets, text};
use super::listener::Listener;

/// What is missing at a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// In words, the listeners that do not serve yet.
    pub listeners: Vec<String>,
    /// The names of the secrets of SDS that are not there (Envoy's documentation, "Secret discovery service":
    /// without its secrets a listener closes each connection, and a cluster makes none).
    pub secrets: BTreeSet<String>,
}

impl Lacking {
    /// Each in words; none where all is there.
    pub fn in_words(&self) -> Vec<String> {
        let secrets = self.secrets.iter().map(|name| format!("SDS secret `{name}` is not there"));
        self.listeners.iter().cloned().chain(secrets).collect()
    }
}

/// What is missing at this port: a listener that serves, or a secret. An Envoy that has no listener at this
/// port, and that discovers none, is another's way out: all of its listeners count.
///
/// # Errors
/// As [`Envoy::read`].
pub fn lacking(dump: &str, port: u16) -> Result<Lacking, ConfigError> {
    let envoy = Envoy::read(dump)?;
    let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
    let here = envoy.listeners.iter().any(|listener| listener.is_at(port));
    let counts = |listener: &&Listener| !here || listener.is_at(port);
    let listeners: Vec<_> = envoy.listeners.iter().filter(counts).collect();
    let warming = listeners.iter().filter(|listener| listener.warming);
    let mut unready: Vec<_> =
        warming.map(|listener| format!("listener {} is being made", listener.in_words())).collect();
    if !here && discovers(&dump) {
        unready.push(format!("no listener at port {port} has been discovered"));
    }
    let chains = listeners.iter().flat_map(|listener| &listener.chains);
    let clusters = envoy.led_to(&listeners).into_iter().filter_map(|name| envoy.clusters.get(&name));
    let named = chains.flat_map(secrets).chain(clusters.flat_map(|cluster| cluster.secrets.clone()));
    let there = there(&dump);
    let secrets = named.filter(|name| !there.contains(name)).collect();
    Ok(Lacking { listeners: unready, secrets })
}

/// Where SDS is asked: the stat names of the clusters that lead there, each with the path of the socket, if
/// it leads to one.
///
/// # Errors
/// The text is not JSON.
pub fn sources(dump: &str) -> Result<BTreeMap<String, Option<String>>, ConfigError> {
    let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
    let mut names = BTreeSet::new();
    asked(&dump, &mut names);
    let kinds = ["static_clusters", "dynamic_active_clusters"];
    let all = items(&dump["configs"]).flat_map(|config| each(config, &kinds, "cluster"));
    let socket = |cluster: &Value| {
        let mut found = None;
        pipe(cluster, &mut found);
        found
    };
    let meant = all.filter(|cluster| names.contains(&text(cluster, "name")));
    Ok(meant.map(|cluster| (Cluster::read(cluster).stat, socket(cluster))).collect())
}

/// The clusters that any `sds_config` names.
fn asked(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| asked(one, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "sds_config" {
                    cluster::servants(value, found);
                } else {
                    asked(value, found);
                }
            }
        }
        _ => {}
    }
}

fn pipe(value: &Value, found: &mut Option<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| pipe(one, found)),
        Value::Object(fields) => {
            if let Some(path) = value.pointer("/pipe/path").and_then(Value::as_str) {
                *found = Some(path.to_owned());
            }
            fields.values().for_each(|one| pipe(one, found));
        }
        _ => {}
    }
}

/// The trust domains whose bundles SDS has brought for Envoy's SPIFFE validator
/// (`envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig`).
///
/// # Errors
/// The text is not JSON.
pub fn trusted(dump: &str) -> Result<BTreeSet<String>, ConfigError> {
    let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
    let secrets = items(&dump["configs"]).flat_map(|config| items(&config["dynamic_active_secrets"]));
    let validators = secrets
        .filter_map(|one| one.pointer("/secret/validation_context/custom_validator_config/typed_config"));
    Ok(validators
        .flat_map(|validator| items(&validator["trust_domains"]))
        .map(|one| text(one, "name"))
        .collect())
}

/// Whether listeners may come later (LDS).
fn discovers(dump: &Value) -> bool {
    let bootstraps = items(&dump["configs"]).filter_map(|config| config.get("bootstrap"));
    let dynamic = bootstraps.filter_map(|bootstrap| bootstrap.get("dynamic_resources"));
    dynamic.into_iter().any(|one| one.get("lds_config").is_some())
}

/// Those that SDS has brought, and that are not waited for elsewhere (`SecretsConfigDump`).
fn there(dump: &Value) -> BTreeSet<String> {
    let names = |list: &str| -> BTreeSet<String> {
        let dumps = items(&dump["configs"]).flat_map(|config| items(&config[list]));
        dumps.map(|secret| text(secret, "name")).collect()
    };
    let warming = names("dynamic_warming_secrets");
    names("dynamic_active_secrets").into_iter().filter(|name| !warming.contains(name)).collect()
}
