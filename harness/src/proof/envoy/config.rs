//! An Envoy's configuration as its admin interface tells it (`/config_dump`, envoy.admin.v3.ConfigDump): the
//! parts that decide what is counted where. Field names are those of Envoy's API, v3. What they mean at one
//! port is `port`'s.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::cluster::{self, Cluster};
use super::error::ConfigError;
use super::filters;
use super::json::{each, text};
use super::listener::Listener;
use super::origins;

/// What is known of one Envoy. Two that are equal count the same things in the same places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envoy {
    pub(super) listeners: Vec<Listener>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    /// Route configurations by name, for `rds`: several may have one name, from several sources.
    routes: BTreeMap<String, Vec<Value>>,
    /// Filter configurations by name, for `config_discovery`.
    extensions: BTreeMap<String, Value>,
    /// The version that it says it is of (`Node.user_agent_build_version`), where it does.
    pub version: Option<String>,
    /// Clusters that serve Envoy itself: a filter, a secret, a trace or a mirrored request goes there.
    pub(super) servants: BTreeSet<String>,
    /// Counters of a cluster are made when it is first used (`deferred_stat_options`).
    pub(super) deferred: bool,
    /// Counters may be left out (`stats_config.stats_matcher`), or it is not told whether they are.
    pub(super) hides: bool,
    /// The router's headers do not begin with `x-envoy` (`header_prefix`).
    pub(super) own_headers: bool,
    /// For how many seconds after its `exp` some JWT filter still takes a token.
    pub clock_skew: u64,
    /// By what it minds from where, or to which address, a client comes, if it does.
    pub minds_origins: Option<&'static str>,
}

impl Envoy {
    /// # Errors
    /// The text is not JSON, or not a `ConfigDump`.
    pub fn read(dump: &str) -> Result<Self, ConfigError> {
        let dump: Value = serde_json::from_str(dump).map_err(|e| ConfigError::Dump(e.to_string()))?;
        let configs = dump.get("configs").and_then(Value::as_array);
        let configs = configs.ok_or_else(|| ConfigError::Dump("it has no `configs`".into()))?;
        let mut envoy = Self { hides: true, ..Self::default() };
        cluster::servants(&dump, &mut envoy.servants);
        envoy.clock_skew = filters::clock_skew(&dump);
        envoy.minds_origins = origins::minded(&dump);
        for config in configs {
            let kind = config["@type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "BootstrapConfigDump" => envoy.read_bootstrap(&config["bootstrap"]),
                "ClustersConfigDump" => envoy.read_clusters(config),
                "ListenersConfigDump" => envoy.listeners.extend(Listener::read_all(config)),
                "RoutesConfigDump" => {
                    // The fixed ones are those that connection managers have in themselves.
                    for found in each(config, &["dynamic_route_configs"], "route_config") {
                        envoy.routes.entry(text(found, "name")).or_default().push(found.clone());
                    }
                }
                "EcdsConfigDump" => {
                    for found in each(config, &["ecds_filters"], "ecds_filter") {
                        envoy.extensions.insert(text(found, "name"), found["typed_config"].clone());
                    }
                }
                _ => {}
            }
        }
        Ok(envoy)
    }

    fn read_bootstrap(&mut self, bootstrap: &Value) {
        self.deferred = bootstrap["deferred_stat_options"]["enable_deferred_creation_stats"] == true;
        self.hides = bootstrap["stats_config"].get("stats_matcher").is_some();
        self.version = version(&bootstrap["node"]["user_agent_build_version"]["version"]);
        self.own_headers = !["", "x-envoy"].contains(&text(bootstrap, "header_prefix").as_str());
    }

    fn read_clusters(&mut self, config: &Value) {
        // Of two of one name, the active one is that which serves.
        let kinds = ["static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"];
        for cluster in each(config, &kinds, "cluster") {
            self.clusters.entry(text(cluster, "name")).or_insert_with(|| Cluster::read(cluster));
        }
    }

    /// The clusters themselves and those that aggregate ones among them choose from.
    pub(super) fn chosen_from(&self, names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut next: Vec<_> = names.into_iter().collect();
        while let Some(name) = next.pop() {
            if let Some(cluster) = self.clusters.get(&name) {
                next.extend(cluster.among.iter().filter(|name| !all.contains(*name)).cloned());
            }
            all.insert(name);
        }
        all
    }

    pub(super) fn route_configs(&self, name: &str) -> &[Value] {
        self.routes.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn extension(&self, name: &str) -> Option<&Value> {
        self.extensions.get(name)
    }
}

/// A `SemanticVersion`; what is 0 is left out of it.
fn version(value: &Value) -> Option<String> {
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    value
        .is_object()
        .then(|| format!("{}.{}.{}", number("major_number"), number("minor_number"), number("patch")))
}
