//! A cluster of three nodes: agents attest on each, every check is made from each, and a way between two that
//! is shut is told by the node that it is shut for.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use conformance::said;
use serde_json::Value;
use svidproof::images;

struct World(tempfile::TempDir);

impl World {
    fn svidproof(&self, args: &[&str]) -> Output {
        let mut command = conformance::svidproof();
        command.current_dir(conformance::repository());
        command.env("XDG_STATE_HOME", self.0.path().join("state")).args(args).output().unwrap()
    }

    /// What `test` says, which ends with this status.
    #[track_caller]
    fn told(&self, status: i32) -> String {
        let output = self.svidproof(&["test", "--out", self.0.path().join("out").to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
        said(&output)
    }

    /// Its report.
    #[track_caller]
    fn tested(&self, status: i32) -> Value {
        self.told(status);
        let out = self.0.path().join("out");
        serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn kubectl(&self, args: &[&str]) -> Value {
        let runs = std::fs::read_dir(self.0.path().join("state/svidproof/runs")).unwrap();
        let kubeconfig = runs.map(|run| run.unwrap().path().join("kubeconfig")).find(|path| path.is_file());
        let mut command = Command::new(images::tool("kubectl").unwrap());
        let output = command.env("KUBECONFIG", kubeconfig.unwrap()).args(args).args(["-o", "json"]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The nodes with a pod whose name begins like that.
    fn nodes_of(&self, namespace: &str, begins: &str) -> BTreeSet<String> {
        let pods = self.kubectl(&["get", "pods", "--namespace", namespace]);
        let is_one = |pod: &&Value| pod["metadata"]["name"].as_str().unwrap().starts_with(begins);
        let pods = pods["items"].as_array().unwrap().iter().filter(is_one);
        pods.map(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned()).collect()
    }

    #[allow(clippy::disallowed_methods, reason = "a fault that is not svidproof's own")]
    fn on_node(&self, node: &str, command: &str) {
        let engine = self.svidproof(&["engine", "env"]);
        let env = String::from_utf8(engine.stdout).unwrap();
        let script = format!("{env}\ndocker exec {node} {command}");
        let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

#[test]
fn every_check_is_made_from_every_node() {
    let world = World(tempfile::tempdir().unwrap());
    let scenario = PathBuf::from("tests/scenarios/front-proxy.yaml").display().to_string();
    let up = world.svidproof(&["up", "--workers", "2", "--scenario", &scenario]);
    assert!(up.status.success(), "{}", said(&up));

    let probes = world.nodes_of("svidproof", "probe-");
    assert_eq!(probes.len(), 2, "a probe on each worker: {probes:?}");
    let agents = world.nodes_of("spire", "spire-com-agent");
    assert_eq!(agents, probes, "an agent on each, which gave its probe SVIDs");

    let report = world.tested(0);
    assert_eq!(report["totals"]["failed"], 0);
    assert!(report["totals"]["passed"].as_u64().unwrap() > 100, "{}", report["totals"]);
    assert!(report["versions"]["workers"].as_str().unwrap().starts_with('2'), "{}", report["versions"]);

    // For the probe of one node alone, the pods of the other are out of reach.
    let (here, there) = (probes.first().unwrap(), probes.last().unwrap());
    let node = world.kubectl(&["get", "node", there]);
    let range = node["spec"]["podCIDR"].as_str().unwrap();
    let pods = world.kubectl(&["get", "pods", "--namespace", "svidproof"]);
    let is_here = |pod: &&Value| pod["spec"]["nodeName"] == here.as_str();
    let probe = pods["items"].as_array().unwrap().iter().find(is_here).unwrap();
    let address = probe["status"]["podIP"].as_str().unwrap();
    let shut =
        format!("iptables -I FORWARD -p tcp -s {address} -d {range} -j REJECT --reject-with tcp-reset");
    world.on_node(here, &shut);
    // Nothing is judged to fail; but the kept surface has what is not shown any more.
    let report = world.tested(1);
    assert_eq!(report["totals"]["failed"], 0);
    assert!(report["totals"]["errored"].as_u64().unwrap() > 100, "{}", report["totals"]);
    let checks = report["checks"].as_array().unwrap().iter();
    let reasons: Vec<_> = checks
        .filter_map(|check| check["reason"].as_str())
        .filter(|reason| reason.contains("from node"))
        .collect();
    assert!(!reasons.is_empty(), "no reason names a node: {report:#}");
    let other = format!("from node {there}");
    assert!(!reasons.iter().any(|reason| reason.contains(&other)), "{reasons:#?}");

    // A node that takes no pods any more has no probe that would be missed by itself.
    world.kubectl(&["taint", "node", there, "closed=now:NoExecute"]);
    let told = world.told(3);
    assert!(told.contains("probes are ready on 1 of the 2 worker nodes that were made"), "{told}");
}
