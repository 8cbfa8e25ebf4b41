//! `check-live` on what somebody else's cluster has: two SPIREs, releases, entries, Secrets. With a probe it makes
//! what its lease names; from outside nothing at all, which the API server holds it to: its user may only read.

use std::path::PathBuf;
use std::process::Output;

use conformance::said;
use conformance::standing::same;
use serde_json::Value;

use crate::theirs::{Theirs, strs};

/// All that a check from outside needs, and that docs/how-to/live.md names; the second part is for what Envoys count.
const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: svidproof-reader}
rules:
  - {apiGroups: [''], resources: [namespaces, nodes, pods, services, configmaps, secrets], verbs: [get, list]}
  - {apiGroups: [''], resources: [pods/log], verbs: [get]}
  - apiGroups: [apps]
    resources: [deployments, replicasets, statefulsets, daemonsets, controllerrevisions]
    verbs: [get, list]
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list]}
  - {apiGroups: [storage.k8s.io], resources: [csidrivers], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: svidproof-forwarder}
rules:
  - {apiGroups: [''], resources: [pods/portforward], verbs: [get, create]}
";

/// After which of its own lines a check is killed: before it has taken the cluster, while Helm installs the probe,
/// while it dials.
const KILLS: [&str; 3] = ["cluster (existing)", "edge: SPIRE agent", "edge: workloads and probe"];

impl Theirs {
    /// The words of a check of the scenario, by this user.
    fn check(&self, scenario: &str, [kubeconfig, context]: [&str; 2], more: &[&str]) -> Vec<String> {
        let kubeconfig = self.dir.path().join(kubeconfig).display().to_string();
        let out = self.dir.path().join("out").display().to_string();
        let args = ["check-live", "--scenario", scenario, "--kubeconfig", &kubeconfig, "--context", context];
        args.into_iter().chain(["--out", &out]).chain(more.iter().copied()).map(Into::into).collect()
    }

    fn checked(&self, args: &[String]) -> Output {
        self.svidproof("mine", &strs(args)).output().unwrap()
    }

    fn totals(&self) -> Value {
        let text = std::fs::read_to_string(self.dir.path().join("out/report.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["totals"].take()
    }

    /// A user who may only read, in a kubeconfig of its own.
    fn reader(&self) {
        let (rules, reader) = (self.dir.path().join("reader.yaml"), self.dir.path().join("reader"));
        std::fs::write(&rules, READER).unwrap();
        self.kubectl(&["apply", "--filename", rules.to_str().unwrap()]);
        for role in ["reader", "forwarder"] {
            let (name, of) = (format!("svidproof-{role}"), ["--serviceaccount", "default:reader"]);
            self.kubectl(&["create", "clusterrolebinding", &name, "--clusterrole", &name, of[0], of[1]]);
        }
        let token = self.kubectl(&["create", "token", "reader", "--duration", "2h"]);
        let known = self.kubectl(&["config", "view", "--raw", "--minify", "--output", "json"]);
        let mut known: Value = serde_json::from_str(&known).unwrap();
        known["users"] = serde_json::json!([{"name": "reader", "user": {"token": token.trim()}}]);
        let cluster = known["clusters"][0]["name"].clone();
        known["contexts"] =
            serde_json::json!([{"name": "reader", "context": {"cluster": cluster, "user": "reader"}}]);
        std::fs::write(reader, known.to_string()).unwrap();
    }

    /// The SVID of a client of the foreign run, as files; `--svid` for it.
    fn svid(&self, client: &str) -> String {
        let folder = self.dir.path().join(client);
        let folder = folder.to_str().unwrap();
        let fetched =
            self.svidproof("theirs", &["svid", "fetch", "--as", client, "--out", folder]).output().unwrap();
        assert!(fetched.status.success(), "{}", said(&fetched));
        format!("{client}={folder}/svid.0.pem,{folder}/svid.0.key")
    }
}

#[track_caller]
fn ends(output: &Output, status: i32) -> String {
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), said(output));
    assert_eq!(output.status.code(), Some(status), "{told}");
    told
}

#[test]
fn what_stands_is_checked_and_stays_as_it_was() {
    const EDGE: &str = "tests/existing/edge.yaml";
    let theirs = Theirs::up(&["front-proxy", "symbank"], &["spire-org-server-0", "spire-com-server-0"]);
    theirs.kubectl(&[
        "create",
        "secret",
        "generic",
        "their-ca",
        "--namespace",
        "spire",
        "--from-literal=a=b",
    ]);
    theirs.reader();
    let [generator, stranger] = ["generator", "stranger"].map(|client| theirs.svid(client));
    let context = theirs.context();
    let before = theirs.looks();

    let inside = theirs.check(EDGE, ["kubeconfig", &context], &["--with-probe"]);
    let told = ends(&theirs.checked(&inside), 0);
    assert!(told.contains("SPIRE of example.com is spire/statefulset/spire-com-server"), "{told}");
    assert_eq!(theirs.totals()["passed"], 5, "{told}");
    assert_eq!(theirs.runs("mine"), Vec::<PathBuf>::new());
    same(&before, &theirs.looks(), "a check with a probe");
    for words in KILLS {
        theirs.kill_after(&strs(&inside), words, || {});
        theirs.collect();
        same(&before, &theirs.looks(), &format!("a check that was killed after `{words}`"));
    }

    // The API server lets this user write nothing.
    let given = ["--svid", &generator, "--svid", &stranger];
    let outside = theirs.check(EDGE, ["reader", "reader"], &given);
    let told = ends(&theirs.checked(&outside), 0);
    assert_eq!(theirs.totals()["passed"], 5, "{told}");
    theirs.kill_after(&strs(&outside), KILLS[0], || {});
    theirs.collect();
    // The scenario that installed it all says the same of what stands; of its clients two are given.
    let whole = theirs.check("tests/scenarios/front-proxy.yaml", ["reader", "reader"], &given);
    let told = ends(&theirs.checked(&whole), 0);
    assert!(theirs.totals()["skipped"].as_u64() > Some(100), "{told}");
    let none = ends(&theirs.checked(&theirs.check(EDGE, ["reader", "reader"], &[])), 3);
    assert!(none.contains("no check was made") && none.contains("no SVID is given"), "{none}");
    // Which of the two SPIREs is meant, nobody guesses.
    let text = std::fs::read_to_string(conformance::repository().join(EDGE)).unwrap();
    std::fs::write(theirs.dir.path().join("svidproof.yaml"), "").unwrap();
    let guess = theirs.dir.path().join("guess.yaml");
    std::fs::write(&guess, text.replace("trust-domain: example.com\n", "")).unwrap();
    let guess = theirs.check(guess.to_str().unwrap(), ["reader", "reader"], &[]);
    let told = ends(&theirs.checked(&guess), 2);
    assert!(told.contains("which SPIRE is meant? There are several: example.com (spire/"), "{told}");
    same(&before, &theirs.looks(), "checks from outside");

    theirs.kubectl(&["delete", "clusterrolebinding", "svidproof-forwarder"]);
    let told = ends(&theirs.checked(&outside), 0);
    let totals = theirs.totals();
    assert_eq!((&totals["passed"], &totals["client_side"]), (&Value::from(1), &Value::from(4)), "{told}");
    assert!(told.contains("the API server forbids port-forwards to pod proxy/proxy-"), "{told}");

    // What its owners open is seen, from within and from outside.
    let allow = "envoy.allow={/ns/cert-gen/sa/generator,/ns/default/sa/stranger}";
    let chart = conformance::repository().join("helm/front-proxy");
    let upgrade = ["upgrade", "proxy", chart.to_str().unwrap(), "--namespace", "proxy", "--reuse-values"];
    theirs.tool("helm", &upgrade.into_iter().chain(["--set", allow, "--wait"]).collect::<Vec<_>>());
    for args in [&inside, &outside] {
        let told = ends(&theirs.checked(args), 1);
        assert!(told.contains("✗ a stranger is refused"), "{told}");
        assert_eq!(theirs.totals()["failed"], 1, "{told}");
    }
}
