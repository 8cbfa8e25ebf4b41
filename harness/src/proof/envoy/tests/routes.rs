//! Where routes and TCP proxies lead.

use serde_json::{Value, json};

use super::*;

const APP: &str = "cluster.app.upstream_rq_total";
const OTHER: &str = "cluster.other.upstream_rq_total";

/// Two requests to `app` and three to `other`: how many of them are forwarded, how many elsewhere.
fn forwarded(meter: &Meter) -> (u64, u64) {
    let moved = [(APP, 2), (OTHER, 3), ("cluster.other.upstream_rq_retry", 0)];
    let seen = happened(meter, &moved);
    (seen.counted.forwarded, seen.elsewhere.values().sum())
}

fn to(action: Value) -> Value {
    json!([{"match": {"prefix": "/"}, "route": action}])
}

#[test]
fn every_cluster_of_a_route_is_counted() {
    let both = json!({"clusters": [{"name": "app", "weight": 1}, {"name": "other", "weight": 1}]});
    let in_a_tree = json!({"route_config": {"virtual_hosts": [{"routes": null, "matcher": {"matcher_tree": {
        "exact_match_map": {"map": {"/": {"action": {"name": "route", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.route.v3.Route",
            "match": {"prefix": "/"}, "route": {"cluster": "other"}}}}}}}}}]}});
    for (dump, expected) in [
        (Dump::default(), (2, 3)),
        (Dump::routes(to(json!({"weighted_clusters": both}))), (5, 0)),
        (Dump::http(in_a_tree), (3, 2)),
        (Dump::routes(json!([{"match": {"prefix": "/"}, "redirect": {"path_redirect": "/x"}}])), (0, 5)),
        (Dump::routes(json!([{"match": {"prefix": "/"}, "direct_response": {"status": 403}}])), (0, 5)),
        (Dump::routes(json!([])), (0, 5)),
    ] {
        let meter = dump.meter();
        assert_eq!(forwarded(&meter), expected, "{}", dump.text());
        assert_eq!(meter.forwards(), expected.0 > 0);
    }
    let retried = [("cluster.other.upstream_rq_total", 3), ("cluster.other.upstream_rq_retry", 1)];
    let seen = happened(&Dump::routes(to(json!({"cluster": "other"}))).meter(), &retried);
    assert_eq!((seen.counted.forwarded, seen.retries, seen.elsewhere.len()), (3, 1, 0));
}

/// What could not be connected was retried, but not forwarded: neither is part of the other.
#[test]
fn retries_may_be_more_than_what_was_forwarded() {
    let seen = happened(&Dump::default().meter(), &[("cluster.app.upstream_rq_retry", 3)]);
    assert_eq!((seen.counted.forwarded, seen.retries), (0, 3));
}

#[test]
fn routes_that_come_by_name_are_those_of_that_name() {
    let by_name = |routes: Vec<Value>| {
        let mut dump = Dump::http(json!({"route_config": null, "rds": {"route_config_name": "mine"}}));
        dump.routes = routes;
        dump
    };
    let named = |name: &str, cluster: &str| {
        let host = json!({"routes": to(json!({"cluster": cluster}))});
        json!({"name": name, "virtual_hosts": [host]})
    };
    let found = by_name(vec![named("mine", "other"), named("local", "app")]);
    assert_eq!(forwarded(&found.meter()), (3, 2));
    // Two sources may have routes of one name: which of them this manager has is not told, so both count.
    assert_eq!(forwarded(&by_name(vec![named("mine", "other"), named("mine", "app")]).meter()), (5, 0));
    assert!(by_name(vec![named("local", "app")]).why_not().contains("the routes `mine` have not come"));
}

/// The dump has the fixed routes of connection managers as well, under names that `rds` may have too.
#[test]
fn fixed_routes_are_not_taken_for_those_that_come_by_name() {
    let dump = Dump::http(json!({"route_config": null, "rds": {"route_config_name": "mine"}}));
    let mut all: Value = serde_json::from_str(&dump.text()).unwrap();
    let fixed = json!([{"route_config": {"name": "mine"}}]);
    for config in all["configs"].as_array_mut().unwrap() {
        if config["@type"].as_str().unwrap().contains("Routes") {
            config["static_route_configs"] = fixed.clone();
        }
    }
    let error = Envoy::read(&all.to_string()).unwrap().at(9001, None).unwrap_err();
    assert!(error.to_string().contains("the routes `mine` have not come"), "{error}");
}

#[test]
fn routes_that_the_dump_does_not_tell_are_named() {
    let vhds = json!({"route_config": {"name": "r", "vhds": {"config_source": {}}}});
    for (patch, why) in [
        (json!({"route_config": null, "scoped_routes": {"name": "s"}}), "`scoped_routes`"),
        (json!({"route_config": null}), "from nowhere"),
        (vhds, "virtual hosts of the routes `r` come one by one"),
        (json!({"upgrade_configs": [{"upgrade_type": "connect-udp"}]}), "`CONNECT-UDP`"),
    ] {
        let found = Dump::http(patch).why_not();
        assert!(found.contains(why), "{found}");
    }
    let udp = to(
        json!({"cluster": "app", "upgrade_configs": [{"upgrade_type": "CONNECT-UDP", "connect_config": {}}]}),
    );
    assert!(Dump::routes(udp).why_not().contains("`CONNECT-UDP`"));
}

#[test]
fn a_cluster_that_the_request_chooses_needs_a_name() {
    for action in [
        json!({"cluster_header": "x-to"}),
        json!({"cluster_specifier_plugin": "p"}),
        json!({"inline_cluster_specifier_plugin": {}}),
        json!({"weighted_clusters": {"clusters": [{"cluster_header": "x-to"}]}}),
    ] {
        let dump = Dump::routes(to(action.clone()));
        assert!(dump.why_not().contains("hint: name the application's by `app-cluster`"), "{action}");
        let meter = dump.read().at(9001, Some("app")).unwrap();
        assert_eq!(forwarded(&meter), (5, 0), "{action}");
    }
}

#[test]
fn the_applications_cluster_counts_also_where_no_route_leads() {
    let envoy = Dump::routes(to(json!({"cluster": "other"}))).read();
    assert_eq!(forwarded(&envoy.at(9001, Some("app")).unwrap()), (5, 0));
    assert_eq!(forwarded(&envoy.at(9001, None).unwrap()), (3, 2));
    let error = envoy.at(9001, Some("ap")).unwrap_err();
    assert_eq!(error.to_string(), "this Envoy has no cluster `ap`: it has `app`, `other`");
    assert!(error.is_input());
}

fn mirrored(cluster: &str) -> Dump {
    Dump::routes(to(json!({"cluster": "app", "request_mirror_policies": [{"cluster": cluster}]})))
}

#[test]
fn mirrors_are_not_forwarded_to() {
    let seen = happened(&mirrored("other").meter(), &[(APP, 2), (OTHER, 3)]);
    assert_eq!((seen.counted.forwarded, seen.mirrored, seen.elsewhere.len()), (2, 3, 0));
    let host = json!({"route_config": {"virtual_hosts": [{
        "routes": to(json!({"cluster": "app"})), "request_mirror_policies": [{"cluster": "other"}]}]}});
    assert_eq!(forwarded(&Dump::http(host).meter()), (2, 0));
}

#[test]
fn copies_and_what_is_forwarded_cannot_be_told_apart_in_one_counter() {
    let apart = "its counter cannot tell the two apart";
    assert!(mirrored("app").why_not().contains(apart));
    // By another name: one counter all the same.
    let alias = mirrored("other").cluster(json!({"name": "other", "alt_stat_name": "app"}));
    assert!(alias.why_not().contains(apart));
    // An aggregate cluster counts at those that it chooses from.
    let among = mirrored("all").cluster(json!({"name": "all",
        "cluster_type": {"typed_config": {"clusters": ["app"]}}}));
    assert!(among.why_not().contains("cluster `app`"));
    // The scenario says that the mirror is the application.
    let error = mirrored("other").read().at(9001, Some("other")).unwrap_err();
    assert!(error.to_string().contains(apart), "{error}");
    let chosen = to(json!({"cluster": "app", "request_mirror_policies": [{"cluster_header": "x"}]}));
    assert!(Dump::routes(chosen).why_not().contains("mirrors requests to a cluster that is chosen"));
}

/// `HttpProtocolOptions.request_mirror_policies` of a cluster.
#[test]
fn a_cluster_may_mirror_itself() {
    let options = |mirror: &str| {
        json!({"name": "app", "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            {"request_mirror_policies": [{"cluster": mirror}]}}})
    };
    assert_eq!(forwarded(&Dump::default().cluster(options("other")).meter()), (2, 0));
    let why = Dump::default().cluster(options("app")).why_not();
    assert!(why.contains("mirrors requests to cluster `app`"), "{why}");
}

#[test]
fn what_makes_counting_harder_is_said() {
    let redirect = json!({"cluster": "app", "internal_redirect_policy": {}});
    let hedge = json!({"route_config": {"virtual_hosts": [{"routes": to(json!({"cluster": "app"})),
        "hedge_policy": {}}]}});
    let remarks = |dump: Dump| dump.meter().remarks;
    assert_eq!(
        remarks(Dump::routes(to(redirect))),
        ["a route follows redirects itself (internal_redirect_policy)"]
    );
    assert_eq!(remarks(Dump::http(hedge.clone())), ["a route hedges requests (hedge_policy)"]);
    let mut twice = Dump::http(hedge);
    twice.listeners[0]["default_filter_chain"] = twice.listeners[0]["filter_chains"][0].clone();
    assert_eq!(remarks(twice).len(), 1);
    assert!(remarks(Dump::default()).is_empty());
}

const TX: &str = "cluster.app.upstream_cx_tx_bytes_total";
const RX: &str = "cluster.app.upstream_cx_rx_bytes_total";

#[test]
fn a_tcp_proxy_forwards_where_bytes_go_or_come() {
    let one = Dump::network(vec![tcp(json!({"cluster": "app"}))]);
    let weighted = Dump::network(vec![tcp(json!({"weighted_clusters": {"clusters": [{"name": "app"}]}}))]);
    for meter in [one.meter(), weighted.meter()] {
        // A connection alone is made before a policy has seen a byte: `upstream_rq_total` counts it.
        for (tx, rx, expected) in [(0, 0, 0), (500, 0, 1), (0, 30, 1), (500, 30, 1)] {
            let seen = happened(&meter, &[(TX, tx), (RX, rx), (APP, 1)]);
            assert_eq!((seen.counted.forwarded, seen.elsewhere.len()), (expected, 0), "{tx} {rx}");
        }
        assert!(meter.forwards());
        for (there, gone) in [(TX, RX), (RX, TX)] {
            let why = meter.between(&stats(&[(there, 0)]), &stats(&[(there, 0)])).unwrap_err();
            assert!(why.contains(&format!("`{gone}`")), "{why}");
        }
    }
    assert!(Dump::network(vec![tcp(json!({}))]).why_not().contains("names no cluster"));
    let named = one.read().at(9001, Some("other")).unwrap();
    let other = ["cluster.other.upstream_cx_tx_bytes_total", "cluster.other.upstream_cx_rx_bytes_total"];
    let seen = happened(&named, &[(TX, 0), (RX, 0), (other[0], 1), (other[1], 0)]);
    assert_eq!(seen.counted.forwarded, 1);
}

/// A TCP chain does not make one of ten requests, nor none, of what another chain counts.
#[test]
fn requests_are_counted_also_where_another_chain_is_tcp() {
    let mut dump = Dump::default();
    dump.listeners[0]["default_filter_chain"] = json!({"filters": [tcp(json!({"cluster": "other"}))]});
    let none =
        [("cluster.other.upstream_cx_tx_bytes_total", 0), ("cluster.other.upstream_cx_rx_bytes_total", 0)];
    let seen = happened(&dump.meter(), &[none[0], none[1], (APP, 10)]);
    assert_eq!(seen.counted.forwarded, 10);
    // Of a cluster that both lead to, every request and every connection is counted.
    dump.listeners[0]["default_filter_chain"] = json!({"filters": [tcp(json!({"cluster": "app"}))]});
    assert_eq!(happened(&dump.meter(), &[(APP, 10)]).counted.forwarded, 10);
}

#[test]
fn a_connection_that_chooses_its_cluster_needs_a_name() {
    let state = |key: &str| json!({"on_new_connection": [{"object_key": key}]});
    for chooser in
        [network("sni_cluster", json!({})), network("set_filter_state", state("envoy.tcp_proxy.cluster"))]
    {
        let dump = Dump::network(vec![chooser, tcp(json!({"cluster": "app"}))]);
        assert!(dump.why_not().contains("SNI or filter state"));
        let meter = dump.read().at(9001, Some("app")).unwrap();
        let other = ["cluster.other.upstream_cx_tx_bytes_total", "cluster.other.upstream_cx_rx_bytes_total"];
        let seen = happened(&meter, &[(TX, 0), (RX, 0), (other[0], 8), (other[1], 0), (OTHER, 1)]);
        assert_eq!((seen.counted.forwarded, seen.elsewhere.len()), (1, 0));
    }
    let harmless = network("set_filter_state", state("my.key"));
    Dump::network(vec![harmless, tcp(json!({"cluster": "app"}))]).meter();
}
