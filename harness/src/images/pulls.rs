//! How nodes that pull do so, and what an image must be by then.

use std::collections::BTreeMap;

use super::{ImagesError, Remote, full_name};

/// How nodes that pull do so, and how their own image is pulled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pulls<'a> {
    /// Through this, in the place of every other registry.
    pub mirror: Option<&'a Remote>,
    /// By image, the digest that it must have.
    pub digests: Option<&'a BTreeMap<String, String>>,
}

impl Pulls<'_> {
    /// The digest that the image must have, whichever form of its name says so.
    fn digest(&self, image: &str) -> Option<&String> {
        let full = full_name(image);
        self.digests?.iter().find(|(name, _)| full_name(name) == full).map(|(_, digest)| digest)
    }

    /// The image by its digest, if it must have one.
    pub(super) fn named(&self, image: &str) -> String {
        self.digest(image).map_or_else(|| image.to_owned(), |digest| format!("{image}@{digest}"))
    }

    /// Whether the mirror has these under the digests that they must have: a tag may be another's by now.
    pub(super) fn hold(&self, found: &BTreeMap<String, String>) -> Result<(), ImagesError> {
        let other = |(image, found): (&String, &String)| {
            let pinned = self.digest(image).filter(|pinned| *pinned != found)?;
            Some((image.clone(), found.clone(), pinned.clone()))
        };
        match found.iter().find_map(other) {
            None => Ok(()),
            Some((image, found, pinned)) => Err(ImagesError::NotPinned { image, found, pinned }),
        }
    }
}
