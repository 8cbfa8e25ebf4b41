//! What a run may have left behind on this machine. It looks for itself, and does not ask the lease.

use std::path::PathBuf;

use svidproof::engine;
use svidproof::lease::Lease;
use svidproof::sys::progress::Progress;

/// What the run may have left: containers, folders, a line in the user's kubeconfig, processes.
pub(crate) async fn of(lease: &Lease, kubeconfig: Option<&[u8]>) -> Result<(), String> {
    let mut found = vec![];
    let engine = engine::ensure(&Progress::new()).await.map_err(|e| svidproof::sys::chain(&e))?;
    let cluster = format!("svidproof-{}", lease.id);
    let looks = [
        ("a node", "ps --all", format!("label=io.x-k8s.kind.cluster={cluster}")),
        ("a container", "ps --all", format!("label=svidproof.run={}", lease.id)),
        ("a network", "network ls", format!("name=^{cluster}$")),
    ];
    for (what, list, filter) in looks {
        let list = engine.docker().args(list.split(' ')).args(["--quiet", "--filter", &filter]);
        let listed = list.run().await.map_err(|e| svidproof::sys::chain(&e))?.stdout;
        if !listed.trim().is_empty() {
            found.push(format!("{what}: {}", listed.trim()));
        }
    }
    let node = svidproof::sys::dirs::cache().join("nodes").join(&lease.id);
    let folders = [lease.dir.clone(), node].into_iter().filter(|path| path.exists()).chain(open(&lease.id));
    found.extend(folders.map(|path| format!("folder {}", path.display())));
    if users_kubeconfig().as_deref() != kubeconfig {
        found.push("a change in the user's kubeconfig".into());
    }
    // Of machines outside, by the run's own folder; of all else, by the cluster's name.
    let of_machines = lease.dir.display().to_string();
    let left = [cluster, of_machines].into_iter().flat_map(processes);
    found.extend(left.map(|line| format!("process {line}")));
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

pub(crate) fn users_kubeconfig() -> Option<Vec<u8>> {
    std::fs::read(std::env::home_dir()?.join(".kube/config")).ok()
}

/// Where everybody comes to the agents of machines outside.
fn open(run: &str) -> impl Iterator<Item = PathBuf> {
    let is_one = format!("svidproof-{run}-");
    let all = std::fs::read_dir("/tmp").into_iter().flatten().flatten();
    all.filter(move |entry| entry.file_name().to_string_lossy().starts_with(&is_one))
        .map(|entry| entry.path())
}

/// Processes whose command line has this.
fn processes(name: String) -> impl Iterator<Item = String> {
    let lines = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(move |line| line.contains(&name))
}
