//! What a run's folder keeps of a session beside its lease, so that another process can take it up again:
//! `session.json`. What has to be taken down is not here but in the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Renamed, SessionError};
use crate::images::Versions;
use crate::provider::Cluster;
use crate::scenario::{Fixed, Scenario};
use crate::sys::files;

/// What `session.json` keeps of a run beside its lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The cluster, and how to reach it.
    pub cluster: Cluster,
    /// The Helm program that installed.
    pub helm: PathBuf,
    /// Where the images came from.
    pub images: String,
    /// What is in the images: part -> version. Empty where the cluster brought its own.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// What was found to run, where it says so itself: part -> versions. Goes before `versions`.
    #[serde(default)]
    pub ran: BTreeMap<String, BTreeSet<String>>,
    /// How many nodes were made beside the control plane: each has a probe.
    #[serde(default)]
    pub workers: u8,
    /// The scenarios' files, absolute.
    pub scenarios: Vec<PathBuf>,
    /// What of them is fixed since.
    #[serde(default)]
    pub fixed: Vec<Fixed>,
    /// Images that are pulled under other names than charts give them.
    #[serde(default)]
    pub renamed: Renamed,
    /// The versions that were asked for in the place of the declaration's own.
    #[serde(default)]
    pub asked: Versions,
    /// The SPIRE agent's program, for machines outside of the cluster; empty where there are none.
    #[serde(default)]
    pub agent: PathBuf,
    /// `scenario/namespace/release` -> what was last installed of it.
    #[serde(default)]
    pub installed: BTreeMap<String, Installed>,
}

/// A release that was installed and whose pods were there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// A digest of what was rendered, hooks and all.
    pub rendered: String,
    /// A digest of what Helm stored of it. By that it is known again: somebody may have called Helm since.
    pub stands: String,
}

impl Record {
    /// The record of the run in this folder.
    pub fn read(dir: &Path) -> Result<Self, SessionError> {
        let path = dir.join("session.json");
        let text = files::read(&path)?;
        serde_json::from_slice(&text).map_err(|source| SessionError::Record { path, source })
    }

    /// What the report says of versions: what ran, and of the rest what is in the images.
    pub fn all_versions(&self) -> BTreeMap<String, String> {
        let ran = self.ran.iter().map(|(part, each)| {
            (part.clone(), each.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        });
        self.versions.clone().into_iter().chain(ran).collect()
    }

    /// Whether the scenarios can be judged on what the cluster was brought up with.
    pub(super) fn fits(&self, scenarios: &[Scenario]) -> Result<(), SessionError> {
        for scenario in scenarios {
            let (file, now) = (scenario.file.clone(), scenario.fixed());
            let Some(before) = self.fixed.iter().find(|before| before.name == now.name) else {
                let known = self.fixed.iter().map(|before| before.name.clone()).collect();
                return Err(SessionError::NotUp { file, scenario: now.name, known });
            };
            if let Some(what) = before.needs_up(&now) {
                return Err(SessionError::Fixed { file, what });
            }
        }
        Ok(())
    }

    /// The versions that the run was asked to be of, asked again or not.
    pub(super) fn asked_again(&self, now: &Versions) -> Result<Versions, SessionError> {
        if [&Versions::default(), &self.asked].contains(&now) {
            return Ok(self.asked.clone());
        }
        Err(SessionError::OtherVersions { was: self.asked.to_string(), now: now.to_string() })
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), SessionError> {
        let path = dir.join("session.json");
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| SessionError::Record { path: path.clone(), source })?;
        Ok(files::replace(&path, text)?)
    }
}
