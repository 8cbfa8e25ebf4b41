//! Helm, driven as its user would: `upgrade --install` and `uninstall`. What a release's manifest holds is
//! read back from Helm itself.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::sys::files::{self, FileError};
use crate::sys::tool::{Tool, ToolError};

/// What Helm could not do with which release.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum HelmError {
    #[error("release {release} (chart {}, namespace {namespace})", chart.display())]
    Upgrade { release: String, chart: PathBuf, namespace: String, source: ToolError },
    #[error("release {release} (chart {}, namespace {namespace}) could not be rendered", chart.display())]
    Render { release: String, chart: PathBuf, namespace: String, source: ToolError },
    #[error("release {release} (namespace {namespace}) could not be uninstalled")]
    Uninstall { release: String, namespace: String, source: ToolError },
    #[error("the values of release {release} could not be kept")]
    Values { release: String, source: FileError },
    #[error("helm's answer about release {release} is not understood: {problem}")]
    Answer { release: String, problem: String },
}

/// Helm against one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    context: Option<String>,
    /// Values files go here, one a release, so that a person can see what was installed.
    values: PathBuf,
}

/// A workload of a release, to be waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// What its controller is.
    pub kind: WorkloadKind,
    /// Where it is.
    pub namespace: String,
    /// Its object's name.
    pub name: String,
}

/// The controllers that roll pods out (Kubernetes documentation, "Workload Management").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum WorkloadKind {
    /// Pods that are alike, replaced a few at a time.
    Deployment,
    /// Pods with names of their own, replaced one at a time.
    StatefulSet,
    /// One pod a node.
    DaemonSet,
}

impl Helm {
    /// `program` is the Helm to run, `context` the kubeconfig's own where absent, `values` a folder to keep
    /// values in.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, context: Option<String>, values: PathBuf) -> Self {
        Self { program, kubeconfig, context, values }
    }

    /// Installs or upgrades without waiting; returns the workloads of the release's manifest.
    pub async fn upgrade(
        &self,
        release: &str,
        chart: &Path,
        namespace: &str,
        values: &Value,
    ) -> Result<Vec<Workload>, HelmError> {
        let path = self.values.join(format!("{namespace}-{release}.json"));
        let text = given(values);
        let written = files::make_folder(&self.values).and_then(|()| files::write(&path, text));
        written.map_err(|source| HelmError::Values { release: release.into(), source })?;
        let tool = self.tool().args(["upgrade", "--install", release]).arg(chart).args([
            "--namespace",
            namespace,
            "--create-namespace",
        ]);
        // Conflicts arise where a person or a controller changed what the chart sets; the chart is what is
        // under test.
        // Without `--reset-values`, a release that is given none keeps those of the stage before.
        let tool = tool.args(["--reset-values", "--values"]).arg(&path).args(["--output", "json"]);
        let failed = |source| HelmError::Upgrade {
            release: release.into(),
            chart: chart.into(),
            namespace: namespace.into(),
            source,
        };
        let output = tool.run().await.map_err(failed)?;
        let answer: Answer = serde_json::from_str(&output.stdout).map_err(|e| HelmError::Answer {
            release: release.into(),
            problem: format!("{e} in {:.200}", output.stdout),
        })?;
        workloads(&answer.manifest, namespace)
            .map_err(|problem| HelmError::Answer { release: release.into(), problem })
    }

    /// The manifests that `upgrade` would send, without a look at the cluster.
    pub async fn rendered(
        &self,
        release: &str,
        chart: &Path,
        namespace: &str,
        values: &Value,
    ) -> Result<String, HelmError> {
        render(self.tool(), release, chart, namespace, values).await
    }

    /// Uninstalls; a release that is not there is as good as gone.
    pub async fn uninstall(&self, release: &str, namespace: &str) -> Result<(), HelmError> {
        let tool = self.tool().args([
            "uninstall",
            release,
            "--namespace",
            namespace,
            "--ignore-not-found",
            "--cascade=foreground",
            "--wait=watcher",
        ]);
        let failed =
            |source| HelmError::Uninstall { release: release.into(), namespace: namespace.into(), source };
        tool.run().await.map(drop).map_err(failed)
    }

    fn tool(&self) -> Tool {
        let tool = Tool::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("HELM_NAMESPACE")
            .env_remove("HELM_KUBECONTEXT");
        match &self.context {
            Some(context) => tool.args(["--kube-context", context]),
            None => tool,
        }
    }
}

/// The manifests of a chart, with `program` as Helm, for no cluster in particular.
pub async fn template(
    program: &Path,
    release: &str,
    chart: &Path,
    namespace: &str,
    values: &Value,
) -> Result<String, HelmError> {
    render(Tool::new(program), release, chart, namespace, values).await
}

async fn render(
    tool: Tool,
    release: &str,
    chart: &Path,
    namespace: &str,
    values: &Value,
) -> Result<String, HelmError> {
    let tool = tool.args(["template", release]).arg(chart).args([
        "--namespace",
        namespace,
        "--include-crds",
        "--values",
        "-",
    ]);
    let values = given(values);
    let failed = |source| HelmError::Render {
        release: release.into(),
        chart: chart.into(),
        namespace: namespace.into(),
        source,
    };
    tool.stdin(values).run().await.map(|output| output.stdout).map_err(failed)
}

/// Values as Helm is given them: none are a map too.
fn given(values: &Value) -> String {
    if values.is_null() { "{}".into() } else { values.to_string() }
}

#[derive(Deserialize)]
struct Answer {
    manifest: String,
}

#[derive(Deserialize)]
struct Object {
    kind: Option<WorkloadKindOrOther>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WorkloadKindOrOther {
    Workload(WorkloadKind),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// The documents of a manifest, without those that hold nothing. Helm puts each after a line of its own.
pub fn documents(manifest: &str) -> impl Iterator<Item = &str> {
    let holds =
        |document: &&str| !document.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
    manifest.split("\n---").map(|text| text.trim_start_matches("---")).filter(holds)
}

fn workloads(manifest: &str, namespace: &str) -> Result<Vec<Workload>, String> {
    let mut found = vec![];
    for document in documents(manifest) {
        let object: Object =
            serde_saphyr::from_str(document).map_err(|e| format!("{e} in the manifest {document:.200}"))?;
        let (Some(WorkloadKindOrOther::Workload(kind)), Some(Metadata { name: Some(name), namespace: own })) =
            (object.kind, object.metadata)
        else {
            continue;
        };
        found.push(Workload { kind, namespace: own.unwrap_or_else(|| namespace.into()), name });
    }
    Ok(found)
}

/// `over` laid over `base`, as Helm merges values files: maps key by key, everything else replaced. No values
/// at all change nothing.
pub fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (_, Value::Null) => base.clone(),
        (Value::Object(base), Value::Object(over)) => {
            let mut result = base.clone();
            for (key, value) in over {
                // A null goes on to Helm, which takes the chart's own key away.
                let value = if value.is_null() {
                    Value::Null
                } else {
                    merged(base.get(key).unwrap_or(&Value::Null), value)
                };
                result.insert(key.clone(), value);
            }
            Value::Object(result)
        }
        _ => over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_are_found_whatever_stands_around_them() {
        let manifest = "---\n# Source: a\nkind: Service\nmetadata: {name: s}\n\
                        ---\n# nothing\n---\nkind: Deployment\nmetadata: {name: d}\n\
                        ---\nkind: DaemonSet\nmetadata: {name: a, namespace: spire}\n";
        let workload = |kind, namespace: &str, name: &str| Workload {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        };
        let expected = [
            workload(WorkloadKind::Deployment, "default", "d"),
            workload(WorkloadKind::DaemonSet, "spire", "a"),
        ];
        assert_eq!(workloads(manifest, "default").unwrap(), expected);
    }

    #[test]
    fn a_manifest_that_is_not_yaml_is_an_error() {
        assert!(workloads("kind: [", "default").is_err());
    }

    #[test]
    fn values_merge_key_by_key_and_lists_are_replaced() {
        let base = json!({"envoy": {"allow": [1, 2], "rbac": []}, "account": 1});
        let over = json!({"envoy": {"allow": [1]}});
        assert_eq!(merged(&base, &over), json!({"envoy": {"allow": [1], "rbac": []}, "account": 1}));
        assert_eq!(merged(&Value::Null, &over), over);
        assert_eq!(merged(&base, &Value::Null), base);
    }
}
