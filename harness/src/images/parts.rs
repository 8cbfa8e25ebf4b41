//! One part at a time: what goes into its key, and how it is made from a package registry. Which parts there
//! are, and when, is `mod.rs`'s.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::ImagesError;
use super::archive::hex;
use super::cache::{Cache, Key, remove};
use super::declaration::{C, Cargo, Debian, Declaration, Go, Pip};
use crate::sys::progress::Progress;
use crate::sys::tool::Tool;

/// Beside a part whose content can be the same for other inputs: the digest of its content.
const CONTENT: &str = ".content";

/// Something that is made once and then lies in the cache.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) key: String,
    pub(super) dir: PathBuf,
    recipe: Recipe<'a>,
}

enum Recipe<'a> {
    /// A family and those of its programs that are wanted.
    Go(&'a Go, BTreeMap<&'a str, &'a str>),
    Debian(&'a Debian),
    Pip(&'a Pip),
    C(&'a C),
    Cargo(&'a Cargo),
}

/// The versions of the compilers, which are part of what they make.
pub(super) struct Compilers {
    go: String,
    cargo: String,
}

impl Compilers {
    pub(super) async fn find() -> Result<Self, ImagesError> {
        let ask = |program: &str, arg: &str| {
            let tool = Tool::new(program).arg(arg).env("GOTOOLCHAIN", "local");
            async { tool.run().await.map(|output| output.stdout.trim().to_owned()) }
        };
        let (go, cargo) = tokio::try_join!(ask("go", "version"), ask("cargo", "--version"))?;
        Ok(Self { go, cargo })
    }
}

/// The parts that a declaration needs, the longest builds first. Without `all`, only the tools and this
/// workspace's own programs.
pub(super) fn plan<'a>(
    declaration: &'a Declaration,
    compilers: &Compilers,
    cache: &Cache,
    all: bool,
) -> Result<Vec<Part<'a>>, ImagesError> {
    let mut recipes = vec![];
    for go in &declaration.go {
        let wanted = |program: &str| {
            all || declaration.tools.iter().any(|tool| *tool == format!("{}/{program}", go.part))
        };
        let programs: BTreeMap<_, _> =
            go.programs.iter().map(|(name, package)| (name.as_str(), package.as_str())).collect();
        let programs: BTreeMap<_, _> = programs.into_iter().filter(|(name, _)| wanted(name)).collect();
        if !programs.is_empty() {
            recipes.push(Recipe::Go(go, programs));
        }
    }
    recipes.push(Recipe::Cargo(&declaration.cargo));
    if all {
        recipes.push(Recipe::Debian(&declaration.debian));
        recipes.extend(declaration.pip.iter().map(Recipe::Pip));
        recipes.extend(declaration.c.iter().map(Recipe::C));
    }
    recipes.into_iter().map(|recipe| Part::new(recipe, declaration, compilers, cache)).collect()
}

impl<'a> Part<'a> {
    fn new(
        recipe: Recipe<'a>,
        declaration: &Declaration,
        compilers: &Compilers,
        cache: &Cache,
    ) -> Result<Self, ImagesError> {
        let (name, key) = match &recipe {
            Recipe::Go(go, programs) => {
                let key = Key::new("go")
                    .text(&compilers.go)
                    .texts(programs.iter().flat_map(|(name, package)| [*name, *package]));
                let key = key.texts(&go.tags).text(&go.ldflags).text(if go.cgo { "cgo" } else { "" });
                (&go.part, key.path(&declaration.folder.join(&go.part))?)
            }
            Recipe::Debian(debian) => (
                &debian.part,
                Key::new("debian")
                    .text(&debian.suite)
                    .texts(&debian.packages)
                    .text("without")
                    .texts(&debian.remove),
            ),
            Recipe::Pip(pip) => {
                (&pip.part, Key::new("pip").text(&pip.package).text(&pip.version).text(&pip.sha256))
            }
            Recipe::C(c) => (&c.part, Key::new("c").path(&declaration.folder.join(&c.source))?),
            Recipe::Cargo(cargo) => {
                let mut key = Key::new("cargo").text(&compilers.cargo).texts(cargo.programs.keys());
                for path in ["Cargo.toml", "Cargo.lock"]
                    .map(Path::new)
                    .into_iter()
                    .chain(cargo.programs.values().map(PathBuf::as_path))
                {
                    key = key.path(&declaration.root.join(path))?;
                }
                (&cargo.part, key)
            }
        };
        let key = key.finish();
        Ok(Self { name, dir: cache.part(name, &key), key, recipe })
    }

    /// What those who use this part put into their own key.
    pub(super) fn content(&self) -> Result<String, ImagesError> {
        let path = self.dir.join(CONTENT);
        match fs::read_to_string(&path) {
            Ok(content) => Ok(content),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(self.key.clone()),
            Err(source) => Err(ImagesError::File { what: "read", path, source }),
        }
    }

    /// Makes the part, unless it is there. What needs processors takes its turn in `jobs`; what waits for the
    /// network does not.
    pub(super) async fn build(
        &self,
        declaration: &Declaration,
        cache: &Cache,
        jobs: &Semaphore,
        progress: &Progress,
    ) -> Result<(), ImagesError> {
        if self.dir.exists() {
            return Ok(());
        }
        let turn = if matches!(self.recipe, Recipe::Debian(_) | Recipe::Pip(_)) {
            None
        } else {
            jobs.acquire().await.ok()
        };
        let version =
            declaration.versions.get(self.name).map(|version| format!(" {version}")).unwrap_or_default();
        let step = progress.part(format!("{}{version}", self.name));
        let log = cache.log(self.name);
        remove(&log)?;
        let made = cache.scratch(&format!("{}-{}", self.name, self.key))?;
        match &self.recipe {
            Recipe::Go(go, programs) => go_build(go, programs, declaration, &made, &log).await,
            Recipe::Debian(debian) => debian_root(debian, &made, &log).await,
            Recipe::Pip(pip) => pip_install(pip, &made, &log).await,
            Recipe::C(c) => c_build(c, declaration, &made, &log).await,
            Recipe::Cargo(cargo) => cargo_build(cargo, declaration, cache, &made, &log).await,
        }
        .map_err(|cause| ImagesError::Part { part: self.name.to_owned(), cause: Box::new(cause) })?;
        Cache::keep(&made, &self.dir)?;
        drop(turn);
        step.done();
        Ok(())
    }
}

async fn go_build(
    go: &Go,
    programs: &BTreeMap<&str, &str>,
    declaration: &Declaration,
    made: &Path,
    log: &Path,
) -> Result<(), ImagesError> {
    // `go build` names a program after its package; a single one can be given its name.
    let output = match programs.keys().next() {
        Some(only) if programs.len() == 1 => made.join(only).into_os_string(),
        _ => made.join("").into_os_string(),
    };
    let mut tool = Tool::new("go").dir(declaration.folder.join(&go.part)).log(log).arg("build");
    if !go.tags.is_empty() {
        tool = tool.arg("-tags").arg(go.tags.join(","));
    }
    tool.arg("-ldflags")
        .arg(format!("-s -w {}", go.ldflags).trim_end())
        .arg("-o")
        .arg(output)
        .args(programs.values())
        // The toolchain that is there, the sums that are in go.sum, no paths of this machine in the result.
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GOWORK", "off"),
            ("GOFLAGS", "-trimpath -buildvcs=false -mod=readonly"),
        ])
        .env("CGO_ENABLED", if go.cgo { "1" } else { "0" })
        .run()
        .await?;
    for program in programs.keys() {
        let path = made.join(program);
        fs::metadata(&path).map_err(|source| ImagesError::File {
            what: "find what go built at",
            path,
            source,
        })?;
    }
    Ok(())
}

async fn debian_root(debian: &Debian, made: &Path, log: &Path) -> Result<(), ImagesError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImagesError::NotRoot);
    }
    Tool::new("debootstrap")
        // Refuses an archive that is not signed by Debian's keys.
        .args(["--variant=minbase", "--force-check-gpg"])
        .arg(format!("--include={}", debian.packages.join(",")))
        .arg(&debian.suite)
        .arg(made)
        .log(log)
        .run()
        .await?;
    debian.remove.iter().try_for_each(|path| remove(&made.join(path)))
}

async fn pip_install(pip: &Pip, made: &Path, log: &Path) -> Result<(), ImagesError> {
    let wanted = made.join("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", pip.package, pip.version, pip.sha256);
    fs::write(&wanted, line).map_err(|source| ImagesError::File {
        what: "write",
        path: wanted.clone(),
        source,
    })?;
    Tool::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--require-hashes",
            "--no-deps",
            "--only-binary=:all:",
            "--no-compile",
            "--target",
        ])
        .arg(made)
        .arg("-r")
        .arg(&wanted)
        .log(log)
        .run()
        .await?;
    remove(&wanted)
}

async fn c_build(c: &C, declaration: &Declaration, made: &Path, log: &Path) -> Result<(), ImagesError> {
    let source = declaration.folder.join(&c.source);
    let flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Os", "-s", "-static", "-o"];
    Tool::new("cc").args(flags).arg(made.join(&c.part)).arg(source).log(log).run().await?;
    Ok(())
}

async fn cargo_build(
    cargo: &Cargo,
    declaration: &Declaration,
    cache: &Cache,
    made: &Path,
    log: &Path,
) -> Result<(), ImagesError> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = cache.root.join("cargo");
    Tool::new("cargo")
        .args(["build", "--release", "--locked", "--target", &target])
        .args(cargo.programs.keys().flat_map(|package| ["-p", package]))
        .dir(&declaration.root)
        // An image of one static program needs no C library. The target is named so that build scripts stay
        // dynamic.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", &built)
        .log(log)
        .run()
        .await?;
    let mut content = Sha256::new();
    for program in cargo.programs.keys() {
        let from = built.join(&target).join("release").join(program);
        let failed = |source| ImagesError::File { what: "copy", path: from.clone(), source };
        let bytes = fs::read(&from).map_err(failed)?;
        content.update((bytes.len() as u64).to_le_bytes());
        content.update(&bytes);
        fs::copy(&from, made.join(program)).map_err(failed)?;
    }
    let path = made.join(CONTENT);
    fs::write(&path, hex(&content.finalize()[..8])).map_err(|source| ImagesError::File {
        what: "write",
        path,
        source,
    })
}
