//! Processes of this machine that outlive who started them: each is known by its program and by a file that
//! only it was started with, never by a number alone.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use tokio::io::unix::AsyncFd;

use super::wait::{self, Look, WaitError};

/// How long a process may take to end once it was told to.
const END: Duration = Duration::from_secs(10);

/// A process that was not ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum EndError {
    #[error("could not end process {pid}, {program}")]
    Signal { program: String, pid: i32, source: std::io::Error },
    #[error(transparent)]
    Wait(#[from] WaitError<std::io::Error>),
}

/// Whether a command line, as /proc has it, is that of this program with this file.
fn is_it(cmdline: &[u8], program: &str, flag: &str, file: &Path) -> bool {
    let words: Vec<_> = cmdline.split(|byte| *byte == 0).collect();
    let named = words.first().is_some_and(|word| word.ends_with(program.as_bytes()));
    named && words.windows(2).any(|pair| pair == [flag.as_bytes(), file.as_os_str().as_encoded_bytes()])
}

/// Whether this process is still the one that was started so; one that has ended and that nobody has asked
/// about is not.
pub fn is_still(pid: Pid, program: &str, flag: &str, file: &Path) -> bool {
    let cmdline = PathBuf::from(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    fs::read(cmdline).is_ok_and(|cmdline| is_it(&cmdline, program, flag, file))
}

/// The process of this program that was started with this file, if it runs. Where there is no /proc, none is
/// known.
pub fn running(program: &str, flag: &str, file: &Path) -> Option<Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).find(|pid| is_still(*pid, program, flag, file))
}

/// Ends that process, where it runs, and waits until it has ended: told first, and then made to.
pub async fn end(program: &str, flag: &str, file: &Path) -> Result<(), EndError> {
    let Some(pid) = running(program, flag, file) else { return Ok(()) };
    let number = pid.as_raw_nonzero().get();
    let failed = |source| EndError::Signal { program: program.into(), pid: number, source };
    // It names this very process from here on, though it may have ended already.
    let process = end_event(pid).map_err(|error| failed(error.into()))?;
    let mut ended = None;
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_still(pid, program, flag, file) {
            return Ok(());
        }
        send(&process, pid, signal).map_err(|error| failed(error.into()))?;
        let what = format!("{program}, process {number}, to end");
        match ended_by(process.try_clone().map_err(failed)?, &what, END).await {
            Ok(()) => return Ok(()),
            Err(error) => ended = Some(error),
        }
    }
    ended.map_or(Ok(()), |error| Err(error.into()))
}

/// Waits until the process ends that [`end_event`] named.
pub async fn ended_by(
    process: OwnedFd,
    what: &str,
    limit: Duration,
) -> Result<(), WaitError<std::io::Error>> {
    let fatal = |source| WaitError::Fatal { what: what.into(), source };
    #[allow(deprecated, reason = "its successor is unsafe; an owned descriptor is what makes this one sound")]
    let process = AsyncFd::new(process).map_err(fatal)?;
    let next = async || process.readable().await.map(drop);
    wait::events(what, limit, next, Look::Ready).await
}

/// How a child of this process ended, if it did.
pub fn end_of(child: Option<Pid>) -> Option<String> {
    let (_, status) = waitpid(child, WaitOptions::NOHANG).ok()??;
    let signal = || format!("signal {}", status.terminating_signal().unwrap_or_default());
    Some(status.exit_status().map_or_else(signal, |code| format!("exit status {code}")))
}

/// What becomes readable when the process ends.
#[cfg(target_os = "linux")]
pub fn end_event(process: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::NONBLOCK)
}

/// Elsewhere nothing of the kind is started.
#[cfg(not(target_os = "linux"))]
pub fn end_event(_process: Pid) -> rustix::io::Result<OwnedFd> {
    Err(rustix::io::Errno::NOSYS)
}

#[cfg(target_os = "linux")]
fn send(process: &OwnedFd, _pid: Pid, signal: Signal) -> rustix::io::Result<()> {
    match rustix::process::pidfd_send_signal(process, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => sent,
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_process: &OwnedFd, pid: Pid, signal: Signal) -> rustix::io::Result<()> {
    rustix::process::kill_process(pid, signal)
}

#[cfg(test)]
mod tests {
    use super::super::tool::Tool;
    use super::*;

    #[test]
    fn only_the_program_with_our_file_is_ours() {
        let ours = |cmdline: &[u8]| is_it(cmdline, "dockerd", "--config-file", Path::new("/c/daemon.json"));
        assert!(ours(b"/usr/sbin/dockerd\0--config-file\0/c/daemon.json\0"));
        assert!(!ours(b"/usr/sbin/dockerd\0--config-file\0/etc/docker/daemon.json\0"));
        assert!(!ours(b"vi\0--config-file\0/c/daemon.json\0"), "a process that got the old number");
        assert!(!ours(b""), "a zombie");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_one_is_ended_and_the_other_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("ours"), dir.path().join("other"));
        // `tail` that follows a file, in the place of a daemon with its configuration.
        for file in [&ours, &other] {
            fs::write(file, "").unwrap();
            Tool::new("tail").arg("-f").arg(file).detach().unwrap();
        }
        assert!(running("tail", "-f", &ours).is_some());
        end("tail", "-f", &ours).await.unwrap();
        assert!(running("tail", "-f", &ours).is_none());
        assert!(running("tail", "-f", &other).is_some());
        assert!(running("head", "-f", &other).is_none());
        end("tail", "-f", &other).await.unwrap();
        end("tail", "-f", &other).await.unwrap();
    }
}
