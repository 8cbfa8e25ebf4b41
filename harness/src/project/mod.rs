//! A user's repository as svidproof sees it: what its `svidproof.yaml` says, and what goes where nothing is
//! said. Not for finding its root: a scenario is relative to that too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::images::{Remote, Source};
use crate::provider::Provider;
use crate::scenario::{Mistake, PROJECT, read_yaml};
use crate::sys::files::{self, FileError};

/// Why a repository's `svidproof.yaml` is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ProjectError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("{0}")]
    Invalid(Mistake),
}

/// What `svidproof.yaml` says: every key may be left out. Folders are relative to the one that it stands in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Project {
    /// The folder of scenarios: every `.yaml` in it; `tests/scenarios` where it is not said.
    #[serde(default)]
    scenarios: Option<Folder>,
    /// The folder of kept surfaces; `tests/snapshots` where it is not said.
    #[serde(default)]
    snapshots: Option<Folder>,
    /// The folder for reports; `.svidproof` where it is not said.
    #[serde(default)]
    out: Option<Folder>,
    /// Where the cluster comes from; `kind` where it is not said.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// Where images come from; `auto` where it is not said.
    #[serde(default)]
    pub images: Option<Source>,
    /// Registries by host, `ghcr.io` or `localhost:5000`, whose images the cluster's engine pulls and gives
    /// to the nodes, where those reach none themselves. None where it is not said.
    #[serde(default)]
    pub registries: Vec<Registry>,
    /// The registry that nodes which pull do so through, in the place of every other: `localhost:5000`. None
    /// where it is not said.
    #[serde(default)]
    pub registry_mirror: Option<Mirror>,
    /// By image, as the charts name it, or the node image: the digest that it must have, where nodes pull.
    /// report.json has those of a run through a mirror in its `versions`. None where it is not said.
    #[serde(default)]
    pub digests: BTreeMap<String, Digest>,
    /// The repository's root.
    #[serde(skip)]
    pub root: PathBuf,
    /// Whether there is a file.
    #[serde(skip)]
    written: bool,
}

/// A registry's host, with its port where that is not 443.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Registry(pub String);

impl TryFrom<String> for Registry {
    type Error = String;

    fn try_from(host: String) -> Result<Self, String> {
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if !host.is_empty() && host.chars().all(is_host) {
            return Ok(Self(host));
        }
        Err(format!("`{host}` is no registry: name its host alone, such as `ghcr.io` or `localhost:5000`"))
    }
}

/// A registry's host, with its port where that is not the scheme's, and `http://` or `https://` where the
/// other would be taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Mirror(#[schemars(with = "String")] pub Remote);

impl TryFrom<String> for Mirror {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Remote::mirror(&text).map(Self)
    }
}

/// What a manifest is called by its content: `sha256:` and 64 hexadecimal digits (OCI image specification,
/// "Digests").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Digest(pub String);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(hash) if hash.len() == 64 && hash.chars().all(is_hex) => Ok(Self(text)),
            _ => Err(format!("`{text}` is no digest: it is `sha256:` and 64 hexadecimal digits")),
        }
    }
}

/// A folder of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
struct Folder(String);

impl TryFrom<String> for Folder {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let is_inside = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
        if !path.is_empty() && Path::new(&path).components().all(is_inside) {
            return Ok(Self(path));
        }
        Err(format!("`{path}` is no folder of this repository: name one below it, such as `tests/scenarios`"))
    }
}

impl Project {
    /// The project with this root; one without a `svidproof.yaml` says nothing.
    pub fn at(root: &Path) -> Result<Self, ProjectError> {
        let file = root.join(PROJECT);
        if !file.is_file() {
            return Ok(Self { root: root.into(), ..Self::default() });
        }
        Self::read(&files::read_text(&file)?, &file, root).map_err(ProjectError::Invalid)
    }

    fn read(text: &str, file: &Path, root: &Path) -> Result<Self, Mistake> {
        let says_nothing = text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'));
        let said = if says_nothing { Self::default() } else { read_yaml(text, file)? };
        Ok(Self { root: root.into(), written: true, ..said })
    }

    /// Where its scenarios are.
    pub fn scenarios(&self) -> PathBuf {
        self.folder(self.scenarios.as_ref(), "tests/scenarios")
    }

    /// Where its surfaces are kept.
    pub fn snapshots(&self) -> PathBuf {
        self.folder(self.snapshots.as_ref(), "tests/snapshots")
    }

    /// Where its reports go: in a repository without the file, below the working directory.
    pub fn out(&self) -> PathBuf {
        if self.written { self.folder(self.out.as_ref(), ".svidproof") } else { ".svidproof".into() }
    }

    fn folder(&self, said: Option<&Folder>, default: &str) -> PathBuf {
        self.root.join(said.map_or(default, |folder| folder.0.trim_start_matches("./")))
    }
}

/// The JSON Schema of `svidproof.yaml`. `docs/project.schema.json` is this text, checked in; a test compares
/// the two.
pub fn schema() -> String {
    crate::scenario::schema_of::<Project>()
}

/// What `svidproof init` writes.
pub const TEMPLATE: &str = "\
# What svidproof needs to know of this repository. Every key may be left out; paths are relative to this file.
# `svidproof schema project` prints the schema of this file, `svidproof schema scenario` that of a scenario.

# Every .yaml in it is a scenario: `svidproof new NAME --chart PATH` drafts one.
scenarios: tests/scenarios
# What every client gets, kept by `svidproof test --accept`, to be compared with from then on. Check it in.
snapshots: tests/snapshots
# Where reports go: report.json, report.html and their like. Do not check it in.
out: .svidproof
# Where the cluster comes from: kind, gke or existing.
provider: kind
# Where images come from: packages builds them here, upstream pulls them, auto takes what can be had.
images: auto
# Registries whose images the cluster's engine may pull, where nodes reach none themselves.
# registries: [ghcr.io]
# The registry that nodes pull from in the place of every other, with `images: upstream`.
# registry-mirror: localhost:5000
# What images must be, where nodes pull: a tag may come to mean something else.
# digests: {envoyproxy/envoy:v1.40.0: 'sha256:…'}
";

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Result<Project, String> {
        Project::read(text, Path::new("svidproof.yaml"), Path::new("/r")).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_init_writes_it() {
        let (nothing, written) = (read("# nothing\n").unwrap(), read(TEMPLATE).unwrap());
        let folders = |project: &Project| [project.scenarios(), project.snapshots(), project.out()];
        assert_eq!(folders(&nothing), folders(&written));
        let expected = ["tests/scenarios", "tests/snapshots", ".svidproof"];
        assert_eq!(folders(&written), expected.map(|folder| Path::new("/r").join(folder)));
        assert_eq!((written.provider, written.images), (Some(Provider::Kind), Some(Source::Auto)));
    }

    #[test]
    fn what_is_said_goes() {
        let project = read("scenarios: ./e2e\nprovider: existing\nimages: upstream\n").unwrap();
        assert_eq!(project.scenarios(), Path::new("/r/e2e"));
        assert_eq!((project.provider, project.images), (Some(Provider::Existing), Some(Source::Upstream)));
        let mirror = read("registry-mirror: 'localhost:5000'\n").unwrap().registry_mirror;
        assert_eq!(mirror.unwrap().0.to_string(), "http://localhost:5000");
        let registries = read("registries: [ghcr.io, 'localhost:5000']\n").unwrap().registries;
        assert_eq!(registries, ["ghcr.io", "localhost:5000"].map(|host| Registry(host.into())));
    }

    #[rstest]
    #[case::a_registry_with_a_path(
        "registries: [ghcr.io/shop]\n",
        "svidproof.yaml:1:14: `ghcr.io/shop` is no registry: name its host alone, such as `ghcr.io` or `localhost:5000`"
    )]
    #[case::a_mirror_with_a_path(
        "registry-mirror: localhost:5000/shop\n",
        "svidproof.yaml:1:18: a mirror is a host and a port, and `localhost:5000/shop` has the path `shop`"
    )]
    #[case::no_digest(
        "digests: {a: 'sha256:01'}\n",
        "svidproof.yaml:1:14: `sha256:01` is no digest: it is `sha256:` and 64 hexadecimal digits"
    )]
    #[case::an_unknown_key(
        "\nscenarioss: a\n",
        "svidproof.yaml:2:1: unknown key `scenarioss`: did you mean `scenarios`?"
    )]
    #[case::an_unknown_value(
        "provider: kin\n",
        "svidproof.yaml:1:11: unknown value `kin`: did you mean `kind`?"
    )]
    #[case::a_folder_elsewhere(
        "out: ../out\n",
        "svidproof.yaml:1:6: `../out` is no folder of this repository"
    )]
    #[case::an_absolute_one("out: /out\n", "svidproof.yaml:1:6: `/out` is no folder of this repository")]
    #[case::twice("out: a\nout: b\n", "svidproof.yaml:2:1: the key `out` stands here twice")]
    fn a_mistake_has_its_place(#[case] text: &str, #[case] expected: &str) {
        let told = read(text).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
}
