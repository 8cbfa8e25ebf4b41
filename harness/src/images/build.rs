//! What is made once all parts are: the folder of tools, archives, the node image, the store. Each is kept
//! under the digest of what it is made of, and made only where it is not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assemble::Made;
use super::cache::Cache;
use super::choose::{Keys, NODE, bin_of};
use super::declaration::{Declaration, Image};
use super::store::Filler;
use super::{ImagesError, Pulls, Remote, digests, link_store, parts, registry, store};
use crate::engine::Engine;
use crate::lease::Lease;
use crate::sys::files::{could_not, remove};
use crate::sys::progress::Progress;

/// How long the engine may take to pull the node image, which is a gigabyte.
const PULL: Duration = Duration::from_mins(10);
/// The registry of what every node of kubeadm's runs.
const KUBERNETES: &str = "registry.k8s.io";

/// What the steps after the parts share.
pub(super) struct Build<'a> {
    pub(super) declaration: &'a Declaration,
    pub(super) cache: &'a Cache,
    pub(super) engine: &'a Engine,
    pub(super) lease: &'a Lease,
    pub(super) progress: &'a Progress,
    pub(super) made: Made<'a>,
}

impl Build<'_> {
    pub(super) fn keys(&self) -> Result<Keys, ImagesError> {
        Keys::of(self.declaration, &self.made)
    }

    /// One folder with the tools, for PATH.
    pub(super) fn bin(&self, parts: &[parts::Part<'_>]) -> Result<PathBuf, ImagesError> {
        let bin = bin_of(self.cache, self.declaration, parts);
        if !bin.exists() {
            let made = self.cache.scratch("bin")?;
            for tool in &self.declaration.tools {
                let from = self.made.path(tool)?;
                let to = made.join(from.file_name().unwrap_or_default());
                fs::hard_link(&from, &to).map_err(could_not("link", &from))?;
            }
            Cache::keep(&made, &bin)?;
        }
        self.cache.point_tools_at(&bin)?;
        Ok(bin)
    }

    /// The archives of this workspace's own images, for clusters whose nodes have no store of ours.
    pub(super) async fn app_archives(&self) -> Result<Vec<PathBuf>, ImagesError> {
        let mut archives = vec![];
        for image in self.declaration.common().filter(|image| self.declaration.is_app(image)) {
            archives.push(self.made.archive(image, self.cache).await?);
        }
        Ok(archives)
    }

    /// The node image without container images, in the engine.
    pub(super) async fn node(&self, keys: &Keys) -> Result<String, ImagesError> {
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
        loaded.map_err(|source| in_part("the node image", source))?;
        remove(&scratch)?;
        step.done();
        Ok(name)
    }

    /// The node image as the mirror has it, pulled by its digest, and whether it is svidproof's own: that one
    /// brings no images along, so the mirror must have those of Kubernetes too. What was found goes into
    /// `versions`.
    pub(super) async fn mirrored_node(
        &self,
        mirror: &Remote,
        pulls: &Pulls<'_>,
        versions: &mut BTreeMap<String, String>,
    ) -> Result<(String, bool), ImagesError> {
        let upstream = &self.declaration.node.upstream;
        let found = digests(mirror, [upstream.as_str()]).await?;
        pulls.hold(&found)?;
        let name = format!("{}@{}", mirror.repository(upstream), found[upstream]);
        if !store::has(self.engine, &name).await {
            let step = self.progress.part(format!("pull {name}"));
            let pulled = self.engine.docker().limit(PULL).args(["pull", "--quiet", &name]).run().await;
            let (of, mirror) = (name.clone(), mirror.to_string());
            pulled.map_err(|source| ImagesError::NodeNotPulled { name: of, mirror, source })?;
            step.done();
        }
        versions.extend(found);
        let is_own = store::is_own(self.engine, &name).await?;
        if is_own {
            let names = self.declaration.common().map(|image| image.name.as_str());
            let own = names.filter(|name| registry(name) == KUBERNETES);
            let own = digests(mirror, own).await?;
            pulls.hold(&own)?;
            versions.extend(own);
        }
        Ok((name, is_own))
    }

    /// The store: first the images that seldom change, then, on hard links to those, this workspace's own.
    pub(super) async fn store(&self, keys: &Keys, node: &str) -> Result<PathBuf, ImagesError> {
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
        let filled = Filler::new(self.engine, self.lease, &log).fill(node, &made, &archives).await;
        filled.map_err(|source| in_part(what, source))?;
        remove(&archives)?;
        Cache::keep(&made, place)?;
        step.done();
        Ok(())
    }

    /// A node image that holds all images, for an engine that a store of this machine cannot be mounted into.
    pub(super) async fn filled_node(&self, keys: &Keys, node: &str) -> Result<String, ImagesError> {
        let name = format!("{NODE}:{}", keys.store);
        if store::has(self.engine, &name).await {
            return Ok(name);
        }
        let step = self.progress.part("node image with all images");
        let archives = self.archives(|_| true).await?;
        let log = self.cache.log("image-store");
        remove(&log)?;
        let filled = Filler::new(self.engine, self.lease, &log).commit(node, &name, &archives).await;
        filled.map_err(|source| in_part("the node image with all images", source))?;
        remove(&archives)?;
        step.done();
        Ok(name)
    }

    /// A folder with the archives of the chosen images, in order.
    async fn archives(&self, chosen: impl Fn(&Image) -> bool) -> Result<PathBuf, ImagesError> {
        let scratch = self.cache.scratch("layers")?;
        let archives = self.cache.scratch("archives")?;
        for (index, image) in self.declaration.common().filter(|image| chosen(image)).enumerate() {
            self.made.write_image(image, &scratch, &archives.join(format!("{index:02}.tar"))).await?;
        }
        remove(&scratch)?;
        Ok(archives)
    }
}

fn in_part(part: &str, source: ImagesError) -> ImagesError {
    ImagesError::Part { part: part.into(), source: Box::new(source) }
}
