//! Which files a scenario is made of, and when they change. Not for what is then done about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::scenario::Scenario;
use crate::sys::files::{FileError, could_not};
use crate::sys::wait;

/// An editor saves in steps (a new file, a rename, the mode), and a checkout touches many files: after this
/// long without another they are done. It is waited out after each save, so it is short.
const QUIET: Duration = Duration::from_millis(100);
/// Something that never ceases to write must not keep everyone waiting.
const LONGEST: Duration = Duration::from_secs(2);

/// Changes of files are not, or no longer, told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum WatchError {
    #[error("changes of files cannot be followed\nhint: is fs.inotify.max_user_instances used up?")]
    Start(#[source] notify::Error),
    #[error(
        "changes in {} cannot be followed\nhint: is it there, and is fs.inotify.max_user_watches used up?",
        path.display()
    )]
    Follow { path: PathBuf, source: notify::Error },
    #[error(transparent)]
    Read(#[from] FileError),
    #[error("changes of files are not told any more")]
    Ended,
}

/// Everything that a scenario is made of, by its real place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    files: BTreeSet<PathBuf>,
    /// With all below.
    folders: BTreeSet<PathBuf>,
}

impl Followed {
    /// A scenario's file alone: nobody knows what else it is made of.
    pub fn file(file: &Path) -> Result<Self, WatchError> {
        // Its folder's place, and not the file's own: an editor may put another in its place just now.
        let read = could_not("read", file);
        let name = file.file_name().unwrap_or_default();
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { files: [folder.canonicalize().map_err(read)?.join(name)].into(), folders: BTreeSet::new() })
    }

    /// The scenario's file, its charts and its values files, with what links in them lead to.
    pub fn scenario(scenario: &Scenario) -> Result<Self, WatchError> {
        let mut followed = Self::file(&scenario.file)?;
        for release in scenario.install.iter().flatten() {
            for path in scenario.sources(release) {
                followed.add(&path)?;
            }
        }
        Ok(followed)
    }

    fn add(&mut self, path: &Path) -> Result<(), WatchError> {
        let read = could_not("read", path);
        let place = path.canonicalize().map_err(read)?;
        if self.folders.iter().any(|folder| place.starts_with(folder)) {
            return Ok(());
        }
        if !place.is_dir() {
            self.files.insert(place);
            return Ok(());
        }
        self.folders.insert(place.clone());
        self.add_links(&place)
    }

    fn add_links(&mut self, folder: &Path) -> Result<(), WatchError> {
        let read = could_not("read", folder);
        for entry in std::fs::read_dir(folder).map_err(&read)? {
            let entry = entry.map_err(&read)?;
            let kind = entry.file_type().map_err(&read)?;
            if kind.is_symlink() {
                self.add(&entry.path())?;
            } else if kind.is_dir() {
                self.add_links(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether any of the changes concerns it.
    pub fn is_touched(&self, changes: &Changes) -> bool {
        let touches = |path: &PathBuf| {
            self.files.contains(path)
                || (counts(path) && self.folders.iter().any(|folder| path.starts_with(folder)))
        };
        changes.all || changes.paths.iter().any(touches)
    }
}

/// Editors put their own files beside the one that is edited.
fn counts(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == ".helmignore" || !(name.starts_with('.') || name.ends_with('~'))
}

/// What changed in one go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    paths: BTreeSet<PathBuf>,
    /// Some changes were lost, so anything may have changed.
    all: bool,
}

impl FromIterator<notify::Result<Event>> for Changes {
    fn from_iter<I: IntoIterator<Item = notify::Result<Event>>>(events: I) -> Self {
        let mut changes = Self::default();
        for event in events {
            match event {
                Ok(event) if event.need_rescan() => changes.all = true,
                // Reading a chart is not changing it: helm does that in each round.
                Ok(event) if event.kind.is_access() => {}
                Ok(event) => changes.paths.extend(event.paths),
                Err(_) => changes.all = true,
            }
        }
        changes
    }
}

/// Tells of changes, also of those that came while nobody asked.
pub struct Watcher {
    inner: RecommendedWatcher,
    events: UnboundedReceiver<notify::Result<Event>>,
}

impl Watcher {
    /// Follows nothing yet.
    pub fn new() -> Result<Self, WatchError> {
        let (send, events) = unbounded_channel();
        // The other end may be gone at the very end.
        let inner =
            notify::recommended_watcher(move |event| drop(send.send(event))).map_err(WatchError::Start)?;
        Ok(Self { inner, events })
    }

    /// From now on these as well. Again for those that are followed already: a folder may be a new one of the
    /// old name.
    pub fn follow(&mut self, followed: &Followed) -> Result<(), WatchError> {
        // A file by its folder: most editors put a new file in the old one's place.
        let parents =
            followed.files.iter().filter_map(|file| Some((file.parent()?, RecursiveMode::NonRecursive)));
        let folders = followed.folders.iter().map(|folder| (folder.as_path(), RecursiveMode::Recursive));
        for (path, mode) in parents.chain(folders) {
            self.inner
                .watch(path, mode)
                .map_err(|source| WatchError::Follow { path: path.into(), source })?;
        }
        Ok(())
    }

    /// The next changes, all of one save or of one checkout.
    pub async fn changed(&mut self) -> Result<Changes, WatchError> {
        let first = self.events.recv().await.ok_or(WatchError::Ended)?;
        Ok(wait::burst(first, QUIET, LONGEST, async || self.events.recv().await).await.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
