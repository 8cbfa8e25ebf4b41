//! The only place that starts a process: argv in, output or a typed failure out.
//!
//! Every child leads a process group of its own, so that ending it reaches its grandchildren (terraform's
//! provisioners, kind's docker), and a dropped future ends the whole group. Not for long-lived daemons:
//! `engine` detaches its dockerd by [`Tool::detach`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::bounded::{TooMuch, end_now, whole_now};
use super::wait::{self, Look};

/// Lines of a failed command's output that its error repeats.
const TAIL: usize = 15;
/// No command may keep a run for ever. The longest by far builds an image: a quarter of an hour on two cores.
const LONGEST: Duration = Duration::from_hours(2);

/// No command that is read prints more, in bytes: one that builds has a log.
const MOST: usize = 64 << 20;

/// Why a command gave no output.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ToolError {
    #[error("{tool} is not on PATH\nhint: {hint}")]
    Missing { tool: String, hint: String },
    #[error("could not start `{command}`")]
    Start { command: String, source: std::io::Error },
    #[error(
        "`{command}` ended with {status} after {seconds:.1} s{}{}",
        tail_of(.tail),
        log_of(.log.as_ref())
    )]
    Failed { command: String, status: String, seconds: f64, tail: String, log: Option<PathBuf> },
    #[error(
        "`{command}` was ended: it was not done after {} s\n\
         hint: what it talks to may be gone; by hand it says more",
        limit.as_secs()
    )]
    TooLong { command: String, limit: Duration },
    #[error("`{command}` was ended: it printed too much")]
    TooMuch { command: String, source: TooMuch },
    #[error("`{command}` printed what is not understood: {problem}\n{output}")]
    Output { command: String, problem: String, output: String },
}

fn tail_of(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; its last lines:\n{tail}") }
}

fn log_of(log: Option<&PathBuf>) -> String {
    log.map(|path| format!("\nhint: the full log is {}", path.display())).unwrap_or_default()
}

/// What a command printed, once it ended with status 0.
#[derive(Debug)]
pub struct Output {
    /// Its standard output; empty where it went to a log.
    pub stdout: String,
    /// The end of its standard error; empty where it went to a log.
    pub stderr: String,
}

/// One command line, built up and then run once.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    log: Option<PathBuf>,
    limit: Duration,
    user: Option<u32>,
}

impl Tool {
    /// A program by its path, or by its name on PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: vec![],
            env: vec![],
            unset: vec![],
            dir: None,
            stdin: vec![],
            log: None,
            limit: LONGEST,
            user: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// An environment variable, beside those of this process.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Environment variables, beside those of this process.
    #[must_use]
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.env.extend(pairs.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// Takes an environment variable of this process away; one that is given besides counts.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.unset.push(key.into());
        self
    }

    /// The working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What it reads on standard input; nothing unless this is called.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Appends standard output and standard error to this file while the command runs, instead of capturing
    /// them.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// How long it may take, where that is not two hours.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it as this Unix user, and group, of no other group, and with nothing of this process's
    /// environment. Only root may.
    #[must_use]
    pub fn user(mut self, number: u32) -> Self {
        self.user = Some(number);
        self
    }

    /// The command line as a person would type it.
    pub fn line(&self) -> String {
        let words =
            std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str));
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Runs to the end. Dropping the future ends the command's process group by SIGTERM, as a terminal's end.
    pub async fn run(self) -> Result<Output, ToolError> {
        let command = self.line();
        let log = self.log.clone();
        let begun = Instant::now();
        let start = |source| ToolError::Start { command: command.clone(), source };
        let mut written_from = 0;
        let mut pipes = None;
        // Not as a path: duct takes a bare name that is a path to be in the working directory.
        let mut expression =
            duct::cmd(self.program.as_os_str(), &self.args).unchecked().stdin_bytes(self.stdin);
        if let Some(path) = &log {
            let file = append(path).map_err(start)?;
            written_from = file.metadata().map_err(start)?.len();
            expression = expression.stderr_to_stdout().stdout_file(file);
        } else {
            let ((out, to_out), (err, to_err)) =
                (std::io::pipe().map_err(start)?, std::io::pipe().map_err(start)?);
            expression = expression.stdout_file(to_out).stderr_file(to_err);
            pipes = Some((out, err));
        }
        // duct applies what was said last first.
        for (key, value) in &self.env {
            expression = expression.env(key, value);
        }
        for key in &self.unset {
            expression = expression.env_remove(key);
        }
        if self.user.is_some() {
            expression = expression.full_env(Vec::<(OsString, OsString)>::new());
        }
        if let Some(dir) = &self.dir {
            expression = expression.dir(dir);
        }
        let user = self.user;
        expression = expression.before_spawn(move |child| {
            child.process_group(0);
            if let Some(number) = user {
                child.uid(number).gid(number);
            }
            Ok(())
        });
        // It holds the pipes' other ends no longer than the command does.
        let started = expression.start();
        drop(expression);
        let waiting = Arc::new(started.map_err(|source| missing_or(&self.program, source, start))?);
        let group = Group(Some(Arc::clone(&waiting)));
        AT_WORK.fetch_add(3, Ordering::SeqCst);
        let ended = blocking(move || waiting.wait().map(|output| output.status));
        let (out, err) = pipes.unzip();
        let printed = blocking(move || out.map_or(Ok(String::new()), |out| whole_now(out, MOST)));
        let complaint = blocking(move || err.map_or(Ok(String::new()), end_now));
        let all = async { tokio::try_join!(printed, complaint, ended) };
        // Where it takes too long, or prints too much, `group` ends it on the way out.
        let Ok(all) = tokio::time::timeout(self.limit, all).await else {
            return Err(ToolError::TooLong { command, limit: self.limit });
        };
        let (stdout, stderr, status) = all.map_err(|error| match error.downcast::<TooMuch>() {
            Ok(source) => ToolError::TooMuch { command: command.clone(), source },
            Err(source) => start(source),
        })?;
        group.finished();
        if status.success() {
            return Ok(Output { stdout, stderr });
        }
        let printed = match &log {
            Some(path) => read_from(path, written_from).map_err(start)?,
            None => stdout + &stderr,
        };
        Err(ToolError::Failed {
            command,
            status: status_of(status),
            seconds: begun.elapsed().as_secs_f64(),
            tail: last_lines(&printed),
            log,
        })
    }

    /// Starts a daemon that outlives this process: own session, output to its log. Returns its process id.
    pub fn detach(self) -> Result<u32, ToolError> {
        let command = self.line();
        let start = |source| ToolError::Start { command: command.clone(), source };
        let path = self.log.clone().unwrap_or_else(|| PathBuf::from("/dev/null"));
        let out = append(&path).map_err(start)?;
        #[allow(clippy::disallowed_methods, reason = "this is the place")]
        let mut child = std::process::Command::new(&self.program);
        child
            .args(&self.args)
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone().map_err(start)?)
            .stderr(out)
            .process_group(0);
        for key in &self.unset {
            child.env_remove(key);
        }
        child.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            child.current_dir(dir);
        }
        child.spawn().map(|child| child.id()).map_err(|source| missing_or(&self.program, source, start))
    }

    /// Replaces this process by the command (the OCI runtime wrapper's last step). Returns only on failure.
    pub fn exec(self) -> ToolError {
        #[allow(clippy::disallowed_methods, reason = "this is the place")]
        let source = std::process::Command::new(&self.program).args(&self.args).exec();
        ToolError::Start { command: self.line(), source }
    }
}

/// How many ends are waited for: of each command its own, and of its outputs, which its children hold too.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Waits, but not for ever, until commands that nobody waits for any more have ended, and made what they do.
pub async fn quiet() {
    let look = async || match AT_WORK.load(Ordering::SeqCst) {
        0 => Look::<(), std::convert::Infallible>::Ready(()),
        some => Look::NotYet(format!("{some} are at work")),
    };
    let (limit, every) = (Duration::from_secs(20), Duration::from_millis(20));
    let _ = wait::poll("commands that were told to end", limit, every, look).await;
}

/// Ends the process group when it is dropped before the command ended.
struct Group(Option<Arc<duct::Handle>>);

impl Group {
    fn finished(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pids = self.0.iter().flat_map(|handle| handle.pids());
        for pid in pids.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended in between: nothing is left to do then.
            let _ = kill_process_group(pid, Signal::TERM);
        }
    }
}

/// Where system programs are, also for a user whose PATH leaves these out.
pub(crate) const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The program's place on PATH, as a shell would find it; else in the system's own folders.
pub fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    folders.map(|dir| dir.join(program)).find(|path| runs(path))
}

/// The last lines of what a command printed.
pub fn last_lines(printed: &str) -> String {
    let lines: Vec<_> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn missing_or(
    program: &Path,
    source: std::io::Error,
    start: impl Fn(std::io::Error) -> ToolError,
) -> ToolError {
    if source.kind() == std::io::ErrorKind::NotFound && program.components().count() == 1 {
        let tool = program.display().to_string();
        return ToolError::Missing {
            tool,
            hint: "./scripts/setup installs what a machine lacks; `svidproof doctor` names it".into(),
        };
    }
    start(source)
}

fn append(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    File::options().create(true).append(true).open(path)
}

/// One of those ends, in a thread of its own: what waits for a process or a pipe cannot do so otherwise.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let work = move || {
        let done = work();
        AT_WORK.fetch_sub(1, Ordering::SeqCst);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// The end of what was written from there on.
fn read_from(path: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    end_now(file)
}

fn status_of(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    status.code().map_or_else(
        || format!("signal {}", status.signal().unwrap_or_default()),
        |code| format!("exit status {code}"),
    )
}

/// A word as a POSIX shell takes it for itself.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn output_comes_apart() {
        let output = sh("cat; echo no >&2").stdin("yes").run().await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("yes", "no\n"));
    }

    #[tokio::test]
    async fn what_is_given_counts_though_what_was_there_is_taken_away() {
        let tool = sh("echo ${HOME-gone} ${CARGO_PKG_NAME-gone}").env_remove("HOME").env("HOME", "/mine");
        let output = tool.env_remove("CARGO_PKG_NAME").run().await.unwrap();
        assert_eq!(output.stdout, "/mine gone\n");
    }

    #[tokio::test]
    async fn a_failure_names_the_command_its_status_and_its_last_lines() {
        let error = sh("echo one; echo two >&2; exit 3").run().await.unwrap_err().to_string();
        assert!(
            error.starts_with("`sh -c 'echo one; echo two >&2; exit 3'` ended with exit status 3 after"),
            "{error}"
        );
        assert!(error.ends_with("its last lines:\n  one\n  two"), "{error}");
    }

    #[tokio::test]
    async fn a_failure_with_a_log_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/log");
        let error = sh("echo why; exit 1").log(&path).run().await.unwrap_err().to_string();
        assert!(
            error.contains("  why") && error.ends_with(&format!("hint: the full log is {}", path.display())),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_and_named() {
        let begun = Instant::now();
        let error = sh("sleep 600").limit(Duration::from_millis(50)).run().await.unwrap_err().to_string();
        assert!(
            error.starts_with("`sh -c 'sleep 600'` was ended: it was not done after 0 s\nhint: "),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn what_prints_without_end_is_ended_and_named() {
        let error = sh("yes 2> /dev/null; sleep 600").run().await.unwrap_err();
        let told = crate::sys::chain(&error);
        assert!(told.contains("was ended: it printed too much: more than 64 MB came"), "{told}");
        assert!(told.contains("\nhint: "), "{told}");
        // Of what it complains of the end is kept.
        let output = sh("yes | head -c 8000000 >&2; echo the end >&2").run().await.unwrap();
        assert!(output.stderr.ends_with("y\nthe end\n") && output.stderr.len() < 2 << 20);
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_a_hint() {
        let error = Tool::new("svidproof-no-such-tool").run().await.unwrap_err().to_string();
        assert!(
            error.contains("svidproof-no-such-tool is not on PATH") && error.contains("hint: "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn dropping_the_future_ends_the_grandchildren_too() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("alive");
        sh(&format!("mkfifo {}", pipe.display())).run().await.unwrap();
        // The grandchild holds the pipe's writing end; reading comes to its end only when it is gone.
        let running =
            tokio::spawn(sh(&format!("sh -c 'echo up; exec sleep 600' > {}; true", pipe.display())).run());
        let mut reader = tokio::task::spawn_blocking(move || File::open(pipe)).await.unwrap().unwrap();
        let mut first = [0; 3];
        reader.read_exact(&mut first).unwrap();
        running.abort();
        let rest =
            tokio::task::spawn_blocking(move || reader.read_to_end(&mut vec![])).await.unwrap().unwrap();
        assert_eq!((&first, rest), (b"up\n", 0));
    }
}
