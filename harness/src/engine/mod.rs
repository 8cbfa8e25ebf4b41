//! The container engine that kind needs: the user's, where a docker answers; otherwise, for root on Linux, a
//! private dockerd under the cache directory, kept for the next run.
//!
//! A user's engine is used as it is: its configuration and its firewall are not touched. Not for building or
//! loading images (`images`), and not for clusters (`provider`).

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::sys::files::FileError;
use crate::sys::progress::Progress;
use crate::sys::tool::{Tool, ToolError};
use crate::sys::wait::{self, Look, TimedOut, WaitError};

mod firewall;
mod made;
mod oci;
mod private;

pub use made::{again, remove_container, remove_network, remove_nodes};
pub use oci::{OciError, oci_runtime};
use private::Private;

/// The docker network that clusters live on in the private engine. In a user's engine each run has its own.
pub const NETWORK: &str = "svidproof";
/// What makes kind put a cluster on another network than its own (kind's source, its docker provider).
const KIND_NETWORK: &str = "KIND_EXPERIMENTAL_DOCKER_NETWORK";
/// What the docker CLI goes by (Docker documentation, "Use the Docker CLI": environment variables).
pub const WAY: [&str; 5] =
    ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

/// How long an engine that runs may take to answer. A docker that is not there says so at once; one behind
/// ssh takes its time.
const ANSWER: Duration = Duration::from_secs(15);
/// How long it may take for what is small: a network, a list. A container that is ended has its ten seconds.
const SMALL: Duration = Duration::from_mins(2);

/// Why there is no engine to use, or why it could not be ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum EngineError {
    #[error(
        "DOCKER_HOST is {host}, but no docker answers there\n\
         hint: start that docker, or unset DOCKER_HOST"
    )]
    Unreachable { host: String, source: Box<EngineError> },
    #[error(
        "a private engine needs {needs}, and no docker answers\n\
         hint: start docker, or set DOCKER_HOST to where one answers"
    )]
    NotHere { needs: &'static str, source: Box<EngineError> },
    #[error(
        "another docker answers now: the run was made in the one with ID {then}, and there it is {there}: \
         nothing is said to be gone\n\
         hint: where that docker is gone for good, `svidproof down --forget RUN` forgets what was in it"
    )]
    Another { then: String, there: String },
    #[error("DOCKER_HOST is {host}, the private engine's own socket")]
    OwnSocket { host: String },
    #[error(
        "no docker answers, and there is no dockerd for a private engine\n\
         hint: ./scripts/setup installs one"
    )]
    NoDockerd,
    #[error(
        "the private engine's socket {} is longer than the {limit} bytes of a Unix socket's path\n\
         hint: set XDG_CACHE_HOME to a shorter path",
        .socket.display()
    )]
    LongPath { socket: PathBuf, limit: usize },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the private dockerd ended instead of starting ({status}); its last lines:\n{tail}\n\
         hint: the full log is {}",
        .log.display()
    )]
    Died { status: String, tail: String, log: PathBuf },
    #[error(
        "{} is not svidproof itself and cannot be the OCI runtime that this machine needs (it withholds \
         {withheld}): {problem}",
        .program.display()
    )]
    Wrapper { program: PathBuf, withheld: String, problem: String },
    #[error("the cluster could not be kept from the network")]
    Firewall(#[source] ToolError),
    #[error("the container engine keeps svidproof waiting\nhint: {hint}")]
    TimedOut { hint: String, source: TimedOut },
    #[error("could not signal process {pid}")]
    Signal { pid: i32, source: rustix::io::Errno },
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl EngineError {
    /// The cause of a wait's end, without the wait around it; a time-out gets `hint`.
    fn of_wait(error: WaitError<Self>, hint: impl Into<String>) -> Self {
        match error {
            WaitError::Fatal { source, .. } => source,
            WaitError::TimedOut(source) => Self::TimedOut { hint: hint.into(), source },
        }
    }
}

/// An engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Ours, under the cache directory; otherwise the user's.
    pub private: bool,
    /// The server's version.
    pub version: String,
    /// Where the engine keeps images and containers, on its own machine.
    pub data_root: PathBuf,
    /// What it calls itself, by which it is known again; empty where it does not say.
    pub id: String,
    /// `DOCKER_HOST`, where it is not what this process was started with.
    host: Option<String>,
    /// How this process was told where a user's engine is, for one that is told otherwise.
    told: Vec<(String, String)>,
}

impl Engine {
    /// The docker CLI, talking to this engine.
    pub fn docker(&self) -> Tool {
        docker(self.host.as_deref())
    }

    /// What other programs must be started with to work on this engine: in the private one also on its
    /// network, since there is no other.
    pub fn env(&self) -> Vec<(String, String)> {
        let host = self.host.iter().map(|host| ("DOCKER_HOST".into(), host.clone()));
        let network = self.private.then(|| (KIND_NETWORK.into(), NETWORK.into()));
        host.chain(self.told.iter().cloned()).chain(network).collect()
    }

    /// The same for the run that has a network of its own.
    pub fn env_on(&self, network: &str) -> Vec<(String, String)> {
        let other = self.env().into_iter().filter(|(name, _)| name != KIND_NETWORK);
        other.chain([(KIND_NETWORK.into(), network.into())]).collect()
    }
}

/// What `svidproof engine status` says.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are named as `docker info` names them")]
pub enum Status {
    /// The user's docker answers, and a run would use it.
    Users { version: String, data_root: PathBuf },
    /// The private engine runs.
    Private { version: String, pid: i32, containers: usize, host: String, log: PathBuf },
    /// Nothing runs; a private engine would live here, unless it needs what is not to be had.
    Stopped { dir: PathBuf, needs: Option<&'static str> },
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Users { version, data_root } => {
                write!(
                    out,
                    "your own docker {version} answers and is used; data root {}",
                    data_root.display()
                )
            }
            Self::Private { version, pid, containers, host, log } => {
                write!(
                    out,
                    "private engine, docker {version}, process {pid}, {containers} running containers\n\
                     DOCKER_HOST={host}\nlog {}",
                    log.display()
                )
            }
            Self::Stopped { needs: Some(needs), .. } => {
                write!(
                    out,
                    "no docker answers, and a private engine needs {needs}\n\
                     hint: start docker, or set DOCKER_HOST to where one answers"
                )
            }
            Self::Stopped { dir, needs: None } => {
                write!(out, "no docker answers; the next run starts a private engine under {}", dir.display())
            }
        }
    }
}

/// What `svidproof engine stop` did.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are named as the status names them")]
pub enum Stopped {
    /// There was nothing to end.
    NotRunning,
    /// The daemon ended, and its containers with it.
    Ended { pid: i32, containers: usize },
}

impl fmt::Display for Stopped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => write!(out, "no private engine runs"),
            Self::Ended { pid, containers } => {
                write!(
                    out,
                    "the private engine (process {pid}) ended; {containers} containers were removed from it"
                )
            }
        }
    }
}

/// The user's engine if one answers, where nothing is made yet; else the private one with its network,
/// started if need be.
pub async fn ensure(progress: &Progress) -> Result<Engine, EngineError> {
    let private = Private::new();
    let _lock = private.lock().await?;
    let engine = match choose(&private, std::env::var_os("DOCKER_HOST")).await? {
        Choice::Users(info) => Engine {
            private: false,
            id: known_by(docker(None), &info).await?,
            version: info.server_version,
            data_root: info.docker_root_dir,
            host: None,
            told: told().await,
        },
        Choice::Private { why } => {
            let info = private.ensure(progress, why).await?;
            Engine {
                private: true,
                version: info.server_version,
                data_root: info.docker_root_dir,
                id: info.id,
                host: Some(private.host()),
                told: vec![],
            }
        }
    };
    if engine.private {
        if !has_network(&engine.docker(), NETWORK).await? {
            let create = engine.docker().limit(SMALL).args(["network", "create", "--driver", "bridge"]);
            create.arg("--ipv6=false").args(private.bridge_options()).arg(NETWORK).run().await?;
        }
        private.forward_to_firewall()?;
    }
    Ok(engine)
}

/// What the docker CLI goes by, so that another shell finds the same engine.
async fn told() -> Vec<(String, String)> {
    let mut told: Vec<_> = WAY
        .into_iter()
        .filter_map(|name| {
            Some((name.to_owned(), std::env::var(name).ok().filter(|value| !value.is_empty())?))
        })
        .collect();
    if !told.iter().any(|(name, _)| name == "DOCKER_HOST" || name == "DOCKER_CONTEXT") {
        // A docker that knows no contexts has only one place to look at.
        let shown = docker(None).limit(ANSWER).args(["context", "show"]).run().await;
        let context = shown.map(|output| output.stdout.trim().to_owned()).unwrap_or_default();
        if !context.is_empty() {
            told.push(("DOCKER_CONTEXT".into(), context));
        }
    }
    told
}

/// What there is, without starting anything.
pub async fn status() -> Result<Status, EngineError> {
    let private = Private::new();
    if let Choice::Users(info) = choose(&private, std::env::var_os("DOCKER_HOST")).await? {
        return Ok(Status::Users { version: info.server_version, data_root: info.docker_root_dir });
    }
    let Some(pid) = private.running() else {
        return Ok(Status::Stopped { dir: private.dir, needs: Private::needs() });
    };
    let info = answer(docker(Some(&private.host())), ANSWER).await?;
    let pid = pid.as_raw_nonzero().get();
    Ok(Status::Private {
        version: info.server_version,
        pid,
        containers: info.containers_running,
        host: private.host(),
        log: private.log(),
    })
}

/// Ends the private engine and its containers, and takes its firewall rules out. A user's engine is never
/// stopped.
pub async fn stop() -> Result<Stopped, EngineError> {
    let private = Private::new();
    let _lock = private.lock().await?;
    private.stop().await
}

/// Which engine a run would use.
enum Choice {
    Users(Info),
    /// None of the user's, and why.
    Private {
        why: EngineError,
    },
}

/// The user's docker, or why none answers. One that `DOCKER_HOST` names must answer: to go elsewhere silently
/// would surprise.
async fn choose(private: &Private, docker_host: Option<OsString>) -> Result<Choice, EngineError> {
    let host = docker_host.filter(|host| !host.is_empty());
    if host == Some(OsString::from(private.host())) {
        return Ok(Choice::Private { why: EngineError::OwnSocket { host: private.host() } });
    }
    match (answer(docker(None), ANSWER).await, host) {
        (Ok(info), _) => Ok(Choice::Users(info)),
        (Err(missing @ EngineError::Tool(ToolError::Missing { .. })), _) => Err(missing),
        (Err(source), Some(host)) => Err(EngineError::Unreachable {
            host: host.to_string_lossy().into_owned(),
            source: Box::new(source),
        }),
        (Err(why), None) => Ok(Choice::Private { why }),
    }
}

fn docker(host: Option<&str>) -> Tool {
    let docker = Tool::new("docker");
    match host {
        None => docker,
        // A Unix socket, whatever else the user's environment says of TLS.
        Some(host) => {
            docker.env("DOCKER_HOST", host).env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_CONTEXT")
        }
    }
}

async fn has_network(docker: &Tool, name: &str) -> Result<bool, EngineError> {
    let list = docker.clone().limit(SMALL).args(["network", "ls", "--quiet", "--filter"]);
    let list = list.arg(format!("name=^{name}$"));
    Ok(!list.run().await?.stdout.trim().is_empty())
}

/// Only this much: an error repeats what was printed.
const FORMAT: &str = concat!(
    r#"{"ID":{{json .ID}},"ServerVersion":{{json .ServerVersion}},"DockerRootDir":{{json .DockerRootDir}},"#,
    r#""ContainersRunning":{{json .ContainersRunning}}}"#
);

/// What is needed of `docker info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default, rename = "ID")]
    id: String,
    server_version: String,
    docker_root_dir: PathBuf,
    containers_running: usize,
}

/// Asks an engine who it is. A dockerd that is still starting has its socket already and answers once it is
/// ready.
async fn answer(docker: Tool, limit: Duration) -> Result<Info, EngineError> {
    let ask = docker.args(["info", "--format", FORMAT]);
    let line = ask.line();
    let next = async || Ok(ask.clone().run().await?.stdout);
    let hint = "is that docker up? `docker info` shows it";
    let answered = wait::events("docker to answer", limit, next, Look::Ready).await;
    let output = answered.map_err(|e| EngineError::of_wait(e, hint))?;
    parse(&output).map_err(|problem| ToolError::Output { command: line, problem, output }.into())
}

/// By what an engine is known again: its ID. Podman, where it is asked as docker is, gives itself another one
/// at each answer; it is known by where it keeps its containers.
async fn known_by(docker: Tool, first: &Info) -> Result<String, EngineError> {
    if first.id.is_empty() {
        return Ok(String::new());
    }
    let second = answer(docker, ANSWER).await?;
    Ok(steady([first, &second]))
}

fn steady([first, second]: [&Info; 2]) -> String {
    if first.id == second.id {
        return first.id.clone();
    }
    format!("that keeps {}", second.docker_root_dir.display())
}

fn parse(output: &str) -> Result<Info, String> {
    let info: Info = serde_json::from_str(output).map_err(|e| e.to_string())?;
    if info.server_version.is_empty() {
        // Some CLIs end with status 0 where no server answers.
        return Err("no server".into());
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_engine_says_who_it_is() {
        let info =
            parse(r#"{"ID":"x","ServerVersion":"20.10.24","DockerRootDir":"/data","ContainersRunning":2}"#)
                .unwrap();
        assert_eq!(
            (info.server_version.as_str(), info.docker_root_dir.as_path(), info.containers_running),
            ("20.10.24", Path::new("/data"), 2)
        );
    }

    /// What is made there would be nobody's to take down otherwise.
    #[test]
    fn an_engine_with_another_id_each_time_is_known_by_its_folder() {
        let of = |id: &str| {
            let text = format!(
                r#"{{"ID":"{id}","ServerVersion":"4.3.1","DockerRootDir":"/s","ContainersRunning":0}}"#
            );
            parse(&text).unwrap()
        };
        assert_eq!(steady([&of("a"), &of("a")]), "a");
        assert_eq!(steady([&of("a"), &of("b")]), steady([&of("c"), &of("d")]));
        assert_eq!(steady([&of("a"), &of("b")]), "that keeps /s");
    }

    #[test]
    fn a_cli_without_a_server_is_not_an_engine() {
        let error = parse(r#"{"ServerVersion":"","DockerRootDir":"","ContainersRunning":0}"#).unwrap_err();
        assert_eq!(error, "no server");
    }

    /// With `svidproof engine env` in a shell, the private engine is named to itself.
    #[tokio::test]
    async fn its_own_socket_is_not_the_users_docker() {
        let private = Private { dir: "/cache/engine".into() };
        let why = match choose(&private, Some(private.host().into())).await.unwrap() {
            Choice::Private { why } => why.to_string(),
            Choice::Users(info) => panic!("{info:?}"),
        };
        assert_eq!(
            why,
            "DOCKER_HOST is unix:///cache/engine/run/docker.sock, the private engine's own socket"
        );
    }

    #[test]
    fn a_time_out_keeps_what_was_waited_for_and_gets_a_hint() {
        let source = TimedOut {
            what: "docker to answer".into(),
            waited: Duration::from_secs(15),
            status: "nothing was seen".into(),
        };
        let error = EngineError::of_wait(source.into(), "is it up?");
        assert_eq!(
            crate::sys::chain(&error),
            "the container engine keeps svidproof waiting: gave up waiting for docker to answer after 15 s; \
             last status: nothing was seen\nhint: is it up?"
        );
    }

    #[test]
    fn kind_is_told_the_network_and_only_the_private_engines_host() {
        let users = Engine {
            private: false,
            version: "28".into(),
            data_root: "/d".into(),
            id: String::new(),
            host: None,
            told: vec![],
        };
        let network = ("KIND_EXPERIMENTAL_DOCKER_NETWORK".to_owned(), "svidproof".to_owned());
        assert_eq!(users.env(), []);
        let told = vec![("DOCKER_CONTEXT".to_owned(), "build-host".to_owned())];
        let elsewhere = Engine { told: told.clone(), ..users.clone() };
        assert_eq!(elsewhere.env_on("svidproof"), [told[0].clone(), network.clone()]);
        let private = Engine { private: true, host: Some("unix:///s".into()), ..users };
        assert_eq!(private.env(), [("DOCKER_HOST".to_owned(), "unix:///s".to_owned()), network]);
    }
}
