//! How a command ends: with which exit status, and what is said on the way out.

use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::images::ImagesError;
use crate::lease::LeaseError;
use crate::scenario::ScenarioError;
use crate::session::SessionError;
use crate::session::teardown::TeardownError;
use crate::stage::StageError;

/// Why a command ends early, and with which status.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u8,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn input(error: impl std::fmt::Display) -> Self {
        Self { status: 2, message: error.to_string() }
    }

    pub(super) fn broken(error: impl std::fmt::Display) -> Self {
        Self { status: 3, message: error.to_string() }
    }

    pub(super) fn interrupted() -> Self {
        Self { status: 130, message: "interrupted".into() }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::input(error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        if error.is_input() { Self::input(error) } else { Self::broken(error) }
    }
}

macro_rules! broken {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::broken(error)
            }
        })*
    };
}

broken!(
    crate::surface::SurfaceError,
    crate::suite::watch::WatchError,
    LeaseError,
    TeardownError,
    StageError,
    ImagesError,
    crate::engine::EngineError,
    std::io::Error
);

pub(super) fn ended(status: Result<u8, Failure>) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(status),
        Err(Failure { status, message }) => {
            // Standard error may be closed: the status still says it.
            let _ = writeln!(std::io::stderr(), "svidproof: {message}");
            ExitCode::from(status)
        }
    }
}

/// Prints data.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::from)
}

/// What the work comes to, or `failure` at SIGINT or SIGTERM. They are listened for before the work begins:
/// it starts what must not be left.
pub(super) async fn or_interrupted<T>(
    failure: impl FnOnce() -> Failure,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = interrupted() => Err(failure()),
        done = work => done,
    }
}

/// Resolves at SIGINT or SIGTERM.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
