//! What an Envoy still waits for before a connection at one port can be judged. Pure: it reads a dump.

use std::collections::BTreeSet;

use serde_json::Value;

use super::config::Envoy;
use super::error::ConfigError;
use super::json::{items, secrets, text};
use super::listener::Listener;

/// What is missing at this port, each in words: a listener that serves, or a secret of SDS (Envoy's
/// documentation, "Secret discovery service": without its secrets a listener closes each connection, and a
/// cluster makes none). Empty where all is there. An Envoy that has no listener at this port, and that
/// discovers none, is another's way out: all of its listeners count.
///
/// # Errors
/// As [`Envoy::read`].
pub fn lacking(dump: &str, port: u16) -> Result<Vec<String>, ConfigError> {
    let envoy = Envoy::read(dump)?;
    let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
    let mut lacking = vec![];
    let here = envoy.listeners.iter().any(|listener| listener.is_at(port));
    let counts = |listener: &&Listener| !here || listener.is_at(port);
    let listeners: Vec<_> = envoy.listeners.iter().filter(counts).collect();
    let warming: Vec<_> = listeners.iter().filter(|listener| listener.warming).collect();
    lacking.extend(warming.iter().map(|listener| format!("listener {} is being made", listener.in_words())));
    if !here && discovers(&dump) {
        lacking.push(format!("no listener at port {port} has been discovered"));
    }
    let chains = listeners.iter().flat_map(|listener| &listener.chains);
    let clusters = envoy.led_to(&listeners).into_iter().filter_map(|name| envoy.clusters.get(&name));
    let named = chains.flat_map(secrets).chain(clusters.flat_map(|cluster| cluster.secrets.clone()));
    let there = there(&dump);
    let missing: BTreeSet<_> = named.filter(|name| !there.contains(name)).collect();
    lacking.extend(missing.iter().map(|name| format!("SDS secret `{name}` is not there")));
    Ok(lacking)
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
