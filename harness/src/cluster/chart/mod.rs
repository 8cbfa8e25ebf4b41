//! Charts that do not lie ready to be rendered: fetched by Helm, or completed with what they depend on. The
//! user's own folders are only read.

mod dependencies;
mod plain;
mod values;

pub use dependencies::completed;
pub use plain::wrapped;
pub use values::defaults;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::scenario::Fetched;
use crate::sys::files::{self, FileError, could_not};
use crate::sys::tool::{Tool, ToolError};

/// What is not here by then does not come: charts are small.
const LONGEST: Duration = Duration::from_mins(2);

/// Flags of a release that say how its chart is fetched.
const FETCHING: [&str; 10] = [
    "ca-file",
    "cert-file",
    "insecure-skip-tls-verify",
    "key-file",
    "keyring",
    "pass-credentials",
    "password",
    "plain-http",
    "username",
    "verify",
];

/// Why a chart is not there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ChartError {
    #[error(
        "chart {chart}, version {version}{}, could not be fetched\n\
         hint: is the version right, and does this machine reach it? Helm's own credentials are used \
         (`helm registry login`), and `args` may say more, such as --plain-http",
        repo.as_ref().map(|repo| format!(", of {repo}")).unwrap_or_default()
    )]
    Fetch { chart: String, repo: Option<String>, version: String, source: ToolError },
    #[error("{} is not understood: {problem}", path.display())]
    Metadata { path: PathBuf, problem: String },
    #[error(
        "chart {} depends on {what}, which is not in its charts/, and it could not be put there\n\
         hint: `helm dependency build` in a copy of it shows the same; a repository that Helm does not know \
         has to be added first (`helm repo add`)",
        chart.display()
    )]
    Lacks { chart: PathBuf, what: String, source: ToolError },
    #[error(
        "chart {} depends on {what}, which is not in its charts/, and {} is not there either",
        chart.display(),
        path.display()
    )]
    NotThere { chart: PathBuf, what: String, path: PathBuf },
    #[error("there is no manifest (*.yaml, *.yml, *.json) in {}", path.display())]
    NoManifests { path: PathBuf },
    #[error("the kustomization {} could not be rendered", folder.display())]
    Kustomize { folder: PathBuf, source: ToolError },
    #[error(
        "nothing is there to render the kustomization {} with\n\
         hint: put `kustomize` or `kubectl` on PATH; `svidproof images build` builds a kubectl too",
        folder.display()
    )]
    NoKustomize { folder: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

impl ChartError {
    /// Whether what the user asks for is not to be had; not so where nobody answered.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Fetch { source, .. } | Self::Lacks { source, .. } | Self::Kustomize { source, .. } => {
                matches!(source, ToolError::Failed { .. })
            }
            Self::Metadata { .. }
            | Self::NotThere { .. }
            | Self::NoManifests { .. }
            | Self::NoKustomize { .. } => true,
            Self::File(_) => false,
        }
    }
}

/// The packed chart, fetched into `folder` by `program` as Helm unless it is there already. `args` are the
/// release's.
pub async fn fetched(
    program: &Path,
    chart: Fetched<'_>,
    args: &[String],
    folder: &Path,
) -> Result<PathBuf, ChartError> {
    if let Some(there) = packed(folder) {
        return Ok(there);
    }
    let Fetched { chart, repo, version } = chart;
    // Whole or not at all: what was interrupted is fetched again.
    let coming = folder.with_extension("coming");
    files::remove(&coming)?;
    files::make_folder(&coming)?;
    let how = args.iter().filter(|arg| {
        let name = arg.trim_start_matches('-').split('=').next().unwrap_or_default();
        FETCHING.contains(&name)
    });
    let tool = Tool::new(program).args(["pull", chart, "--version", version]).args(how);
    let tool = tool.args(repo.iter().flat_map(|repo| ["--repo", repo])).arg("--destination").arg(&coming);
    let failed = |source| ChartError::Fetch {
        chart: chart.into(),
        repo: repo.map(Into::into),
        version: version.into(),
        source,
    };
    let output = tool.clone().limit(LONGEST).run().await.map_err(failed)?;
    if packed(&coming).is_none() {
        let (command, problem) = (tool.line(), "no .tgz came of it".into());
        return Err(failed(ToolError::Output { command, problem, output: output.stdout }));
    }
    std::fs::rename(&coming, folder).map_err(could_not("put in its place", &coming))?;
    packed(folder)
        .ok_or_else(|| could_not("find the chart in", folder)(std::io::ErrorKind::NotFound.into()).into())
}

/// The packed chart in a folder.
fn packed(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "tgz")).min()
}
