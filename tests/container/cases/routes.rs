//! Where requests go: several clusters, none, others' copies, and the same one twice.

use serde_json::{Value, json};

use super::{
    Case, Check, DENIED, Port, SERVED, STRANGER, Verdict, check, denied, deny, denying, http, served,
    stranger,
};
use crate::envoy::config::{ANOTHER, APPLICATION, HOST, cluster, merged, sds, to, typed};

fn port(routes: Value, clusters: Vec<Value>) -> Port {
    Port { routes, clusters, ..denying() }
}

/// Without the filter.
fn open(port: Port) -> Port {
    Port { filters: vec![], ..port }
}

fn direct(path: &str, answer: Value) -> Value {
    json!({"match": {"path": path}, "direct_response": answer})
}

fn redirect(path: &str) -> Value {
    json!({"match": {"path": path}, "redirect": {"path_redirect": "/prices"}})
}

/// Requests that say so are led to `~other`; `fallback` are the others.
fn by_header(fallback: &str) -> Value {
    json!([
        {"match": {"prefix": "/", "headers": [{"name": "x-version", "string_match": {"exact": "2"}}]},
            "route": {"cluster": "~app"}},
        to(fallback, "~app"),
    ])
}

/// A port that passes all on to the one below it.
fn before(hcm: Value, route: Value) -> Port {
    passing_on(HOST, hcm, route)
}

/// As [`before`], by this address.
fn passing_on(address: &str, hcm: Value, route: Value) -> Port {
    let tls = json!({"transport_socket": {"name": "tls", "typed_config": {
        "@type": typed("transport_sockets.tls.v3.UpstreamTlsContext"),
        "common_tls_context": {"tls_certificate_sds_secret_configs": [sds("friend")]}}}});
    let mut up = merged(cluster("~up", 0), &tls);
    up["type"] = json!("STRICT_DNS");
    up["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] =
        json!({"socket_address": {"address": address, "port_value": "~below"}});
    let route =
        merged(json!({"match": {"prefix": "/"}, "route": {"cluster": "~up"}}), &json!({"route": route}));
    Port { routes: json!([route]), clusters: vec![up], hcm, ..Port::default() }
}

fn no_api() -> Value {
    let rules = json!({"action": "DENY", "policies": {"api": {
        "permissions": [{"url_path": {"path": {"prefix": "/api"}}}], "principals": [{"any": true}]}}});
    http("rbac.v3.RBAC", &json!({"rules": rules}))
}

pub(super) fn cases() -> Vec<Case> {
    let web = || cluster("~web", APPLICATION);
    let api = || check("friend gets the other", "friend", "GET /api", "{status: 200, body: api}");
    let several = || port(json!([to("/api", "~web"), to("/", "~app")]), vec![web()]);
    let weighted = || {
        let both = json!([{"name": "~app", "weight": 50}, {"name": "~web", "weight": 50}]);
        port(
            json!([{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": both}}}]),
            vec![web()],
        )
    };
    let lives = |answer: Value| port(json!([direct("/lives", answer), to("/", "~app")]), vec![]);
    let ok = || json!({"status": 200, "body": {"inline_string": "ok"}});
    let its_life = || check("it lives", "friend", "GET /lives", "{status: 200, body: ok, by: envoy}");
    let shut = || check("it is shut", "friend", "GET /lives", "{status: 403, body: shut}");
    let moved = || check("it has moved", "friend", "GET /old", "{status: 301, by: envoy}");
    let chosen = || Port {
        routes: json!([{"match": {"prefix": "/"}, "route": {"cluster_header": "x-to"}}]),
        clusters: vec![cluster("~other", ANOTHER)],
        ..Port::default()
    };
    let goes = |port: Port| {
        let rules = json!({"action": "DENY", "policies": {"astray": {
            "permissions": [{"header": {"name": "x-to", "string_match": {"exact": "~other"}}}],
            "principals": [{"any": true}]}}});
        Port { filters: vec![deny(json!({})), http("rbac.v3.RBAC", &json!({"rules": rules}))], ..port }
    };
    let mirroring = |to: &str| {
        let route = json!({"cluster": "~app", "request_mirror_policies": [{"cluster": to}]});
        port(json!([{"match": {"prefix": "/"}, "route": route}]), vec![cluster("~mirror", ANOTHER)])
    };
    let retrying = |policy: Value| Port {
        hcm: json!({"route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"],
            "include_request_attempt_count": true,
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "~app", "retry_policy": policy}}]}]}}),
        ..denying()
    };
    let again =
        || json!({"retry_on": "5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}});
    let at_last =
        || check("the second try is answered", "friend", "GET /flaky", "{status: 200, body: at last}");
    let aggregate = || {
        let of = json!({"name": "envoy.clusters.aggregate", "typed_config": {
            "@type": typed("clusters.aggregate.v3.ClusterConfig"), "clusters": ["~app", "~web"]}});
        let all = json!({"name": "~all", "connect_timeout": "1s", "lb_policy": "CLUSTER_PROVIDED",
            "cluster_type": of});
        port(json!([to("/", "~all")]), vec![web(), all])
    };
    let alias = || Port { app: json!({"alt_stat_name": "~alias"}), ..denying() };
    let over = |status: u16| {
        let denial = if status == 403 { "403" } else { "5xx" };
        before(
            json!({}),
            json!({"retry_policy": {"retry_on": if denial == "403" { "retriable-status-codes" } else { "5xx" },
                "retriable_status_codes": [status], "num_retries": 2,
                "retry_back_off": {"base_interval": "0.001s"}}}),
        )
    };
    let attempts = |policy: Value| {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "~up", "retry_policy": policy}});
        let host = json!({"name": "app", "domains": ["*"], "include_request_attempt_count": true,
            "routes": [route]});
        before(json!({"route_config": {"virtual_hosts": [host]}}), json!({}))
    };
    let through = |expect: &'static str, name: &'static str, send: &'static str| {
        check(name, "friend", send, expect).at("proxy")
    };
    let two =
        |name, first: Port, second: Port, checks: Vec<Check>, broken: (&'static str, Vec<Port>), red| Case {
            ports: vec![first, second],
            broken,
            red,
            ..Case::new(name, Port::default()).checks(checks)
        };
    vec![
        Case::new("several application clusters", several()).and([api()]).broken(
            "the filter is gone",
            open(several()),
            &[DENIED],
        ),
        Case::new("weighted clusters", weighted()).broken("the filter is gone", open(weighted()), &[DENIED]),
        Case::new("an aggregate cluster", aggregate()).broken(
            "the filter is gone",
            open(aggregate()),
            &[DENIED],
        ),
        Case::new("a cluster with another stat name", alias()).broken(
            "the filter is gone",
            open(alias()),
            &[DENIED],
        ),
        Case::new("a direct response with 200", lives(ok())).and([its_life()]).broken(
            "it says nothing",
            lives(json!({"status": 200})),
            &["it lives"],
        ),
        Case::new(
            "a direct response with 403",
            lives(json!({"status": 403, "body": {"inline_string": "shut"}})),
        )
        .and([shut()])
        .broken("it is open", lives(ok()), &["it is shut"]),
        Case::new("a control that Envoy answers itself", lives(ok()))
            .checks([its_life(), denied(), stranger()])
            .but(&[
                (DENIED, Verdict::Errored, "it did not reach the application"),
                (STRANGER, Verdict::Errored, "it did not reach the application"),
            ])
            .broken("the filter is gone", open(lives(ok())), &[DENIED]),
        Case::new("a redirect", port(json!([redirect("/old"), to("/", "~app")]), vec![]))
            .and([moved()])
            .broken("it has not moved", port(json!([to("/", "~app")]), vec![]), &["it has moved"]),
        Case::new("routes by a header alone", port(by_header("/prices"), vec![]))
            .and([
                check("the second version", "friend", "GET /api", "{status: 200}")
                    .with("headers: {x-version: '2'}"),
                check("there is no first version", "friend", "GET /api", "{status: 404}"),
            ])
            .broken("there is", port(by_header("/"), vec![]), &["there is no first version"]),
        Case::new("a cluster that a request names", goes(chosen()))
            .alone(json!({}))
            .exclusive()
            .checks([
                served().at("chosen").with("headers: {x-to: ~app}"),
                denied().at("chosen").with("headers: {x-to: ~app}"),
                check("nobody is led astray", "friend", "GET /spoofed", "{status: 403}")
                    .at("chosen")
                    .with("headers: {x-to: ~other}"),
            ])
            .broken("every cluster may be named", chosen(), &[DENIED])
            .fallen(&[("nobody is led astray", Verdict::Errored, "the application did not log the request")])
            .fallen_unlogged(&[(
                "nobody is led astray",
                Verdict::Failed,
                "it is the application's own answer",
            )]),
        Case::new("a cluster that a request names, and a scenario that does not", goes(chosen()))
            .alone(json!({}))
            .exclusive()
            .checks([served().with("headers: {x-to: ~app}"), denied().with("headers: {x-to: ~app}")])
            .but(&[
                (SERVED, Verdict::Errored, "name the application's by `app-cluster`"),
                (DENIED, Verdict::Errored, "name the application's by `app-cluster`"),
            ])
            .broken("the filter is gone", chosen(), &[DENIED]),
        Case::new("a mirror", mirroring("~mirror")).broken(
            "the filter is gone",
            open(mirroring("~mirror")),
            &[DENIED],
        ),
        Case::new("a mirror at the application itself", mirroring("~app"))
            .checks([served(), denied()])
            .but(&[
                (SERVED, Verdict::Errored, "mirrors requests to cluster"),
                (DENIED, Verdict::Errored, "mirrors requests to cluster"),
            ])
            .broken("the filter is gone", open(mirroring("~app")), &[DENIED]),
        Case::new("retries", retrying(again()))
            .and([at_last(), check("its own 500", "friend", "GET /broken", "{status: 500, by: application}")])
            .broken(
                "there are none",
                retrying(json!({"retry_on": "reset"})),
                &["the second try is answered"],
            ),
        two(
            "a listener behind the listener, of which the scenario knows nothing",
            denying(),
            passing_on("127.0.0.1", json!({}), json!({})),
            vec![
                served().at("second"),
                check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}")
                    .at("second"),
                check("it is denied", "friend", "GET /missing", "{status: 404}").at("second"),
            ],
            (
                "one is open",
                vec![
                    Port {
                        routes: json!([
                            direct("/forbidden", ok()),
                            direct("/missing", ok()),
                            to("/", "~app")
                        ]),
                        ..Port::default()
                    },
                    passing_on("127.0.0.1", json!({}), json!({})),
                ],
            ),
            &["its own 403", "it is denied"],
        )
        .but(&[
            (SERVED, Verdict::Errored, "of this same Envoy"),
            ("its own 403", Verdict::Errored, "of this same Envoy"),
            ("it is denied", Verdict::Errored, "of this same Envoy"),
        ]),
        two(
            "a proxy before the backend",
            Port { filters: vec![no_api()], ..Port::default() },
            Port { filters: vec![deny(json!({}))], ..before(json!({}), json!({})) },
            vec![
                through("{status: 200}", SERVED, "GET /prices"),
                through("{status: 403}", "the backend denies", "GET /api"),
                check("the proxy denies", "blocked", "GET /prices", "{status: 403}").at("proxy"),
            ],
            ("neither does", vec![Port::default(), before(json!({}), json!({}))]),
            &["the backend denies", "the proxy denies"],
        ),
        two(
            "a proxy that tries again what the backend answers",
            Port { hcm: json!({"use_remote_address": false}), ..Port::default() },
            attempts(again()),
            vec![
                through("{status: 200}", SERVED, "GET /prices"),
                through("{status: 200, body: at last}", "the second try is answered", "GET /flaky"),
                through("{status: 500, by: application}", "its own 500", "GET /broken"),
            ],
            ("it does not", vec![Port::default(), attempts(json!({"retry_on": "reset"}))]),
            &["the second try is answered"],
        ),
        two(
            "a proxy that tries again what the backend denies",
            Port { filters: vec![no_api()], ..Port::default() },
            over(403),
            vec![
                through("{status: 200}", SERVED, "GET /prices"),
                through("{status: 403}", "the backend denies", "GET /api"),
            ],
            ("it does not", vec![Port::default(), over(403)]),
            &["the backend denies"],
        ),
    ]
}
