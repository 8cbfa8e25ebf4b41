//! From parts to images: which file of which part goes where in an image, and the shared libraries that it
//! needs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::ImagesError;
use super::archive::{Tree, write_image};
use super::cache::{Cache, Key};
use super::declaration::{Declaration, Image, Node, fill, part_of};
use super::parts::Part;
use crate::sys::files::could_not;
use crate::sys::tool::Tool;

/// The label on every image that this module hands to an engine; `prune` touches no other.
pub(super) const LABEL: &str = "svidproof.images";

/// The label with the key of what an image is made of.
pub(super) const KEY_LABEL: &str = "svidproof.key";

const PATH: &str = "PATH=/opt/spire/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The parts of one build, by name.
pub(super) struct Made<'a> {
    declaration: &'a Declaration,
    parts: BTreeMap<&'a str, &'a Part<'a>>,
}

impl<'a> Made<'a> {
    pub(super) fn new(declaration: &'a Declaration, parts: &'a [Part<'a>]) -> Self {
        Self { declaration, parts: parts.iter().map(|part| (part.name, part)).collect() }
    }

    /// The digest of all that an image is made of.
    pub(super) fn image_key(&self, image: &Image) -> Result<String, ImagesError> {
        let mut key =
            Key::new("image").text(&image.name).texts(image.links.iter().flat_map(|(path, to)| [path, to]));
        key = key
            .text("folders")
            .texts(&image.folders)
            .text("entrypoint")
            .texts(&image.entrypoint)
            .text("command")
            .texts(&image.command);
        key = key.text("user").text(&image.user).text(&image.working_folder);
        if image.shared_libraries {
            key = key.text(&self.part(&self.declaration.debian.part)?.content()?);
        }
        Ok(self.files_key(key, &image.files)?.finish())
    }

    /// An image's archive, made where it does not lie in the cache.
    pub(super) async fn archive(&self, image: &Image, cache: &Cache) -> Result<PathBuf, ImagesError> {
        let path = cache.image(&image.name, &self.image_key(image)?);
        if !path.exists() {
            let scratch = cache.scratch("image")?;
            let made = scratch.join("image.tar");
            self.write_image(image, &scratch, &made).await?;
            Cache::keep(&made, &path)?;
        }
        Ok(path)
    }

    pub(super) fn node_key(&self) -> Result<String, ImagesError> {
        let Node { files, text, links, folders, environment, entrypoint, stop_signal, upstream: _ } =
            &self.declaration.node;
        let key = Key::new("node").text(&self.part(&self.declaration.debian.part)?.content()?);
        let pairs = text.iter().chain(links).chain(environment).flat_map(|(path, value)| [path, value]);
        let key = key
            .texts(pairs)
            .text("folders")
            .texts(folders)
            .text("entrypoint")
            .texts(entrypoint)
            .text(stop_signal);
        Ok(self.files_key(key, files)?.finish())
    }

    /// Writes an image's archive. `scratch` takes its layers meanwhile.
    pub(super) async fn write_image(
        &self,
        image: &Image,
        scratch: &Path,
        to: &Path,
    ) -> Result<(), ImagesError> {
        let mut tree = self.tree(&image.files, &image.links, &image.folders)?;
        if image.shared_libraries {
            self.add_libraries(&mut tree).await?;
        }
        let labels = json!({LABEL: "image", KEY_LABEL: self.image_key(image)?});
        let mut config = Map::from_iter([("Env".to_owned(), json!([PATH])), ("Labels".to_owned(), labels)]);
        let mut set =
            |name: &str, value: Value, given: bool| given.then(|| config.insert(name.to_owned(), value));
        set("Entrypoint", json!(image.entrypoint), !image.entrypoint.is_empty());
        set("Cmd", json!(image.command), !image.command.is_empty());
        set("User", json!(image.user), !image.user.is_empty());
        set("WorkingDir", json!(image.working_folder), !image.working_folder.is_empty());
        let (name, layer, to) = (image.name.clone(), scratch.join("layer.tar"), to.to_owned());
        blocking(&to.clone(), move || {
            let layers = [tree.write(&layer)?];
            write_image(&to, &name, &Value::Object(config), &layers)?;
            fs::remove_file(&layer)
        })
        .await
    }

    /// Writes the node image's archive: the Debian root below, the node's own files above.
    pub(super) async fn write_node(&self, name: &str, scratch: &Path, to: &Path) -> Result<(), ImagesError> {
        let node = &self.declaration.node;
        let mut own = self.tree(&node.files, &node.links, &node.folders)?;
        for (path, text) in &node.text {
            own.text(path, text.clone(), false);
        }
        let environment: Vec<_> = [PATH.to_owned()]
            .into_iter()
            .chain(node.environment.iter().map(|(k, v)| format!("{k}={v}")))
            .collect();
        let config = json!({
            "Env": environment,
            "Entrypoint": node.entrypoint,
            "StopSignal": node.stop_signal,
            "Labels": {LABEL: "node"},
        });
        let debian = self.part(&self.declaration.debian.part)?.dir.clone();
        let (name, scratch, to) = (name.to_owned(), scratch.to_owned(), to.to_owned());
        blocking(&to.clone(), move || {
            let mut root = Tree::default();
            root.folder_of("/", &debian)?;
            let layers = [root.write(&scratch.join("root.tar"))?, own.write(&scratch.join("own.tar"))?];
            write_image(&to, &name, &config, &layers)?;
            ["root.tar", "own.tar"].into_iter().try_for_each(|layer| fs::remove_file(scratch.join(layer)))
        })
        .await
    }

    /// Where a `part/file` lies.
    pub(super) fn path(&self, source: &str) -> Result<PathBuf, ImagesError> {
        match part_of(source) {
            Some(part) => Ok(self.part(part)?.dir.join(source[part.len()..].trim_start_matches('/'))),
            None => Ok(self.declaration.folder.join(source)),
        }
    }

    fn part(&self, name: &str) -> Result<&'a Part<'a>, ImagesError> {
        self.parts.get(name).copied().ok_or_else(|| ImagesError::NoPart { part: name.into() })
    }

    fn files_key(&self, mut key: Key, files: &BTreeMap<String, String>) -> Result<Key, ImagesError> {
        for (path, source) in files {
            key = key.text(path).text(source);
            key = match part_of(source) {
                Some(part) => key.text(&self.part(part)?.content()?),
                // A version in it is one in its text.
                None => key.text(&self.own_file(source)?.0),
            };
        }
        Ok(key)
    }

    /// A file of the declaration's folder, versions filled in, and whether it is executable.
    fn own_file(&self, source: &str) -> Result<(String, bool), ImagesError> {
        let path = self.declaration.folder.join(source);
        let read =
            || Ok((fs::read_to_string(&path)?, fs::metadata(&path)?.permissions().mode() & 0o111 != 0));
        let (text, executable) = read().map_err(could_not("read", &path))?;
        Ok((fill(&text, &self.declaration.versions), executable))
    }

    fn tree(
        &self,
        files: &BTreeMap<String, String>,
        links: &BTreeMap<String, String>,
        folders: &[String],
    ) -> Result<Tree, ImagesError> {
        let mut tree = Tree::default();
        for path in folders {
            tree.folder(path);
        }
        for (path, target) in links {
            tree.link(path, target);
        }
        for (path, source) in files {
            if part_of(source).is_none() {
                let (text, executable) = self.own_file(source)?;
                tree.text(path, text, executable);
                continue;
            }
            let from = self.path(source)?;
            let put =
                if source.ends_with('/') { tree.folder_of(path, &from) } else { tree.file(path, &from) };
            put.map_err(could_not("read", &from))?;
        }
        Ok(tree)
    }

    /// Adds what the Debian root's dynamic linker loads for the tree's programs. It runs outside of that
    /// root, so nothing of this machine's gets in.
    async fn add_libraries(&self, tree: &mut Tree) -> Result<(), ImagesError> {
        let root = &self.part(&self.declaration.debian.part)?.dir;
        let linker = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"]
            .into_iter()
            .find(|path| root.join(path).exists());
        let linker = linker
            .ok_or_else(|| could_not("find a dynamic linker in", root)(io::ErrorKind::NotFound.into()))?;
        let folder = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
        let mut found: BTreeMap<String, PathBuf> =
            BTreeMap::from([(format!("/{linker}"), root.join(linker))]);
        let copies: Vec<_> = tree.copies().map(Path::to_path_buf).collect();
        for path in copies.into_iter().filter(|path| is_dynamic(path)) {
            let libraries = root.join(&folder);
            let tool =
                Tool::new(root.join(linker)).arg("--library-path").arg(&libraries).arg("--list").arg(&path);
            for library in loaded(&tool.run().await?.stdout).filter(|library| library.starts_with(&libraries))
            {
                if let Some(name) = library.file_name() {
                    found.insert(format!("/{folder}/{}", name.to_string_lossy()), library);
                }
            }
        }
        for (path, from) in found {
            tree.file(&path, &from).map_err(could_not("read", &from))?;
        }
        Ok(())
    }
}

/// The paths in `name => /path (0x…)`, one a line.
fn loaded(listed: &str) -> impl Iterator<Item = PathBuf> {
    listed
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split_once(" => ")?.1.split_whitespace().next()?)))
}

/// Whether the linker has work to do: an ELF file that is no static program is good enough, the linker says
/// if not.
fn is_dynamic(path: &Path) -> bool {
    let Ok(bytes) = read_start(path) else { return false };
    // A program header of type PT_INTERP (3), or a shared object's PT_DYNAMIC (2).
    let number = |at: usize, size: usize| -> Option<usize> {
        bytes
            .get(at..at + size)?
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))
    };
    let headers = || -> Option<bool> {
        let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        Some(
            (0..count).filter_map(|index| number(first + index * size, 4)).any(|kind| kind == 3 || kind == 2),
        )
    };
    bytes.starts_with(b"\x7fELF\x02\x01") && headers().unwrap_or(false)
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = vec![];
    fs::File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs what reads and writes much, beside the tasks that wait.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ImagesError> {
    let failed = could_not("write", path);
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| failed(io::Error::other(e)))?.map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_list_is_read() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\
            \tlibz.so.1 => /r/lib/libz.so.1 (0x00007f)\n\
            \t/lib64/ld.so => /r/ld.so (0x0)\n";
        assert_eq!(
            loaded(listed).collect::<Vec<_>>(),
            [Path::new("/r/lib/libz.so.1"), Path::new("/r/ld.so")]
        );
    }

    #[test]
    fn a_text_is_not_a_dynamic_program_and_a_test_binary_is() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        fs::write(&text, "#!/bin/sh\n").unwrap();
        assert!(!is_dynamic(&text));
        assert!(is_dynamic(&std::env::current_exe().unwrap()));
    }
}
