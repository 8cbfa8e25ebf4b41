//! Images of a user's own, as they are written in `images` and after `--load`.

use std::path::{Path, PathBuf};

/// Where an image of a user's own comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnImage {
    /// `shop:dev`: the container engine that svidproof uses has it.
    Named(String),
    /// `./shop.tar`: what `docker save` writes, or an OCI layout in a tar.
    Archive(PathBuf),
    /// The engine pulls it, of a registry that svidproof.yaml names.
    Pulled(String),
    /// One of svidproof's own that not every node has: it is made of what this build declares.
    Declared(String),
    /// `Dockerfile:./shop`, or `Dockerfile:./shop=NAME`: that engine builds it, under this name.
    Built {
        /// The Dockerfile itself; its folder is the build's context.
        dockerfile: PathBuf,
        /// By the folder, with the tag `dev`, where it is not said.
        name: String,
    },
}

const BUILT: &str = "Dockerfile:";

impl OwnImage {
    /// Paths are relative to `root`.
    ///
    /// # Errors
    /// In words: what it names is not there, or it names nothing that could be an image.
    pub fn read(text: &str, root: &Path) -> Result<Self, String> {
        let seen_from = || format!("is not there, seen from {}", root.display());
        if let Some(written) = text.strip_prefix(BUILT) {
            let (path, name) =
                written.split_once('=').map_or((written, None), |(path, name)| (path, Some(name)));
            let path = root.join(path);
            let dockerfile = if path.is_file() { path } else { path.join("Dockerfile") };
            if !dockerfile.is_file() {
                return Err(format!("the Dockerfile of `{text}` {}", seen_from()));
            }
            let name = name.map_or_else(|| by_folder(&dockerfile), |name| Some(name.to_owned()));
            return match name.filter(|name| is_reference(name)) {
                Some(name) => Ok(Self::Built { dockerfile, name }),
                None => Err(format!("`{text}` has no name for its image: write `{BUILT}FOLDER=NAME:TAG`")),
            };
        }
        if Path::new(text).extension().is_some_and(|ending| ending == "tar") {
            let path = root.join(text);
            return if path.is_file() {
                Ok(Self::Archive(path))
            } else {
                Err(format!("the image archive `{text}` {}", seen_from()))
            };
        }
        if is_reference(text) {
            return Ok(Self::Named(text.into()));
        }
        Err(format!(
            "`{text}` is no image: name one, `shop:dev`, its archive, `./shop.tar`, or what it is built of, \
             `{BUILT}./shop`"
        ))
    }
}

fn by_folder(dockerfile: &Path) -> Option<String> {
    // `.` has no name of its own.
    let folder = dockerfile.parent()?.components().as_path().file_name()?;
    Some(format!("{}:dev", folder.to_str()?))
}

/// What the grammar of Docker's references admits, by its characters: a path in lower case, a tag or a
/// digest.
fn is_reference(text: &str) -> bool {
    let (path, tag) = match text.rsplit_once('/') {
        Some((path, last)) => match last.split_once([':', '@']) {
            Some((last, tag)) => (format!("{path}/{last}"), tag),
            None => (text.to_owned(), ""),
        },
        None => {
            text.split_once([':', '@']).map_or((text.to_owned(), ""), |(path, tag)| (path.to_owned(), tag))
        }
    };
    let in_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let in_tag = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    path.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && path.chars().all(in_path)
        && tag.chars().all(in_tag)
        && !text.ends_with([':', '@', '/'])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["shop", "Shop_2"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        for file in ["shop.tar", "shop/Dockerfile", "shop/other", "Shop_2/Dockerfile"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    fn built(dockerfile: &str, name: &str) -> OwnImage {
        OwnImage::Built { dockerfile: dockerfile.into(), name: name.into() }
    }

    #[rstest]
    #[case("shop:dev", OwnImage::Named("shop:dev".into()))]
    #[case("localhost:5000/shop/app:V1", OwnImage::Named("localhost:5000/shop/app:V1".into()))]
    #[case("a@sha256:0123", OwnImage::Named("a@sha256:0123".into()))]
    #[case("shop.tar", OwnImage::Archive("shop.tar".into()))]
    #[case("Dockerfile:shop", built("shop/Dockerfile", "shop:dev"))]
    #[case("Dockerfile:./shop/", built("./shop/Dockerfile", "shop:dev"))]
    #[case("Dockerfile:shop/other=shop/app:1", built("shop/other", "shop/app:1"))]
    #[case("Dockerfile:Shop_2=shop:2", built("Shop_2/Dockerfile", "shop:2"))]
    fn where_it_comes_from(#[case] text: &str, #[case] expected: OwnImage) {
        let root = root();
        let below = |path: PathBuf| root.path().join(path);
        let expected = match expected {
            OwnImage::Archive(path) => OwnImage::Archive(below(path)),
            OwnImage::Built { dockerfile, name } => OwnImage::Built { dockerfile: below(dockerfile), name },
            other => other,
        };
        assert_eq!(OwnImage::read(text, root.path()), Ok(expected));
    }

    #[rstest]
    #[case("", "`` is no image: name one")]
    #[case("a b", "`a b` is no image")]
    #[case("--all", "`--all` is no image")]
    #[case("shop:", "`shop:` is no image")]
    #[case("Shop", "`Shop` is no image")]
    #[case("other.tar", "the image archive `other.tar` is not there, seen from ")]
    #[case("Dockerfile:./lacks", "the Dockerfile of `Dockerfile:./lacks` is not there, seen from ")]
    #[case("Dockerfile:Shop_2", "`Dockerfile:Shop_2` has no name for its image: write")]
    #[case("Dockerfile:shop=", "`Dockerfile:shop=` has no name")]
    fn a_mistake(#[case] text: &str, #[case] expected: &str) {
        let told = OwnImage::read(text, root().path()).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
}
