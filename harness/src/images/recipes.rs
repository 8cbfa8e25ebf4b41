//! What the parts are made of, as `fixtures/images/images.yaml` says it, a type a kind of recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A family of Go programs: one module, whose `go.mod` and `go.sum` lie in the folder of the part's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Go {
    pub(super) part: String,
    /// The module whose version is the family's.
    pub(super) module: String,
    /// A program's file name and its package.
    pub(super) programs: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) ldflags: String,
    #[serde(default)]
    pub(super) cgo: bool,
    /// What of the module's sources is left out.
    #[serde(default)]
    pub(super) without: Option<Without>,
    /// How long it took where that was measured, for who waits.
    #[serde(default)]
    pub(super) takes: Option<String>,
    /// Versions that can be had in the place of its own: each has a `go.mod` and a `go.sum` too.
    #[serde(default)]
    pub(super) others: Vec<String>,
    /// Where the `go.mod` of the version that is taken lies.
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

/// Lines of a module's sources that are left out before it is compiled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Without {
    /// Where they are, below the module.
    pub(super) folders: Vec<PathBuf>,
    /// A regular expression that finds them.
    #[serde(deserialize_with = "regex")]
    pub(super) lines: Regex,
}

fn regex<'de, D: Deserializer<'de>>(from: D) -> Result<Regex, D::Error> {
    Regex::new(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Debian {
    pub(super) part: String,
    pub(super) version: String,
    pub(super) suite: String,
    pub(super) packages: Vec<String>,
    pub(super) remove: Vec<String>,
    /// How long it took where that was measured, for who waits.
    #[serde(default)]
    pub(super) takes: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pip {
    pub(super) part: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) sha256: String,
    /// Versions that can be had in the place of its own.
    #[serde(default)]
    pub(super) others: Vec<Wheel>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wheel {
    pub(super) version: String,
    pub(super) sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct C {
    pub(super) part: String,
    pub(super) version: String,
    pub(super) source: PathBuf,
}

/// Packages of this workspace, and the folders with their sources.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cargo {
    pub(super) part: String,
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// How long it took where that was measured, for who waits.
    #[serde(default)]
    pub(super) takes: Option<String>,
}
