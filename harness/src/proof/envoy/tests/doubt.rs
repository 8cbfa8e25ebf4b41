//! What the room does not understand never reads as "nothing was forwarded": either the port is
//! unexplained, or what goes to any cluster is seen, the clusters of Envoy's own services among them.

use serde_json::{Value, json};

use super::*;

/// A service of Envoy's own, to which a request could be sent all the same.
fn authz() -> Value {
    json!({"grpc_service": {"envoy_grpc": {"cluster_name": "authz"}}})
}

fn with_authz(filters: Vec<Value>) -> Dump {
    let mut all = vec![http("ext_authz", authz())];
    all.extend(filters);
    all.push(router(json!({})));
    Dump::http(json!({"http_filters": all})).cluster(json!({"name": "authz"}))
}

fn routes_of(dump: &mut Dump) -> &mut Value {
    &mut dump.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
}

/// Whether a request to the service is seen.
fn is_seen(dump: &Dump, app_cluster: Option<&str>) -> bool {
    let meter = dump.read().at(9001, app_cluster).unwrap();
    let moved = [
        ("cluster.authz.upstream_rq_total", 1),
        ("cluster.other.upstream_rq_retry", 0),
        ("cluster.app.upstream_cx_tx_bytes_total", 0),
        ("cluster.app.upstream_cx_rx_bytes_total", 0),
        ("cluster.other.upstream_cx_tx_bytes_total", 0),
        ("cluster.other.upstream_cx_rx_bytes_total", 0),
    ];
    happened(&meter, &moved).elsewhere.get("authz") == Some(&1)
}

fn lua(source: Value) -> Value {
    http("lua", json!({"default_source_code": source}))
}

#[test]
fn a_filter_that_may_forward_itself_has_every_cluster_looked_at() {
    let by_file = json!({"filename": "/etc/x.lua"});
    let by_variable = json!({"environment_variable": "X"});
    let discovered = json!({"name": "d", "config_discovery": {}});
    let vendor =
        json!({"name": "v", "typed_config": {"@type": "type.googleapis.com/acme.filters.router.v3.R"}});
    for (filter, strays) in [
        (http("ext_proc", json!({})), false),
        (http("header_mutation", json!({})), false),
        (http("fault", json!({})), false),
        (lua(json!({"inline_string": "function envoy_on_request(h) end"})), false),
        (lua(json!({"inline_string": "h:httpCall('authz')"})), true),
        (lua(json!({"inline_string": "require('x')"})), true),
        (lua(by_file), true),
        (lua(by_variable), true),
        (http("wasm", json!({})), true),
        (http("golang", json!({})), true),
        (http("mcp_router", json!({})), true),
        (http("composite", json!({})), true),
        (http("dynamic_forward_proxy", json!({})), true),
        (vendor, true),
        (discovered, true),
    ] {
        let dump = with_authz(vec![filter.clone()]);
        assert_eq!(is_seen(&dump, None), strays, "{filter}");
        let remarks = dump.meter().remarks;
        let name = filter["name"].as_str().unwrap();
        let said = remarks.iter().any(|one| one.starts_with(&format!("the HTTP filter `{name}` (")));
        assert_eq!(said, strays, "{remarks:?}");
        // Where counters may be left out, that none moved is no proof.
        let hiding = dump.bootstrap(json!({"stats_config": {"stats_matcher": {}}}));
        if strays {
            let why = hiding.why_not();
            assert!(why.contains("may forward requests itself, and counters may be left out"), "{why}");
        } else {
            hiding.meter();
        }
    }
}

/// Those that answer or change answers, but send requests nowhere but to a service that is found as such.
#[test]
fn a_filter_that_forwards_nothing_itself_holds_nothing_up() {
    for filter in [
        "adaptive_concurrency",
        "admission_control",
        "api_key_auth",
        "bandwidth_limit",
        "basic_auth",
        "cdn_loop",
        "compressor",
        "credential_injector",
        "custom_response",
        "decompressor",
        "ext_authz",
        "grpc_field_extraction",
        "grpc_http1_bridge",
        "grpc_http1_reverse_bridge",
        "grpc_json_transcoder",
        "grpc_web",
        "json_to_metadata",
        "oauth2",
        "rate_limit_quota",
        "stateful_session",
        "jwt_authn",
        "health_check",
    ] {
        let dump = with_authz(vec![http(filter, json!({}))]);
        assert!(!is_seen(&dump, None), "{filter}");
        assert!(dump.meter().remarks.is_empty(), "{filter}");
    }
}

#[test]
fn so_has_a_filter_at_a_route_or_of_a_cluster() {
    let wasm = json!({"@type": format!("{HTTP}.wasm.v3.Wasm")});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "app"},
        "typed_per_filter_config": {"w": wasm}});
    let mut at_route = with_authz(vec![]);
    *routes_of(&mut at_route) = json!({"virtual_hosts": [{"routes": [route]}]});
    assert!(is_seen(&at_route, None));
    let options = json!({"http_filters": [http("wasm", json!({}))]});
    let of_cluster = with_authz(vec![]).cluster(json!({"name": "app", "typed_extension_protocol_options":
        {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}}));
    assert!(is_seen(&of_cluster, None));
    assert!(!is_seen(&with_authz(vec![]), None));
}

#[test]
fn a_request_that_chooses_its_cluster_may_choose_any() {
    let mut dump = with_authz(vec![]);
    *routes_of(&mut dump) =
        json!({"virtual_hosts": [{"routes": [{"match": {}, "route": {"cluster_header": "to"}}]}]});
    assert!(is_seen(&dump, Some("app")));
    let hiding = dump.bootstrap(json!({"stats_config": {"stats_matcher": {}}}));
    let why = hiding.read().at(9001, Some("app")).unwrap_err().to_string();
    assert!(
        why.starts_with("clusters are chosen by what is in the request, and counters may be left out"),
        "{why}"
    );
}

#[test]
fn a_connection_may_be_led_elsewhere_before_a_chain_sees_it() {
    let filter = |package: &str, patch: Value| {
        let mut config = json!({"@type": format!(
            "type.googleapis.com/envoy.extensions.filters.listener.{package}.v3.Config")});
        merge(&mut config, patch);
        json!({"name": package, "typed_config": config})
    };
    let state = |key: &str| json!({"on_accept": [{"object_key": key}]});
    for (before, strays) in [
        (filter("tls_inspector", json!({})), false),
        (filter("http_inspector", json!({})), false),
        (filter("original_dst", json!({})), false),
        (filter("original_src", json!({})), false),
        (filter("proxy_protocol", json!({})), false),
        (filter("local_ratelimit", json!({})), false),
        (filter("set_filter_state", state("my.key")), false),
        (filter("set_filter_state", state("envoy.tcp_proxy.cluster")), true),
        (filter("dynamic_modules", json!({})), true),
        (json!({"name": "v", "typed_config": {"@type": "type.googleapis.com/acme.X"}}), true),
    ] {
        let mut dump = with_authz(vec![]);
        dump.listeners[0]["listener_filters"] = json!([before]);
        assert_eq!(is_seen(&dump, None), strays, "{before}");
        let name = before["name"].as_str().unwrap();
        let said = format!("the listener filter `{name}` (");
        assert_eq!(dump.meter().remarks.iter().any(|one| one.starts_with(&said)), strays, "{before}");
    }
}

#[test]
fn a_cluster_that_is_not_there_yet_may_come() {
    let route = |cluster: &str| {
        json!({"virtual_hosts": [{"routes": [
        {"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]})
    };
    let mut dump = with_authz(vec![]);
    *routes_of(&mut dump) = route("later");
    let meter = dump.meter();
    assert!(!meter.forwards());
    assert_eq!(meter.remarks, ["cluster `later`, to which a route leads, is not there yet"]);
    let seen = happened(&meter, &[("cluster.later.upstream_rq_total", 1)]);
    assert_eq!(seen.elsewhere.get("later"), Some(&1));
    let hiding = dump.bootstrap(json!({"stats_config": {"stats_matcher": {}}}));
    assert!(hiding.why_not().contains("`later`"));
}

/// Without its bootstrap it is not told whether counters are left out.
#[test]
fn a_dump_without_the_bootstrap_may_hide_counters() {
    let text = with_authz(vec![http("wasm", json!({}))]).text().replace("BootstrapConfigDump", "Masked");
    let error = Envoy::read(&text).unwrap().at(9001, None).unwrap_err();
    assert!(error.to_string().contains("counters may be left out"), "{error}");
}
