//! The cluster of the faults, past svidproof: what is looked at there, and what is broken.

use std::path::PathBuf;
use std::time::Duration;

use conformance::leftovers::docker;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use svidproof::cluster::kube::Kube;
use svidproof::sys::wait::{self, Look};

use super::World;

const LONG: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(100);

pub(crate) struct System {
    kube: Kube,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) run: String,
}

impl System {
    pub(crate) async fn found(world: &World) -> Self {
        let folder = conformance::run_in(world.dir.path());
        let session = std::fs::read_to_string(folder.join("session.json")).unwrap();
        let session: Value = serde_json::from_str(&session).unwrap();
        let kubeconfig = PathBuf::from(session["cluster"]["kubeconfig"].as_str().unwrap());
        let kube = Kube::connect(&kubeconfig, None).await.unwrap();
        let run = folder.file_name().unwrap().to_string_lossy().into_owned();
        Self { kube, kubeconfig, run }
    }

    /// Waits until the request that is held back has reached the application. What a window of before
    /// brought is older.
    pub(crate) async fn window_is_open(&self) {
        let pods: Api<Pod> = Api::namespaced(self.kube.client(), "faults");
        let log =
            LogParams { container: Some("backend".into()), since_seconds: Some(2), ..LogParams::default() };
        let open = wait::poll("the window to be open", LONG, EVERY, async || {
            for pod in pods.list(&ListParams::default()).await.unwrap() {
                // One that is just coming has no log.
                let text = pods.logs(&pod.metadata.name.unwrap(), &log).await.unwrap_or_default();
                if text.contains("GET /late") {
                    return Look::<_, std::io::Error>::Ready(());
                }
            }
            Look::NotYet("nobody asks for /late".into())
        });
        open.await.unwrap();
    }

    /// Ends a program in the cluster's node, which starts it again.
    pub(crate) async fn kill(&self, program: &str) {
        let node = format!("svidproof-{}-control-plane", self.run);
        docker(["exec", &node, "pkill", "-KILL", "-x", program]).await.unwrap();
    }

    pub(crate) async fn delete_pods(&self, namespace: &str, labels: &str) {
        let pods: Api<Pod> = Api::namespaced(self.kube.client(), namespace);
        let at_once = DeleteParams::default().grace_period(0);
        pods.delete_collection(&at_once, &ListParams::default().labels(labels)).await.unwrap();
    }

    /// Waits until the API server does, and all pods are ready.
    pub(crate) async fn answers(&self) {
        let pods: Api<Pod> = Api::all(self.kube.client());
        let ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.filter(|one| one.type_ == "Ready").any(|one| one.status == "True")
        };
        let well = wait::poll("the cluster to be well", LONG, EVERY, async || {
            match pods.list(&ListParams::default()).await {
                Err(error) => Look::NotYet(error.to_string()),
                Ok(list) if list.items.iter().all(ready) => Look::<_, std::io::Error>::Ready(()),
                Ok(list) => {
                    let left = list.items.iter().filter(|pod| !ready(pod));
                    let left: Vec<_> = left.filter_map(|pod| pod.metadata.name.clone()).collect();
                    Look::NotYet(format!("not ready: {}", left.join(", ")))
                }
            }
        });
        well.await.unwrap();
    }
}

/// The containers of a run's cluster, a line each.
pub(crate) async fn containers(run: &str) -> String {
    let label = format!("label=io.x-k8s.kind.cluster=svidproof-{run}");
    docker(["ps", "--all", "--format", "{{.Names}}", "--filter", &label]).await.unwrap()
}

/// Waits for the first process below this one whose command line has all of these words; its number.
pub(crate) async fn child_of(parent: u32, words: &[&str]) -> u32 {
    let what = format!("a process with {}", words.join(" "));
    let found = wait::poll(&what, LONG, Duration::from_millis(5), async || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is = |number: &u32| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            words.iter().all(|word| line.contains(word)) && is_below(*number, parent)
        };
        match numbers.collect::<Vec<u32>>().into_iter().find(is) {
            Some(number) => Look::<_, std::io::Error>::Ready(number),
            None => Look::NotYet("there is none".into()),
        }
    });
    found.await.unwrap()
}

/// Whether one process came of the other, by what the kernel says (proc(5), `stat`, field 4).
fn is_below(number: u32, above: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let parent = stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2)?.parse().ok());
    parent.is_some_and(|parent| parent == above || parent > 1 && is_below(parent, above))
}

/// Sends a process a signal.
pub(crate) fn signal(signal: Signal, process: u32) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}
