//! Listeners, filter chains and what they ask of a client.

use serde_json::{Value, json};

use super::{
    Case, Check, DENIED, NOBODY, Port, STRANGER, Verdict, check, denied, denying, http, nobody, served,
    spiffe, stranger,
};
use crate::envoy::config::{merged, network, typed};

/// What the listener must have to tell TLS from others.
pub(super) fn inspector() -> Value {
    json!([{"name": "tls", "typed_config": {"@type": typed("filters.listener.tls_inspector.v3.TlsInspector")}}])
}

pub(super) fn hcm() -> Value {
    json!({"name": "hcm", "typed_config": {
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "~plain",
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "~app"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": typed("filters.http.router.v3.Router")}}],
    }})
}

fn tls(tls: Value) -> Port {
    Port { tls, ..denying() }
}

pub(super) fn cases() -> Vec<Case> {
    let permissive = |tls: Value| Port {
        listener: json!({"listener_filters": inspector(),
            "default_filter_chain": {"filters": [hcm()]}}),
        chain: json!({"filter_chain_match": {"transport_protocol": "tls"}}),
        tls,
        ..denying()
    };
    let optional = || json!({"require_client_certificate": false});
    let everybody = |filters: Vec<Value>| Port { tls: optional(), sans: &[], filters, ..Port::default() };
    let known = || {
        let friend = json!({"authenticated": {"principal_name": {"exact": spiffe("/friend")}}});
        http(
            "rbac.v3.RBAC",
            &json!({"rules": {"action": "ALLOW", "policies": {"known": {
            "permissions": [{"any": true}], "principals": [friend]}}}}),
        )
    };
    let twelve = |more: Value| {
        let params = json!({"common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_2",
            "tls_minimum_protocol_version": "TLSv1_2"}}});
        merged(params, &more)
    };
    let proxy = |sans: &'static [&'static str]| Port {
        chain: json!({"filters": [network("tcp_proxy.v3.TcpProxy",
            &json!({"stat_prefix": "~tcp", "cluster": "~app"}))]}),
        sans,
        ..Port::default()
    };
    let http2 = |port: Port| Port {
        tls: merged(json!({"common_tls_context": {"alpn_protocols": ["h2"]}}), &port.tls),
        hcm: json!({"codec_type": "HTTP2"}),
        ..port
    };
    let over2 = |check: Check| check.with("http: \"2\"");
    let chosen = |by: Value| Port {
        listener: json!({"listener_filters": inspector()}),
        chain: json!({"filter_chain_match": by}),
        tls: json!({"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"]}}),
        ..Port::default()
    };
    let prefixed = |port: Port| Port { listener: json!({"stat_prefix": "~edge"}), ..port };
    let rogue = || check("another CA's is refused", "rogue", "GET /prices", "{alert: unknown_ca}");
    vec![
        Case::new("TLS and plain text at one port", permissive(json!({})))
            .and([
                rogue(),
                check("anybody gets an answer in plain text", "nobody", "GET /prices", "{status: 200}")
                    .at("plain"),
            ])
            .broken(
                "a certificate is optional",
                Port { sans: &[], ..permissive(optional()) },
                &[NOBODY, STRANGER],
            ),
        Case::new("an optional certificate and a policy", everybody(vec![known()]))
            .checks([
                served(),
                check(NOBODY, "nobody", "GET /prices", "{status: 403}"),
                check(STRANGER, "stranger", "GET /prices", "{status: 403}"),
                rogue(),
            ])
            .broken("there is no policy", everybody(vec![]), &[NOBODY, STRANGER]),
        Case::new("TLS 1.2 alone", tls(twelve(json!({})))).and([rogue()]).broken(
            "a certificate is optional",
            Port { sans: &[], ..tls(twelve(optional())) },
            &[NOBODY, STRANGER],
        ),
        Case::new("a TCP proxy", proxy(&["/friend", "/blocked"]))
            .checks([
                served(),
                stranger(),
                nobody(),
                check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}"),
            ])
            .broken("there is no SAN list", proxy(&[]), &[STRANGER]),
        Case::new("an application that refuses behind a TCP proxy", proxy(&["/friend", "/blocked"]))
            .checks([served(), check(DENIED, "friend", "GET /missing", "{status: 403}")])
            .but(&[(DENIED, Verdict::Failed, "expected 403, saw 404")])
            .broken("it looks right", proxy(&[]), &[DENIED]),
        Case::new("HTTP/2 alone", http2(denying()))
            .checks([
                over2(served()),
                over2(denied()),
                over2(stranger()),
                over2(nobody()),
                check("HTTP/1.1 is not spoken", "friend", "GET /prices", "{status: 200}"),
            ])
            .but(&[("HTTP/1.1 is not spoken", Verdict::Errored, "neither an answer nor a refusal")])
            .broken("the filter is gone", http2(Port::default()), &[DENIED]),
        Case::new("a chain for HTTP/2 alone", chosen(json!({"application_protocols": ["h2"]})))
            .checks([
                over2(served()),
                check("no chain is for HTTP/1.1", "friend", "GET /prices", "{cut-off: no-chain}"),
            ])
            .broken("it is for all", chosen(json!({})), &["no chain is for HTTP/1.1"]),
        Case::new("a listener's stat_prefix", prefixed(denying())).broken(
            "there is no SAN list",
            prefixed(Port { sans: &[], ..denying() }),
            &[STRANGER],
        ),
        Case::new("paths with escaped slashes", Port {
            hcm: json!({"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT", "normalize_path": true}),
            ..denying()
        })
        .and([check("it is led to the right path", "friend", "GET /x%2fprices", "{status: 307, by: envoy}")])
        .broken("it is let through", Port { hcm: json!({"normalize_path": true}), ..denying() }, &[
            "it is led to the right path",
        ]),
    ]
}
