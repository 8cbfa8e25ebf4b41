//! How a command ends: with which exit status, and what is said on the way out.
//!
//! An error's source is never in its own text: [`chain`] says it with them.

use std::error::Error;
use std::fmt::{Display, Formatter};
use std::io::Write;
use std::process::ExitCode;

use crate::images::ImagesError;
use crate::lease::LeaseError;
use crate::project::ProjectError;
use crate::scenario::ScenarioError;
use crate::session::SessionError;
use crate::session::teardown::TeardownError;
use crate::stage::StageError;
use crate::sys::signal::interrupted;
use crate::sys::terminal::Reader;
use crate::sys::{chain, printable};

pub(super) use crate::proof::verdict::Exit;

pub(super) type AnyError = Box<dyn Error + Send + Sync>;

/// What a command that is interrupted says.
pub(super) const INTERRUPTED: &str = "interrupted";

/// The exit statuses, as `--help` lists them.
pub(super) fn statuses() -> String {
    let line = |exit: &Exit| format!("\n  {:<3}  {}", exit.code(), exit.sentence());
    format!("Exit status:{}", Exit::ALL.iter().map(line).collect::<String>())
}

/// A command that ended early: its exit status, and why.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) error: AnyError,
}

impl Ended {
    pub(super) fn input(error: impl Into<AnyError>) -> Self {
        Self { exit: Exit::Input, error: error.into() }
    }

    pub(super) fn not_judged(error: impl Into<AnyError>) -> Self {
        Self { exit: Exit::NotJudged, error: error.into() }
    }

    /// What went wrong after this is told after it, and leaves the exit status as it is.
    pub(super) fn then(self, later: Self) -> Self {
        Self { exit: self.exit, error: Both { first: self.error, later: later.error }.into() }
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&chain(&*self.error))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}\n{}", chain(&**first), chain(&**later))]
struct Both {
    first: AnyError,
    later: AnyError,
}

/// What was tried, on what (and a hint), where the error that came back does not say it.
#[derive(Debug, thiserror::Error)]
#[error("{tried}")]
pub(super) struct Context {
    tried: String,
    source: AnyError,
}

impl Context {
    pub(super) fn new(tried: impl Into<String>, source: impl Into<AnyError>) -> Self {
        Self { tried: tried.into(), source: source.into() }
    }
}

impl From<ScenarioError> for Ended {
    fn from(error: ScenarioError) -> Self {
        Self::input(error)
    }
}

impl From<ProjectError> for Ended {
    fn from(error: ProjectError) -> Self {
        Self::input(error)
    }
}

impl From<StageError> for Ended {
    fn from(error: StageError) -> Self {
        if error.is_input() { Self::input(error) } else { Self::not_judged(error) }
    }
}

/// One after the other; the status is the first one's.
impl From<Vec<StageError>> for Ended {
    fn from(errors: Vec<StageError>) -> Self {
        let all = errors.into_iter().map(Self::from);
        all.reduce(Self::then)
            .unwrap_or_else(|| Self::not_judged("something went wrong, and nothing says what"))
    }
}

impl From<SessionError> for Ended {
    fn from(error: SessionError) -> Self {
        if error.is_input() { Self::input(error) } else { Self::not_judged(error) }
    }
}

macro_rules! not_judged {
    ($($error:ty),*) => {
        $(impl From<$error> for Ended {
            fn from(error: $error) -> Self {
                Self::not_judged(error)
            }
        })*
    };
}

not_judged!(
    crate::surface::SurfaceError,
    crate::suite::watch::WatchError,
    LeaseError,
    TeardownError,
    ImagesError,
    crate::engine::EngineError,
    crate::bundle::BundleError,
    std::io::Error
);

/// Says why a command ended early, and makes the process's exit status.
pub(super) fn status(ended: Result<Exit, Ended>) -> ExitCode {
    let exit = ended.unwrap_or_else(|ended| {
        // Standard error may be closed: the status still says it.
        let told = format!("svidproof: {}", printable(&ended.to_string()));
        let _ = writeln!(std::io::stderr(), "{}", Reader::of(&std::io::stderr()).flowed(&told));
        ended.exit
    });
    ExitCode::from(exit.code())
}

/// Prints data.
pub(super) fn print(text: &str) -> Result<(), Ended> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Ended::from)
}

/// What the work comes to, or at SIGINT, SIGTERM or SIGHUP an end that says `message`. They are listened for
/// before the work begins: it starts what must not be left.
pub(super) async fn or_interrupted<T>(
    message: &'static str,
    work: impl Future<Output = Result<T, Ended>>,
) -> Result<T, Ended> {
    tokio::select! {
        biased;
        () = interrupted() => Err(Ended { exit: Exit::Interrupted, error: message.into() }),
        done = work => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(texts: &[&str]) -> AnyError {
        match texts {
            [text] => (*text).into(),
            [text, below @ ..] => Context::new(*text, error(below)).into(),
            [] => unreachable!("an error says something"),
        }
    }

    #[test]
    fn what_went_wrong_first_is_told_first_and_gives_the_status() {
        let first = Ended::input(error(&["no such chart\nhint: look", "not found"]));
        let ended = first.then(Ended::not_judged("not all is gone\nhint: gc"));
        assert_eq!(ended.exit, Exit::Input);
        assert_eq!(ended.to_string(), "no such chart: not found\nhint: look\nnot all is gone\nhint: gc");
    }

    #[test]
    fn each_status_is_listed_with_its_sentence() {
        let listed = statuses();
        assert_eq!(listed.lines().count(), 1 + Exit::ALL.len());
        assert!(listed.ends_with("\n  130  SIGINT or SIGTERM came."), "{listed}");
    }
}
