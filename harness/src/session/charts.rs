//! Before anything is made: the charts that do not lie ready in the project, fetched or completed in the
//! run's own folder. Rendering, comparing and installing go by what lies there, so nothing that changes
//! elsewhere meanwhile is tested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use sha2::{Digest, Sha256};

use super::SessionError;
use crate::cluster::chart::{ChartError, completed, fetched, wrapped};
use crate::scenario::{Fetched, Origin, Release, Scenario};
use crate::sys::progress::Progress;

/// The scenarios, with each chart where it lies now. `dir` is the run's folder; `helm` fetches and completes.
pub(super) async fn ready(
    scenarios: Vec<Scenario>,
    dir: &Path,
    helm: &Path,
    progress: &Progress,
) -> Result<Vec<Scenario>, SessionError> {
    let each = scenarios.into_iter().map(async |scenario| {
        let folder = dir.join("charts").join(&scenario.name);
        let registration = scenario.registration_release();
        let releases = scenario.install.iter().flatten().chain(&registration);
        let charts = releases.map(async |release| {
            let place = folder.join(&release.namespace).join(&release.name);
            let chart = chart(&scenario, release, &place, helm, progress).await;
            let chart = chart.map_err(|source| SessionError::Chart {
                place: scenario.place_in(release, "chart"),
                release: release.name.clone(),
                source,
            })?;
            Ok::<_, SessionError>(chart.map(|path| (release.full_name(), path)))
        });
        let made: BTreeMap<_, _> = try_join_all(charts).await?.into_iter().flatten().collect();
        Ok(scenario.made(made))
    });
    try_join_all(each).await
}

/// Where the chart was put; `None` for one that lies ready.
async fn chart(
    scenario: &Scenario,
    release: &Release,
    place: &Path,
    helm: &Path,
    progress: &Progress,
) -> Result<Option<PathBuf>, ChartError> {
    match release.origin() {
        Origin::Builtin(_) => Ok(None),
        Origin::Plain => {
            let all = scenario.plain(release);
            wrapped(&release.name, &all, &scenario.root, &place.join("wrapped")).await.map(Some)
        }
        Origin::Fetched(chart) => {
            // Another version, and it is another chart.
            let folder = place.join(key(chart));
            let named = || progress.part(format!("{}: chart of release {}", scenario.name, release.name));
            let step = (!folder.is_dir()).then(named);
            let packed = fetched(helm, chart, &release.args, &folder).await?;
            if let Some(step) = step {
                step.done();
            }
            Ok(Some(packed))
        }
        Origin::Local(path) => {
            let folder = scenario.root.join(path);
            if folder.is_file() {
                return Ok(None);
            }
            let chart = completed(helm, &folder, &place.join("completed")).await?;
            Ok((chart != folder).then_some(chart))
        }
    }
}

fn key(chart: Fetched<'_>) -> String {
    let Fetched { chart, repo, version } = chart;
    let mut digest = Sha256::new();
    for part in [chart, repo.unwrap_or_default(), version] {
        digest.update(part);
        digest.update([0]);
    }
    hex::encode(digest.finalize())[..16].into()
}
