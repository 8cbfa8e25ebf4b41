//! Images of a user's own: named in the user's container engine, or in an archive. They are put into nodes
//! beside those that are declared; nothing is built of them here.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ImagesError;
use crate::engine::Engine;
use crate::sys::files::{could_not, make_folder};

/// An image that a scenario or `--load` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Own {
    /// In the container engine that svidproof uses.
    Named(String),
    /// What `docker save` writes, or an OCI layout in a tar.
    Archive(PathBuf),
}

impl Own {
    /// As it is written: what ends in `.tar` is an archive, relative to `root`.
    pub fn read(text: &str, root: &Path) -> Self {
        if is_archive(text) { Self::Archive(root.join(text)) } else { Self::Named(text.into()) }
    }

    /// The full names that a node has it under.
    pub fn names(&self) -> Result<Vec<String>, ImagesError> {
        match self {
            Self::Named(name) => Ok(vec![full_name(name)]),
            Self::Archive(path) => {
                let names = names_in(path).map_err(could_not("read the image archive", path))?;
                if names.is_empty() {
                    return Err(ImagesError::NoName { path: path.clone() });
                }
                Ok(names.iter().map(|name| full_name(name)).collect())
            }
        }
    }
}

/// Whether an image as it is written is an archive.
fn is_archive(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|ending| ending == "tar")
}

/// As containerd knows it: with registry and tag (the rules of Docker's references).
pub fn full_name(name: &str) -> String {
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let name = match name.split_once('/') {
        Some((first, _)) if is_registry(first) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { name } else { format!("{name}:latest") }
}

fn names_in(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = vec![];
    for entry in tar::Archive::new(std::fs::File::open(path)?).entries()? {
        let mut entry = entry?;
        let of = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if of != "manifest.json" && of != "index.json" {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let value: Value = serde_json::from_str(&text)?;
        let found: Vec<_> = if of == "manifest.json" { repo_tags(&value) } else { annotated(&value) };
        for name in found {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Of `docker save`.
fn repo_tags(manifest: &Value) -> Vec<String> {
    let images = manifest.as_array().into_iter().flatten();
    let tags = images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
    tags.filter_map(|tag| tag.as_str().map(ToOwned::to_owned)).collect()
}

/// Of an OCI layout: the name that containerd imports an image by. A reference that is a tag alone names
/// none.
fn annotated(index: &Value) -> Vec<String> {
    let manifests = index["manifests"].as_array().into_iter().flatten();
    let name = |manifest: &Value| {
        let annotation = |key: &str| manifest["annotations"][key].as_str().map(ToOwned::to_owned);
        let reference =
            annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
        annotation("io.containerd.image.name").or(reference)
    };
    manifests.filter_map(name).collect()
}

/// Archives of them all, those in the engine saved to `folder`.
pub async fn archives(own: &[Own], engine: &Engine, folder: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let mut archives = vec![];
    for (number, image) in own.iter().enumerate() {
        archives.push(match image {
            Own::Archive(path) => path.clone(),
            Own::Named(name) => {
                make_folder(folder)?;
                let path = folder.join(format!("{number}.tar"));
                let saved =
                    engine.docker().args(["image", "save", "--output"]).arg(&path).arg(name).run().await;
                saved.map_err(|source| ImagesError::NotInEngine { name: name.clone(), source })?;
                path
            }
        });
    }
    Ok(archives)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nginx", "docker.io/library/nginx:latest")]
    #[case("nginx:1.22", "docker.io/library/nginx:1.22")]
    #[case("shop/app:dev", "docker.io/shop/app:dev")]
    #[case("ghcr.io/a/b", "ghcr.io/a/b:latest")]
    #[case("localhost:5000/a", "localhost:5000/a:latest")]
    #[case("localhost/a:1", "localhost/a:1")]
    #[case("a@sha256:0123", "docker.io/library/a@sha256:0123")]
    fn an_image_has_one_full_name(#[case] name: &str, #[case] full: &str) {
        assert_eq!(full_name(name), full);
        assert_eq!(full_name(full), full);
    }

    fn archive(file: &str, text: &str) -> (tempfile::TempDir, Own) {
        let dir = tempfile::tempdir().unwrap();
        let mut made = tar::Builder::new(std::fs::File::create(dir.path().join("shop.tar")).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        made.append_data(&mut header, file, text.as_bytes()).unwrap();
        made.finish().unwrap();
        let own = Own::read("./shop.tar", dir.path());
        (dir, own)
    }

    #[rstest]
    #[case::docker("manifest.json", r#"[{"RepoTags": ["shop:dev"]}]"#)]
    #[case::containerd(
        "index.json",
        r#"{"manifests": [{"annotations": {"io.containerd.image.name": "docker.io/library/shop:dev"}}]}"#
    )]
    #[case::a_reference(
        "./index.json",
        r#"{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "shop:dev"}}]}"#
    )]
    fn an_archive_says_whose_it_is(#[case] file: &str, #[case] text: &str) {
        let (_dir, own) = archive(file, text);
        assert_eq!(own.names().unwrap(), ["docker.io/library/shop:dev"]);
    }

    #[test]
    fn an_archive_without_a_name_is_told() {
        for (file, text) in [("manifest.json", r#"[{"RepoTags": null}]"#), ("other", "")] {
            let (_dir, own) = archive(file, text);
            let told = own.names().unwrap_err();
            assert!(told.to_string().contains("names no image") && told.is_input(), "{told}");
        }
        let (dir, own) = archive("manifest.json", "{");
        let told = own.names().unwrap_err().to_string();
        assert_eq!(
            told,
            format!("could not read the image archive {}", dir.path().join("./shop.tar").display())
        );
    }
}
