//! `svidproof status`, as a user calls it who does not remember what stands.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs::{self, File};
use std::net::TcpListener;

use common::{Exit, Exits, FILE, World, said, snapshot, stub_api, stub_api_with};
use rustix::fs::{FlockOperation, flock};

fn printed(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[test]
fn where_nothing_stands_it_says_so() {
    let world = World::new();
    let assert = world.svidproof(&["status"]).exits(Exit::Passed).stdout("");
    let told = "nothing stands\nhint: `svidproof up` brings a cluster up and keeps it\n";
    assert_eq!(said(assert.get_output()), told);
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[test]
fn a_kept_run_is_told_with_its_kubeconfig_and_its_endpoints() {
    let world = World::new();
    world.kept_run();
    let meta = serde_json::json!({"name": "web", "namespace": "web"});
    let service = serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {}});
    let slices = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "metadata": {}, "items": [],
    });
    let pods = serde_json::json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []});
    let has = vec![("services/web", service), ("endpointslices", slices), ("pods", pods)];
    world.kubeconfig(stub_api_with(has));
    let before = fs::read(world.runs()[0].join("lease.jsonl")).unwrap();
    let assert = world.svidproof(&["status"]).exits(Exit::Passed).stderr("");
    snapshot!(world, printed(&assert), @r"
    run [run]: kept
      existing cluster stub
      export KUBECONFIG=[world]/kubeconfig
      web ([world]/project/tests/scenarios/web.yaml)
        web: Service web/web selects no pods
    ");
    assert_eq!(fs::read(world.runs()[0].join("lease.jsonl")).unwrap(), before, "it only looks");
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_looked_at_is_told_after_the_rest() {
    let world = World::new();
    world.kept_run();
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    world.kubeconfig(port);
    let assert = world.svidproof(&["status"]).exits(Exit::NotJudged);
    assert!(printed(&assert).ends_with("kubeconfig\n  it does not answer\n"), "{}", printed(&assert));
    let said = said(assert.get_output());
    assert!(said.starts_with("svidproof: run 0a1b2c3d: its cluster does not answer: "), "{said}");
    // It answers, and what it says of the endpoint cannot be read.
    world.kubeconfig(stub_api());
    let output = world.svidproof(&["status"]).exits(Exit::NotJudged).get_output().clone();
    assert!(
        common::said(&output).starts_with("svidproof: web: endpoint web: could not resolve"),
        "{output:?}"
    );
    fs::write(world.project().join(FILE), "scenario: [").unwrap();
    let assert = world.svidproof(&["status"]).exits(Exit::NotJudged);
    assert!(printed(&assert).contains("export KUBECONFIG="), "{}", printed(&assert));
}

#[test]
fn runs_that_are_not_kept_are_told_too() {
    let world = World::new();
    for (id, began) in [("00000001", "2026-03-01T02:00:00Z"), ("00000002", "2026-03-02T02:00:00Z")] {
        let dir = world.root.join("state/svidproof/runs").join(id);
        fs::create_dir_all(&dir).unwrap();
        let line = format!("{{\"run\":{{\"id\":\"{id}\",\"pid\":1,\"started\":\"{began}\"}}}}\n");
        fs::write(dir.join("lease.jsonl"), line).unwrap();
    }
    let held = File::open(world.root.join("state/svidproof/runs/00000002/lease.jsonl")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let text = printed(&world.svidproof(&["status"]).exits(Exit::Passed));
    assert!(text.contains("run 00000002: under way in another svidproof\n"), "{text}");
    assert!(text.contains("run 00000001: not kept, since 2026-03-01 02:00 UTC ("), "{text}");
    assert!(text.contains("`svidproof gc` takes it down\n"), "{text}");
}
