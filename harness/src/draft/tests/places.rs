//! Where a configuration stands, who runs it, and whose the identity is.

use rstest::rstest;

use super::super::*;
use super::chart::{Chart, SERVICE, WORKLOAD, assert_says, chart, drafted, objects, wanted};

fn with(from: &str, to: &str) -> String {
    let manifests = chart().manifests();
    assert!(manifests.contains(from), "{from:?} is not in {manifests}");
    manifests.replace(from, to)
}

/// Where the text stands.
#[rstest]
#[case::a_config_map("ConfigMap", "data: {envoy.yaml: TEXT}")]
#[case::a_secret("Secret", "stringData: {envoy.yaml: TEXT}")]
fn a_store(#[case] kind: &str, #[case] data: &str) {
    assert_says(&drafted(&objects(kind, data, &chart().envoy())), &["+till gets an answer"]);
}

#[rstest]
#[case::data_of_a_secret("Secret", "data")]
#[case::binary_data("ConfigMap", "binaryData")]
fn a_store_in_base64(#[case] kind: &str, #[case] key: &str) {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(chart().envoy());
    let manifests = objects(kind, &format!("{key}: {{envoy.yaml: TEXT}}"), &text);
    assert_says(&drafted(&manifests), &["+till gets an answer"]);
}

#[rstest]
#[case::projected("configMap: {name: web}", "projected: {sources: [{configMap: {name: web}}]}")]
#[case::an_item("configMap: {name: web}", "configMap: {name: web, items: [{key: envoy.yaml, path: e.yaml}]}")]
#[case::a_sub_path("mountPath: /etc/envoy}", "mountPath: /etc/envoy.yaml, subPath: envoy.yaml}")]
#[case::a_native_sidecar("      containers:", "      containers: [{name: app}]\n      initContainers:")]
#[case::a_stateful_set("kind: Deployment", "kind: StatefulSet")]
#[case::a_daemon_set("kind: Deployment", "kind: DaemonSet")]
#[case::camel_case("filter_chains", "filterChains")]
#[case::a_target_by_number("targetPort: mtls", "targetPort: 8443")]
fn a_way_to_run_it(#[case] from: &str, #[case] to: &str) {
    let manifests =
        with(from, to).replace("\nold\nmetadata: {name: web}\nspec: {selector", "\nspec2: {selector");
    assert_says(&drafted(&manifests), &["+till gets an answer", "+service: shop/web\n"]);
}

/// Nothing selects the pods of a Job, or a bare one, but their labels.
#[rstest]
#[case::a_bare_pod("Pod", "")]
#[case::a_job("Job", "/spec/template")]
#[case::a_cron_job("CronJob", "/spec/jobTemplate/spec/template")]
fn pods_that_no_selector_is_for(#[case] kind: &str, #[case] place: &str) {
    let workload: Value =
        serde_saphyr::from_str(&WORKLOAD.replace("SOURCE", "configMap: {name: web}")).unwrap();
    let mut object = workload["spec"]["template"].clone();
    for key in place.split('/').rev().filter(|key| !key.is_empty()) {
        object = serde_json::json!({key: object});
    }
    object["kind"] = kind.into();
    let store: Value =
        serde_json::json!({"kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"e": chart().envoy()}});
    let service: Value = serde_saphyr::from_str(SERVICE.trim_end_matches("---\n")).unwrap();
    let list = serde_json::json!({"kind": "List", "items": [store, object, service]});
    assert_says(&drafted(&list.to_string()), &["+till gets an answer", "+k8s:pod-label:version:1"]);
}

#[rstest]
#[case::in_two_words("args: [--config-yaml, TEXT]")]
#[case::in_one("command: [envoy, '--config-yaml=PLAIN']")]
#[case::a_variable("args: [--config-yaml, $(CONFIG)]\n          env: [{name: CONFIG, value: TEXT}]")]
fn a_configuration_on_the_command_line(#[case] how: &str) {
    let text = chart().envoy();
    let how = how
        .replace("TEXT", &serde_json::to_string(&text).unwrap())
        .replace("PLAIN", &text.replace('\'', "''"));
    let workload = WORKLOAD
        .replace("SOURCE", "emptyDir: {}")
        .replace("- name: envoy", &format!("- name: envoy\n          {how}"));
    assert_says(
        &drafted(&format!("{workload}---\n{SERVICE}")),
        &["+till gets an answer", "+socket-dir: /run/agent\n"],
    );
}

#[rstest]
#[case::as_it_is_now("path_config_source: {path: /etc/envoy/lds.yaml}")]
#[case::as_it_was("path: /etc/envoy/lds.yaml")]
fn listeners_and_clusters_in_files(#[case] source: &str) {
    let bootstrap: Value = serde_saphyr::from_str(&chart().envoy()).unwrap();
    let resources = &bootstrap["static_resources"];
    let lds = serde_json::json!({"resources": resources["listeners"]}).to_string();
    let cds = serde_json::json!({"resources": resources["clusters"]}).to_string();
    let envoy =
        format!("{{dynamic_resources: {{lds_config: {{{source}}}, cds_config: {{path: /etc/envoy/cds}}}}}}");
    let data = format!("data: {{envoy.yaml: TEXT, lds.yaml: {lds:?}, cds: {cds:?}}}");
    assert_says(
        &drafted(&objects("ConfigMap", &data, &envoy)),
        &["+till gets an answer", "+socket-dir: /run/agent\n"],
    );
    let elsewhere = objects("ConfigMap", &data.replace("lds.yaml:", "other.yaml:"), &envoy);
    let error = draft(&wanted(None), &elsewhere).unwrap_err().to_string();
    assert!(error.contains("/etc/envoy/lds.yaml, which is none of the chart's files there"), "{error}");
}

#[test]
fn stores_of_one_name_are_told_apart_by_their_namespaces() {
    let other = chart().manifests().replace("metadata: {name: web}", "metadata: {name: web, namespace: b}");
    let other = other.replace("ns/web/sa/web", "ns/other/sa/other");
    let draft = drafted(&format!("{}{other}", chart().manifests()));
    assert_says(
        &draft,
        &[
            "+  - id: /ns/web/sa/web\n    select: [\"k8s:ns:shop\"",
            "+  - id: /ns/other/sa/other\n    select: [\"k8s:ns:b\"",
            "+service: shop/web\n    port: 443\n    identity: /ns/web/sa/web\n",
            "+service: b/web\n    port: 443\n    identity: /ns/other/sa/other\n",
        ],
    );
}

const CALLER: &str = "---
kind: Deployment
metadata: {name: till}
spec:
  selector: {matchLabels: {app: till}}
  template:
    metadata: {labels: {app: till}}
    spec:
      containers:
        - name: envoy
          args:
            - --config-yaml
            - >-
              {static_resources: {clusters: [{name: web, transport_socket: {typed_config: {'@type':
              x/tls.v3.UpstreamTlsContext, common_tls_context: {tls_certificate_sds_secret_configs:
              [{name: 'spiffe://a.org/ns/till/sa/till'}]}}}}]}}
";

#[test]
fn who_only_calls_has_an_entry() {
    let draft = drafted(&format!("{}{CALLER}", chart().manifests()));
    assert_says(
        &draft,
        &["+  - id: /ns/till/sa/till\n    select: [\"k8s:ns:shop\", \"k8s:sa:default\", \
        \"k8s:pod-label:app:till\"]\n"],
    );
    let own = drafted(&format!(
        "{}{}",
        chart().manifests(),
        CALLER.replace("'spiffe://a.org/ns/till/sa/till'", "default")
    ));
    assert_says(
        &own,
        &[
            "+  - id: FILL-IN\n    select: [\"k8s:ns:shop\", \"k8s:sa:default\"",
            "+    identity: /ns/web/sa/web\n",
        ],
    );
    let error = draft_error(CALLER);
    assert!(error.contains("only calls others, as spiffe://a.org/ns/till/sa/till"), "{error}");
}

fn draft_error(manifests: &str) -> String {
    draft(&wanted(None), manifests).unwrap_err().to_string()
}

#[test]
fn the_identity_may_be_said() {
    let own = Chart { svid: "default", bundle: "ROOTCA", ..chart() }.manifests();
    let said = |identity| draft(&wanted(Some(identity)), &own).unwrap();
    assert_says(
        &said("/ns/web/sa/x"),
        &["+  - id: /ns/web/sa/x\n", "+    identity: /ns/web/sa/x\n", "-FILL-IN"],
    );
    assert_says(&said("spiffe://b.org/x"), &["+trust-domain: b.org\n", "+  - id: /x\n"]);
    let nobody = draft(&wanted(Some("/x")), &chart().manifests()).unwrap_err();
    assert_eq!(nobody, DraftError::NotOne { workloads: vec![] });
    let open = Chart { svid: "default", bundle: "ALL", ..chart() }.manifests();
    assert!(matches!(draft(&wanted(None), &open), Err(DraftError::NoTrustDomain { .. })));
}

#[test]
fn a_spire_of_the_charts_own_is_not_installed_twice() {
    let spire = "---\nkind: StatefulSet\nmetadata: {name: s, namespace: spire}\nspec: {template: {spec: {containers: \
                 [{name: server, image: 'ghcr.io/spiffe/spire-server:1.15.3'}]}}}\n---\nkind: DaemonSet\nmetadata: \
                 {name: a, namespace: spire}\nspec: {template: {spec: {containers: [{name: agent, image: \
                 'ghcr.io/spiffe/spire-agent:1.15.3'}]}}}\n";
    let draft = drafted(&format!("{}{spire}", chart().manifests()));
    assert_says(
        &draft,
        &[
            "-builtin:spire",
            "+  namespace: spire\n  server: s\n  container: server\n",
            "-FILL-IN",
            "-node: true",
        ],
    );
    let kind = drafted(&format!("{}{}", chart().manifests(), spire.replace("StatefulSet", "Deployment")));
    assert_says(&kind, &["-builtin:spire", "+  server: s\n", "-FILL-IN"]);
}

#[rstest]
#[case::no_mount(
    "{name: s, mountPath: /sock}",
    "{name: s, mountPath: /other}",
    "/run/spire/a.org",
    "no volume is mounted there"
)]
#[case::no_host_path(
    "hostPath: {path: /run/agent}",
    "csi: {driver: csi.spiffe.io}",
    "/run/spire/a.org",
    "is no hostPath"
)]
#[case::another_file(
    "/sock/agent.sock",
    "/sock/public/api.sock",
    "/run/agent/public",
    "  socket-file: api.sock\n"
)]
#[case::the_file_itself("mountPath: /sock}", "mountPath: /sock/agent.sock}", "/run", "socketFile: agent, ")]
fn the_agents_socket_is_the_hosts(
    #[case] from: &str,
    #[case] to: &str,
    #[case] folder: &str,
    #[case] remark: &str,
) {
    let draft = drafted(&with(from, to));
    assert_says(&draft, &[&format!("+  socket-dir: {folder}\n"), &format!("+{remark}")]);
}
