//! What the binary carries of its checkout, so that a user's repository needs nothing of it: charts,
//! Terraform roots, image declarations, sources of the programs that go into images. It is unpacked into the
//! cache, under its digest, when something of it is needed. What each part is for is known by who uses it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::sys::dirs;
use crate::sys::files::{self, FileError, could_not};

/// Before the name of one of our charts, where a scenario names a chart.
pub const BUILTIN: &str = "builtin:";

/// Made by `build.rs`.
const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/data.tar"));

static DIGEST: LazyLock<String> = LazyLock::new(|| hex::encode(&Sha256::digest(ARCHIVE)[..8]));

static CHARTS: LazyLock<BTreeMap<String, String>> =
    LazyLock::new(|| read_charts(ARCHIVE).unwrap_or_default());

/// Our charts: name -> the sentence in its `Chart.yaml`.
pub fn charts() -> &'static BTreeMap<String, String> {
    &CHARTS
}

/// The folder that holds `helm/`, `terraform/`, `fixtures/images/` and the sources: the project itself where
/// it is a checkout of svidproof, else what the binary carries, unpacked.
pub fn home(project: &Path) -> Result<PathBuf, FileError> {
    if is_checkout(project) { Ok(project.into()) } else { unpacked() }
}

/// Whether the folder is a checkout of svidproof: what stands in it goes before what the binary carries, so
/// that who changes it sees the change.
pub fn is_checkout(project: &Path) -> bool {
    project.join("fixtures/images/images.yaml").is_file()
}

/// What the binary carries, in the cache.
pub fn unpacked() -> Result<PathBuf, FileError> {
    unpack_below(&dirs::cache().join("data"))
}

/// Whole or not at all: it is unpacked beside its place, and moved there.
fn unpack_below(folder: &Path) -> Result<PathBuf, FileError> {
    let place = folder.join(&*DIGEST);
    if place.is_dir() {
        return Ok(place);
    }
    files::make_folder(folder)?;
    let failed = could_not("unpack what svidproof carries to", &place);
    let made = tempfile::Builder::new().prefix("tmp-").tempdir_in(folder).map_err(&failed)?;
    let mut archive = tar::Archive::new(ARCHIVE);
    // Not what the sources were made at, but what they are: cargo goes by times.
    archive.set_preserve_mtime(false);
    archive.unpack(made.path()).map_err(&failed)?;
    open_to_all(made.path()).map_err(&failed)?;
    match fs::rename(made.path(), &place) {
        // Another svidproof was quicker.
        Err(_) if place.is_dir() => {}
        moved => moved.map_err(failed)?,
    }
    Ok(place)
}

/// A temporary folder is its owner's alone; what stands in the cache is not.
fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// Copies a chart of ours out of `home` to a folder that is not there yet, with what its links lead to: it
/// stands alone then, and is its owner's to change.
pub fn export(home: &Path, name: &str, to: &Path) -> Result<(), FileError> {
    files::copy(&home.join("helm").join(name), to)
}

fn read_charts(archive: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let mut charts = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(rest) = path.strip_prefix("helm") else { continue };
        let (Some(name), true) = (rest.parent().and_then(Path::to_str), rest.ends_with("Chart.yaml")) else {
            continue;
        };
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let sentence = text.lines().find_map(|line| line.strip_prefix("description: "));
        let sentence = sentence.map(|sentence| sentence.trim_matches('"'));
        charts.insert(name.to_owned(), sentence.unwrap_or_default().to_owned());
    }
    Ok(charts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sys::tool::Tool;

    fn checkout() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn below(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>, root: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                below(&path, found, root);
            } else {
                found.insert(path.strip_prefix(root).unwrap().into(), fs::read(&path).unwrap());
            }
        }
    }

    /// A file that was added since the last build, or that the build forgot, is missed here.
    #[test]
    fn what_is_unpacked_is_what_the_checkout_holds() {
        let dir = tempfile::tempdir().unwrap();
        let place = unpack_below(dir.path()).unwrap();
        for part in ["helm", "fixtures/credentials", "fixtures/images", "harness/probe", "fixtures/apps"] {
            let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
            below(&place.join(part), &mut here, &place);
            below(&checkout().join(part), &mut there, &checkout());
            assert!(here == there, "{part}: {:?} or {:?}", here.keys(), there.keys());
        }
        for file in ["Cargo.toml", "Cargo.lock", "terraform/kind/main.tf", "terraform/gke/main.tf"] {
            assert!(files::read(&place.join(file)).unwrap() == fs::read(checkout().join(file)).unwrap());
        }
    }

    #[test]
    fn it_is_unpacked_once_whole_and_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let place = unpack_below(dir.path()).unwrap();
        assert_eq!(unpack_below(dir.path()).unwrap(), place);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        let mode = |path: &str| fs::metadata(place.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("helm/spire/Chart.yaml")), (0o755, 0o444));
        let entrypoint = checkout().join("fixtures/images/node/entrypoint");
        let executable = fs::metadata(entrypoint).unwrap().permissions().mode() & 0o100 != 0;
        assert_eq!(mode("fixtures/images/node/entrypoint") & 0o100 != 0, executable);
    }

    /// Cargo takes what is carried for a workspace, with the lock file as it is: nothing has to be resolved.
    #[tokio::test]
    async fn the_carried_sources_are_a_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let place = unpack_below(dir.path()).unwrap();
        let tree = Tool::new(env!("CARGO")).args(["tree", "--locked", "--offline", "--depth", "0"]);
        let apps = ["svidproof-probe", "symbank", "echo", "authorizer"];
        let tree = tree.args(apps.iter().flat_map(|app| ["-p", app])).dir(&place);
        let listed = tree.run().await.unwrap().stdout;
        assert!(apps.iter().all(|name| listed.contains(name)), "{listed}");
    }

    #[test]
    fn a_half_unpacked_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp-1234")).unwrap();
        assert!(unpack_below(dir.path()).unwrap().join("helm/spire/values.yaml").is_file());
    }

    #[test]
    fn each_chart_is_listed_with_its_sentence() {
        assert!(charts().contains_key("spire") && charts().contains_key("probe"), "{:?}", charts());
        assert!(charts().values().all(|sentence| !sentence.is_empty()), "{:?}", charts());
        assert_eq!(charts().len(), fs::read_dir(checkout().join("helm")).unwrap().count());
    }

    #[test]
    fn an_exported_chart_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("charts/echo");
        export(&checkout(), "echo", &to).unwrap();
        assert!(!to.join("charts/envoy").is_symlink() && to.join("charts/envoy/Chart.yaml").is_file());
        let mode = fs::metadata(to.join("values.yaml")).unwrap().permissions().mode();
        assert_ne!(mode & 0o200, 0, "it is its owner's to change");
    }

    #[test]
    fn a_checkout_goes_before_what_is_carried() {
        assert_eq!(home(&checkout()).unwrap(), checkout());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("terraform/kind")).unwrap();
        assert!(!is_checkout(dir.path()), "a folder of that name is not ours");
    }
}
