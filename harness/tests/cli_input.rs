//! What a user gets wrong: the exit status of a wrong input, the place, and what would be right; nothing is
//! started for it.

mod common;

use std::net::TcpListener;

use common::{Exit, Exits, FILE, SCENARIO, World, said, snapshot, stub_api};
use rstest::rstest;

#[rstest]
#[case::an_unknown_key(
    "trust-domain:",
    "trust-domian:",
    "2:1: unknown key `trust-domian`: did you mean `trust-domain`?"
)]
#[case::an_undefined_client(
    "as: friend,",
    "as: fiend,",
    "20:37: client `fiend` is not defined: did you mean `friend`?"
)]
#[case::an_undefined_endpoint(
    "    admin: 9901",
    "    admin: 9901\n    upstream: wed",
    "16:15: endpoint `wed` is not defined: did you mean `web`?"
)]
#[case::no_such_control(
    "control: friend gets in",
    "control: friend",
    "21:118: control `friend` is not a check of stage `open`: expected one of `friend gets in`"
)]
#[case::no_such_chart(
    "chart: helm/web,",
    "chart: helm/webb,",
    "5:29: chart `helm/webb` is not there, seen from [world]/project: did you mean `helm/web`?"
)]
#[case::a_selector_without_a_type(
    "\"k8s:ns:web\"",
    "web",
    "8:14: selector `web` has no type: write `type:value`, such as `k8s:ns:default`"
)]
fn a_mistake_in_a_scenario_is_told_with_its_place(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] expected: &str,
) {
    let world = World::new();
    world.edit(right, wrong);
    let output = world.svidproof(&["run", "--scenario", FILE]).exits(Exit::Input).get_output().clone();
    let root = world.root.display().to_string();
    assert_eq!(said(&output).replace(&root, "[world]"), format!("svidproof: {FILE}:{expected}\n"));
    assert_eq!(world.calls(), Vec::<String>::new());
    world.assert_nothing_is_left();
}

/// At its line in the repository, which need not begin where the project does.
#[rstest]
#[case::the_repository_is_the_project("project", "")]
#[case::the_project_is_a_part_of_it("", "project/")]
fn a_mistake_is_annotated_for_github(#[case] repository: &str, #[case] folder: &str) {
    let world = World::new();
    std::fs::create_dir(world.root.join(repository).join(".git")).unwrap();
    world.edit("as: friend, to: web", "as: fiend, to: wed");
    let args = ["run", "--scenario", FILE, "--format", "github"];
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    let told = String::from_utf8(output.stdout).unwrap();
    let first = format!(
        "::error file={folder}{FILE},line=20,col=37,title=a mistake in the scenario::client `fiend` is not \
         defined: did you mean `friend`?"
    );
    assert_eq!(told.lines().next(), Some(first.as_str()));
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let world = World::new();
    world.edit("as: friend, to: web", "as: fiend, to: wed");
    let output = world.svidproof(&["run", "--scenario", FILE]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: tests/scenarios/web.yaml:20:37: client `fiend` is not defined: did you mean `friend`?
    tests/scenarios/web.yaml:20:48: endpoint `wed` is not defined: did you mean `web`?
    tests/scenarios/web.yaml:21:118: control `friend gets in` goes to `wed`, not to `web`: it says nothing about this refusal
    ");
}

/// Without `--scenario` all of the project's stand side by side.
#[test]
fn scenarios_that_collide_are_told_before_anything_is_made() {
    let world = World::new();
    let copy = SCENARIO.replace("scenario: web", "scenario: shop").replace("30443", "30444");
    std::fs::write(world.project().join("tests/scenarios/shop.yaml"), copy).unwrap();
    let output = world.svidproof(&["run", "--images", "upstream"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: [world]/project/tests/scenarios/web.yaml:5:17: release `web` in namespace `web` is also at [world]/project/tests/scenarios/shop.yaml:5:17, and they would share one cluster: give one of them another name or namespace
    [world]/project/tests/scenarios/web.yaml:3:61: the agent's socket `/run/spire/agent.sock` is also at [world]/project/tests/scenarios/shop.yaml:3:61, and they would share one cluster: give each SPIRE agent a folder of its own, in its chart's values too
    ");
    assert_eq!(world.calls(), Vec::<String>::new());
    world.assert_nothing_is_left();
}

#[test]
fn values_for_a_name_that_two_releases_have() {
    let world = World::new();
    let text = SCENARIO
        .replace(
            "  - - {release: web",
            "  - - {release: web, chart: helm/web, namespace: other}\n    - {release: web",
        )
        .replace("    checks:", "    values: {web: {a: 1}}\n    checks:");
    std::fs::write(world.project().join(FILE), text).unwrap();
    let output = world.svidproof(&["run", "--scenario", FILE]).exits(Exit::Input).get_output().clone();
    snapshot!(
        world,
        said(&output),
        @"svidproof: tests/scenarios/web.yaml:20:14: more than one release is called `web`: expected one of `other/web`, `web/web`"
    );
}

#[test]
fn a_scenario_that_is_not_there() {
    let world = World::new();
    let output =
        world.svidproof(&["up", "--scenario", "nowhere.yaml"]).exits(Exit::Input).get_output().clone();
    snapshot!(
        world,
        said(&output),
        @"svidproof: could not read nowhere.yaml: No such file or directory (os error 2)"
    );
    world.assert_nothing_is_left();
}

#[test]
fn a_folder_that_is_no_project() {
    let world = World::new();
    std::fs::remove_dir_all(world.project().join("tests")).unwrap();
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: no folder from [world]/project upwards holds svidproof.yaml, or helm/ and tests/scenarios/
    hint: `svidproof init` at the root of your repository makes it a project, or name a scenario by --scenario FILE
    ");
}

#[test]
fn a_provider_that_does_not_exist() {
    let world = World::new();
    let output = world.svidproof(&["run", "--provider", "cloud"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    error: invalid value 'cloud' for '--provider <PROVIDER>'
      [possible values: kind, gke, existing]

    For more information, try '--help'.
    ");
}

#[test]
fn an_existing_cluster_without_a_kubeconfig() {
    let world = World::new();
    let output = world.svidproof(&["run", "--provider", "existing"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✗ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: no kubeconfig was found
    hint: name one by --kubeconfig or KUBECONFIG
    ");
    world.assert_nothing_is_left();
}

#[test]
fn a_kubeconfig_that_is_not_there() {
    let world = World::new();
    let output = world
        .svidproof(&["run", "--provider", "existing", "--kubeconfig", "nowhere"])
        .exits(Exit::Input)
        .get_output()
        .clone();
    snapshot!(world, said(&output), @r#"
    ✗ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: the kubeconfig nowhere is of no use: failed to read kubeconfig from '"nowhere"': No such file or directory (os error 2)
    hint: --kubeconfig and --context name the cluster
    "#);
    world.assert_nothing_is_left();
}

#[test]
fn a_context_that_is_not_in_the_kubeconfig() {
    let world = World::new();
    let kubeconfig = world.kubeconfig(stub_api());
    let args = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stab"];
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✗ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: the kubeconfig [world]/kubeconfig has no context `stab`: it has stub
    hint: --kubeconfig and --context name the cluster
    ");
    world.assert_nothing_is_left();
}

#[test]
fn a_context_that_is_not_reachable() {
    let world = World::new();
    // Bound and never listening would be accepted: a port that was free a moment ago is not.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kubeconfig = world.kubeconfig(port);
    let args = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    let output = world.svidproof(&args).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✗ cluster (existing) [time]
    ✓ teardown [time]
    svidproof: no cluster is reached by context stub of [world]/kubeconfig: could not reach the API server: ServiceError: client error (Connect): tcp connect error: Connection refused (os error 111)
    hint: `kubectl version` should answer there
    ");
    world.assert_nothing_is_left();
}

#[test]
fn a_port_that_is_taken_is_told_before_anything_is_started() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    world.edit("{node-port: 30443}", &format!("{{node-port: 30443, host-port: {port}}}"));
    let output = world
        .svidproof(&["run", "--images", "upstream", "--scenario", FILE])
        .exits(Exit::Input)
        .get_output()
        .clone();
    snapshot!(world, said(&output), @r"
    ✓ teardown [time]
    svidproof: tests/scenarios/web.yaml:14: port [port] of 127.0.0.1, which the scenario publishes node port [port] on, is taken: Address already in use (os error 98)
    hint: name another `host-port` in the scenario, or leave it out to get a free one
    ");
    assert_eq!(world.calls(), Vec::<String>::new());
    world.assert_nothing_is_left();
}

#[rstest]
#[case(&["test"])]
#[case(&["verify"])]
#[case(&["svid", "fetch", "--as", "friend"])]
fn a_command_that_needs_a_kept_cluster_says_how_to_get_one(#[case] args: &[&str]) {
    let world = World::new();
    let output = world.svidproof(args).exits(Exit::Input).get_output().clone();
    let expected = "svidproof: no cluster is kept, or another svidproof is at work on it\n\
        hint: `svidproof up` brings one up and keeps it\n";
    assert_eq!(said(&output), expected);
}

#[test]
fn a_stage_that_there_is_not() {
    let world = World::new();
    world.kept_run();
    let output = world.svidproof(&["test", "--stage", "nosuch"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: there is no stage `nosuch`
    hint: there are open
    ");
    assert_eq!(world.runs().len(), 1, "it is kept as before");
}

#[test]
fn an_identity_that_no_client_has() {
    let world = World::new();
    world.kept_run();
    let output = world.svidproof(&["svid", "fetch", "--as", "fiend"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: no client of the kept run is `fiend`
    hint: there are
      friend = spiffe://example.org/ns/web/sa/friend
    ");
}

#[test]
fn down_takes_a_run_by_its_name_alone() {
    let world = World::new();
    world.kept_run();
    let output = world.svidproof(&["down", "--run", "ffffffff"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @"svidproof: there is no run [run] to take down");
    assert_eq!(world.runs().len(), 1);
    world.svidproof(&["down", "--run", "0a1b2c3d"]).success();
    world.assert_nothing_is_left();
}

#[test]
fn version() {
    let world = World::new();
    let output = world.svidproof(&["--version"]).success().get_output().clone();
    let mut settings = world.settings();
    settings.add_filter(r"\d+\.\d+\.\d+", "[version]");
    settings
        .bind(|| insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout), @"svidproof [version]"));
}

#[test]
fn help() {
    let world = World::new();
    let output = world.svidproof(&["--help"]).success().get_output().clone();
    snapshot!(world, String::from_utf8_lossy(&output.stdout), @r"
    Proves who may talk to whom, over real mTLS, from both ends

    Usage: svidproof <COMMAND>

    Commands:
      run         Bring a cluster up, make every check of every stage, report, and take everything down
      up          Bring a cluster up with the scenarios' systems in it, and keep it
      test        Make the checks on the cluster that `up` keeps; charts and values that changed are
                  upgraded first
      check-live  Make the checks on what stands in a cluster that is somebody else's, and change
                  nothing of theirs
      watch       Make the checks again whenever a chart, its values or a scenario changes, on the
                  cluster that `up` keeps
      init        Make a repository one that svidproof works in: svidproof.yaml and its folders
      new         Draft a scenario for a chart
      verify      Plant each fault that a scenario lists, and prove that its checks turn red
      diff        Say in words what changed between two surfaces, or two report.json
      history     Say what the reports of many nights say together: verdicts, times, flakes, what opened
                  and when
      down        Take down what `up` keeps
      gc          Take down what runs that were killed left behind
      bundle      Gather what is needed to understand a run into one archive, without secrets
      leases      List the runs that are there, and what each made
      svid        Carry SVIDs out of the cluster that `up` keeps
      images      Build, load, list or prune the container images
      engine      Look at the container engine, point other programs at it, or stop the private one
      chart       List the charts that svidproof brings along, or write one out to be changed
      schema      Print the JSON Schema of a file, for editors and other programs
      doctor      Name what this machine lacks
      dials       Measure how many dials a second are made in the cluster that `up` keeps
      help        Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Exit status:
      0    What was asked for was done, and all checks that were made passed.
      1    A check failed, something opened up, or a planted fault went unnoticed.
      2    The input is wrong: an argument, a scenario, a chart, or the cluster that is named.
      3    Something could not be judged or brought up, or is missing on this machine.
      130  SIGINT or SIGTERM came.
    ");
}
