//! Drafts of two charts as they stand, and of charts that lack something.

mod chart;
mod kinds;
mod places;

use rstest::rstest;
use serde_json::json;

use super::yaml::quoted;
use super::*;
use crate::scenario;

/// What `helm template` makes of the two charts.
const NGINX: &str = include_str!("../nginx.yaml");
const ECHO: &str = include_str!("../echo.yaml");

fn wanted<'a>(values: &'a Value, chart: &'a str) -> Wanted<'a> {
    Wanted { name: "mine", chart, release: "mine", namespace: "shop", values, identity: None }
}

fn drafted(manifests: &str) -> Result<String, DraftError> {
    draft(&wanted(&Value::Null, "helm/mine"), manifests).map(|draft| draft.text)
}

/// The draft as a file, in a project with this chart.
fn loads(text: &str, chart: &str) -> Result<scenario::Scenario, scenario::ScenarioError> {
    let dir = tempfile::tempdir().unwrap();
    for chart in ["helm/spire", chart] {
        std::fs::create_dir_all(dir.path().join(chart)).unwrap();
        std::fs::write(dir.path().join(chart).join("Chart.yaml"), "").unwrap();
    }
    // A checkout: what it holds of svidproof's own goes before what the binary carries.
    std::fs::create_dir_all(dir.path().join("fixtures/images")).unwrap();
    std::fs::write(dir.path().join("fixtures/images/images.yaml"), "").unwrap();
    let path = dir.path().join("mine.yaml");
    std::fs::write(&path, text).unwrap();
    scenario::load(&path)
}

#[rstest]
#[case("nginx", NGINX)]
#[case("echo", ECHO)]
fn a_drafted_scenario_is_one(#[case] chart: &str, #[case] manifests: &str) {
    let values = json!({"envoy": {"alpn": ["h2"]}});
    let text = draft(&wanted(&values, &format!("helm/{chart}")), manifests).unwrap().text;
    insta::assert_snapshot!(chart, text);
    let scenario = loads(&text, &format!("helm/{chart}")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(scenario.install[2][0].values, values);
}

/// The manifests with one text in the place of another.
fn with(from: &str, to: &str) -> String {
    assert!(ECHO.contains(from), "{from:?} is not in the manifests");
    ECHO.replace(from, to)
}

#[test]
fn a_chart_without_config_maps() {
    insta::assert_snapshot!(drafted("kind: Service\nmetadata: {name: s}\n").unwrap_err(), @r"
    the chart has no Envoy listener with mTLS: nothing in it holds an Envoy configuration
    looked for: an Envoy configuration in a ConfigMap or a Secret that its pods mount, or after a container's `--config-yaml`, and in one
    of its listeners a filter chain whose `transport_socket` is a DownstreamTlsContext
    hint: does a value switch it on? --values FILE gives the chart its values
    ");
}

#[test]
fn a_chart_that_is_the_spire_itself() {
    let server = "kind: StatefulSet\nmetadata: {name: spire-server}\nspec: {template: {spec: {containers: \
                  [{name: spire-server, image: ghcr.io/spiffe/spire-server:1.15.3}]}}}\n";
    let error = drafted(server).unwrap_err().to_string();
    assert!(error.contains("it is the SPIRE that gives others their SVIDs"), "{error}");
}

#[test]
fn a_chart_whose_listeners_are_plain() {
    let error = drafted(&with("tls.v3.DownstreamTlsContext", "raw_buffer.v3.RawBuffer")).unwrap_err();
    assert_eq!(
        error,
        DraftError::NoListener {
            looked: "ConfigMap backend-envoy, envoy.yaml has 2 listener(s), all without TLS".into()
        }
    );
}

#[test]
fn a_config_map_without_an_envoy() {
    let error = drafted("kind: ConfigMap\nmetadata: {name: c}\ndata: {a: 'x: 1', b: '{'}\n").unwrap_err();
    assert_eq!(error, DraftError::NoListener { looked: "nothing in it holds an Envoy configuration".into() });
}

#[test]
fn a_listener_with_a_certificate_that_is_no_svid() {
    let error =
        drafted(&with("name: \"spiffe://example.com/ns/backend/sa/default\"", "name: server")).unwrap_err();
    let listener = "listener `inbound` on port 8443 (ConfigMap backend-envoy, envoy.yaml)".into();
    assert_eq!(error, DraftError::NoIdentity { listener });
}

#[rstest]
#[case::another_port("targetPort: 8443", "targetPort: 8444")]
#[case::other_pods("selector: {app: backend}", "selector: {app: other}")]
fn a_listener_that_no_service_leads_to(#[case] from: &str, #[case] to: &str) {
    assert!(matches!(drafted(&with(from, to)).unwrap_err(), DraftError::NoService { .. }));
}

#[test]
fn a_config_that_nobody_mounts() {
    let error = drafted(&with("configMap: {name: backend-envoy}", "configMap: {name: other}")).unwrap_err();
    assert_eq!(error, DraftError::Unused { place: "ConfigMap backend-envoy, envoy.yaml".into() });
}

#[test]
fn the_target_port_may_be_named() {
    assert_eq!(drafted(&with("targetPort: 8443", "targetPort: mtls")), drafted(ECHO));
}

#[test]
fn without_the_admin_interface_no_refusal_is_drafted() {
    let text =
        drafted(&with("socket_address: {address: 127.0.0.1, port_value: 9901}", "pipe: {path: /tmp/admin}"))
            .unwrap();
    assert!(text.contains("# admin: ") && !text.contains("alert:") && !text.contains("surface:"), "{text}");
}

#[test]
fn a_listener_that_lets_anyone_in() {
    let san = "- {san_type: URI, matcher: {exact: \"spiffe://example.com/ns/proxy/sa/default\"}}";
    let text = drafted(
        &with(san, "").replace("require_client_certificate: true", "require_client_certificate: false"),
    )
    .unwrap();
    assert!(text.contains("has no SAN list") && text.contains("does not require a certificate"), "{text}");
    assert!(!text.contains("certificate_required") && !text.contains("certificate_unknown"), "{text}");
}

#[test]
fn matchers_and_ids_that_no_client_can_be_made_of_are_told() {
    let san = "{exact: \"spiffe://example.com/ns/proxy/sa/default\"}}\n";
    let indent = " ".repeat(26);
    let more = ["{prefix: \"spiffe://example.com/\"}", "{exact: \"spiffe://other.org/a\"}"]
        .map(|san| format!("{indent}- {{matcher: {san}}}\n"));
    let text = drafted(&ECHO.replacen(san, &format!("{san}{}", more.concat()), 1)).unwrap();
    assert!(text.contains("# 1 matcher(s) of its SAN list name no single SPIFFE ID"), "{text}");
    assert!(text.contains("# spiffe://other.org/a is named too"), "{text}");
}

#[rstest]
#[case("/ns/shop/sa/default", "shop")]
#[case("/ns/shop/sa/till", "till")]
#[case("/ns/default/sa/default/frontend-2", "frontend-2")]
fn a_client_goes_by_what_tells_it_apart(#[case] path: &str, #[case] name: &str) {
    assert_eq!(client_name(path), name);
}

#[test]
fn no_two_go_by_one_name() {
    let mut taken = BTreeSet::from(["nobody".to_owned()]);
    assert_eq!(
        ["a", "a", "nobody", "a"].map(|name| unique(name, &mut taken)),
        ["a", "a-2", "nobody-2", "a-3"]
    );
}

#[rstest]
#[case("frontend-2", "frontend-2")]
#[case("/a;x=1", "\"/a;x=1\"")]
#[case("443", "\"443\"")]
#[case("no", "\"no\"")]
#[case("a: b", "\"a: b\"")]
#[case("", "\"\"")]
fn texts_are_quoted_where_yaml_would_take_them_otherwise(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(quoted(text), expected);
}
