//! One part at a time: what goes into its key, and how it is made from a package registry. Which parts there
//! are, and when, is `mod.rs`'s.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::ImagesError;
use super::cache::{Cache, Key};
use super::declaration::{Declaration, Sources};
use super::go;
use super::recipes::{C, Cargo, Debian, Go, Pip, Without};
use crate::sys::files::{self, could_not, remove};
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
    /// Those on this machine. One that lacks them is taken for the one that filled the cache: what lies there
    /// needs no compiler, and what does not says which program is missing when it is to be made.
    pub(super) async fn find(cache: &Cache) -> Result<Self, ImagesError> {
        let noted = cache.root.join("compilers.json");
        match Self::ask().await {
            Ok(found) => {
                let text = serde_json::json!([found.go, found.cargo]).to_string();
                if files::read_text(&noted).ok().as_ref() != Some(&text) {
                    files::make_folder(&cache.root)?;
                    files::replace(&noted, text)?;
                }
                Ok(found)
            }
            Err(missing) => {
                let text = files::read_text(&noted).ok();
                let last = text.and_then(|text| serde_json::from_str(&text).ok());
                last.map(|(go, cargo)| Self { go, cargo }).ok_or(missing)
            }
        }
    }

    async fn ask() -> Result<Self, ImagesError> {
        let ask = |program: &str, arg: &str| {
            let tool = Tool::new(program).arg(arg).env("GOTOOLCHAIN", "local");
            async { tool.run().await.map(|output| output.stdout.trim().to_owned()) }
        };
        let (go, cargo) = tokio::try_join!(ask("go", "version"), ask("cargo", "--version"))?;
        Ok(Self { go, cargo })
    }
}

/// The parts that are needed for these sources, the longest builds first.
pub(super) fn plan<'a>(
    declaration: &'a Declaration,
    compilers: &Compilers,
    cache: &Cache,
    sources: &Sources<'_>,
) -> Result<Vec<Part<'a>>, ImagesError> {
    let mut recipes = vec![];
    for go in &declaration.go {
        let programs = go.programs.iter().map(|(name, package)| (name.as_str(), package.as_str()));
        let programs: BTreeMap<_, _> = programs.filter(|(name, _)| sources.has(&go.part, name)).collect();
        if !programs.is_empty() {
            recipes.push(Recipe::Go(go, programs));
        }
    }
    let wanted = |part: &str| sources.has_part(part);
    recipes.extend(declaration.cargo.iter().filter(|cargo| wanted(&cargo.part)).map(Recipe::Cargo));
    recipes.extend(Some(&declaration.debian).filter(|debian| wanted(&debian.part)).map(Recipe::Debian));
    recipes.extend(declaration.pip.iter().filter(|pip| wanted(&pip.part)).map(Recipe::Pip));
    recipes.extend(declaration.c.iter().filter(|c| wanted(&c.part)).map(Recipe::C));
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
                let mut key = key.texts(&go.tags).text(&go.ldflags).text(if go.cgo { "cgo" } else { "" });
                if let Some(Without { folders, lines }) = &go.without {
                    let folders = folders.iter().map(|folder| folder.to_string_lossy());
                    key = key.text("without").text(lines.as_str()).texts(folders);
                }
                (&go.part, key.path(&go.folder)?)
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
                let mut key = Key::new("cargo, each program anew");
                key = key.text(&compilers.cargo).texts(cargo.programs.keys());
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

    /// The programs that make it; none where it is made.
    pub(super) fn makers(&self) -> &'static [&'static str] {
        match &self.recipe {
            _ if self.dir.exists() => &[],
            Recipe::Go(go, _) if go.cgo => &["go", "cc"],
            Recipe::Go(..) => &["go"],
            Recipe::Debian(_) => &["debootstrap"],
            Recipe::Pip(_) => &["python3"],
            Recipe::C(_) => &["cc"],
            Recipe::Cargo(_) => &["cargo", "cc"],
        }
    }

    /// How long it takes to make, where that is long.
    fn takes(&self) -> Option<&str> {
        match &self.recipe {
            Recipe::Go(go, _) => go.takes.as_deref(),
            Recipe::Debian(debian) => debian.takes.as_deref(),
            Recipe::Cargo(cargo) => cargo.takes.as_deref(),
            Recipe::Pip(_) | Recipe::C(_) => None,
        }
    }

    /// What those who use this part put into their own key.
    pub(super) fn content(&self) -> Result<String, ImagesError> {
        let path = self.dir.join(CONTENT);
        match fs::read_to_string(&path) {
            Ok(content) => Ok(content),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(self.key.clone()),
            Err(e) => Err(could_not("read", &path)(e).into()),
        }
    }

    /// Whether root alone can make it, and it is not there.
    pub(super) fn is_roots_to_make(&self) -> bool {
        matches!(self.recipe, Recipe::Debian(_)) && !self.dir.exists()
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
        let mut step = progress.part(format!("{}{version}", self.name));
        if let Some(takes) = self.takes() {
            step = step.about(takes);
        }
        let log = cache.log(self.name);
        remove(&log)?;
        let made = cache.scratch(&format!("{}-{}", self.name, self.key))?;
        match &self.recipe {
            Recipe::Go(go, programs) => {
                let sources = cache.scratch(&format!("{}-sources", self.name))?;
                go::build(go, programs, &sources, &made, &log).await
            }
            Recipe::Debian(debian) => debian_root(debian, &made, &log).await,
            Recipe::Pip(pip) => pip_install(pip, &made, &log).await,
            Recipe::C(c) => c_build(c, declaration, &made, &log).await,
            Recipe::Cargo(cargo) => cargo_build(cargo, declaration, cache, &made, &log).await,
        }
        .map_err(|source| ImagesError::Part { part: self.name.to_owned(), source: Box::new(source) })?;
        Cache::keep(&made, &self.dir)?;
        drop(turn);
        step.done();
        Ok(())
    }
}

async fn debian_root(debian: &Debian, made: &Path, log: &Path) -> Result<(), ImagesError> {
    Tool::new("debootstrap")
        // Refuses an archive that is not signed by Debian's keys.
        .args(["--variant=minbase", "--force-check-gpg"])
        .arg(format!("--include={}", debian.packages.join(",")))
        .arg(&debian.suite)
        .arg(made)
        .log(log)
        .run()
        .await?;
    Ok(debian.remove.iter().try_for_each(|path| remove(&made.join(path)))?)
}

async fn pip_install(pip: &Pip, made: &Path, log: &Path) -> Result<(), ImagesError> {
    let wanted = made.join("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", pip.package, pip.version, pip.sha256);
    files::write(&wanted, line)?;
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
    Ok(remove(&wanted)?)
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
    let run = |arguments: &[&str]| {
        Tool::new("cargo")
            .args(arguments)
            .args(["--release", "--locked", "--target", &target])
            .args(cargo.programs.keys().flat_map(|package| ["-p", package]))
            .dir(&declaration.root)
            .env("CARGO_TARGET_DIR", &built)
            .log(log)
    };
    // Cargo tells what is stale by its time, and takes another checkout's program for this one's.
    run(&["clean"]).run().await?;
    run(&["build"])
        // An image of one static program needs no C library. The target is named so that build scripts stay
        // dynamic.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .run()
        .await?;
    let mut content = Sha256::new();
    for program in cargo.programs.keys() {
        let from = built.join(&target).join("release").join(program);
        let failed = could_not("copy", &from);
        let bytes = fs::read(&from).map_err(&failed)?;
        content.update((bytes.len() as u64).to_le_bytes());
        content.update(&bytes);
        fs::copy(&from, made.join(program)).map_err(failed)?;
    }
    Ok(files::write(&made.join(CONTENT), hex::encode(&content.finalize()[..8]))?)
}

#[cfg(test)]
mod tests {
    use super::super::declaration::{Image, part_of};
    use super::*;

    fn declaration() -> Declaration {
        Declaration::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
    }

    fn compilers(go: &str) -> Compilers {
        Compilers { go: go.into(), cargo: "cargo 1".into() }
    }

    fn names<'a>(parts: &[Part<'a>]) -> Vec<&'a str> {
        parts.iter().map(|part| part.name).collect()
    }

    #[test]
    fn for_a_cluster_that_pulls_only_tools_and_own_programs_are_made() {
        let (declaration, cache) = (declaration(), Cache::at("/cache".into()));
        let made = |sources| plan(&declaration, &compilers("go 1"), &cache, &sources).unwrap();
        let (all, some) = (made(declaration.cluster()), made(declaration.tools_and_apps()));
        for part in declaration.tools.iter().filter_map(|tool| part_of(tool)).chain(["apps"]) {
            assert!(names(&some).contains(&part), "{part} is in {:?}", names(&some));
        }
        for part in ["debian", "envoy", "spire"] {
            assert!(names(&all).contains(&part) && !names(&some).contains(&part), "{part}");
        }
    }

    #[test]
    fn an_extra_image_is_made_only_where_it_is_asked_for() {
        let (mut declaration, cache) = (declaration(), Cache::at("/cache".into()));
        let programs = [("echo".to_owned(), PathBuf::from("fixtures/apps/echo"))].into();
        declaration.cargo.push(Cargo { part: "more".into(), programs, takes: None });
        let files = [("/echo".to_owned(), "more/echo".to_owned())].into();
        declaration.images.push(Image { name: "more:1".into(), extra: true, files, ..Image::default() });
        let extra = [declaration.image("more:1").unwrap()];
        let made = |sources| -> BTreeMap<_, _> {
            let parts = plan(&declaration, &compilers("go 1"), &cache, &sources).unwrap();
            parts.into_iter().map(|part| (part.name.to_owned(), part.key)).collect()
        };
        let (cluster, asked) = (made(declaration.cluster()), made(declaration.with(&extra)));
        let more: Vec<_> = asked.keys().filter(|part| !cluster.contains_key(*part)).collect();
        assert_eq!(more, ["more"]);
        assert!(cluster.iter().all(|(part, key)| asked.get(part) == Some(key)), "the rest stays as it is");
    }

    #[test]
    fn a_key_changes_with_what_makes_the_part_and_with_nothing_else() {
        let cache = Cache::at("/cache".into());
        let keys = |declaration: &Declaration, go: &str| -> BTreeMap<String, String> {
            let all = declaration.with(&declaration.images.iter().collect::<Vec<_>>());
            let parts = plan(declaration, &compilers(go), &cache, &all).unwrap();
            parts.into_iter().map(|part| (part.name.to_owned(), part.key)).collect()
        };
        let pristine = declaration();
        let changed = |declaration: &Declaration, go: &str| -> Vec<String> {
            let (before, after) = (keys(&pristine, "go 1"), keys(declaration, go));
            after.into_iter().filter(|(name, key)| before[name] != *key).map(|(name, _)| name).collect()
        };
        assert_eq!(changed(&declaration(), "go 1"), [""; 0]);
        let mut other = declaration();
        other.pip[0].sha256 = "0".into();
        assert_eq!(changed(&other, "go 1"), [other.pip[0].part.as_str()]);
        let mut other = declaration();
        other.debian.packages.push("hello".into());
        assert_eq!(changed(&other, "go 1"), ["debian"]);
        let go: std::collections::BTreeSet<_> = declaration().go.into_iter().map(|go| go.part).collect();
        assert_eq!(changed(&declaration(), "go 2"), go.into_iter().collect::<Vec<_>>());
    }

    /// Whether this machine has compilers or not: with what is noted, it can be said what is in the cache.
    #[tokio::test]
    async fn a_cache_is_known_again_without_compilers() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().into());
        files::write(&dir.path().join("compilers.json"), r#"["go 1", "cargo 1"]"#).unwrap();
        let found = Compilers::find(&cache).await.unwrap();
        let asked = Compilers::ask().await.ok();
        assert_eq!(found.go, asked.map_or("go 1".into(), |asked| asked.go));
    }

    #[test]
    fn a_source_that_is_not_there_is_named() {
        let mut declaration = declaration();
        declaration.c[0].source = "nowhere.c".into();
        let cache = Cache::at("/cache".into());
        let planned = plan(&declaration, &compilers("go 1"), &cache, &declaration.cluster());
        let told = planned.map(|parts| names(&parts).join(" ")).unwrap_err().to_string();
        assert!(told.starts_with("could not read ") && told.ends_with("/nowhere.c"), "{told}");
    }

    #[test]
    fn a_part_counts_by_its_content_where_that_is_noted_else_by_its_key() {
        let (dir, declaration) = (tempfile::tempdir().unwrap(), declaration());
        let cache = Cache::at(dir.path().into());
        let parts = plan(&declaration, &compilers("go 1"), &cache, &declaration.tools_and_apps()).unwrap();
        let part = parts.iter().find(|part| part.name == "apps").unwrap();
        assert_eq!(part.content().unwrap(), part.key, "nothing is noted");
        files::make_folder(&part.dir).unwrap();
        files::write(&part.dir.join(CONTENT), "digest").unwrap();
        assert_eq!(part.content().unwrap(), "digest");
        remove(&part.dir.join(CONTENT)).unwrap();
        files::make_folder(&part.dir.join(CONTENT)).unwrap();
        assert!(part.content().unwrap_err().to_string().starts_with("could not read "));
    }

    #[tokio::test]
    async fn a_part_that_is_there_is_not_made_again() {
        let (dir, declaration) = (tempfile::tempdir().unwrap(), declaration());
        let cache = Cache::at(dir.path().into());
        let parts = plan(&declaration, &compilers("go 1"), &cache, &declaration.tools_and_apps()).unwrap();
        files::make_folder(&parts[0].dir).unwrap();
        parts[0].build(&declaration, &cache, &Semaphore::new(0), &Progress::new()).await.unwrap();
        assert!(!cache.log(parts[0].name).exists());
    }

    /// A workspace with one program, whose files are older than anything that was built.
    fn checkout(root: &Path, word: &str) -> Declaration {
        let write = |name: &str, text: String| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"said\"]\nresolver = \"3\"\n".into());
        write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"said\"\nversion = \"0.1.0\"\n".into());
        let package = "[package]\nname = \"said\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        write("said/Cargo.toml", package.into());
        write("said/src/main.rs", format!("fn main() {{ print!(\"{word}\") }}"));
        let programs = [("said".to_owned(), PathBuf::from("said"))].into();
        let cargo = vec![Cargo { part: "apps".into(), programs, takes: None }];
        Declaration { root: root.into(), cargo, ..declaration() }
    }

    #[tokio::test]
    async fn a_checkout_is_never_given_anothers_program() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        fs::create_dir_all(&cache.root).unwrap();
        for word in ["one", "two"] {
            let declaration = checkout(&dir.path().join(word), word);
            let made = dir.path().join(format!("made-{word}"));
            fs::create_dir_all(&made).unwrap();
            let log = dir.path().join("log");
            cargo_build(&declaration.cargo[0], &declaration, &cache, &made, &log).await.unwrap();
            assert_eq!(Tool::new(made.join("said")).run().await.unwrap().stdout, word);
        }
    }
}
