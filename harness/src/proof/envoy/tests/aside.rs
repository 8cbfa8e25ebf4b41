//! Clusters that serve Envoy itself hold nothing up.

use serde_json::{Value, json};

use super::*;

/// Whether requests to cluster `side` are passed over.
fn is_aside(dump: &Dump) -> bool {
    happened(&dump.meter(), &[("cluster.side.upstream_rq_total", 5)]).elsewhere.is_empty()
}

fn serving(somewhere: Value) -> Dump {
    Dump::default().cluster(json!({"name": "side"})).bootstrap(somewhere)
}

#[test]
fn services_of_envoys_own_are_passed_over() {
    let grpc = json!({"envoy_grpc": {"cluster_name": "side"}});
    let uri = json!({"uri": "https://side/keys", "cluster": "side", "timeout": "1s"});
    for (why, somewhere) in [
        ("SDS", json!({"sds_config": {"api_config_source": {"grpc_services": [grpc]}}})),
        ("ext_authz over gRPC", json!({"grpc_service": grpc})),
        ("ext_authz over HTTP", json!({"http_service": {"server_uri": uri}})),
        ("JWKS", json!({"remote_jwks": {"http_uri": uri}})),
        ("OAuth2", json!({"token_endpoint": uri})),
        ("Zipkin", json!({"tracing": {"provider": {"typed_config": {"collector_cluster": "side"}}}})),
        (
            "tracing of the bootstrap",
            json!({"tracing": {"http": {"typed_config": {"collector_cluster": "side"}}}}),
        ),
        ("statsd", json!({"stats_sinks": [{"typed_config": {"tcp_cluster_name": "side"}}]})),
        ("mirrors", json!({"request_mirror_policies": [{"cluster": "side"}]})),
    ] {
        assert!(is_aside(&serving(somewhere)), "{why}");
    }
    for (why, somewhere) in [
        ("nothing", json!({})),
        ("no URI", json!({"uri": {"cluster": "side"}})),
        ("another", json!({"envoy_grpc": {"cluster_name": "another"}})),
        ("no name", json!({"envoy_grpc": {}, "uri": "", "request_mirror_policies": [{}]})),
    ] {
        assert!(!is_aside(&serving(somewhere)), "{why}");
    }
}

#[test]
fn what_such_a_cluster_is_counted_by_is_passed_over() {
    let side = json!({"grpc_service": {"envoy_grpc": {"cluster_name": "outer"}}});
    let alias = serving(side.clone()).cluster(json!({"name": "outer", "alt_stat_name": "x"}));
    let seen = happened(&alias.meter(), &[("cluster.x.upstream_rq_total", 1)]);
    assert_eq!(seen.elsewhere.len(), 0);
    let among = json!({"name": "outer", "cluster_type": {"typed_config": {"clusters": ["side"]}}});
    assert!(is_aside(&serving(side.clone()).cluster(among)));
    // Another cluster counts there too: what is seen may be its.
    let shared = serving(side).cluster(json!({"name": "outer", "alt_stat_name": "side"}));
    assert!(!is_aside(&shared));
    let unknown = serving(json!({"envoy_grpc": {"cluster_name": "a:b"}}));
    assert!(happened(&unknown.meter(), &[("cluster.a_b.upstream_rq_total", 1)]).elsewhere.is_empty());
}

#[test]
fn a_service_that_a_route_leads_to_is_forwarded_to() {
    let route = json!([{"match": {"prefix": "/"}, "route": {"cluster": "side"}}]);
    let dump = Dump::routes(route)
        .cluster(json!({"name": "side"}))
        .bootstrap(json!({"grpc_service": {"envoy_grpc": {"cluster_name": "side"}}}));
    let seen = happened(
        &dump.meter(),
        &[("cluster.side.upstream_rq_total", 5), ("cluster.side.upstream_rq_retry", 0)],
    );
    assert_eq!((seen.counted.forwarded, seen.elsewhere.len()), (5, 0));
    // The tracing of another listener is none of this one's matter, its own requests are.
    let app = serving(json!({"grpc_service": {"envoy_grpc": {"cluster_name": "app"}}}));
    assert_eq!(happened(&app.meter(), &[("cluster.app.upstream_rq_total", 2)]).counted.forwarded, 2);
}

/// What other ports send is no sign that a request of this one went astray, unless it could have gone anywhere.
#[test]
fn clusters_that_other_ports_alone_lead_to_are_passed_over() {
    let beside = |filters: Vec<Value>| {
        let mut dump = serving(json!({}));
        dump.listeners.push(listener("127.0.0.1", 9002, filters));
        dump
    };
    let to_side = || {
        hcm(json!({"stat_prefix": "out", "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "side"}}]}]}}))
    };
    assert!(is_aside(&beside(vec![to_side()])));
    assert!(is_aside(&beside(vec![tcp(json!({"cluster": "side"}))])));
    assert!(!is_aside(&beside(vec![tcp(json!({"cluster": "another"}))])));
    assert!(!is_aside(&beside(vec![network("acme", json!({}))])));
    // What is not asked for by name may be asked for all the same.
    let mut astray = beside(vec![to_side()]);
    astray.listeners[0] = listener(
        "0.0.0.0",
        9001,
        vec![hcm(json!({"http_filters": [http("wasm", json!({})), router(json!({}))]}))],
    );
    assert!(!is_aside(&astray));
    // A counter that another cluster has in common is looked at.
    let shared = beside(vec![to_side()]).cluster(json!({"name": "lost", "alt_stat_name": "side"}));
    assert!(!is_aside(&shared));
}
