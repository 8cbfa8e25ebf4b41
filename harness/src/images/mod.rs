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
mod declared;
mod go;
mod own;
mod parts;
mod pulls;
mod push;
mod recipes;
mod remote;
mod store;
mod versions;

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
use choose::{choose, fits, needed};
use declaration::{Declaration, Image, Sources, part_of};
use parts::{Compilers, Part};

use crate::engine::Engine;
use crate::lease::{Lease, LeaseError};
use crate::sys::files::{FileError, could_not, remove};
use crate::sys::progress::Progress;
use crate::sys::tool::ToolError;
use crate::sys::wait::WaitError;

pub use choose::makers;
pub use declared::{Declared, declared, declared_as};
pub use own::{archives, full_name, names, registry, repository};
pub use pulls::Pulls;
pub use push::{Which, push};
pub use remote::{Remote, RemoteError};
pub use store::link_store;
pub use versions::{PARTS, Versions, in_versions, served};

/// How many parts are compiled at once. Each keeps every processor busy, but while it links or waits for the
/// network: then a second one does.
const AT_ONCE: usize = 2;

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
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(
        "the container engine could not pull the node image {name} from the mirror {mirror}\n\
         hint: by plain HTTP docker pulls from 127.0.0.0/8 and from where its `insecure-registries` say"
    )]
    NodeNotPulled { name: String, mirror: String, source: ToolError },
    #[error(
        "{image} is {found} at the mirror, and `digests` of svidproof.yaml wants {pinned}\n\
         hint: if what is there now is meant, write its digest; the tag was given to something else since"
    )]
    NotPinned { image: String, found: String, pinned: String },
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
    #[error(
        "a cluster of svidproof's own runs programs of its own, and these are built on Linux alone: this \
         machine is {os}\n\
         hint: run it on a Linux machine; from here `--provider gke`, `--provider existing` and `check-live` \
         work, with the probe from a registry (`--registry`)"
    )]
    NotLinux { os: &'static str },
    #[error(
        "{part} {version} cannot be built here; it can be had as {served}\n\
         hint: with `--images upstream` nodes pull any version that the registry has; in a checkout, \
         `scripts/add-version` adds one (docs/images.md)"
    )]
    NotServed { part: String, version: String, served: String },
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
        match self {
            Self::NotInEngine { .. }
            | Self::NoName { .. }
            | Self::NotServed { .. }
            | Self::NotPinned { .. } => true,
            Self::Remote(error) => error.is_input(),
            _ => false,
        }
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
    /// Whether that image is svidproof's own, under whatever name.
    pub own_node: bool,
    /// The containerd store for [`link_store`]; none where the node image holds its images itself, or pulls
    /// them.
    pub store: Option<PathBuf>,
    /// Archives that a new node must still be given (`kind load image-archive`).
    pub load: Vec<PathBuf>,
    /// The folder with kind, helm and kubectl.
    pub bin: PathBuf,
    /// The Kubernetes of the nodes.
    pub kubernetes: String,
    /// The tags of etcd and CoreDNS that a node image of svidproof's own has: kubeadm asks for those of its
    /// own release else.
    pub tags: BTreeMap<&'static str, String>,
    /// Each part's version; of an image that is pulled through a mirror, its digest there.
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

/// The source itself, where `auto` leaves it open: then the mirror is asked, where there is one.
///
/// # Errors
/// This machine cannot build any.
pub async fn settled(
    source: Source,
    mirror: Option<&Remote>,
    progress: &Progress,
) -> Result<Source, ImagesError> {
    let source = if source == Source::Auto { choose(mirror, progress).await } else { source };
    fits(source, std::env::consts::OS, std::env::consts::ARCH)
}

/// Makes everything that a cluster needs, or finds it made. What must not stay is noted in the lease.
pub async fn build(
    root: &Path,
    engine: &Engine,
    source: Source,
    versions: &Versions,
    pulls: &Pulls<'_>,
    lease: &Lease,
    progress: &Progress,
) -> Result<Images, ImagesError> {
    let source = settled(source, pulls.mirror, progress).await?;
    let declaration = Declaration::of(root, versions, source)?;
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
    let mut images = Images {
        source,
        node: declaration.node.upstream.clone(),
        own_node: source == Source::Packages,
        kubernetes: declaration.kubernetes().into(),
        tags: ["etcd", "coredns"].map(|name| (name, declaration.tag(name).into())).into(),
        store: None,
        load: vec![],
        bin,
        versions: declaration.versions.clone(),
    };
    if source == Source::Upstream {
        images.load = build.app_archives().await?;
        // What is in the others' images is not known.
        images.versions.retain(|part, _| declaration.tools.iter().any(|tool| part_of(tool) == Some(part)));
        match pulls.mirror {
            Some(mirror) => {
                let pulled = build.mirrored_node(mirror, pulls, &mut images.versions).await?;
                (images.node, images.own_node) = pulled;
            }
            None => images.node = pulls.named(&images.node),
        }
        return Ok(images);
    }
    let keys = build.keys()?;
    images.node = build.node(&keys).await?;
    if engine.private {
        images.store = Some(build.store(&keys, &images.node).await?);
    } else {
        images.node = build.filled_node(&keys, &images.node).await?;
    }
    Ok(images)
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
    let source = settled(source, None, progress).await?;
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

/// Makes those that are not there.
async fn make(
    parts: &[Part<'_>],
    declaration: &Declaration,
    cache: &Cache,
    progress: &Progress,
) -> Result<(), ImagesError> {
    // Before what takes twenty minutes.
    if parts.iter().any(Part::is_roots_to_make) && !rustix::process::geteuid().is_root() {
        return Err(ImagesError::NotRoot);
    }
    let jobs = Semaphore::new(AT_ONCE);
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

/// A program out of a declared image, for this machine, made where it is not there; with its version, which
/// is the one that is wanted where that can be built.
pub async fn out_of(
    root: &Path,
    image: &str,
    name: &str,
    versions: &Versions,
    progress: &Progress,
) -> Result<(PathBuf, String), ImagesError> {
    let can = versions.clone().served(&Declaration::load(root)?);
    let declaration = Declaration::of(root, &can, Source::Packages)?;
    let image = declaration.image(image)?;
    let missing = || ImagesError::NoPart { part: name.into() };
    let source = image.files.values().find(|source| source.ends_with(&format!("/{name}")));
    let source = source.ok_or_else(missing)?;
    let part = part_of(source).ok_or_else(missing)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let compilers = Compilers::find(&cache).await?;
    let parts = parts_of(&[image], &declaration, &compilers, &cache)?;
    let path = Made::new(&declaration, &parts).path(source)?;
    // What is there is whole: nobody has to be waited for.
    if !path.exists() {
        let _lock = cache.lock(progress).await?;
        make(&parts, &declaration, &cache, progress).await?;
    }
    Ok((path, declaration.versions.get(part).cloned().unwrap_or_default()))
}

/// A program that the last build made, at a path that stays: for who builds no images (another provider's
/// cluster, a script).
pub fn tool(name: &str) -> Option<PathBuf> {
    Some(Cache::at(crate::sys::dirs::cache()).tools().join(name)).filter(|path| path.exists())
}

/// The digests that a mirror has images under, by name.
///
/// # Errors
/// The first that it does not have, or does not let have, or of which it does not say so.
pub async fn digests(
    mirror: &Remote,
    names: impl IntoIterator<Item = &str>,
) -> Result<BTreeMap<String, String>, RemoteError> {
    let client = remote::Client::of(mirror)?;
    let asked = names
        .into_iter()
        .map(async |name| Ok::<_, RemoteError>((name.to_owned(), client.digest(name).await?)));
    Ok(try_join_all(asked).await?.into_iter().collect())
}

/// What svidproof's own programs are called in a registry that they were pushed to, by the names that charts
/// give them: each by its digest, so that no node takes one of before for it.
///
/// # Errors
/// As of [`digests`].
pub async fn in_registry(root: &Path, registry: &Remote) -> Result<BTreeMap<String, String>, ImagesError> {
    let declaration = Declaration::load(root)?;
    let client = remote::Client::of(registry)?;
    let own = declaration.common().filter(|image| declaration.is_app(image));
    let asked = own.map(async |image| {
        let there = format!("{}@{}", registry.repository(&image.name), client.own(&image.name).await?);
        Ok::<_, ImagesError>((image.name.clone(), there))
    });
    Ok(try_join_all(asked).await?.into_iter().collect())
}

/// What the cache holds.
pub async fn list(root: &Path) -> Result<Vec<Cached>, ImagesError> {
    let cache = Cache::at(crate::sys::dirs::cache());
    let needed = needed(root, &cache).await?;
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
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let old: Vec<_> = list(root).await?.into_iter().filter(|cached| !cached.current).collect();
    old.iter().try_for_each(|cached| remove(&cache.root.join(&cached.name)))?;
    let needed = needed(root, &cache).await?;
    for image in store::images(engine).await?.into_iter().filter(|image| !needed.nodes.contains(image)) {
        store::remove_image(engine, &image).await?;
    }
    Ok(old)
}
