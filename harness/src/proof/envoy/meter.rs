//! Where what happens at one port of one Envoy is counted.

use std::collections::{BTreeMap, BTreeSet};

use super::http::Http;
use super::marks::Marks;
use super::stats::Stats;
use crate::scenario::{Counted, Kind};

/// The counters of one port: a set of names for each kind of event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    no_cert: BTreeSet<String>,
    san: BTreeSet<String>,
    chain: BTreeSet<String>,
    broken: BTreeSet<String>,
    /// Of requests, by what denied them; that an authorizer gave no answer is counted whatever came of it.
    denied: BTreeMap<Kind, BTreeSet<String>>,
    opened: BTreeSet<String>,
    denies: bool,
    allowed: BTreeSet<String>,
    no_chain: BTreeSet<String>,
    network_rbac: BTreeSet<String>,
    /// The stat names of the clusters that requests are forwarded to.
    clusters: BTreeSet<String>,
    /// Those of clusters that connections are forwarded to.
    tcp_clusters: BTreeSet<String>,
    /// Those of clusters that serve Envoy itself: secrets, authorization, tracing, mirrors.
    aside: BTreeSet<String>,
    /// Those of clusters that requests are mirrored to.
    mirrors: BTreeSet<String>,
    requests: BTreeSet<String>,
    connections: BTreeSet<String>,
    /// Of requests and connections at other ports, which move some of these counters too.
    beside: BTreeSet<String>,
    /// A cluster's counters are made when it is first used, and nothing else leaves them out.
    pub(super) deferred: bool,
    /// Which marks on an answer can be relied on.
    pub marks: Marks,
    /// What makes counting harder, in words.
    pub remarks: Vec<String>,
}

/// What happened at one port of one Envoy between two readings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Happened {
    /// `forwarded` has each retry in it that found a connection; of TCP, it is one for each cluster that
    /// bytes went to or came from. `allowed` has one request as often as there are RBAC filters that it
    /// passed.
    pub counted: Counted,
    /// How many of the forwarded requests may be retries of others. It is no part of them: what is retried
    /// because no connection could be made counts here and not there (`upstream_rq_total` moves when a
    /// request gets a connection, `upstream_rq_retry` when a retry is decided).
    pub retries: u64,
    /// Requests to clusters that no route of the port leads to, by the cluster's stat name.
    pub elsewhere: BTreeMap<String, u64>,
    /// Copies of requests that were sent to mirrors, whatever became of the requests.
    pub mirrored: u64,
    /// Everybody's requests and connections, ours among them.
    pub requests: u64,
    /// New connections at the port.
    pub connections: u64,
    /// Requests and connections at other ports that may have moved the same counters. Requests that count
    /// among the port's own are no part of them.
    pub beside: u64,
}

impl Happened {
    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.counted = self.counted + other.counted;
        self.retries += other.retries;
        self.mirrored += other.mirrored;
        self.requests += other.requests;
        self.connections += other.connections;
        self.beside += other.beside;
        for (cluster, times) in &other.elsewhere {
            *self.elsewhere.entry(cluster.clone()).or_default() += times;
        }
        self
    }

    /// How many connections came, those among them that no filter chain took: `downstream_cx_total` has them
    /// not.
    pub fn reached(&self) -> u64 {
        self.connections + self.counted.no_chain
    }
}

impl Meter {
    pub(super) fn listen(&mut self, stat: &str) {
        self.no_chain.insert(format!("listener.{stat}.no_filter_chain_match"));
        self.connections.insert(format!("listener.{stat}.downstream_cx_total"));
    }

    /// Envoy's documentation, "Listener": TLS statistics.
    pub(super) fn handshake(&mut self, stat: &str) {
        let ssl = |counter: &str| format!("listener.{stat}.ssl.{counter}");
        self.no_cert.insert(ssl("fail_verify_no_cert"));
        self.san.insert(ssl("fail_verify_san"));
        self.chain.insert(ssl("fail_verify_error"));
        self.broken.insert(ssl("connection_error"));
    }

    pub(super) fn http(&mut self, http: &Http) {
        for (kind, counters) in &http.filters.denied {
            self.denied.entry(*kind).or_default().extend(counters.iter().cloned());
        }
        self.opened.extend(http.filters.opened.iter().cloned());
        self.allowed.extend(http.filters.allowed.iter().cloned());
        self.denies |= http.filters.denies;
        self.requests.insert(format!("{}.downstream_rq_total", http.prefix));
        self.through(http);
    }

    /// What filters take away from the marks, and what else there is to say of the way through them.
    pub(super) fn through(&mut self, http: &Http) {
        self.marks.time &= http.filters.marks.time;
        self.marks.denial &= http.filters.marks.denial;
        self.marks.serves |= http.filters.marks.serves;
        self.marks.replaces |= http.filters.marks.replaces;
        http.remarks.iter().for_each(|remark| self.remark((*remark).into()));
    }

    pub(super) fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// A TCP proxy has no requests and no marks.
    pub(super) fn tcp(&mut self) {
        self.marks = Marks { time: false, denial: false, serves: true, ..self.marks };
    }

    /// `http.<stat_prefix>.` of each connection manager.
    pub(super) fn counts_requests_like(&self, http: &Http) -> bool {
        self.requests.contains(&format!("{}.downstream_rq_total", http.prefix))
    }

    pub(super) fn network_rbac(&mut self, denied: &str) {
        self.network_rbac.insert(denied.into());
    }

    pub(super) fn cuts_off_like(&self, denied: &str) -> bool {
        self.network_rbac.contains(denied)
    }

    /// Requests of another port's connection manager move some of these counters.
    pub(super) fn beside_requests(&mut self, http: &Http) {
        self.beside.insert(format!("{}.downstream_rq_total", http.prefix));
    }

    /// Connections at another port do.
    pub(super) fn beside_connections(&mut self, stat: &str) {
        self.beside.insert(format!("listener.{stat}.downstream_cx_total"));
    }

    pub(super) fn lead_to(&mut self, cluster: &str) {
        self.clusters.insert(cluster.into());
    }

    pub(super) fn connect_to(&mut self, cluster: &str) {
        self.tcp_clusters.insert(cluster.into());
    }

    pub(super) fn leads_to(&self, cluster: &str) -> bool {
        self.clusters.contains(cluster) || self.tcp_clusters.contains(cluster)
    }

    pub(super) fn leave_aside(&mut self, cluster: &str) {
        self.aside.insert(cluster.into());
    }

    pub(super) fn mirror_to(&mut self, cluster: &str) {
        self.mirrors.insert(cluster.into());
    }

    /// Whether anything here could be counted as forwarded: without that, that nothing was is no proof.
    pub fn forwards(&self) -> bool {
        !self.clusters.is_empty() || !self.tcp_clusters.is_empty()
    }

    /// Whether an answer at the port may be to a request that `requests` has: there is a connection manager.
    pub fn speaks_http(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether bytes may go by without being looked at: there is a TCP proxy.
    pub fn passes_bytes(&self) -> bool {
        !self.tcp_clusters.is_empty()
    }

    /// Whether there is a policy that could deny a request: shadow rules alone are none.
    pub fn denies(&self) -> bool {
        self.denies
    }

    /// What happened between two readings.
    ///
    /// # Errors
    /// A counter is not there, is there no more, or went back: the words say which, and what that means.
    pub fn between(&self, before: &Stats, after: &Stats) -> Result<Happened, String> {
        grown(before, after, "server.uptime", false)?;
        let sum = |names: &BTreeSet<String>| -> Result<u64, String> {
            names.iter().map(|name| grown(before, after, name, true)).sum()
        };
        let of = |cluster: &String, counter: &str| {
            grown(before, after, &format!("cluster.{cluster}.{counter}"), !self.deferred)
        };
        let (mut forwarded, mut retries) = (0, 0);
        for cluster in &self.clusters {
            forwarded += of(cluster, "upstream_rq_total")?;
            retries += of(cluster, "upstream_rq_retry")?;
        }
        for cluster in self.tcp_clusters.difference(&self.clusters) {
            // That there were any bytes is what can be told: a connection is made before a policy has seen
            // the first of them (`upstream_cx_total`), and a server may speak first.
            let bytes =
                of(cluster, "upstream_cx_tx_bytes_total")? + of(cluster, "upstream_cx_rx_bytes_total")?;
            forwarded += u64::from(bytes > 0);
        }
        let denied = |kind| self.denied.get(&kind).map_or(Ok(0), sum);
        let opened = sum(&self.opened)?;
        let counted = Counted {
            no_cert: sum(&self.no_cert)?,
            san: sum(&self.san)?,
            chain: sum(&self.chain)?,
            broken: sum(&self.broken)?,
            no_chain: sum(&self.no_chain)?,
            network_rbac: sum(&self.network_rbac)?,
            denied: denied(Kind::Denied)?,
            authz_denied: denied(Kind::AuthzDenied)?,
            authz_error: denied(Kind::AuthzError)?.saturating_sub(opened),
            authz_open: opened,
            jwt_denied: denied(Kind::JwtDenied)?,
            allowed: sum(&self.allowed)?,
            forwarded,
        };
        Ok(Happened {
            counted,
            retries,
            elsewhere: self.elsewhere(before, after)?,
            mirrored: self
                .mirrors
                .iter()
                .map(|cluster| of(cluster, "upstream_rq_total"))
                .sum::<Result<_, _>>()?,
            requests: sum(&self.requests)?,
            connections: sum(&self.connections)?,
            beside: sum(&self.beside)?,
        })
    }

    /// Requests, and connections of TCP proxies, to whatever cluster nothing is known of.
    fn elsewhere(&self, before: &Stats, after: &Stats) -> Result<BTreeMap<String, u64>, String> {
        let all: BTreeSet<_> = before.clusters().chain(after.clusters()).collect();
        let mut elsewhere = BTreeMap::new();
        for cluster in all {
            let grown = grown(before, after, &format!("cluster.{cluster}.upstream_rq_total"), true)?;
            if grown > 0 && !self.leads_to(cluster) && !self.aside.contains(cluster) {
                elsewhere.insert(cluster.to_owned(), grown);
            }
        }
        Ok(elsewhere)
    }
}

/// By how much a counter grew; one that was not there yet was zero.
fn grown(before: &Stats, after: &Stats, name: &str, needed: bool) -> Result<u64, String> {
    match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) => after.checked_sub(before).ok_or_else(|| {
            format!("`{name}` went from {before} back to {after}: Envoy was started anew meanwhile")
        }),
        (None, Some(after)) => Ok(after),
        (Some(before), None) => Err(format!(
            "`{name}` was {before} and is not listed any more: Envoy was started anew meanwhile, or its \
             configuration changed"
        )),
        (None, None) if needed => Err(format!(
            "Envoy does not list the counter `{name}`: is it left out by `stats_config.stats_matcher`?"
        )),
        (None, None) => Ok(0),
    }
}
