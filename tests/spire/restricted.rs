//! What pods may do: a real API server lets those of every chart into a namespace that enforces `restricted`
//! (Kubernetes documentation, "Pod Security Standards") where the socket comes by CSI, and says of the agent's
//! why not; and the probe may ask the API server for nothing.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use svidproof::cluster::helm::{self, Wanted};
use svidproof::cluster::manifest::documents;
use svidproof::images;
use svidproof::scenario::Release;
use svidproof::sys::tool;

use super::World;

/// Every chart but the library, with what takes its socket by CSI.
fn by_csi() -> [(&'static str, Value); 7] {
    let csi = json!({ "csi": "csi.spiffe.io" });
    let envoy = json!({ "envoy": csi });
    [
        ("echo", envoy.clone()),
        ("nginx", envoy.clone()),
        ("symbank", envoy.clone()),
        ("front-proxy", envoy),
        ("generator", csi.clone()),
        ("probe", csi),
        ("spire", json!({ "agent": { "enabled": false } })),
    ]
}

pub(super) fn charts(world: &World) {
    for (chart, values) in by_csi() {
        for pod in pods(chart, &values) {
            let admitted = admitted(world, &pod);
            assert_eq!(admitted, Ok(()), "{chart} with {values}");
        }
    }
    // What a folder of the node takes, the same API server refuses.
    for (chart, _) in by_csi().iter().filter(|(chart, _)| *chart != "spire") {
        let refused = admitted(world, &pods(chart, &json!({}))[0]).unwrap_err();
        assert!(refused.contains("restricted volume types") && refused.contains("hostPath"), "{refused}");
        assert!(!refused.contains("Context") && !refused.contains("seccomp"), "nothing else: {refused}");
    }
    let agent = pods("spire", &json!({ "server": { "enabled": false } }));
    let refused = admitted(world, &agent[0]).unwrap_err();
    for why in ["hostPID=true", "hostPath", "runAsUser=0"] {
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

/// The pods that the chart's workloads would make.
fn pods(chart: &str, values: &Value) -> Vec<Value> {
    let program = tool::find("helm").or_else(|| images::tool("helm")).unwrap();
    let path = conformance::repository().join("helm").join(chart);
    let release = Release { name: "mine".into(), namespace: "shop".into(), ..Release::default() };
    let wanted = Wanted { release: &release, chart: &path, files: &[], values };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rendered = runtime.block_on(helm::template(&program, wanted)).unwrap();
    let objects = documents(&rendered).map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let pods: Vec<_> = objects.filter_map(|object| Some(object.pointer("/spec/template")?.clone())).collect();
    assert!(!pods.is_empty(), "{chart} has workloads");
    pods
}

/// Or why the API server does not let the pod into the shop. Nothing is made.
fn admitted(world: &World, template: &Value) -> Result<(), String> {
    let mut pod = template.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "mine".into();
    // Its ServiceAccount is the chart's, which is not installed.
    pod["spec"]["serviceAccountName"] = "default".into();
    let create = ["create", "--dry-run=server", "--namespace", "shop", "--filename", "-"];
    let output = kubectl(world, &create, &pod.to_string());
    if output.status.success() { Ok(()) } else { Err(conformance::said(&output)) }
}

pub(super) fn the_probe_has_no_rights(world: &World) {
    let may = |name: &str| {
        let who = format!("system:serviceaccount:svidproof:{name}");
        let listed =
            kubectl(world, &["auth", "can-i", "--list", "--namespace", "svidproof", "--as", &who], "");
        assert!(listed.status.success(), "{}", conformance::said(&listed));
        String::from_utf8(listed.stdout).unwrap()
    };
    let probe = may("probe-csi");
    assert!(probe.contains("selfsubjectaccessreviews"), "{probe}");
    assert_eq!(probe, may("nobody-there"), "what the API server lets everybody do");
    let pods = kubectl(world, &["get", "pods", "--namespace", "svidproof", "--output", "json"], "");
    let pods: Value = serde_json::from_slice(&pods.stdout).unwrap();
    let pods = pods["items"].as_array().unwrap();
    assert!(!pods.is_empty());
    for pod in pods {
        assert_eq!(pod["spec"]["serviceAccountName"], "probe-csi", "{pod}");
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        assert!(volumes.iter().all(|volume| volume["csi"].is_object()), "no token: {volumes:?}");
    }
}

/// What the probe's namespace says of pods: where the probe mounts a folder of its node, that it may.
pub(super) fn admits(world: &World, level: Option<&str>) {
    let namespace = kubectl(world, &["get", "namespace", "svidproof", "--output", "json"], "");
    let namespace: Value = serde_json::from_slice(&namespace.stdout).unwrap();
    let label = namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce");
    assert_eq!(label.and_then(Value::as_str), level, "{}", namespace["metadata"]);
}

fn kubectl(world: &World, args: &[&str], input: &str) -> Output {
    let kubeconfig = conformance::run_in(world.0.path()).join("kubeconfig");
    let mut command = conformance::tool("kubectl", &kubeconfig);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
