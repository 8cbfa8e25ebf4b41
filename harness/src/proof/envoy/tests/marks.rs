//! Which marks on an answer say who gave it.

use serde_json::{Value, json};

use super::super::Marks;
use super::*;

const ALL: Marks = Marks { time: true, denial: true, serves: false, replaces: false };
const SERVES: Marks = Marks { serves: true, ..ALL };
const NO_TIME: Marks = Marks { time: false, ..ALL };
const NO_DENIAL: Marks = Marks { denial: false, ..ALL };
const NONE: Marks = Marks { time: false, denial: false, serves: true, replaces: false };
const REPLACED: Marks = Marks { replaces: true, ..NONE };

fn with(filter: &str) -> Dump {
    Dump::filter(http(filter, json!({})))
}

fn at_route(patch: Value) -> Dump {
    let mut route = json!({"match": {"prefix": "/"}, "route": {"cluster": "app"}});
    merge(&mut route, patch);
    Dump::routes(json!([route]))
}

/// Whether a port's answers are to requests, and whether bytes go by without being looked at.
#[test]
fn a_port_speaks_http_or_passes_bytes() {
    let of = |filters| {
        let meter = Dump::network(filters).meter();
        (meter.speaks_http(), meter.passes_bytes())
    };
    assert_eq!(of(vec![hcm(json!({}))]), (true, false));
    assert_eq!(of(vec![tcp(json!({"cluster": "app"}))]), (false, true));
}

#[test]
fn filters_take_marks_away() {
    for (filter, marks) in [
        ("rbac", ALL),
        ("jwt_authn", NO_DENIAL),
        ("buffer", ALL),
        ("local_ratelimit", ALL),
        ("ratelimit", ALL),
        ("csrf", ALL),
        ("header_to_metadata", ALL),
        ("grpc_stats", ALL),
        ("set_metadata", ALL),
        ("set_filter_state", ALL),
        ("upstream_codec", ALL),
        ("cors", SERVES),
        ("health_check", SERVES),
        // A client may ask for any status by `x-envoy-fault-abort-request`: 200 too.
        ("fault", SERVES),
        ("lua", NONE),
        ("ext_proc", REPLACED),
        ("custom_response", REPLACED),
        ("ext_authz", NONE),
        ("header_mutation", NONE),
        ("compressor", NONE),
        ("composite", REPLACED),
        ("never_heard_of", REPLACED),
    ] {
        assert_eq!(with(filter).meter().marks, marks, "{filter}");
    }
    assert_eq!(Dump::default().meter().marks, ALL);
    let vendor =
        json!({"name": "v", "typed_config": {"@type": "type.googleapis.com/acme.filters.rbac.v3.X"}});
    assert_eq!(Dump::filter(vendor).meter().marks, REPLACED);
    assert_eq!(Dump::filter(json!({"name": "d", "config_discovery": {}})).meter().marks, REPLACED);
    let disabled =
        json!({"name": "l", "disabled": true, "typed_config": {"@type": format!("{HTTP}.lua.v3.Lua")}});
    assert_eq!(Dump::filter(disabled).meter().marks, NONE);
}

#[test]
fn configuration_takes_marks_away() {
    let routed = |patch: Value| Dump::http(json!({"http_filters": [router(patch)]}));
    let upstream = |package: &str| routed(json!({"upstream_http_filters": [http(package, json!({}))]}));
    for (dump, marks) in [
        (routed(json!({"suppress_envoy_headers": true})), NO_TIME),
        (routed(json!({"suppress_envoy_headers": false})), ALL),
        (upstream("upstream_codec"), ALL),
        (upstream("header_mutation"), NONE),
        (Dump::http(json!({"local_reply_config": {"mappers": []}})), NO_DENIAL),
        (at_route(json!({"response_headers_to_remove": ["x-envoy-upstream-service-time"]})), NO_TIME),
        (at_route(json!({"response_headers_to_remove": ["X-Envoy-Upstream-Service-Time"]})), NO_TIME),
        (
            Dump::http(json!({"local_reply_config": {"headers": "X-Envoy-Upstream-Service-Time"}})),
            Marks { time: false, ..NO_DENIAL },
        ),
        (Dump::default().bootstrap(json!({"header_prefix": "x-mine"})), NO_TIME),
        (Dump::default().bootstrap(json!({"header_prefix": "x-envoy"})), ALL),
        (Dump::network(vec![tcp(json!({"cluster": "app"}))]), NONE),
    ] {
        assert_eq!(dump.meter().marks, marks, "{}", dump.text());
    }
}

#[test]
fn routes_take_marks_away() {
    let config = |kind: &str| json!({"@type": format!("{HTTP}.{kind}.v3.PerRoute")});
    let wrapped = |patch: Value| {
        let mut wrapped = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"});
        merge(&mut wrapped, patch);
        wrapped
    };
    let answer = |status: Value| json!({"route": null, "direct_response": {"status": status}});
    let per_filter = |config: Value| json!({"typed_per_filter_config": {"f": config}});
    for (patch, marks) in [
        (per_filter(config("lua")), NONE),
        (per_filter(config("cors")), SERVES),
        (per_filter(config("buffer")), ALL),
        (per_filter(wrapped(json!({"config": config("lua")}))), NONE),
        (per_filter(wrapped(json!({"config": config("buffer")}))), ALL),
        (per_filter(wrapped(json!({"config": config("lua"), "disabled": true}))), ALL),
        (per_filter(wrapped(json!({"disabled": true}))), ALL),
        (per_filter(json!({"@type": "type.googleapis.com/acme.X"})), REPLACED),
        (answer(json!(200)), SERVES),
        (answer(json!(299)), SERVES),
        (answer(json!(300)), ALL),
        (answer(json!(403)), ALL),
        (answer(Value::Null), SERVES),
        (json!({"route": null, "redirect": {}}), ALL),
    ] {
        assert_eq!(at_route(patch.clone()).meter().marks, marks, "{patch}");
    }
}

/// A filter of a cluster may answer before anything is counted as forwarded.
#[test]
fn filters_of_a_cluster_take_marks_away() {
    let app = |filters: Value| {
        let options = json!({"http_filters": filters});
        Dump::default().cluster(json!({"name": "app", "typed_extension_protocol_options":
            {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}}))
    };
    assert_eq!(app(json!([http("upstream_codec", json!({}))])).meter().marks, ALL);
    assert_eq!(app(json!([http("lua", json!({})), http("upstream_codec", json!({}))])).meter().marks, NONE);
    let elsewhere = app(json!([http("lua", json!({}))])).cluster(json!({"name": "app"}));
    assert_eq!(elsewhere.meter().marks, ALL);
}

#[test]
fn a_discovered_filter_is_what_was_discovered() {
    let discovered = |config: Value| {
        let mut dump = Dump::filter(json!({"name": "d", "config_discovery": {}}));
        dump.extensions.push(json!({"name": "d", "typed_config": config}));
        dump.meter().marks
    };
    assert_eq!(discovered(json!({"@type": format!("{HTTP}.buffer.v3.Buffer")})), ALL);
    assert_eq!(discovered(json!({"@type": format!("{HTTP}.lua.v3.Lua")})), NONE);
    let removes = json!({"@type": format!("{HTTP}.header_to_metadata.v3.Config"),
        "response_rules": [{"header": "X-Envoy-Upstream-Service-Time", "remove": true}]});
    assert_eq!(discovered(removes), NO_TIME);
    // A filter of that name with a configuration of its own is not the discovered one.
    let mut own =
        Dump::filter(json!({"name": "d", "typed_config": {"@type": format!("{HTTP}.buffer.v3.Buffer")}}));
    own.extensions.push(json!({"name": "d", "typed_config": {"@type": format!("{HTTP}.lua.v3.Lua")}}));
    assert_eq!(own.meter().marks, ALL);
}

#[test]
fn each_mark_holds_for_every_chain_in_whatever_order() {
    let quiet = || hcm(json!({"local_reply_config": {}}));
    let serving = || hcm(json!({"http_filters": [http("cors", json!({})), router(json!({}))]}));
    let hidden = || hcm(json!({"http_filters": [router(json!({"suppress_envoy_headers": true}))]}));
    let both = |one: Value, another: Value| {
        let mut dump = Dump::network(vec![one]);
        dump.listeners[0]["default_filter_chain"] = json!({"filters": [another]});
        dump.meter().marks
    };
    for (filter, marks) in [(quiet(), NO_DENIAL), (serving(), SERVES), (hidden(), NO_TIME)] {
        assert_eq!(both(filter.clone(), hcm(json!({}))), marks);
        assert_eq!(both(hcm(json!({})), filter), marks);
    }
    let proxy = || tcp(json!({"cluster": "other"}));
    assert_eq!(both(proxy(), hcm(json!({}))), NONE);
    assert_eq!(both(hcm(json!({})), proxy()), NONE);
}
