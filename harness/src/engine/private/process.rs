//! What the kernel says of processes and mounts: whether a pidfile still names its daemon, how a child ended,
//! what is mounted under a folder.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, WaitOptions, waitpid};

/// The process that a pidfile names, if it is still the one that wrote it: this program with this
/// configuration.
pub(super) fn process(pidfile: &Path, program: &str, flag: &str, config: &Path) -> Option<Pid> {
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
pub(super) fn mounts_under(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| PathBuf::from(point.replace(r"\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// What becomes readable when the process ends.
#[cfg(target_os = "linux")]
pub(super) fn end_event(process: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::NONBLOCK)
}

/// Elsewhere there is no private engine that could end.
#[cfg(not(target_os = "linux"))]
pub(super) fn end_event(_process: Pid) -> rustix::io::Result<OwnedFd> {
    Err(rustix::io::Errno::NOSYS)
}

/// How a child of this process ended, if it did.
pub(super) fn end_of(child: Option<Pid>) -> Option<String> {
    let (_, status) = waitpid(child, WaitOptions::NOHANG).ok()??;
    let signal = || format!("signal {}", status.terminating_signal().unwrap_or_default());
    Some(status.exit_status().map_or_else(signal, |code| format!("exit status {code}")))
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
    fn mounts_of_others_are_not_ours() {
        let mountinfo = "21 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 21 254:0 /c /my\\040cache/engine/data rw shared:1 - ext4 /dev/vda rw\n\
            31 30 0:40 / /my\\040cache/engine/data/overlay2/x/merged rw - overlay overlay rw\n\
            32 21 0:41 / /my\\040cache/engine-2 rw - tmpfs t rw\n";
        let expected: Vec<_> =
            ["data", "data/overlay2/x/merged"].map(|end| Path::new("/my cache/engine").join(end)).into();
        assert_eq!(mounts_under(mountinfo, Path::new("/my cache/engine")), expected);
    }
}
