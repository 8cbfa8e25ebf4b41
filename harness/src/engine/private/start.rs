//! How the private dockerd is started: its configuration, what a crash left, the OCI runtime wrapper, the
//! kernel's limits.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::json;

use super::process::process;
use super::{Private, START};
use crate::engine::{EngineError, Info, answer, docker};
use crate::sys::chain;
use crate::sys::files::{self, could_not, remove};
use crate::sys::process::end_of;
use crate::sys::progress::Progress;
use crate::sys::tool::{self, Tool};
use crate::sys::wait::{self, Look};

/// The longest path of a Unix socket (`sun_path`, less its final zero).
const SOCKET_PATH: usize = 107;
/// The longest socket that containerd makes under the exec root.
const LONGEST_SOCKET: &str = "containerd/containerd.sock.ttrpc";
/// Kernel limits that a Kubernetes node outgrows (each container's runtime and each kubelet watch takes of
/// them), and what suffices.
const LIMITS: [(&str, u64); 2] =
    [("/proc/sys/fs/inotify/max_user_instances", 1024), ("/proc/sys/fs/inotify/max_user_watches", 524_288)];

impl Private {
    pub(super) async fn start(&self, wrapper: Option<&Path>) -> Result<Info, EngineError> {
        let child = self.launch(wrapper)?;
        let socket = self.socket();
        let look = async || match self.death_of(child) {
            Some(died) => Look::Fatal(died),
            None if socket.exists() => Look::Ready(()),
            None => Look::NotYet(format!("{} is not there", socket.display())),
        };
        let hint = format!("its log is {}", self.log().display());
        let up = wait::poll("the private dockerd's socket", START, Duration::from_millis(10), look).await;
        up.map_err(|e| EngineError::of_wait(e, hint))?;
        // The socket is there before the daemon has its containers in order; the answer comes after. After a
        // crash it first ends those that outlived it, which takes as long as they take to stop.
        let answered = answer(docker(Some(&self.host())), START).await;
        answered.map_err(|error| self.death_of(child).unwrap_or(error))
    }

    /// Starts the daemon, with its configuration and its log written anew. Waits for nothing.
    fn launch(&self, wrapper: Option<&Path>) -> Result<Option<Pid>, EngineError> {
        let exec = self.exec();
        let longest = exec.join(LONGEST_SOCKET);
        if longest.as_os_str().len() > SOCKET_PATH {
            return Err(EngineError::LongPath { socket: longest, limit: SOCKET_PATH });
        }
        let dockerd = tool::find("dockerd").ok_or(EngineError::NoDockerd)?;
        self.clear_stale()?;
        let config = daemon_json(&self.dir.join("data"), &exec, &self.pidfile(), &self.host(), wrapper);
        files::write(&self.config(), config.to_string())?;
        // A log of this daemon, not of all before it.
        files::write(&self.log(), "")?;
        let started = Tool::new(dockerd)
            .arg("--config-file")
            .arg(self.config())
            .env("PATH", path_with_sbin())
            .log(self.log())
            .detach()?;
        Ok(Pid::from_raw(started.cast_signed()))
    }

    /// How the daemon ended, if it did.
    fn death_of(&self, child: Option<Pid>) -> Option<EngineError> {
        let status = end_of(child)?;
        let printed = fs::read_to_string(self.log()).unwrap_or_default();
        Some(EngineError::Died { status, tail: tool::last_lines(&printed), log: self.log() })
    }

    /// Takes away what a crash left, and, after a reboot, all of the runtime state: its processes and mounts
    /// are gone with the old boot.
    fn clear_stale(&self) -> Result<(), EngineError> {
        let kernel = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = files::read_text(kernel)?;
        let (run, noted) = (self.run(), self.run().join("boot"));
        if fs::read_to_string(&noted).is_ok_and(|of| of != boot) {
            remove(&run)?;
        }
        files::make_folder(&run)?;
        remove(&self.pidfile())?;
        remove(&self.socket())?;
        // dockerd takes whatever process has this number for its containerd, a zombie too, and waits for it
        // in vain.
        let containerd = self.exec().join("containerd");
        let pidfile = containerd.join("containerd.pid");
        if process(&pidfile, "containerd", "--config", &containerd.join("containerd.toml")).is_none() {
            remove(&pidfile)?;
        }
        Ok(files::write(&noted, &boot)?)
    }

    /// A copy of this program, for dockerd to call: the program itself may be rebuilt or deleted while the
    /// engine runs.
    pub(super) async fn refresh_wrapper(&self, withheld: &[&str]) -> Result<PathBuf, EngineError> {
        let copy = self.dir.join("svidproof");
        // What runs, also where its file has been replaced since.
        let running = Path::new("/proc/self/exe");
        let meta = fs::metadata(running).map_err(could_not("read", running))?;
        let same =
            |copy: &fs::Metadata| copy.len() == meta.len() && copy.modified().ok() == meta.modified().ok();
        if fs::metadata(&copy).is_ok_and(|copy| same(&copy)) {
            return Ok(copy);
        }
        // Another program that has this library in it (a test) makes do with the copy that svidproof left.
        let name = fs::read_link(running).map_err(could_not("read", running))?;
        if copy.exists() && name.file_stem() != Some("svidproof".as_ref()) {
            return Ok(copy);
        }
        let fresh = self.dir.join("svidproof.new");
        fs::copy(running, &fresh).map_err(could_not("write", &fresh))?;
        if let Some(problem) = not_a_wrapper(&fresh).await {
            remove(&fresh)?;
            return Err(EngineError::Wrapper {
                program: running.canonicalize().unwrap_or_default(),
                withheld: withheld.join(", "),
                problem,
            });
        }
        let dated =
            meta.modified().and_then(|time| File::options().write(true).open(&fresh)?.set_modified(time));
        dated.map_err(could_not("date", &fresh))?;
        fs::rename(&fresh, &copy).map_err(could_not("put in place", &copy))?;
        Ok(copy)
    }
}

/// Why this program cannot stand before runc, if it cannot.
async fn not_a_wrapper(program: &Path) -> Option<String> {
    match Tool::new(program).args(["oci-runtime", "--version"]).run().await {
        Ok(output) if output.stdout.starts_with("runc version") => None,
        Ok(output) => {
            let first = output.stdout.lines().next().unwrap_or_default();
            Some(format!("`oci-runtime --version` printed {first:?}"))
        }
        Err(error) => Some(chain(&error)),
    }
}

/// Raises the kernel's limits to what a node needs, where they are lower.
pub(super) fn raise_limits(progress: &Progress) {
    for (path, wanted) in LIMITS {
        let raised = fs::read_to_string(path).and_then(|now| match now.trim().parse::<u64>() {
            Ok(now) if now < wanted => fs::write(path, wanted.to_string()).map(|()| Some(now)),
            _ => Ok(None),
        });
        match raised {
            Ok(Some(was)) => progress.note(&format!("  raised {path} from {was} to {wanted}")),
            Ok(None) => {}
            // A node may do with less: it is the node's failure, if any, that counts.
            Err(error) => progress.note(&format!("  could not raise {path} to {wanted}: {error}")),
        }
    }
}

fn daemon_json(
    data: &Path,
    exec: &Path,
    pidfile: &Path,
    host: &str,
    wrapper: Option<&Path>,
) -> serde_json::Value {
    let mut config = json!({
        "hosts": [host],
        "group": "root",
        "data-root": data,
        "exec-root": exec,
        "pidfile": pidfile,
        // The machine's firewall and routing stay as they are. docker-proxy serves published ports; what else
        // is needed, firewall.rs writes.
        "iptables": false,
        "ip6tables": false,
        "ip-forward": false,
        // No default bridge: a container is on the cluster's network, which is shut in, or on none.
        "bridge": "none",
        // The container's own loopback, where nothing listens: a name that docker does not know is refused
        // without leaving the container.
        "dns": ["127.0.0.1"],
        "dns-opts": ["timeout:1", "attempts:1"],
        // Lower would need CAP_SYS_RESOURCE.
        "oom-score-adjust": 0,
        // Apart from what else may use a containerd of the system.
        "containerd-namespace": "svidproof",
    });
    if let Some(path) = wrapper {
        config["runtimes"] = json!({"svidproof": {"path": path, "runtimeArgs": ["oci-runtime"]}});
        config["default-runtime"] = json!("svidproof");
    }
    config
}

/// dockerd looks for containerd, docker-proxy and iptables on its PATH.
fn path_with_sbin() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(tool::SBIN.map(PathBuf::from));
    std::env::join_paths(all).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_changes_nothing_of_the_machines_network() {
        let config = daemon_json(Path::new("/d"), Path::new("/e"), Path::new("/p"), "unix:///s", None);
        assert_eq!(
            (&config["iptables"], &config["ip-forward"], &config["bridge"]),
            (&json!(false), &json!(false), &json!("none"))
        );
        assert!(config.get("default-runtime").is_none());
    }

    #[test]
    fn the_wrapper_becomes_the_default_runtime() {
        let config = daemon_json(
            Path::new("/d"),
            Path::new("/e"),
            Path::new("/p"),
            "unix:///s",
            Some(Path::new("/w")),
        );
        assert_eq!(config["runtimes"]["svidproof"], json!({"path": "/w", "runtimeArgs": ["oci-runtime"]}));
        assert_eq!(config["default-runtime"], "svidproof");
    }

    #[test]
    fn what_a_crash_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let private = Private { dir: dir.path().to_owned() };
        private.clear_stale().unwrap();
        let kept = private.exec().join("containerd");
        let stale = [private.socket(), private.pidfile(), kept.join("containerd.pid")];
        fs::create_dir_all(&kept).unwrap();
        for path in &stale {
            fs::write(path, std::process::id().to_string()).unwrap();
        }
        private.clear_stale().unwrap();
        assert!(kept.exists() && !stale.iter().any(|path| path.exists()));
        fs::write(private.run().join("boot"), "another").unwrap();
        private.clear_stale().unwrap();
        assert!(!kept.exists(), "after a reboot nothing of the runtime state is true");
    }
}
