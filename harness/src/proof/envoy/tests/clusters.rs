//! By which name a cluster counts, what it chooses from, and which clusters' endpoints matter.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

/// Port 9001 leads to this cluster, and it counts so.
fn counts_as(cluster: Value, stat: &str) {
    let name = cluster["name"].clone();
    let dump = Dump::routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": name}}])).cluster(cluster);
    let [total, retry] = ["total", "retry"].map(|end| format!("cluster.{stat}.upstream_rq_{end}"));
    let seen = happened(&dump.meter(), &[(&total, 4), (&retry, 1)]);
    assert_eq!((seen.counted.forwarded, seen.retries, seen.elsewhere.len()), (4, 1, 0), "{stat}");
}

#[test]
fn a_cluster_counts_by_its_name_or_its_other_name() {
    counts_as(json!({"name": "web"}), "web");
    counts_as(json!({"name": "outbound|80||web.default"}), "outbound|80||web.default");
    counts_as(json!({"name": "a:b"}), "a_b");
    counts_as(json!({"name": "http://m"}), "http_m");
    counts_as(json!({"name": "web", "alt_stat_name": "alt://x:y."}), "alt_x_y");
}

#[test]
fn an_aggregate_counts_at_those_that_it_chooses_from() {
    for among in [json!(["app", "inner"]), json!([{"name": "app"}, {"name": "inner"}])] {
        let dump = Dump::routes(json!([{"match": {"prefix": "/"}, "route": {"cluster": "all"}}]))
            .cluster(json!({"name": "all", "cluster_type": {"typed_config": {"clusters": among}}}))
            // That it names the outer one again ends all the same.
            .cluster(
                json!({"name": "inner", "cluster_type": {"typed_config": {"clusters": ["other", "all"]}}}),
            );
        let moved = [
            ("cluster.app.upstream_rq_total", 2),
            ("cluster.other.upstream_rq_total", 3),
            ("cluster.other.upstream_rq_retry", 0),
            ("cluster.all.upstream_rq_total", 0),
            ("cluster.all.upstream_rq_retry", 1),
            ("cluster.inner.upstream_rq_total", 0),
            ("cluster.inner.upstream_rq_retry", 0),
        ];
        let seen = happened(&dump.meter(), &moved);
        assert_eq!((seen.counted.forwarded, seen.retries, seen.elsewhere.len()), (5, 1, 0));
    }
}

#[test]
fn the_active_cluster_of_a_name_is_that_which_counts() {
    let dump = Dump::default().text().replace("\"name\":\"app\"}", "\"name\":\"unused\"}");
    let mut dump: Value = serde_json::from_str(&dump).unwrap();
    let clusters = dump["configs"].as_array_mut().unwrap();
    let clusters =
        clusters.iter_mut().find(|one| one["@type"].as_str().unwrap().contains("Clusters")).unwrap();
    clusters["dynamic_active_clusters"] = json!([{"cluster": {"name": "app"}}]);
    clusters["dynamic_warming_clusters"] = json!([
        {"cluster": {"name": "app", "alt_stat_name": "next"}},
        {"cluster": {"name": "new"}},
    ]);
    let envoy = Envoy::read(&dump.to_string()).unwrap();
    let seen = happened(&envoy.at(9001, None).unwrap(), &[("cluster.app.upstream_rq_total", 1)]);
    assert_eq!(seen.counted.forwarded, 1);
    assert!(envoy.at(9001, Some("new")).is_ok());
}

#[test]
fn a_cluster_that_leads_back_into_this_envoy_is_named() {
    let address = json!({"envoy_internal_address": {"server_listener_name": "inner"}});
    let inner = json!({"name": "app", "load_assignment": {"endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": address}}]}]}});
    let why = Dump::default().cluster(inner).why_not();
    assert!(why.contains("cluster `app` leads to a listener of this same Envoy"), "{why}");
}

#[test]
fn connections_that_no_known_pool_makes_are_not_counted() {
    let with = |kind: &str| {
        let kind = format!("type.googleapis.com/envoy.extensions.upstreams.http.{kind}.v3.Proto");
        Dump::default().cluster(json!({"name": "app", "upstream_config": {"typed_config": {"@type": kind}}}))
    };
    for kind in ["generic", "http", "tcp"] {
        assert!(with(kind).meter().forwards());
    }
    for kind in ["udp", "dynamic_modules"] {
        assert!(with(kind).why_not().contains("what it forwards may not be counted"), "{kind}");
    }
}

fn endpoints(addresses: &[&str]) -> Value {
    let one = |address: &&str| json!({"endpoint": {"address": {"socket_address": {"address": address}}}});
    json!({"endpoints": [{"lb_endpoints": addresses.iter().map(one).collect::<Vec<_>>()}]})
}

#[test]
fn endpoints_matter_where_they_may_be_off_the_pod() {
    for (cluster, matters) in [
        (json!({"load_assignment": endpoints(&["127.0.0.1"])}), false),
        (json!({"load_assignment": endpoints(&["::1", "localhost"])}), false),
        (json!({"load_assignment": endpoints(&["127.0.0.1", "10.0.0.9"])}), true),
        (json!({"load_assignment": endpoints(&["web.default.svc"])}), true),
        (
            json!({"load_assignment": {"endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": "/run/app.sock"}}}}]}]}}),
            false,
        ),
        (json!({"type": "EDS"}), true),
        // These have no endpoints until a request comes, or none of their own.
        (json!({"type": "ORIGINAL_DST"}), false),
        (
            json!({"cluster_type": {"typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.clusters.original_dst.v3.C"}}}),
            false,
        ),
        (
            json!({"cluster_type": {"typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.C"}}}),
            false,
        ),
        (json!({"cluster_type": {"typed_config": {"clusters": ["unknown"]}}}), false),
        (
            json!({"cluster_type": {"typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"}}}),
            true,
        ),
    ] {
        let mut app = json!({"name": "app"});
        merge(&mut app, cluster.clone());
        let found = Dump::default().cluster(app).read().upstreams();
        assert_eq!(
            found,
            if matters { BTreeSet::from(["app".into()]) } else { BTreeSet::new() },
            "{cluster}"
        );
    }
}

#[test]
fn endpoints_matter_of_every_way_of_every_listener() {
    let mut dump = Dump::network(vec![
        network("sni_cluster", json!({})),
        network("rbac", json!({"stat_prefix": "n"})),
        network("connection_limit", json!({})),
        network("echo", json!({})),
        tcp(json!({"cluster": "all"})),
    ])
    .cluster(json!({"name": "all", "cluster_type": {"typed_config": {"clusters": ["other"]}}}))
    .cluster(json!({"name": "unused"}));
    dump.listeners.push(listener("127.0.0.1", 7, vec![hcm(json!({}))]));
    dump.listeners.push(listener("127.0.0.1", 8, vec![hcm(json!({"route_config": null}))]));
    assert_eq!(dump.read().upstreams(), BTreeSet::from(["app".into(), "other".into()]));
}

/// What a listener behind the listener answers would look like the application's.
#[test]
fn a_cluster_that_leads_to_a_listener_of_the_same_envoy_is_not_explained() {
    let to = |address: &str, port: u16| {
        let endpoint = json!({"address": {"socket_address": {"address": address, "port_value": port}}});
        json!({"name": "app", "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}})
    };
    let beside = |address: &str, cluster: Value| {
        let mut dump = Dump::default().cluster(cluster);
        dump.listeners.push(listener(address, 9002, vec![hcm(json!({"stat_prefix": "inner"}))]));
        dump.read().at(9001, None)
    };
    for address in ["127.0.0.1", "::1", "localhost"] {
        for at in ["127.0.0.1", "0.0.0.0", "::"] {
            let error = beside(at, to(address, 9002)).unwrap_err().to_string();
            assert!(error.contains("cluster `app` leads to listener `to-9002` on"), "{error}");
        }
    }
    // The application at another port, or at another address of the same one.
    beside("127.0.0.1", to("127.0.0.1", 9003)).unwrap();
    beside("10.0.0.1", to("127.0.0.1", 9002)).unwrap();
    beside("127.0.0.1", to("10.0.0.2", 9002)).unwrap();
}
