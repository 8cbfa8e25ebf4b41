//! An `up` that fails once there is a cluster: what is left of it, and what is told.

#![allow(clippy::unwrap_used, reason = "allow-unwrap-in-tests covers test functions alone")]

mod common;

use std::fs;

use common::{Exit, Exits, HELM, World, said, stub_api};

const BROKEN: &str = "[ \"$1\" = install ] && { echo 'Error: broken on purpose' >&2; exit 1; }";

fn up(world: &World, more: &[&str]) -> String {
    let kubeconfig = world.root.join("kubeconfig").display().to_string();
    let mut args = vec!["up", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    args.extend(more);
    said(world.svidproof(&args).exits(Exit::NotJudged).get_output())
}

fn world() -> World {
    let world = World::new();
    world.kubeconfig(stub_api());
    world.fake("helm", &format!("{BROKEN}\n{HELM}"));
    world
}

#[test]
fn where_it_is_asked_for_the_cluster_is_left_and_the_next_up_goes_on() {
    let world = world();
    let told = up(&world, &["--keep-on-failure"]);
    assert!(told.contains("broken on purpose") && told.contains("`svidproof up` goes on with it"), "{told}");
    let runs = world.runs();
    assert_eq!(runs.len(), 1);
    world.fake("helm", HELM);
    let told = up(&world, &["--keep-on-failure"]);
    let id = runs[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(told.contains(&format!("going on with run {id}")) && !told.contains("on purpose"), "{told}");
    assert_eq!(world.runs(), runs, "it is the same run");
}

#[test]
fn else_it_is_taken_down_and_what_the_cluster_said_is_kept() {
    let world = world();
    let told = up(&world, &[]);
    assert!(told.contains("is in .svidproof/up-failed.txt"), "{told}");
    let text = fs::read_to_string(world.project().join(".svidproof/up-failed.txt")).unwrap();
    for part in [
        "## what failed",
        "broken on purpose",
        "## warning events",
        "## helm status of web/web/web, which is not ready",
        "(SPIRE)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(world.called("helm status web --namespace web"));
    world.assert_nothing_is_left();
}
