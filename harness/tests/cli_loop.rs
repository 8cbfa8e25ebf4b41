//! `new`, `watch` and `test --accept`, as a user calls them wrongly, or with a helm that fails. What they do
//! on a cluster is the conformance tier's.

#![allow(clippy::unwrap_used, reason = "allow-unwrap-in-tests covers test functions alone")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};

use common::{Exit, Exits, FILE, World, snapshot};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

/// What `helm template` makes of the chart `nginx`.
const RENDERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/draft/nginx.yaml");

/// A world with the chart of SPIRE, which a drafted scenario installs.
fn world() -> World {
    let world = World::new();
    fs::create_dir_all(world.project().join("helm/spire")).unwrap();
    fs::write(world.project().join("helm/spire/Chart.yaml"), "apiVersion: v2\nname: spire\nversion: 1.0.0\n")
        .unwrap();
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
    snapshot!(world, stderr(&assert), @r"
    wrote [world]/project/tests/scenarios/shop.yaml
    hint: fill in what its comments name, then `svidproof up --scenario [world]/project/tests/scenarios/shop.yaml`
    ");
    snapshot!(world, world.calls_of("helm"), @r"
    helm template shop [world]/project/helm/web --namespace store --include-crds --values -
    ");
    let path = world.project().join("tests/scenarios/shop.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains(
            "{release: shop, chart: helm/web, namespace: store, values: {\"envoy\":{\"alpn\":[\"h2\"]}}}"
        ),
        "{text}"
    );

    fs::write(&path, "mine").unwrap();
    let assert = world.svidproof(&args).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: [world]/project/tests/scenarios/shop.yaml is there already, and is not overwritten
    hint: take another name, or move it away
    ");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn new_for_a_chart_without_envoy() {
    let world = world();
    world.fake("helm", "cat > /dev/null\nprintf 'kind: Service\\nmetadata: {name: web}\\n'");
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: helm/web: the chart has no Envoy listener with mTLS: nothing in it holds an Envoy configuration
    looked for: an Envoy configuration in a ConfigMap or a Secret that its pods mount, or after a container's `--config-yaml`, and in one
    of its listeners a filter chain whose `transport_socket` is a DownstreamTlsContext
    hint: does a value switch it on? --values FILE gives the chart its values
    ");
    assert!(!world.project().join("tests/scenarios/shop.yaml").exists());
}

#[test]
fn new_for_a_chart_that_installs_nothing() {
    let world = world();
    let chart = world.project().join("helm/web/Chart.yaml");
    let text = fs::read_to_string(&chart).unwrap();
    fs::write(&chart, format!("{text}type: library\n")).unwrap();
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: [world]/project/helm/web is a library chart (`type: library`): it installs nothing, so there is nothing to dial
    hint: draft from a chart that has it among its dependencies
    ");
    assert!(!world.called("template") && !world.project().join("tests/scenarios/shop.yaml").exists());
}

#[test]
fn new_for_a_chart_that_helm_does_not_render() {
    let world = world();
    world.fake("helm", "cat > /dev/null\necho 'Error: values do not meet the schema' >&2\nexit 1");
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: release shop (chart [world]/project/helm/web, namespace default) could not be rendered: `[world]/fakes/helm template shop [world]/project/helm/web --namespace default --include-crds --values -` ended with exit status 1 after [time]; its last lines:
      Error: values do not meet the schema
    ");
}

/// The chart's Envoy asks for its workload's own SVID: what that says stands nowhere in the chart.
#[test]
fn new_for_an_identity_that_no_configuration_names() {
    let world = world();
    let chart = fs::read_to_string(RENDERED).unwrap();
    let own = chart.replace("name: \"spiffe://example.org/ns/default/sa/default/backend\"", "name: default");
    let own = own.replace("name: \"spiffe://example.org\"", "name: ROOTCA");
    assert_ne!(own, chart);
    let rendered = world.root.join("rendered.yaml");
    fs::write(&rendered, own).unwrap();
    world.fake("helm", &format!("cat > /dev/null\ncat '{}'", rendered.display()));
    let args = ["new", "shop", "--chart", "helm/web"];
    let told = stderr(&world.svidproof(&args).success());
    assert!(told.contains("it is refused until each FILL-IN is filled in (line 31, 39)"), "{told}");
    let path = world.project().join("tests/scenarios/shop.yaml");
    let told = stderr(&world.svidproof(&["up", "--scenario", path.to_str().unwrap()]).exits(Exit::Input));
    assert!(told.contains("shop.yaml:31:9: `FILL-IN` is not the path of a SPIFFE ID"), "{told}");

    fs::remove_file(&path).unwrap();
    world.svidproof(&[&args[..], &["--identity", "/ns/shop/sa/till"]].concat()).success();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("identity: /ns/shop/sa/till") && !text.contains("FILL-IN"), "{text}");
    let told =
        stderr(&world.svidproof(&["new", "a", "--chart", "helm/web", "--identity", "x"]).exits(Exit::Input));
    assert!(told.contains("`x` is no identity"), "{told}");
}

#[test]
fn new_in_a_project_without_spire_leaves_nothing() {
    let world = World::new();
    world.fake("helm", &format!("cat > /dev/null\ncat '{RENDERED}'"));
    let assert = world.svidproof(&["new", "shop", "--chart", "helm/web"]).exits(Exit::Input);
    assert!(stderr(&assert).contains("chart `builtin:spire` is not there"), "{}", stderr(&assert));
    assert!(!world.project().join("tests/scenarios/shop.yaml").exists());
}

#[rstest]
#[case::no_chart(&["new", "shop", "--chart", "helm/nothing"], "helm/nothing is not a chart")]
#[case::a_name_for_no_file(&["new", "../shop", "--chart", "helm/web"], "`../shop` cannot name a scenario")]
#[case::no_namespace(&["new", "a", "--chart", "helm/web", "--namespace", "A"], "`A` cannot name")]
#[case::no_values(&["new", "a", "--chart", "helm/web", "--values", "none.yaml"], "cannot read the values")]
#[case::values_that_are_none(&["new", "a", "--chart", "helm/web", "--values", "Cargo.toml"], "holds no \
    values")]
#[case::accepting_a_part(&["test", "--accept", "--check", "a"], "cannot be used with")]
#[case::watching_nothing(&["watch"], "no cluster is kept")]
fn input_that_is_wrong(#[case] args: &[&str], #[case] expected: &str) {
    let world = world();
    fs::write(world.project().join("Cargo.toml"), "[1, 2]").unwrap();
    let assert = world.svidproof(args).exits(Exit::Input);
    assert!(stderr(&assert).contains(expected), "{}", stderr(&assert));
}

#[test]
fn watch_needs_a_stage_that_there_is() {
    let world = world();
    world.kept_run();
    let assert = world.svidproof(&["watch", "--stage", "shut"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: there is no stage `shut`
    hint: there are open
    ");
}

/// The cluster does not answer: that ends a round, and not the watch.
#[test]
fn watch_goes_on_until_it_is_interrupted() {
    let world = world();
    world.kept_run();
    let port = common::stub_api();
    world.kubeconfig(port);
    let mut child = world.spawn(&["watch"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut told =
        |what: &str| lines.by_ref().take_while(|line| !line.contains(what)).collect::<Vec<_>>().join("\n");
    let first = told("waiting for a change");
    assert!(first.contains("scenario web: "), "{first}");
    world.edit("clients: {", "clients: {new: /ns/web/sa/new, ");
    assert!(
        told("waiting for a change")
            .contains("the clients' SPIFFE IDs changed, and that is fixed once a cluster is up")
    );
    fs::write(world.project().join(FILE), "scenario: [").unwrap();
    let broken = told("waiting for a change");
    assert!(broken.contains("tests/scenarios/web.yaml:1:"), "{broken}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(told("\0"), "svidproof: interrupted");
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(Exit::Interrupted.code())));
}

/// Entries are made by `up` alone: on a cluster with those of before, nothing of what is written now is tested.
#[test]
fn what_is_fixed_once_a_cluster_is_up_is_not_judged_otherwise() {
    let world = World::new();
    world.kubeconfig(common::stub_api());
    world.kept_run();
    world.edit("trust-domain: example.org", "trust-domain: example.com");
    let assert = world.svidproof(&["test"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: [world]/project/tests/scenarios/web.yaml: the trust domain changed, and that is fixed once a cluster is up
    hint: `svidproof down`, then `svidproof up`
    ");
    world.edit("scenario: web", "scenario: other");
    let assert = world.svidproof(&["test"]).exits(Exit::Input);
    snapshot!(world, stderr(&assert), @r"
    svidproof: [world]/project/tests/scenarios/web.yaml: the kept cluster was not brought up with scenario other, but with web
    hint: `svidproof down`, then `svidproof up`
    ");
}
