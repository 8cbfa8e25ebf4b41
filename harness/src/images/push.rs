//! Declared images, made where they are not there, and put into a registry of the user's.

use std::path::Path;

use super::assemble::Made;
use super::cache::Cache;
use super::declaration::Declaration;
use super::parts::{self, Compilers};
use super::remote::Client;
use super::{ImagesError, Remote, Source, fits, make, parts_of};
use crate::sys::files::remove;
use crate::sys::progress::Progress;

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This workspace's own programs that every node has, which are in no registry: probe, symbank, echo.
    Own,
    /// Every one that is declared, and the node image, each under its upstream name: a mirror's content.
    All,
}

/// Puts them there, one after the other; each is told, by its name there and its digest, once it is.
pub async fn push(
    root: &Path,
    to: &Remote,
    which: Which,
    mut told: impl FnMut(&str),
    progress: &Progress,
) -> Result<(), ImagesError> {
    let client = Client::of(to)?;
    let declaration = Declaration::load(root)?;
    let source = if which == Which::All { Source::Packages } else { Source::Upstream };
    fits(source, std::env::consts::OS, std::env::consts::ARCH)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let compilers = Compilers::find(&cache).await?;
    let images: Vec<_> = match which {
        Which::Own => declaration.common().filter(|image| declaration.is_app(image)).collect(),
        Which::All => declaration.images.iter().collect(),
    };
    let parts = match which {
        Which::Own => parts_of(&images, &declaration, &compilers, &cache)?,
        Which::All => parts::plan(&declaration, &compilers, &cache, &declaration.with(&images))?,
    };
    make(&parts, &declaration, &cache, progress).await?;
    let made = Made::new(&declaration, &parts);
    let node = &declaration.node.upstream;
    let names = images.iter().map(|image| (image.name.as_str(), Some(*image)));
    let node = (which == Which::All).then_some((node.as_str(), None));
    for (name, image) in names.chain(node) {
        let step = progress.part(format!("push {name}"));
        let scratch = cache.scratch("push")?;
        let archive = scratch.join("image.tar");
        match image {
            Some(image) => made.write_image(image, &scratch, &archive).await?,
            None => made.write_node(name, &scratch, &archive).await?,
        }
        let (there, digest) = client.push(name, &archive).await?;
        remove(&scratch)?;
        told(&format!("{there}@{digest}"));
        step.done();
    }
    Ok(())
}
