//! Which filter counts denials where, at connections and at requests.

use serde_json::{Value, json};

use super::*;

fn rbac(config: Value) -> Value {
    http("rbac", config)
}

fn denied(dump: &Dump, counter: &str) -> u64 {
    let meter = dump.meter();
    happened(&meter, &[(counter, 3), (&counter.replace("denied", "allowed"), 0)]).counted.denied
}

#[test]
fn a_denial_is_counted_under_the_prefixes_of_manager_and_filter() {
    let rules = json!({"rules": {}});
    let under = |prefix: &str| json!({"rules": {}, "rules_stat_prefix": prefix});
    let manager = |prefix: &str, filter: &Value| {
        Dump::http(json!({"stat_prefix": prefix, "http_filters": [rbac(filter.clone()), router(json!({}))]}))
    };
    for (prefix, filter, counter) in [
        ("in", &rules, "http.in.rbac.denied"),
        ("in", &under("own"), "http.in.rbac.own.denied"),
        ("in", &under("own."), "http.in.rbac.own.denied"),
        ("in", &json!({"rules": {}, "shadow_rules_stat_prefix": "s"}), "http.in.rbac.denied"),
        // An RBAC filter's names keep colons, and dots that are doubled; the manager's own do not.
        ("in://a:b..", &under("r:x.."), "http.in://a:b...rbac.r:x..denied"),
    ] {
        let dump = manager(prefix, filter);
        let requests =
            if prefix == "in" { "http.in.downstream_rq_total" } else { "http.in_a_b.downstream_rq_total" };
        let allowed = counter.replace("denied", "allowed");
        let seen = happened(&dump.meter(), &[(counter, 3), (&allowed, 4), (requests, 5)]);
        assert_eq!((seen.counted.denied, seen.counted.allowed, seen.requests), (3, 4, 5), "{counter}");
        assert!(dump.meter().denies());
    }
}

#[test]
fn each_of_several_filters_counts() {
    let filters = json!([
        rbac(json!({"rules": {}, "rules_stat_prefix": "allow"})),
        rbac(json!({"rules": {"action": "DENY"}, "rules_stat_prefix": "deny"})),
        rbac(json!({"shadow_rules": {}})),
        router(json!({})),
    ]);
    let meter = Dump::http(json!({"http_filters": filters})).meter();
    let moved = [
        ("http.in.rbac.allow.denied", 1),
        ("http.in.rbac.allow.allowed", 20),
        ("http.in.rbac.deny.denied", 2),
        ("http.in.rbac.deny.allowed", 10),
        ("http.in.rbac.denied", 0),
        ("http.in.rbac.allowed", 0),
        ("http.in.rbac.shadow_denied", 7),
    ];
    let seen = happened(&meter, &moved).counted;
    assert_eq!((seen.denied, seen.allowed), (3, 30));
    for left_out in ["http.in.rbac.deny.denied", "http.in.rbac.allow.allowed"] {
        let rest: Vec<_> = moved.iter().copied().filter(|(name, _)| *name != left_out).collect();
        let why = meter.between(&stats(&rest), &stats(&rest)).unwrap_err();
        assert!(why.contains(&format!("`{left_out}`")) && why.contains("stats_matcher"), "{why}");
    }
}

/// The names are those that an Envoy 1.40 lists: `ext_authz` keeps colons of the manager's prefix,
/// `jwt_authn` does not, and both keep those of their own.
#[test]
fn an_authorizer_and_a_jwt_filter_count_under_the_prefixes_of_manager_and_filter() {
    let own = |prefix: &str| json!({"stat_prefix": prefix});
    for (manager, filter, authz, jwt) in [
        ("in", json!({}), "http.in.ext_authz.", "http.in.jwt_authn."),
        ("in", own("waf"), "http.in.ext_authz.waf.", "http.in.jwt_authn.waf."),
        ("in", own("waf:x."), "http.in.ext_authz.waf:x.", "http.in.jwt_authn.waf:x."),
        ("a:b.", json!({}), "http.a:b..ext_authz.", "http.a_b.jwt_authn."),
    ] {
        let filters =
            json!([http("jwt_authn", filter.clone()), http("ext_authz", filter), router(json!({}))]);
        let meter = Dump::http(json!({"stat_prefix": manager, "http_filters": filters})).meter();
        let names = [
            (format!("{authz}denied"), 2),
            (format!("{authz}error"), 7),
            (format!("{authz}failure_mode_allowed"), 4),
            (format!("{jwt}denied"), 5),
            ("http.a_b.downstream_rq_total".into(), 0),
        ];
        let moved: Vec<_> = names.iter().map(|(name, by)| (name.as_str(), *by)).collect();
        let seen = happened(&meter, &moved).counted;
        assert_eq!(
            (seen.authz_denied, seen.authz_error, seen.authz_open, seen.jwt_denied, seen.denied),
            (2, 3, 4, 5, 0),
            "of those without an answer, those that were let in are none that were refused: {authz}"
        );
        for (name, _) in &names[..4] {
            let rest: Vec<_> = moved.iter().copied().filter(|(one, _)| one != name).collect();
            let why = meter.between(&stats(&rest), &stats(&rest)).unwrap_err();
            assert!(why.contains(&format!("`{name}`")), "{why}");
        }
    }
}

/// What is not told of a provider is a minute (`JwtProvider.clock_skew_seconds`).
#[test]
fn the_longest_clock_skew_of_any_provider_is_known() {
    let skew = |providers: Value| {
        let text = Dump::filter(http("jwt_authn", json!({"providers": providers}))).text();
        Envoy::read(&text).unwrap().clock_skew
    };
    assert_eq!(skew(json!({"a": {"clock_skew_seconds": 1}})), 1);
    assert_eq!(skew(json!({"a": {"clock_skew_seconds": 1}, "b": {"clock_skew_seconds": 90}})), 90);
    assert_eq!(skew(json!({"a": {"clock_skew_seconds": 1}, "b": {}})), 60);
    assert_eq!(skew(json!({"a": {"clock_skew_seconds": 0}})), 60);
    assert_eq!(Envoy::read(&Dump::default().text()).unwrap().clock_skew, 0);
}

#[test]
fn shadow_rules_deny_nothing() {
    for (config, denies) in [
        (json!({"shadow_rules": {}}), false),
        (json!({}), false),
        (json!({"rules": {}}), true),
        (json!({"matcher": {}}), true),
        (json!({"rules": {}, "shadow_rules": {}}), true),
    ] {
        assert_eq!(Dump::filter(rbac(config.clone())).meter().denies(), denies, "{config}");
    }
    assert!(!Dump::default().meter().denies());
}

fn at_route(filter: &str, config: Value) -> Dump {
    at_route_with(rbac(json!({})), filter, config)
}

fn at_route_with(filter: Value, name: &str, config: Value) -> Dump {
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "app"},
        "typed_per_filter_config": {name: config},
    });
    Dump::http(json!({
        "http_filters": [filter, router(json!({}))],
        "route_config": {"virtual_hosts": [{"routes": [route]}]},
    }))
}

/// The filter counts what a route's policy denies; `rules_stat_prefix` of the route's is not looked at.
#[test]
fn a_policy_at_a_route_is_counted_by_the_filter() {
    let policy = json!({"@type": format!("{HTTP}.rbac.v3.RBACPerRoute"),
        "rbac": {"rules": {}, "rules_stat_prefix": "unseen"}});
    let wrapped =
        json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": policy});
    let lifted = json!({"@type": format!("{HTTP}.rbac.v3.RBACPerRoute")});
    for (config, denies) in [(policy.clone(), true), (wrapped, true), (lifted, false)] {
        let dump = at_route("rbac", config.clone());
        assert_eq!(dump.meter().denies(), denies, "{config}");
        assert_eq!(denied(&dump, "http.in.rbac.denied"), 3);
        assert!(missing(&dump.meter()).contains("`http.in.rbac.denied`"));
    }
}

#[test]
fn a_filter_that_is_disabled_denies_where_a_route_wakes_it() {
    let mut asleep = rbac(json!({"rules": {}}));
    asleep["disabled"] = json!(true);
    let wake = |config: Value| {
        let mut wake = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"});
        merge(&mut wake, config);
        wake
    };
    for (name, config, denies) in [
        ("rbac", wake(json!({"config": {}})), true),
        ("rbac", wake(json!({})), true),
        ("another", wake(json!({"config": {}})), false),
        ("rbac", wake(json!({"disabled": true})), false),
    ] {
        let dump = at_route_with(asleep.clone(), name, config.clone());
        assert_eq!(dump.meter().denies(), denies, "{name}: {config}");
        assert!(dump.meter().marks.time, "{config}");
        assert_eq!(denied(&dump, "http.in.rbac.denied"), 3);
    }
    assert!(!Dump::filter(asleep).meter().denies());
}

#[test]
fn a_filter_is_found_in_what_wraps_it() {
    let inner = || rbac(json!({"rules": {}, "rules_stat_prefix": "own"}))["typed_config"].clone();
    let kind = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher";
    let matched = json!({"name": "m", "typed_config": {"@type": kind, "extension_config":
        {"name": "r", "typed_config": inner()}}});
    let mut value = inner();
    value.as_object_mut().unwrap().remove("@type");
    let typed = json!({"name": "t", "typed_config": {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "value": value,
    }});
    let mut discovered = Dump::filter(json!({"name": "d", "config_discovery": {}}));
    discovered.extensions.push(json!({"name": "d", "typed_config": inner()}));
    for dump in [Dump::filter(matched), Dump::filter(typed), discovered] {
        assert_eq!(denied(&dump, "http.in.rbac.own.denied"), 3);
        let meter = dump.meter();
        assert!(meter.denies() && meter.marks.time && meter.marks.denial);
    }
}

#[test]
fn a_whole_connection_manager_in_a_typed_struct_is_read() {
    let mut value =
        hcm(json!({"http_filters": [rbac(json!({"rules": {}})), router(json!({}))]}))["typed_config"].clone();
    value.as_object_mut().unwrap().remove("@type");
    let config = json!({
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "value": value,
    });
    let dump = Dump::network(vec![json!({"name": "h", "typed_config": config})]);
    assert_eq!(denied(&dump, "http.in.rbac.denied"), 3);
    assert_eq!(
        happened(
            &dump.meter(),
            &[("http.in.rbac.denied", 0), ("http.in.rbac.allowed", 0), ("cluster.app.upstream_rq_total", 2),]
        )
        .counted
        .forwarded,
        2
    );
}

/// Of an upgrade (`upgrade_configs`) the filters are others.
#[test]
fn filters_of_upgrades_are_filters() {
    let filters = json!([rbac(json!({"rules": {}, "rules_stat_prefix": "ws"})), router(json!({}))]);
    let dump = Dump::http(json!({"upgrade_configs": [{"upgrade_type": "websocket", "filters": filters}]}));
    assert_eq!(denied(&dump, "http.in.rbac.ws.denied"), 3);
}

/// A network filter's name has no `rules_stat_prefix` (envoy.extensions.filters.network.rbac.v3.RBAC).
#[test]
fn connections_that_a_policy_closes_are_cut_off() {
    for (prefix, counter) in
        [("net", "net.rbac.denied"), ("net.", "net.rbac.denied"), ("net:one.", "net:one.rbac.denied")]
    {
        let policy =
            network("rbac", json!({"stat_prefix": prefix, "shadow_rules_stat_prefix": "s", "rules": {}}));
        let meter = Dump::network(vec![policy, hcm(json!({}))]).meter();
        let seen = happened(&meter, &[(counter, 2), ("listener.0.0.0.0_9001.no_filter_chain_match", 1)]);
        assert_eq!(
            (seen.counted.network_rbac, seen.counted.no_chain, seen.counted.denied),
            (2, 1, 0),
            "{counter}"
        );
        assert!(missing(&meter).contains(&format!("`{counter}`")));
        assert!(!meter.denies());
    }
}

/// So is who has no word of an authorizer of connections (Envoy's documentation, "External Authorization
/// Network Filter": Statistics), also where another port counts it in the same place.
#[test]
fn connections_that_come_in_without_their_authorizer_are_told() {
    let authz = || network("ext_authz", json!({"stat_prefix": "net", "failure_mode_allow": true}));
    let mut dump = Dump::network(vec![authz(), hcm(json!({}))]);
    let opened = "ext_authz.net.failure_mode_allowed";
    assert_eq!(happened(&dump.meter(), &[(opened, 2)]).counted.authz_open, 2);
    assert!(missing(&dump.meter()).contains(&format!("`{opened}`")));
    dump.listeners.push(listener("0.0.0.0", 9002, vec![authz()]));
    let seen = happened(&dump.meter(), &[(opened, 2), ("listener.0.0.0.0_9002.downstream_cx_total", 1)]);
    assert_eq!((seen.counted.authz_open, seen.beside), (2, 1));
}

#[test]
fn network_filters_before_the_last_are_transparent_or_named() {
    for known in ["connection_limit", "local_ratelimit", "ratelimit", "set_filter_state"] {
        let meter = Dump::network(vec![network(known, json!({})), hcm(json!({}))]).meter();
        assert_eq!(happened(&meter, &[]), Happened::default());
    }
    let vendor =
        json!({"name": "v", "typed_config": {"@type": "type.googleapis.com/acme.filters.tcp_proxy.v3.X"}});
    let http_one = json!({"name": "h", "typed_config": {"@type": format!("{HTTP}.ext_authz.v3.ExtAuthz")}});
    let discovered = json!({"name": "d", "config_discovery": {}});
    for (unknown, name) in [
        (network("redis_proxy", json!({})), "redis_proxy"),
        (network("generic_proxy", json!({})), "generic_proxy"),
        (network("echo", json!({})), "echo"),
        (network("ext_proc", json!({})), "ext_proc"),
        (vendor, "v"),
        (http_one, "h"),
        (discovered, "d"),
    ] {
        for filters in [vec![unknown.clone()], vec![unknown.clone(), hcm(json!({}))]] {
            let why = Dump::network(filters).why_not();
            assert!(why.starts_with(&format!("the network filter `{name}` (")), "{why}");
            assert!(why.contains("is not known here"), "{why}");
        }
    }
    let transparent = Dump::network(vec![network("connection_limit", json!({}))]);
    assert!(transparent.why_not().contains("listener `to-9001` has a filter chain that ends in neither"));
}
