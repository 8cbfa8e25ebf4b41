//! What narrows an answer down, and the words for it; and what a witness takes on of several meters.

use serde_json::{Value, json};

use super::super::diff::undecided;
use super::super::words::{excerpt, is_rbac_denial};
use super::*;
use crate::proof::envoy::Envoy;

fn differ(expect: Expect, outcome: Outcome) -> String {
    differences(&cell("it", "friend", "backend", expect), &seen(outcome)).join("; ")
}

fn cut(body: &str) -> Outcome {
    let mut outcome = response(200, &[], body);
    if let Outcome::Response { body_cut, .. } = &mut outcome {
        *body_cut = true;
    }
    outcome
}

#[rstest]
#[case("abc", response(200, &[], "abc"), true)]
#[case("abc", response(200, &[], "abd"), false)]
#[case("abc", cut("ab"), true)]
fn a_whole_body_is_that_body(#[case] whole: &str, #[case] outcome: Outcome, #[case] alike: bool) {
    let expect = Expect { body: Some(whole.into()), ..status(200) };
    assert_eq!(differ(expect, outcome).is_empty(), alike);
}

/// What was cut may have more of them.
#[rstest]
#[case(response(200, &[], "aa"), 2, true)]
#[case(response(200, &[], "aa"), 1, false)]
#[case(response(200, &[], "aa"), 3, false)]
#[case(cut("aa"), 3, true)]
#[case(cut("aa"), 2, true)]
#[case(cut("aa"), 1, false)]
fn as_many_times(#[case] outcome: Outcome, #[case] times: usize, #[case] alike: bool) {
    let expect = Expect { count: BTreeMap::from([("a".into(), times)]), ..status(200) };
    assert_eq!(differ(expect, outcome).is_empty(), alike);
}

#[rstest]
#[case("[1.0, 2]", json!([1, 2]), true)]
#[case("[1, 2]", json!([1]), false)]
#[case("[1]", json!([1, 2]), false)]
#[case("[1, 2]", json!([1, 3]), false)]
#[case("[]", json!([]), true)]
#[case(r#"{"a": [1.0]}"#, json!({"a": [1]}), true)]
#[case(r#"{"a": 1}"#, json!({"b": 1}), false)]
#[case("9e15", json!(9_000_000_000_000_000_u64), false)]
#[case("8e15", json!(8_000_000_000_000_000_u64), true)]
fn documents_are_compared_by_their_parts(#[case] body: &str, #[case] json: Value, #[case] alike: bool) {
    let expect = Expect { json: Some(json), ..status(200) };
    assert_eq!(differ(expect, response(200, &[], body)).is_empty(), alike);
}

#[rstest]
#[case::fifteen_digits("1.23456789012345", None)]
#[case::sixteen("1.234567890123456", Some("1.234567890123456"))]
#[case::in_a_text(r#"{"a": "1.234567890123456"}"#, None)]
#[case::behind_a_quote_in_a_text(r#"{"a": "\"1.234567890123456"}"#, None)]
#[case::behind_a_text_that_ends_in_a_backslash(
    r#"{"a": "b\\", "c": 1.234567890123456}"#,
    Some("1.234567890123456")
)]
#[case::behind_texts(r#"{"a": "b", "c": 1.234567890123456}"#, Some("1.234567890123456"))]
fn a_number_with_more_digits_than_are_compared(#[case] body: &str, #[case] number: Option<&str>) {
    let expect = Expect { json: Some(json!({})), ..status(200) };
    let told = undecided(&expect, &response(200, &[], body));
    let wanted = number
        .map(|number| format!("{number} has more digits than are compared: look for it with `contains`"));
    assert_eq!(told, wanted);
}

#[test]
fn how_much_of_a_body_was_read_is_told() {
    let expect = Expect { body: Some(String::new()), ..status(200) };
    let told = undecided(&expect, &cut(&"a".repeat(3 * 1024)));
    assert_eq!(told.as_deref(), Some("the body is longer than the 3 KiB that were read of it"));
}

/// By its text, or, of a HEAD, by the length of its text.
#[rstest]
#[case(403, &[], RBAC_DENIED, true)]
#[case(403, &[("content-length", "19")], "", true)]
#[case(403, &[("content-length", "18")], "", false)]
#[case(403, &[], "", false)]
#[case(403, &[("content-length", "19")], "nineteen characters", false)]
#[case(200, &[], RBAC_DENIED, false)]
#[case(404, &[("content-length", "19")], "", false)]
fn what_looks_like_a_denial(
    #[case] status: u16,
    #[case] headers: &[(&str, &str)],
    #[case] body: &str,
    #[case] expected: bool,
) {
    assert_eq!(is_rbac_denial(&response(status, headers, body)), expected);
}

#[test]
fn of_a_long_body_the_beginning_is_told() {
    assert_eq!(excerpt(""), "no body");
    assert_eq!(excerpt("abc"), "\"abc\"");
    assert_eq!(excerpt(&"a".repeat(160)), format!("{:?}", "a".repeat(160)));
    assert_eq!(excerpt(&"a".repeat(161)), format!("{:?} …", "a".repeat(160)));
}

#[test]
fn what_went_on_is_the_sum_of_the_pods_that_could_be_read() {
    let of = |times| counted(|all| all.forwarded = times);
    let mut witness = witness(Marks::default(), &[("p", of(2)), ("q", of(3))]);
    witness.pods.insert("r".into(), Err("gone".into()));
    assert_eq!(witness.forwarded(), 5);
}

/// The meter of a port with these network filters.
fn meter(filters: &Value) -> crate::proof::envoy::Meter {
    let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}ConfigDump");
    let listener = json!({
        "name": "in",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 9001}},
        "filter_chains": [{"filters": filters}],
    });
    let dump = json!({"configs": [
        {"@type": kind("Bootstrap"), "bootstrap": {}},
        {"@type": kind("Clusters"), "static_clusters": [{"cluster": {"name": "app"}}]},
        {"@type": kind("Listeners"), "static_listeners": [{"listener": listener}]},
    ]});
    Envoy::read(&dump.to_string()).unwrap().at(9001, None).unwrap()
}

/// What holds at one pod alone is not relied on, and what makes counting harder at one is told.
#[test]
fn a_witness_heeds_every_pod() {
    let network = "type.googleapis.com/envoy.extensions.filters.network";
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]);
    let http = meter(&json!([{"name": "h", "typed_config": {
        "@type": format!("{network}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "r", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }}]));
    let tcp = meter(&json!([{"name": "t", "typed_config": {
        "@type": format!("{network}.tcp_proxy.v3.TcpProxy"), "stat_prefix": "t", "cluster": "app"}}]));
    let of = |meters: &[&crate::proof::envoy::Meter]| {
        let mut witness = Witness::default();
        for meter in meters {
            witness.heed(meter);
        }
        let Marks { time, denial, serves, replaces: _ } = witness.marks;
        (witness.speaks_http, witness.passes_bytes, time, denial, serves)
    };
    assert_eq!(of(&[&http]), (true, false, true, true, false));
    assert_eq!(of(&[&tcp]), (false, true, false, false, true));
    assert_eq!(of(&[&http, &tcp]), (true, true, false, false, true));
    assert_eq!(of(&[&tcp, &http]), (true, true, false, false, true));

    let (mut one, mut other) = (http.clone(), http);
    one.remarks = vec!["shared".into(), "mine".into()];
    other.remarks = vec!["shared".into(), "yours".into()];
    let mut witness = Witness::default();
    witness.heed(&one);
    witness.heed(&other);
    assert_eq!(witness.remarks, ["shared", "mine", "yours"]);
}
