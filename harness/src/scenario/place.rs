//! Where things stand in a scenario's file: the document as places alone. Not for what stands there.

use std::fmt::Formatter;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Where things stand in the file, for mistakes that only show once all of it is read: the document again, as
/// places alone.
#[derive(Debug)]
pub(super) struct Node {
    place: Place,
    inner: Inner,
}

/// Line and column, both from 1; 0 where nobody wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
}

/// Where something is written, for a reader who has the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Source {
    /// The scenario's file, relative to the repository that it lies in (the nearest folder upwards with a
    /// `.git`), or else to the project.
    pub file: PathBuf,
    /// The line at which the check begins, or the matrix or list of forged credentials that stands for it.
    /// From 1.
    pub line: u64,
    /// The column there. From 1.
    pub column: u64,
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

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
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
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        serde_saphyr::from_str(text).unwrap()
    }

    fn at(node: &Node) -> (u64, u64) {
        (node.place().line, node.place().column)
    }

    #[test]
    fn a_path_leads_to_what_stands_there() {
        let node = read("a: 1\nb:\n  - {c: x}\n  - {c: [true, 1.5, null]}\n");
        assert_eq!(at(node.at("a")), (1, 4));
        assert_eq!(at(node.at("b").nth(1).at("c").nth(2)), (4, 21));
        assert_eq!(node.key("b"), Place { line: 2, column: 1 });
    }

    #[test]
    fn a_path_that_ends_early_leads_to_the_nearest_place() {
        let node = read("a: {b: x}\n");
        assert_eq!(at(node.at("a").at("missing")), (1, 4));
        assert_eq!(at(node.at("a").at("b").nth(7)), (1, 8));
        assert_eq!(node.at("a").key("missing"), Place { line: 1, column: 4 });
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let node = read("a: &x 1\nb: *x\n");
        assert_eq!(at(node.at("b")).0, 2);
    }
}
