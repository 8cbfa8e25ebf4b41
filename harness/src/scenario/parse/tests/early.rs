//! What would show minutes later, or never: expectations that look at nothing, and what others would refuse.

use super::*;

/// `RIGHT` with one thing otherwise, and what is said of it.
#[rstest]
#[case::json("{status: 200}}\n      - {check: refused", "json: null", "`json` is left blank")]
#[case::body("{status: 200}}\n      - {check: refused", "body: ", "`body` is left blank")]
#[case::contains("{status: 200}}\n      - {check: refused", "contains: ['']", "an empty text in `contains`")]
#[case::lacks("{status: 200}}\n      - {check: refused", "lacks: [a, '']", "an empty text in `lacks`")]
#[case::count("{status: 200}}\n      - {check: refused", "count: {'': 0}", "an empty text in `count`")]
#[case::none("{status: 200}}\n      - {check: refused", "contains: []", "`contains` is left blank")]
fn an_expectation_that_looks_at_nothing_is_a_mistake(
    #[case] before: &str,
    #[case] more: &str,
    #[case] said: &str,
) {
    assert!(RIGHT.contains(before));
    let text = RIGHT.replacen(before, &before.replacen("200}", &format!("200, {more}}}"), 1), 1);
    let found = mistakes(&text);
    assert!(found.contains(said) && found.lines().count() == 1, "{found}");
}

#[rstest]
#[case("GET /,", "{status: 200, lacks: [a]}", "")]
#[case("HEAD /,", "{status: 200, body: ''}", "")]
#[case(
    "HEAD /,",
    "{status: 200, lacks: [a]}",
    "the answer to `HEAD /` has no body, so `lacks` looks at nothing"
)]
#[case(
    "[GET /, HEAD /a],",
    "{status: 200, count: {a: 0}}",
    "the answer to `HEAD /a` has no body, so `count`"
)]
#[case("GET /,", "{status: 204, body: a}", "an answer with status 204 has no body, so `body`")]
#[case("GET /,", "{status: 304, json: {}}", "an answer with status 304 has no body, so `json`")]
fn a_body_that_there_cannot_be_is_not_looked_at(
    #[case] send: &str,
    #[case] expect: &str,
    #[case] said: &str,
) {
    let right = "send: GET /, expect: {status: 200}}\n      - {check: refused";
    assert!(RIGHT.contains(right));
    let other = right.replacen("GET /,", send, 1).replacen("{status: 200}", expect, 1);
    let found = mistakes(&RIGHT.replacen(right, &other, 1));
    assert!(found.contains(said) && found.is_empty() == said.is_empty(), "{found}");
}

#[rstest]
#[case::close("close_notify", "no server refuses with `close_notify`")]
#[case::by_number("90", "no server refuses with `user_canceled`")]
fn an_alert_that_ends_nothing_is_no_refusal(#[case] alert: &str, #[case] said: &str) {
    let text = RIGHT.replace("{alert: certificate_required}", &format!("{{alert: {alert}}}"));
    assert!(mistakes(&text).contains(said), "{}", mistakes(&text));
}

#[rstest]
#[case::service("service: default/page", "service: default/Page_1", "Kubernetes takes no Service `Page_1`")]
#[case::namespace(
    "service: default/page",
    "service: De_fault/page",
    "Kubernetes takes no namespace `De_fault`"
)]
#[case::port("port: 80}", "port: 0}", "nothing listens on port 0")]
#[case::socket("socket-dir: /run", "socket-dir: run", "`run/spire` is not a folder of the node")]
#[case::upwards("socket-dir: /run", "socket-dir: /run/../etc", "is not a folder of the node")]
#[case::release(
    "install: []",
    "install: [[{release: --post-renderer=x, chart: helm/a, namespace: n}]]",
    "Helm takes no release `--post-renderer=x`"
)]
#[case::release_in_capitals(
    "install: []",
    "install: [[{release: Web_1, chart: helm/a, namespace: n}]]",
    "Helm takes no release `Web_1`"
)]
#[case::release_elsewhere(
    "install: []",
    "install: [[{release: web, chart: helm/a, namespace: ../../x}]]",
    "Kubernetes takes no namespace `../../x`"
)]
#[case::target(
    "to: page, send: GET /,",
    "to: page, send: 'GET /{x*1000000000000000000}',",
    "longer than 1 MiB"
)]
#[case::header(
    "to: page, send: GET /,",
    "to: page, send: GET /, headers: {'a b': x},",
    "`a b` is not the name of a header"
)]
#[case::header_value(
    "to: page, send: GET /,",
    "to: page, send: GET /, headers: {a: \"x\\ny\"},",
    "has a character that the header `a` cannot carry"
)]
#[case::by(
    "{alert: certificate_required}",
    "{alert: certificate_required, by: envoy}",
    "`by` needs `status`"
)]
#[case::a_page(
    "to: page, send: GET /, expect: {status: 200}",
    "to: page, send: GET /, control: served, expect: {status: 403}",
    "a refusal needs evidence"
)]
fn what_would_be_refused_minutes_later_is_told_at_once(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] said: &str,
) {
    assert!(RIGHT.contains(right), "{right}");
    let found = mistakes(&RIGHT.replacen(right, wrong, 1));
    assert!(found.contains(said), "{found}");
}
