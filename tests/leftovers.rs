//! What a run may have left behind on this machine. It looks for itself, and does not ask the lease.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use svidproof::engine;
use svidproof::lease::Lease;
use svidproof::sys::progress::Progress;
use svidproof::sys::tool::{Tool, ToolError};
use svidproof::sys::wait::{self, Look};
use svidproof::sys::{chain, dirs};

/// Others on this machine take down what is theirs, one thing after the other.
const SETTLED: Duration = Duration::from_secs(30);

/// What the run may have left: containers, folders, a line in the user's kubeconfig, processes.
///
/// # Errors
/// All that was found.
pub async fn of(lease: &Lease, kubeconfig: Option<&[u8]>) -> Result<(), String> {
    let mut found = of_run(&lease.id, &lease.dir).await?;
    if users_kubeconfig().as_deref() != kubeconfig {
        found.push("a change in the user's kubeconfig".into());
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

/// What there is of a run, a line each, whose own folder was here.
///
/// # Errors
/// The engine could not be asked.
pub async fn of_run(run: &str, dir: &Path) -> Result<Vec<String>, String> {
    let mut found = vec![];
    let cluster = format!("svidproof-{run}");
    let looks = [
        ("a node", "ps --all", format!("label=io.x-k8s.kind.cluster={cluster}")),
        ("a container", "ps --all", format!("label=svidproof.run={run}")),
        ("a network", "network ls", format!("name=^{cluster}$")),
    ];
    for (what, list, filter) in looks {
        let listed = docker(list.split(' ').chain(["--quiet", "--filter", &filter])).await?;
        if !listed.trim().is_empty() {
            found.push(format!("{what}: {}", listed.trim()));
        }
    }
    let node = dirs::cache().join("nodes").join(run);
    let folders = [dir.to_owned(), node].into_iter().filter(|path| path.exists()).chain(open(run));
    found.extend(folders.map(|path| format!("folder {}", path.display())));
    // Of machines outside, by the run's own folder; of all else, by the cluster's name.
    let of_machines = dir.display().to_string();
    let left = [cluster, of_machines].into_iter().flat_map(|name| processes("cmdline", name));
    found.extend(left.map(|line| format!("process {line}")));
    Ok(found)
}

/// What no run's name is written on: volumes that no container has, mounts of the engine that belong to no
/// container, rules of the firewall.
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// As it is now.
    ///
    /// # Errors
    /// Something could not be asked.
    pub async fn now() -> Result<Self, String> {
        let volumes = docker(["volume", "ls", "--quiet", "--filter", "dangling=true"]).await?;
        let volumes = volumes.lines().map(|name| format!("volume {name}"));
        let mut all: BTreeSet<_> = volumes.collect();
        all.extend(stray_mounts().await?.into_iter().map(|point| format!("mount {point}")));
        for family in ["iptables", "ip6tables"] {
            for table in ["filter", "nat"] {
                let Some(program) = svidproof::sys::tool::find(family) else { continue };
                let rules = Tool::new(program).args(["--table", table, "--list-rules"]).run().await;
                let rules = rules.map_err(|e| chain(&e))?.stdout;
                all.extend(rules.lines().map(|rule| format!("{family} {table} {rule}")));
            }
        }
        Ok(Self(all))
    }

    /// What there is now and was not then, and stays.
    pub async fn more(&self) -> Vec<String> {
        let mut last = vec![];
        let look = async || {
            last = match Self::now().await {
                Ok(now) => now.0.difference(&self.0).cloned().collect(),
                Err(problem) => vec![problem],
            };
            if last.is_empty() { Look::<_, Infallible>::Ready(()) } else { Look::NotYet(last.join("\n")) }
        };
        // What goes away tells nobody.
        let gone = wait::poll("nothing to be left", SETTLED, Duration::from_millis(500), look).await;
        if gone.is_ok() { vec![] } else { last }
    }
}

/// Where the private engine has something mounted that none of its containers has.
async fn stray_mounts() -> Result<Vec<String>, String> {
    let engine = dirs::cache().join("engine").display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> = points.filter(|point| point.starts_with(&engine)).map(str::to_owned).collect();
    let ids = docker(["ps", "--all", "--quiet", "--no-trunc"]).await?;
    let format = "{{.Id}} {{.GraphDriver.Data.MergedDir}} {{.NetworkSettings.SandboxKey}}";
    let mut known = vec![];
    for id in ids.lines() {
        // It may have gone meanwhile.
        known.push(docker(["inspect", "--format", format, id]).await.unwrap_or_default());
    }
    let has = |point: &String| {
        let words = known.iter().flat_map(|line| line.split_whitespace());
        words.into_iter().any(|word| point.contains(word))
    };
    points.retain(|point| !has(point));
    Ok(points)
}

/// What the docker of the run's engine prints.
///
/// # Errors
/// It does not do it, or no engine answers.
pub async fn docker<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    let engine = engine::ensure(&Progress::new()).await.map_err(|e| chain(&e))?;
    let asked = engine.docker().args(args).run().await;
    asked.map(|output| output.stdout).map_err(|e: ToolError| chain(&e))
}

/// What the user's own kubeconfig has in it.
pub fn users_kubeconfig() -> Option<Vec<u8>> {
    std::fs::read(std::env::home_dir()?.join(".kube/config")).ok()
}

/// Where everybody comes to the agents of machines outside.
fn open(run: &str) -> impl Iterator<Item = PathBuf> {
    let is_one = format!("svidproof-{run}-");
    let all = std::fs::read_dir("/tmp").into_iter().flatten().flatten();
    all.filter(move |entry| entry.file_name().to_string_lossy().starts_with(&is_one))
        .map(|entry| entry.path())
}

/// Processes whose command line (`cmdline`), or whose environment (`environ`), has this; their command lines.
pub fn processes(what: &'static str, name: String) -> impl Iterator<Item = String> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let has = move |path: &PathBuf| read(path.join(what)).contains(&name);
    numbers.filter(has).map(move |path| read(path.join("cmdline")))
}
