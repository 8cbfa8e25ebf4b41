//! What a run may have left behind on this machine. It looks for itself, and does not ask the lease.

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
    found.extend(
        [&lease.dir, &node]
            .iter()
            .filter(|path| path.exists())
            .map(|path| format!("folder {}", path.display())),
    );
    if users_kubeconfig().as_deref() != kubeconfig {
        found.push("a change in the user's kubeconfig".into());
    }
    found.extend(processes(&cluster).map(|line| format!("process {line}")));
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

pub(crate) fn users_kubeconfig() -> Option<Vec<u8>> {
    std::fs::read(std::env::home_dir()?.join(".kube/config")).ok()
}

/// Processes whose command line names the cluster.
fn processes(cluster: &str) -> impl Iterator<Item = String> {
    let lines = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(move |line| line.contains(cluster))
}
