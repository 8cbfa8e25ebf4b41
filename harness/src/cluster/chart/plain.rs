//! Manifests that are no chart, plain ones or a kustomization's, wrapped into one: Helm then installs them,
//! and all that holds for charts holds for them.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ChartError;
use crate::images;
use crate::scenario::Plain;
use crate::sys::files;
use crate::sys::tool::{self, Tool};

/// The chart. Its value `of` says which of the rendered manifests it makes; they are files of it, and not
/// templates: what looks like one in them stays as it is.
const TEMPLATE: &str = r#"{{- $of := .Values.kustomize | default .Values.manifests -}}
{{- if kindIs "slice" $of }}{{ $of = join "\n" $of }}{{ end -}}
{{- .Files.Get (printf "rendered/%s.yaml" (sha256sum $of)) -}}
"#;

/// A chart in `place` that makes what the first of `all` makes, or, where its value says so, another of them.
/// Paths are relative to `root`.
pub async fn wrapped(release: &str, all: &[Plain], root: &Path, place: &Path) -> Result<PathBuf, ChartError> {
    files::remove(place)?;
    let rendered = place.join("rendered");
    files::make_folder(&rendered)?;
    for plain in all {
        let text = match plain {
            Plain::Kustomize(folder) => kustomized(&root.join(folder)).await?,
            Plain::Manifests(paths) => {
                let texts: Result<Vec<_>, _> = paths.iter().map(|path| read(&root.join(path))).collect();
                texts?.concat()
            }
        };
        let name = hex::encode(Sha256::digest(plain.name()));
        files::write(&rendered.join(format!("{name}.yaml")), text)?;
    }
    let chart = serde_json::json!({"apiVersion": "v2", "name": release, "version": "0.0.0"});
    files::write(&place.join("Chart.yaml"), chart.to_string())?;
    let first = all.first().map(Plain::value).unwrap_or_default();
    files::write(&place.join("values.yaml"), first.to_string())?;
    files::make_folder(&place.join("templates"))?;
    files::write(&place.join("templates/all.yaml"), TEMPLATE)?;
    Ok(place.into())
}

/// A file's text, or those of a folder's manifests in the order of their names, each as documents of its own.
fn read(path: &Path) -> Result<String, ChartError> {
    if !path.is_dir() {
        return Ok(format!("---\n{}\n", files::read_text(path)?));
    }
    let entries = std::fs::read_dir(path).map_err(files::could_not("read", path))?;
    let mut paths: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_manifest(path)).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(ChartError::NoManifests { path: path.into() });
    }
    paths.iter().map(|path| read(path)).collect()
}

fn is_manifest(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    path.is_file() && matches!(ending, Some("yaml" | "yml" | "json"))
}

async fn kustomized(folder: &Path) -> Result<String, ChartError> {
    let kubectl = || tool::find("kubectl").or_else(|| images::tool("kubectl"));
    let tool = match (tool::find("kustomize"), kubectl()) {
        (Some(kustomize), _) => Tool::new(kustomize).arg("build"),
        (None, Some(kubectl)) => Tool::new(kubectl).arg("kustomize"),
        (None, None) => return Err(ChartError::NoKustomize { folder: folder.into() }),
    };
    let done = tool.arg(folder).limit(super::LONGEST).run().await;
    let text = done.map_err(|source| ChartError::Kustomize { folder: folder.into(), source })?.stdout;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_manifests_are_read_in_order_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "b"), ("a.yml", "a"), ("c.json", "{}"), ("README.md", "no")] {
            files::write(&dir.path().join(name), text).unwrap();
        }
        assert_eq!(read(dir.path()).unwrap(), "---\na\n---\nb\n---\n{}\n");
        assert_eq!(read(&dir.path().join("b.yaml")).unwrap(), "---\nb\n");
        let empty = tempfile::tempdir().unwrap();
        let error = read(empty.path()).unwrap_err();
        assert!(error.is_input() && error.to_string().contains("no manifest"), "{error}");
    }
}
