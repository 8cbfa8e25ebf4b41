//! HTTP filters that answer themselves, change answers, or ask somebody.

use serde_json::{Value, json};

use super::{Case, DENIED, Port, SERVED, Verdict, check, deny, denying, http, nobody, served, stranger};
use crate::envoy::config::{ANOTHER, AUTHORIZER, DOWN, cluster, merged, to, typed};

fn port(filters: Vec<Value>) -> Port {
    Port { filters, ..Port::default() }
}

/// A filter that asks somebody, whose cluster is there.
fn asking(filters: Vec<Value>, somebody: u16) -> Port {
    Port { filters, clusters: vec![cluster("~asked", somebody)], ..Port::default() }
}

fn uri() -> Value {
    json!({"uri": "http://asked/keys", "cluster": "~asked", "timeout": "0.25s"})
}

/// JWTs are asked for below `/secure`, or elsewhere. The key is that of RFC 7517, appendix A.1.
fn jwt(prefix: &str, remote: bool) -> Value {
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]});
    let source = if remote {
        json!({"remote_jwks": {"http_uri": uri(), "async_fetch": {"fast_listener": true}}})
    } else {
        json!({"local_jwks": {"inline_string": keys.to_string()}})
    };
    http(
        "jwt_authn.v3.JwtAuthentication",
        &json!({
            "providers": {"one": merged(json!({"issuer": "one"}), &source)},
            "rules": [{"match": {"prefix": prefix}, "requires": {"provider_name": "one"}}],
        }),
    )
}

fn authz(more: Value) -> Value {
    let service = json!({"http_service": {"server_uri": uri()}});
    http("ext_authz.v3.ExtAuthz", &merged(service, &more))
}

fn lua(source: &str) -> Value {
    http("lua.v3.Lua", &json!({"default_source_code": {"inline_string": source}}))
}

const SAYS_NO: &str = "function envoy_on_request(handle)
  if handle:headers():get(':path') == '/spoofed' then
    handle:respond({[':status'] = '403'}, 'RBAC: access denied')
  end
end";
const ASKS: &str = "function envoy_on_request(handle)
  if handle:headers():get(':path') == '/spoofed' then
    local headers, body = handle:httpCall('~asked',
      {[':method'] = 'GET', [':path'] = '/spoofed', [':authority'] = 'other'}, '', 500)
    handle:respond({[':status'] = headers[':status']}, body)
  end
end";

pub(super) fn cases() -> Vec<Case> {
    let refused = |expect: &'static str| check("it is refused", "friend", "GET /api", expect);
    let red: &[_] = &["it is refused"];
    let spoofed = || check("it is refused", "friend", "GET /spoofed", "{status: 403}");
    let with_denial = |filters: Vec<Value>| port(filters.into_iter().chain([deny(json!({}))]).collect());
    let cors = |on: bool| {
        let policy = json!({"envoy.filters.http.cors": {"@type": typed("filters.http.cors.v3.CorsPolicy"),
            "allow_origin_string_match": [{"exact": "https://shop.example"}], "allow_methods": "GET"}});
        let policy = if on { policy } else { json!({}) };
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "~app"},
            "typed_per_filter_config": policy});
        Port { routes: json!([route]), ..with_denial(vec![http("cors.v3.Cors", &json!({}))]) }
    };
    let healthy = |path: &str| {
        let matched = json!([{"name": ":path", "string_match": {"exact": path}}]);
        with_denial(vec![http(
            "health_check.v3.HealthCheck",
            &json!({"pass_through_mode": false, "headers": matched}),
        )])
    };
    let csrf = |percent: u16| {
        let enabled = json!({"default_value": {"numerator": percent, "denominator": "HUNDRED"}});
        port(vec![http("csrf.v3.CsrfPolicy", &json!({"filter_enabled": enabled}))])
    };
    let basic = |on: bool| {
        let off = json!({"envoy.filters.http.basic_auth": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true}});
        // user1:test1
        let users = json!({"users": {"inline_string": "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="}});
        let open = |prefix: &str| {
            json!({"match": {"prefix": prefix}, "route": {"cluster": "~app"},
            "typed_per_filter_config": off})
        };
        let rest = if on { to("/", "~app") } else { open("/") };
        let filter = http("basic_auth.v3.BasicAuth", &users);
        Port { routes: json!([open("/prices"), rest]), ..port(vec![filter]) }
    };
    let fault = |percent: u16| {
        let abort =
            json!({"http_status": 403, "percentage": {"numerator": percent, "denominator": "HUNDRED"}});
        let only = json!([{"name": ":path", "string_match": {"exact": "/api"}}]);
        port(vec![http("fault.v3.HTTPFault", &json!({"abort": abort, "headers": only}))])
    };
    let changing = || {
        let set = json!({"response_mutations": [{"append": {"header": {"key": "x-envoy-upstream-service-time",
            "value": "7"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]});
        http("header_mutation.v3.HeaderMutation", &json!({"mutations": set}))
    };
    let compressing = || {
        http(
            "compressor.v3.Compressor",
            &json!({"compressor_library": {"name": "gzip", "typed_config": {
            "@type": typed("compression.gzip.compressor.v3.Gzip")}}}),
        )
    };
    let tracing = || {
        let provider = json!({"name": "otel", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "grpc_service": {"envoy_grpc": {"cluster_name": "~asked"}, "timeout": "0.25s"}}});
        let options = json!({"typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": typed("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}}}}});
        Port {
            hcm: json!({"tracing": {"provider": provider}}),
            clusters: vec![merged(cluster("~asked", DOWN), &options)],
            ..denying()
        }
    };
    vec![
        Case::new("jwt_authn without a token", with_denial(vec![jwt("/api", false)]))
            .and([refused("{status: 401, body: Jwt is missing}")])
            .broken("it is asked for elsewhere", with_denial(vec![jwt("/apis", false)]), red),
        Case::new("jwt_authn whose keys cannot be had", asking(vec![jwt("/api", true)], DOWN))
            .checks([served(), refused("{status: 401}"), stranger()])
            .broken("it is asked for elsewhere", asking(vec![jwt("/apis", true)], DOWN), red),
        Case::new("ext_authz that denies", asking(vec![authz(json!({}))], AUTHORIZER))
            .checks([
                served(),
                refused("{status: 403, body: not authorized}").with("headers: {authorization: 'no'}"),
                check("its own 403", "friend", "GET /forbidden", "{status: 403, by: application}"),
            ])
            .broken("nobody is asked", port(vec![]), red),
        Case::new(
            "ext_authz that is disabled",
            asking(
                vec![{
                    let mut filter = authz(json!({}));
                    filter["disabled"] = json!(true);
                    filter
                }],
                DOWN,
            ),
        )
        .checks([served()])
        .broken("it is asked", asking(vec![authz(json!({}))], DOWN), &[SERVED]),
        Case::new("ext_authz that is down and must not be", asking(vec![authz(json!({}))], DOWN))
            .checks([served(), check("it is refused", "friend", "GET /api", "{status: 403}")])
            .but(&[
                (SERVED, Verdict::Failed, "expected 200, saw 403"),
                ("it is refused", Verdict::Errored, "the control `friend gets an answer` did not hold"),
            ])
            // Who is let in without its word gets an answer that nobody allowed.
            .broken(
                "it lets all in",
                asking(vec![authz(json!({"failure_mode_allow": true}))], DOWN),
                &[SERVED, "it is refused"],
            ),
        Case::new("a Lua filter that answers", with_denial(vec![lua(SAYS_NO)])).and([spoofed()]).broken(
            "the application does",
            denying(),
            red,
        ),
        Case::new(
            "a Lua filter that answers, and one that asks somebody",
            asking(vec![lua(SAYS_NO)], ANOTHER),
        )
        .exclusive()
        .checks([served(), spoofed()])
        .broken("it asks", asking(vec![lua(ASKS)], ANOTHER), &[])
        .fallen(&[("it is refused", Verdict::Errored, "-asked`, to which no route")]),
        Case::new("a fault", fault(100)).checks([served(), refused("{status: 403}"), nobody()]).broken(
            "there is none",
            fault(0),
            red,
        ),
        Case::new("a preflight request", cors(true))
            .and([check(
                "it may be asked",
                "friend",
                "OPTIONS /prices",
                "{status: 200, body: '', by: envoy}",
            )
            .with("headers: {origin: 'https://shop.example', access-control-request-method: GET}")])
            .broken("nothing is said of it", cors(false), &["it may be asked"]),
        Case::new("a health check that Envoy answers", healthy("/lives"))
            .and([check("it lives", "friend", "GET /lives", "{status: 200, by: envoy}")])
            .broken("it is another's", healthy("/live"), &["it lives"]),
        Case::new("csrf", csrf(100))
            .checks([
                served(),
                check("it is refused", "friend", "POST /api", "{status: 403, body: Invalid origin}")
                    .with("headers: {origin: 'https://rogue.example'}"),
            ])
            .broken("it is off", csrf(0), red),
        Case::new("basic_auth", basic(true)).checks([served(), refused("{status: 401}")]).broken(
            "it is off",
            basic(false),
            red,
        ),
        Case::new("an upstream's time on every answer", with_denial(vec![changing()])).broken(
            "the filter is gone",
            port(vec![changing()]),
            &[DENIED],
        ),
        Case::new("a compressor", with_denial(vec![compressing()])).broken(
            "the filter is gone",
            port(vec![compressing()]),
            &[DENIED],
        ),
        Case::new("traces that go nowhere", tracing()).broken(
            "the filter is gone",
            Port { filters: vec![], ..tracing() },
            &[DENIED],
        ),
    ]
}
