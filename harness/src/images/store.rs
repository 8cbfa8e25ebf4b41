//! Images inside an engine: the node image, and the containerd store that nodes find their own images in.
//!
//! The store is filled once, by the node image's containerd; a node gets a copy made of hard links. Committed
//! snapshots and blobs are never written again, so sharing them is safe; the databases are, so they are
//! copied.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ImagesError;
use super::assemble::{KEY_LABEL, LABEL};
use crate::engine::Engine;
use crate::lease::{Lease, Thing};
use crate::sys::chain;
use crate::sys::files::{could_not, remove};
use crate::sys::tool::Tool;
use crate::sys::wait::{Look, poll};

/// Gives a node its own store: hard links to `store`, real copies of what containerd writes. `node_dir` is
/// made; both lie on one file system.
pub fn link_store(store: &Path, node_dir: &Path) -> Result<(), ImagesError> {
    link(store, node_dir).map_err(|source| {
        let (from, to) = (store.to_owned(), node_dir.to_owned());
        ImagesError::Link { from, to, source }
    })
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_dir() {
        fs::create_dir_all(to)?;
        chown(to, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        return fs::read_dir(from)?.try_for_each(|item| {
            let item = item?;
            link(&item.path(), &to.join(item.file_name()))
        });
    }
    // containerd's metadata and the snapshotter's: bolt writes into the file itself.
    if meta.is_file() && from.extension().is_some_and(|extension| extension == "db") {
        return fs::copy(from, to).map(drop);
    }
    fs::hard_link(from, to)
}

/// Whether the engine has the image.
pub(super) async fn has(engine: &Engine, image: &str) -> bool {
    engine.docker().args(["image", "inspect", "--format", "{{.Id}}", image]).run().await.is_ok()
}

/// What the engine's image of that name is made of; `None` where the engine has none, or one that is not of
/// this module's making.
pub(super) async fn key(engine: &Engine, image: &str) -> Option<String> {
    let format = format!("{{{{index .Config.Labels \"{KEY_LABEL}\"}}}}");
    let inspected =
        engine.docker().args(["image", "inspect", "--format", &format, image]).run().await.ok()?;
    Some(inspected.stdout.trim().to_owned())
}

/// Whether an image that the engine has is a node image of this module's making, under whatever name.
pub(super) async fn is_own(engine: &Engine, image: &str) -> Result<bool, ImagesError> {
    let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
    let inspected = engine.docker().args(["image", "inspect", "--format", &format, image]).run().await?;
    Ok(inspected.stdout.trim() == "node")
}

pub(super) async fn pull(engine: &Engine, image: &str, log: &Path) -> Result<(), ImagesError> {
    engine.docker().args(["pull", image]).log(log).run().await?;
    Ok(())
}

pub(super) async fn load(engine: &Engine, archive: &Path, log: &Path) -> Result<(), ImagesError> {
    engine.docker().args(["load", "--input"]).arg(archive).log(log).run().await?;
    Ok(())
}

/// The container in which images are put together, by the containerd of the node image. It has the run's own
/// name and stands in its lease: two users' builds in one engine know nothing of each other, and what a build
/// that failed or was killed leaves is taken down with the run.
pub(super) struct Filler<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    name: String,
    log: &'a Path,
}

impl<'a> Filler<'a> {
    pub(super) fn new(engine: &'a Engine, lease: &'a Lease, log: &'a Path) -> Self {
        Self { engine, lease, name: format!("svidproof-images-{}", lease.id), log }
    }

    /// Fills `dir` with these images. What `dir` holds already stays.
    pub(super) async fn fill(&self, node: &str, dir: &Path, archives: &Path) -> Result<(), ImagesError> {
        let volumes = ["--volume".into(), format!("{}:/var/lib/containerd", dir.display())];
        let archives = ["--volume".into(), format!("{}:/archives:ro", archives.display())];
        let thing = self.note()?;
        let options = volumes.into_iter().chain(archives);
        self.serve(options, node, async || self.import().await).await?;
        self.end(thing).await?;
        // Made anew by each containerd, and different for each node.
        remove(&dir.join("io.containerd.grpc.v1.introspection"))?;
        Ok(remove(&dir.join("io.containerd.runtime.v2.task"))?)
    }

    /// The same inside an image, for an engine whose nodes cannot be given a store of this machine.
    pub(super) async fn commit(
        &self,
        node: &str,
        as_image: &str,
        archives: &Path,
    ) -> Result<(), ImagesError> {
        let thing = self.note()?;
        self.serve([], node, async || {
            // A copy, not a mount: the engine may be on another machine.
            let to = format!("{}:/archives", self.name);
            self.engine.docker().arg("cp").arg(archives).arg(to).log(self.log).run().await?;
            self.import().await?;
            self.inside(["rm", "-r", "/archives"]).log(self.log).run().await?;
            Ok(())
        })
        .await?;
        let entrypoint = r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#;
        let commit = self.engine.docker().args(["commit", "--change", entrypoint, "--change", "CMD []"]);
        commit.args([&self.name, as_image]).log(self.log).run().await?;
        self.end(thing).await
    }

    fn note(&self) -> Result<Thing, ImagesError> {
        let (name, env, engine) = (self.name.clone(), self.engine.env(), self.engine.id.clone());
        let thing = Thing::Container { name, env, engine };
        self.lease.making(thing.clone())?;
        Ok(thing)
    }

    async fn end(&self, thing: Thing) -> Result<(), ImagesError> {
        self.engine.docker().args(["rm", "--volumes", &self.name]).log(self.log).run().await?;
        Ok(self.lease.gone(thing)?)
    }

    /// Does `work` beside a containerd in the container, then ends that containerd in good order.
    async fn serve(
        &self,
        options: impl IntoIterator<Item = String>,
        node: &str,
        work: impl AsyncFnOnce() -> Result<(), ImagesError>,
    ) -> Result<(), ImagesError> {
        // In the foreground, so that dropping this future ends the container.
        let served = self
            .engine
            .run(&self.name, &self.lease.id)
            .args(options)
            .args(["--privileged", "--network", "none"])
            .args(["--stop-signal", "SIGTERM", "--entrypoint", "/usr/local/bin/containerd", node])
            .log(self.log)
            .run();
        let worked = async {
            poll(
                "containerd in the node image",
                Duration::from_mins(1),
                Duration::from_millis(100),
                async || match self.inside(["ctr", "version"]).run().await {
                    Ok(_) => Look::Ready(()),
                    Err(e) => Look::<_, Infallible>::NotYet(chain(&e)),
                },
            )
            .await?;
            work().await?;
            self.engine.docker().args(["stop", "-t", "60", &self.name]).log(self.log).run().await?;
            Ok::<_, ImagesError>(())
        };
        tokio::try_join!(async { Ok(served.await?) }, worked)?;
        Ok(())
    }

    async fn import(&self) -> Result<(), ImagesError> {
        let archives = self.inside(["ls", "/archives"]).run().await?.stdout;
        for archive in archives.lines() {
            let path = format!("/archives/{archive}");
            let import = self.inside(["ctr", "--namespace", "k8s.io", "images", "import", &path]);
            import.log(self.log).run().await?;
        }
        // The layers are unpacked: their archives are not needed again.
        let prune = self.inside(["ctr", "--namespace", "k8s.io", "content", "prune", "references"]);
        prune.log(self.log).run().await?;
        Ok(())
    }

    fn inside<'b>(&self, command: impl IntoIterator<Item = &'b str>) -> Tool {
        self.engine.docker().args(["exec", &self.name]).args(command)
    }
}

/// The node images of this module that the engine has, by every name: one that was pulled out of a registry
/// has no tag.
pub(super) async fn images(engine: &Engine) -> Result<Vec<String>, ImagesError> {
    let filter = format!("label={LABEL}=node");
    let listed = engine
        .docker()
        .args(["image", "ls", "--filter", &filter, "--digests", "--format"])
        .arg("{{.Repository}} {{.Tag}} {{.Digest}}")
        .run()
        .await?;
    Ok(listed.stdout.lines().filter_map(name_of).collect())
}

/// What an image is called, by a line of the list: repository, tag, digest; what it lacks is `<none>`.
fn name_of(line: &str) -> Option<String> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    match (words.next()?, words.next()?, words.next()?) {
        (_, "<none>", "<none>") => None,
        (repository, "<none>", digest) => Some(format!("{repository}@{digest}")),
        (repository, tag, _) => Some(format!("{repository}:{tag}")),
    }
}

pub(super) async fn remove_image(engine: &Engine, image: &str) -> Result<(), ImagesError> {
    engine.docker().args(["image", "rm", image]).run().await?;
    Ok(())
}

/// A path that docker cannot take as a volume's source.
pub(super) fn mountable(path: &Path) -> Result<PathBuf, ImagesError> {
    let bad = |why: &str| could_not("mount", path)(io::Error::other(why.to_owned()));
    if path.to_string_lossy().contains(':') {
        Err(bad("docker's --volume takes no path with a colon").into())
    } else {
        Ok(path.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_store_shares_files_and_copies_databases() {
        let dir = tempfile::tempdir().unwrap();
        let (store, node) = (dir.path().join("store"), dir.path().join("nodes/one"));
        fs::create_dir_all(store.join("snapshots/1/fs")).unwrap();
        fs::set_permissions(store.join("snapshots/1/fs"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(store.join("snapshots/1/fs/program"), "elf").unwrap();
        fs::write(store.join("metadata.db"), "bolt").unwrap();
        std::os::unix::fs::symlink("/nowhere", store.join("snapshots/1/fs/link")).unwrap();
        link_store(&store, &node).unwrap();
        let inode = |path: PathBuf| fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(inode(store.join("snapshots/1/fs/program")), inode(node.join("snapshots/1/fs/program")));
        assert_ne!(inode(store.join("metadata.db")), inode(node.join("metadata.db")));
        assert_eq!(fs::read(node.join("metadata.db")).unwrap(), b"bolt");
        assert_eq!(fs::read_link(node.join("snapshots/1/fs/link")).unwrap(), Path::new("/nowhere"));
        assert_eq!(fs::metadata(node.join("snapshots/1/fs")).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn an_image_is_called_by_its_tag_else_by_its_digest() {
        assert_eq!(name_of("svidproof/node 01 <none>").unwrap(), "svidproof/node:01");
        assert_eq!(name_of("r:5000/kindest/node <none> sha256:02").unwrap(), "r:5000/kindest/node@sha256:02");
        assert_eq!(name_of("<none> <none> <none>"), None);
    }

    #[test]
    fn a_store_that_cannot_be_linked_is_named() {
        let error =
            link_store(Path::new("/nowhere/store"), Path::new("/nowhere/node")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/store") && error.contains("/nowhere/node"), "{error}");
    }
}
