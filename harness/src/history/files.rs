//! Where the reports lie. One is in memory at a time.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Nights;
use crate::sys::chain;
use crate::sys::files;

/// Why there is no history. Each message names the folder.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum HistoryError {
    #[error("{} is no folder\nhint: name the folder below which the nights' report.json lie", .0.display())]
    NoFolder(PathBuf),
    #[error("no report.json lies below {}\nhint: `svidproof run --out {}/NIGHT` leaves one there",
            .0.display(), .0.display())]
    Empty(PathBuf),
}

/// What a run calls its report.
const REPORT: &str = "report.json";

/// A report of two thousand cells has three megabytes: what is larger than this many bytes is none.
const LARGEST: u64 = 256 << 20;

/// Every report.json below a folder. One that cannot be read, or a folder that cannot be looked into, is kept
/// as unreadable, and is not the end of it.
pub fn read(dir: &Path) -> Result<Nights, HistoryError> {
    if !dir.is_dir() {
        return Err(HistoryError::NoFolder(dir.into()));
    }
    let mut nights = Nights::default();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(dir);
                nights.unreadable(name(dir, path), format!("it could not be looked into: {error}"));
                continue;
            }
        };
        if entry.file_name() != REPORT || entry.file_type().is_dir() {
            continue;
        }
        match content(entry.path()) {
            Ok(content) => nights.add(&name(dir, entry.path()), &content),
            Err(why) => nights.unreadable(name(dir, entry.path()), why),
        }
    }
    if nights.count() == 0 {
        return Err(HistoryError::Empty(dir.into()));
    }
    Ok(nights)
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    // A link leads to a file: what waits for a writer, such as a named pipe, would hold all the rest up.
    let about = fs::metadata(path).map_err(|error| format!("it could not be read: {error}"))?;
    if !about.is_file() {
        return Err("it is no file".into());
    }
    if about.len() > LARGEST {
        return Err(format!("it has {} bytes, and no report has more than {LARGEST}", about.len()));
    }
    files::read(path).map_err(|error| chain(&error))
}

/// Below the folder that was named: the same wherever that stands.
fn name(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}
