//! Image archives as `docker load` and `ctr images import` read them: one tar a layer, a configuration, a
//! manifest.
//!
//! The same content gives the same bytes: entries are sorted, times are 0, owners are numbers. Talks to no
//! engine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The content of one layer, by its path in the image (without the leading slash).
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Debug)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder,
    Link(PathBuf),
    Text(String),
    Copy(PathBuf),
}

/// A layer that was written to a file.
#[derive(Debug)]
pub(super) struct Layer {
    path: PathBuf,
    digest: String,
}

impl Tree {
    pub(super) fn folder(&mut self, path: &str) {
        // A folder that every user may write to is one like /tmp.
        let mode = if path.trim_end_matches('/').ends_with("/tmp") { 0o1777 } else { 0o755 };
        self.put(path, mode, Content::Folder);
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.put(path, 0o777, Content::Link(target.into()));
    }

    pub(super) fn text(&mut self, path: &str, text: String, executable: bool) {
        self.put(path, if executable { 0o755 } else { 0o644 }, Content::Text(text));
    }

    /// A file, followed if it is a link.
    pub(super) fn file(&mut self, path: &str, from: &Path) -> io::Result<()> {
        let executable = fs::metadata(from)?.permissions().mode() & 0o111 != 0;
        self.put(path, if executable { 0o755 } else { 0o644 }, Content::Copy(from.into()));
        Ok(())
    }

    /// A whole folder with its modes and owners. Devices, sockets and pipes stay behind: an engine makes its
    /// own.
    pub(super) fn folder_of(&mut self, path: &str, from: &Path) -> io::Result<()> {
        let below = Path::new(path.trim_matches('/'));
        for item in fs::read_dir(from)? {
            let item = item?;
            let meta = item.metadata()?;
            let path = below.join(item.file_name());
            let content = if meta.is_dir() {
                self.folder_of(&path.to_string_lossy(), &item.path())?;
                Content::Folder
            } else if meta.is_symlink() {
                Content::Link(fs::read_link(item.path())?)
            } else if meta.is_file() {
                Content::Copy(item.path())
            } else {
                continue;
            };
            self.0
                .insert(path, Entry { mode: meta.mode() & 0o7777, owner: (meta.uid(), meta.gid()), content });
        }
        Ok(())
    }

    /// The regular files that are to be copied in.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(|entry| {
            if let Content::Copy(from) = &entry.content { Some(from.as_path()) } else { None }
        })
    }

    /// Writes the layer, and the folders above each entry.
    pub(super) fn write(mut self, path: &Path) -> io::Result<Layer> {
        let above: Vec<_> =
            self.0.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_path_buf).collect();
        for folder in above.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            self.0.entry(folder).or_insert(Entry { mode: 0o755, owner: (0, 0), content: Content::Folder });
        }
        let mut tar = tar::Builder::new(Hashing {
            to: BufWriter::with_capacity(1 << 20, File::create(path)?),
            hash: Sha256::new(),
        });
        for (path, entry) in &self.0 {
            let mut header = header(entry.mode, entry.owner);
            match &entry.content {
                Content::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
                Content::Text(text) => append(&mut tar, header, path, text.len() as u64, text.as_bytes())?,
                Content::Copy(from) => {
                    let file = File::open(from).map_err(|e| named(from, &e))?;
                    let size = file.metadata()?.len();
                    append(&mut tar, header, path, size, file)?;
                }
            }
        }
        let mut written = tar.into_inner()?;
        written.flush()?;
        Ok(Layer { path: path.into(), digest: hex::encode(written.hash.finalize()) })
    }

    fn put(&mut self, path: &str, mode: u32, content: Content) {
        self.0.insert(path.trim_matches('/').into(), Entry { mode, owner: (0, 0), content });
    }
}

/// Writes an image of these layers. `config` is the image's `config` object: entry point, user, environment.
pub(super) fn write_image(to: &Path, name: &str, config: &Value, layers: &[Layer]) -> io::Result<()> {
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let digests: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let made = json!({"created": "1970-01-01T00:00:00Z", "created_by": "svidproof images build"});
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": vec![made; layers.len()],
    })
    .to_string();
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let layer_name = |layer: &Layer| format!("{}.tar", layer.digest);
    let layer_names: Vec<_> = layers.iter().map(layer_name).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layer_names}]).to_string();
    let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(to)?));
    append(&mut tar, header(0o644, (0, 0)), Path::new(&config_name), config.len() as u64, config.as_bytes())?;
    for layer in layers {
        let file = File::open(&layer.path)?;
        let size = file.metadata()?.len();
        append(&mut tar, header(0o644, (0, 0)), Path::new(&layer_name(layer)), size, file)?;
    }
    append(
        &mut tar,
        header(0o644, (0, 0)),
        Path::new("manifest.json"),
        manifest.len() as u64,
        manifest.as_bytes(),
    )?;
    tar.into_inner()?.flush()
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    mut header: tar::Header,
    path: &Path,
    size: u64,
    from: impl Read,
) -> io::Result<()> {
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    tar.append_data(&mut header, path, from)
}

fn header(mode: u32, owner: (u32, u32)) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn named(path: &Path, source: &io::Error) -> io::Error {
    io::Error::new(source.kind(), format!("{}: {source}", path.display()))
}

/// Takes the digest of what passes through.
struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(source: &Path) -> Tree {
        let mut tree = Tree::default();
        tree.file("/opt/bin/program", source).unwrap();
        tree.link("/usr/bin/program", "/opt/bin/program");
        tree.folder("/tmp");
        tree.text("/etc/name", "value\n".into(), false);
        tree
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "#!").unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap();
        let first = tree(&source).write(&dir.path().join("first")).unwrap();
        File::open(&source).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let second = tree(&source).write(&dir.path().join("second")).unwrap();
        assert_eq!(first.digest, second.digest);
        let written = fs::read(&first.path).unwrap();
        assert_eq!(first.digest, hex::encode(Sha256::digest(&written)));
        let mut read = tar::Archive::new(written.as_slice());
        let entries: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                entry
                    .map(|entry| {
                        (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
                    })
                    .unwrap()
            })
            .collect();
        let expected = [
            ("etc", 0o755),
            ("etc/name", 0o644),
            ("opt", 0o755),
            ("opt/bin", 0o755),
            ("opt/bin/program", 0o755),
            ("tmp", 0o1777),
        ];
        assert_eq!(entries[..6], expected.map(|(path, mode)| (path.to_owned(), mode)));
        assert_eq!(
            entries[6..].iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["usr", "usr/bin", "usr/bin/program"]
        );
    }

    #[test]
    fn an_image_names_its_configuration_and_layers_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.text("/a", "b".into(), true);
        let layer = tree.write(&dir.path().join("layer")).unwrap();
        let to = dir.path().join("image.tar");
        write_image(&to, "a/b:c", &json!({"Entrypoint": ["/a"]}), std::slice::from_ref(&layer)).unwrap();
        let bytes = fs::read(&to).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = vec![];
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["a/b:c"]));
        assert_eq!(manifest[0]["Layers"], json!([format!("{}.tar", layer.digest)]));
        let config_name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(config_name, format!("{}.json", hex::encode(Sha256::digest(&files[config_name]))));
        let config: Value = serde_json::from_slice(&files[config_name]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", layer.digest)]));
    }
}
