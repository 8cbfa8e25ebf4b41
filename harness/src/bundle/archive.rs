//! The archive itself: tar (POSIX.1-1988, ustar) in Zstandard (RFC 8878), written as the steps come to their
//! end, and put in its place once it is whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;
use zstd::Encoder;

use super::BundleError;
use super::manifest::{Manifest, Outcome, Told, milliseconds};
use super::step::{Clean, Done};
use crate::redact::Redactor;
use crate::sys::files;

/// How much of one file is taken.
const FILE: usize = 8 << 20;
/// How much of all together: it is a thing to be sent to somebody.
const ALL: u64 = 256 << 20;
/// Zstandard's own default.
const LEVEL: i32 = 3;

pub(super) struct Archive {
    path: PathBuf,
    folder: String,
    tar: Builder<Encoder<'static, NamedTempFile>>,
    bytes: u64,
}

impl Archive {
    /// Nothing is at `path` before [`Archive::finish`].
    pub(super) fn create(path: &Path, run: &str) -> Result<Self, BundleError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::make_folder(folder)?;
        // Its mode is 0600 from the beginning.
        let encoder = NamedTempFile::new_in(folder).and_then(|file| Encoder::new(file, LEVEL));
        let encoder = encoder.map_err(|source| BundleError::Write { path: path.into(), source })?;
        Ok(Self {
            path: path.into(),
            folder: format!("svidproof-{run}"),
            tar: Builder::new(encoder),
            bytes: 0,
        })
    }

    /// Takes what a step gathered, as far as there is room, and says what became of it.
    pub(super) fn add(&mut self, done: Done<Clean>) -> Result<Told, BundleError> {
        let Done { name, mut outcome, mut error, took, pieces } = done;
        let mut told = Told {
            name,
            outcome,
            error: None,
            milliseconds: milliseconds(took),
            bytes: 0,
            cut: 0,
            redacted: 0,
            files: vec![],
        };
        for Clean { path, mut bytes, cut, redacted } in pieces {
            let whole = bytes.len();
            bytes.truncate(FILE);
            if self.bytes + bytes.len() as u64 > ALL {
                outcome = Outcome::NotBegun;
                error = Some(format!("{path} is left out: the bundle is full ({} MB)", ALL >> 20));
                told.cut += cut + whole as u64;
                continue;
            }
            let left_out = cut + (whole - bytes.len()) as u64;
            if whole > bytes.len() {
                bytes.extend(format!("\n[svidproof: {left_out} bytes more are cut off]\n").bytes());
            }
            self.file(&path, &bytes)?;
            told.bytes += bytes.len() as u64;
            told.cut += left_out;
            told.redacted += redacted;
            told.files.push(path);
        }
        Ok(Told { outcome, error, ..told })
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        self.bytes += bytes.len() as u64;
        let place = format!("{}/{path}", self.folder);
        let added = self.tar.append_data(&mut header, place, bytes);
        added.map_err(|source| BundleError::Write { path: self.path.clone(), source })
    }

    /// Adds the manifest, and puts the archive in its place.
    pub(super) fn finish(mut self, manifest: &Manifest, redactor: &Redactor) -> Result<(), BundleError> {
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        self.file("manifest.json", &redactor.bytes(&text).0)?;
        let Self { path, tar, .. } = self;
        let written = tar.into_inner().and_then(Encoder::finish).and_then(|mut file| {
            file.flush()?;
            file.persist(&path).map(drop).map_err(|failed| failed.error)
        });
        written.map_err(|source| BundleError::Write { path, source })
    }
}
