//! Envoy configurations as others write them, one kind a case: what must stand in the draft, and what must not.

use rstest::rstest;

use super::chart::{Chart, assert_says, chart, drafted, objects};
use crate::draft::Draft;

/// An HTTP RBAC filter and a router.
macro_rules! rbac {
    ($rules:literal) => {
        concat!(
            "[{name: rbac, typed_config: {'@type': x/envoy.extensions.filters.http.rbac.v3.RBAC, ",
            $rules,
            "}}, {name: router, typed_config: {'@type': x/envoy.extensions.filters.http.router.v3.Router}}]"
        )
    };
}

#[rstest]
#[case::plain(chart(), &["+- check: till gets an answer from web\n", "+send: GET /\n", "+certificate_unknown",
    "+certificate_required", "+socket-dir: /run/agent\n", "+service: shop/web", "+port: 443", "-FILL-IN",
    "+select: [\"k8s:ns:shop\", \"k8s:sa:web\", \"k8s:pod-label:app:web\"]", "-k8s:pod-label:version"])]
#[case::denied_by_name(
    Chart { sans: "[]", filters: rbac!("rules: {action: DENY, policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/bad'}}}]}}}"), ..chart() },
    &["+- check: bad is denied by web", "-bad gets an answer", "+403, body: \"RBAC: access denied\"",
      "+control: a stranger gets an answer from web"])]
#[case::a_name_that_no_svid_has(
    Chart { filters: rbac!("rules: {action: DENY, policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/*/x'}}}]}}}"), ..chart() },
    &["+till gets an answer", "+# spiffe://a.org/ns/*/x is named too", "-: /ns/*"])]
#[case::a_method_that_is_none(
    Chart { filters: rbac!("rules: {action: DENY, policies: {p: {permissions: [{header: {name: ':method',
        string_match: {exact: get}}}], principals: [{any: true}]}}}"), ..chart() },
    &["+till gets an answer", "+send: GET /\n", "-get /"])]
#[case::denied_among_the_listed(
    Chart { filters: rbac!("rules: {action: DENY, policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {suffix: /till}}}]}}}"), ..chart() },
    &["-gets an answer", "+FILL-IN", "+Of no client is it sure"])]
#[case::only_the_allowed(
    Chart { sans: "[]", filters: rbac!("rules: {policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/till'}}}]}}}"), ..chart() },
    &["+till gets an answer", "+a stranger is denied by web", "+control: till gets an answer", "-stranger gets"])]
#[case::allowed_by_regex(
    Chart { sans: "[]", filters: rbac!("rules: {policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {safe_regex: {regex: 'spiffe://a.org/ns/.*'}}}}]}}}"), ..chart() },
    &["+  x: /ns/x\n", "+x gets an answer", "-stranger gets", "-FILL-IN"])]
#[case::allowed_by_what_only_re2_reads(
    Chart { sans: "[]", filters: rbac!("rules: {policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {safe_regex: {regex: 'spiffe://\\Qa.org\\E/.*'}}}}]}}}"), ..chart() },
    &["-gets an answer", "+by the regex spiffe://", "-403", "+FILL-IN"])]
#[case::allowed_by_prefix(
    Chart { sans: "[]", filters: rbac!("rules: {policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {prefix: 'spiffe://a.org/ns/till/'}}}]}}}"), ..chart() },
    &["+  anyone: /ns/till/anyone\n", "+anyone gets an answer", "+a stranger is denied by web"])]
#[case::a_path_by_header(
    Chart { filters: rbac!("rules: {policies: {p: {permissions: [{and_rules: {rules: [
        {header: {name: ':path', string_match: {prefix: /api}}}, {header: {name: ':method', string_match: {exact: POST}}}]}}],
        principals: [{any: true}]}}}"), ..chart() },
    &["+send: POST /api\n", "+till gets an answer", "+paths: [/api, /]", "+till is denied by web"])]
#[case::a_path_by_regex(
    Chart { filters: rbac!("rules: {policies: {p: {permissions: [{url_path: {path: {safe_regex: {regex: '/v[0-9]+'}}}}],
        principals: [{any: true}]}}}"), ..chart() },
    &["+send: GET /v1\n", "+till gets an answer", "+till is denied by web", "-FILL-IN"])]
#[case::a_path_that_is_denied(
    Chart { filters: rbac!("rules: {action: DENY, policies: {p: {permissions: [{url_path: {path: {prefix: /admin}}}],
        principals: [{any: true}]}}}"), ..chart() },
    &["+send: GET /admin\n        expect: {status: 403", "+send: GET /\n        expect: {by: application}"])]
#[case::shadow_rules(
    Chart { filters: rbac!("shadow_rules: {action: ALLOW, policies: {}}"), ..chart() },
    &["+till gets an answer", "-403"])]
#[case::a_condition(
    Chart { filters: rbac!("rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}], condition: {id: 1}}}}"),
        ..chart() },
    &["-gets an answer", "+`condition`"])]
#[case::two_filters(
    Chart { filters: "[{name: a, typed_config: {'@type': x/http.rbac.v3.RBAC, rules: {policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}},
        {name: b, typed_config: {'@type': x/http.rbac.v3.RBAC, rules: {action: DENY, policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/till/sa/till'}}}]}}}}}]", ..chart() },
    &["-gets an answer"])]
#[case::a_filter_that_is_not_known(
    Chart { filters: "[{name: envoy.filters.http.ext_authz, typed_config: {'@type': x/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz}}]",
        ..chart() },
    &["-gets an answer", "+ext_authz"])]
#[case::a_filter_that_is_off(
    Chart { filters: "[{name: lua, disabled: true, typed_config: {'@type': x/http.lua.v3.Lua}}]", ..chart() },
    &["+till gets an answer"])]
#[case::a_policy_of_the_route(
    Chart { filters: rbac!("rules: {}"),
        routes: "{virtual_hosts: [{domains: ['*'], routes: [{match: {prefix: /open}, route: {cluster: c},
            typed_per_filter_config: {rbac: {'@type': x/http.rbac.v3.RBACPerRoute}}}, {match: {prefix: /}, route: {cluster: c}}]}]}",
        ..chart() },
    &["+send: GET /open\n        expect: {by: application}", "+send: GET /\n        expect: {status: 403"])]
#[case::a_network_policy(
    Chart { network: "{name: n, typed_config: {'@type': x/envoy.extensions.filters.network.rbac.v3.RBAC, rules: {policies: {}}}},",
        ..chart() },
    &["-gets an answer", "+With one, this could be checked: till is cut off by web ({cut-off: network-rbac})."])]
#[case::a_network_policy_against_one(
    Chart { network: "{name: n, typed_config: {'@type': x/envoy.extensions.filters.network.rbac.v3.RBAC, rules: {action: DENY,
        policies: {p: {permissions: [{any: true}], principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/bad'}}}]}}}}},",
        sans: "[]", ..chart() },
    &["+- check: bad is cut off by web", "+expect: {cut-off: network-rbac}\n        control: a stranger gets an answer",
      "-bad gets an answer", "-bad is denied"])]
#[case::an_answer_of_a_route(
    Chart { routes: "{virtual_hosts: [{domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}", ..chart() },
    &["+till gets an answer", "+expect: {status: 200}", "-{by: application}"])]
#[case::what_becomes_of_a_denial(
    Chart { sans: "[]", manager: "local_reply_config: {mappers: []},", filters: rbac!("rules: {policies: {p: {permissions: [{any: true}],
        principals: [{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/till'}}}]}}}"), ..chart() },
    &["+till gets an answer", "-403", "+local_reply_config"])]
#[case::a_wildcard_domain(
    Chart { routes: "{virtual_hosts: [{domains: ['*.shop.example'], routes: [{match: {prefix: /}, route: {cluster: local_service}}]}]}",
        ..chart() },
    &["-*.shop.example", "+    dns: x.shop.example\n", "+    dns: [x.shop.example]\n", "+till gets an answer"])]
#[case::a_domain_that_is_the_services(
    Chart { routes: "{virtual_hosts: [{domains: [other.example, web], routes: [{match: {prefix: /}, route: {cluster: local_service}}]}]}",
        ..chart() },
    &["-dns:", "+till gets an answer"])]
#[case::no_route(
    Chart { routes: "{virtual_hosts: [{domains: ['*'], routes: [{match: {headers: [{name: x-a}]}, route: {cluster: c}}]}]}", ..chart() },
    &["-gets an answer", "+header `x-a`"])]
#[case::a_redirect(
    Chart { routes: "{virtual_hosts: [{domains: ['*'], routes: [{match: {prefix: /}, redirect: {path_redirect: /a}}]}]}", ..chart() },
    &["-gets an answer", "+a route that does not forward"])]
#[case::http2_alone(Chart { tls: "alpn_protocols: [h2],", ..chart() },
    &["+        http: \"2\"\n", "+        http: [\"2\"]\n"])]
#[case::http2_by_codec(Chart { manager: "codec_type: HTTP2,", ..chart() },
    &["+        http: \"2\"\n", "+        http: [\"2\"]\n"])]
#[case::the_workloads_own(Chart { svid: "default", bundle: "ROOTCA", ..chart() },
    &["+  - id: FILL-IN\n", "+    identity: FILL-IN\n", "+trust-domain: a.org\n", "+till gets an answer"])]
#[case::all_bundles(Chart { bundle: "ALL", ..chart() }, &["+till gets an answer", "-FILL-IN"])]
#[case::another_bundle(Chart { bundle: "spiffe://b.org", ..chart() }, &["-gets an answer", "+the bundle of b.org"])]
#[case::a_san_by_regex(Chart { sans: "[{san_type: URI, matcher: {safe_regex: {regex: x}}}]", ..chart() },
    &["-gets an answer", "+name no single SPIFFE ID", "+FILL-IN"])]
#[case::sans_by_regex(
    Chart { sans: "[{san_type: URI, matcher: {safe_regex: {regex: 'spiffe://a.org/ns/till/.+'}}}]", ..chart() },
    &["+  x: /ns/till/x\n", "+x gets an answer", "+a stranger is refused by web", "-FILL-IN"])]
#[case::a_san_of_another_type(
    Chart { sans: "[{san_type: DNS, matcher: {exact: 'spiffe://a.org/x'}}, {san_type: URI, matcher: {exact: 'spiffe://a.org/y'}}]", ..chart() },
    &["+y gets an answer", "-x gets an answer"])]
#[case::a_foreign_listener(
    Chart { listeners: ", {name: public, address: {socket_address: {port_value: 443}}, filter_chains: [{transport_socket: {typed_config:
        {'@type': x/tls.v3.DownstreamTlsContext, common_tls_context: {tls_certificates: [{}]}}}}]}", ..chart() },
    &["+# Left out: listener `public` on port 443", "+till gets an answer"])]
#[case::several_chains(Chart { chains: ", {filters: []}", ..chart() },
    &["-gets an answer", "+which of its 2 filter chains", "+FILL-IN"])]
#[case::a_default_chain(Chart { listener: "default_filter_chain: {filters: []},", ..chart() },
    &["-gets an answer", "+which of its 2 filter chains"])]
#[case::a_listener_filter(Chart { listener: "listener_filters: [{name: envoy.filters.listener.proxy_protocol}],", ..chart() },
    &["-gets an answer", "+the listener filter `envoy.filters.listener.proxy_protocol`"])]
#[case::a_listener_filter_that_only_looks(Chart { listener: "listener_filters: [{name: envoy.filters.listener.tls_inspector}],", ..chart() },
    &["+till gets an answer"])]
#[case::an_untrusted_chain(Chart { context: "trust_chain_verification: ACCEPT_UNTRUSTED,", ..chart() },
    &["-gets an answer", "-certificate_unknown", "+ACCEPT_UNTRUSTED"])]
#[case::a_hash(Chart { context: "verify_certificate_hash: [a],", ..chart() },
    &["-gets an answer", "+`verify_certificate_hash`"])]
#[case::a_bundle_of_a_file(Chart { bundle: "ca", ..chart() },
    &["-gets an answer", "+the validation context `ca`"])]
fn a_configuration(#[case] chart: Chart, #[case] expected: &[&str]) {
    assert_says(&chart.draft(), expected);
}

/// A draft of the chart with one text of its bootstrap in the place of another.
fn with(from: &str, to: &str) -> Draft {
    let envoy = chart().envoy();
    assert!(envoy.contains(from), "{from:?} is not in the bootstrap");
    drafted(&objects("ConfigMap", "data: {envoy.yaml: TEXT}", &envoy.replacen(from, to, 1)))
}

/// Of bytes nothing is drafted, and requests are not swept there.
#[test]
fn a_listener_of_bytes() {
    let draft = with("x/HttpConnectionManager", "x/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy");
    assert_says(&draft, &["-gets an answer", "-surface:", "+a listener that is not HTTP", "+FILL-IN"]);
}

/// Who comes without the name of the chain would be cut off, and no check would say why.
#[rstest]
#[case("[a.example, b.example]", &["+    sni: a.example\n", "+till gets an answer", "-FILL-IN"])]
#[case("['*.example']", &["-sni:", "-gets an answer", "+`filter_chain_match` by `server_names`"])]
fn a_chain_for_server_names(#[case] names: &str, #[case] expected: &[&str]) {
    let chain = format!("filter_chains: [{{filter_chain_match: {{server_names: {names}}}, ");
    assert_says(&with("filter_chains: [{", &chain), expected);
}

/// Where the application is another release's, nothing answers before that is named.
#[rstest]
#[case("prices.other", &["+{release: FILL-IN, chart: FILL-IN, namespace: FILL-IN}  # What answers at prices.other:443, to which web forwards.",
    "+It does not run before every FILL-IN", "+till gets an answer"])]
#[case("web.shop.svc", &["-FILL-IN"])]
#[case("127.0.0.1", &["-FILL-IN"])]
fn a_cluster_that_leads_out_of_the_chart(#[case] host: &str, #[case] expected: &[&str]) {
    let cluster = format!(
        "clusters: [{{name: local_service, load_assignment: {{endpoints: [{{socket_address: {{address: \
         {host}, port_value: 443}}}}]}}}}, "
    );
    assert_says(&with("clusters: [", &cluster), expected);
}

/// What another Envoy says, a denial among it, is no answer of an application that nobody sees.
#[test]
fn a_cluster_that_asks_another_envoy() {
    let tls = "transport_socket: {typed_config: {'@type': x/tls.v3.UpstreamTlsContext}}";
    let draft = with("clusters: [", &format!("clusters: [{{name: local_service, {tls}}}, "));
    assert_says(&draft, &["+till gets an answer", "+expect: {status: 200}", "-{by: application}"]);
}
