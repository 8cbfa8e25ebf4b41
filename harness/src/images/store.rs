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
use crate::sys::chain;
use crate::sys::files::{could_not, remove};
use crate::sys::tool::Tool;
use crate::sys::wait::{Look, poll};

/// The container that fills a store; one at a time, under the cache's lock.
const FILLER: &str = "svidproof-images";

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

pub(super) async fn pull(engine: &Engine, image: &str, log: &Path) -> Result<(), ImagesError> {
    engine.docker().args(["pull", image]).log(log).run().await?;
    Ok(())
}

pub(super) async fn load(engine: &Engine, archive: &Path, log: &Path) -> Result<(), ImagesError> {
    engine.docker().args(["load", "--input"]).arg(archive).log(log).run().await?;
    Ok(())
}

/// Fills `dir` with these images, by the containerd of the node image. What `dir` holds already stays.
pub(super) async fn fill(
    engine: &Engine,
    node: &str,
    dir: &Path,
    archives: &Path,
    log: &Path,
) -> Result<(), ImagesError> {
    let run = engine
        .docker()
        .args(["run", "--rm", "--volume"])
        .arg(format!("{}:/var/lib/containerd", dir.display()))
        .arg("--volume")
        .arg(format!("{}:/archives:ro", archives.display()));
    serve(engine, run, node, log, async || import(engine, log).await).await?;
    // Made anew by each containerd, and different for each node.
    remove(&dir.join("io.containerd.grpc.v1.introspection"))?;
    Ok(remove(&dir.join("io.containerd.runtime.v2.task"))?)
}

/// The same inside an image, for an engine whose nodes cannot be given a store of this machine.
pub(super) async fn commit_filled(
    engine: &Engine,
    node: &str,
    as_image: &str,
    archives: &Path,
    log: &Path,
) -> Result<(), ImagesError> {
    serve(engine, engine.docker().arg("run"), node, log, async || {
        // A copy, not a mount: the engine may be on another machine.
        engine.docker().arg("cp").arg(archives).arg(format!("{FILLER}:/archives")).log(log).run().await?;
        import(engine, log).await?;
        in_filler(engine, ["rm", "-r", "/archives"]).log(log).run().await?;
        Ok(())
    })
    .await?;
    engine
        .docker()
        .args([
            "commit",
            "--change",
            r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#,
            "--change",
            "CMD []",
            FILLER,
            as_image,
        ])
        .log(log)
        .run()
        .await?;
    engine.docker().args(["rm", FILLER]).run().await?;
    Ok(())
}

/// Runs `work` beside a containerd in a container of the node image, then ends that containerd in good order.
async fn serve(
    engine: &Engine,
    run: Tool,
    node: &str,
    log: &Path,
    work: impl AsyncFnOnce() -> Result<(), ImagesError>,
) -> Result<(), ImagesError> {
    // An interrupted build may have left it.
    engine.docker().args(["rm", "--force", FILLER]).log(log).run().await?;
    // In the foreground, so that dropping this future ends the container.
    let served = run
        .args(["--name", FILLER, "--privileged", "--network", "none"])
        .args(["--stop-signal", "SIGTERM", "--entrypoint", "/usr/local/bin/containerd", node])
        .log(log)
        .run();
    let worked = async {
        poll(
            "containerd in the node image",
            Duration::from_mins(1),
            Duration::from_millis(100),
            async || match in_filler(engine, ["ctr", "version"]).run().await {
                Ok(_) => Look::Ready(()),
                Err(e) => Look::<_, Infallible>::NotYet(chain(&e)),
            },
        )
        .await?;
        work().await?;
        engine.docker().args(["stop", "-t", "60", FILLER]).log(log).run().await?;
        Ok::<_, ImagesError>(())
    };
    tokio::try_join!(async { Ok(served.await?) }, worked)?;
    Ok(())
}

async fn import(engine: &Engine, log: &Path) -> Result<(), ImagesError> {
    let archives = in_filler(engine, ["ls", "/archives"]).run().await?.stdout;
    for archive in archives.lines() {
        let path = format!("/archives/{archive}");
        in_filler(engine, ["ctr", "--namespace", "k8s.io", "images", "import", &path]).log(log).run().await?;
    }
    // The layers are unpacked: their archives are not needed again.
    in_filler(engine, ["ctr", "--namespace", "k8s.io", "content", "prune", "references"])
        .log(log)
        .run()
        .await?;
    Ok(())
}

fn in_filler<'a>(engine: &Engine, command: impl IntoIterator<Item = &'a str>) -> Tool {
    engine.docker().args(["exec", FILLER]).args(command)
}

/// The images of this module that the engine has.
pub(super) async fn images(engine: &Engine) -> Result<Vec<String>, ImagesError> {
    let filter = format!("label={LABEL}=node");
    let listed = engine
        .docker()
        .args(["image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"])
        .run()
        .await?;
    Ok(listed.stdout.lines().map(str::to_owned).collect())
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
    fn a_store_that_cannot_be_linked_is_named() {
        let error =
            link_store(Path::new("/nowhere/store"), Path::new("/nowhere/node")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/store") && error.contains("/nowhere/node"), "{error}");
    }
}
