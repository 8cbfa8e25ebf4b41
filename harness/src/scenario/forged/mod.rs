//! What must come of forged credentials: the tables that svidproof brings along, and what a scenario says
//! otherwise. Making the credentials is `forge`'s, trying them the stage's.

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Kind;
use crate::alert::AlertName;
use crate::forge::{CatalogueError, carried};

/// What must come of each forged credential, by its name in `fixtures/credentials/forged.yaml`.
pub type Table = BTreeMap<String, Stated>;

type Tables = BTreeMap<&'static str, Table>;

static TABLES: LazyLock<Result<Tables, CatalogueError>> = LazyLock::new(|| {
    let files = [
        (
            "spiffe-validator",
            "fixtures/credentials/expected/spiffe-validator.yaml",
            include_str!(concat!(env!("OUT_DIR"), "/fixtures/credentials/expected/spiffe-validator.yaml")),
        ),
        (
            "plain-validator",
            "fixtures/credentials/expected/plain-validator.yaml",
            include_str!(concat!(env!("OUT_DIR"), "/fixtures/credentials/expected/plain-validator.yaml")),
        ),
    ];
    files.into_iter().map(|(name, file, text)| Ok((name, carried(file, text)?))).collect()
});

/// The tables of `fixtures/credentials/expected/`, by name.
///
/// # Errors
///
/// One that was compiled in is broken. Loading a scenario tells it first.
pub fn tables() -> Result<&'static BTreeMap<&'static str, Table>, CatalogueError> {
    TABLES.as_ref().map_err(Clone::clone)
}

/// What a scenario says of forged credentials: `forged: spiffe-validator`, or the same with differences,
/// `forged: {table: spiffe-validator, but: {…}}`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(with = "ShortOrLong")]
pub struct Forged {
    /// The name of a table.
    pub table: String,
    /// What comes of a credential otherwise.
    pub but: Table,
}

/// As a scenario writes it, with a table and what is said otherwise.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Long {
    /// The name of a table.
    table: String,
    /// What comes of a credential otherwise.
    #[serde(default)]
    but: Table,
}

/// Both forms, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is of use")]
enum ShortOrLong {
    Short(String),
    Long(Long),
}

/// By hand, not `untagged`: that would take line, column and the wrong key out of an error in the long form.
impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ForgedVisitor;
        impl<'de> Visitor<'de> for ForgedVisitor {
            type Value = Forged;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str(
                    "the name of a table, such as `spiffe-validator`, or a map with `table` and `but`",
                )
            }

            fn visit_str<E: serde::de::Error>(self, table: &str) -> Result<Forged, E> {
                Ok(Forged { table: table.into(), but: Table::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Forged, A::Error> {
                let Long { table, but } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Forged { table, but })
            }
        }
        deserializer.deserialize_any(ForgedVisitor)
    }
}

/// All forged credentials at one endpoint, with TLS 1.2 and 1.3 each, and with each the sound one as their
/// control.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forging {
    /// An endpoint that gives evidence.
    pub to: String,
    /// A client that the endpoint lets in.
    pub like: String,
    /// A request of that client's that is answered with 200.
    pub send: String,
    /// Another table than the scenario's, in whose place it stands with all that the scenario says otherwise.
    #[serde(default)]
    pub table: Option<String>,
    /// Where something else must come of a credential here than the table says.
    #[serde(default)]
    pub but: Table,
}

/// What must come of a forged credential. Exactly one of `status` and `alert` is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stated {
    /// Of the answer: it is let in.
    #[serde(default)]
    pub status: Option<u16>,
    /// It is turned down with this.
    #[serde(default)]
    pub alert: Option<AlertName>,
    /// Where the alert does not tell it.
    #[serde(default)]
    pub counts: Option<Kind>,
    /// What a reader should know about this: it is as expected, and yet not as it should be.
    #[serde(default)]
    pub finding: Option<String>,
}

/// What must come of each credential at one place: the table that goes for it, and what is said otherwise,
/// nearest first. Nothing where no table is named or the name is unknown, which is a mistake of the scenario.
pub(super) fn stated<'a>(forged: Option<&'a Forged>, forging: &'a Forging) -> BTreeMap<&'a str, &'a Stated> {
    let (table, but) = match (&forging.table, forged) {
        (Some(table), _) => (table, None),
        (None, Some(Forged { table, but })) => (table, Some(but)),
        (None, None) => return BTreeMap::new(),
    };
    let table = tables().ok().and_then(|tables| tables.get(table.as_str()));
    let all = [table, but, Some(&forging.but)];
    all.into_iter().flatten().flatten().map(|(name, stated)| (name.as_str(), stated)).collect()
}

#[cfg(test)]
mod tests;
