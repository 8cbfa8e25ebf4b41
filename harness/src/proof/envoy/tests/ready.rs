//! What an Envoy still waits for.

use rstest::rstest;

use super::*;
use crate::proof::envoy::{lacking, trusted};

/// A TLS listener of the default dump's that takes these secrets from SDS, and a cluster of its own way that
/// takes another.
fn with_secrets(active: &[&str], warming: &[&str]) -> String {
    let sds = |name: &str| json!({"name": name, "sds_config": {"ads": {}}});
    let mut listener = listener("0.0.0.0", 9001, vec![hcm(json!({}))]);
    listener["filter_chains"][0]["transport_socket"] = json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds("own")],
            "combined_validation_context": {"validation_context_sds_secret_config": sds("roots")},
        },
    }});
    let socket = json!({"common_tls_context": {"tls_certificate_sds_secret_configs": [
        sds("client"), {"name": "fixed"},
    ]}});
    let dump = Dump { listeners: vec![listener], ..Dump::default() }
        .cluster(json!({"name": "app", "transport_socket": {"typed_config": socket}}))
        .cluster(json!({"name": "tracing", "transport_socket": {"typed_config": {"x": sds("traces")}}}));
    let mut dump: Value = serde_json::from_str(&dump.text()).unwrap();
    let named = |all: &[&str]| all.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
    let secrets = dump["configs"].as_array_mut().unwrap().last_mut().unwrap();
    secrets["dynamic_active_secrets"] = json!(named(active));
    secrets["dynamic_warming_secrets"] = json!(named(warming));
    dump.to_string()
}

#[rstest]
#[case::all_there(&["own", "roots", "client"], &[], &[])]
#[case::none_there(&[], &["own", "roots", "client"], &["client", "own", "roots"])]
#[case::not_even_asked_for(&["roots", "client"], &[], &["own"])]
#[case::of_two_of_one_name_one_is_waited_for(&["own", "roots", "client"], &["own"], &["own"])]
#[case::what_others_wait_for(&["own", "roots", "client"], &["traces"], &[])]
fn secrets_of_the_listener_and_of_the_clusters_behind_it_are_waited_for(
    #[case] active: &[&str],
    #[case] warming: &[&str],
    #[case] missing: &[&str],
) {
    let expected: Vec<_> = missing.iter().map(|name| format!("SDS secret `{name}` is not there")).collect();
    assert_eq!(lacking(&with_secrets(active, warming), 9001).unwrap().in_words(), expected);
}

/// A page's own port: the Envoy beside it is its way out.
#[test]
fn without_a_listener_at_the_port_all_of_them_count() {
    assert_eq!(lacking(&with_secrets(&["own", "client"], &[]), 8080).unwrap().in_words().len(), 1);
}

#[rstest]
#[case::still_to_come(vec![], &["no listener at port 9001 has been discovered"])]
#[case::being_made(vec!["warming_state"], &["listener `in` on 0.0.0.0:9001 is being made"])]
#[case::being_replaced(vec!["active_state", "warming_state"], &["listener `in` on 0.0.0.0:9001 is being made"])]
#[case::serving(vec!["active_state"], &[])]
fn a_discovered_listener_is_waited_for(#[case] states: Vec<&str>, #[case] expected: &[&str]) {
    let mut one = listener("0.0.0.0", 9001, vec![hcm(json!({}))]);
    one["name"] = json!("in");
    let state: serde_json::Map<_, _> =
        states.into_iter().map(|state| (state.to_owned(), json!({"listener": one}))).collect();
    let dump = Dump { listeners: vec![], dynamic: vec![Value::Object(state)], ..Dump::default() };
    let dump = dump.bootstrap(json!({"dynamic_resources": {"lds_config": {"path": "/lds.yaml"}}}));
    assert_eq!(lacking(&dump.text(), 9001).unwrap().in_words(), expected);
}

#[test]
fn what_is_no_dump_is_told() {
    assert!(matches!(lacking("<html>", 9001), Err(ConfigError::Dump(_))));
}

/// As an Envoy 1.40 tells of what SPIRE's agent handed it out as `ALL`.
#[test]
fn the_trust_domains_of_a_spiffe_validator_are_known() {
    let validator = |names: &[&str]| {
        let domains: Vec<_> = names.iter().map(|name| json!({"name": name, "trust_bundle": {}})).collect();
        json!({"name": "ALL", "secret": {"name": "ALL", "validation_context": {"custom_validator_config": {
            "name": "envoy.tls.cert_validator.spiffe", "typed_config": {"trust_domains": domains}}}}})
    };
    let plain = json!({"name": "spiffe://a.example", "secret": {"validation_context": {"trusted_ca": {}}}});
    let of = |secrets: Value| {
        let dump = json!({"configs": [{"dynamic_active_secrets": secrets, "dynamic_warming_secrets": [
            validator(&["warming.example"])]}]});
        trusted(&dump.to_string()).unwrap().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of(json!([plain, validator(&["b.example", "a.example"])])), ["a.example", "b.example"]);
    assert_eq!(of(json!([plain])), Vec::<String>::new());
    assert!(trusted("<html>").is_err());
}
