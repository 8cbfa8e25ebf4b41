//! The listeners under test, each with what it opens: the variants of TLS, and those of the policy. A new one
//! is one more entry of a table here, with a port of its own. Not for how they are held against a scenario.

use serde_json::{Value, json};

use crate::envoy::config::{Port, http, spiffe};

const RIGHT: &[&str] = &["/frontend"];

/// A listener, and what it opens: the scenario's clients or checks that go red.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) port: Port,
    /// All others pass.
    pub(crate) red: &'static [&'static str],
}

impl Variant {
    fn new(name: &'static str, port: Port, red: &'static [&'static str]) -> Self {
        Self { name, port, red }
    }
}

/// What of TLS is checked, and whom it opens to where a part is left out.
pub(crate) fn listeners() -> Vec<Variant> {
    let variant = Variant::new;
    let context = "combined_validation_context";
    let with = |sans, tls: Value| Port { tls, sans, ..Port::default() };
    let optional = || json!({"require_client_certificate": false});
    let trusting = json!({"common_tls_context": {context: {"default_validation_context": {
        "trust_chain_verification": "ACCEPT_UNTRUSTED"}}}});
    vec![
        variant(
            "a certificate required, CA and SAN refuses all but the right SVID",
            with(RIGHT, json!({})),
            &[],
        ),
        // A SAN list implies that a certificate is required.
        variant("CA and SAN alone refuses all but the right SVID too", with(RIGHT, optional()), &[]),
        variant(
            "a CA alone opens to nobody and to a wrong ID",
            with(&[], optional()),
            &["nobody", "a wrong ID"],
        ),
        variant("a certificate required and CA opens to a wrong ID", with(&[], json!({})), &["a wrong ID"]),
        // Envoy counts the refusals that it does not make, so that each dial needs a window of its own.
        variant(
            "ACCEPT_UNTRUSTED opens to whoever has a certificate",
            with(RIGHT, trusting),
            &["a wrong ID", "the same ID of another CA", "another trust domain", "an expired SVID"],
        ),
        variant(
            "no validation context opens to everyone",
            with(RIGHT, json!({"common_tls_context": {context: null}})),
            &["nobody", "a wrong ID", "the same ID of another CA", "another trust domain", "an expired SVID"],
        ),
    ]
}

/// The tutorial's policy, or a variant of it: GET alone or any method; `/profiles` as a folder, or as the
/// beginning of a path, as in the tutorial.
fn policy(method: bool, folder: bool) -> Value {
    let path = |matcher: Value| json!({"url_path": {"path": matcher}});
    let paths = if folder {
        vec![path(json!({"exact": "/profiles"})), path(json!({"prefix": "/profiles/"}))]
    } else {
        vec![path(json!({"prefix": "/profiles"}))]
    };
    let mut rules = vec![json!({"or_rules": {"rules": paths}})];
    if method {
        rules.push(json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}}));
    }
    let frontend = json!({"authenticated": {"principal_name": {"exact": spiffe("/frontend")}}});
    let general = json!({"permissions": [{"and_rules": {"rules": rules}}], "principals": [frontend]});
    http("rbac.v3.RBAC", &json!({"rules": {"action": "ALLOW", "policies": {"general-rules": general}}}))
}

/// The policy on methods and paths, and the ways around it.
pub(crate) fn policies() -> Vec<Variant> {
    let hardening = json!({"normalize_path": true, "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST"});
    let with = |hardened: bool, policy: Option<Value>| {
        let hcm = if hardened { hardening.clone() } else { json!({}) };
        let filters = policy.into_iter().collect();
        Port { sans: &["/frontend", "/frontend-2"], hcm, filters, ..Port::default() }
    };
    let variant = Variant::new;
    let policy = |method, folder| Some(policy(method, folder));
    vec![
        variant("a folder on normalised paths is closed", with(true, policy(true, true)), &[]),
        variant(
            "the tutorial's prefix on paths as they come opens to every trick",
            with(false, policy(true, false)),
            &["`..`", "`%2e%2e`", "`..%2f`", "a neighbour's name"],
        ),
        variant(
            "the tutorial's prefix on normalised paths opens to a neighbour",
            with(true, policy(true, false)),
            &["a neighbour's name"],
        ),
        variant(
            "a folder on paths as they come opens to the ways out of it",
            with(false, policy(true, true)),
            &["`..`", "`%2e%2e`", "`..%2f`"],
        ),
        variant(
            "without the rule for the method it opens to other methods",
            with(true, policy(false, true)),
            &["other methods"],
        ),
        variant(
            "without the filter it opens to all but a path that Envoy rejects itself",
            with(true, None),
            &["other folders", "other methods", "another frontend", "`..`", "`%2e%2e`", "a neighbour's name"],
        ),
    ]
}
