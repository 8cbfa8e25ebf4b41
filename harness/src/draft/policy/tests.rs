//! What policies say of a caller and a request, and what they leave open.

use rstest::rstest;

use super::*;

fn truth(text: &str) -> &'static str {
    let filter: Value = serde_saphyr::from_str(text).unwrap();
    let web = Request { caller: Some("spiffe://a.org/ns/web"), http: Some(("GET", "/api/v1")), port: 8443 };
    match lets_through(&filter, web) {
        Truth::Yes => "yes",
        Truth::No => "no",
        Truth::Unknown(what) => {
            assert!(!what.is_empty() && what.iter().all(|what| !what.is_empty()), "{what:?}");
            "unknown"
        }
    }
}

/// By the documentation of `envoy.extensions.filters.http.rbac.v3.RBAC` and `envoy.config.rbac.v3.RBAC`.
#[rstest]
#[case::no_rules("{}", "yes")]
#[case::null_rules("{rules: null}", "yes")]
#[case::shadow_rules_alone("{shadow_rules: {}}", "yes")]
#[case::rules_that_are_empty("{rules: {}}", "no")]
#[case::allow_without_a_policy("{rules: {action: ALLOW, policies: {}}}", "no")]
#[case::deny_without_a_policy("{rules: {action: DENY}}", "yes")]
#[case::by_number("{rules: {action: 1}}", "yes")]
#[case::log("{rules: {action: LOG, policies: {}}}", "yes")]
#[case::an_action_to_come("{rules: {action: ASK}}", "unknown")]
#[case::a_matcher("{matcher: {on_no_match: {}}}", "unknown")]
fn a_filter_lets_through_by_its_action(#[case] filter: &str, #[case] expected: &str) {
    assert_eq!(truth(filter), expected);
}

const ANY: &str = "[{any: true}]";

/// One policy of an ALLOW list: whether it matches.
#[rstest]
#[case::any("{any: true}", "yes")]
#[case::this_one("{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/web'}}}", "yes")]
#[case::another("{authenticated: {principal_name: {exact: 'spiffe://a.org/ns/other'}}}", "no")]
#[case::whoever_is_authenticated("{authenticated: {}}", "yes")]
#[case::prefix("{authenticated: {principal_name: {prefix: 'spiffe://a.org/'}}}", "yes")]
#[case::another_prefix("{authenticated: {principal_name: {prefix: 'spiffe://b.org/'}}}", "no")]
#[case::suffix("{authenticated: {principal_name: {suffix: /web}}}", "yes")]
#[case::another_suffix("{authenticated: {principal_name: {suffix: /webb}}}", "no")]
#[case::contains("{authenticated: {principal_name: {contains: '/ns/'}}}", "yes")]
#[case::another_case("{authenticated: {principal_name: {exact: 'SPIFFE://A.org/ns/web'}}}", "no")]
#[case::in_any_case(
    "{authenticated: {principal_name: {exact: 'SPIFFE://A.org/ns/web', ignore_case: true}}}",
    "yes"
)]
#[case::a_subject("{authenticated: {principal_name: {contains: 'O=SPIRE'}}}", "unknown")]
#[case::regex("{authenticated: {principal_name: {safe_regex: {regex: '.*'}}}}", "yes")]
#[case::another_regex("{authenticated: {principal_name: {safe_regex: {regex: 'spiffe://b.org/.*'}}}}", "no")]
#[case::a_subject_by_regex("{authenticated: {principal_name: {safe_regex: {regex: 'O=.*'}}}}", "unknown")]
#[case::a_custom_matcher("{authenticated: {principal_name: {custom: {}}}}", "unknown")]
#[case::not("{not_id: {any: true}}", "no")]
#[case::not_another("{not_id: {authenticated: {principal_name: {exact: 'spiffe://b.org/x'}}}}", "yes")]
#[case::not_a_regex("{not_id: {authenticated: {principal_name: {safe_regex: {regex: /x}}}}}", "yes")]
#[case::an_unread_regex("{not_id: {authenticated: {principal_name: {safe_regex: {regex: '('}}}}}", "unknown")]
#[case::and("{and_ids: {ids: [{any: true}, {not_id: {any: true}}]}}", "no")]
#[case::and_something_unread("{and_ids: {ids: [{any: true}, {remote_ip: {}}]}}", "unknown")]
#[case::and_something_unread_that_does_not_matter(
    "{and_ids: {ids: [{remote_ip: {}}, {not_id: {any: true}}]}}",
    "no"
)]
#[case::or("{or_ids: {ids: [{not_id: {any: true}}, {any: true}]}}", "yes")]
#[case::or_something_unread("{or_ids: {ids: [{remote_ip: {}}, {any: true}]}}", "yes")]
#[case::or_nothing_but_unread("{or_ids: {ids: [{metadata: {}}, {not_id: {any: true}}]}}", "unknown")]
#[case::a_path("{url_path: {path: {prefix: /api}}}", "yes")]
#[case::two_things("{any: true, remote_ip: {}}", "unknown")]
#[case::nothing("{}", "unknown")]
fn a_principal_is_meant_or_not(#[case] principal: &str, #[case] expected: &str) {
    let policies = format!("{{p: {{permissions: {ANY}, principals: [{principal}]}}}}");
    assert_eq!(truth(&format!("{{rules: {{policies: {policies}}}}}")), expected);
    let turned = match expected {
        "yes" => "no",
        "no" => "yes",
        other => other,
    };
    assert_eq!(truth(&format!("{{rules: {{action: DENY, policies: {policies}}}}}")), turned);
}

#[rstest]
#[case::method("{header: {name: ':method', string_match: {exact: GET}}}", "yes")]
#[case::another_method("{header: {name: ':method', string_match: {exact: POST}}}", "no")]
#[case::as_it_was_written_once("{header: {name: ':method', exact_match: GET}}", "yes")]
#[case::inverted("{header: {name: ':method', exact_match: GET, invert_match: true}}", "no")]
#[case::there("{header: {name: ':path', present_match: true}}", "yes")]
#[case::not_there("{header: {name: ':path', present_match: false}}", "no")]
#[case::the_path("{header: {name: ':path', string_match: {prefix: /api}}}", "yes")]
#[case::by_regex("{header: {name: ':path', safe_regex_match: {regex: '/api/v[0-9]+'}}}", "yes")]
#[case::by_another_regex("{header: {name: ':path', safe_regex_match: {regex: x}}}", "no")]
#[case::a_range("{header: {name: ':path', range_match: {start: 1}}}", "unknown")]
#[case::another_header("{header: {name: x-role, string_match: {exact: a}}}", "unknown")]
#[case::url_path("{url_path: {path: {exact: /api/v1}}}", "yes")]
#[case::another_path("{url_path: {path: {exact: /api}}}", "no")]
#[case::a_path_by_regex("{url_path: {path: {safe_regex: {regex: '/api/.*'}}}}", "yes")]
#[case::a_path_by_another_regex("{url_path: {path: {safe_regex: {regex: x}}}}", "no")]
#[case::port("{destination_port: 8443}", "yes")]
#[case::another_port("{destination_port: 443}", "no")]
#[case::ports("{destination_port_range: {start: 8443, end: 8444}}", "yes")]
#[case::ports_before("{destination_port_range: {start: 1, end: 8443}}", "no")]
#[case::an_address("{destination_ip: {address_prefix: 10.0.0.0}}", "unknown")]
#[case::a_server_name("{requested_server_name: {exact: a}}", "unknown")]
#[case::not("{not_rule: {url_path: {path: {exact: /api}}}}", "yes")]
#[case::and("{and_rules: {rules: [{any: true}, {destination_port: 1}]}}", "no")]
#[case::or("{or_rules: {rules: [{destination_port: 1}, {any: true}]}}", "yes")]
fn a_permission_is_given_or_not(#[case] permission: &str, #[case] expected: &str) {
    let policies = format!("{{p: {{permissions: [{permission}], principals: {ANY}}}}}");
    assert_eq!(truth(&format!("{{rules: {{policies: {policies}}}}}")), expected);
}

#[rstest]
#[case::permissions_are_alternatives(
    "{p: {permissions: [{destination_port: 1}, {any: true}], principals: [{any: true}]}}",
    "yes"
)]
#[case::without_principals("{p: {permissions: [{any: true}]}}", "no")]
#[case::a_condition("{p: {permissions: [{any: true}], principals: [{any: true}], condition: {}}}", "unknown")]
#[case::a_condition_of_what_is_not_meant(
    "{p: {permissions: [{destination_port: 1}], principals: [{any: true}], condition: {}}}",
    "no"
)]
#[case::one_policy_of_two(
    "{a: {permissions: [{any: true}]}, b: {permissions: [{any: true}], principals: [{any: true}]}}",
    "yes"
)]
fn a_policy_needs_both(#[case] policies: &str, #[case] expected: &str) {
    assert_eq!(truth(&format!("{{rules: {{policies: {policies}}}}}")), expected);
}

/// On a connection there is no request yet; without a certificate there is no name.
#[rstest]
#[case::the_path("{url_path: {path: {prefix: /}}}", Truth::No)]
#[case::whoever("{authenticated: {}}", Truth::Yes)]
#[case::a_name("{authenticated: {principal_name: {prefix: 'spiffe://'}}}", Truth::No)]
fn without_a_request_and_a_name(#[case] principal: &str, #[case] expected: Truth) {
    let policies = format!("{{p: {{permissions: {ANY}, principals: [{principal}]}}}}");
    let filter: Value = serde_saphyr::from_str(&format!("{{rules: {{policies: {policies}}}}}")).unwrap();
    assert_eq!(lets_through(&filter, Request { caller: None, http: None, port: 1 }), expected);
}

#[test]
fn what_rules_name_is_what_requests_are_made_of() {
    let policies = "{p: {permissions: [{and_rules: {rules: [{header: {name: ':method', exact_match: POST}}, \
                    {url_path: {path: {prefix: /a/}}}, {url_path: {path: {exact: /a}}}, \
                    {header: {name: ':path', string_match: {suffix: b}}}]}}], \
                    principals: [{not_id: {authenticated: {principal_name: {exact: x}}}}, \
                    {authenticated: {principal_name: {prefix: 'spiffe://a/b/'}}}, \
                    {authenticated: {principal_name: {prefix: 'spiffe://a/b'}}}]}}";
    let filter: Value = serde_saphyr::from_str(&format!("{{rules: {{policies: {policies}}}}}")).unwrap();
    let expected = Named {
        principals: ["x", "spiffe://a/b/anyone"].map(Into::into).into(),
        methods: vec!["POST".into()],
        paths: ["/a", "/b"].map(Into::into).into(),
    };
    assert_eq!(named(&filter), expected);
}
