//! Programs of a Go module, out of the module proxy: what is left out of its sources, and how it is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::recipes::{Go, Without};
use super::{AT_ONCE, ImagesError};
use crate::sys::files::{self, could_not};
use crate::sys::tool::Tool;

/// The toolchain that is there, the sums that are in go.sum, no paths of this machine in the result.
const ALIKE: [(&str, &str); 3] =
    [("GOTOOLCHAIN", "local"), ("GOWORK", "off"), ("GOFLAGS", "-trimpath -buildvcs=false -mod=readonly")];

/// A compiler that may take so much memory does without collecting garbage (Go documentation, "A Guide to the
/// Go Garbage Collector", "Memory limit"): a fifth of its time.
const ROOM: u64 = 1 << 30;

/// Compiles `programs` of the family into `made`; `sources` is an empty folder for a copy of the module, of
/// which something is left out.
///
/// # Errors
/// Go's own, with the end of its log; a program that did not come of it.
pub(super) async fn build(
    go: &Go,
    programs: &BTreeMap<&str, &str>,
    sources: &Path,
    made: &Path,
    log: &Path,
) -> Result<(), ImagesError> {
    // `go build` names a program after its package; a single one can be given its name.
    let output = match programs.keys().next() {
        Some(only) if programs.len() == 1 => made.join(only).into_os_string(),
        _ => made.join("").into_os_string(),
    };
    let mut tool = Tool::new("go").dir(go.folder.clone()).log(log).arg("build");
    if let Some(without) = &go.without {
        tool = tool.arg("-modfile").arg(reduced(go, without, sources).await?);
    }
    if !go.tags.is_empty() {
        tool = tool.arg("-tags").arg(go.tags.join(","));
    }
    if go.cgo {
        // Go's own are -O2 -g: SQLite alone would take half a minute.
        tool = tool.env("CGO_CFLAGS", "-O1");
    }
    if let Some(room) = room() {
        tool = tool.envs([("GOGC", "off".to_owned()), ("GOMEMLIMIT", room.to_string())]);
    }
    tool.arg("-ldflags")
        .arg(format!("-s -w {}", go.ldflags).trim_end())
        // The linker leaves debug information out; the compiler need not make it: a sixth of its time.
        .arg("-gcflags=all=-dwarf=false")
        .arg("-o")
        .arg(output)
        .args(programs.values())
        .envs(ALIKE)
        .env("CGO_ENABLED", if go.cgo { "1" } else { "0" })
        .run()
        .await?;
    for program in programs.keys() {
        let path = made.join(program);
        fs::metadata(&path).map_err(could_not("find what go built at", &path))?;
    }
    Ok(())
}

/// What each of the compilers that are at work at once may take, in bytes; nothing where that is little. Each
/// build has one a processor, and half of the memory stays for everybody else.
fn room() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
    let at_once = AT_ONCE * std::thread::available_parallelism().map_or(1, usize::from);
    Some(free / 2 / at_once as u64).filter(|room| *room >= ROOM)
}

/// A copy of the module without what is to be left out, and a `go.mod` that has it in the module's place. Go
/// lets no file of its module cache be replaced (`go build -overlay`).
async fn reduced(go: &Go, without: &Without, sources: &Path) -> Result<PathBuf, ImagesError> {
    let ask = |args: &[&str]| {
        let tool = Tool::new("go").dir(go.folder.clone()).envs(ALIKE).args(args.iter().copied());
        tool.arg(&go.module).run()
    };
    ask(&["mod", "download"]).await?;
    let module = PathBuf::from(ask(&["list", "-m", "-f", "{{.Dir}}"]).await?.stdout.trim());
    let copy = sources.join("module");
    files::copy(&module, &copy)?;
    for folder in &without.folders {
        leave_out(&copy.join(folder), without)?;
    }
    for name in ["go.mod", "go.sum"] {
        files::copy(&go.folder.join(name), &sources.join(name))?;
    }
    let path = sources.join("go.mod");
    let text = files::read_text(&path)?;
    files::write(&path, format!("{text}\nreplace {} => \"{}\"\n", go.module, copy.display()))?;
    Ok(path)
}

/// The lines that are to be left out, out of the Go files of a folder.
fn leave_out(folder: &Path, without: &Without) -> Result<(), ImagesError> {
    for entry in fs::read_dir(folder).map_err(could_not("read", folder))? {
        let path = entry.map_err(could_not("read", folder))?.path();
        if path.extension().is_some_and(|ending| ending == "go") {
            let text = files::read_text(&path)?;
            let left = text.split_inclusive('\n').filter(|line| !without.lines.is_match(line.trim_end()));
            files::write(&path, left.collect::<String>())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::declaration::Declaration;

    /// A line that is left out of the one place and stays in the other is an error of the compiler's.
    #[test]
    fn a_plugin_goes_with_its_import_and_where_it_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keymanager.go");
        let listed = "import (\n\t\"a/plugin/keymanager\"\n\t\"a/plugin/keymanager/awskms\"\n\
                      \t\"a/plugin/keymanager/disk\"\n)\n\n\
                      var all = []BuiltIn{\n\t\tawskms.BuiltIn(),\n\t\tdisk.BuiltIn(),\n}\n";
        files::write(&file, listed).unwrap();
        let declaration = Declaration::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let spire = declaration.go.iter().find(|go| go.part == "spire").unwrap();
        leave_out(dir.path(), spire.without.as_ref().unwrap()).unwrap();
        let left = files::read_text(&file).unwrap();
        assert_eq!(
            left,
            "import (\n\t\"a/plugin/keymanager\"\n\t\"a/plugin/keymanager/disk\"\n)\n\n\
             var all = []BuiltIn{\n\t\tdisk.BuiltIn(),\n}\n"
        );
    }
}
