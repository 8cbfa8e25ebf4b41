//! The catalogue of forged credentials: how each differs from a true one. Making them is `forge`'s.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The recipes, by name.
pub static RECIPES: LazyLock<BTreeMap<String, Recipe>> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../../fixtures/credentials/forged.yaml")).unwrap_or_default()
});

/// How a credential differs from a true X.509-SVID; `fixtures/credentials/forged.yaml` says what each key
/// means.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Recipe {
    pub(super) uris: Vec<String>,
    pub(super) dns: Vec<String>,
    pub signer: Signer,
    pub(super) valid: Valid,
    pub(super) ca: bool,
    pub(super) client_auth: bool,
    pub(super) key: Key,
    pub(super) intermediates: usize,
    pub(super) alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    Authority,
    Rogue,
    Itself,
    /// Not made here: a SPIRE server of another trust domain mints it.
    Neighbour,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Valid {
    Now,
    Past,
    Future,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    Own,
    Another,
}

impl Default for Recipe {
    /// The sound one.
    fn default() -> Self {
        Self {
            uris: vec!["{id}".into()],
            dns: vec![],
            signer: Signer::Authority,
            valid: Valid::Now,
            ca: false,
            client_auth: true,
            key: Key::Own,
            intermediates: 1,
            alone: false,
        }
    }
}
