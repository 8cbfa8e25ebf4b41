//! What is to be made: the source of images, the digests of what is made from all parts, and what of the
//! cache and of the engine the declaration needs. Makes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assemble::Made;
use super::cache::{Cache, Key};
use super::declaration::{self, Declaration};
use super::parts::{self, Compilers};
use super::versions::combinations;
use super::{ImagesError, Remote, Source, Versions, served};
use crate::sys::chain;
use crate::sys::progress::Progress;

/// The registry that `auto` asks where there is no mirror.
const REGISTRY: &str = "https://registry.k8s.io/v2/";
/// How long `auto` waits for its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// The node image's repository in the engine.
pub(super) const NODE: &str = "svidproof/node";

/// What both sources need of the cache and of the engine.
pub(super) struct Needed {
    pub(super) paths: BTreeSet<PathBuf>,
    pub(super) nodes: BTreeSet<String>,
}

/// In whichever versions a run may ask for.
pub(super) async fn needed(root: &Path, cache: &Cache) -> Result<Needed, ImagesError> {
    let compilers = Compilers::find(cache).await?;
    let mut needed = Needed { paths: BTreeSet::new(), nodes: BTreeSet::new() };
    for versions in combinations(&served(root)?) {
        let declaration = Declaration::of(root, &versions, Source::Packages)?;
        add(&declaration, &compilers, cache, &mut needed)?;
    }
    Ok(needed)
}

/// The programs that make what a cluster needs and is not in the cache.
///
/// # Errors
/// The declaration cannot be read, or a version that is asked for is not in it.
pub async fn makers(
    root: &Path,
    source: Source,
    versions: &Versions,
) -> Result<BTreeSet<&'static str>, ImagesError> {
    let declaration = Declaration::of(root, versions, source)?;
    let cache = Cache::at(crate::sys::dirs::cache());
    let sources =
        if source == Source::Packages { declaration.cluster() } else { declaration.tools_and_apps() };
    match Compilers::find(&cache).await {
        Ok(compilers) => {
            let parts = parts::plan(&declaration, &compilers, &cache, &sources)?;
            Ok(parts.iter().flat_map(parts::Part::makers).copied().collect())
        }
        // Nothing can be in the cache.
        Err(_) => Ok(["go", "cargo", "cc"].into()),
    }
}

fn add(
    declaration: &Declaration,
    compilers: &Compilers,
    cache: &Cache,
    needed: &mut Needed,
) -> Result<(), ImagesError> {
    let all = declaration.with(&declaration.images.iter().collect::<Vec<_>>());
    let parts = parts::plan(declaration, compilers, cache, &all)?;
    needed.paths.extend(parts.iter().map(|part| part.dir.clone()));
    let made = Made::new(declaration, &parts);
    for image in declaration.images.iter().filter(|image| image.extra) {
        needed.paths.insert(cache.image(&image.name, &made.image_key(image)?));
    }
    for (sources, is_cluster) in [(declaration.cluster(), true), (declaration.tools_and_apps(), false)] {
        let parts = parts::plan(declaration, compilers, cache, &sources)?;
        needed.paths.insert(bin_of(cache, declaration, &parts));
        needed.paths.extend(parts.iter().map(|part| part.dir.clone()));
        let made = Made::new(declaration, &parts);
        for image in declaration.common().filter(|image| declaration.is_app(image)) {
            needed.paths.insert(cache.image(&image.name, &made.image_key(image)?));
        }
        if is_cluster {
            let keys = Keys::of(declaration, &made)?;
            needed.paths.extend([cache.store(&keys.base), cache.store(&keys.store)]);
            needed.nodes.extend([format!("{NODE}:{}", keys.node), format!("{NODE}:{}", keys.store)]);
        }
    }
    Ok(())
}

/// `upstream` where the registry, or the mirror of all, answers in time as a registry does: with 200, or with
/// 401 and a challenge.
pub(super) async fn choose(mirror: Option<&Remote>, progress: &Progress) -> Source {
    let registry = mirror.map_or_else(|| REGISTRY.to_owned(), |mirror| format!("{mirror}/v2/"));
    let no_answer = || format!("no answer within {} s", ANSWER.as_secs());
    let asked = async {
        let client = reqwest::Client::builder().timeout(ANSWER).build().map_err(|e| e.to_string())?;
        let status = client
            .get(&registry)
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
            progress.note(&format!("images: {registry} answers: taking upstream images (--images upstream)"));
            Source::Upstream
        }
        Err(why) => {
            progress.note(&format!(
                "images: building from package registries (--images packages); {registry}: {why}"
            ));
            Source::Packages
        }
    }
}

/// The digests of what is made from all parts.
pub(super) struct Keys {
    pub(super) node: String,
    /// The store without this workspace's own images, and with them.
    pub(super) base: String,
    pub(super) store: String,
}

impl Keys {
    pub(super) fn of(declaration: &Declaration, made: &Made<'_>) -> Result<Self, ImagesError> {
        let images = |apps: bool| -> Result<Vec<String>, ImagesError> {
            let chosen = declaration.common().filter(|image| declaration.is_app(image) == apps);
            chosen.map(|image| made.image_key(image)).collect()
        };
        let node = made.node_key()?;
        let base = Key::new("store").text(&node).texts(images(false)?).finish();
        let store = Key::new("store with apps").text(&base).texts(images(true)?).finish();
        Ok(Self { node, base, store })
    }
}

pub(super) fn bin_of(cache: &Cache, declaration: &Declaration, parts: &[parts::Part<'_>]) -> PathBuf {
    let tools = |part: &&parts::Part<'_>| {
        declaration.tools.iter().any(|tool| declaration::part_of(tool) == Some(part.name))
    };
    let keys = parts.iter().filter(tools).map(|part| part.key.as_str());
    cache.bin(&Key::new("bin").texts(&declaration.tools).texts(keys).finish())
}

/// svidproof's own programs run in the cluster, and are built by this machine's compiler, wherever all else
/// comes from. Envoy's wheel and the libraries beside it are named for one architecture in the declaration.
pub(super) fn fits(source: Source, os: &'static str, arch: &'static str) -> Result<Source, ImagesError> {
    if os != "linux" {
        return Err(ImagesError::NotLinux { os });
    }
    if source == Source::Packages && arch != "x86_64" {
        return Err(ImagesError::Arch { arch });
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_cannot_build_images_is_told_so_before_it_tries() {
        assert_eq!(fits(Source::Packages, "linux", "x86_64").unwrap(), Source::Packages);
        assert_eq!(fits(Source::Upstream, "linux", "aarch64").unwrap(), Source::Upstream);
        let told = fits(Source::Packages, "linux", "aarch64").unwrap_err().to_string();
        assert!(told.contains("this machine is aarch64") && told.contains("--images upstream"), "{told}");
        let told = fits(Source::Upstream, "macos", "aarch64").unwrap_err().to_string();
        assert!(told.contains("this machine is macos") && told.contains("check-live"), "{told}");
    }
}
