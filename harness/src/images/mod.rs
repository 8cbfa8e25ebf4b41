//! Programs and images: builds what `fixtures/images/images.yaml` declares from package registries, into a
//! content-addressed cache.
//!
//! The way through: parts (programs, a Debian root) are built side by side; images are assembled from them
//! without an engine; the node image is loaded into the engine, and its containerd fills the store that nodes
//! get hard links to. Nothing here starts a cluster.

mod archive;
mod assemble;
mod cache;
mod declaration;
mod parts;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::Semaphore;

use assemble::Made;
use cache::{Cache, Key, remove};
use declaration::{Declaration, Image};
use parts::Compilers;

use crate::engine::Engine;
use crate::sys::progress::Progress;
use crate::sys::tool::ToolError;
use crate::sys::wait::WaitError;

pub use store::link_store;

/// The registry that `auto` asks.
const REGISTRY: &str = "https://registry.k8s.io/v2/";
/// How long `auto` waits for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// The node image's repository in the engine.
const NODE: &str = "svidproof/node";

#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    #[error("{}: {problem}", .path.display())]
    Declaration { path: PathBuf, problem: String },
    #[error("could not build {part}: {cause}")]
    Part { part: String, cause: Box<ImagesError> },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Wait(#[from] WaitError<std::convert::Infallible>),
    #[error("could not {what} {}: {source}", .path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("could not link the store {} to {}: {source}\nhint: both must lie on one file system, and only root may link them", .from.display(), .to.display())]
    Link { from: PathBuf, to: PathBuf, source: io::Error },
    #[error("no image `{name}` is declared\nhint: declared are {declared}")]
    NotDeclared { name: String, declared: String },
    #[error("this build does not make the part `{part}`")]
    NoPart { part: String },
    #[error(
        "debootstrap makes the node's root file system as root only\nhint: run as root, or take `--images upstream` where a registry answers"
    )]
    NotRoot,
}

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
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

/// Makes everything that a cluster needs, or finds it made.
pub async fn build(
    root: &Path,
    engine: &Engine,
    source: Source,
    progress: &Progress,
) -> Result<Images, ImagesError> {
    let declaration = Declaration::load(root)?;
    let source = if source == Source::Auto { choose(progress).await } else { source };
    let cache = Cache::at(crate::sys::dirs::cache());
    let _lock = cache.lock(progress).await?;
    let compilers = Compilers::find().await?;
    let parts = parts::plan(&declaration, &compilers, &cache, source == Source::Packages)?;
    let jobs = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
    try_join_all(parts.iter().map(|part| part.build(&declaration, &cache, &jobs, progress))).await?;

    let build = Build {
        declaration: &declaration,
        cache: &cache,
        engine,
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

/// Gives the engine itself declared images, for containers beside any cluster. One that it has already, made
/// of the same, stays.
pub async fn load(
    root: &Path,
    engine: &Engine,
    names: &[String],
    source: Source,
    progress: &Progress,
) -> Result<(), ImagesError> {
    let declaration = Declaration::load(root)?;
    let image = |name: &String| {
        let found = declaration.images.iter().find(|image| image.name == *name);
        let declared =
            || declaration.images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| ImagesError::NotDeclared { name: name.clone(), declared: declared() })
    };
    let images: Vec<_> = names.iter().map(image).collect::<Result<_, _>>()?;
    let source = if source == Source::Auto { choose(progress).await } else { source };
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
    let compilers = Compilers::find().await?;
    let parts = parts::plan(&declaration, &compilers, &cache, true)?;
    let jobs = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
    let needed = parts
        .iter()
        .filter(|part| built.iter().any(|image| declaration.parts_of(image).any(|name| name == part.name)));
    try_join_all(needed.map(|part| part.build(&declaration, &cache, &jobs, progress))).await?;
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

/// A program that the last build made, at a path that stays: for who builds no images (another provider's
/// cluster, a script).
pub fn tool(name: &str) -> Option<PathBuf> {
    Some(Cache::at(crate::sys::dirs::cache()).tools().join(name)).filter(|path| path.exists())
}

/// The names of all images that charts may use.
pub fn declared(root: &Path) -> Result<Vec<String>, ImagesError> {
    Ok(Declaration::load(root)?.images.into_iter().map(|image| image.name).collect())
}

/// What the cache holds.
pub async fn list(root: &Path) -> Result<Vec<Cached>, ImagesError> {
    let declaration = Declaration::load(root)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let needed = needed(&declaration, &cache).await?;
    let mut seen = BTreeSet::new();
    let entry = |path: PathBuf| {
        let bytes = cache::bytes(&path, &mut seen).map_err(|source| ImagesError::File {
            what: "read",
            path: path.clone(),
            source,
        })?;
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

/// What both sources need of the cache and of the engine.
struct Needed {
    paths: BTreeSet<PathBuf>,
    nodes: BTreeSet<String>,
}

async fn needed(declaration: &Declaration, cache: &Cache) -> Result<Needed, ImagesError> {
    let compilers = Compilers::find().await?;
    let mut needed = Needed { paths: BTreeSet::new(), nodes: BTreeSet::new() };
    for all in [true, false] {
        let parts = parts::plan(declaration, &compilers, cache, all)?;
        needed.paths.insert(bin_of(cache, declaration, &parts));
        needed.paths.extend(parts.iter().map(|part| part.dir.clone()));
        let made = Made::new(declaration, &parts);
        for image in declaration.images.iter().filter(|image| declaration.is_app(image)) {
            needed.paths.insert(cache.image(&image.name, &made.image_key(image)?));
        }
        if all {
            let keys = Keys::of(declaration, &made)?;
            needed.paths.extend([cache.store(&keys.base), cache.store(&keys.store)]);
            needed.nodes.extend([format!("{NODE}:{}", keys.node), format!("{NODE}:{}", keys.store)]);
        }
    }
    Ok(needed)
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// `upstream` where the registry answers in time as a registry does: with 200, or with 401 and a challenge.
async fn choose(progress: &Progress) -> Source {
    let no_answer = || format!("no answer within {} s", ANSWER.as_secs());
    let asked = async {
        let client = reqwest::Client::builder().timeout(ANSWER).build().map_err(|e| e.to_string())?;
        let status = client
            .get(REGISTRY)
            .send()
            .await
            .map_err(|e| if e.is_timeout() { no_answer() } else { chain(&e) })?
            .status();
        if status.is_success() || status == reqwest::StatusCode::UNAUTHORIZED {
            Ok(())
        } else {
            Err(format!("it answered {status}"))
        }
    };
    let answer: Result<(), String> = match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(no_answer()),
    };
    match answer {
        Ok(()) => {
            progress.note(&format!("images: {REGISTRY} answers: taking upstream images (--images upstream)"));
            Source::Upstream
        }
        Err(why) => {
            progress.note(&format!(
                "images: building from package registries (--images packages); {REGISTRY}: {why}"
            ));
            Source::Packages
        }
    }
}

/// The digests of what is made from all parts.
struct Keys {
    node: String,
    /// The store without this workspace's own images, and with them.
    base: String,
    store: String,
}

impl Keys {
    fn of(declaration: &Declaration, made: &Made<'_>) -> Result<Self, ImagesError> {
        let images = |apps: bool| -> Result<Vec<String>, ImagesError> {
            let chosen = declaration.images.iter().filter(|image| declaration.is_app(image) == apps);
            chosen.map(|image| made.image_key(image)).collect()
        };
        let node = made.node_key()?;
        let base = Key::new("store").text(&node).texts(images(false)?).finish();
        let store = Key::new("store with apps").text(&base).texts(images(true)?).finish();
        Ok(Self { node, base, store })
    }
}

fn bin_of(cache: &Cache, declaration: &Declaration, parts: &[parts::Part<'_>]) -> PathBuf {
    let tools = |part: &&parts::Part<'_>| {
        declaration.tools.iter().any(|tool| declaration::part_of(tool) == Some(part.name))
    };
    let keys = parts.iter().filter(tools).map(|part| part.key.as_str());
    cache.bin(&Key::new("bin").texts(&declaration.tools).texts(keys).finish())
}

/// What the steps after the parts share.
struct Build<'a> {
    declaration: &'a Declaration,
    cache: &'a Cache,
    engine: &'a Engine,
    progress: &'a Progress,
    made: Made<'a>,
}

impl Build<'_> {
    fn keys(&self) -> Result<Keys, ImagesError> {
        Keys::of(self.declaration, &self.made)
    }

    /// One folder with the tools, for PATH.
    fn bin(&self, parts: &[parts::Part<'_>]) -> Result<PathBuf, ImagesError> {
        let bin = bin_of(self.cache, self.declaration, parts);
        if !bin.exists() {
            let made = self.cache.scratch("bin")?;
            for tool in &self.declaration.tools {
                let from = self.made.path(tool)?;
                let to = made.join(from.file_name().unwrap_or_default());
                fs::hard_link(&from, &to).map_err(|source| ImagesError::File {
                    what: "link",
                    path: from,
                    source,
                })?;
            }
            Cache::keep(&made, &bin)?;
        }
        self.cache.point_tools_at(&bin)?;
        Ok(bin)
    }

    /// The archives of this workspace's own images, for clusters whose nodes have no store of ours.
    async fn app_archives(&self) -> Result<Vec<PathBuf>, ImagesError> {
        let mut archives = vec![];
        for image in self.declaration.images.iter().filter(|image| self.declaration.is_app(image)) {
            let path = self.cache.image(&image.name, &self.made.image_key(image)?);
            if !path.exists() {
                let scratch = self.cache.scratch("image")?;
                let made = scratch.join("image.tar");
                self.made.write_image(image, &scratch, &made).await?;
                Cache::keep(&made, &path)?;
            }
            archives.push(path);
        }
        Ok(archives)
    }

    /// The node image without container images, in the engine.
    async fn node(&self, keys: &Keys) -> Result<String, ImagesError> {
        let name = format!("{NODE}:{}", keys.node);
        if store::has(self.engine, &name).await {
            return Ok(name);
        }
        let step = self.progress.part("node image");
        let scratch = self.cache.scratch("node")?;
        let archive = scratch.join("node.tar");
        self.made.write_node(&name, &scratch, &archive).await?;
        let log = self.cache.log("node-image");
        remove(&log)?;
        let loaded = store::load(self.engine, &archive, &log).await;
        loaded.map_err(|cause| in_part("the node image", cause))?;
        remove(&scratch)?;
        step.done();
        Ok(name)
    }

    /// The store: first the images that seldom change, then, on hard links to those, this workspace's own.
    async fn store(&self, keys: &Keys, node: &str) -> Result<PathBuf, ImagesError> {
        let store = self.cache.store(&keys.store);
        if store.exists() {
            return Ok(store);
        }
        let base = self.cache.store(&keys.base);
        if !base.exists() {
            self.fill("image store", None, &base, node, |image| !self.declaration.is_app(image)).await?;
        }
        self.fill("image store, own programs", Some(&base), &store, node, |image| {
            self.declaration.is_app(image)
        })
        .await?;
        Ok(store)
    }

    async fn fill(
        &self,
        what: &str,
        onto: Option<&Path>,
        place: &Path,
        node: &str,
        chosen: impl Fn(&Image) -> bool,
    ) -> Result<(), ImagesError> {
        let step = self.progress.part(what);
        let made = store::mountable(&self.cache.scratch("store")?)?;
        if let Some(base) = onto {
            link_store(base, &made)?;
        }
        let archives = self.archives(chosen).await?;
        let log = self.cache.log("image-store");
        remove(&log)?;
        let filled = store::fill(self.engine, node, &made, &archives, &log).await;
        filled.map_err(|cause| in_part(what, cause))?;
        remove(&archives)?;
        Cache::keep(&made, place)?;
        step.done();
        Ok(())
    }

    /// A node image that holds all images, for an engine that a store of this machine cannot be mounted into.
    async fn filled_node(&self, keys: &Keys, node: &str) -> Result<String, ImagesError> {
        let name = format!("{NODE}:{}", keys.store);
        if store::has(self.engine, &name).await {
            return Ok(name);
        }
        let step = self.progress.part("node image with all images");
        let archives = self.archives(|_| true).await?;
        let log = self.cache.log("image-store");
        remove(&log)?;
        let filled = store::commit_filled(self.engine, node, &name, &archives, &log).await;
        filled.map_err(|cause| in_part("the node image with all images", cause))?;
        remove(&archives)?;
        step.done();
        Ok(name)
    }

    /// A folder with the archives of the chosen images, in order.
    async fn archives(&self, chosen: impl Fn(&Image) -> bool) -> Result<PathBuf, ImagesError> {
        let scratch = self.cache.scratch("layers")?;
        let archives = self.cache.scratch("archives")?;
        for (index, image) in self.declaration.images.iter().filter(|image| chosen(image)).enumerate() {
            self.made.write_image(image, &scratch, &archives.join(format!("{index:02}.tar"))).await?;
        }
        remove(&scratch)?;
        Ok(archives)
    }
}
fn in_part(part: &str, cause: ImagesError) -> ImagesError {
    ImagesError::Part { part: part.into(), cause: Box::new(cause) }
}
