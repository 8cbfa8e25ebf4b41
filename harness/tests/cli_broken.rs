//! What breaks on the way up: the exit status of what was not judged, the command and its last lines, and
//! everything made so far torn down.

mod common;

use std::fs;

use assert_cmd::cargo::cargo_bin;
use common::{DOCKER, Exit, Exits, HELM, TERRAFORM, World, is_root, not_tested, said, snapshot, stub_api};
use rstest::rstest;

const RUN: [&str; 3] = ["run", "--images", "upstream"];

#[test]
fn no_docker_answers_where_docker_host_says() {
    let world = World::new();
    world.fake("docker", "echo 'Cannot connect to the Docker daemon at tcp://127.0.0.1:1.' >&2; exit 1");
    let mut command = world.command(cargo_bin!("svidproof"));
    command.args(RUN).env("DOCKER_HOST", "tcp://127.0.0.1:1");
    let output = assert_cmd::Command::from_std(command).assert().exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r#"
    ✗ container engine [time]
    ✓ teardown [time]
    svidproof: DOCKER_HOST is tcp://127.0.0.1:[port], but no docker answers there: `docker info --format [format]` ended with exit status 1 after [time]; its last lines:
      Cannot connect to the Docker daemon at tcp://127.0.0.1:[port].
    hint: start that docker, or unset DOCKER_HOST
    "#);
    world.assert_nothing_is_left();
}

/// Whether it made the network nobody knows: it is looked for once docker is there again.
#[test]
fn docker_dies_once_it_has_answered() {
    let world = World::new();
    let info = r#"{"ServerVersion": "1.2.3", "DockerRootDir": "/fake", "ContainersRunning": 0}"#;
    let dies = "echo 'error during connect: EOF' >&2\nexit 1";
    world.fake("docker", &format!("[ \"$1\" = info ] && exec echo '{info}'\n{dies}"));
    let output = world.svidproof(&RUN).exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✗ container engine [time]
    ✗ teardown [time]
    svidproof: `docker network create --driver bridge --ipv6=false --label svidproof.run=[run] svidproof-[run]` ended with exit status 1 after [time]; its last lines:
      error during connect: EOF
    run [run] is not all gone:
      `docker network ls --quiet --filter 'name=^svidproof-[run]$'` ended with exit status 1 after [time]; its last lines:
      error during connect: EOF
    hint: `svidproof gc` tries again; [world]/state/svidproof/runs/[run]/lease.jsonl names what was made
    ");
    world.fake("docker", DOCKER);
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}

/// What docker would have to take down stays in the lease, until it is there again.
#[test]
fn docker_dies_while_the_cluster_is_made() {
    let world = World::with_images();
    world.real_terraform();
    let dead = world.root.join("dead");
    let die = format!(
        "if [ -e '{}' ]; then echo 'Cannot connect to the Docker daemon.' >&2; exit 1; fi",
        dead.display()
    );
    world.fake("docker", &format!("{die}\n{DOCKER}"));
    world.fake("kind", &format!("[ \"$1\" = create ] && touch '{}'\ndocker \"$@\"", dead.display()));
    let output = world.svidproof(&RUN).exits(Exit::NotJudged).get_output().clone();
    let said = said(&output);
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.contains("Cannot connect") || line.contains("hint: `svidproof gc`"))
        .collect();
    assert!(told.len() >= 3, "the creation, the removal, and what to do about it:\n{said}");
    assert_eq!(world.runs().len(), 1, "the lease stands");

    fs::remove_file(dead).unwrap();
    world.svidproof(&["gc"]).success();
    assert!(
        world.called("kind delete cluster --name svidproof-") && world.called("docker network rm svidproof"),
        "{:#?}",
        world.calls()
    );
    world.assert_nothing_is_left();
}

#[test]
fn docker_dies_while_the_node_image_is_loaded() {
    if !is_root() {
        not_tested("a node image is made by debootstrap, which wants root");
        return;
    }
    let world = World::with_images();
    world.fake("debootstrap", "for root in \"$@\"; do :; done\nmkdir -p \"$root/etc\"");
    let die = "case $1 in image | load) echo 'error during connect: EOF' >&2; exit 1 ;; esac";
    world.fake("docker", &format!("{DOCKER}\n{die}"));
    let output =
        world.svidproof(&["run", "--images", "packages"]).exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ container engine [time]
    ✗ images [time]
    ✓ teardown [time]
    svidproof: could not build the node image: `docker load --input [world]/cache/svidproof/tmp/node/node.tar` ended with exit status 1 after [time]; its last lines:
      error during connect: EOF
    hint: the full log is [world]/cache/svidproof/logs/node-image.log
    ");
    assert!(world.called("docker network rm svidproof"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// It is the run's own: who else put a container onto it is told of it.
#[test]
fn a_network_that_somebody_uses_is_told() {
    let world = World::with_images();
    world.fake("terraform", "exit 1");
    let busy = "case \"$1 $2\" in\n\
        'network rm') echo 'Error response from daemon: network has active endpoints' >&2; exit 1 ;;\n\
        esac";
    world.fake("docker", &format!("{DOCKER}\n{busy}"));
    let output = world.svidproof(&RUN).exits(Exit::NotJudged).get_output().clone();
    let told = said(&output);
    assert!(told.contains("is not all gone") && told.contains("network has active endpoints"), "{told}");
    world.fake("docker", DOCKER);
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}

#[test]
fn an_image_build_fails() {
    let world = World::with_images();
    world.fake(
        "go",
        "[ \"$1\" = version ] && exec echo go version fake\n\
         for n in $(seq 20); do echo \"line $n\"; done\nexit 1",
    );
    let output = world.svidproof(&RUN).exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ container engine [time]
    ✗ images [time]
    ✓ teardown [time]
    svidproof: could not build tools: `go build -ldflags '-s -w' -gcflags=all=-dwarf=false -o [world]/cache/svidproof/tmp/tools-[key]/ example.test/tools/helm example.test/tools/kind` ended with exit status 1 after [time]; its last lines:
      line 6
      line 7
      line 8
      line 9
      line 10
      line 11
      line 12
      line 13
      line 14
      line 15
      line 16
      line 17
      line 18
      line 19
      line 20
    hint: the full log is [world]/cache/svidproof/logs/tools.log
    ");
    world.assert_nothing_is_left();
}

#[test]
fn terraform_fails() {
    let world = World::with_images();
    world.fake(
        "terraform",
        &format!("{TERRAFORM}\n[ \"$1\" = apply ] || exit 0\necho 'Error: it is a fake'\nexit 1"),
    );
    let output = world.svidproof(&RUN).exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ container engine [time]
    ✓ images [time]
    ✗ cluster (kind) [time]
    ✓ teardown [time]
    svidproof: terraform apply: `[world]/fakes/terraform apply -auto-approve -input=false -no-color` ended with exit status 1 after [time]; its last lines:
      Error: it is a fake
    ");
    snapshot!(world, but_for_the_bundle(&world.calls_of("terraform")), @r"
    terraform init -input=false -no-color
    terraform apply -auto-approve -input=false -no-color
    terraform destroy -auto-approve -input=false -no-color -refresh=false -lock-timeout=3m
    ");
    world.assert_nothing_is_left();
}

/// What PATH has by that name may be anything.
#[test]
fn the_kind_that_was_built_makes_the_cluster_and_no_other() {
    let world = World::with_images();
    world.real_terraform();
    world.fake("kind", "[ \"$1\" = create ] || exit 0\ncat > /dev/null\nexit 1");
    let on_path = world.root.join("fakes/kind");
    fs::remove_file(&on_path).unwrap();
    world.svidproof(&["up", "--images", "upstream"]).exits(Exit::NotJudged);
    for call in ["kind create cluster --name svidproof-", "kind delete cluster --name svidproof-"] {
        assert!(world.called(call), "{:#?}", world.calls());
    }
    world.assert_nothing_is_left();
}

/// Nobody listens there: nothing is made.
#[test]
fn a_mirror_that_is_not_there() {
    let world = World::with_images();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mirror = format!("127.0.0.1:{port}");
    let args = ["run", "--images", "upstream", "--registry-mirror", &mirror];
    let told = said(world.svidproof(&args).exits(Exit::NotJudged).get_output());
    let expected =
        format!("svidproof: the registry http://{mirror} could not be asked for kindest/node:v1.36.0: ");
    assert!(told.contains(&expected) && told.contains("hint: does it run there"), "{told}");
    assert!(!world.called("terraform") && !world.called("docker run"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// Terraform's own word is long: kind's last lines must be in it.
#[test]
fn kind_fails() {
    let world = World::with_images();
    world.real_terraform();
    world.fake(
        "kind",
        "[ \"$1\" = create ] || exit 0\ncat > /dev/null\n\
         echo 'ERROR: failed to create cluster: it is a fake' >&2\nexit 1",
    );
    let output = world.svidproof(&["up", "--images", "upstream"]).exits(Exit::NotJudged).get_output().clone();
    assert!(said(&output).contains("ERROR: failed to create cluster: it is a fake"), "{}", said(&output));
    assert!(world.called("kind delete cluster --name svidproof-"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

#[test]
fn helm_fails() {
    let world = World::new();
    world.fake(
        "helm",
        "[ \"$1\" = version ] && exec echo v3.17.3\n[ \"$1\" = install ] || exit 0\ncat > /dev/null\n\
         echo 'Error: template: web/templates/web.yaml:3:5: it is a fake' >&2\nexit 1",
    );
    let kubeconfig = world.kubeconfig(stub_api());
    let output = world
        .svidproof(&["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"])
        .exits(Exit::NotJudged)
        .get_output()
        .clone();
    snapshot!(world, said(&output), @r"
    ✓ cluster (existing) [time]
    ✗ web: SPIRE server, bundle and entries [time]
    what the cluster said of it is in .svidproof/up-failed.txt
    ✓ teardown [time]
    svidproof: scenario web: release web (chart [world]/project/helm/web, namespace web): `[world]/fakes/helm install web [world]/project/helm/web --namespace web --labels svidproof.run=[run] --values -` ended with exit status 1 after [time]; its last lines:
      Error: template: web/templates/web.yaml:3:5: it is a fake
    ");
    snapshot!(world, but_for_the_bundle(&world.calls_of("helm")), @r"
    helm template web [world]/project/helm/web --namespace web --values -
    helm install web [world]/project/helm/web --namespace web --labels svidproof.run=[run] --values -
    helm status web --namespace web
    helm get hooks web --namespace web
    helm uninstall web --namespace web --ignore-not-found --cascade=foreground
    ");
    world.assert_nothing_is_left();
}

/// Neither in the cluster nor on the way there is one release another's.
#[test]
fn releases_of_one_name_are_both_installed_with_their_own_values() {
    let world = World::new();
    world.fake("helm", HELM);
    world.edit(
        "{release: web, chart: helm/web, namespace: web}",
        "{release: web, chart: helm/web, namespace: web, values: {mine: web}}\n    \
         - {release: web, chart: helm/web, namespace: shop-web, values: {mine: shop-web}}\n    \
         - {release: web-web, chart: helm/web, namespace: shop, values: {mine: shop}}",
    );
    let kubeconfig = world.kubeconfig(stub_api());
    let args = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    let output = world.svidproof(&args).exits(Exit::NotJudged).get_output().clone();
    // The stub knows no pod of a SPIRE server.
    assert!(said(&output).contains("spire-server"), "{}", said(&output));
    for (namespace, release) in [("web", "web"), ("shop-web", "web"), ("shop", "web-web")] {
        let stands = fs::read_to_string(world.root.join(format!("fakes/{namespace}.{release}"))).unwrap();
        assert!(stands.contains(&format!(r#"{{"mine":"{namespace}"}}"#)), "{stands}");
    }
}

/// The exit status of what was not judged: nobody knows what the checks would have been of.
#[test]
fn what_stands_is_not_what_was_written() {
    let world = World::new();
    // As if the values of before had stayed.
    let leak = r#"[ "$1" = get ] && exec echo 'kind: ConfigMap
metadata: {name: web}
data: {old: 1}'"#;
    world.fake("helm", &format!("{leak}\n{HELM}"));
    let kubeconfig = world.kubeconfig(stub_api());
    let args = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    let output = world.svidproof(&args).exits(Exit::NotJudged).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ cluster (existing) [time]
    ✗ web: SPIRE server, bundle and entries [time]
    what the cluster said of it is in .svidproof/up-failed.txt
    ✓ teardown [time]
    svidproof: scenario web: what stands is not what was written: release web (namespace web): ConfigMap web is otherwise
    hint: `helm get manifest` shows what stands, `helm template` what was written; does the chart read `.Release.Revision`?
    ");
    world.assert_nothing_is_left();
}

/// The disk is full before the run begins, while it makes things, and while what is gone is to be noted.
#[rstest]
#[case::at_the_start("cat /dev/zero > \"$XDG_STATE_HOME/all\" 2> /dev/null", 0, "could not write")]
#[case::on_the_way(":", 0, "could not copy the Terraform root")]
#[case::in_the_journal(":", 3000, "could not copy the Terraform root")]
fn the_disk_is_full(#[case] fill: &str, #[case] padding: usize, #[case] expected: &str) {
    let world = World::with_images();
    world.fake("terraform", TERRAFORM);
    // One page of room, in a mount namespace that goes with the test's child.
    let script = format!(
        "mount -t tmpfs -o size=4k none \"$XDG_STATE_HOME\" || exit 99\n{fill}\n\"$@\"\nstatus=$?\n\
         ls \"$XDG_STATE_HOME/svidproof/runs\"\nexit $status"
    );
    let mut try_it = world.command("unshare");
    if !try_it.args(["-rm", "true"]).output().is_ok_and(|output| output.status.success()) {
        not_tested("a full disk is a small one of its own, and this user may mount none");
        return;
    }
    let mut command = world.command("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]).arg(cargo_bin!("svidproof")).args(RUN);
    // PATH goes into the journal.
    command.env("PATH", format!("{}:/{}", world.path(), "x".repeat(padding)));
    let output = assert_cmd::Command::from_std(command).assert().exits(Exit::NotJudged).get_output().clone();
    let said = said(&output);
    assert!(said.contains(expected) && said.contains("No space left on device"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "runs that are left");
}

/// The support bundle asks all at once, in whatever order.
fn but_for_the_bundle(calls: &str) -> String {
    let asked = [" version", " state list", " history ", " get manifest "];
    let own = calls.lines().filter(|call| !asked.iter().any(|words| call.contains(words)));
    own.collect::<Vec<_>>().join("\n")
}
