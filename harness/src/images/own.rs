//! Images of a user's own: named in the container engine, built there of a Dockerfile, or in an archive. They
//! are put into nodes beside those that are declared.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ImagesError, archive};
use crate::engine::Engine;
use crate::scenario::OwnImage;
use crate::sys::files::{could_not, make_folder};
use crate::sys::progress::Progress;

/// The full names that a node has it under.
pub fn names(own: &OwnImage) -> Result<Vec<String>, ImagesError> {
    match own {
        OwnImage::Named(name)
        | OwnImage::Pulled(name)
        | OwnImage::Declared(name)
        | OwnImage::Built { name, .. } => Ok(vec![full_name(name)]),
        OwnImage::Archive(path) => {
            let names = names_in(path).map_err(could_not("read the image archive", path))?;
            if names.is_empty() {
                return Err(ImagesError::NoName { path: path.clone() });
            }
            Ok(names.iter().map(|name| full_name(name)).collect())
        }
    }
}

/// The host of the registry that an image is of, with its port.
pub fn registry(image: &str) -> String {
    full_name(image).split('/').next().unwrap_or_default().into()
}

/// A full name without its tag and its digest.
pub fn repository(full: &str) -> &str {
    let name = full.split_once('@').map_or(full, |(name, _)| name);
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name)
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

/// Archives of them all, those in the engine saved to `folder`; what has a Dockerfile, or is declared below
/// `home`, is built first.
pub async fn archives(
    own: &[OwnImage],
    engine: &Engine,
    home: &Path,
    folder: &Path,
    progress: &Progress,
) -> Result<Vec<PathBuf>, ImagesError> {
    let mut archives = vec![];
    for (number, image) in own.iter().enumerate() {
        let name = match image {
            OwnImage::Archive(path) => {
                archives.push(path.clone());
                continue;
            }
            OwnImage::Declared(name) => {
                archives.push(archive(home, name, progress).await?);
                continue;
            }
            OwnImage::Named(name) => name,
            OwnImage::Pulled(name) => {
                let pulled = engine.docker().args(["pull", name]).run().await;
                pulled.map_err(|source| ImagesError::NotPulled { name: name.clone(), source })?;
                name
            }
            OwnImage::Built { dockerfile, name } => {
                build(dockerfile, name, engine).await?;
                name
            }
        };
        make_folder(folder)?;
        let path = folder.join(format!("{number}.tar"));
        let saved = engine.docker().args(["image", "save", "--output"]).arg(&path).arg(name).run().await;
        saved.map_err(|source| ImagesError::NotInEngine { name: name.clone(), source })?;
        archives.push(path);
    }
    Ok(archives)
}

/// The engine's own builder: what a step downloads, it must reach.
async fn build(dockerfile: &Path, name: &str, engine: &Engine) -> Result<(), ImagesError> {
    let context = dockerfile.parent().unwrap_or(Path::new("."));
    let docker = engine.docker().args(["build", "--tag", name, "--file"]).arg(dockerfile).arg(context);
    let failed = |source| ImagesError::NotBuilt { dockerfile: dockerfile.into(), source };
    docker.run().await.map(drop).map_err(failed)
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

    #[rstest]
    #[case("nginx", "docker.io")]
    #[case("ghcr.io/a/b:1", "ghcr.io")]
    #[case("localhost:5000/a", "localhost:5000")]
    fn an_image_is_of_a_registry(#[case] image: &str, #[case] expected: &str) {
        assert_eq!(registry(image), expected);
    }

    fn archive(file: &str, text: &str) -> (tempfile::TempDir, OwnImage) {
        let dir = tempfile::tempdir().unwrap();
        let mut made = tar::Builder::new(std::fs::File::create(dir.path().join("shop.tar")).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        made.append_data(&mut header, file, text.as_bytes()).unwrap();
        made.finish().unwrap();
        let own = OwnImage::read("./shop.tar", dir.path()).unwrap();
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
        assert_eq!(names(&own).unwrap(), ["docker.io/library/shop:dev"]);
    }

    #[test]
    fn an_archive_without_a_name_is_told() {
        for (file, text) in [("manifest.json", r#"[{"RepoTags": null}]"#), ("other", "")] {
            let (_dir, own) = archive(file, text);
            let told = names(&own).unwrap_err();
            assert!(told.to_string().contains("names no image") && told.is_input(), "{told}");
        }
        let (dir, own) = archive("manifest.json", "{");
        let told = names(&own).unwrap_err().to_string();
        assert_eq!(
            told,
            format!("could not read the image archive {}", dir.path().join("./shop.tar").display())
        );
    }
}
