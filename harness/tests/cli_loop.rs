//! `new`, `watch` and `test --accept`, as a user calls them wrongly, or with a helm that fails. What they do on a cluster is the conformance tier's.

mod common;

use std::fs;

use common::{FILE, World, snapshot};
use rstest::rstest;
use rustix::process::Signal;

/// What `helm template` makes of the chart `nginx`.
const RENDERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/draft/nginx.yaml");

/// A world with the chart of SPIRE, which a drafted scenario installs.
fn world() -> World {
    let world = World::new();
    fs::create_dir_all(world.project().join("helm/spire")).unwrap();
    fs::write(world.project().join("helm/spire/Chart.yaml"), "apiVersion: v2\nname: spire\nversion: 1.0.0\n").unwrap();
    world
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn new_writes_a_scenario_and_does_not_overwrite_it() {
    let world = world();
    world.fake("helm", &format!("cat > /dev/null\ncat '{RENDERED}'"));
    let values = world.project().join("mine.yaml");
    fs::write(&values, "envoy: {alpn: [h2]}\n").unwrap();
    let args = ["new", "shop", "--chart", "helm/web", "--namespace", "store", "--values", "mine.yaml"];
    let assert = world.svidproof(&args).success();
    snapshot!(world, stderr(&assert), @"");
    snapshot!(world, world.calls_of("helm"), @"");
    let path = world.project().join("tests/scenarios/shop.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("{release: shop, chart: helm/web, namespace: store, values: {\"envoy\":{\"alpn\":[\"h2\"]}}}"), "{text}");

    fs::write(&path, "mine").unwrap();
    let assert = world.svidproof(&args).code(2);
    snapshot!(world, stderr(&assert), @"");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn new_for_a_chart_without_envoy() {
    let world = world();
    world.fake("helm", "cat > /dev/null\nprintf 'kind: Service\\nmetadata: {name: web}\\n'");
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).code(2);
    snapshot!(world, stderr(&assert), @"");
    assert!(!world.project().join("tests/scenarios/shop.yaml").exists());
}

#[test]
fn new_for_a_chart_that_helm_does_not_render() {
    let world = world();
    world.fake("helm", "cat > /dev/null\necho 'Error: values do not meet the schema' >&2\nexit 1");
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).code(2);
    snapshot!(world, stderr(&assert), @"");
}

#[test]
fn new_in_a_project_without_spire_leaves_nothing() {
    let world = World::new();
    world.fake("helm", &format!("cat > /dev/null\ncat '{RENDERED}'"));
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).code(2);
    assert!(stderr(&assert).contains("chart `helm/spire` is not there"), "{}", stderr(&assert));
    assert!(!world.project().join("tests/scenarios/shop.yaml").exists());
}

#[rstest]
#[case::no_chart(&["new", "shop", "--chart", "helm/nothing"], "helm/nothing is not a chart")]
#[case::a_name_for_no_file(&["new", "../shop", "--chart", "helm/web"], "`../shop` cannot name a scenario")]
#[case::no_namespace(&["new", "shop", "--chart", "helm/web", "--namespace", "A"], "`A` cannot name a namespace")]
#[case::no_values(&["new", "shop", "--chart", "helm/web", "--values", "none.yaml"], "cannot read the values none.yaml")]
#[case::values_that_are_none(&["new", "shop", "--chart", "helm/web", "--values", "Cargo.toml"], "Cargo.toml holds no values")]
#[case::accepting_a_part(&["test", "--accept", "--check", "a"], "cannot be used with")]
#[case::watching_nothing(&["watch"], "no cluster is kept")]
fn input_that_is_wrong(#[case] args: &[&str], #[case] expected: &str) {
    let world = world();
    fs::write(world.project().join("Cargo.toml"), "[1, 2]").unwrap();
    let assert = world.svidproof(args).code(2);
    assert!(stderr(&assert).contains(expected), "{}", stderr(&assert));
}

#[test]
fn watch_needs_a_stage_that_there_is() {
    let world = world();
    world.kept_run();
    let assert = world.svidproof(&["watch", "--stage", "shut"]).code(2);
    snapshot!(world, stderr(&assert), @"");
}

/// The cluster does not answer: that ends a round, and not the watch.
#[test]
fn watch_goes_on_until_it_is_interrupted() {
    let world = world();
    world.kept_run();
    let port = common::stub_api();
    world.kubeconfig(port);
    let running = world.start(&["watch"], &[]);
    running.told("waiting for a change");
    fs::write(world.project().join(FILE), "scenario: [").unwrap();
    running.told("web.yaml:1");
    running.signal(Signal::INT);
    let output = running.end();
    assert_eq!(output.status.code(), Some(130));
}
