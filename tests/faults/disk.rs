//! Disks that are full: the one with the run's own state, and the one that the reports go to. Each is a small
//! tmpfs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use svidproof::sys::tool::Tool;
use svidproof::sys::wait::{self, Look};

use conformance::leftovers;

use super::system::containers;
use super::{World, ended, told};

const LONG: Duration = Duration::from_mins(2);

/// Unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    async fn of(kilobytes: u32, at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let size = format!("size={kilobytes}k");
        Tool::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).run().await.unwrap();
        Self(at)
    }

    /// Until nothing more goes onto it.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("full")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let at = self.0.clone();
        tokio::task::block_in_place(|| {
            // Also where a test that failed has left somebody at work on it.
            let unmount = Tool::new("umount").arg("--lazy").arg(&at).run();
            drop(tokio::runtime::Handle::current().block_on(unmount));
        });
    }
}

/// All was judged, and is printed; that the reports are not there is told.
pub(crate) async fn out_is_full(world: &World) {
    let disk = Disk::of(16, world.path("full")).await;
    let test = ended(world.started(&["test", "--out", "full"])).await;
    let told = told(&test);
    assert_eq!(test.status.code(), Some(3), "{told}");
    for says in ["could not write full/", "No space left on device", "hint: is there room", "5 passed"] {
        assert!(told.contains(says), "`{says}` is not told: {told}");
    }
    let left: Vec<_> = std::fs::read_dir(&disk.0).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{left:?}");
}

/// The disk of the run's folder is full once there is a container of the run. All is taken down without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_disk_is_full_ends_and_leaves_nothing() {
    let world = World::new();
    let disk = Disk::of(2048, world.path("state")).await;
    let run = world.started(&["run", "--out", "out"]);
    let runs = world.path("state/svidproof/runs");
    let node = wait::poll("the run to have a container", LONG, Duration::from_millis(100), async || {
        let Some(run) = the_one_in(&runs) else { return Look::NotYet("it has no folder".into()) };
        match containers(&run).await {
            none if none.is_empty() => Look::NotYet("it has none".into()),
            _ => Look::<_, std::io::Error>::Ready(run),
        }
    });
    let id = node.await.unwrap();
    disk.fill();
    let run = ended(run).await;
    let told = told(&run);
    assert_eq!(run.status.code(), Some(3), "{told}");
    assert!(told.contains("is left on the disk of"), "{told}");
    assert_eq!(leftovers::of_run(&id, &runs.join(&id)).await.unwrap(), Vec::<String>::new(), "{told}");
}

/// The name of what is in a folder.
fn the_one_in(folder: &Path) -> Option<String> {
    let entry = std::fs::read_dir(folder).ok()?.next()?.ok()?;
    Some(entry.file_name().to_string_lossy().into_owned())
}
