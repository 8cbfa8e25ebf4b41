//! The private dockerd: where it lives, how it is started, found again and ended. It spawns a containerd of
//! its own.

mod process;
mod start;

use std::fs::{self, File, TryLockError};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sha2::{Digest, Sha256};

use self::process::{mounts_under, process};
use self::start::raise_limits;
use super::firewall::Firewall;
use super::{ANSWER, EngineError, Info, NETWORK, SMALL, Stopped, answer, docker, has_network, oci};
use crate::sys::files::{self, could_not, remove};
use crate::sys::process::{end_event, ended_by};
use crate::sys::progress::Progress;
use crate::sys::tool::{self, Tool};
use crate::sys::wait::{self, Look, WaitError};

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_mins(1);

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
        format!("svp-{}", hex::encode(&hash[..4]))
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
        Ok(fs::write(&path, "1").map_err(could_not("write 1 to", &path))?)
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
        files::make_folder(&self.dir)?;
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(could_not("open", &path))?;
        let look = async || match file.try_lock() {
            Ok(()) => Look::Ready(()),
            Err(TryLockError::WouldBlock) => Look::NotYet(format!("{} is held", path.display())),
            Err(TryLockError::Error(source)) => Look::Fatal(could_not("lock", &path)(source).into()),
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

    /// What this machine, or this user, has not and a private engine cannot do without.
    pub(super) fn needs() -> Option<&'static str> {
        if !cfg!(target_os = "linux") {
            Some("Linux")
        } else if !geteuid().is_root() {
            Some("root")
        } else {
            None
        }
    }

    /// The private engine's answer; started if it does not run. `why` says why no other docker is used.
    pub(super) async fn ensure(&self, progress: &Progress, why: EngineError) -> Result<Info, EngineError> {
        if let Some(needs) = Self::needs() {
            return Err(EngineError::NotHere { needs, source: Box::new(why) });
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
        let end = end_event(pid).map_err(signal)?;
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
        let all = docker().limit(SMALL).args(["ps", "--all", "--quiet"]).run().await?.stdout;
        let all: Vec<_> = all.split_whitespace().collect();
        if !all.is_empty() {
            docker().args(["rm", "--force", "--volumes"]).args(all.iter().copied()).run().await?;
        }
        if has_network(&docker(), NETWORK).await? {
            docker().limit(SMALL).args(["network", "rm", NETWORK]).run().await?;
        }
        Ok(all.len())
    }

    /// dockerd forgets a mount of the daemon before it, if that one crashed.
    async fn unmount(&self) -> Result<(), EngineError> {
        let table = Path::new("/proc/self/mountinfo");
        let mounts = files::read_text(table)?;
        for path in mounts_under(&mounts, &self.dir).into_iter().rev() {
            Tool::new("umount").arg(path).run().await?;
        }
        Ok(())
    }

    async fn ended(&self, process: OwnedFd) -> Result<(), EngineError> {
        let hint = format!("its log is {}", self.log().display());
        ended_by(process, "the private dockerd to end", STOP).await.map_err(|error| match error {
            WaitError::Fatal { source, .. } => {
                could_not("watch the process of", &self.pidfile())(source).into()
            }
            WaitError::TimedOut(source) => EngineError::TimedOut { hint, source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
