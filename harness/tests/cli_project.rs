//! A repository of a user's own, with nothing but the binary: an empty home, no checkout anywhere. The real
//! program runs from a folder of its own; helm is a fake that renders what a real one made of a chart.

#![allow(clippy::unwrap_used, reason = "allow-unwrap-in-tests covers test functions alone")]

mod common;

use std::fs;
use std::path::PathBuf;

use assert_cmd::assert::Assert;
use assert_cmd::cargo::cargo_bin;
use common::{DOCKER, Exit, Exits, World, snapshot};
use rstest::rstest;

/// What `helm template` makes of the chart `echo`.
const RENDERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/draft/echo.yaml");

struct Repository {
    world: World,
    program: PathBuf,
}

impl Repository {
    fn new() -> Self {
        let world = World::new();
        fs::remove_dir_all(world.project()).unwrap();
        let chart = world.project().join("charts/shop");
        fs::create_dir_all(&chart).unwrap();
        fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n").unwrap();
        let program = world.root.join("bin/svidproof");
        fs::create_dir(world.root.join("bin")).unwrap();
        // Not by this process: a test beside this one that forks meanwhile would hold the file open for
        // writing, and nobody could start it ("text file busy").
        assert_cmd::Command::new("cp").arg(cargo_bin!("svidproof")).arg(&program).assert().success();
        world.fake("helm", &format!("cat > /dev/null\ncat '{RENDERED}'"));
        Self { world, program }
    }

    fn svidproof(&self, args: &[&str]) -> Assert {
        let mut command = self.world.command(&self.program);
        command.args(args);
        assert_cmd::Command::from_std(command).assert()
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.world.project().join(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.world.project().join(path)).unwrap()
    }
}

fn said(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn printed(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

#[test]
fn from_init_to_a_drafted_scenario() {
    let repository = Repository::new();
    let assert = repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).exits(Exit::Input);
    assert!(said(&assert).contains("hint: `svidproof init`"), "{}", said(&assert));

    let assert = repository.svidproof(&["init"]).success();
    snapshot!(repository.world, said(&assert), @r"
    wrote ./svidproof.yaml
    hint: `svidproof new NAME --chart PATH` drafts a scenario for a chart; keep .svidproof out of git
    ");
    let assert = repository.svidproof(&["up"]).exits(Exit::Input);
    assert!(said(&assert).contains("no scenario stands in"), "{}", said(&assert));

    repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).success();
    let text = repository.read("tests/scenarios/shop.yaml");
    assert!(text.contains("chart: builtin:spire") && text.contains("chart: charts/shop"), "{text}");
    // From any folder of it.
    let mut command = repository.world.command(&repository.program);
    command.current_dir(repository.world.project().join("charts/shop"));
    command.args(["new", "other", "--chart", "."]);
    assert_cmd::Command::from_std(command).assert().success();
    assert!(repository.read("tests/scenarios/other.yaml").contains("chart: charts/shop"));
    assert_eq!(fs::read_dir(repository.world.root.join("home")).unwrap().count(), 0);
}

#[test]
fn init_overwrites_nothing() {
    let repository = Repository::new();
    repository.write("svidproof.yaml", "scenarios: e2e\n");
    let assert = repository.svidproof(&["init"]).exits(Exit::Input);
    snapshot!(repository.world, said(&assert), @r"
    svidproof: ./svidproof.yaml is there already, and is not overwritten
    hint: `svidproof new NAME --chart PATH` drafts a scenario
    ");
    assert_eq!(repository.read("svidproof.yaml"), "scenarios: e2e\n");
    repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).success();
    assert!(repository.read("e2e/shop.yaml").contains("scenario: shop"));
}

#[rstest]
#[case::an_unknown_key("out: a\nscenarioss: a\n", "svidproof.yaml:2:1: unknown key `scenarioss`")]
#[case::an_unknown_provider("provider: cloud\n", "svidproof.yaml:1:11: unknown value `cloud`")]
fn a_mistake_in_the_project_has_its_place(#[case] text: &str, #[case] expected: &str) {
    let repository = Repository::new();
    repository.write("svidproof.yaml", text);
    let assert = repository.svidproof(&["up"]).exits(Exit::Input);
    assert!(said(&assert).contains(expected), "{}", said(&assert));
}

/// The project's `helm/` is nearer, and does not count: the repository says where it begins.
#[test]
fn paths_are_relative_to_where_the_file_stands() {
    let repository = Repository::new();
    repository.write("svidproof.yaml", "scenarios: deploy/e2e\n");
    fs::create_dir_all(repository.world.project().join("deploy/helm")).unwrap();
    repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).success();
    let assert = repository
        .svidproof(&["up", "--provider", "existing", "--context", "none", "--kubeconfig", "none"])
        .exits(Exit::Input);
    assert!(said(&assert).contains("kubeconfig"), "{}", said(&assert));
}

#[test]
fn a_chart_of_ours_is_written_out() {
    let repository = Repository::new();
    let listed = printed(&repository.svidproof(&["chart", "list"]).success());
    assert!(listed.contains("builtin:spire ") && listed.contains("builtin:envoy "), "{listed}");
    repository.svidproof(&["chart", "export", "builtin:echo", "charts/echo"]).success();
    assert!(repository.read("charts/echo/charts/envoy/Chart.yaml").contains("name: envoy"));
    let assert = repository.svidproof(&["chart", "export", "spire", "charts/echo"]).exits(Exit::Input);
    assert!(said(&assert).contains("is there already"), "{}", said(&assert));
    let assert = repository.svidproof(&["chart", "export", "spyre", "x"]).exits(Exit::Input);
    assert!(said(&assert).contains("hint: there are echo, envoy,"), "{}", said(&assert));
}

#[test]
fn a_chart_that_is_none_of_ours_is_told() {
    let repository = Repository::new();
    repository.svidproof(&["init"]).success();
    repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).success();
    let text = repository.read("tests/scenarios/shop.yaml").replace("builtin:spire", "builtin:spyre");
    repository.write("tests/scenarios/shop.yaml", &text);
    let told = said(&repository.svidproof(&["up"]).exits(Exit::Input));
    assert!(told.contains("`spyre` is none of svidproof's own charts: did you mean `spire`?"), "{told}");
}

#[rstest]
#[case("scenario", "trust-domain")]
#[case("project", "snapshots")]
#[case("report", "totals")]
fn a_schema_is_printed(#[case] of: &str, #[case] key: &str) {
    let printed = printed(&Repository::new().svidproof(&["schema", of]).success());
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(schema["properties"][key].is_object(), "{printed}");
}

/// What images are made of is carried too.
#[test]
fn images_are_listed_without_a_checkout() {
    let repository = Repository::new();
    for compiler in ["go", "cargo"] {
        repository.world.fake(compiler, "echo version fake");
    }
    repository.svidproof(&["images", "list"]).success();
    // Nor without compilers, once it is known which ones filled the cache.
    for compiler in ["go", "cargo"] {
        repository.world.fake(compiler, "exit 97");
    }
    repository.svidproof(&["images", "list"]).success();
}

const DEPLOYMENT: &str =
    "kind: Deployment\nspec: {template: {spec: {containers: [{name: app, image: IMAGE}]}}}\n";

impl Repository {
    /// With a drafted scenario, whose every release renders to one container of this image.
    fn with_image(image: &str) -> Self {
        let repository = Self::new();
        repository.svidproof(&["init"]).success();
        repository.svidproof(&["new", "shop", "--chart", "charts/shop"]).success();
        let text = DEPLOYMENT.replace("IMAGE", image);
        repository.world.fake("helm", &format!("cat > /dev/null\ncat <<'END'\n{text}END"));
        repository
    }
}

#[test]
fn an_image_that_no_node_will_have_ends_it_before_anything_is_made() {
    let repository = Repository::with_image("shop:dev");
    let told = said(&repository.svidproof(&["up", "--images", "packages"]).exits(Exit::Input));
    let path = repository.world.project().join("tests/scenarios/shop.yaml");
    let line = format!("{}: release default/shop, container app: image shop:dev\n", path.display());
    assert!(told.contains(&line), "{told}");
    assert!(
        told.contains("hint: `images: [NAME]`") && told.contains("docker.io/library/nginx:1.22"),
        "{told}"
    );
    assert!(!repository.world.called("docker") && !repository.world.called("terraform"));
    repository.world.assert_nothing_is_left();
}

#[test]
fn an_image_that_is_always_pulled_is_told_though_it_is_there() {
    let repository = Repository::with_image("'nginx:1.22', imagePullPolicy: Always");
    let told = said(&repository.svidproof(&["up", "--images", "packages"]).exits(Exit::Input));
    assert!(told.contains("image nginx:1.22 has `imagePullPolicy: Always`"), "{told}");
    assert!(told.contains("`imagePullPolicy: IfNotPresent` lets the node"), "{told}");
}

#[rstest]
#[case::loaded(&["up", "--images", "packages", "--load", "shop:dev"])]
#[case::pulled(&["up", "--images", "upstream"])]
fn with_the_image_it_goes_on(#[case] args: &[&str]) {
    let repository = Repository::with_image("shop:dev");
    let told = said(&repository.svidproof(args).exits(Exit::NotJudged));
    assert!(told.contains("container engine") && !told.contains("container app"), "{told}");
}

/// By the engine, of the registries that it may ask, and before there is a cluster.
#[test]
fn an_image_of_a_registry_that_is_named_is_pulled() {
    let repository = Repository::with_image("registry.test:5000/shop:1");
    let told = said(&repository.svidproof(&["up", "--images", "packages"]).exits(Exit::Input));
    assert!(told.contains("`registries: [HOST]` in svidproof.yaml lets the engine pull it"), "{told}");
    repository.write("svidproof.yaml", "registries: ['registry.test:5000']\n");
    let fails = "[ \"$1\" != pull ] || { echo 'manifest unknown' >&2; exit 1; }";
    repository.world.fake("docker", &format!("{DOCKER}\n{fails}"));
    let told = said(&repository.svidproof(&["up", "--images", "packages"]).exits(Exit::NotJudged));
    assert!(told.contains("the container engine could not pull registry.test:5000/shop:1"), "{told}");
    assert!(told.contains("manifest unknown") && told.contains("hint: "), "{told}");
    assert!(repository.world.called("docker pull registry.test:5000/shop:1"));
    assert!(!repository.world.called("terraform"));
    repository.world.assert_nothing_is_left();
}

/// No archive has a digest for a name; and what is always asked for, the node would ask for.
#[rstest]
#[case("'registry.test/shop@sha256:0123'")]
#[case("'registry.test/shop:1', imagePullPolicy: Always")]
fn what_no_node_would_have_by_its_name_is_not_pulled(#[case] image: &str) {
    let repository = Repository::with_image(image);
    repository.write("svidproof.yaml", "registries: [registry.test]\n");
    let told = said(&repository.svidproof(&["up", "--images", "packages"]).exits(Exit::Input));
    assert!(told.contains("container app: image registry.test/shop"), "{told}");
}

/// By the engine, before there is a cluster.
#[test]
fn what_has_a_dockerfile_is_built_first() {
    let repository = Repository::with_image("shop:dev");
    repository.write("charts/shop/Dockerfile", "FROM nowhere\n");
    let fails = "[ \"$1\" != build ] || { echo 'pull access denied for nowhere' >&2; exit 1; }";
    repository.world.fake("docker", &format!("{DOCKER}\n{fails}"));
    let args = ["up", "--images", "upstream", "--load", "Dockerfile:charts/shop"];
    let told = said(&repository.svidproof(&args).exits(Exit::NotJudged));
    assert!(told.contains("no image could be built of ./charts/shop/Dockerfile"), "{told}");
    assert!(told.contains("pull access denied for nowhere") && told.contains("hint: "), "{told}");
    let built = "docker build --tag shop:dev --file ./charts/shop/Dockerfile ./charts/shop";
    assert!(repository.world.called(built), "{:?}", repository.world.calls());
    assert!(!repository.world.called("terraform"));
    repository.world.assert_nothing_is_left();
}

#[rstest]
#[case::an_archive_that_is_not_there("./shop.tar", "the image archive `./shop.tar` is not there")]
#[case::a_dockerfile_that_is_not_there(
    "Dockerfile:./app",
    "the Dockerfile of `Dockerfile:./app` is not there"
)]
#[case::nothing("''", "`` is no image")]
fn a_mistake_in_images_has_its_place(#[case] image: &str, #[case] expected: &str) {
    let repository = Repository::with_image("shop:dev");
    let text = repository.read("tests/scenarios/shop.yaml") + &format!("\nimages:\n  - {image}\n");
    repository.write("tests/scenarios/shop.yaml", &text);
    let told = said(&repository.svidproof(&["up"]).exits(Exit::Input));
    let line = text.lines().count();
    assert!(told.contains(&format!("shop.yaml:{line}:5: {expected}")), "{told}");
}
