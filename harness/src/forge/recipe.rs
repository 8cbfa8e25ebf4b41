//! The catalogue of forged credentials: how each differs from a true one, and where that is laid down. Making
//! them is `forge`'s; what must come of them is `scenario`'s.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The recipes, by name.
pub type Catalogue = BTreeMap<String, Recipe>;

/// A file that this program carries in itself is not as it must be, so nothing can be done with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "could not read {file}, which this svidproof carries in itself: {problem}\n\
     hint: mend that file in svidproof's source, and build it anew"
)]
pub struct CatalogueError {
    file: &'static str,
    problem: String,
}

static CATALOGUE: LazyLock<Result<Catalogue, CatalogueError>> = LazyLock::new(|| {
    carried(
        "fixtures/credentials/forged.yaml",
        include_str!(concat!(env!("OUT_DIR"), "/fixtures/credentials/forged.yaml")),
    )
});

/// All recipes.
///
/// # Errors
///
/// The catalogue that was compiled in is broken. Loading a scenario tells it first.
pub fn catalogue() -> Result<&'static Catalogue, CatalogueError> {
    CATALOGUE.as_ref().map_err(Clone::clone)
}

/// The recipe of that name, where there is one.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    CATALOGUE.as_ref().ok()?.get(name)
}

/// The text of a compiled-in YAML file, typed.
///
/// # Errors
///
/// It is not as its type wants it.
pub fn carried<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, CatalogueError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| CatalogueError { file, problem: error.to_string() })
}

/// How a credential differs from a true X.509-SVID; `fixtures/credentials/forged.yaml` says what each key
/// means.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// What is wrong with it, in one sentence.
    pub why: String,
    /// Where that is laid down.
    pub clause: Clause,
    #[serde(default = "the_clients_own")]
    pub(super) uris: Vec<String>,
    #[serde(default)]
    pub(super) dns: Vec<String>,
    /// Who signs it.
    #[serde(default)]
    pub signer: Signer,
    #[serde(default)]
    pub(super) valid: Valid,
    #[serde(default)]
    pub(super) ca: bool,
    #[serde(default = "yes")]
    pub(super) client_auth: bool,
    #[serde(default)]
    pub(super) key: Key,
    #[serde(default = "one")]
    pub(super) intermediates: usize,
    #[serde(default)]
    pub(super) alone: bool,
}

fn the_clients_own() -> Vec<String> {
    vec!["{id}".into()]
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

/// A place in a standard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// `X.509-SVID`, `RFC 5280`.
    pub document: String,
    /// `5.2`.
    pub section: String,
    /// The keyword that stands there; absent where the document says it without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// A keyword of RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// An absolute requirement.
    Must,
    /// A requirement that may be left out for a good reason.
    Should,
    /// An option.
    May,
}

impl Display for Clause {
    /// `X.509-SVID, section 5.2 (MUST)`.
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}, section {}", self.document, self.section)?;
        match self.level {
            Some(Level::Must) => f.write_str(" (MUST)"),
            Some(Level::Should) => f.write_str(" (SHOULD)"),
            Some(Level::May) => f.write_str(" (MAY)"),
            None => Ok(()),
        }
    }
}

/// Whose signature a forged credential carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// The trust domain's own CA.
    #[default]
    Authority,
    /// A CA with the name of the trust domain's own, and another key.
    Rogue,
    /// Its own key.
    Itself,
    /// Not made here: a SPIRE server of another trust domain mints it.
    Neighbour,
    /// Nobody's: no certificate is presented.
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Valid {
    #[default]
    Now,
    Past,
    Future,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    #[default]
    Own,
    Another,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CLAUSE: &str = "clause: {document: X.509-SVID, section: '5.2', level: MUST}";

    fn read(text: &str) -> Result<Catalogue, CatalogueError> {
        carried("forged.yaml", text)
    }

    #[test]
    fn what_is_not_said_is_as_in_a_true_svid() {
        let recipe = &read(&format!("a: {{why: so, {CLAUSE}}}")).unwrap()["a"];
        assert_eq!((recipe.signer, recipe.intermediates, recipe.client_auth), (Signer::Authority, 1, true));
        assert_eq!(recipe.clause.to_string(), "X.509-SVID, section 5.2 (MUST)");
    }

    #[rstest]
    #[case::missing("why: so", "missing field `clause`")]
    #[case::misspelt("why: so, signr: none", "unknown field `signr`")]
    #[case::no_such_signer("why: so, signer: nobody", "unknown variant `nobody`")]
    fn a_broken_catalogue_is_an_error_and_not_an_empty_one(#[case] recipe: &str, #[case] expected: &str) {
        let error = read(&format!("a: {{{recipe}}}")).unwrap_err().to_string();
        assert!(error.starts_with("could not read forged.yaml, which this svidproof carries"), "{error}");
        assert!(error.contains(expected) && error.contains("line 1"), "{error}");
    }

    #[test]
    fn a_clause_without_a_keyword_has_none() {
        let clause = Clause { document: "RFC 3986".into(), section: "6.2.1".into(), level: None };
        assert_eq!(clause.to_string(), "RFC 3986, section 6.2.1");
        assert_eq!(serde_json::to_string(&clause).unwrap(), r#"{"document":"RFC 3986","section":"6.2.1"}"#);
    }
}
