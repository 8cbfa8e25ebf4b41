//! Files and folders, with errors that say what could not be done to which. Knows nothing of what is in them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What could not be done to a file or a folder.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {}", .path.display())]
pub struct FileError {
    /// A verb, as a sentence goes on after "could not".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// For `map_err`: names what was tried, and on what.
pub fn could_not(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError { doing, path: path.clone(), source }
}

/// All of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(could_not("read", path))
}

/// All of a file that is text in UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(could_not("read", path))
}

/// Makes the file, or replaces its content.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    fs::write(path, content).map_err(could_not("write", path))
}

/// Makes the file, or puts another in its place, for its owner alone: who reads it gets the one or the other,
/// whole, whatever happens meanwhile.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let replaced = || {
        // Its mode is 0600 from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content.as_ref())?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|failed| failed.error)
    };
    replaced().map_err(could_not("write", path))
}

/// Makes the folder and those above it, where they are not there.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(could_not("make the folder", path))
}

/// Makes a folder that only its owner may look into.
pub fn make_own_folder(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(could_not("make the folder", path))
}

/// Makes a folder that is not there yet, and that everybody may look into.
pub fn make_open_folder(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    let open = fs::Permissions::from_mode(0o755);
    // The caller's umask may say otherwise.
    let made = fs::create_dir(path).and_then(|()| fs::set_permissions(path, open));
    made.map_err(could_not("make the folder", path))
}

/// Whether the disk that a folder is on has less than 1 MB left: who could not write something has mostly
/// removed a part of it again.
pub fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 1 << 20)
}

/// What was made or renamed in the folder is on disk from then on.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(could_not("sync", path))
}

/// Copies a file or a whole folder to where nothing is yet, with what links lead to. The copy is its owner's
/// to change, whatever the original was.
pub fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    if !from.is_dir() {
        return write(to, read(from)?);
    }
    make_folder(to)?;
    let failed = could_not("read", from);
    for entry in fs::read_dir(from).map_err(&failed)? {
        let name = entry.map_err(&failed)?.file_name();
        copy(&from.join(&name), &to.join(name))?;
    }
    Ok(())
}

/// Removes a file or a whole folder; one that is not there is as good as removed. A link goes, not what it
/// leads to.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(could_not("remove", path)(source)),
        _ => Ok(()),
    }
}

/// A file's path in the repository that it lies in, as CI systems name it: relative to the nearest folder
/// upwards that has a `.git`. `None` where there is no such file or folder.
pub fn in_repository(file: &Path) -> Option<PathBuf> {
    let real = file.canonicalize().ok()?;
    let root = real.ancestors().skip(1).find(|folder| folder.join(".git").exists())?;
    real.strip_prefix(root).ok().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_deed_and_the_file_and_keeps_the_reason() {
        let error = read(Path::new("/nowhere/file")).unwrap_err();
        assert_eq!(error.to_string(), "could not read /nowhere/file");
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, "old").unwrap();
        let mut before = fs::File::open(&path).unwrap();
        replace(&path, "new").unwrap();
        let old = io::read_to_string(&mut before).unwrap();
        assert_eq!((old.as_str(), read_text(&path).unwrap().as_str()), ("old", "new"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        replace(&path.join("below a file"), "").unwrap_err();
    }

    #[test]
    fn removing_takes_what_is_there_and_is_content_with_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file, link) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        make_folder(&folder.join("below")).unwrap();
        write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&folder, &link, &dir.path().join("nothing")] {
            remove(path).unwrap();
        }
        assert_eq!(
            (folder.exists(), link.is_symlink(), read_text(&file).unwrap().as_str()),
            (false, false, "text")
        );
        remove(&file.join("below a file")).unwrap_err();
    }
}
