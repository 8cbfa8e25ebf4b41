//! Packs what svidproof needs of its checkout into one archive that the binary carries (`src/data`): charts,
//! Terraform roots, image declarations, and the sources of the programs that go into images.
//!
//! The archive depends on names and contents alone, so that its digest names it. Links stay links. A crate
//! that was packed (`scripts/package`) stands in no checkout, and has the archive as it was then.
#![allow(clippy::unwrap_used, reason = "a build that cannot read its own sources ends here")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// From the checkout's root.
const CARRIED: [&str; 14] = [
    "helm",
    "terraform",
    "fixtures/credentials",
    "fixtures/images",
    "fixtures/apps/authorizer",
    "fixtures/apps/echo",
    "fixtures/apps/relay",
    "fixtures/apps/symbank",
    "harness/probe",
    "Cargo.toml",
    "Cargo.lock",
    "harness/Cargo.toml",
    "tests/Cargo.toml",
    "LICENSE",
];

/// Cargo reads every member of a workspace, whichever it builds: these stand for the targets of those that no
/// image is made of.
const EMPTY: [&str; 7] = [
    "harness/src/lib.rs",
    "harness/tests/tiers.rs",
    "tests/lib.rs",
    "tests/browser/main.rs",
    "tests/container/main.rs",
    "tests/conformance/main.rs",
    "tests/rendered.rs",
];

/// What tools leave in these folders, and nobody checks in.
const LEFT: [&str; 3] = ["target", ".terraform", ".svidproof"];

/// What the program itself reads: it is put beside the archive too.
const READ: &str = "fixtures/credentials";

fn main() {
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let (root, packed) = (own.join(".."), own.join("data.tar"));
    let is_checkout = root.join("fixtures/images/images.yaml").is_file();
    let archive = if is_checkout { pack(&root) } else { fs::read(&packed).unwrap() };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.starts_with(READ) {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            fs::create_dir_all(out.join(&path).parent().unwrap()).unwrap();
            fs::write(out.join(path), text).unwrap();
        }
    }
    fs::write(out.join("data.tar"), archive).unwrap();
}

fn pack(root: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(vec![]);
    for path in CARRIED {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
        put(&mut archive, root, Path::new(path));
    }
    for path in EMPTY {
        put_file(&mut archive, Path::new(path), b"", false);
    }
    archive.into_inner().unwrap()
}

fn put(archive: &mut tar::Builder<Vec<u8>>, root: &Path, path: &Path) {
    let (from, shown) = (root.join(path), path.display());
    let meta = fs::symlink_metadata(&from).unwrap_or_else(|error| panic!("{shown}: {error}"));
    if meta.is_symlink() {
        let mut header = header(tar::EntryType::Symlink, 0, 0o777);
        archive.append_link(&mut header, path, fs::read_link(from).unwrap()).unwrap();
    } else if meta.is_dir() {
        let mut names: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.retain(|name| !LEFT.iter().any(|left| name == left));
        for name in names {
            put(archive, root, &path.join(name));
        }
    } else {
        put_file(archive, path, &fs::read(&from).unwrap(), meta.permissions().mode() & 0o100 != 0);
    }
}

/// Read-only: what stands in the cache under a digest is not for editing.
fn put_file(archive: &mut tar::Builder<Vec<u8>>, path: &Path, content: &[u8], executable: bool) {
    let mode = if executable { 0o555 } else { 0o444 };
    let mut header = header(tar::EntryType::Regular, content.len() as u64, mode);
    archive.append_data(&mut header, path, content).unwrap();
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header
}
