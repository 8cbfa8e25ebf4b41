//! Programs and images: builds what `fixtures/images/images.yaml` declares from package registries, into a
//! content-addressed cache.
//!
//! The way through: parts (programs, a Debian root) are built side by side; images are assembled from them
//! without an engine; the node image is loaded into the engine, and its containerd fills the store that nodes
//! get hard links to. Nothing here starts a cluster.

mod archive;
mod assemble;
mod build;
mod cache;
mod choose;
mod declaration;
mod own;
mod parts;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use assemble::Made;
use build::Build;
use cache::Cache;
use choose::{choose, needed};
use declaration::{Declaration, Image, Sources};
use parts::{Compilers, Part};

use crate::engine::Engine;
use crate::lease::{Lease, LeaseError};
use crate::sys::files::{FileError, could_not, remove};
use crate::sys::progress::Progress;
use crate::sys::tool::ToolError;
use crate::sys::wait::WaitError;

pub use own::{archives, full_name, names, registry};
pub use store::link_store;

/// What could not be built or put where a cluster finds it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ImagesError {
    #[error("{}: {problem}", .path.display())]
    Declaration { path: PathBuf, problem: String },
    #[error("could not build {part}")]
    Part { part: String, source: Box<ImagesError> },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Wait(#[from] WaitError<std::convert::Infallible>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(
        "could not link the store {} to {}\n\
         hint: both must lie on one file system, and only root may link them",
        .from.display(),
        .to.display()
    )]
    Link { from: PathBuf, to: PathBuf, source: io::Error },
    #[error("no image `{name}` is declared\nhint: declared are {declared}")]
    NotDeclared { name: String, declared: String },
    #[error(
        "the container engine that svidproof uses has no image {name}\n\
         hint: build or load it there (`svidproof engine` says which engine that is), or name its archive: \
         FILE.tar"
    )]
    NotInEngine { name: String, source: ToolError },
    #[error(
        "the container engine could not pull {name}, whose registry svidproof.yaml names in `registries`\n\
         hint: does it have that tag, and is the engine let in (`docker login`)?"
    )]
    NotPulled { name: String, source: ToolError },
    #[error(
        "no image could be built of {}\n\
         hint: svidproof's own engine reaches no registry: `FROM` must name an image that it has (`svidproof \
         images load`), or `scratch`",
        .dockerfile.display()
    )]
    NotBuilt { dockerfile: PathBuf, source: ToolError },
    #[error(
        "{} names no image\n\
         hint: `docker save NAME --output FILE.tar` writes one with its name",
        .path.display()
    )]
    NoName { path: PathBuf },
    #[error(
        "images are built out of package registries on x86_64 alone, and this machine is {arch}\n\
         hint: where an image registry answers, `--images upstream` takes its images"
    )]
    Arch { arch: &'static str },
    #[error("this build does not make the part `{part}`")]
    NoPart { part: String },
    #[error(
        "debootstrap makes the node's root file system as root only\n\
         hint: run as root, or take `--images upstream` where a registry answers"
    )]
    NotRoot,
}

impl ImagesError {
    /// Whether the user's own input is the cause.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::NotInEngine { .. } | Self::NoName { .. })
    }
}

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `upstream` where a registry answers, else `packages`.
    #[default]
    Auto,
    /// Built here, from package registries.
    Packages,
    /// Pulled by the nodes, at the same names.
    Upstream,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Packages => "packages",
            Self::Upstream => "upstream",
        })
    }
}

/// What a cluster is made from.
#[derive(Debug, Clone)]
pub struct Images {
    /// The source that was taken: never `Auto`.
    pub source: Source,
    /// The docker image that kind makes nodes of.
    pub node: String,
    /// The containerd store for [`link_store`]; none where the node image holds its images itself, or pulls
    /// them.
    pub store: Option<PathBuf>,
    /// Archives that a new node must still be given (`kind load image-archive`).
    pub load: Vec<PathBuf>,
    /// The folder with kind, helm and kubectl.
    pub bin: PathBuf,
    /// Each part's version.
    pub versions: BTreeMap<String, String>,
}

/// One thing in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its path below the cache.
    pub name: String,
    /// What it takes beyond those listed before it: hard links count once.
    pub bytes: u64,
    /// Whether the declaration, as it is now, needs it.
    pub current: bool,
}

/// The source itself, where `auto` leaves it open.
///
/// # Errors
/// This machine cannot build any.
pub async fn settled(source: Source, progress: &Progress) -> Result<Source, ImagesError> {
    let source = if source == Source::Auto { choose(progress).await } else { source };
    fits(source, std::env::consts::ARCH)
}

/// Envoy's wheel and the libraries beside it are named for one architecture in the declaration.
fn fits(source: Source, arch: &'static str) -> Result<Source, ImagesError> {
    if source == Source::Packages && arch != "x86_64" {
        return Err(ImagesError::Arch { arch });
    }
    Ok(source)
}

/// Makes everything that a cluster needs, or finds it made. What must not stay is noted in the lease.
pub async fn build(
    root: &Path,
    engine: &Engine,
    source: Source,
    lease: &Lease,
    progress: &Progress,
) -> Result<Images, ImagesError> {
    let declaration = Declaration::load(root)?;
    let source = settled(source, progress).await?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let compilers = Compilers::find(&cache).await?;
    let sources =
        if source == Source::Packages { declaration.cluster() } else { declaration.tools_and_apps() };
    let parts = parts::plan(&declaration, &compilers, &cache, &sources)?;
    make(&parts, &declaration, &cache, progress).await?;

    let build = Build {
        declaration: &declaration,
        cache: &cache,
        engine,
        lease,
        progress,
        made: Made::new(&declaration, &parts),
    };
    let bin = build.bin(&parts)?;
    let versions = declaration.versions.clone();
    if source == Source::Upstream {
        let load = build.app_archives().await?;
        return Ok(Images {
            source,
            node: declaration.node.upstream.clone(),
            store: None,
            load,
            bin,
            versions,
        });
    }
    let keys = build.keys()?;
    let node = build.node(&keys).await?;
    if engine.private {
        let store = build.store(&keys, &node).await?;
        return Ok(Images { source, node, store: Some(store), load: vec![], bin, versions });
    }
    let node = build.filled_node(&keys, &node).await?;
    Ok(Images { source, node, store: None, load: vec![], bin, versions })
}

/// Gives the engine itself declared images, for containers beside any cluster; by full name, or without the
/// tag. One that it has already, made of the same, stays.
pub async fn load(
    root: &Path,
    engine: &Engine,
    names: &[String],
    source: Source,
    progress: &Progress,
) -> Result<(), ImagesError> {
    let declaration = Declaration::load(root)?;
    let images: Vec<_> = names.iter().map(|name| declaration.image(name)).collect::<Result<_, _>>()?;
    let source = settled(source, progress).await?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let log = cache.log("images-load");
    remove(&log)?;
    let (pulled, built): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|image| source == Source::Upstream && !declaration.is_app(image));
    for image in pulled {
        if !store::has(engine, &image.name).await {
            let step = progress.part(format!("pull {}", image.name));
            store::pull(engine, &image.name, &log).await?;
            step.done();
        }
    }
    if built.is_empty() {
        return Ok(());
    }
    let compilers = Compilers::find(&cache).await?;
    let parts = parts_of(&built, &declaration, &compilers, &cache)?;
    make(&parts, &declaration, &cache, progress).await?;
    let made = Made::new(&declaration, &parts);
    for image in built {
        if store::key(engine, &image.name).await.as_ref() == Some(&made.image_key(image)?) {
            continue;
        }
        let step = progress.part(format!("load {}", image.name));
        let scratch = cache.scratch("load")?;
        let archive = scratch.join("image.tar");
        made.write_image(image, &scratch, &archive).await?;
        store::load(engine, &archive, &log).await?;
        remove(&scratch)?;
        step.done();
    }
    Ok(())
}

/// The parts that these images are made of.
fn parts_of<'a>(
    images: &[&'a Image],
    declaration: &'a Declaration,
    compilers: &Compilers,
    cache: &Cache,
) -> Result<Vec<Part<'a>>, ImagesError> {
    let mut parts = parts::plan(declaration, compilers, cache, &declaration.with(images))?;
    let names: BTreeSet<_> = images.iter().flat_map(|image| declaration.parts_of(image)).collect();
    parts.retain(|part| names.contains(part.name));
    Ok(parts)
}

/// Makes those that are not there, as many at once as there are processors.
async fn make(
    parts: &[Part<'_>],
    declaration: &Declaration,
    cache: &Cache,
    progress: &Progress,
) -> Result<(), ImagesError> {
    let jobs = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
    try_join_all(parts.iter().map(|part| part.build(declaration, cache, &jobs, progress))).await.map(drop)
}

/// The archive of one declared image, made where it is not there.
async fn archive(root: &Path, name: &str, progress: &Progress) -> Result<PathBuf, ImagesError> {
    let declaration = Declaration::load(root)?;
    let image = declaration.image(name)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let compilers = Compilers::find(&cache).await?;
    let parts = parts_of(&[image], &declaration, &compilers, &cache)?;
    make(&parts, &declaration, &cache, progress).await?;
    Made::new(&declaration, &parts).archive(image, &cache).await
}

/// A program that svidproof runs itself, made before all others: charts are rendered by it, so that what
/// they ask for is known before a cluster is made.
pub async fn first(root: &Path, name: &str, progress: &Progress) -> Result<PathBuf, ImagesError> {
    let declaration = Declaration::load(root)?;
    let tool = declaration.tools.iter().find(|tool| tool.ends_with(&format!("/{name}")));
    let tool = tool.ok_or_else(|| ImagesError::NoPart { part: name.into() })?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let compilers = Compilers::find(&cache).await?;
    let parts = parts::plan(&declaration, &compilers, &cache, &Sources::one(tool))?;
    make(&parts, &declaration, &cache, progress).await?;
    Made::new(&declaration, &parts).path(tool)
}

/// A program that the last build made, at a path that stays: for who builds no images (another provider's
/// cluster, a script).
pub fn tool(name: &str) -> Option<PathBuf> {
    Some(Cache::at(crate::sys::dirs::cache()).tools().join(name)).filter(|path| path.exists())
}

/// The images that charts may use.
pub struct Declared {
    /// The names of those that every node has.
    pub common: Vec<String>,
    /// The names of those that a node is given where a run's manifests name them, and whether a registry has
    /// them as well.
    pub extra: BTreeMap<String, bool>,
}

impl Declared {
    /// All of their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.common.iter().chain(self.extra.keys())
    }
}

/// Those of the declaration.
pub fn declared(root: &Path) -> Result<Declared, ImagesError> {
    let declaration = Declaration::load(root)?;
    let common = declaration.common().map(|image| image.name.clone()).collect();
    let extra = declaration.images.iter().filter(|image| image.extra);
    let extra = extra.map(|image| (image.name.clone(), !declaration.is_app(image))).collect();
    Ok(Declared { common, extra })
}

/// The full name of the declared image with this name, or with this one before its tag: what version it is
/// stands in the declaration alone.
pub fn declared_as(root: &Path, name: &str) -> Result<String, ImagesError> {
    Ok(Declaration::load(root)?.image(name)?.name.clone())
}

/// What the cache holds.
pub async fn list(root: &Path) -> Result<Vec<Cached>, ImagesError> {
    let declaration = Declaration::load(root)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let needed = needed(&declaration, &cache).await?;
    let mut seen = BTreeSet::new();
    let entry = |path: PathBuf| {
        let bytes = cache::bytes(&path, &mut seen).map_err(could_not("read", &path))?;
        let name = path.strip_prefix(&cache.root).unwrap_or(&path).display().to_string();
        Ok(Cached { name, bytes, current: needed.paths.contains(&path) })
    };
    cache.contents()?.into_iter().map(entry).collect()
}

/// Removes what the declaration does not need, from the cache and from the engine. Returns what was removed.
pub async fn prune(root: &Path, engine: &Engine, progress: &Progress) -> Result<Vec<Cached>, ImagesError> {
    let declaration = Declaration::load(root)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let old: Vec<_> = list(root).await?.into_iter().filter(|cached| !cached.current).collect();
    old.iter().try_for_each(|cached| remove(&cache.root.join(&cached.name)))?;
    let needed = needed(&declaration, &cache).await?;
    for image in store::images(engine).await?.into_iter().filter(|image| !needed.nodes.contains(image)) {
        store::remove_image(engine, &image).await?;
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_build_images_is_told_so_before_it_tries() {
        assert_eq!(fits(Source::Packages, "x86_64").unwrap(), Source::Packages);
        assert_eq!(fits(Source::Upstream, "aarch64").unwrap(), Source::Upstream);
        let told = fits(Source::Packages, "aarch64").unwrap_err().to_string();
        assert!(told.contains("this machine is aarch64") && told.contains("--images upstream"), "{told}");
    }
}
