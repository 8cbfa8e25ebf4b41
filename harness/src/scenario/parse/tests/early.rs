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
#[case::no_socket("socket-dir: /run/spire", "bundle: b", "where is the agent's socket?")]
#[case::two_sockets("socket-dir: /run", "csi: csi.spiffe.io, socket-dir: /run", "comes from one of them")]
#[case::a_driver("socket-dir: /run/spire", "csi: csi spiffe", "Kubernetes takes no CSI driver `csi spiffe`")]
#[case::a_socket_in_a_folder(
    "socket-dir: /run",
    "socket-file: a/agent.sock, socket-dir: /run",
    "`a/agent.sock` is no name of a file"
)]
#[case::a_server_of_another_kind(
    "server: spire-server",
    "server: daemonset/x",
    "a SPIRE server is no `daemonset`: write `deployment/x` or `statefulset/x`"
)]
#[case::a_program(
    "socket-dir: /run",
    "binary: spire-server, socket-dir: /run",
    "`spire-server` is no program"
)]
#[case::an_api(
    "socket-dir: /run",
    "api-socket: ../api, socket-dir: /run",
    "`../api` is no socket of the server"
)]
#[case::a_bundle("socket-dir: /run", "bundle: A/b, socket-dir: /run", "Kubernetes takes no namespace `A`")]
#[case::a_bundles_key(
    "socket-dir: /run",
    "bundle: b, bundle-key: a/b, socket-dir: /run",
    "no ConfigMap has a key `a/b`"
)]
#[case::a_key_of_no_bundle("socket-dir: /run", "bundle-key: b, socket-dir: /run", "of which ConfigMap?")]
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

/// What SPIRE would refuse of an entry, or take and never hand out.
#[rstest]
#[case::its_own_parent("parent: /ns/a/sa/a", "would be its own parent")]
#[case::a_parent_with_its_domain("parent: 'spiffe://example.org/a'", "write the path alone")]
#[case::a_parent_of_an_alias("node: true, parent: /b", "a node alias has no `parent`")]
#[case::no_time("ttl: {x509: 0s}", "SPIRE counts in whole seconds")]
#[case::parts_of_a_second("ttl: {jwt: 1500ms}", "SPIRE counts in whole seconds")]
#[case::a_domain("federates-with: ['spiffe://b.org']", "`spiffe://b.org` is not a trust domain")]
#[case::its_own_domain("federates-with: [example.org]", "is the scenario's own trust domain")]
#[case::a_store("store-svid: true", "with `store-svid` all selectors are of one type")]
#[case::a_slip("hints: a", "unknown key `hints`: did you mean `hint`?")]
fn an_entry_that_is_none_is_a_mistake(#[case] more: &str, #[case] said: &str) {
    let entry = format!("{{id: /ns/a/sa/a, select: ['k8s:ns:a', 'unix:uid:1'], {more}}}");
    for registration in [format!("[{entry}]"), format!("{{entries: [{entry}]}}")] {
        let text = RIGHT.split("registration:").next().unwrap().to_owned()
            + &format!("registration: {registration}\nendpoints:")
            + RIGHT.split("endpoints:").nth(1).unwrap();
        let found = mistakes(&text);
        assert!(found.contains(said) && found.lines().count() == 1, "{found}");
    }
}

#[test]
fn manifests_of_a_registration_are_there() {
    let text = RIGHT.split("registration:").next().unwrap().to_owned()
        + "registration: {manifests: [nothing.yaml]}\nendpoints:"
        + RIGHT.split("endpoints:").nth(1).unwrap();
    let found = mistakes(&text);
    assert!(found.contains("`nothing.yaml` is not there"), "{found}");
}
