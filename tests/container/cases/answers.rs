//! Who answered: what an answer looks like is changed, left out or feigned, and counters and the log tell all
//! the same.

use serde_json::{Value, json};

use super::{Case, DENIED, Port, check, deny, denying, http, nobody, served, stranger};
use crate::envoy::config::to;

/// What Envoy says instead of its own words for a 403.
fn reply(with: Value) -> Value {
    let filter = json!({"status_code_filter": {"comparison": {"op": "EQ",
        "value": {"default_value": 403, "runtime_key": "none"}}}});
    let mapper = crate::envoy::config::merged(json!({"filter": filter}), &with);
    json!({"local_reply_config": {"mappers": [mapper]}})
}

fn port(filters: Vec<Value>, hcm: Value) -> Port {
    Port { hcm, filters, ..Port::default() }
}

pub(super) fn direct(prefix: &str, status: u16, body: &str) -> Value {
    json!({"match": {"prefix": prefix}, "direct_response": {"status": status, "body": {"inline_string": body}}})
}

pub(super) fn cases() -> Vec<Case> {
    let body = || reply(json!({"body_format_override": {"json_format": {"error": "forbidden"}}}));
    let status = || reply(json!({"status_code": 401}));
    let bare = |filters: Vec<Value>| Port {
        router: json!({"suppress_envoy_headers": true}),
        filters,
        ..Port::default()
    };
    let spoofed = || check(DENIED, "friend", "GET /spoofed", "{status: 403, body: 'RBAC: access denied'}");
    let not_spoofed = || {
        let rules = json!({"action": "DENY", "policies": {"spoofed": {
            "permissions": [{"url_path": {"path": {"exact": "/spoofed"}}}], "principals": [{"any": true}]}}});
        http("rbac.v3.RBAC", &json!({"rules": rules}))
    };
    let own = || {
        [
            check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}"),
            check("its own 404", "friend", "GET /missing", "{status: 404, by: application}"),
            check("its own 500", "friend", "GET /broken", "{status: 500, by: application}"),
            check("whatever it says", "friend", "GET /forbidden", "{by: application}"),
        ]
    };
    let feigned = json!([
        direct("/forbidden", 403, "not for you"),
        direct("/missing", 404, "no"),
        direct("/broken", 500, "broken"),
        to("/", "~app")
    ]);
    let own_red: &[_] = &["its own 403", "its own 404", "its own 500", "whatever it says"];
    let timeless = |filters: Vec<Value>| {
        let mut route = to("/", "~app");
        route["response_headers_to_remove"] = json!(["X-Envoy-Upstream-Service-Time"]);
        Port { routes: json!([route]), ..port(filters, json!({})) }
    };
    let capital = || json!({"http_protocol_options": {"header_key_format": {"proper_case_words": {}}}});
    let no_route = || check("there is no such path", "friend", "GET /nowhere", "{status: 404}");
    let known =
        |prefix: &str| Port { routes: json!([to("/prices", "~app"), to(prefix, "~app")]), ..denying() };
    let timed = |routes: Value| Port { routes, ..denying() };
    let with_time = |cluster: bool| {
        let mut route = if cluster { to("/lives", "~app") } else { direct("/lives", 404, "no") };
        route["response_headers_to_add"] =
            json!([{"header": {"key": "x-envoy-upstream-service-time", "value": "1"}}]);
        json!([route, to("/", "~app")])
    };
    vec![
        Case::new("local_reply_config with another body", port(vec![deny(json!({}))], body()))
            .checks([
                served(),
                check(DENIED, "blocked", "GET /prices", "{status: 403, json: {error: forbidden}}"),
                check(
                    "its own 403",
                    "friend",
                    "GET /forbidden",
                    "{status: 403, body: not for you, by: application}",
                ),
                stranger(),
            ])
            .broken("the filter is gone", port(vec![], body()), &[DENIED]),
        Case::new("local_reply_config with another status", port(vec![deny(json!({}))], status()))
            .checks([served(), check(DENIED, "blocked", "GET /prices", "{status: 401}"), nobody()])
            .broken("the filter is gone", port(vec![], status()), &[DENIED]),
        Case::new("suppress_envoy_headers", bare(vec![deny(json!({}))]))
            .and([check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}")])
            .broken("the filter is gone", bare(vec![]), &[DENIED]),
        Case::new(
            "server_header_transformation",
            port(vec![deny(json!({}))], json!({"server_header_transformation": "PASS_THROUGH"})),
        )
        .broken(
            "the filter is gone",
            port(vec![], json!({"server_header_transformation": "PASS_THROUGH"})),
            &[DENIED],
        ),
        Case::new("an application that spoofs a denial", port(vec![not_spoofed()], json!({})))
            .checks([served(), spoofed()])
            .broken("it is asked", Port::default(), &[DENIED]),
        Case::new("an application that spoofs a denial, without Envoy's headers", bare(vec![not_spoofed()]))
            .checks([served(), spoofed()])
            .broken("it is asked", bare(vec![]), &[DENIED]),
        Case::new(
            "an application that spoofs a denial, with other words for one",
            port(vec![not_spoofed()], reply(json!({"status_code": 403}))),
        )
        .checks([served(), spoofed()])
        .broken("it is asked", port(vec![], reply(json!({"status_code": 403}))), &[DENIED]),
        Case::new(
            "an application that spoofs a denial, and a route that takes the time away",
            timeless(vec![not_spoofed()]),
        )
        .checks([served(), spoofed()])
        .broken("it is asked", timeless(vec![]), &[DENIED]),
        Case::new("headers with capital letters", port(vec![deny(json!({}))], capital()))
            .and([check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}")])
            .broken("the filter is gone", port(vec![], capital()), &[DENIED]),
        Case::new("an application's own 403, 404 and 500", denying()).and(own()).broken(
            "they are Envoy's",
            timed(feigned.clone()),
            own_red,
        ),
        Case::new("an application's own 403, 404 and 500, without Envoy's headers", bare(vec![]))
            .checks([served()].into_iter().chain(own()))
            .broken("they are Envoy's", Port { routes: feigned, ..bare(vec![]) }, own_red),
        Case::new("no route", known("/api")).and([no_route()]).broken(
            "the application says so",
            known("/"),
            &["there is no such path"],
        ),
        Case::new("Envoy's own answer with an upstream's time", timed(with_time(false)))
            .and([check("there is no such path", "friend", "GET /lives", "{status: 404}")])
            .broken("the application says so", timed(with_time(true)), &["there is no such path"]),
        Case::new("headers of another prefix", denying()).alone(json!({"header_prefix": "x-acme"})).broken(
            "the filter is gone",
            Port::default(),
            &[DENIED],
        ),
        Case::new("a request that is too large", denying())
            .and([check("too large", "friend", "GET /prices/{x*62000}", "{status: 431}")])
            .broken(
                "it is let through",
                port(vec![deny(json!({}))], json!({"max_request_headers_kb": 96})),
                &["too large"],
            ),
        Case::new(
            "an application that is down",
            Port {
                routes: json!([to("/down", "~down"), to("/", "~app")]),
                clusters: vec![crate::envoy::config::cluster("~down", crate::envoy::config::DOWN)],
                ..denying()
            },
        )
        .and([check("it is down", "friend", "GET /down", "{status: 503}")])
        .broken("it is up", denying(), &["it is down"]),
    ]
}
