//! Where a run can be told to stop in the middle of its work, by `SVIDPROOF_STOP_AT=PLACE`: there it says so,
//! and waits for a signal. By this tests kill it at each of its phases, and look what is left (tests/soak/).
//! Without the variable none of this does anything.
//!
//! A place stands where what is made, or taken away, changes. Some are stopped at while a program works that
//! svidproof has started: that one goes on.

use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use futures::future::join;

use crate::sys::progress::Progress;
use crate::sys::signal::interrupted;

/// What the place is named in.
pub const VARIABLE: &str = "SVIDPROOF_STOP_AT";

/// A place, in the order in which a run comes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Halt {
    /// The run's lease is written, and nothing else.
    Lease,
    /// kind: the container engine answers.
    Engine,
    /// kind: each node's containerd store is there.
    Store,
    /// While `terraform apply` works.
    Applying,
    /// kind: the cluster answers.
    Cluster,
    /// existing: the run holds the cluster.
    Claimed,
    /// While Helm installs the first release.
    Installing,
    /// The registration entries are made.
    Entries,
    /// The SPIRE agent of a machine outside runs.
    Machine,
    /// A scenario's probe answers.
    Probe,
    /// A window is open: its dials are under way.
    Window,
    /// While Helm upgrades a release to a stage's values.
    Upgrading,
    /// Every check is judged.
    Judged,
    /// The reports are written.
    Reported,
    /// The teardown begins.
    Teardown,
    /// While `terraform destroy` works.
    Destroying,
    /// A cluster was taken down, and the lease does not say so yet; likewise all that follow.
    GoneCluster,
    /// A node's store, or what else lies in a folder of its own.
    GoneFolder,
    /// A process of this machine.
    GoneProcess,
    /// A network of the container engine.
    GoneNetwork,
    /// A container in which images are put together.
    GoneContainer,
    /// Registration entries.
    GoneEntries,
    /// A release.
    GoneRelease,
    /// A Secret.
    GoneSecret,
    /// A namespace.
    GoneNamespace,
    /// The Lease object by which the run held a cluster.
    GoneClaim,
    /// All is taken down, and the run's folder is there yet.
    Emptied,
}

impl Halt {
    /// What it is called in the variable.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// There is no such place.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{VARIABLE}={said} names no place where a run can stop\nhint: it is one of {}", names())]
pub struct Unknown {
    said: String,
}

fn names() -> String {
    Halt::value_variants().iter().map(|place| place.name()).collect::<Vec<_>>().join(", ")
}

/// Where to stop, once.
static WANTED: Mutex<Option<Halt>> = Mutex::new(None);

fn wanted() -> std::sync::MutexGuard<'static, Option<Halt>> {
    WANTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the variable's word, where there is one.
///
/// # Errors
/// It names no place.
pub fn by_environment() -> Result<(), Unknown> {
    let said = std::env::var_os(VARIABLE).map(|said| said.to_string_lossy().into_owned());
    let place = said.map(|said| read(&said)).transpose()?;
    *wanted() = place;
    Ok(())
}

fn read(said: &str) -> Result<Halt, Unknown> {
    Halt::from_str(said, false).map_err(|_| Unknown { said: said.into() })
}

/// Where this place is wanted, and was not come to before: says so, and waits for a signal. Up to the last
/// check a signal ends the work that stands here; what takes down goes on.
pub async fn at(here: Halt) {
    if wanted().take_if(|place| *place == here).is_some() {
        let signal = interrupted();
        Progress::new().note(&format!("stopped at {}", here.name()));
        if here <= Halt::Judged {
            // Who listens for that signal may hear of it a moment later.
            return std::future::pending().await;
        }
        signal.await;
    }
}

/// The same while `work` goes on, which has begun by then.
pub async fn beside<T>(here: Halt, work: impl Future<Output = T>) -> T {
    join(work, at(here)).await.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_known_by_its_name_and_no_other_is() {
        for place in Halt::value_variants() {
            assert_eq!(read(&place.name()), Ok(*place));
        }
        let told = read("clusters").unwrap_err().to_string();
        assert!(told.starts_with("SVIDPROOF_STOP_AT=clusters names no place"), "{told}");
        assert!(told.contains("hint: it is one of lease, engine, ") && told.ends_with(", emptied"), "{told}");
    }
}
