//! What a release must say for Helm to be able to install it, and where its chart must be. Nothing is asked
//! but the file system.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Found;
use crate::data;
use crate::scenario::mistake::instead;
use crate::scenario::place::{Node, Place};
use crate::scenario::release::keys;
use crate::scenario::{Fetched, Origin, Plain, Release, Scenario};

pub(super) fn releases(scenario: &Scenario, places: &Node, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (wave, releases) in scenario.install.iter().enumerate() {
        for (number, release) in releases.iter().enumerate() {
            let place = places.nth(wave).nth(number);
            found.check(
                seen.insert((&release.namespace, &release.name)),
                place.at("release").place(),
                || {
                    format!(
                        "release `{}` is already in namespace `{}`: give this one another name",
                        release.name, release.namespace
                    )
                },
            );
            chart(scenario, release, place, found);
            given(scenario, release, place, found);
        }
    }
}

fn chart(scenario: &Scenario, release: &Release, place: &Node, found: &mut Found) {
    let at = place.at("chart").place();
    let ways = ["chart", "kustomize", "manifests"];
    if ways.iter().filter(|key| place.has(key)).count() != 1 {
        let name = &release.name;
        return found.add(
            place.at("release").place(),
            format!("release `{name}` is made of one of `chart`, `kustomize` and `manifests`"),
        );
    }
    match release.origin() {
        Origin::Plain => return plain(scenario, release, place, found),
        Origin::Fetched(fetched) => return self::fetched(fetched, place, found),
        Origin::Builtin(name) if !data::charts().contains_key(name) => {
            let instead = instead(name, data::charts().keys().map(String::as_str));
            return found.add(at, format!("`{name}` is none of svidproof's own charts{instead}"));
        }
        Origin::Builtin(_) | Origin::Local(_) => lies(scenario, release, at, found),
    }
    found.check(release.version.is_none(), place.at("version").place(), || {
        "`version` is for a chart that is fetched: one in the project has its version in its Chart.yaml"
            .into()
    });
}

/// A release without a chart: what it is made of is there, and nothing is given to a chart.
fn plain(scenario: &Scenario, release: &Release, place: &Node, found: &mut Found) {
    for key in ["repo", "version", "values-files", "values", "set"] {
        found.check(!place.has(key), place.key(key), || {
            format!("`{key}` is for a chart, and release `{}` has none", release.name)
        });
    }
    if let Some(plain) = release.plain() {
        let at = place.at(if release.kustomize.is_some() { "kustomize" } else { "manifests" });
        for (number, path) in plain.paths().into_iter().enumerate() {
            lies_there(scenario, &plain, path, at.nth(number).place(), found);
        }
        found.check(!plain.paths().is_empty(), at.place(), || "there is no manifest to install".into());
    }
}

/// What a stage or a fault makes of a release without a chart.
pub(super) fn plain_in(
    scenario: &Scenario,
    release: &Release,
    values: &Value,
    place: Place,
    found: &mut Found,
) {
    match release.plain_in(values) {
        Err(why) => found.add(place, why),
        Ok(plain) => {
            for path in plain.paths() {
                lies_there(scenario, &plain, path, place, found);
            }
        }
    }
}

pub(super) fn lies_there(scenario: &Scenario, plain: &Plain, named: &str, place: Place, found: &mut Found) {
    let (path, root) = (scenario.root.join(named), scenario.root.display());
    let files = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
    match plain {
        Plain::Kustomize(_) => found.check(files.iter().any(|file| path.join(file).is_file()), place, || {
            format!("`{named}` has no kustomization.yaml, seen from {root}")
        }),
        Plain::Manifests(_) => {
            found.check(path.exists(), place, || format!("`{named}` is not there, seen from {root}"));
        }
    }
}

/// What is fetched must be the same tomorrow.
fn fetched(fetched: Fetched<'_>, place: &Node, found: &mut Found) {
    let Fetched { chart, repo, version } = fetched;
    let is_exact =
        !version.is_empty() && version.chars().all(|one| one.is_ascii_alphanumeric() || "-+.".contains(one));
    let at = if place.has("version") { place.at("version").place() } else { place.at("chart").place() };
    found.check(is_exact, at, || {
        format!(
            "chart `{chart}` is fetched, and what is tested must be the same tomorrow: give its exact \
             `version`, such as `1.2.3`"
        )
    });
    let Some(repo) = repo else { return };
    found.check(!chart.contains("://"), place.at("repo").place(), || {
        format!("chart `{chart}` has its whole address: `repo` is for a chart that is named by its name")
    });
    let known = ["http://", "https://"].iter().any(|scheme| repo.starts_with(scheme));
    found.check(known, place.at("repo").place(), || {
        format!("`{repo}` is no repository's address: write `https://…`, or `chart: oci://…` for a registry")
    });
}

/// The chart is a folder or a packed file.
fn lies(scenario: &Scenario, release: &Release, place: Place, found: &mut Found) {
    let folder = scenario.chart(release);
    let is_packed = folder.extension().is_some_and(|ending| ending == "tgz");
    if folder.join("Chart.yaml").is_file() || is_packed && folder.is_file() {
        return;
    }
    let siblings = folder.parent().and_then(|parent| parent.read_dir().ok()).into_iter().flatten().flatten();
    let charts = siblings.map(|entry| entry.path()).filter(|path| path.join("Chart.yaml").is_file());
    let mut charts: Vec<String> =
        charts.map(|path| path.strip_prefix(&scenario.root).unwrap_or(&path).display().to_string()).collect();
    charts.sort();
    let wrong = release.chart.display().to_string();
    let what = match (folder.is_dir(), folder.is_file()) {
        (true, _) => "has no Chart.yaml",
        (_, true) => "is a file, and no `.tgz`",
        _ => "is not there",
    };
    let root = scenario.root.display();
    found.add(
        place,
        format!(
            "chart `{wrong}` {what}, seen from {root}{}",
            instead(&wrong, charts.iter().map(String::as_str))
        ),
    );
}

/// What the chart is given, and how it is installed.
fn given(scenario: &Scenario, release: &Release, place: &Node, found: &mut Found) {
    let files = release.values_files.iter().zip(scenario.values_files(release));
    for (number, (named, path)) in files.enumerate() {
        found.check(path.is_file(), place.at("values-files").nth(number).place(), || {
            let named = named.display();
            format!("the values file `{named}` is not there, seen from the scenario's own folder")
        });
    }
    let is_map = release.values.is_null() || release.values.is_object();
    found.check(is_map, place.at("values").place(), || "`values` are a map, key by key".into());
    set(release, place.at("set"), found);
    let timeout = place.at("timeout").place();
    found.check(release.timeout.is_none_or(|timeout| timeout.is_positive()), timeout, || {
        "nothing is done in no time: give `timeout` as `5m` or `90s`".into()
    });
    for (number, arg) in release.args.iter().enumerate() {
        let place = place.at("args").nth(number).place();
        let name = arg.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or_default());
        match name.filter(|name| !name.is_empty()) {
            None => found.add(place, format!("`{arg}` is no long flag: write `--NAME` or `--NAME=VALUE`")),
            Some(name) => found.check(!is_ours(name), place, || {
                format!(
                    "`--{name}` is svidproof's to give: which chart is installed where, under what name, \
                     with what values, and what is waited for, is said by the keys of the release"
                )
            }),
        }
    }
}

fn set(release: &Release, places: &Node, found: &mut Found) {
    let all: Vec<_> = release.set.keys().map(|path| (path, keys(path))).collect();
    for (path, own) in &all {
        let place = places.key(path);
        found.check(own.iter().all(|key| !key.is_empty()), place, || {
            format!("`{path}` has a part without a name: write `key.key`")
        });
        found.check(!path.contains('['), place, || {
            format!("`{path}` names an item of a list: a list is given whole, here or under `values`")
        });
        let within = all.iter().find(|(_, other)| other.len() < own.len() && own.starts_with(other));
        if let Some((other, _)) = within {
            found.add(place, format!("`{path}` is within `{other}`, which is set as well: set one of them"));
        }
    }
}

/// Flags that say what a release's own keys say, or that would keep what is rendered, installed and stored
/// from being the same. Those of the connection to the cluster begin with `kube`.
const OURS: [&str; 35] = [
    "api-versions",
    "atomic",
    "create-namespace",
    "dependency-update",
    "dry-run",
    "generate-name",
    "help",
    "include-crds",
    "install",
    "is-upgrade",
    "labels",
    "name-template",
    "namespace",
    "output",
    "output-dir",
    "post-renderer",
    "post-renderer-args",
    "release-name",
    "replace",
    "repo",
    "reset-then-reuse-values",
    "reset-values",
    "reuse-values",
    "rollback-on-failure",
    "server-side",
    "set",
    "set-file",
    "set-json",
    "set-literal",
    "set-string",
    "show-only",
    "skip-tests",
    "timeout",
    "values",
    "version",
];

fn is_ours(flag: &str) -> bool {
    flag.starts_with("kube") || flag.starts_with("wait") || OURS.contains(&flag)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEAD: &str = "\
scenario: web
trust-domain: example.org
spire: {namespace: spire, server: s, socket-dir: /run}
registration: []
endpoints: {}
clients: {}
stages: []
install:
  - - release: web
      namespace: a
";

    /// What is said of a release, in a project with the charts `charts/web` and `web-1.0.0.tgz`, and with the
    /// scenario in `tests/`.
    fn said(release: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "charts/web/Chart.yaml",
            "web-1.0.0.tgz",
            "notes.txt",
            "tests/ci.yaml",
            "over/kustomization.yaml",
        ] {
            let path = dir.path().join(file);
            crate::sys::files::make_folder(path.parent().unwrap()).unwrap();
            crate::sys::files::write(&path, "").unwrap();
        }
        let text = format!("{HEAD}{release}");
        let mut scenario: Scenario = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        let places: Node = serde_saphyr::from_str(&text).unwrap();
        (scenario.file, scenario.root) = (dir.path().join("tests/web.yaml"), dir.path().into());
        let mut found = Found::default();
        releases(&scenario, places.at("install"), &mut found);
        let told: Vec<_> =
            found.0.iter().map(|(at, what)| format!("{}:{}: {what}", at.line - 8, at.column)).collect();
        told.join("\n").replace(&dir.path().display().to_string(), "[root]")
    }

    #[rstest]
    #[case::a_folder("      chart: charts/web")]
    #[case::a_file("      chart: ./web-1.0.0.tgz")]
    #[case::of_a_registry("      chart: oci://registry.test/web\n      version: 1.0.0+build.7")]
    #[case::of_a_repository("      chart: web\n      repo: https://charts.test\n      version: 1.0.0-rc.1")]
    #[case::a_kustomization("      kustomize: over")]
    #[case::plain_manifests("      manifests: [notes.txt, charts]")]
    #[case::with_everything(
        "      chart: charts/web
      values-files: [ci.yaml]
      values: {a: 1}
      set: {b.c: 1, b.d: 2}
      timeout: 90s
      args: [--skip-crds, --description=ours]
      server-side: false"
    )]
    fn what_can_be_installed_is_right(#[case] release: &str) {
        assert_eq!(said(release), "");
    }

    #[rstest]
    #[case::a_file_that_is_no_chart(
        "chart: notes.txt",
        "3:14: chart `notes.txt` is a file, and no `.tgz`, seen from [root]: there is none"
    )]
    #[case::a_file_that_is_not_there(
        "chart: web-2.0.0.tgz",
        "3:14: chart `web-2.0.0.tgz` is not there, seen from [root]: there is none"
    )]
    #[case::nothing(
        "timeout: 5m",
        "1:16: release `web` is made of one of `chart`, `kustomize` and `manifests`"
    )]
    #[case::two_things(
        "chart: charts/web|kustomize: over",
        "1:16: release `web` is made of one of `chart`, `kustomize` and `manifests`"
    )]
    #[case::no_kustomization(
        "kustomize: charts",
        "3:18: `charts` has no kustomization.yaml, seen from [root]"
    )]
    #[case::no_manifest("manifests: [notes.txt, none]", "3:30: `none` is not there, seen from [root]")]
    #[case::values_without_a_chart(
        "kustomize: over|values: {a: 1}",
        "4:7: `values` is for a chart, and release `web` has none"
    )]
    #[case::no_version(
        "chart: oci://registry.test/web",
        "3:14: chart `oci://registry.test/web` is fetched, and what is tested must be the same tomorrow: give \
         its exact `version`, such as `1.2.3`"
    )]
    #[case::a_range(
        "chart: web|repo: https://charts.test|version: ^1.2",
        "5:16: chart `web` is fetched, and what is tested must be the same tomorrow: give its exact `version`, \
         such as `1.2.3`"
    )]
    #[case::a_version_of_ones_own_chart(
        "chart: charts/web|version: 1.0.0",
        "4:16: `version` is for a chart that is fetched: one in the project has its version in its Chart.yaml"
    )]
    #[case::two_addresses(
        "chart: oci://registry.test/web|repo: https://charts.test|version: 1.0.0",
        "4:13: chart `oci://registry.test/web` has its whole address: `repo` is for a chart that is named by \
         its name"
    )]
    #[case::no_address(
        "chart: web|repo: bitnami|version: 1.0.0",
        "4:13: `bitnami` is no repository's address: write `https://…`, or `chart: oci://…` for a registry"
    )]
    #[case::a_values_file_that_is_not_there(
        "chart: charts/web|values-files: [ci.yaml, more.yaml]",
        "4:31: the values file `more.yaml` is not there, seen from the scenario's own folder"
    )]
    #[case::values_that_are_a_list("chart: charts/web|values: [a]", "4:15: `values` are a map, key by key")]
    #[case::no_time(
        "chart: charts/web|timeout: 0s",
        "4:16: nothing is done in no time: give `timeout` as `5m` or `90s`"
    )]
    #[case::an_item_of_a_list(
        "chart: charts/web|set: {'a[0]': 1}",
        "4:13: `a[0]` names an item of a list: a list is given whole, here or under `values`"
    )]
    #[case::a_part_without_a_name(
        "chart: charts/web|set: {a..b: 1}",
        "4:13: `a..b` has a part without a name: write `key.key`"
    )]
    #[case::one_within_another(
        "chart: charts/web|set: {a: 1, a.b: 2}",
        "4:19: `a.b` is within `a`, which is set as well: set one of them"
    )]
    #[case::a_short_flag(
        "chart: charts/web|args: [-n]",
        "4:14: `-n` is no long flag: write `--NAME` or `--NAME=VALUE`"
    )]
    #[case::a_flag_and_its_value_apart(
        "chart: charts/web|args: [--description, mine]",
        "4:29: `mine` is no long flag: write `--NAME` or `--NAME=VALUE`"
    )]
    fn what_cannot_be_installed_is_told(#[case] release: &str, #[case] expected: &str) {
        assert_eq!(said(&format!("      {release}").replace('|', "\n      ")), expected);
    }

    #[rstest]
    fn a_flag_of_svidproofs_own_is_told(
        #[values(
            "namespace",
            "values=x",
            "labels=a=b",
            "wait",
            "wait-for-jobs",
            "kubeconfig=x",
            "kube-context=x",
            "post-renderer=x",
            "timeout=1s",
            "set=a=b",
            "version=1",
            "server-side=false"
        )]
        flag: &str,
    ) {
        let name = flag.split('=').next().unwrap();
        let told = said(&format!("      chart: charts/web\n      args: [--skip-crds, '--{flag}']"));
        assert!(told.starts_with(&format!("4:27: `--{name}` is svidproof's to give: which chart")), "{told}");
    }
}
