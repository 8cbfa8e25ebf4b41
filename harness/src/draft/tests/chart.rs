//! A small chart whose parts a test writes in its own way, and what is asserted of its draft.

use std::fmt::Write as _;

use super::super::*;
use super::loads;

/// A small chart, part by part.
pub(super) struct Chart {
    /// Beside the listener's: what the TLS context has.
    pub(super) tls: &'static str,
    /// SDS name of the certificate.
    pub(super) svid: &'static str,
    /// SDS name of the validation context.
    pub(super) bundle: &'static str,
    /// The SAN list.
    pub(super) sans: &'static str,
    /// HTTP filters.
    pub(super) filters: &'static str,
    /// Beside the filters: what the connection manager has.
    pub(super) manager: &'static str,
    pub(super) routes: &'static str,
    /// Network filters before the connection manager.
    pub(super) network: &'static str,
    /// Beside the first: listeners.
    pub(super) listeners: &'static str,
    /// Beside the first: filter chains.
    pub(super) chains: &'static str,
    /// Beside its filter chains: what the listener has.
    pub(super) listener: &'static str,
    /// Beside the SAN list: what the validation context has.
    pub(super) context: &'static str,
}

pub(super) const TILL: &str = "[{san_type: URI, matcher: {exact: 'spiffe://a.org/ns/till/sa/till'}}]";
const ANY_ROUTE: &str = "{virtual_hosts: [{name: v, domains: ['*'], \
                         routes: [{match: {prefix: /}, route: {cluster: local_service}}]}]}";

pub(super) fn chart() -> Chart {
    Chart {
        tls: "",
        svid: "spiffe://a.org/ns/web/sa/web",
        bundle: "spiffe://a.org",
        sans: TILL,
        filters: "[{name: router, typed_config: {'@type': x/envoy.extensions.filters.http.router.v3.Router}}]",
        manager: "",
        routes: ANY_ROUTE,
        network: "",
        listeners: "",
        chains: "",
        listener: "",
        context: "",
    }
}

impl Chart {
    /// The bootstrap.
    pub(super) fn envoy(&self) -> String {
        let Self { tls, svid, bundle, sans, filters, manager, routes, network, listeners, .. } = self;
        let Self { chains, listener, context, .. } = self;
        format!(
            "{{admin: {{address: {{socket_address: {{port_value: 9901}}}}}}, static_resources: {{listeners: [\
             {{name: in, {listener} address: {{socket_address: {{port_value: 8443}}}}, filter_chains: [{{\
             transport_socket: {{typed_config: {{'@type': x/tls.v3.DownstreamTlsContext, \
             require_client_certificate: true, common_tls_context: {{{tls} \
             tls_certificate_sds_secret_configs: [{{name: '{svid}'}}], combined_validation_context: {{\
             default_validation_context: {{{context} match_typed_subject_alt_names: {sans}}}, \
             validation_context_sds_secret_config: {{name: '{bundle}'}}}}}}}}}}, filters: [{network} \
             {{name: hcm, typed_config: {{'@type': x/HttpConnectionManager, {manager} route_config: {routes}, \
             http_filters: {filters}}}}}]}}{chains}]}}{listeners}], clusters: [{{name: agent, load_assignment: {{\
             endpoints: [{{pipe: {{path: /sock/agent.sock}}}}]}}}}]}}}}"
        )
    }

    pub(super) fn manifests(&self) -> String {
        objects("ConfigMap", "data: {envoy.yaml: TEXT}", &self.envoy())
    }

    pub(super) fn draft(&self) -> Draft {
        drafted(&self.manifests())
    }
}

/// A store of the text, with a workload that mounts it and its Service.
pub(super) fn objects(kind: &str, data: &str, text: &str) -> String {
    let data = data.replace("TEXT", &serde_json::to_string(text).unwrap());
    let source = if kind == "Secret" { "secret: {secretName: web}" } else { "configMap: {name: web}" };
    format!(
        "kind: {kind}\nmetadata: {{name: web}}\n{data}\n---\n{}---\n{SERVICE}",
        WORKLOAD.replace("SOURCE", source)
    )
}

pub(super) const WORKLOAD: &str = "kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: '1'}}
    spec:
      serviceAccountName: web
      containers:
        - name: envoy
          ports: [{name: mtls, containerPort: 8443}]
          volumeMounts: [{name: c, mountPath: /etc/envoy}, {name: s, mountPath: /sock}]
      volumes: [{name: c, SOURCE}, {name: s, hostPath: {path: /run/agent}}]
";
pub(super) const SERVICE: &str = "kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 443, targetPort: mtls}]}
---
";

pub(super) fn wanted(identity: Option<&str>) -> Wanted<'_> {
    Wanted {
        name: "mine",
        chart: "chart",
        release: "mine",
        namespace: "shop",
        values: &Value::Null,
        identity,
    }
}

pub(super) fn drafted(manifests: &str) -> Draft {
    draft(&wanted(None), manifests).unwrap_or_else(|error| panic!("{error}"))
}

/// Lines of the text that are no comments.
fn said(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    })
}

/// Loads, or is refused at lines with the place to fill in and at no others.
fn holds(text: &str) {
    use crate::scenario::ScenarioError;
    match loads(text, "chart") {
        Ok(_) => assert!(!said(text).contains(BLANK), "{text}"),
        Err(ScenarioError::Invalid { mistakes }) => {
            let line = |line: u64| text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap();
            let open = mistakes.iter().all(|mistake| line(mistake.line).contains(BLANK));
            assert!(open, "{mistakes:?}\n{text}");
        }
        Err(error) => panic!("{error}"),
    }
}

/// `+` before what must stand in the draft, `-` before what must not.
pub(super) fn assert_says(draft: &Draft, expected: &[&str]) {
    let text = &draft.text;
    for line in expected {
        let (sign, words) = line.split_at(1);
        assert_eq!(text.contains(words), sign == "+", "{line}\n{text}");
    }
    holds(text);
}
