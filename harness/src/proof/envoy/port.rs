//! One port of one Envoy: from the listeners, filters and clusters that a dump has to the [`Meter`] that says
//! where what happens there is counted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::config::Envoy;
use super::error::ConfigError;
use super::filters::{self, Network};
use super::http::Http;
use super::json::items;
use super::listener::{self, Listener};
use super::meter::Meter;
use super::names;

/// Where the chains of a port's listeners lead.
#[derive(Default)]
struct Ways {
    http: BTreeSet<String>,
    tcp: BTreeSet<String>,
    mirrors: BTreeSet<String>,
    /// Clusters are chosen by what is in a request or a connection: by any name that a client may know.
    chosen: bool,
    mirrors_chosen: bool,
    /// There are connection managers.
    requests: bool,
    /// What may lead to whatever cluster, in words.
    strays: BTreeSet<String>,
}

impl Envoy {
    /// The clusters that a route or a TCP proxy of any listener leads to and that may leave the pod: those
    /// whose endpoints matter before a request is sent.
    pub fn upstreams(&self) -> BTreeSet<String> {
        let all = self.led_to(&self.listeners.iter().collect::<Vec<_>>());
        all.into_iter().filter(|name| self.clusters.get(name).is_some_and(|one| one.leaves)).collect()
    }

    /// The clusters that a route or a TCP proxy of these listeners leads to.
    pub(super) fn led_to(&self, listeners: &[&Listener]) -> BTreeSet<String> {
        let chains = listeners.iter().flat_map(|listener| &listener.chains);
        let filters = chains.flat_map(|chain| items(&chain["filters"]));
        self.chosen_from(filters.filter_map(|filter| self.leads(filter)).flat_map(|(clusters, _)| clusters))
    }

    /// Where what happens at this port is counted. `app_cluster` is one that the scenario names as leading to
    /// the application, whether a route does so or not.
    ///
    /// # Errors
    /// The scenario names what is not there ([`ConfigError::is_input`]), or the configuration counts in a way
    /// that is not understood.
    pub fn at(&self, port: u16, app_cluster: Option<&str>) -> Result<Meter, ConfigError> {
        let found: Vec<_> = self.listeners.iter().filter(|listener| listener.is_at(port)).collect();
        if found.is_empty() {
            let listeners = self.listeners.iter().map(Listener::in_words).collect();
            return Err(ConfigError::NoListener { port, listeners });
        }
        if let Some(name) = app_cluster.filter(|name| !self.clusters.contains_key(*name)) {
            let known = self.clusters.keys().map(|name| format!("`{name}`")).collect();
            return Err(ConfigError::NoCluster { name: name.into(), known });
        }
        let mut meter = Meter::default();
        meter.deferred = self.deferred && !self.hides;
        let mut ways = Ways::default();
        for listener in &found {
            self.add_listener(listener, &mut meter, &mut ways)?;
        }
        if ways.chosen && app_cluster.is_none() {
            return Err(ConfigError::Unexplained(format!(
                "listener {} chooses clusters by what is in the request (`cluster_header`, a specifier, \
                 SNI or filter state), so its configuration does not tell where it forwards\nhint: name the \
                 application's by `app-cluster`",
                found[0].in_words()
            )));
        }
        let named = if ways.requests { &mut ways.http } else { &mut ways.tcp };
        named.extend(app_cluster.map(ToOwned::to_owned));
        if ways.chosen {
            named.extend(self.clusters.keys().filter(|name| !self.servants.contains(*name)).cloned());
        }
        ways.http = self.chosen_from(std::mem::take(&mut ways.http));
        ways.tcp = self.chosen_from(std::mem::take(&mut ways.tcp));
        self.add_clusters(&mut meter, &mut ways)?;
        self.add_mirrors(&mut meter, &ways)?;
        self.leave_aside(port, &mut meter, &ways)?;
        self.remark_what_is_shared(port, &mut meter);
        Ok(meter)
    }

    fn add_listener(
        &self,
        listener: &Listener,
        meter: &mut Meter,
        ways: &mut Ways,
    ) -> Result<(), ConfigError> {
        let unexplained =
            |why: &str| Err(ConfigError::Unexplained(format!("listener `{}` {why}", listener.name)));
        if listener.warming {
            return unexplained("is being made or replaced: which of its configurations serves is not told");
        }
        if listener.discovers {
            return unexplained("gets filter chains one by one (`fcds_config`): they are not in the dump");
        }
        if listener.chains.is_empty() {
            return unexplained("has no filter chain: what it does with a connection cannot be counted");
        }
        meter.listen(&listener.stat);
        ways.strays.extend(listener.before.iter().filter_map(filters::before_a_chain));
        for chain in &listener.chains {
            if listener::is_tls(chain) {
                meter.handshake(&listener.stat);
            }
            if !self.add_chain(chain, meter, ways)? {
                return unexplained(
                    "has a filter chain that ends in neither the HTTP connection manager nor a TCP proxy: \
                     what it forwards cannot be counted",
                );
            }
        }
        Ok(())
    }

    /// Whether something at its end forwards.
    fn add_chain(&self, chain: &Value, meter: &mut Meter, ways: &mut Ways) -> Result<bool, ConfigError> {
        let mut terminated = false;
        for filter in items(&chain["filters"]) {
            match filters::network(filter)? {
                Network::Http(config) => {
                    let http = Http::read(config, self)?;
                    meter.http(&http);
                    meter.marks.time &= !self.own_headers;
                    ways.requests = true;
                    ways.add(http);
                    terminated = true;
                }
                Network::Tcp(clusters) => {
                    meter.tcp();
                    ways.tcp.extend(clusters);
                    terminated = true;
                }
                Network::Rbac { denied } => meter.network_rbac(&denied),
                Network::Authz { opened } => meter.lets_in(&opened),
                Network::Chooser => ways.chosen = true,
                Network::Transparent => {}
            }
        }
        Ok(terminated)
    }

    fn add_clusters(&self, meter: &mut Meter, ways: &mut Ways) -> Result<(), ConfigError> {
        for (is_tcp, names) in [(false, ways.http.clone()), (true, ways.tcp.clone())] {
            for name in names {
                let Some(cluster) = self.clusters.get(&name) else {
                    ways.strays.insert(format!("cluster `{name}`, to which a route leads, is not there yet"));
                    continue;
                };
                if cluster.internal {
                    return Err(ConfigError::Unexplained(format!(
                        "cluster `{name}` leads to a listener of this same Envoy (`envoy_internal_address`): \
                         what that one does with a request is not told"
                    )));
                }
                let behind = |port: &u16| self.listeners.iter().find(|listener| listener.is_behind(*port));
                if let Some(listener) = cluster.local.iter().find_map(behind) {
                    return Err(ConfigError::Unexplained(format!(
                        "cluster `{name}` leads to listener {} of this same Envoy: what that one does with a \
                         request is not told",
                        listener.in_words()
                    )));
                }
                if cluster.uncounted {
                    return Err(ConfigError::Unexplained(format!(
                        "cluster `{name}` makes its connections in a way of its own (`upstream_config`): \
                         what it forwards may not be counted"
                    )));
                }
                if is_tcp {
                    meter.connect_to(&cluster.stat);
                    continue;
                }
                meter.lead_to(&cluster.stat);
                let own = Http::of_cluster(&cluster.http, self);
                meter.through(&own);
                ways.mirror(own);
            }
        }
        Ok(())
    }

    /// # Errors
    /// A counter would have both what is forwarded and copies of it.
    fn add_mirrors(&self, meter: &mut Meter, ways: &Ways) -> Result<(), ConfigError> {
        if ways.mirrors_chosen {
            return Err(ConfigError::Unexplained(
                "a route mirrors requests to a cluster that is chosen by what is in the request: which \
                 counter has the copies is not told"
                    .into(),
            ));
        }
        let mirrors = self.chosen_from(ways.mirrors.iter().cloned());
        if let Some(both) = mirrors.iter().find(|name| meter.leads_to(&self.stat_of(name))) {
            return Err(ConfigError::Unexplained(format!(
                "a route mirrors requests to cluster `{both}`, to which others are forwarded: its counter \
                 cannot tell the two apart"
            )));
        }
        for name in &mirrors {
            meter.mirror_to(&self.stat_of(name));
        }
        Ok(())
    }

    /// Clusters that serve Envoy itself hold nothing up, nor do those that other ports alone lead to; but
    /// where a request could be sent to any cluster, each of them is looked at.
    fn leave_aside(&self, port: u16, meter: &mut Meter, ways: &Ways) -> Result<(), ConfigError> {
        if ways.chosen || !ways.strays.is_empty() {
            let why = ways.strays.first().map_or("clusters are chosen by what is in the request", |one| one);
            if self.hides {
                return Err(ConfigError::Unexplained(format!(
                    "{why}, and counters may be left out (`stats_config.stats_matcher`): that nothing was \
                     forwarded could not be told"
                )));
            }
            ways.strays.iter().for_each(|stray| meter.remark(stray.clone()));
            return Ok(());
        }
        let of_others = self.others(port).filter_map(|(_, filter)| self.leads(filter)).flat_map(|one| one.0);
        let servants = self.chosen_from(self.servants.iter().cloned().chain(of_others));
        let others = self.clusters.iter().filter(|(name, _)| !servants.contains(*name));
        let others: BTreeSet<_> = others.map(|(_, cluster)| cluster.stat.as_str()).collect();
        for stat in servants.iter().map(|name| self.stat_of(name)) {
            if !others.contains(stat.as_str()) {
                meter.leave_aside(&stat);
            }
        }
        Ok(())
    }

    /// Which counters have what happens at other ports in them.
    fn remark_what_is_shared(&self, port: u16, meter: &mut Meter) {
        for (other, filter) in self.others(port) {
            let who = other.in_words();
            if let Ok(Network::Authz { opened }) = filters::network(filter)
                && meter.lets_in_like(&opened)
            {
                meter.beside_connections(&other.stat);
                meter.remark(format!("listener {who} counts who is let in under `{opened}` too"));
            }
            if let Ok(Network::Rbac { denied }) = filters::network(filter)
                && meter.cuts_off_like(&denied)
            {
                meter.beside_connections(&other.stat);
                meter.remark(format!("listener {who} counts who is cut off under `{denied}` too"));
            }
            let Some((clusters, http)) = self.leads(filter) else { continue };
            let same = http.as_ref().filter(|http| meter.counts_requests_like(http));
            if let Some(http) = same {
                meter.remark(format!("listener {who} counts its requests under `{}.` too", http.prefix));
            }
            for name in self.chosen_from(clusters) {
                if !meter.leads_to(&self.stat_of(&name)) {
                    continue;
                }
                meter.remark(format!("listener {who} leads to cluster `{name}` too"));
                match &http {
                    Some(_) if same.is_some() => {}
                    Some(http) => meter.beside_requests(http),
                    None => meter.beside_connections(&other.stat),
                }
            }
        }
    }

    /// The network filters of the listeners at other ports.
    fn others(&self, port: u16) -> impl Iterator<Item = (&Listener, &Value)> {
        let others = self.listeners.iter().filter(move |listener| !listener.is_at(port));
        others.flat_map(|other| {
            let filters = other.chains.iter().flat_map(|chain| items(&chain["filters"]));
            filters.map(move |filter| (other, filter))
        })
    }

    /// The clusters that a network filter leads to and, where it is one, what is known of the connection
    /// manager.
    fn leads(&self, filter: &Value) -> Option<(BTreeSet<String>, Option<Http>)> {
        match filters::network(filter).ok()? {
            Network::Http(config) => {
                let http = Http::read(config, self).ok()?;
                Some((http.clusters.clone(), Some(http)))
            }
            Network::Tcp(clusters) => Some((clusters, None)),
            Network::Rbac { .. } | Network::Authz { .. } | Network::Transparent | Network::Chooser => None,
        }
    }

    /// What a cluster's counters are named by.
    pub fn stat_of(&self, name: &str) -> String {
        self.clusters.get(name).map_or_else(|| names::scope(name), |cluster| cluster.stat.clone())
    }
}

impl Ways {
    fn add(&mut self, mut http: Http) {
        self.http.append(&mut http.clusters);
        self.chosen |= http.by_header;
        self.mirror(http);
    }

    fn mirror(&mut self, http: Http) {
        self.mirrors.extend(http.mirrors);
        self.mirrors_chosen |= http.mirrors_by_header;
        self.strays.extend(http.filters.strays);
    }
}
