//! A chart's folder that names dependencies in its Chart.yaml and holds them not: a copy that does. Helm
//! fetches and packs them.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{ChartError, LONGEST};
use crate::sys::files::{self, could_not};
use crate::sys::tool::Tool;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    pub(super) dependencies: Vec<Dependency>,
}

/// What a chart depends on, by its Chart.yaml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    #[serde(default)]
    pub(super) alias: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    repository: String,
}

impl Dependency {
    /// `common 1.0.0 (file://../common)`.
    fn in_words(&self) -> String {
        let Self { name, version, repository, .. } = self;
        let from = if repository.is_empty() { "without a repository" } else { repository };
        format!("{name} {version} ({from})")
    }

    /// Whether this folder, or this archive, of a chart's `charts/` is it.
    pub(super) fn is_held_as(&self, path: &Path) -> bool {
        self.is_packed_as(path) || metadata(path).is_ok_and(|held| held.name == self.name)
    }

    /// `common-1.0.0.tgz`, and not `common-extras-1.0.0.tgz`.
    fn is_packed_as(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-'));
        path.extension().is_some_and(|ending| ending == "tgz")
            && rest.is_some_and(|rest| rest.starts_with(|one: char| one.is_ascii_digit()))
    }

    /// Where it lies, seen from the chart's folder.
    fn local(&self) -> Option<&Path> {
        self.repository.strip_prefix("file://").map(Path::new)
    }
}

/// The chart in `folder` where nothing is lacking; else a copy below `place`, completed by `program` as Helm.
///
/// # Errors
/// A dependency cannot be had: each that lacks is named.
pub async fn completed(program: &Path, folder: &Path, place: &Path) -> Result<PathBuf, ChartError> {
    let lacking = lacking(folder)?;
    if lacking.is_empty() {
        return Ok(folder.into());
    }
    files::remove(place)?;
    let copy = copied(folder, &lacking, place)?;
    // With its versions as they were locked, where they were.
    let how = if copy.join("Chart.lock").is_file() { "build" } else { "update" };
    let mut tool = Tool::new(program).args(["dependency", how]).arg(&copy);
    if lacking.iter().all(|one| one.local().is_some()) {
        // No repository has to be asked what it has.
        tool = tool.arg("--skip-refresh");
    }
    let what = || lacking.iter().map(Dependency::in_words).collect::<Vec<_>>().join(", ");
    let done = tool.limit(LONGEST).run().await;
    done.map_err(|source| ChartError::Lacks { chart: folder.into(), what: what(), source })?;
    Ok(copy)
}

/// What is in no form in the chart's `charts/`.
fn lacking(folder: &Path) -> Result<Vec<Dependency>, ChartError> {
    let all = metadata(folder)?.dependencies;
    let held = folder.join("charts");
    let entries: Vec<_> =
        std::fs::read_dir(&held).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let names: BTreeSet<_> =
        entries.iter().filter_map(|path| metadata(path).ok()).map(|one| one.name).collect();
    let is_packed = |one: &Dependency| entries.iter().any(|path| one.is_packed_as(path));
    Ok(all.into_iter().filter(|one| !names.contains(&one.name) && !is_packed(one)).collect())
}

pub(super) fn metadata(folder: &Path) -> Result<Metadata, ChartError> {
    let path = folder.join("Chart.yaml");
    let text = files::read_text(&path)?;
    let read: Result<Option<Metadata>, _> = serde_saphyr::from_str(&text);
    read.map(Option::unwrap_or_default)
        .map_err(|error| ChartError::Metadata { path, problem: error.to_string() })
}

/// A copy of the chart, with the folders that it depends on where it looks for them: `../common` leads from
/// the copy to where it led from the chart.
fn copied(folder: &Path, lacking: &[Dependency], place: &Path) -> Result<PathBuf, ChartError> {
    let up = |path: &Path| path.components().filter(|part| *part == Component::ParentDir).count();
    let local = || lacking.iter().filter_map(|one| Some((one, one.local()?)));
    let depth = local().map(|(_, path)| up(path)).max().unwrap_or_default();
    let name = folder.file_name().unwrap_or_default();
    let copy = (0..depth).fold(place.to_owned(), |path, _| path.join("up")).join(name);
    copy_folder(folder, &copy)?;
    for (dependency, path) in local() {
        let real = folder.join(path);
        let real = real.canonicalize().map_err(|_| ChartError::NotThere {
            chart: folder.into(),
            what: dependency.in_words(),
            path: real,
        })?;
        let there = plain(&copy.join(path));
        if !there.exists() {
            files::make_folder(there.parent().unwrap_or(place))?;
            symlink(&real, &there).map_err(could_not("make the link", &there))?;
        }
    }
    Ok(copy)
}

/// Without `..`, as Helm reads it: whatever links there are.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

/// A link in it leads where it led.
fn copy_folder(from: &Path, to: &Path) -> Result<(), ChartError> {
    files::make_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(could_not("read", from))? {
        let entry = entry.map_err(could_not("read", from))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(could_not("read", &path))?;
        if kind.is_dir() {
            copy_folder(&path, &copy)?;
        } else if kind.is_symlink() {
            let real = path.canonicalize().map_err(could_not("follow", &path))?;
            symlink(real, &copy).map_err(could_not("make the link", &copy))?;
        } else {
            std::fs::copy(&path, &copy).map_err(could_not("copy", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn tree(all: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in all {
            let path = dir.path().join(path);
            files::make_folder(path.parent().unwrap()).unwrap();
            files::write(&path, text).unwrap();
        }
        dir
    }

    const CHART: &str = "name: web\ndependencies:\n  - {name: common, version: 1.0.0, repository: 'file://../../libs/common'}\n  \
                         - {name: redis, version: ^2, repository: 'https://charts.test'}\n";

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        lacking(&dir.path().join("charts/web")).unwrap().into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn what_is_in_no_form_there_is_lacking() {
        let web = ("charts/web/Chart.yaml", CHART);
        assert_eq!(names(&tree(&[web])), ["common", "redis"]);
        let packed = ("charts/web/charts/common-1.0.0.tgz", "");
        assert_eq!(names(&tree(&[web, packed])), ["redis"]);
        let another = ("charts/web/charts/common-extras-1.0.0.tgz", "");
        assert_eq!(names(&tree(&[web, another])), ["common", "redis"]);
        let by_another_name = ("charts/web/charts/cache/Chart.yaml", "name: redis\n");
        assert_eq!(names(&tree(&[web, packed, by_another_name])), Vec::<String>::new());
        assert_eq!(names(&tree(&[("charts/web/Chart.yaml", "")])), Vec::<String>::new());
    }

    #[test]
    fn a_copy_finds_what_the_chart_found() {
        let dir = tree(&[
            ("charts/web/Chart.yaml", CHART),
            ("charts/web/templates/a.yaml", "a"),
            ("libs/common/Chart.yaml", "name: common\n"),
        ]);
        let web = dir.path().join("charts/web");
        let copy = copied(&web, &lacking(&web).unwrap(), &dir.path().join("run")).unwrap();
        assert_eq!(copy, dir.path().join("run/up/up/web"));
        assert_eq!(files::read_text(&copy.join("templates/a.yaml")).unwrap(), "a");
        let common = plain(&copy.join("../../libs/common")).join("Chart.yaml");
        assert_eq!(files::read_text(&common).unwrap(), "name: common\n");
        assert!(!web.join("charts").exists());
    }

    #[test]
    fn a_dependency_that_is_nowhere_is_named_with_its_place() {
        let dir = tree(&[("charts/web/Chart.yaml", CHART)]);
        let web = dir.path().join("charts/web");
        let error = copied(&web, &lacking(&web).unwrap(), &dir.path().join("run")).unwrap_err();
        let told = error.to_string().replace(&dir.path().display().to_string(), "[root]");
        assert_eq!(
            told,
            "chart [root]/charts/web depends on common 1.0.0 (file://../../libs/common), which is not in its \
             charts/, and [root]/charts/web/../../libs/common is not there either"
        );
        assert!(error.is_input());
    }
}
