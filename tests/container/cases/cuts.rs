//! Connections that end without an answer and without an alert, and applications that speak no HTTP.

use serde_json::{Value, json};

use super::tls::{hcm, inspector};
use super::{Case, Check, NOBODY, Port, STRANGER, check, denying, no_blocked, nobody, served, stranger};
use crate::envoy::config::network;

const CUT: &str = "blocked is cut off";
const PLAIN: &str = "plain text is cut off";
const DELETE: &str = "plain text that no TLS library knows is cut off";
const NAME: &str = "another name is cut off";
const NAMELESS: &str = "no name is cut off";

/// Bytes that an application of HTTP takes: to a TCP proxy they are bytes.
fn ping(name: &'static str, client: &'static str, expect: &'static str) -> Check {
    check(name, client, "GET /prices HTTP/1.0\r\n\r\n", expect).with("http: none")
}

pub(super) fn cases() -> Vec<Case> {
    let policy = |rules: Value| network("rbac.v3.RBAC", &json!({"stat_prefix": "~net.", "rules": rules}));
    let all = || {
        json!({"action": "ALLOW", "policies": {"all": {
        "permissions": [{"any": true}], "principals": [{"any": true}]}}})
    };
    let http = |rules: Value| Port { network: vec![policy(rules)], ..Port::default() };
    let proxy = |rules: Option<Value>, sans: &'static [&'static str]| {
        let tcp = network("tcp_proxy.v3.TcpProxy", &json!({"stat_prefix": "~tcp", "cluster": "~app"}));
        let filters: Vec<_> = rules.map(&policy).into_iter().chain([tcp]).collect();
        Port { chain: json!({"filters": filters}), sans, ..Port::default() }
    };
    let chosen = |by: Value, fallback: Value| Port {
        listener: json!({"listener_filters": inspector(), "default_filter_chain": fallback}),
        chain: json!({"filter_chain_match": by}),
        ..denying()
    };
    let tls = || json!({"transport_protocol": "tls"});
    let named = || json!({"server_names": ["shop.example.org"]});
    let name = |check: Check| check.with("sni: shop.example.org");
    let plain = |name: &'static str, send: &'static str, expect: &'static str| {
        check(name, "nobody", send, expect).with("tls: none")
    };
    let both = &["/friend", "/blocked"];
    let answered = || ping("friend gets a reply", "friend", "{reply: \"HTTP/1.1 200 OK\\r\\n\"}");
    vec![
        Case::new("a policy of connections", http(no_blocked()))
            .checks([served(), check(CUT, "blocked", "GET /prices", "{cut-off: network-rbac}"), stranger()])
            .broken("all may connect", http(all()), &[CUT]),
        Case::new("a chain for one name", chosen(named(), Value::Null))
            .checks([
                name(served()),
                check(NAME, "friend", "GET /prices", "{cut-off: no-chain}").with("sni: other.example.org"),
                check(NAMELESS, "friend", "GET /prices", "{cut-off: no-chain}").with("sni: \"\""),
                name(stranger()),
                name(nobody()),
            ])
            .broken("it is for all", chosen(json!({}), Value::Null), &[NAME, NAMELESS]),
        Case::new("plain text at a port of TLS", denying())
            .and([
                plain(PLAIN, "GET /prices", "{cut-off: not-tls}"),
                plain(DELETE, "DELETE /prices", "{cut-off: not-tls}"),
            ])
            .broken("a chain takes it", chosen(tls(), json!({"filters": [hcm()]})), &[PLAIN, DELETE]),
        Case::new("plain text that no chain takes", chosen(tls(), Value::Null))
            .and([plain(PLAIN, "GET /prices", "{cut-off: no-chain}")])
            .broken("the last resort takes it", chosen(tls(), json!({"filters": [hcm()]})), &[PLAIN]),
        Case::new("bytes", proxy(None, both))
            .checks([
                answered(),
                ping(STRANGER, "stranger", "{alert: certificate_unknown}"),
                ping(NOBODY, "nobody", "{alert: certificate_required}"),
            ])
            .broken("there is no SAN list", proxy(None, &[]), &[STRANGER]),
        Case::new("bytes and a policy of connections", proxy(Some(no_blocked()), both))
            .checks([answered(), ping(CUT, "blocked", "{cut-off: network-rbac}")])
            .broken("all may connect", proxy(Some(all()), both), &[CUT]),
    ]
}
