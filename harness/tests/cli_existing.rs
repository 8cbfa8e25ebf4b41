//! `--provider existing`: hands off what is not the run's, by a stub of an API server. What a real one does is
//! the tier `existing`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Exit, Exits, World, said, snapshot, stub_api, stub_api_with};
use serde_json::{Value, json};

fn existing(kubeconfig: &str) -> [&str; 7] {
    ["run", "--provider", "existing", "--kubeconfig", kubeconfig, "--context", "stub"]
}

#[test]
fn the_cluster_must_be_named() {
    let world = World::new();
    let kubeconfig = world.kubeconfig(stub_api());
    let output = world.svidproof(&existing(&kubeconfig)[..5]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✗ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: which cluster is meant? --context names it, one of those of [world]/kubeconfig: stub
    hint: the current context is not taken: what is current is another the next moment
    ");
    world.assert_nothing_is_left();
}

/// As kubectl reads it: files that are not there are passed over, and the context may be in any of the rest.
#[test]
fn all_files_of_kubeconfig_are_read() {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v4.0.0\nexit 0");
    let other = world.root.join("other");
    fs::write(&other, "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n").unwrap();
    let kubeconfig = world.kubeconfig(stub_api());
    let listed = format!("{}:/nowhere/config:{kubeconfig}", other.display());
    let mut run = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
    run.args(["run", "--provider", "existing", "--context", "stub"]).env("KUBECONFIG", listed);
    let told = said(assert_cmd::Command::from_std(run).assert().get_output());
    assert!(told.contains("✓ cluster (existing)"), "{told}");
    world.assert_nothing_is_left();
}

fn helm_records(labels: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "items": [{"metadata": {"name": "sh.helm.release.v1.web.v1", "labels": labels}}],
    })
}

#[track_caller]
fn asked_its_version_alone(world: &World) {
    let calls = world.calls_of("helm");
    assert!(calls.lines().all(|call| call == "helm version --template {{.Version}}"), "{calls}");
}

#[test]
fn all_that_is_anothers_is_named_before_anything_is_written() {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v4.0.0\nexit 0");
    world.edit("spire: {", "spire: {authority-secret: their-ca, ");
    let port = stub_api_with(vec![
        ("/secrets?&labelSelector=owner%3Dhelm%2Cname%3Dweb", helm_records(&json!({"owner": "helm"}))),
        ("/secrets/their-ca", json!({"metadata": {"name": "their-ca", "uid": "u1"}})),
    ]);
    let kubeconfig = world.kubeconfig(port);
    let output = world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: stub has already what the scenarios would make, and it is not this run's:
      Secret their-ca in namespace spire
      Helm release web in namespace web
    hint: nothing was touched; other names in the scenarios, or another cluster, keep both apart
    ");
    asked_its_version_alone(&world);
    world.assert_nothing_is_left();
}

/// Helm would delete it before it makes its own.
#[test]
fn what_has_the_name_of_a_hook_is_left_alone() {
    let world = World::new();
    let hook = "kind: Job\napiVersion: batch/v1\n\
                metadata: {name: migrate, annotations: {helm.sh/hook: pre-install}}\n";
    let renders = format!("if [ \"$1\" = template ]; then cat <<'END'\n---\n{hook}END\nfi");
    world.fake("helm", &format!("[ \"$1\" = version ] && exec echo v4.0.0\n{renders}"));
    let kind = json!({"name": "jobs", "singularName": "job", "namespaced": true, "kind": "Job", "verbs": []});
    let kinds = json!({"kind": "APIResourceList", "groupVersion": "batch/v1", "resources": [kind]});
    let theirs = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "migrate", "namespace": "web", "uid": "u1"},
    });
    let port = stub_api_with(vec![("/namespaces/web/jobs/migrate", theirs), ("/apis/batch/v1 ", kinds)]);
    let kubeconfig = world.kubeconfig(port);
    let told = said(world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output());
    let stays = "job web/migrate is there already, and is not this run's: it stays as it is";
    assert!(told.contains(stays), "{told}");
    assert!(!world.called("helm install"), "{}", world.calls_of("helm"));
    world.assert_nothing_is_left();
}

/// Which bundles somebody's SPIRE servers have is somebody's, and is not changed.
#[test]
fn federation_is_for_a_cluster_of_svidproofs_own() {
    let world = World::new();
    world
        .edit("clients: {", "federation: {partner.example: {namespace: spire, server: partner}}\nclients: {");
    let kubeconfig = world.kubeconfig(stub_api());
    let output = world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ teardown [time]
    svidproof: [world]/project/tests/scenarios/web.yaml: `federation` gives SPIRE servers other bundles, and that is done only in a cluster of svidproof's own
    hint: `--provider kind`
    ");
    assert!(world.calls().is_empty(), "{:?}", world.calls());
    world.assert_nothing_is_left();
}

/// It would be dialled on this machine, where nothing leads to that cluster.
#[test]
fn a_node_port_leads_machines_to_the_server_of_kind_alone() {
    let world = World::new();
    let spire = "spire: {outside: {service: spire/spire-server, port: 8081, published: {node-port: 30081}}, ";
    let machines = "machines: {vm: {id: /vm, attest: join-token}}\nclients: {";
    let text = common::SCENARIO.replace("spire: {", spire).replace("clients: {", machines);
    fs::write(world.project().join(common::FILE), text).unwrap();
    let kubeconfig = world.kubeconfig(stub_api());
    let output = world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ teardown [time]
    svidproof: [world]/project/tests/scenarios/web.yaml: `spire.outside` names a node port, and only the provider `kind` leads one to this machine
    hint: `published: {}`, and a Service of the type LoadBalancer
    ");
    assert!(world.calls().is_empty(), "{:?}", world.calls());
    world.assert_nothing_is_left();
}

#[test]
fn another_run_has_the_cluster() {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v4.0.0\nexit 0");
    let claim = json!({
        "metadata": {"name": "svidproof", "annotations": {"svidproof.dev/host": "build-7"}},
        "spec": {
            "holderIdentity": "feedbeef", "leaseDurationSeconds": 600,
            "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2099-01-02T03:04:05.000000Z",
        },
    });
    let port = stub_api_with(vec![("/leases/svidproof", claim)]);
    let kubeconfig = world.kubeconfig(port);
    let output = world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: run [run] works on stub, from build-7 since 2026-01-02T03:04:05Z: one at a time
    hint: wait until it is over, or `svidproof down --run [run]` on build-7
    ");
    asked_its_version_alone(&world);
    world.assert_nothing_is_left();
}

/// A run that was killed, with one release in a cluster.
fn left(world: &World, id: &str, port: u16, uid: &str) {
    let dir = world.root.join("state/svidproof/runs").join(id);
    fs::create_dir_all(&dir).unwrap();
    fs::rename(world.kubeconfig(port), dir.join("kubeconfig")).unwrap();
    let place = json!({"in": {"name": "stub", "kubeconfig": dir.join("kubeconfig"), "uid": uid}});
    let release = json!({"making": {"thing": "release", "name": "web", "namespace": "web"}});
    fs::write(dir.join("lease.jsonl"), format!("{place}\n{release}\n{{\"mak")).unwrap();
    fs::write(dir.join("session.json"), "{\"cluster\": {\"prov").unwrap();
}

/// The four of them side by side: a cluster that is another, one that is gone, and two that can be collected.
#[test]
fn a_stale_lease_keeps_nobody_from_anything_and_touches_no_other_cluster() {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v4.0.0\nexit 0");
    let here = |labels: Value| vec![("labelSelector=owner", helm_records(&labels))];
    left(&world, "aaaaaaaa", stub_api_with(here(json!({"svidproof.run": "aaaaaaaa"}))), "uid-of-before");
    left(&world, "bbbbbbbb", 1, "uid-of-the-stub");
    left(&world, "cccccccc", stub_api_with(here(json!({"svidproof.run": "cccccccc"}))), "uid-of-the-stub");
    left(&world, "dddddddd", stub_api_with(here(json!({"owner": "helm"}))), "uid-of-the-stub");
    for look in [&["leases"][..], &["gc", "--dry-run"]] {
        let output = world.svidproof(look).exits(Exit::Passed).get_output().clone();
        let listed = String::from_utf8(output.stdout).unwrap();
        assert!(listed.contains("aaaaaaaa  left by a svidproof that ended early, in stub\n"), "{listed}");
        assert_eq!(listed.matches("Release { name: \"web\"").count(), 4, "{listed}");
    }
    assert_eq!(world.calls_of("helm"), "");
    let output = world.svidproof(&["gc"]).exits(Exit::NotJudged).get_output().clone();
    let said = said(&output);
    assert!(said.contains("2 left-over run(s) taken down"), "{said}");
    assert!(said.contains("run aaaaaaaa is not all gone") && said.contains("uid-of-before"), "{said}");
    assert!(said.contains("uid-of-the-stub") && said.contains("run bbbbbbbb is not all gone"), "{said}");
    let stays = "Helm release web in namespace web stays: it does not carry the label of run dddddddd";
    assert!(said.contains(stays), "{said}");
    let calls = world.calls_of("helm");
    assert_eq!(calls.matches("uninstall web").count(), 1, "{calls}");
    assert_eq!(world.runs().len(), 2);

    // They are warned of, and no more.
    let kubeconfig = world.kubeconfig(1);
    let output = world.svidproof(&existing(&kubeconfig)).exits(Exit::Input).get_output().clone();
    let warned = common::said(&output);
    assert!(warned.contains("warning: run aaaaaaaa") && warned.contains("no cluster is reached"), "{warned}");

    for run in ["aaaaaaaa", "bbbbbbbb"] {
        let output = world.svidproof(&["down", "--forget", run]).exits(Exit::Passed).get_output().clone();
        assert!(common::said(&output).contains("forgotten: Release"), "{}", common::said(&output));
    }
    world.assert_nothing_is_left();
}

/// Another machine's, which was lost: all that is needed stands in the cluster.
#[test]
fn what_has_expired_is_taken_down_from_another_machine() {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v3.17.3\nexit 0");
    let things = json!([{"thing": "release", "name": "web", "namespace": "web"}]).to_string();
    let claim = |renewed: &str| {
        json!({
            "metadata": {"name": "svidproof", "annotations": {
                "svidproof.dev/host": "build-7", "svidproof.dev/things": things,
            }},
            "spec": {"holderIdentity": "feedbeef", "leaseDurationSeconds": 600, "renewTime": renewed},
        })
    };
    let gc = |renewed: &str, more: &[&str]| {
        let labels = json!({"owner": "helm", "svidproof.run": "feedbeef"});
        let port = stub_api_with(vec![
            ("/leases/svidproof", claim(renewed)),
            ("labelSelector=owner", helm_records(&labels)),
        ]);
        let kubeconfig = world.kubeconfig(port);
        let args = ["gc", "--expired", "--context", "stub", "--kubeconfig", &kubeconfig];
        world.svidproof(&[&args[..], more].concat()).exits(Exit::Passed);
        world.assert_nothing_is_left();
        world.calls_of("helm").lines().filter(|call| call.contains("uninstall web")).count()
    };
    assert_eq!(gc("2099-01-02T03:04:05.000000Z", &[]), 0, "it is at work");
    assert_eq!(gc("2026-01-02T03:04:05.000000Z", &["--dry-run"]), 0);
    assert_eq!(gc("2026-01-02T03:04:05.000000Z", &[]), 1);
}

#[rstest::rstest]
#[case(&["--context", "c"], "--context says nothing to the provider kind\nhint: is --provider existing meant?")]
#[case(&["--set", "a=b"], "--set says nothing to the provider kind\nhint: is --provider gke meant?")]
#[case(
    &["--provider", "existing", "--registry-mirror", "localhost:5000"],
    "--registry-mirror says nothing to the provider existing\nhint: is --provider kind meant?"
)]
#[case(
    &["--images", "packages", "--registry-mirror", "localhost:5000"],
    "--registry-mirror says nothing to --images packages, whose nodes pull nothing\nhint: is --images upstream meant?"
)]
#[case(
    &["--images", "packages", "--registry", "registry.test/own"],
    "--registry says nothing to --images packages, whose nodes pull nothing\nhint: is --images upstream meant?"
)]
#[case(
    &["--provider", "existing", "--workers", "2"],
    "--workers says nothing to the provider existing\nhint: is --provider kind meant?"
)]
#[case(
    &["--provider", "existing", "--kubernetes", "1.36.0"],
    "--kubernetes says nothing to the provider existing\nhint: is --provider kind meant?"
)]
fn what_a_provider_would_not_listen_to_is_a_mistake(#[case] args: &[&str], #[case] expected: &str) {
    let world = World::new();
    let args = [&["run"][..], args].concat();
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    assert_eq!(said(&output), format!("svidproof: {expected}\n"));
    assert!(world.calls().is_empty());
}

#[test]
fn a_version_that_cannot_be_built_is_told_before_anything_is_made() {
    let world = World::new();
    let args = ["run", "--images", "packages", "--spire", "v9.8.7"];
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    let told = said(&output);
    assert!(told.contains("svidproof: spire 9.8.7 cannot be built here; it can be had as nothing"), "{told}");
    assert!(told.contains("--images upstream") && told.contains("scripts/add-version"), "{told}");
    assert!(!world.calls().iter().any(|call| call.starts_with("docker")), "{:?}", world.calls());
}

/// Terraform would only warn of it, in output that nobody sees.
#[test]
fn a_variable_that_the_root_does_not_have_or_must_be_given() {
    let world = World::new();
    let root = world.project().join("terraform/gke");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("variables.tf"), "variable \"authorized_networks\" {\n}\nvariable \"zone\" {\n}\n")
        .unwrap();
    let args = ["up", "--provider", "gke", "--set", "zone=a", "--set", "authorised_networks=[]"];
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    let told = said(&output);
    assert!(
        told.contains("--set authorised_networks: ") && told.ends_with("it has authorized_networks, zone\n"),
        "{told}"
    );

    // And one that must be given, before anything is made.
    let told = said(world.svidproof(&["run", "--provider", "gke"]).exits(Exit::Input).get_output());
    let lacks = "svidproof: the provider gke must be told its `authorized_networks`\nhint: --set ";
    assert!(told.starts_with(lacks), "{told}");
    assert!(world.runs().is_empty());
    assert!(world.calls().is_empty());
}
