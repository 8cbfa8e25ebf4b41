//! What is sent besides a method, a path and headers, and answers that are more than a status.

use serde_json::{Value, json};

use super::{Case, DENIED, Port, Verdict, check, deny, denying, http, served};
use crate::envoy::config::to;

const UPGRADE: &str = "a WebSocket is opened";
const CALL: &str = "blocked does not call";
const HOST: &str = "another host is not served";
const LONG: &str = "what is too long is not taken";
const METHOD: &str = "nobody connects through it";

pub(super) fn cases() -> Vec<Case> {
    let h2 = |filters: Vec<Value>| Port {
        tls: json!({"common_tls_context": {"alpn_protocols": ["h2", "http/1.1"]}}),
        filters,
        ..Port::default()
    };
    let upgrades = |hcm: Value| Port { hcm, ..denying() };
    let websocket = || json!({"upgrade_configs": [{"upgrade_type": "websocket"}]});
    let hosts = |domains: Value| Port {
        hcm: json!({"route_config": {"virtual_hosts": [
            {"name": "app", "domains": domains, "routes": [to("/", "~app")]}]}}),
        ..denying()
    };
    let limited = |bytes: u64| Port {
        filters: vec![http("buffer.v3.Buffer", &json!({"max_request_bytes": bytes})), deny(json!({}))],
        ..Port::default()
    };
    let calls = |name: &'static str, client: &'static str, expect: &'static str| {
        check(name, client, "grpc: \"shop.Prices/List?status=0\"", expect)
    };
    vec![
        Case::new("calls", h2(vec![deny(json!({}))]))
            .checks([
                calls("friend calls", "friend", "{grpc-status: 0}"),
                calls(CALL, "blocked", "{grpc-status: 7}"),
                calls("nobody calls", "nobody", "{alert: certificate_required}"),
            ])
            .broken("the filter is gone", h2(vec![]), &[CALL]),
        Case::new("a WebSocket", upgrades(websocket()))
            .and([
                check(UPGRADE, "friend", "websocket: /chat", "{status: 101}"),
                check("blocked opens none", "blocked", "websocket: /chat", "{status: 403}"),
            ])
            .broken("no upgrade is let through", upgrades(json!({})), &[UPGRADE])
            .fallen(&[("blocked opens none", Verdict::Errored, "the control `a WebSocket is opened`")]),
        Case::new("a host of its own", hosts(json!(["shop.example.org"])))
            .checks([
                served().with("authority: shop.example.org"),
                check(HOST, "friend", "GET /prices", "{status: 404}").with("authority: other.example.org"),
                check(DENIED, "blocked", "GET /prices", "{status: 403}").with("authority: shop.example.org"),
            ])
            .broken("it is for all", hosts(json!(["*"])), &[HOST]),
        Case::new("a body's length", limited(4))
            .checks([
                served(),
                check(LONG, "friend", "POST /prices", "{status: 413}").with("body: longer"),
                check("what is short is taken", "friend", "POST /prices", "{status: 200}").with("body: abcd"),
            ])
            .broken("there is room for it", limited(4000), &[LONG]),
        Case::new("odd methods", denying())
            .and([
                check("the server as a whole", "friend", "OPTIONS *", "{status: 404}"),
                check(METHOD, "friend", "CONNECT shop.example.org:443", "{status: 404}"),
            ])
            .broken("it does", tunnel(), &[METHOD]),
    ]
}

/// CONNECT is passed on as a request.
fn tunnel() -> Port {
    Port {
        hcm: json!({"upgrade_configs": [{"upgrade_type": "CONNECT"}]}),
        routes: json!([
            {"match": {"connect_matcher": {}}, "route": {"cluster": "~app", "upgrade_configs": [
                {"upgrade_type": "CONNECT", "connect_config": {}}]}},
            to("/", "~app"),
        ]),
        ..denying()
    }
}
