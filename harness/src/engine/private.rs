//! The private dockerd: where it lives, how it is started, found again and ended. It spawns a containerd of
//! its own.

use std::fs::{self, File, TryLockError};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, geteuid, kill_process, pidfd_open, waitpid};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::unix::AsyncFd;

use super::firewall::Firewall;
use super::{ANSWER, EngineError, Info, NETWORK, Stopped, answer, docker, has_network, oci};
use crate::sys::progress::Progress;
use crate::sys::tool::{self, Tool};
use crate::sys::wait::{self, Look};

/// The longest path of a Unix socket (`sun_path`, less its final zero).
const SOCKET_PATH: usize = 107;
/// The longest socket that containerd makes under the exec root.
const LONGEST_SOCKET: &str = "containerd/containerd.sock.ttrpc";
const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_mins(1);

/// Kernel limits that a Kubernetes node outgrows (each container's runtime and each kubelet watch takes of
/// them), and what suffices.
const LIMITS: [(&str, u64); 2] =
    [("/proc/sys/fs/inotify/max_user_instances", 1024), ("/proc/sys/fs/inotify/max_user_watches", 524_288)];

pub(super) struct Private {
    pub(super) dir: PathBuf,
}

impl Private {
    pub(super) fn new() -> Self {
        Self { dir: crate::sys::dirs::cache().join("engine") }
    }

    /// The cluster's bridge: each cache's engine has its own, so that two engines on one machine keep apart.
    pub(super) fn bridge(&self) -> String {
        let hash = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        format!("svp-{}", hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn firewall(&self) -> Firewall {
        Firewall::of(&self.bridge())
    }

    /// Options of `docker network create`. No masquerading either: what would get past the firewall would
    /// leave with an address to which nothing comes back.
    pub(super) fn bridge_options(&self) -> [String; 4] {
        let name = format!("com.docker.network.bridge.name={}", self.bridge());
        ["--opt".into(), name, "--opt".into(), "com.docker.network.bridge.enable_ip_masquerade=false".into()]
    }

    /// Whatever is sent out of the bridge goes through FORWARD, where it is rejected. Without forwarding on
    /// that one interface the kernel would drop it silently; and for the whole machine (what dockerd would
    /// do) it must not be switched on.
    pub(super) fn forward_to_firewall(&self) -> Result<(), EngineError> {
        let path = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{}/forwarding", self.bridge()));
        fs::write(&path, "1").map_err(EngineError::file("write 1 to", &path))
    }

    /// What lives as long as the daemon: socket, pidfile, exec root.
    fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn socket(&self) -> PathBuf {
        self.run().join("docker.sock")
    }

    fn pidfile(&self) -> PathBuf {
        self.run().join("docker.pid")
    }

    fn exec(&self) -> PathBuf {
        self.run().join("exec")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("daemon.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("dockerd.log")
    }

    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// One svidproof at a time looks for, starts or ends an engine.
    pub(super) async fn lock(&self) -> Result<File, EngineError> {
        fs::create_dir_all(&self.dir).map_err(EngineError::file("make the directory", &self.dir))?;
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(EngineError::file("open", &path))?;
        let look = async || match file.try_lock() {
            Ok(()) => Look::Ready(()),
            Err(TryLockError::WouldBlock) => Look::NotYet(format!("{} is held", path.display())),
            Err(TryLockError::Error(source)) => Look::Fatal(EngineError::file("lock", &path)(source)),
        };
        let taken = wait::poll(
            "another svidproof to be done with the engine",
            START + STOP,
            Duration::from_millis(50),
            look,
        )
        .await;
        taken.map_err(|e| EngineError::of_wait(e, "`fuser` on that file shows who holds it"))?;
        Ok(file)
    }

    /// The daemon's process, if it runs.
    pub(super) fn running(&self) -> Option<Pid> {
        process(&self.pidfile(), "dockerd", "--config-file", &self.config())
    }

    /// The private engine's answer; started if it does not run. `cause` says why no other docker is used.
    pub(super) async fn ensure(&self, progress: &Progress, cause: EngineError) -> Result<Info, EngineError> {
        if !cfg!(target_os = "linux") {
            return Err(EngineError::NotHere { cause: Box::new(cause), needs: "Linux" });
        }
        if !geteuid().is_root() {
            return Err(EngineError::NotHere { cause: Box::new(cause), needs: "root" });
        }
        raise_limits(progress);
        self.firewall().raise().await.map_err(EngineError::Firewall)?;
        let withheld = oci::missing()?;
        let wrapper = if withheld.is_empty() { None } else { Some(self.refresh_wrapper(&withheld).await?) };
        if self.running().is_some() {
            return answer(docker(Some(&self.host())), ANSWER).await;
        }
        let step = progress.part("start a private container engine");
        let info = self.start(wrapper.as_deref()).await?;
        step.done();
        Ok(info)
    }

    async fn start(&self, wrapper: Option<&Path>) -> Result<Info, EngineError> {
        let exec = self.exec();
        let longest = exec.join(LONGEST_SOCKET);
        if longest.as_os_str().len() > SOCKET_PATH {
            return Err(EngineError::LongPath { socket: longest, limit: SOCKET_PATH });
        }
        let dockerd = tool::find("dockerd").ok_or(EngineError::NoDockerd)?;
        self.clear_stale()?;
        let config = daemon_json(&self.dir.join("data"), &exec, &self.pidfile(), &self.host(), wrapper);
        write(&self.config(), &config.to_string())?;
        // A log of this daemon, not of all before it.
        write(&self.log(), "")?;
        let started = Tool::new(dockerd)
            .arg("--config-file")
            .arg(self.config())
            .env("PATH", path_with_sbin())
            .log(self.log())
            .detach()?;
        let child = Pid::from_raw(started.cast_signed());
        let died = |status: Option<String>| {
            let printed = fs::read_to_string(self.log()).unwrap_or_default();
            status.map(|status| EngineError::Died {
                status,
                tail: tool::last_lines(&printed),
                log: self.log(),
            })
        };
        let socket = self.socket();
        let look = async || match died(end_of(child)) {
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
        answered.map_err(|error| died(end_of(child)).unwrap_or(error))
    }

    /// Takes away what a crash left, and, after a reboot, all of the runtime state: its processes and mounts
    /// are gone with the old boot.
    fn clear_stale(&self) -> Result<(), EngineError> {
        let kernel = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(kernel).map_err(EngineError::file("read", kernel))?;
        let (run, noted) = (self.run(), self.run().join("boot"));
        if fs::read_to_string(&noted).is_ok_and(|of| of != boot) {
            fs::remove_dir_all(&run).map_err(EngineError::file("remove", &run))?;
        }
        fs::create_dir_all(&run).map_err(EngineError::file("make the directory", &run))?;
        remove(&self.pidfile())?;
        remove(&self.socket())?;
        // dockerd takes whatever process has this number for its containerd, a zombie too, and waits for it
        // in vain.
        let containerd = self.exec().join("containerd");
        let pidfile = containerd.join("containerd.pid");
        if process(&pidfile, "containerd", "--config", &containerd.join("containerd.toml")).is_none() {
            remove(&pidfile)?;
        }
        write(&noted, &boot)
    }

    /// A copy of this program, for dockerd to call: the program itself may be rebuilt or deleted while the
    /// engine runs.
    async fn refresh_wrapper(&self, withheld: &[&str]) -> Result<PathBuf, EngineError> {
        let copy = self.dir.join("svidproof");
        // What runs, also where its file has been replaced since.
        let running = Path::new("/proc/self/exe");
        let meta = fs::metadata(running).map_err(EngineError::file("read", running))?;
        let same =
            |copy: &fs::Metadata| copy.len() == meta.len() && copy.modified().ok() == meta.modified().ok();
        if fs::metadata(&copy).is_ok_and(|copy| same(&copy)) {
            return Ok(copy);
        }
        // Another program that has this library in it (a test) makes do with the copy that svidproof left.
        let name = fs::read_link(running).map_err(EngineError::file("read", running))?;
        if copy.exists() && name.file_stem() != Some("svidproof".as_ref()) {
            return Ok(copy);
        }
        let fresh = self.dir.join("svidproof.new");
        fs::copy(running, &fresh).map_err(EngineError::file("write", &fresh))?;
        let tried = Tool::new(&fresh).args(["oci-runtime", "--version"]).run().await;
        let problem = match tried {
            Ok(output) if output.stdout.starts_with("runc version") => None,
            Ok(output) => Some(format!(
                "`oci-runtime --version` printed {:?}",
                output.stdout.lines().next().unwrap_or_default()
            )),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            remove(&fresh)?;
            return Err(EngineError::Wrapper {
                program: running.canonicalize().unwrap_or_default(),
                withheld: withheld.join(", "),
                problem,
            });
        }
        let dated =
            meta.modified().and_then(|time| File::options().write(true).open(&fresh)?.set_modified(time));
        dated.map_err(EngineError::file("date", &fresh))?;
        fs::rename(&fresh, &copy).map_err(EngineError::file("put in place", &copy))?;
        Ok(copy)
    }

    pub(super) async fn stop(&self) -> Result<Stopped, EngineError> {
        let Some(pid) = self.running() else {
            if geteuid().is_root() && tool::find("iptables").is_some() {
                self.firewall().lower().await.map_err(EngineError::Firewall)?;
            }
            return Ok(Stopped::NotRunning);
        };
        let number = pid.as_raw_nonzero().get();
        let signal = |source| EngineError::Signal { pid: number, source };
        // Before the signal: a process that ends at once would be gone.
        let end = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(signal)?;
        // A daemon that no longer answers is ended all the same, and takes its containers along.
        let containers = self.empty().await.unwrap_or_default();
        kill_process(pid, Signal::TERM).map_err(signal)?;
        self.ended(end).await?;
        self.firewall().lower().await.map_err(EngineError::Firewall)?;
        self.unmount().await?;
        remove(&self.socket())?;
        remove(&self.pidfile())?;
        Ok(Stopped::Ended { pid: number, containers })
    }

    /// Removes all containers, and with the network its bridge. How many containers there were.
    async fn empty(&self) -> Result<usize, EngineError> {
        let host = self.host();
        let docker = || docker(Some(&host));
        answer(docker(), ANSWER).await?;
        let all = docker().args(["ps", "--all", "--quiet"]).run().await?.stdout;
        let all: Vec<_> = all.split_whitespace().collect();
        if !all.is_empty() {
            docker().args(["rm", "--force", "--volumes"]).args(all.iter().copied()).run().await?;
        }
        if has_network(&docker()).await? {
            docker().args(["network", "rm", NETWORK]).run().await?;
        }
        Ok(all.len())
    }

    /// dockerd forgets a mount of the daemon before it, if that one crashed.
    async fn unmount(&self) -> Result<(), EngineError> {
        let table = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(table).map_err(EngineError::file("read", table))?;
        for path in mounts_under(&mounts, &self.dir).into_iter().rev() {
            Tool::new("umount").arg(path).run().await?;
        }
        Ok(())
    }

    async fn ended(&self, process: OwnedFd) -> Result<(), EngineError> {
        let event =
            |source| EngineError::File { doing: "watch the process of", path: self.pidfile(), source };
        #[allow(
            deprecated,
            reason = "its successor is unsafe; an owned descriptor is what makes this one sound"
        )]
        let process = AsyncFd::new(process).map_err(event)?;
        let next = async || process.readable().await.map(drop).map_err(event);
        let ended = wait::events("the private dockerd to end", STOP, next, Look::Ready).await;
        ended.map_err(|e| EngineError::of_wait(e, format!("its log is {}", self.log().display())))
    }
}

fn raise_limits(progress: &Progress) {
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

/// The process that a pidfile names, if it is still the one that wrote it: this program with this
/// configuration.
fn process(pidfile: &Path, program: &str, flag: &str, config: &Path) -> Option<Pid> {
    let number = fs::read_to_string(pidfile).ok()?.trim().parse().ok()?;
    let cmdline = fs::read(format!("/proc/{number}/cmdline")).ok()?;
    is_it(&cmdline, program, flag, config).then(|| Pid::from_raw(number)).flatten()
}

fn is_it(cmdline: &[u8], program: &str, flag: &str, config: &Path) -> bool {
    let words: Vec<_> = cmdline.split(|byte| *byte == 0).collect();
    let named = words.first().is_some_and(|word| word.ends_with(program.as_bytes()));
    named && words.windows(2).any(|pair| pair == [flag.as_bytes(), config.as_os_str().as_encoded_bytes()])
}

/// The mount points under `dir` in the text of /proc/<pid>/mountinfo, in the order in which they were
/// mounted.
fn mounts_under(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| PathBuf::from(point.replace(r"\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// How a child of this process ended, if it did.
fn end_of(child: Option<Pid>) -> Option<String> {
    let (_, status) = waitpid(child, WaitOptions::NOHANG).ok()??;
    let signal = || format!("signal {}", status.terminating_signal().unwrap_or_default());
    Some(status.exit_status().map_or_else(signal, |code| format!("exit status {code}")))
}

/// dockerd looks for containerd, docker-proxy and iptables on its PATH.
fn path_with_sbin() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(tool::SBIN.map(PathBuf::from));
    std::env::join_paths(all).unwrap_or(path)
}

fn write(path: &Path, text: &str) -> Result<(), EngineError> {
    fs::write(path, text).map_err(EngineError::file("write", path))
}

fn remove(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::file("remove", path)(source))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dockerd_with_our_configuration_is_ours() {
        let ours = |cmdline: &[u8]| is_it(cmdline, "dockerd", "--config-file", Path::new("/c/daemon.json"));
        assert!(ours(b"/usr/sbin/dockerd\0--config-file\0/c/daemon.json\0"));
        assert!(!ours(b"/usr/sbin/dockerd\0--config-file\0/etc/docker/daemon.json\0"));
        assert!(!ours(b"vi\0--config-file\0/c/daemon.json\0"), "a process that got the old number");
        assert!(!ours(b""), "a zombie");
    }

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
    fn mounts_of_others_are_not_ours() {
        let mountinfo = "21 1 254:0 / / rw - ext4 /dev/vda rw\n30 21 254:0 /c /my\\040cache/engine/data rw shared:1 - ext4 /dev/vda rw\n\
            31 30 0:40 / /my\\040cache/engine/data/overlay2/x/merged rw - overlay overlay rw\n32 21 0:41 / /my\\040cache/engine-2 rw - tmpfs t rw\n";
        let expected: Vec<_> =
            ["data", "data/overlay2/x/merged"].map(|end| Path::new("/my cache/engine").join(end)).into();
        assert_eq!(mounts_under(mountinfo, Path::new("/my cache/engine")), expected);
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

    #[test]
    fn a_pidfile_that_names_another_process_is_not_an_engine() {
        let dir = tempfile::tempdir().unwrap();
        let private = Private { dir: dir.path().to_owned() };
        assert!(private.running().is_none());
        fs::create_dir_all(private.run()).unwrap();
        fs::write(private.pidfile(), std::process::id().to_string()).unwrap();
        assert!(private.running().is_none());
    }
}
