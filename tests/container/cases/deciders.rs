//! Filters that decide on a request, beside RBAC: an external authorizer and the verifier of JWTs. Which of them
//! denied is told by their counters alone.

use serde_json::{Value, json};
use svidproof::forge::JwtFlaw;

use super::{Case, Check, DENIED, Port, SERVED, Verdict, check, deny, http, nobody, served, stranger};
use crate::envoy::config::{AUTHORIZER, DOWN, cluster, merged, network, to, typed};
use crate::envoy::tokens::{bearer, keys};

const REFUSED: &str = "it is refused";
const LET_IN: &str = "it is let in";

fn authz(more: Value) -> Value {
    let service = json!({"http_service": {"server_uri":
        {"uri": "http://asked/", "cluster": "~asked", "timeout": "0.25s"}}});
    http("ext_authz.v3.ExtAuthz", &merged(service, &more))
}

/// Nobody is asked about `/prices`.
fn asking(filters: Vec<Value>, somebody: u16) -> Port {
    let mut open = to("/prices", "~app");
    let disabled = json!({"@type": typed("filters.http.ext_authz.v3.ExtAuthzPerRoute"), "disabled": true});
    open["typed_per_filter_config"] = json!({"envoy.filters.http.ext_authz": disabled});
    Port {
        filters,
        routes: json!([open, to("/", "~app")]),
        clusters: vec![cluster("~asked", somebody)],
        ..Port::default()
    }
}

fn asked(name: &'static str, expect: &'static str) -> Check {
    check(name, "friend", "GET /api", expect)
}

fn unauthorized(expect: &'static str) -> Check {
    asked(REFUSED, expect).with("headers: {authorization: 'no'}")
}

fn jwt(more: Value) -> Value {
    let provider = json!({"audiences": ["backend"], "local_jwks": {"inline_string": keys()}});
    let filter = json!({
        "providers": {"one": provider},
        "rules": [{"match": {"prefix": "/api"}, "requires": {"provider_name": "one"}}],
    });
    http("jwt_authn.v3.JwtAuthentication", &merged(filter, &more))
}

fn with(filters: Vec<Value>) -> Port {
    Port { filters, ..Port::default() }
}

pub(super) fn cases() -> Vec<Case> {
    let denied = || check(DENIED, "blocked", "GET /prices", "{status: 403, counts: denied}");
    let by_authorizer = || unauthorized("{status: 403, body: not authorized, counts: authz-denied}");
    let open = || authz(json!({"failure_mode_allow": true}));
    let bearing =
        |name, audience, flaw, expect| check(name, "friend", "GET /api", expect).with(bearer(audience, flaw));
    let jwt_cases = || {
        [
            bearing("a token for it", "backend", None, "{status: 200, body: api}"),
            bearing(
                "for another",
                "other",
                None,
                "{status: 403, body: Audiences in Jwt are not allowed, counts: jwt-denied}",
            ),
            bearing(
                "expired",
                "backend",
                Some(JwtFlaw::Expired),
                "{status: 401, body: Jwt is expired, counts: jwt-denied}",
            ),
            bearing(
                "foreign",
                "backend",
                Some(JwtFlaw::ForeignKey),
                "{status: 401, body: Jwt verification fails, counts: jwt-denied}",
            ),
            bearing("unsigned", "backend", Some(JwtFlaw::AlgNone), "{status: 401, counts: jwt-denied}"),
            bearing(
                "altered",
                "backend",
                Some(JwtFlaw::Altered),
                "{status: 401, body: Jwt verification fails, counts: jwt-denied}",
            ),
            check(
                "no token",
                "friend",
                "GET /api",
                "{status: 401, body: Jwt is missing, counts: jwt-denied}",
            ),
        ]
    };
    let not_rbac: &[_] =
        &[(REFUSED, Verdict::Failed, "not as `counts: denied` says: it was counted as `authz-denied`")];
    // Of connections, before a request is read.
    let connected = |more: Value| {
        let options = json!({"typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": typed("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}}}}});
        let asks = json!({"stat_prefix": "~cx", "grpc_service": {
            "envoy_grpc": {"cluster_name": "~asked"}, "timeout": "0.25s"}});
        Port {
            network: vec![network("ext_authz.v3.ExtAuthz", &merged(asks, &more))],
            clusters: vec![merged(cluster("~asked", DOWN), &options)],
            ..Port::default()
        }
    };
    vec![
        Case::new("nobody authorizes connections", Port::default())
            .checks([served()])
            .broken(
                "an authorizer is down, and they are let in",
                connected(json!({"failure_mode_allow": true})),
                &[SERVED],
            ),
        Case::new("an authorizer beside a policy", asking(vec![authz(json!({})), deny(json!({}))], AUTHORIZER))
            .checks([served(), by_authorizer(), denied(), stranger(), nobody()])
            .broken("the authorizer is gone", asking(vec![deny(json!({}))], AUTHORIZER), &[REFUSED]),
        Case::new("a policy before an authorizer", asking(vec![deny(json!({})), authz(json!({}))], AUTHORIZER))
            .checks([served(), by_authorizer(), denied()])
            .broken("the policy is gone", asking(vec![authz(json!({}))], AUTHORIZER), &[DENIED]),
        Case::new(
            "authorizers with prefixes of their own",
            asking(vec![authz(json!({"stat_prefix": "waf"})), authz(json!({"stat_prefix": "b:x."}))], AUTHORIZER),
        )
        .checks([served(), by_authorizer()])
        .broken("they are gone", asking(vec![], AUTHORIZER), &[REFUSED]),
        Case::new("an authorizer that is taken for a policy", asking(vec![authz(json!({}))], AUTHORIZER))
            .checks([served(), unauthorized("{status: 403, counts: denied}")])
            .but(not_rbac)
            .broken("it is gone", asking(vec![], AUTHORIZER), &[REFUSED]),
        Case::new("an authorizer that gives no answer", asking(vec![authz(json!({}))], DOWN))
            .checks([served(), asked(REFUSED, "{status: 403, counts: authz-error}")])
            .broken("its requests are let in", asking(vec![open()], DOWN), &[REFUSED]),
        Case::new("an authorizer without whom requests are let in", asking(vec![open()], DOWN))
            .checks([
                served(),
                asked(LET_IN, "{status: 200, body: api, counts: authz-open}"),
                asked("as if it were asked", "{status: 200, body: api}"),
            ])
            .but(&[("as if it were asked", Verdict::Failed, "the authorizer gave no answer, and Envoy let")])
            .broken("it answers", asking(vec![open()], AUTHORIZER), &[LET_IN])
            .fallen(&[("as if it were asked", Verdict::Passed, "")]),
        Case::new("a policy behind an authorizer that gives no answer", asking(vec![open(), deny(json!({}))], DOWN))
            .checks([served(), check(DENIED, "blocked", "GET /api", "{status: 403, counts: denied}")])
            .broken("the policy is gone", asking(vec![open()], DOWN), &[DENIED]),
        Case::new("JWTs", with(vec![jwt(json!({}))])).checks([served()]).and(jwt_cases()).broken(
            "the filter is gone",
            with(vec![]),
            &["for another", "expired", "foreign", "unsigned", "altered", "no token"],
        ),
        Case::new(
            "JWTs, an authorizer and a policy",
            asking(vec![jwt(json!({"stat_prefix": "j:x."})), authz(json!({})), deny(json!({}))], AUTHORIZER),
        )
        .checks([served(), denied()])
        .and(jwt_cases())
        .broken("another audience is taken too", asking(vec![jwt(json!({"stat_prefix": "j:x.",
            "providers": {"one": {"audiences": ["backend", "other"]}}})), authz(json!({})), deny(json!({}))], AUTHORIZER),
            &["for another"]),
        Case::new("a JWT filter that only warns", with(vec![jwt(json!({"rules": [{"match": {"prefix": "/api"},
            "requires": {"requires_any": {"requirements": [{"provider_name": "one"}, {"allow_missing": {}}]}}}]}))]))
            .checks([served(), asked("no token", "{status: 200, body: api}"),
                bearing("for another", "other", None, "{status: 403, counts: jwt-denied}")])
            .broken("the filter is gone", with(vec![]), &["for another"]),
    ]
}
