//! Role based access control in all its shapes.

use serde_json::{Value, json};

use super::{Case, Check, DENIED, Port, Verdict, check, deny, denying, http, no_blocked, served, spiffe};
use crate::envoy::config::to;

const PER_ROUTE: &str = "envoy.filters.http.rbac";

/// An RBAC configuration of a route.
fn at_route(rbac: &Value) -> Value {
    json!({PER_ROUTE: {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute", "rbac": rbac}})
}

/// A route with its own policy.
fn route(prefix: &str, config: Value) -> Value {
    json!({"match": {"prefix": prefix}, "route": {"cluster": "~app"}, "typed_per_filter_config": config})
}

/// Rules that let friend and blocked send GET.
fn get_alone() -> Value {
    let both = ["/friend", "/blocked"]
        .map(|path| json!({"authenticated": {"principal_name": {"exact": spiffe(path)}}}));
    json!({"action": "ALLOW", "policies": {"get": {
        "permissions": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}],
        "principals": both}}})
}

fn filters(filters: Vec<Value>) -> Port {
    Port { filters, ..Port::default() }
}

fn call(name: &'static str, client: &'static str, expect: &'static str) -> Check {
    check(name, client, "POST /shop.Prices/List?status=0", expect)
        .with("http: \"2\", headers: {content-type: application/grpc, te: trailers}")
}

pub(super) fn cases() -> Vec<Case> {
    let allow = || http("rbac.v3.RBAC", &json!({"rules": get_alone()}));
    let post =
        || check("nobody posts", "friend", "POST /prices", "{status: 403, body: 'RBAC: access denied'}");
    let open = || check("blocked gets what is open", "blocked", "GET /api", "{status: 200}");
    let woken = |on: bool| {
        let mut filter = deny(json!({}));
        filter["disabled"] = json!(true);
        let wake = json!({PER_ROUTE: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                "rbac": {"rules": no_blocked()}}}});
        let routes = if on { json!([route("/", wake)]) } else { json!([to("/", "~app")]) };
        Port { filters: vec![filter], routes, ..Port::default() }
    };
    let h2 = |filters: Vec<Value>| Port {
        tls: json!({"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"]}}),
        filters,
        ..Port::default()
    };
    let named = |prefix: &str| Port { hcm: json!({"stat_prefix": "~both"}), ..denying_with(prefix) };
    vec![
        Case::new("a deny and an allow filter", filters(vec![deny(json!({})), allow()]))
            .and([post()])
            .broken("the deny filter is gone", filters(vec![allow()]), &[DENIED]),
        Case::new("an allow filter after a deny filter", filters(vec![allow(), deny(json!({}))]))
            .and([post()])
            .broken("the allow filter is gone", denying(), &["nobody posts"]),
        Case::new("a deny filter alone", denying())
            .and([check("blocked gets no head", "blocked", "HEAD /prices", "{status: 403}")])
            .broken("it is gone", Port::default(), &[DENIED, "blocked gets no head"]),
        Case::new("a rules_stat_prefix", denying_with("authz")).broken(
            "the rules are for another",
            filters(vec![deny(json!({"rules_stat_prefix": "authz", "rules": {"policies": {"blocked": {
                "principals": [{"authenticated": {"principal_name": {"exact": spiffe("/another")}}}]}}}}))]),
            &[DENIED],
        ),
        Case::new(
            "a rules_stat_prefix each of two",
            filters(vec![
                deny(json!({"rules_stat_prefix": "first"})),
                http("rbac.v3.RBAC", &json!({"rules": get_alone(), "rules_stat_prefix": "second."})),
            ]),
        )
        .and([post()])
        .broken(
            "both only watch",
            filters(vec![
                deny(json!({"rules": null, "shadow_rules": no_blocked(), "rules_stat_prefix": "first"})),
                http("rbac.v3.RBAC", &json!({"shadow_rules": get_alone()})),
            ]),
            &[DENIED, "nobody posts"],
        ),
        Case::new(
            "shadow rules beside rules",
            filters(vec![deny(json!({"shadow_rules": get_alone(), "shadow_rules_stat_prefix": "shadow"}))]),
        )
        .broken(
            "the rules became the shadow's",
            filters(vec![deny(json!({"rules": null, "shadow_rules": no_blocked()}))]),
            &[DENIED],
        ),
        Case::new(
            "shadow rules alone, and an application that denies itself",
            filters(vec![deny(json!({"rules": null, "shadow_rules": no_blocked()}))]),
        )
        .checks([
            served(),
            check("the application denies", "blocked", "GET /forbidden", "{status: 403, by: application}"),
        ])
        .broken("the rules are enforced", denying(), &["the application denies"]),
        Case::new(
            "a policy of one route",
            Port {
                filters: vec![http("rbac.v3.RBAC", &json!({}))],
                routes: json!([route("/prices", at_route(&json!({"rules": no_blocked()}))), to("/", "~app")]),
                ..Port::default()
            },
        )
        .and([open()])
        .broken(
            "it is of another route",
            Port {
                filters: vec![http("rbac.v3.RBAC", &json!({}))],
                routes: json!([
                    route("/price-list", at_route(&json!({"rules": no_blocked()}))),
                    to("/", "~app")
                ]),
                ..Port::default()
            },
            &[DENIED],
        ),
        Case::new(
            "a route without the policy",
            Port { routes: json!([route("/api", at_route(&Value::Null)), to("/", "~app")]), ..denying() },
        )
        .and([open()])
        .broken(
            "all routes are",
            Port { routes: json!([route("/", at_route(&Value::Null))]), ..denying() },
            &[DENIED],
        ),
        Case::new("a filter that sleeps until a route wakes it", woken(true)).broken(
            "no route does",
            woken(false),
            &[DENIED],
        ),
        Case {
            ports: vec![named("first"), named("first")],
            broken: (
                "the second lets nobody's connection in",
                vec![
                    named("first"),
                    Port { tls: json!({"require_client_certificate": false}), sans: &[], ..named("first") },
                ],
            ),
            red: &["nobody is refused at the second"],
            ..Case::new("two ports with one stat_prefix", named("")).and([
                check("friend gets an answer at the second", "friend", "GET /prices", "{status: 200}")
                    .at("second"),
                check("blocked is denied at the second", "blocked", "GET /prices", "{status: 403}")
                    .at("second"),
                check(
                    "nobody is refused at the second",
                    "nobody",
                    "GET /prices",
                    "{alert: certificate_required}",
                )
                .at("second"),
            ])
        },
        Case::new("gRPC", h2(vec![deny(json!({}))]))
            .checks([
                call("friend calls", "friend", "{status: 200, headers: {grpc-status: '0'}}"),
                call("blocked does not call", "blocked", "{status: 200, headers: {grpc-status: '7'}}"),
                call("a denied call is no 403", "blocked", "{status: 403}"),
                check(
                    "the application's own failure",
                    "friend",
                    "POST /shop.Prices/List?status=7",
                    "{status: 200, headers: {grpc-status: '7'}, by: application}",
                )
                .with("http: \"2\", headers: {content-type: application/grpc, te: trailers}"),
            ])
            .but(&[("a denied call is no 403", Verdict::Failed, "denied by `grpc-status`")])
            .broken("the filter is gone", h2(vec![]), &["blocked does not call"])
            .fallen(&[("a denied call is no 403", Verdict::Failed, "expected 403, saw 200")]),
        Case::new("gRPC, and an application that spoofs a denial", h2(vec![deny(json!({})), no_spoofing()]))
            .checks([
                call("friend calls", "friend", "{status: 200, headers: {grpc-status: '0'}}"),
                check(
                    "friend does not call this",
                    "friend",
                    "POST /shop.Prices/Spoofed",
                    "{status: 200, headers: {grpc-status: '7', grpc-message: 'RBAC: access denied'}}",
                )
                .with("http: \"2\", headers: {content-type: application/grpc, te: trailers}"),
            ])
            .broken("it is asked", h2(vec![deny(json!({}))]), &["friend does not call this"]),
        Case::new(
            "prefixes with all kinds of signs, and a count for each rule",
            Port {
                hcm: json!({"stat_prefix": "~in:side://a.b"}),
                ..filters(vec![deny(json!({"rules_stat_prefix": "x:y.", "track_per_rule_stats": true}))])
            },
        )
        .broken(
            "the filter is gone",
            Port { hcm: json!({"stat_prefix": "~in:side://a.b"}), ..Port::default() },
            &[DENIED],
        ),
        Case::new("gRPC, denied by the application alone", h2(vec![deny(json!({}))]))
            .checks([
                call("friend calls", "friend", "{status: 200, headers: {grpc-status: '0'}}"),
                check(
                    "blocked does not call",
                    "blocked",
                    "POST /shop.Prices/List?status=7",
                    "{status: 200, headers: {grpc-status: '7'}}",
                )
                .with("http: \"2\", headers: {content-type: application/grpc, te: trailers}"),
            ])
            .broken("it is let through to it", h2(vec![]), &["blocked does not call"]),
        Case::new(
            "a rule by a matcher",
            filters(vec![http("rbac.v3.RBAC", &json!({"matcher": by_path("/api")}))]),
        )
        .checks([served(), check("another path is denied", "friend", "GET /api", "{status: 403}")])
        .broken(
            "it is for another path",
            filters(vec![http("rbac.v3.RBAC", &json!({"matcher": by_path("/apis")}))]),
            &["another path is denied"],
        ),
    ]
}

fn no_spoofing() -> Value {
    http(
        "rbac.v3.RBAC",
        &json!({"rules": {"action": "DENY", "policies": {"spoofed": {
        "permissions": [{"url_path": {"path": {"suffix": "Spoofed"}}}], "principals": [{"any": true}]}}}}),
    )
}

fn denying_with(prefix: &str) -> Port {
    filters(vec![deny(json!({"rules_stat_prefix": prefix}))])
}

/// A matcher that denies a path and allows all others.
fn by_path(path: &str) -> Value {
    let action = |name: &str, action: &str| {
        json!({"action": {"name": name, "typed_config": {
            "@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": name, "action": action}}})
    };
    json!({
        "matcher_list": {"matchers": [{
            "predicate": {"single_predicate": {
                "input": {"name": "path", "typed_config": {
                    "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                    "header_name": ":path"}},
                "value_match": {"exact": path},
            }},
            "on_match": action("no", "DENY"),
        }]},
        "on_no_match": action("yes", "ALLOW"),
    })
}
