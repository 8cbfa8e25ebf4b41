//! One release: where its chart comes from, what it is given, and how it is installed. Fetching, making and
//! installing are others' work.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{OneOrMany, merged, schema};
use crate::data::BUILTIN;

/// One Helm release.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// Unique in its namespace.
    #[serde(rename = "release")]
    pub name: String,
    /// A folder or a `.tgz` file, relative to the root; `builtin:NAME` for one of svidproof's own;
    /// `oci://…`, or a name in `repo`, both with `version`.
    #[serde(default)]
    pub chart: PathBuf,
    /// In the place of a chart: the folder of a kustomization, relative to the root.
    #[serde(default)]
    pub kustomize: Option<String>,
    /// In the place of a chart: files with manifests, and folders of such files, relative to the root.
    #[serde(default)]
    pub manifests: Option<OneOrMany>,
    /// The address of the repository that has the chart.
    #[serde(default)]
    pub repo: Option<String>,
    /// Which version of the chart is fetched.
    #[serde(default)]
    pub version: Option<String>,
    /// Where it goes.
    pub namespace: String,
    /// Values files, relative to the scenario's own folder; a later one stands over those before it.
    #[serde(default)]
    pub values_files: Vec<PathBuf>,
    /// The release's values, over those of the files; null for none.
    #[serde(default)]
    pub values: Value,
    /// Single values over all of these, by their path: `{image.tag: v1}`. `\.` is a dot of a key.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// How long its install, and the roll-out after it, may take: `5m`.
    #[serde(default)]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<SignedDuration>,
    /// Further flags, `--NAME` or `--NAME=VALUE`, with which Helm renders and installs it.
    #[serde(default)]
    pub args: Vec<String>,
    /// `false` where the chart has fields that the API server does not know: Helm 4 then applies it as Helm 3
    /// does. Helm's own choice where it is not said.
    #[serde(default)]
    pub server_side: Option<bool>,
    /// Every Envoy of the release is started with an admin interface at this port of its pod's loopback, over
    /// what its configuration says: for an Envoy whose configuration opens none. Nothing else becomes
    /// otherwise.
    #[serde(default)]
    pub inject_admin: Option<NonZeroU16>,
    /// Its pods go and come again at the beginning of every stage.
    #[serde(default)]
    pub restart: bool,
    /// `helm test` of it is a check of every stage.
    #[serde(default)]
    pub helm_tests: bool,
}

/// Where a chart comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// It is one of svidproof's own, of this name.
    Builtin(&'a str),
    /// It lies in the project: a folder or a `.tgz` file, relative to the root.
    Local(&'a Path),
    /// Helm fetches it.
    Fetched(Fetched<'a>),
    /// There is none: one is made around manifests.
    Plain,
}

/// Manifests that are no chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    /// What a kustomization renders to.
    Kustomize(String),
    /// What stands in files, and in the files of folders.
    Manifests(Vec<String>),
}

impl Plain {
    /// What tells it from all others of its release.
    pub fn name(&self) -> String {
        match self {
            Self::Kustomize(folder) => folder.clone(),
            Self::Manifests(paths) => paths.join("\n"),
        }
    }

    /// The value by which the chart around it makes this.
    pub fn value(&self) -> Value {
        match self {
            Self::Kustomize(folder) => json!({"kustomize": folder}),
            Self::Manifests(paths) => json!({"manifests": paths}),
        }
    }

    /// The files and folders that it is made of.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Kustomize(folder) => vec![folder],
            Self::Manifests(paths) => paths.iter().map(String::as_str).collect(),
        }
    }
}

/// A chart that Helm fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched<'a> {
    /// `oci://…`, or its name in the repository.
    pub chart: &'a str,
    /// The repository's address; none for `oci://`.
    pub repo: Option<&'a str>,
    /// Never empty in a scenario that is valid.
    pub version: &'a str,
}

impl Release {
    /// `namespace/name`: what tells it from all others of a cluster.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Where its chart comes from.
    pub fn origin(&self) -> Origin<'_> {
        if self.plain().is_some() {
            return Origin::Plain;
        }
        let chart = self.chart.to_str().unwrap_or_default();
        if let Some(name) = chart.strip_prefix(BUILTIN) {
            return Origin::Builtin(name);
        }
        if chart.starts_with("oci://") || self.repo.is_some() {
            let version = self.version.as_deref().unwrap_or_default();
            return Origin::Fetched(Fetched { chart, repo: self.repo.as_deref(), version });
        }
        Origin::Local(&self.chart)
    }

    /// The manifests that it makes where it has no chart.
    pub fn plain(&self) -> Option<Plain> {
        let manifests = || self.manifests.as_ref().map(|all| all.iter().map(Into::into).collect());
        self.kustomize.clone().map(Plain::Kustomize).or_else(|| manifests().map(Plain::Manifests))
    }

    /// What a stage's values make of it where it has no chart: other manifests of its kind.
    ///
    /// # Errors
    /// In words, what they would have to be.
    pub fn plain_in(&self, values: &Value) -> Result<Plain, String> {
        let is = |key: &str| values.as_object().is_some_and(|map| map.len() == 1 && map.contains_key(key));
        let read = match self.plain() {
            Some(Plain::Kustomize(_)) if is("kustomize") => {
                values["kustomize"].as_str().map(|folder| Plain::Kustomize(folder.into()))
            }
            Some(Plain::Manifests(_)) if is("manifests") => {
                serde_json::from_value(values["manifests"].clone()).ok().map(Plain::Manifests)
            }
            _ => None,
        };
        let key = if self.kustomize.is_some() { "kustomize: FOLDER" } else { "manifests: [PATH]" };
        read.ok_or_else(|| {
            format!("release `{}` has no chart that takes values: give `{key}`, or none", self.name)
        })
    }

    /// Whether values under this key are meant for it.
    pub fn is_called(&self, key: &str) -> bool {
        match key.split_once('/') {
            Some((namespace, name)) => self.namespace == namespace && self.name == name,
            None => self.name == key,
        }
    }

    /// Its values with what is `set` over them. Those of its files are Helm's to read: its YAML is 1.1.
    pub fn own_values(&self) -> Value {
        let set = self.set.iter().map(|(path, value)| nested(path, value));
        set.fold(self.values.clone(), |values, set| merged(&values, &set))
    }

    /// How long its install may take; absent where Helm's own limits do.
    pub fn limit(&self) -> Option<Duration> {
        self.timeout.and_then(|timeout| Duration::try_from(timeout).ok())
    }
}

/// `value` under each key of the path: `a.b` is `{a: {b: …}}`.
fn nested(path: &str, value: &Value) -> Value {
    let keys = keys(path).into_iter().rev();
    keys.fold(value.clone(), |value, key| Value::Object([(key, value)].into_iter().collect()))
}

/// The keys of a path: `a.b\.c` is `a` and then `b.c`.
pub(super) fn keys(path: &str) -> Vec<String> {
    let (mut keys, mut letters) = (vec![String::new()], path.chars());
    while let Some(letter) = letters.next() {
        let Some(key) = keys.last_mut() else { break };
        match letter {
            '\\' => key.extend(letters.next()),
            '.' => keys.push(String::new()),
            letter => key.push(letter),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn release(text: &str) -> Release {
        let text = format!("{{release: web, namespace: a, {text}}}");
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[rstest]
    #[case::a_folder("chart: charts/web", Origin::Local(Path::new("charts/web")))]
    #[case::a_file("chart: web-1.0.0.tgz", Origin::Local(Path::new("web-1.0.0.tgz")))]
    #[case::our_own("chart: 'builtin:spire'", Origin::Builtin("spire"))]
    #[case::of_a_registry(
        "chart: 'oci://registry.test/charts/web', version: 1.0.0",
        Origin::Fetched(Fetched { chart: "oci://registry.test/charts/web", repo: None, version: "1.0.0" })
    )]
    #[case::of_a_repository(
        "chart: web, repo: 'https://charts.test', version: 1.2",
        Origin::Fetched(Fetched { chart: "web", repo: Some("https://charts.test"), version: "1.2" })
    )]
    #[case::a_kustomization("kustomize: overlays/ci", Origin::Plain)]
    #[case::plain_manifests("manifests: [a.yaml, more]", Origin::Plain)]
    fn a_chart_comes_from_where_it_says(#[case] text: &str, #[case] expected: Origin<'_>) {
        assert_eq!(release(text).origin(), expected);
    }

    #[rstest]
    #[case::another_folder("kustomize: a", json!({"kustomize": "b"}), Some("b"))]
    #[case::other_files("manifests: a", json!({"manifests": ["b", "c"]}), Some("b\nc"))]
    #[case::of_the_other_kind("manifests: a", json!({"kustomize": "b"}), None)]
    #[case::a_charts("kustomize: a", json!({"kustomize": "b", "image": "c"}), None)]
    #[case::no_folder("kustomize: a", json!({"kustomize": 1}), None)]
    #[case::nothing("kustomize: a", json!(null), None)]
    fn a_stage_says_which_manifests(
        #[case] text: &str,
        #[case] values: Value,
        #[case] expected: Option<&str>,
    ) {
        let plain = release(text).plain_in(&values);
        assert_eq!(plain.ok().map(|plain| plain.name()).as_deref(), expected);
    }

    #[rstest]
    #[case::nothing("values: {a: 1}", json!({"a": 1}))]
    #[case::beside("values: {a: {b: 1}}, set: {a.c: x}", json!({"a": {"b": 1, "c": "x"}}))]
    #[case::over("values: {a: {b: 1}}, set: {a.b: [2]}", json!({"a": {"b": [2]}}))]
    #[case::without_values("set: {a.b: true}", json!({"a": {"b": true}}))]
    #[case::a_dot_of_a_key(
        r"set: {'nodes.kubernetes\.io/os': linux}",
        json!({"nodes": {"kubernetes.io/os": "linux"}})
    )]
    #[case::taken_away("values: {a: {b: 1}}, set: {a.b: null}", json!({"a": {"b": null}}))]
    fn what_is_set_stands_over_the_values(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(release(&format!("chart: c, {text}")).own_values(), expected);
    }

    #[rstest]
    #[case("5m", Some(300))]
    #[case("1h30m", Some(5400))]
    #[case("90s", Some(90))]
    fn a_time_is_read_as_helm_reads_it(#[case] text: &str, #[case] expected: Option<u64>) {
        let limit = release(&format!("chart: c, timeout: {text}")).limit();
        assert_eq!(limit.map(|limit| limit.as_secs()), expected);
    }
}
