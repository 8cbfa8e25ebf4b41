//! Surfaces as files: insta's snapshots, so that `cargo insta review` works on what a test found changed, and
//! `svidproof test --accept` writes what the test takes. Reading takes a report.json and plain YAML as well.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter, options, ser_options};

use super::{Line, Surface, gather};
use crate::sys::files::{self, FileError, could_not};

/// Why a surface could not be read or kept. Each message names the file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum SurfaceError {
    #[error(transparent)]
    Read(FileError),
    #[error("the surface could not be kept\nhint: is there room, and may it be written?")]
    Write(#[source] FileError),
    #[error("{} is not a surface: it looks like {looks}\nhint: name a surface, a folder of them, or a \
             report.json", path.display())]
    NotASurface { path: PathBuf, looks: String },
    #[error("no file in {} ends in .{ENDING}\nhint: `svidproof test --accept` writes a surface for each \
             stage", path.display())]
    Empty { path: PathBuf },
}

const ENDING: &str = "snap";

/// Whose snapshots insta takes them for: the test that asserts them, relative to the workspace.
const SOURCE: &str = "tests/conformance/main.rs";

impl Surface {
    /// The name of its snapshot, without the ending.
    pub fn name(&self) -> String {
        format!("{}.{}", self.scenario, self.stage)
    }

    /// Sorted, a line a cell.
    pub fn to_yaml(&self) -> String {
        // A block scalar would fold or spread what has to stay one line.
        let options = ser_options! { prefer_block_scalars: false };
        // A map of texts: there is nothing in it that could not be written.
        serde_saphyr::to_string_with_options(self, options).unwrap_or_default()
    }

    /// What [`Self::to_yaml`] wrote.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        serde_saphyr::from_str_with_options(text, options! { with_snippet: false })
    }

    /// As insta writes it.
    fn to_snapshot(&self) -> String {
        format!("---\nsource: {SOURCE}\n---\n{}", self.to_yaml())
    }
}

/// The surfaces that `dir` keeps of a scenario, by stage; none where there is no such folder.
pub fn load(dir: &Path, scenario: &str) -> Result<Vec<Surface>, SurfaceError> {
    kept(dir, scenario)?.values().map(|path| read_surface(path)).collect()
}

/// Makes `dir` keep these surfaces of a scenario. What it keeps of other stages stays, but for those that are
/// no longer among `stages`: all that the scenario has. Returns the files that were written or removed; one
/// that says the same already is left alone.
pub fn store<'a>(
    dir: &Path,
    scenario: &str,
    stages: impl IntoIterator<Item = &'a str>,
    surfaces: &[Surface],
) -> Result<Vec<PathBuf>, SurfaceError> {
    let mut stale = kept(dir, scenario)?;
    for stage in stages {
        stale.remove(stage);
    }
    let mut touched = vec![];
    for surface in surfaces.iter().filter(|surface| surface.scenario == scenario) {
        let path = dir.join(format!("{}.{ENDING}", surface.name()));
        stale.remove(&surface.stage);
        if read_surface(&path).is_ok_and(|old| old == *surface) {
            continue;
        }
        write(dir, &path, &surface.to_snapshot())
            .map_err(|e| SurfaceError::Write(could_not("write", &path)(e)))?;
        touched.push(path);
    }
    for path in stale.into_values() {
        fs::remove_file(&path).map_err(|e| SurfaceError::Write(could_not("remove", &path)(e)))?;
        touched.push(path);
    }
    Ok(touched)
}

/// The surfaces of a file, of a folder's snapshots, or of a report.json.
pub fn read(path: &Path) -> Result<Vec<Surface>, SurfaceError> {
    if path.is_dir() {
        let files: Vec<_> = snapshots(path)?.collect();
        if files.is_empty() {
            return Err(SurfaceError::Empty { path: path.into() });
        }
        return files.iter().map(|file| read_surface(file)).collect();
    }
    let text = read_text(path)?;
    if text.trim_start().starts_with('{') {
        return from_report(&text).map_err(|looks| SurfaceError::NotASurface { path: path.into(), looks });
    }
    Ok(vec![parse(path, &text)?])
}

/// Stage -> file.
fn kept(dir: &Path, scenario: &str) -> Result<BTreeMap<String, PathBuf>, SurfaceError> {
    if !dir.exists() {
        return Ok(BTreeMap::new());
    }
    let stage = |path: PathBuf| {
        let (of, stage) = path.file_stem()?.to_str()?.split_once('.')?;
        (of == scenario).then(|| (stage.to_owned(), path.clone()))
    };
    Ok(snapshots(dir)?.filter_map(stage).collect())
}

fn snapshots(dir: &Path) -> Result<impl Iterator<Item = PathBuf>, SurfaceError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|e| SurfaceError::Read(could_not("read", dir)(e)))?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == ENDING)))
}

fn read_surface(path: &Path) -> Result<Surface, SurfaceError> {
    parse(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, SurfaceError> {
    let bytes = files::read(path).map_err(SurfaceError::Read)?;
    String::from_utf8(bytes)
        .map_err(|_| SurfaceError::NotASurface { path: path.into(), looks: "binary data".into() })
}

fn parse(path: &Path, text: &str) -> Result<Surface, SurfaceError> {
    let (header, yaml) = split(text);
    let looks = |error| looks_like(yaml, &error, header.lines().count());
    Surface::from_yaml(yaml)
        .map_err(|error| SurfaceError::NotASurface { path: path.into(), looks: looks(error) })
}

/// What insta puts in front (`---`, its own YAML, `---`), and the rest.
fn split(text: &str) -> (&str, &str) {
    let end = "\n---\n";
    let header =
        if text.starts_with("---\n") { text[3..].find(end).map(|at| 3 + at + end.len()) } else { None };
    text.split_at(header.unwrap_or(0))
}

/// A whole file or none, to be read by all who may read the folder.
fn write(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    // Less what the umask takes.
    let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

fn from_report(text: &str) -> Result<Vec<Surface>, String> {
    #[derive(Deserialize)]
    struct Report {
        checks: Vec<Line>,
    }
    let value: Value = serde_json::from_str(text).map_err(|e| format!("broken JSON: {e}"))?;
    if value.get("checks").is_none() {
        let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        return Err(format!("a JSON object with {}", named(keys)));
    }
    let report = serde_json::from_value(value)
        .map_err(|e| format!("a report.json with a mistake, or of another version: {e}"))?;
    let Report { checks } = report;
    Ok(gather(checks))
}

/// `above`: the number of lines before the YAML.
fn looks_like(yaml: &str, error: &Error, above: usize) -> String {
    if yaml.trim().is_empty() {
        return "an empty file".into();
    }
    let Ok(keys) = serde_saphyr::from_str::<serde_json::Map<String, Value>>(yaml) else {
        let first = yaml.trim_start().lines().next().unwrap_or_default();
        return format!("text that begins with {:?}", first.chars().take(40).collect::<String>());
    };
    if keys.contains_key("cells") {
        let line = error.location().map_or(0, |location| location.line()) + above as u64;
        return format!(
            "a surface with a mistake in line {line}: {}",
            UserMessageFormatter.format_message(error)
        );
    }
    if keys.contains_key("stages") {
        "a scenario".into()
    } else {
        format!("YAML with {}", named(keys.keys().map(String::as_str)))
    }
}

fn named<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<_> = keys.take(8).map(|key| format!("`{key}`")).collect();
    if keys.is_empty() { "no keys".into() } else { format!("the keys {}", keys.join(", ")) }
}
