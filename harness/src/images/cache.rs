//! The content-addressed cache on disk: a folder's or file's name carries the digest of all that went into
//! it.
//!
//! Things are made below `tmp/` and renamed to their place when they are whole, so what is in its place is
//! whole. One process builds at a time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::ImagesError;
use crate::sys::files::{self, could_not, remove};
use crate::sys::progress::Progress;
use crate::sys::wait::{self, WaitError};

/// Raised when the same inputs are to give something else than before, because this module changed.
const GENERATION: &str = "1";

/// No build of images takes longer: a quarter of an hour on two cores.
const BUILD: Duration = Duration::from_hours(2);

/// The digest of a part's inputs.
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn new(of: &str) -> Self {
        Self(Sha256::new()).text(GENERATION).text(of).text(std::env::consts::ARCH)
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    pub(super) fn texts<T: AsRef<str>>(self, texts: impl IntoIterator<Item = T>) -> Self {
        texts.into_iter().fold(self, |key, text| key.text(text.as_ref()))
    }

    /// A file's content, or that of all files below a folder, with their names.
    pub(super) fn path(mut self, path: &Path) -> Result<Self, ImagesError> {
        let mut files = vec![];
        files_below(path, &mut files).map_err(could_not("read", path))?;
        files.sort();
        for file in files {
            let content = files::read(&file)?;
            self = self.text(&file.strip_prefix(path).unwrap_or(&file).to_string_lossy());
            self.0.update((content.len() as u64).to_le_bytes());
            self.0.update(content);
        }
        Ok(self)
    }

    pub(super) fn finish(self) -> String {
        hex::encode(&self.0.finalize()[..8])
    }
}

fn files_below(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.into());
        return Ok(());
    }
    fs::read_dir(path)?.try_for_each(|item| files_below(&item?.path(), files))
}

/// The cache's folders.
pub(super) struct Cache {
    pub(super) root: PathBuf,
}

/// Held while this process builds; the lock ends with it.
pub(super) struct Lock {
    _file: File,
}

impl Cache {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn part(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("parts").join(format!("{name}-{key}"))
    }

    pub(super) fn store(&self, key: &str) -> PathBuf {
        self.root.join("store").join(key)
    }

    pub(super) fn image(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("images").join(format!("{}-{key}.tar", name.replace(['/', ':'], "-")))
    }

    pub(super) fn bin(&self, key: &str) -> PathBuf {
        self.root.join("bin").join(key)
    }

    /// A link to the programs of the last build.
    pub(super) fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// In one step: who looks meanwhile sees the old programs or the new ones.
    pub(super) fn point_tools_at(&self, bin: &Path) -> Result<(), ImagesError> {
        let tools = self.tools();
        if fs::read_link(&tools).is_ok_and(|target| target == bin) {
            return Ok(());
        }
        let fresh = self.scratch("tools")?.join("link");
        let failed = could_not("link", &tools);
        std::os::unix::fs::symlink(bin, &fresh).map_err(&failed)?;
        Ok(fs::rename(&fresh, &tools).map_err(failed)?)
    }

    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.root.join("logs").join(format!("{part}.log"))
    }

    /// Waits for another svidproof that builds, then clears what an interrupted one left half made.
    pub(super) async fn lock(&self, progress: &Progress) -> Result<Lock, ImagesError> {
        let path = self.root.join("images.lock");
        let failed = could_not("lock", &path);
        files::make_folder(&self.root)?;
        let file = File::create(&path).map_err(&failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            progress.note("images: waiting for another svidproof that builds them");
            let waiting = file.try_clone().map_err(&failed)?;
            let locked = tokio::task::spawn_blocking(move || flock(waiting, FlockOperation::LockExclusive));
            let what = format!("another svidproof to be done with {}", path.display());
            let locked = wait::within(&what, BUILD, locked).await.map_err(WaitError::from)?;
            locked.map_err(|e| failed(io::Error::other(e)))?.map_err(|e| failed(e.into()))?;
        }
        remove(&self.root.join("tmp"))?;
        Ok(Lock { _file: file })
    }

    /// An empty folder to make something in.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf, ImagesError> {
        let path = self.root.join("tmp").join(name);
        remove(&path)?;
        files::make_folder(&path)?;
        Ok(path)
    }

    /// Puts what is whole into its place.
    pub(super) fn keep(made: &Path, place: &Path) -> Result<(), ImagesError> {
        files::make_folder(place.parent().unwrap_or(place))?;
        Ok(fs::rename(made, place).map_err(could_not("create", place))?)
    }

    /// Everything in its place, in the order in which `list` shows it.
    pub(super) fn contents(&self) -> Result<Vec<PathBuf>, ImagesError> {
        let mut found = vec![];
        for folder in ["parts", "images", "bin", "store"] {
            let path = self.root.join(folder);
            let failed = could_not("read", &path);
            let items = match fs::read_dir(&path) {
                Ok(items) => items.collect::<Result<Vec<_>, _>>().map_err(&failed)?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(e).into()),
            };
            let mut paths: Vec<_> = items.into_iter().map(|item| item.path()).collect();
            paths.sort();
            found.extend(paths);
        }
        Ok(found)
    }
}

/// The bytes below a path that no earlier call with the same `seen` counted: hard links count once.
pub(super) fn bytes(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        return fs::read_dir(path)?.try_fold(0, |sum, item| Ok(sum + bytes(&item?.path(), seen)?));
    }
    Ok(if meta.is_file() && seen.insert((meta.dev(), meta.ino())) { meta.len() } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_changes_with_a_files_content_and_name_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let key = || Key::new("part").path(dir.path()).unwrap().finish();
        fs::write(dir.path().join("a"), "1").unwrap();
        let first = key();
        fs::write(dir.path().join("a"), "1").unwrap();
        assert_eq!(key(), first);
        fs::write(dir.path().join("a"), "2").unwrap();
        let second = key();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(first != second && second != key());
    }

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(Key::new("x").texts(["ab", "c"]).finish(), Key::new("x").texts(["a", "bc"]).finish());
    }

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "12345").unwrap();
        fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(bytes(dir.path(), &mut BTreeSet::new()).unwrap(), 5);
    }

    #[tokio::test]
    async fn what_an_interrupted_build_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().into());
        let scratch = cache.scratch("half").unwrap();
        fs::write(scratch.join("file"), "half").unwrap();
        let _lock = cache.lock(&Progress::new()).await.unwrap();
        assert!(!scratch.exists());
    }
}
