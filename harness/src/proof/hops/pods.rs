//! The hops of images and of pods.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Hop, Known};

/// A pod as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node that it is on; empty where it has none.
    pub node: String,
    /// The name of its `ServiceAccount`.
    pub service_account: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Kind and name of each of its owners.
    pub owners: Vec<(String, String)>,
    /// Its address; empty where it has none.
    pub ip: String,
    /// The folders of its node that it mounts.
    pub folders: BTreeSet<String>,
    /// Those that run, init containers last.
    pub containers: Vec<Container>,
    /// By its condition.
    pub ready: bool,
    /// Why it does not run, if so.
    pub trouble: Option<Trouble>,
    /// In words, what it says of itself where it is not ready.
    pub state: String,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, by each of the names that are known of it.
    pub images: BTreeSet<String>,
    /// The ports that it declares, each with its name, which may be empty.
    pub ports: BTreeMap<u16, String>,
    /// Whether it ends before the others begin.
    pub init: bool,
}

impl Pod {
    /// Its port that a Service's target is, a number or the name of a container's port.
    pub fn port(&self, target: &str) -> Option<u16> {
        let named = || self.containers.iter().flat_map(|one| &one.ports).find(|(_, name)| *name == target);
        target.parse().ok().or_else(|| named().map(|(port, _)| *port))
    }

    /// The ports that its containers declare.
    pub fn declared(&self) -> BTreeSet<u16> {
        self.containers.iter().flat_map(|one| one.ports.keys().copied()).collect()
    }

    /// The container that runs this program, by its image.
    pub fn running(&self, program: &str) -> Option<&Container> {
        let last = |image: &String| {
            let last = image.rsplit('/').next().unwrap_or_default();
            last.split([':', '@']).next().unwrap_or_default().to_owned()
        };
        self.containers.iter().find(|one| one.images.iter().any(|image| last(image) == program))
    }
}

/// Why a pod does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whether an image cannot be had.
    pub image: bool,
    /// In words, with the pod's name and a crashed container's last line.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// What is broken of these pods themselves. That one runs and is not ready is told last: what it waits for is
/// another hop's.
pub fn of_pods(of: &str, pods: &Known<Vec<Pod>>) -> Vec<Found> {
    let pods = match pods {
        Ok(pods) => pods,
        Err(why) => return vec![Found::unread(Hop::Pod, of, why)],
    };
    let trouble = pods.iter().filter_map(|pod| pod.trouble.as_ref());
    let trouble = trouble.map(|one| {
        let hop = if one.image { Hop::Image } else { Hop::Pod };
        Found::broken(hop, of, one.why.clone(), one.hint.clone())
    });
    let unready = pods.iter().filter(|pod| !pod.ready && pod.trouble.is_none()).map(|pod| {
        let hint =
            "it runs, and its readiness probe does not succeed: `kubectl describe pod` shows the answer";
        Found::broken(Hop::Application, of, pod.state.clone(), hint)
    });
    trouble.chain(unready).collect()
}
