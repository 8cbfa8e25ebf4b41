//! What other ports of the same Envoy count in the same counters is said.

use serde_json::{Value, json};

use super::*;

fn beside(filters: Vec<Value>) -> Vec<String> {
    let mut dump = Dump::default();
    dump.listeners.push(listener("0.0.0.0", 9002, filters));
    dump.meter().remarks
}

#[test]
fn counters_that_another_port_moves_too_are_named() {
    let requests = "listener `to-9002` on 0.0.0.0:9002 counts its requests under `http.in.` too";
    let cluster = "listener `to-9002` on 0.0.0.0:9002 leads to cluster `app` too";
    let own = json!({"stat_prefix": "second"});
    let other = json!({"stat_prefix": "second", "route_config": {"virtual_hosts": null}});
    assert_eq!(beside(vec![hcm(json!({}))]), [requests, cluster]);
    assert_eq!(beside(vec![hcm(own)]), [cluster]);
    assert!(beside(vec![hcm(other)]).is_empty());
    assert_eq!(beside(vec![tcp(json!({"cluster": "app"}))]), [cluster]);
    assert!(beside(vec![tcp(json!({"cluster": "other"}))]).is_empty());
    assert!(beside(vec![network("echo", json!({})), hcm(json!({"route_config": null}))]).is_empty());
    let mut same = Dump::default();
    same.listeners.push(listener("10.0.0.1", 9001, vec![network("rbac", json!({})), hcm(json!({}))]));
    assert!(same.meter().remarks.is_empty());
}

/// What came to another port moves no counter of this one's own, and may have moved those that both have.
#[test]
fn what_came_to_another_port_that_counts_here_too_is_told() {
    let policy = |prefix: &str| network("rbac", json!({"stat_prefix": prefix, "rules": {}}));
    let with = |own: Vec<Value>, other: Vec<Value>| {
        let mut dump = Dump::network(own);
        dump.listeners.push(listener("0.0.0.0", 9002, other));
        let moved = [
            "listener.0.0.0.0_9002.downstream_cx_total",
            "http.second.downstream_rq_total",
            "net.rbac.denied",
            "cluster.app.upstream_cx_tx_bytes_total",
            "cluster.app.upstream_cx_rx_bytes_total",
        ];
        happened(&dump.meter(), &moved.map(|name| (name, 1))).beside
    };
    let second =
        |cluster: Value| hcm(json!({"stat_prefix": "second", "route_config": {"virtual_hosts": cluster}}));
    let to_other = json!([{"name": "v", "domains": ["*"], "routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": "other"}}]}]);
    let own = || vec![policy("net."), hcm(json!({}))];
    assert_eq!(with(own(), vec![policy("net."), second(to_other.clone())]), 1, "who is cut off there");
    assert_eq!(with(own(), vec![policy("own."), second(to_other.clone())]), 0);
    assert_eq!(with(own(), vec![hcm(json!({"stat_prefix": "second"}))]), 1, "what is forwarded there");
    assert_eq!(with(own(), vec![hcm(json!({}))]), 0, "it counts as this port's own");
    assert_eq!(with(own(), vec![tcp(json!({"cluster": "app"}))]), 1, "bytes that go there");
    assert_eq!(with(own(), vec![tcp(json!({"cluster": "other"}))]), 0);
    assert_eq!(with(vec![tcp(json!({"cluster": "app"}))], vec![tcp(json!({"cluster": "app"}))]), 1);
}

#[test]
fn two_that_are_equal_count_the_same() {
    assert_eq!(Dump::default().read(), Dump::default().read());
    assert_ne!(Dump::default().read(), Dump::http(json!({"stat_prefix": "x"})).read());
    assert_ne!(Dump::default().read(), Dump::default().cluster(json!({"name": "more"})).read());
}
