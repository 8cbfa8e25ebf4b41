//! What images there are, for who makes none: by their names.

use std::collections::BTreeMap;
use std::path::Path;

use super::declaration::Declaration;
use super::{ImagesError, Source, Versions};

/// The images that charts may use.
pub struct Declared {
    /// The names of those that every node has, and whether a registry has them as well.
    pub common: BTreeMap<String, bool>,
    /// The names of those that a node is given where a run's manifests name them, and the same.
    pub extra: BTreeMap<String, bool>,
}

impl Declared {
    /// All of their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.common.keys().chain(self.extra.keys())
    }

    /// The names of those that are svidproof's own: nodes are given them, whatever they pull.
    pub fn unknown_to_registries(&self) -> impl Iterator<Item = &str> {
        let own = self.common.iter().chain(&self.extra).filter(|(_, in_registries)| !**in_registries);
        own.map(|(name, _)| name.as_str())
    }
}

/// Those of the declaration, at these versions.
pub fn declared(root: &Path, versions: &Versions, source: Source) -> Result<Declared, ImagesError> {
    let declaration = Declaration::of(root, versions, source)?;
    let of = |extra: bool| {
        let some = declaration.images.iter().filter(|image| image.extra == extra);
        some.map(|image| (image.name.clone(), !declaration.is_app(image))).collect()
    };
    Ok(Declared { common: of(false), extra: of(true) })
}

/// The full name of the declared image with this name, or with this one before its tag: what version it is
/// stands in the declaration alone.
pub fn declared_as(root: &Path, name: &str) -> Result<String, ImagesError> {
    Ok(Declaration::load(root)?.image(name)?.name.clone())
}
