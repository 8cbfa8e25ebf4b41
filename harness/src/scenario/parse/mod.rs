//! From the file to a [`Scenario`], and from what is wrong in it to messages with line and column. What parts
//! mean to each other is `validate`'s.

use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use super::{Scenario, expand, validate};

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("cannot read the scenario {}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error(
        "{}: no folder from here upwards holds `helm/`, and the scenario's paths are relative to the one that does\n\
         hint: put the file into a project with a `helm/` folder",
        file.display()
    )]
    NoRoot { file: PathBuf },
    /// Never empty; in the order of the file.
    #[error("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid { mistakes: Vec<Mistake> },
}

/// One thing that is wrong in a scenario, and where. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub file: PathBuf,
    pub line: u64,
    pub column: u64,
    pub message: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

/// Reads, parses and validates; all that is wrong across the parts is told at once.
pub fn load(file: &Path) -> Result<Scenario, ScenarioError> {
    let unreadable = |source| ScenarioError::Read { file: file.into(), source };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let real = file.canonicalize().map_err(unreadable)?;
    let root = real.ancestors().skip(1).find(|folder| folder.join("helm").is_dir());
    let root = root.ok_or_else(|| ScenarioError::NoRoot { file: file.into() })?;
    read(&text, file, root)
}

pub(super) fn read(text: &str, file: &Path, root: &Path) -> Result<Scenario, ScenarioError> {
    let wrong = |error: &Error| ScenarioError::Invalid { mistakes: vec![mistake(file, error)] };
    let options = || serde_saphyr::options! { with_snippet: false };
    let mut scenario: Scenario =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| wrong(&error))?;
    let places: Node = serde_saphyr::from_str_with_options(text, options()).map_err(|error| wrong(&error))?;
    scenario.file = file.into();
    scenario.root = root.into();
    for (name, endpoint) in &mut scenario.endpoints {
        if let Some(published) = &mut endpoint.published {
            published.line = places.at("endpoints").at(name).at("published").at("host-port").place().line;
        }
    }
    let mistakes = validate::mistakes(&scenario, &places);
    if !mistakes.is_empty() {
        return Err(ScenarioError::Invalid { mistakes });
    }
    expand::expand(&mut scenario);
    Ok(scenario)
}

fn mistake(file: &Path, error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((1, 1), |location| (location.line(), location.column()));
    Mistake { file: file.into(), line, column, message: in_words(error.without_snippet()) }
}

/// The errors that users make every day in the words of a scenario; the parser's own words for the rest.
fn in_words(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => in_words(error.without_snippet()),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", instead(field, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing here"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`{}", instead(variant, expected.iter().copied()))
        }
        Error::InvalidScalar { ty: "u8" | "u16" | "u64" | "usize", .. } => {
            "expected a whole number, not negative and not too large".into()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` stands here twice"),
        Error::Eof { .. } => "the file is empty or ends too early".into(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

/// What would be right: the one name that is meant, or all that there are.
pub(super) fn instead<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    // A slip is a letter or two; more in a long name.
    let near = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .min()
        .filter(|(far, name)| *far <= (name.chars().count() / 3).max(1));
    match near {
        Some((_, name)) => format!(": did you mean `{name}`?"),
        None if known.is_empty() => ": there is none".into(),
        None => format!(": expected one of `{}`", known.join("`, `")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

/// Where things stand in the file, for mistakes that only show once all of it is read: the document again, as
/// places alone.
#[derive(Debug)]
pub(super) struct Node {
    place: Place,
    inner: Inner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

#[derive(Debug)]
enum Inner {
    Leaf,
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The value under a key. The node itself where there is none, so that a path always leads to the nearest
    /// place there is.
    pub(super) fn at(&self, key: &str) -> &Self {
        self.entry(key).map_or(self, |(_, value)| value)
    }

    /// An element of a list; a value that stands where a list of one could is its own first element.
    pub(super) fn nth(&self, index: usize) -> &Self {
        match &self.inner {
            Inner::List(items) => items.get(index).unwrap_or(self),
            Inner::Leaf | Inner::Map(_) => self,
        }
    }

    /// Where the key itself stands.
    pub(super) fn key(&self, key: &str) -> Place {
        self.entry(key).map_or(self.place, |(name, _)| place(name))
    }

    fn entry(&self, key: &str) -> Option<&(Spanned<String>, Self)> {
        match &self.inner {
            Inner::Map(entries) => entries.iter().find(|(name, _)| name.value == key),
            Inner::Leaf | Inner::List(_) => None,
        }
    }
}

fn place<T>(spanned: &Spanned<T>) -> Place {
    Place { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        Ok(Self { place: place(&spanned), inner: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InnerVisitor;
        impl<'de> Visitor<'de> for InnerVisitor {
            type Value = Inner;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("any YAML")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Inner, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Inner::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inner, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Inner::Map(entries))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inner, D::Error> {
                IgnoredAny::deserialize(deserializer).map(|_| Inner::Leaf)
            }

            fn visit_unit<E>(self) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_none<E>(self) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_str<E>(self, _: &str) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }
        }
        deserializer.deserialize_any(InnerVisitor)
    }
}

#[cfg(test)]
mod tests;
