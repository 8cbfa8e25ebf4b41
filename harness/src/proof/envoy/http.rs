//! One HTTP connection manager, or what a cluster adds to it: its filters, and to which clusters its routes
//! lead.

use std::collections::BTreeSet;

use serde_json::Value;

use super::config::Envoy;
use super::error::ConfigError;
use super::filters::Filters;
use super::json::{items, mentions, named, text};
use super::names;

/// The response header by which Envoy's router marks what it forwarded.
const SERVICE_TIME: &str = "x-envoy-upstream-service-time";

#[derive(Debug, Default)]
pub(super) struct Http {
    /// `http.<stat_prefix>`, as its own counters have it.
    pub(super) prefix: String,
    pub(super) filters: Filters,
    pub(super) clusters: BTreeSet<String>,
    /// Clusters that get a copy of each request.
    pub(super) mirrors: BTreeSet<String>,
    /// Routes choose a cluster by what is in the request.
    pub(super) by_header: bool,
    /// So do those that mirror.
    pub(super) mirrors_by_header: bool,
    /// What makes counting harder, in words.
    pub(super) remarks: BTreeSet<&'static str>,
}

impl Http {
    /// # Errors
    /// Its routes are not in the dump.
    pub(super) fn read(config: &Value, envoy: &Envoy) -> Result<Self, ConfigError> {
        let raw = format!("http.{}.", text(config, "stat_prefix"));
        let mut http = Self { prefix: names::scope(&raw), ..Self::default() };
        http.filters.marks.denial = config.get("local_reply_config").is_none();
        let mut mappers = items(&config["local_reply_config"]["mappers"]);
        http.filters.marks.restates = mappers.any(|mapper| mapper.get("status_code").is_some());
        http.filters.marks.time = !mentions(config, SERVICE_TIME);
        let upgrades = items(&config["upgrade_configs"]).flat_map(|one| items(&one["filters"]));
        for filter in items(&config["http_filters"]).chain(upgrades) {
            http.add(&raw, filter, envoy);
        }
        for routes in routes(config, envoy)? {
            http.filters.marks.time &= !mentions(routes, SERVICE_TIME);
            http.walk(routes);
        }
        Ok(http)
    }

    /// What a cluster's `HttpProtocolOptions` add: filters that see a request after it was routed there, but
    /// before it is counted as forwarded, and mirrors.
    pub(super) fn of_cluster(options: &Value, envoy: &Envoy) -> Self {
        let mut http = Self::default();
        for filter in items(&options["http_filters"]) {
            http.add("", filter, envoy);
        }
        http.walk(options);
        http
    }

    fn add(&mut self, prefix: &str, filter: &Value, envoy: &Envoy) {
        let discovered = filter.get("config_discovery").and_then(|_| envoy.extension(&text(filter, "name")));
        let config = discovered.unwrap_or(&filter["typed_config"]);
        self.filters.marks.time &= !mentions(config, SERVICE_TIME);
        self.filters.add(prefix, filter, config);
    }

    /// Finds, at whatever depth of a route configuration, what requests are routed to.
    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| self.walk(one)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "route" => self.route(value),
                        "direct_response" => {
                            self.filters.marks.serves |=
                                value["status"].as_u64().is_none_or(|status| status < 300);
                        }
                        "request_mirror_policies" => {
                            self.mirrors.extend(named(value, "cluster"));
                            self.mirrors_by_header |= named(value, "cluster_header").next().is_some();
                        }
                        "typed_per_filter_config" => self.filters.add_at_route(value),
                        "internal_redirect_policy" => {
                            // Where it leads, Envoy may answer itself.
                            self.filters.marks.restates = true;
                            self.remarks
                                .insert("a route follows redirects itself (internal_redirect_policy)");
                        }
                        "hedge_policy" => {
                            self.remarks.insert("a route hedges requests (hedge_policy)");
                        }
                        _ => {}
                    }
                    self.walk(value);
                }
            }
            _ => {}
        }
    }

    /// A `RouteAction`.
    fn route(&mut self, action: &Value) {
        self.clusters.extend(Some(text(action, "cluster")).filter(|name| !name.is_empty()));
        let weighted = &action["weighted_clusters"]["clusters"];
        self.clusters.extend(named(weighted, "name"));
        self.by_header |= named(weighted, "cluster_header").next().is_some();
        let chosen = ["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
        self.by_header |= chosen.iter().any(|key| action.get(*key).is_some());
    }
}

/// The route configurations that a connection manager may use.
fn routes<'a>(config: &'a Value, envoy: &'a Envoy) -> Result<Vec<&'a Value>, ConfigError> {
    let found = if let Some(fixed) = config.get("route_config") {
        vec![fixed]
    } else if let Some(rds) = config.get("rds") {
        let name = text(rds, "route_config_name");
        let found: Vec<_> = envoy.route_configs(&name).iter().collect();
        if found.is_empty() {
            return Err(ConfigError::Unexplained(format!(
                "the routes `{name}` have not come to this Envoy: it forwards nothing yet"
            )));
        }
        found
    } else {
        return Err(ConfigError::Unexplained(
            "the routes come by scope (`scoped_routes`), or from nowhere: which of them serve a request is \
             not told"
                .into(),
        ));
    };
    if found.iter().any(|routes| mentions(routes, "connect-udp")) || mentions(config, "connect-udp") {
        return Err(ConfigError::Unexplained(
            "UDP is forwarded in HTTP (`CONNECT-UDP`): it goes through no pool of connections, so it is not \
             counted as forwarded"
                .into(),
        ));
    }
    if let Some(some) = found.iter().find(|routes| routes.get("vhds").is_some()) {
        return Err(ConfigError::Unexplained(format!(
            "virtual hosts of the routes `{}` come one by one, when they are first asked for (`vhds`): where \
             they lead is not told",
            text(some, "name")
        )));
    }
    Ok(found)
}
