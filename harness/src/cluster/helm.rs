//! Helm, driven as its user would: `upgrade --install` and `uninstall`. What stands of a release is read back
//! from Helm itself, and must be what was rendered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::kube::RUN_LABEL;
pub use super::manifest::documents;
use super::manifest::{Manifest, Named};
use crate::halt::{self, Halt};
use crate::proof::chart_test::Said;
use crate::scenario::Release;
use crate::sys::dirs;
use crate::sys::files::{self, FileError};
use crate::sys::tool::{Tool, ToolError, last_lines};

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
    #[error(
        "release {release} (namespace {namespace}) was left half-way, and could not be taken back to what it \
         was before\nhint: `helm history` shows its states; `svidproof down` takes all of the run's down"
    )]
    Free { release: String, namespace: String, source: ToolError },
    #[error("the tests of release {release} (namespace {namespace}) could not be run")]
    Test { release: String, namespace: String, source: ToolError },
    #[error("which Helm it is could not be found out")]
    Version(#[source] ToolError),
    #[error(
        "{} is Helm {version}, which cannot label what it installs\n\
         hint: Helm 3.13 and later or 4 can; with none on PATH, that of the built images is used",
        program.display()
    )]
    Unfit { program: PathBuf, version: String },
    #[error("where svidproof's own program is could not be found out, which Helm has to call")]
    Itself(#[source] std::io::Error),
    #[error("the plugin by which Helm calls svidproof could not be written")]
    Plugin { source: FileError },
    #[error("the folders of Helm's plugins cannot be given as one list")]
    Paths(#[source] std::env::JoinPathsError),
    #[error("the values of release {release} could not be kept")]
    Values { release: String, source: FileError },
    #[error("what stands of release {release} (namespace {namespace}) could not be read")]
    Stored { release: String, namespace: String, source: ToolError },
    #[error(
        "the chart of release {release} (namespace {namespace}) is not deterministic: with the same values \
         it renders to something else each time: {what}\n\
         hint: what is tested must be what was written: give a value instead of a random one or the time"
    )]
    NotTheSame { release: String, namespace: String, what: String },
    #[error(
        "what stands is not what was written: release {release} (namespace {namespace}): {what}\n\
         hint: `helm get manifest` shows what stands, `helm template` what was written; does the chart read \
         `.Release.Revision`?"
    )]
    Otherwise { release: String, namespace: String, what: String },
}

/// No chart's hooks or deletions take longer, and be they slow; Helm's own limit for each is five minutes.
const LONGEST: Duration = Duration::from_mins(15);

/// What it says of a release whose last operation has not ended, or was never noted to have.
const UNDER_WAY: &str = "another operation (install/upgrade/rollback) is in progress";

/// What it says where there is nothing to go back to: the first install did not end.
const FIRST: &str = "release has no 0 version";

/// By then Helm has given up by itself, has said of what, and has noted that the release failed.
const PARTING: Duration = Duration::from_secs(10);

/// Helm against one cluster.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    context: Option<String>,
    /// Values files go here, one a release, so that a person can see what was installed.
    values: PathBuf,
    /// The run whose label Helm's records of what it installs carry.
    run: Option<String>,
}

/// What is known of a release before it is put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nothing, in a cluster of the run's own.
    Either,
    /// It is not there: where it is after all, Helm refuses.
    Install,
    /// It is there, and the run's.
    Upgrade,
}

/// One release as it shall be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name, its namespace, and how it is to be installed. Neither its chart nor its values.
    pub release: &'a Release,
    /// The chart's folder or packed file.
    pub chart: &'a Path,
    /// Values files, each over those before it.
    pub files: &'a [PathBuf],
    /// What is given over these; null for nothing.
    pub values: &'a Value,
}

impl Wanted<'_> {
    fn name(&self) -> &str {
        &self.release.name
    }

    fn namespace(&self) -> &str {
        &self.release.namespace
    }

    /// What is rendered with is installed with.
    async fn given(&self, program: &Path, tool: Tool) -> Result<Tool, HelmError> {
        let files = self.files.iter().flat_map(|file| ["--values".into(), file.clone().into_os_string()]);
        let tool =
            tool.args(&self.release.args).args(files).args(["--values", "-"]).stdin(given(self.values));
        match self.release.inject_admin {
            Some(port) => post_rendered(program, tool, port.get()).await,
            None => Ok(tool),
        }
    }
}

impl Helm {
    /// `program` is the Helm to run, `context` the kubeconfig's own where absent, `values` a folder to keep
    /// values in.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, context: Option<String>, values: PathBuf) -> Self {
        Self { program, kubeconfig, context, values, run: None }
    }

    /// What it installs carries the run's label from now on.
    #[must_use]
    pub fn labelled(self, run: &str) -> Self {
        Self { run: Some(run.into()), ..self }
    }

    /// Installs or upgrades without waiting for pods, and proves that what stands then is what was rendered.
    /// Returns what stands.
    pub async fn upgrade(
        &self,
        how: How,
        wanted: Wanted<'_>,
        rendered: &Manifest,
    ) -> Result<Manifest, HelmError> {
        let (release, namespace) = (wanted.name(), wanted.namespace());
        self.keep(wanted)?;
        let tool = match how {
            How::Either => self.tool().args(["upgrade", "--install", release]),
            How::Install => self.tool().args(["install", release]),
            How::Upgrade => self.tool().args(["upgrade", release]),
        };
        let tool = tool.arg(wanted.chart).args(["--namespace", namespace]);
        let tool = match how {
            How::Install => tool,
            // A release that is given no values keeps those of the stage before without this.
            How::Either | How::Upgrade => tool.arg("--reset-values"),
        };
        let tool = match &self.run {
            Some(run) => tool.args(["--labels".into(), format!("{RUN_LABEL}={run}")]),
            None => tool,
        };
        let tool = match wanted.release.limit() {
            // Helm bounds each hook by it, and this all of them together.
            Some(limit) => tool.arg(format!("--timeout={}s", limit.as_secs())).limit(limit + PARTING),
            None => tool,
        };
        let tool = match wanted.release.server_side {
            // Helm 3 has no other way than the client's.
            Some(on) if self.major().await? > 3 => tool.arg(format!("--server-side={on}")),
            _ => tool,
        };
        let failed = |source| HelmError::Upgrade {
            release: release.into(),
            chart: wanted.chart.into(),
            namespace: namespace.into(),
            source,
        };
        let tool = wanted.given(&self.program, tool).await?;
        match halt::beside(Halt::Installing, tool.clone().run()).await {
            // A Helm that was ended half-way: the run's own, since nobody else works in what is the run's.
            Err(ToolError::Failed { tail, .. }) if how != How::Install && tail.contains(UNDER_WAY) => {
                self.free(release, namespace).await?;
                tool.run().await.map_err(failed)?;
            }
            ended => drop(ended.map_err(failed)?),
        }
        let stands = self.stored(release, namespace).await?;
        let stands = stands.unwrap_or_else(|| Manifest::read("", namespace));
        match rendered.without_hooks().difference(&stands) {
            None => Ok(stands),
            Some(what) => self.explained(wanted, rendered, stands, what).await,
        }
    }

    /// Ends what Helm takes for an operation under way: the release is again what it was before, or is not
    /// there.
    async fn free(&self, release: &str, namespace: &str) -> Result<(), HelmError> {
        let back = self.tool().args(["rollback", release, "--namespace", namespace]).run().await;
        match back {
            Ok(_) => Ok(()),
            Err(ToolError::Failed { tail, .. }) if tail.contains(FIRST) => {
                self.uninstall(release, namespace).await
            }
            Err(source) => {
                Err(HelmError::Free { release: release.into(), namespace: namespace.into(), source })
            }
        }
    }

    /// The manifest that Helm has stored of a release; `None` where there is no such release.
    pub async fn stored(&self, release: &str, namespace: &str) -> Result<Option<Manifest>, HelmError> {
        let stored = self.manifest(release, namespace).await?;
        Ok(stored.map(|text| Manifest::read(&text, namespace)))
    }

    /// The same as Helm prints it.
    pub async fn manifest(&self, release: &str, namespace: &str) -> Result<Option<String>, HelmError> {
        let tool = self.tool().args(["get", "manifest", release, "--namespace", namespace]);
        match tool.run().await {
            Ok(output) => Ok(Some(output.stdout)),
            Err(ToolError::Failed { tail, .. }) if tail.contains("release: not found") => Ok(None),
            Err(source) => {
                Err(HelmError::Stored { release: release.into(), namespace: namespace.into(), source })
            }
        }
    }

    /// Every revision that Helm has stored of a release, as `helm history` tells them.
    pub async fn history(&self, release: &str, namespace: &str) -> Result<String, HelmError> {
        let tool = self.tool().args(["history", release, "--namespace", namespace]);
        let stored =
            |source| HelmError::Stored { release: release.into(), namespace: namespace.into(), source };
        tool.run().await.map(|output| output.stdout).map_err(stored)
    }

    /// The objects that Helm made before or after all others of a release, its tests among them: it does not
    /// take them down with it. None where there is no such release.
    pub async fn hooks(&self, release: &str, namespace: &str) -> Result<Vec<Named>, HelmError> {
        let tool = self.tool().args(["get", "hooks", release, "--namespace", namespace]);
        match tool.run().await {
            Ok(output) => Ok(Manifest::read(&output.stdout, namespace).all_hooks()),
            Err(ToolError::Failed { tail, .. }) if tail.contains("release: not found") => Ok(vec![]),
            Err(source) => {
                Err(HelmError::Stored { release: release.into(), namespace: namespace.into(), source })
            }
        }
    }

    /// What stands is otherwise than what was rendered: an error, unless it is the cluster that makes the
    /// difference: a chart may ask it for its version, its kinds, or an object (`lookup`).
    async fn explained(
        &self,
        wanted: Wanted<'_>,
        rendered: &Manifest,
        stands: Manifest,
        what: String,
    ) -> Result<Manifest, HelmError> {
        // To Helm 3 the first lets a chart look objects up, and only this one tells it the cluster's version.
        let asked = if matches!(self.major().await, Ok(3)) { &["--validate"][..] } else { &[] };
        for asking in [&["--dry-run=server", "--is-upgrade"][..], &["--dry-run=server"]] {
            // One that cannot be rendered like that explains nothing.
            let there = render(&self.program, self.tool(), wanted, &[asking, asked].concat()).await;
            if there.is_ok_and(|there| there.without_hooks().difference(&stands).is_none()) {
                return Ok(stands);
            }
        }
        let (release, namespace) = (wanted.name().to_owned(), wanted.namespace().to_owned());
        let again = self.rendered(wanted).await?;
        Err(match rendered.difference(&again) {
            Some(what) => HelmError::NotTheSame { release, namespace, what },
            None => HelmError::Otherwise { release, namespace, what },
        })
    }

    /// The manifests that `upgrade` would send, without a look at the cluster. Charts' own definitions
    /// (`crds/`) are not among them: Helm stores nothing of those, and never upgrades them.
    pub async fn rendered(&self, wanted: Wanted<'_>) -> Result<Manifest, HelmError> {
        render(&self.program, self.tool(), wanted, &[]).await
    }

    /// Keeps the values for a person to see.
    fn keep(&self, wanted: Wanted<'_>) -> Result<(), HelmError> {
        let folder = self.values.join(wanted.namespace());
        let path = folder.join(format!("{}.json", wanted.name()));
        let written = files::make_folder(&folder).and_then(|()| files::replace(&path, given(wanted.values)));
        written.map_err(|source| HelmError::Values { release: wanted.name().into(), source })
    }

    /// Runs the tests of the release's chart. `Err` where Helm could not even be started, or did not end.
    pub async fn test(&self, release: &Release) -> Result<Said, HelmError> {
        let Release { name, namespace, .. } = release;
        let tool = self.tool().args(["test", name, "--namespace", namespace, "--logs"]);
        let tool = match release.limit() {
            Some(limit) => tool.arg(format!("--timeout={}s", limit.as_secs())),
            None => tool,
        };
        match tool.run().await {
            Ok(output) => Ok(Said::Succeeded(last_lines(&output.stdout))),
            Err(ToolError::Failed { tail, .. }) => Ok(Said::Ended(tail)),
            Err(source) => {
                Err(HelmError::Test { release: name.clone(), namespace: namespace.clone(), source })
            }
        }
    }

    /// Deletes what the release holds; one that is not there is as good as gone. Whether all of it has gone
    /// is not Helm's to say: Helm 4's wait takes an object that it has not heard of yet for one that is gone,
    /// and calls one that takes its time a failure.
    pub async fn uninstall(&self, release: &str, namespace: &str) -> Result<(), HelmError> {
        let tool = self.tool().args(["uninstall", release, "--namespace", namespace]);
        let tool = tool.args(["--ignore-not-found", "--cascade=foreground"]);
        let failed =
            |source| HelmError::Uninstall { release: release.into(), namespace: namespace.into(), source };
        tool.run().await.map(drop).map_err(failed)
    }

    /// Which Helm it is.
    ///
    /// # Errors
    /// It cannot label a release (`--labels` came with 3.13), or is of a kind that nobody has seen yet.
    pub async fn major(&self) -> Result<u32, HelmError> {
        major(&self.program).await
    }

    fn tool(&self) -> Tool {
        let tool = Tool::new(&self.program)
            .limit(LONGEST)
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("HELM_NAMESPACE")
            .env_remove("HELM_KUBECONTEXT");
        match &self.context {
            Some(context) => tool.args(["--kube-context", context]),
            None => tool,
        }
    }
}

async fn major(program: &Path) -> Result<u32, HelmError> {
    let version = version(program).await?;
    match parts(&version) {
        Some((3, minor)) if minor >= 13 => Ok(3),
        Some((4, _)) => Ok(4),
        _ => Err(HelmError::Unfit { program: program.into(), version }),
    }
}

/// What svidproof is called as by Helm, to write into what was rendered.
pub const POST_RENDERER: &str = "post-render";

/// Helm 4's form of a post-renderer; Helm 3 is given the program itself (Helm documentation, "Advanced Helm
/// Techniques", "Post Rendering").
const PLUGIN: &str = "\
apiVersion: v1
type: postrenderer/v1
name: svidproof
version: 0.0.0
runtime: subprocess
config: {}
runtimeConfig:
  platformCommand: [{command: $SVIDPROOF_PROGRAM}]
";

/// Helm lets svidproof itself write the admin interface into what it rendered, and then renders, installs and
/// stores that.
async fn post_rendered(program: &Path, tool: Tool, port: u16) -> Result<Tool, HelmError> {
    let itself = std::env::current_exe().map_err(HelmError::Itself)?;
    let args = [POST_RENDERER, &port.to_string()].map(|arg| format!("--post-renderer-args={arg}"));
    if major(program).await? == 3 {
        return Ok(tool.arg("--post-renderer").arg(itself).args(args));
    }
    let folder = dirs::cache().join("helm-plugins");
    let own = folder.join("svidproof");
    let kept = |source| HelmError::Plugin { source };
    files::make_folder(&own).map_err(kept)?;
    files::replace(&own.join("plugin.yaml"), PLUGIN).map_err(kept)?;
    let asked = Tool::new(program).args(["env", "HELM_PLUGINS"]).run().await;
    let users = asked.map_err(HelmError::Version)?.stdout.trim().trim_matches('"').to_owned();
    let both = std::env::join_paths([Path::new(&users), &folder]).map_err(HelmError::Paths)?;
    let tool = tool.env("HELM_PLUGINS", both).env("SVIDPROOF_PROGRAM", itself);
    Ok(tool.args(["--post-renderer", "svidproof"]).args(args))
}

/// What the program says of itself: `v4.0.0+g1234`.
pub async fn version(program: &Path) -> Result<String, HelmError> {
    let asked = Tool::new(program).args(["version", "--template", "{{.Version}}"]).run().await;
    Ok(asked.map_err(HelmError::Version)?.stdout.trim().into())
}

/// `v3.17.1` or `v4.0.0+g1234` in numbers.
fn parts(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// The manifests of a chart and its `crds/`, with `program` as Helm, for no cluster in particular.
pub async fn template(program: &Path, wanted: Wanted<'_>) -> Result<String, HelmError> {
    templated(program, Tool::new(program), wanted, &["--include-crds"]).await
}

async fn render(program: &Path, tool: Tool, wanted: Wanted<'_>, how: &[&str]) -> Result<Manifest, HelmError> {
    let text = templated(program, tool, wanted, how).await?;
    Ok(Manifest::read(&text, wanted.namespace()))
}

async fn templated(
    program: &Path,
    tool: Tool,
    wanted: Wanted<'_>,
    how: &[&str],
) -> Result<String, HelmError> {
    let (release, namespace) = (wanted.name(), wanted.namespace());
    let tool = tool.args(["template", release]).arg(wanted.chart).args(["--namespace", namespace]);
    let failed = |source| HelmError::Render {
        release: release.into(),
        chart: wanted.chart.into(),
        namespace: namespace.into(),
        source,
    };
    let rendered = wanted.given(program, tool.args(how.iter().copied())).await?.run().await;
    rendered.map(|output| output.stdout).map_err(failed)
}

/// Values as Helm is given them: none are a map too.
fn given(values: &Value) -> String {
    if values.is_null() { "{}".into() } else { values.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(parts("v3.17.1\n"), Some((3, 17)));
        assert_eq!(parts("v4.0.0+g99cd196"), Some((4, 0)));
        assert_eq!(parts("3.2"), None);
    }
}
