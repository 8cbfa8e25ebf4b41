//! The journal of all that a run makes, written before each thing is made; teardown and `gc` read it.
//!
//! A run's folder is `<state>/runs/<id>/`: `lease.jsonl` beside what teardown needs (Terraform's state, the
//! kubeconfig). While its owner lives, it holds a lock on the journal (flock), so that `gc` can tell a run
//! under way from one that was killed, whatever became of the process id.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scenario::ServerApi;
use crate::sys::files::{self, FileError, could_not};

/// Something that outlives the process unless it is taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "thing")]
#[allow(missing_docs, reason = "the fields are what the thing is found by")]
pub enum Thing {
    /// A cluster that Terraform made, from the root and with the state in this folder of the run.
    Cluster {
        provider: String,
        terraform: PathBuf,
        env: Vec<(String, String)>,
        /// The ID of the container engine that it is in.
        #[serde(default)]
        engine: String,
    },
    /// A folder outside the run's own.
    Folder { path: PathBuf },
    /// A process of this machine that outlives svidproof: this program, started with this file of the run's.
    Process { program: String, flag: String, file: PathBuf },
    /// Registration entries whose IDs begin with this prefix.
    Entries {
        #[serde(flatten)]
        server: ServerApi,
        prefix: String,
    },
    /// A Helm release.
    Release { name: String, namespace: String },
    /// A Secret that Helm knows nothing of.
    Secret { name: String, namespace: String },
    /// A namespace that was not there before.
    Namespace { name: String },
    /// The network of the run's cluster, in a user's engine. The private engine keeps its own.
    Network {
        #[serde(default = "network_of_before")]
        name: String,
        /// How the engine is reached, and its ID.
        #[serde(default)]
        env: Vec<(String, String)>,
        #[serde(default)]
        engine: String,
    },
    /// A container in which images are put together.
    Container {
        name: String,
        /// How the engine is reached, and its ID.
        env: Vec<(String, String)>,
        engine: String,
    },
    /// The Lease object by which the run holds a cluster that is not its own.
    Claim,
}

/// All runs of before had one, and said no more of it.
fn network_of_before() -> String {
    "svidproof".into()
}

/// A cluster that is there without the run: how it is reached, and by what it is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What a person calls it.
    pub name: String,
    /// A file of the run's own.
    pub kubeconfig: PathBuf,
    /// The UID of its namespace kube-system.
    pub uid: String,
}

/// The journal, or the folder that it lies in, could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "the run's journal could not be kept\n\
     hint: svidproof keeps its runs under $XDG_STATE_HOME/svidproof (default ~/.local/state): is there \
     room, and may it be written?"
)]
pub struct LeaseError(#[from] FileError);

impl LeaseError {
    /// Whether another process works on the run.
    pub fn is_held(&self) -> bool {
        self.0.source.kind() == std::io::ErrorKind::WouldBlock
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Run {
        id: String,
        pid: u32,
        started: jiff::Timestamp,
    },
    /// Where things are made from here on.
    In(Place),
    Making(Thing),
    Gone(Thing),
    /// The run's owner left it standing on purpose.
    Kept,
}

/// By what programs that a run starts hold it too.
#[derive(Debug)]
pub struct Shared(File);

impl Shared {
    /// Starts what is to outlive svidproof, and must not hold the run. One that is started elsewhere in the
    /// same moment does not hold it either.
    pub fn apart<T>(&self, start: impl FnOnce() -> T) -> std::io::Result<T> {
        self.pass_on(FdFlags::CLOEXEC)?;
        let started = start();
        self.pass_on(FdFlags::empty())?;
        Ok(started)
    }

    fn pass_on(&self, flags: FdFlags) -> std::io::Result<()> {
        Ok(fcntl_setfd(&self.0, flags)?)
    }
}

/// What a run's folder begins with until its owner holds it.
const HIDDEN: &str = ".";

/// A run's journal, held by its owner.
#[derive(Debug)]
pub struct Lease {
    /// Eight hexadecimal digits, which all that the run makes carries in its name.
    pub id: String,
    /// The run's folder.
    pub dir: PathBuf,
    journal: Mutex<File>,
}

impl Lease {
    /// Opens a new run.
    pub fn new() -> Result<Self, LeaseError> {
        let started = jiff::Timestamp::now();
        let pid = std::process::id();
        let id = hex::encode(&Sha256::digest(format!("{pid} {started}"))[..4]);
        Self::begin(&id, |lease| lease.write(&Line::Run { id: id.clone(), pid, started }))
    }

    /// Takes up a run that began on another machine, under its own ID.
    pub fn adopt(id: &str) -> Result<Self, LeaseError> {
        Self::begin(id, |_| Ok(()))
    }

    /// It is held before `gc` can see it, and on disk before anything is made.
    fn begin(id: &str, first: impl FnOnce(&Self) -> Result<(), LeaseError>) -> Result<Self, LeaseError> {
        let (runs, dir) = (runs(), runs().join(id));
        let hidden = runs.join(format!("{HIDDEN}{id}"));
        files::make_folder(&runs)?;
        let _begins = alone(&runs)?;
        files::make_own_folder(&hidden)?;
        let begun = Self::open(hidden.clone()).and_then(|lease| {
            first(&lease)?;
            files::sync_folder(&hidden)?;
            std::fs::rename(&hidden, &dir).map_err(could_not("put in place", &dir))?;
            files::sync_folder(&runs)?;
            Ok(Self { id: id.into(), dir, ..lease })
        });
        if begun.is_err() {
            // It holds nothing yet; that it could not be begun is what counts.
            let _ = std::fs::remove_dir_all(&hidden);
        }
        begun
    }

    /// Removes what those left that were killed while they began a run: it holds nothing yet.
    pub fn clear_unbegun() -> Result<(), LeaseError> {
        let runs = runs();
        if !runs.exists() {
            return Ok(());
        }
        // Nobody begins one meanwhile.
        let _alone = alone(&runs)?;
        let entries = std::fs::read_dir(&runs).map_err(could_not("list", &runs))?;
        let mut unbegun = entries.flatten().map(|entry| entry.path()).filter(|dir| is_hidden(dir));
        Ok(unbegun.try_for_each(|dir| files::remove(&dir))?)
    }

    /// Takes over the run in this folder; waits for nobody.
    ///
    /// # Errors
    /// Its owner is still at work (`WouldBlock`), or the journal cannot be opened.
    pub fn open(dir: PathBuf) -> Result<Self, LeaseError> {
        let path = dir.join("lease.jsonl");
        let journal = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&path)
            .map_err(could_not("open", &path))?;
        flock(&journal, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| could_not("lock", &path)(e.into()))?;
        // A line that a crash cut short must not swallow the next.
        let is_torn = files::read(&path)?.last().is_some_and(|last| *last != b'\n');
        if is_torn {
            (&journal).write_all(b"\n").map_err(could_not("write", &path))?;
        }
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { id, dir, journal: Mutex::new(journal) })
    }

    /// To be called before the thing is made. Noting a thing twice is as good as once.
    pub fn making(&self, thing: Thing) -> Result<(), LeaseError> {
        if self.standing()?.contains(&thing) { Ok(()) } else { self.write(&Line::Making(thing)) }
    }

    /// To be called before the first thing is made there.
    pub fn working_in(&self, place: Place) -> Result<(), LeaseError> {
        self.write(&Line::In(place))
    }

    /// From now on whatever program the run starts holds the run too, until it ends: where svidproof itself
    /// is killed, one that is still making something is waited for before that is looked for. Ends with what
    /// is returned.
    pub fn share_with_children(&self) -> Result<Shared, LeaseError> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = journal.try_clone().map(Shared).map_err(could_not("share", &self.dir))?;
        shared.pass_on(FdFlags::empty()).map_err(could_not("share", &self.dir))?;
        Ok(shared)
    }

    /// Where things were made, if that is not a cluster that goes with the run.
    pub fn place(&self) -> Result<Option<Place>, LeaseError> {
        let mut places = self.lines()?.into_iter().rev().filter_map(|line| match line {
            Line::In(place) => Some(place),
            _ => None,
        });
        Ok(places.next())
    }

    /// When the run began; nothing where it began on another machine.
    pub fn begun(&self) -> Result<Option<jiff::Timestamp>, LeaseError> {
        let mut begun = self.lines()?.into_iter().filter_map(|line| match line {
            Line::Run { started, .. } => Some(started),
            _ => None,
        });
        Ok(begun.next())
    }

    /// Notes that the thing was taken down.
    pub fn gone(&self, thing: Thing) -> Result<(), LeaseError> {
        self.write(&Line::Gone(thing))
    }

    /// Notes that the run is left standing on purpose: `gc` passes it over.
    pub fn keep(&self) -> Result<(), LeaseError> {
        self.write(&Line::Kept)
    }

    /// Whether it was left standing on purpose.
    pub fn kept(&self) -> Result<bool, LeaseError> {
        Self::is_kept(&self.dir)
    }

    /// The same of a run that somebody else may hold.
    pub fn is_kept(dir: &Path) -> Result<bool, LeaseError> {
        Ok(lines(dir)?.iter().any(|line| matches!(line, Line::Kept)))
    }

    /// What was made and is not known to be gone, in the order in which it was made.
    pub fn standing(&self) -> Result<Vec<Thing>, LeaseError> {
        Self::standing_in(&self.dir)
    }

    /// The same of a run that somebody else may hold.
    pub fn standing_in(dir: &Path) -> Result<Vec<Thing>, LeaseError> {
        let mut standing = vec![];
        for line in lines(dir)? {
            match line {
                Line::Making(thing) => standing.push(thing),
                Line::Gone(thing) => standing.retain(|other| *other != thing),
                Line::Run { .. } | Line::In(_) | Line::Kept => {}
            }
        }
        Ok(standing)
    }

    /// Every run that has left a folder, newest first.
    pub fn all() -> Result<Vec<PathBuf>, LeaseError> {
        let runs = runs();
        if !runs.exists() {
            return Ok(vec![]);
        }
        let entries = std::fs::read_dir(&runs).map_err(could_not("list", &runs))?;
        let dirs = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(could_not("list", &runs))?;
        let mut dirs: Vec<_> =
            dirs.into_iter().filter(|dir| !is_hidden(dir) && dir.join("lease.jsonl").exists()).collect();
        dirs.sort_by_key(|dir| std::cmp::Reverse(dir.metadata().and_then(|meta| meta.created()).ok()));
        Ok(dirs)
    }

    fn write(&self, line: &Line) -> Result<(), LeaseError> {
        let mut text = serde_json::to_vec(line).map_err(|e| could_not("write", &self.dir)(e.into()))?;
        text.push(b'\n');
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // A line is on disk before the thing that it names is made: it must outlive a crash of the machine
        // too.
        let written = journal.write_all(&text).and_then(|()| journal.sync_data());
        Ok(written.map_err(could_not("write", &self.dir))?)
    }

    fn lines(&self) -> Result<Vec<Line>, LeaseError> {
        lines(&self.dir)
    }
}

/// One svidproof at a time begins a run here, until what is returned is dropped.
fn alone(runs: &Path) -> Result<File, LeaseError> {
    let folder = File::open(runs).map_err(could_not("open", runs))?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|e| could_not("lock", runs)(e.into()))?;
    Ok(folder)
}

fn is_hidden(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(HIDDEN.as_bytes()))
}

fn lines(dir: &Path) -> Result<Vec<Line>, LeaseError> {
    let path = dir.join("lease.jsonl");
    let text = files::read_text(&path)?;
    let mut lines = vec![];
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            // Whole and not understood: a newer svidproof's. What it names must not be lost.
            Err(problem) if serde_json::from_str::<serde_json::Value>(line).is_ok() => {
                return Err(could_not("understand a line of", &path)(problem.into()).into());
            }
            // One that a crash cut short names a thing that was not made yet.
            Err(_) => {}
        }
    }
    Ok(lines)
}

fn runs() -> PathBuf {
    crate::sys::dirs::state().join("runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str) -> Thing {
        Thing::Release { name: name.into(), namespace: "default".into() }
    }

    impl Lease {
        fn write_torn(&self) {
            self.journal.lock().unwrap().write_all(b"{\"making\":{\"thi").unwrap();
        }
    }

    fn lease() -> (tempfile::TempDir, Lease) {
        let dir = tempfile::tempdir().unwrap();
        let lease = Lease::open(dir.path().to_owned()).unwrap();
        (dir, lease)
    }

    #[test]
    fn what_was_made_and_not_undone_stands_in_order_and_once() {
        let (_dir, lease) = lease();
        for name in ["a", "b", "a", "c"] {
            lease.making(release(name)).unwrap();
        }
        lease.gone(release("b")).unwrap();
        assert_eq!(lease.standing().unwrap(), [release("a"), release("c")]);
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_passed_over() {
        let (_dir, lease) = lease();
        lease.making(release("a")).unwrap();
        lease.write_torn();
        assert_eq!(lease.standing().unwrap(), [release("a")]);
    }

    /// The machine went down in the middle of a line; `gc` goes on in the same file.
    #[test]
    fn a_line_cut_short_does_not_swallow_the_next() {
        let (dir, lease) = lease();
        lease.making(release("a")).unwrap();
        lease.write_torn();
        drop(lease);
        let lease = Lease::open(dir.path().to_owned()).unwrap();
        lease.making(release("b")).unwrap();
        lease.gone(release("a")).unwrap();
        assert_eq!(lease.standing().unwrap(), [release("b")]);
    }

    #[test]
    fn what_a_newer_svidproof_made_is_not_lost() {
        let (dir, lease) = lease();
        let newer = b"{\"making\":{\"thing\":\"satellite\",\"orbit\":3}}\n";
        std::fs::write(dir.path().join("lease.jsonl"), newer).unwrap();
        let told = crate::sys::chain(&lease.standing().unwrap_err());
        assert!(told.contains("could not understand a line of") && told.contains("satellite"), "{told}");
    }

    #[tokio::test]
    async fn what_is_started_apart_does_not_hold_the_run() {
        use crate::sys::process::{end, running};
        use crate::sys::tool::Tool;
        use crate::sys::wait::{self, Look};
        let (dir, lease) = lease();
        let shared = lease.share_with_children().unwrap();
        let start = |name: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, "").unwrap();
            Tool::new("tail").arg("-f").arg(&file).detach().unwrap();
            file
        };
        let apart = shared.apart(|| start("apart")).unwrap();
        drop((shared, lease));
        // Children of other tests, started in the same moment, hold it until they end.
        let every = std::time::Duration::from_millis(100);
        let open = async || match Lease::open(dir.path().to_owned()) {
            Ok(lease) => Look::Ready(lease),
            Err(error) if error.is_held() => Look::NotYet("it is held".into()),
            Err(error) => Look::Fatal(error),
        };
        let taken = wait::poll("the run to be free", every * 300, every, open).await.unwrap();
        let shared = taken.share_with_children().unwrap();
        let holds = start("holds");
        drop((shared, taken));
        assert!(Lease::open(dir.path().to_owned()).unwrap_err().is_held());
        assert!(running("tail", "-f", &apart).is_some());
        for file in [apart, holds] {
            end("tail", "-f", &file).await.unwrap();
        }
    }

    #[test]
    fn a_run_under_way_cannot_be_taken_over_and_a_dead_one_can() {
        let (dir, lease) = lease();
        lease.keep().unwrap();
        assert_eq!(
            Lease::open(dir.path().to_owned()).unwrap_err().0.source.kind(),
            std::io::ErrorKind::WouldBlock
        );
        drop(lease);
        assert!(Lease::open(dir.path().to_owned()).unwrap().kept().unwrap());
    }
}
