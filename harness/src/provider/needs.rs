//! What a run needs of this machine: programs, room, limits. Looks only; `scripts/setup` installs programs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::Provider;
use crate::images::{self, ImagesError, Source, Versions};

/// A program: one of these names will do, what it is for, and when it is needed.
struct Need {
    any_of: &'static [&'static str],
    what_for: &'static str,
    when: When,
}

/// When a program is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// For a cluster that is made.
    Made,
    /// For one that is made on this machine.
    Here,
    /// For that, where no docker of the user's answers.
    PrivateEngine,
    /// Where something of it has to be built that is not in the cache.
    Build,
}

const fn need(any_of: &'static [&'static str], what_for: &'static str, when: When) -> Need {
    Need { any_of, what_for, when }
}

const NEEDS: [Need; 10] = [
    need(&["terraform", "tofu"], "makes and destroys the cluster", When::Made),
    need(&["docker"], "kind and the engine are driven by it", When::Here),
    need(&["dockerd"], "the private engine, where no docker answers", When::PrivateEngine),
    need(&["runc"], "the private engine's runtime", When::PrivateEngine),
    need(&["iptables"], "keeps the cluster on this machine", When::PrivateEngine),
    need(&["go"], "kind, helm; images: Kubernetes, SPIRE and their like", When::Build),
    need(&["cargo"], "images: the probe and the applications", When::Build),
    need(&["cc"], "images: SPIRE's database, pause", When::Build),
    need(&["python3"], "images: Envoy comes from a Python wheel", When::Build),
    need(&["debootstrap"], "images: the node's root file system", When::Build),
];

/// A node's writable files and its links to the images, and what a run writes: less, and something ends
/// half-way.
const LEAST_ROOM: u64 = 2_000_000_000;
/// What kind's documentation ("Known issues", "Pod errors due to too many open files") sets these to.
const INOTIFY: [(&str, u64); 2] = [("max_user_instances", 512), ("max_user_watches", 524_288)];
/// Below this, etcd and containerd are short of files.
const FILES: u64 = 4096;

/// What is asked of this machine.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where the cluster comes from.
    pub provider: Provider,
    /// No docker of the user's answers.
    pub private_engine: bool,
    /// The programs that make what is not in the cache; see [`images::makers`].
    pub makers: BTreeSet<&'static str>,
}

impl Asked {
    /// What a cluster of `provider` needs of what images are made by.
    ///
    /// # Errors
    /// The declaration of the images cannot be read.
    pub async fn of(
        provider: Provider,
        private_engine: bool,
        home: &Path,
        source: Source,
        versions: &Versions,
    ) -> Result<Self, ImagesError> {
        let makers = match provider {
            Provider::Kind => images::makers(home, source, versions).await?,
            Provider::Gke | Provider::Existing => BTreeSet::new(),
        };
        Ok(Self { provider, private_engine, makers })
    }

    fn wants(&self, need: &Need) -> bool {
        let here = self.provider == Provider::Kind;
        match need.when {
            When::Made => self.provider != Provider::Existing,
            When::Here => here,
            When::PrivateEngine => here && self.private_engine,
            When::Build => need.any_of.iter().any(|program| self.makers.contains(program)),
        }
    }
}

/// What there is of what is needed.
#[derive(Debug)]
pub struct Looked {
    /// A line each, for a person.
    pub text: String,
    /// What is missing, in the same words as an error's lines; empty where nothing is.
    pub lacking: Vec<String>,
}

/// Looks at the programs (`find` tells where one is), and at the room where `cache` is to be.
pub fn look(asked: &Asked, cache: &Path, find: impl Fn(&str) -> Option<PathBuf>) -> Looked {
    let mut looked = Looked { text: String::new(), lacking: vec![] };
    for need in &NEEDS {
        let name = need.any_of.join(" or ");
        let (mark, place) = match need.any_of.iter().find_map(|name| find(name)) {
            Some(path) => ("✓", path.display().to_string()),
            None if asked.wants(need) => {
                looked.lacking.push(format!("{name}: {}", need.what_for));
                ("✗", "MISSING".into())
            }
            None => ("-", "not here, and not needed".into()),
        };
        // Writing to a String does not fail.
        let _ = writeln!(looked.text, "{mark} {name:<22} {:<54} {place}", need.what_for);
    }
    if asked.provider == Provider::Kind {
        looked.room(room(cache), cache);
        looked.limits(|name| std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok());
    }
    looked
}

impl Looked {
    fn room(&mut self, free: Option<u64>, place: &Path) {
        let Some(free) = free else { return };
        let (gigabytes, place) = (in_gigabytes(free), place.display());
        let is_enough = free >= LEAST_ROOM;
        let mark = if is_enough { "✓" } else { "✗" };
        let _ = writeln!(self.text, "{mark} room: {gigabytes} free for {place}");
        if !is_enough {
            let least = in_gigabytes(LEAST_ROOM);
            self.lacking
                .push(format!("room: {gigabytes} free for {place}, and a run wants {least} at the least"));
        }
    }

    /// What is small is said, and may yet be enough.
    fn limits(&mut self, read: impl Fn(&str) -> Option<String>) {
        for (name, good) in INOTIFY {
            let Some(is) = read(name).and_then(|text| text.trim().parse::<u64>().ok()) else { continue };
            let _ = if is < good {
                writeln!(
                    self.text,
                    "! fs.inotify.{name} is {is}; kind asks for {good}, or pods end with \"too many open \
                     files\": `sysctl fs.inotify.{name}={good}`"
                )
            } else {
                writeln!(self.text, "✓ fs.inotify.{name} {is}")
            };
        }
        let files = getrlimit(Resource::Nofile).maximum;
        let _ = match files {
            Some(files) if files < FILES => {
                writeln!(self.text, "! open files: {files} at the most; {FILES} are better: `ulimit -Hn`")
            }
            _ => writeln!(
                self.text,
                "✓ open files {}",
                files.map_or("without a limit".into(), |n| n.to_string())
            ),
        };
    }
}

/// The bytes that are free where a folder is, or is to be.
fn room(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let stat = statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn in_gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn asked(provider: Provider, private_engine: bool, makers: &[&'static str]) -> Asked {
        Asked { provider, private_engine, makers: makers.iter().copied().collect() }
    }

    #[rstest]
    #[case::all_is_to_be_built(
        asked(Provider::Kind, true, &["go", "cargo", "cc", "python3", "debootstrap"]), 10
    )]
    #[case::all_is_in_the_cache(asked(Provider::Kind, true, &[]), 5)]
    #[case::a_users_docker_and_a_registry(asked(Provider::Kind, false, &["go", "cargo"]), 4)]
    #[case::a_cloud(asked(Provider::Gke, false, &[]), 1)]
    #[case::a_cluster_that_is_there(asked(Provider::Existing, false, &[]), 0)]
    fn only_what_is_wanted_is_missing(#[case] asked: Asked, #[case] missing: usize) {
        let looked = look(&asked, Path::new("/"), |_| None);
        let programs = looked.lacking.iter().filter(|one| !one.starts_with("room")).count();
        assert_eq!(programs, missing, "{}", looked.text);
        let all = look(&asked, Path::new("/"), |name| Some(name.into()));
        assert!(all.lacking.iter().all(|one| one.starts_with("room")), "{:?}", all.lacking);
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_free() {
        let told = |free| {
            let mut looked = Looked { text: String::new(), lacking: vec![] };
            looked.room(Some(free), Path::new("/cache"));
            looked
        };
        assert_eq!(
            told(1_940_000_000).lacking,
            ["room: 1.9 GB free for /cache, and a run wants 2.0 GB at the least"]
        );
        let enough = told(LEAST_ROOM);
        assert_eq!((enough.lacking.len(), enough.text.as_str()), (0, "✓ room: 2.0 GB free for /cache\n"));
        assert!(room(Path::new("/no/such/folder")).is_some_and(|free| free > 0), "where it is to be");
    }

    #[test]
    fn small_limits_are_told_with_what_raises_them() {
        let mut looked = Looked { text: String::new(), lacking: vec![] };
        looked.limits(|name| (name == "max_user_instances").then(|| "128\n".into()));
        assert!(
            looked.text.contains("! fs.inotify.max_user_instances is 128; kind asks for 512"),
            "{}",
            looked.text
        );
        assert!(
            looked.text.contains("sysctl fs.inotify.max_user_instances=512") && looked.lacking.is_empty()
        );
    }
}
