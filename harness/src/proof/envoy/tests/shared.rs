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

#[test]
fn two_that_are_equal_count_the_same() {
    assert_eq!(Dump::default().read(), Dump::default().read());
    assert_ne!(Dump::default().read(), Dump::http(json!({"stat_prefix": "x"})).read());
    assert_ne!(Dump::default().read(), Dump::default().cluster(json!({"name": "more"})).read());
}
