//! How a command ends: with which exit status, and what is said on the way out.
//!
//! An error's source is never in its own text: [`told`] says the chain, here alone.

use std::error::Error;
use std::fmt::{Display, Formatter};
use std::io::Write;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::images::ImagesError;
use crate::lease::LeaseError;
use crate::scenario::ScenarioError;
use crate::session::SessionError;
use crate::session::teardown::TeardownError;
use crate::stage::StageError;

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
        f.write_str(&told(&*self.error))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}\n{}", told(&**first), told(&**later))]
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
    StageError,
    ImagesError,
    crate::engine::EngineError,
    std::io::Error
);

/// Says why a command ended early, and makes the process's exit status.
pub(super) fn status(ended: Result<Exit, Ended>) -> ExitCode {
    let exit = ended.unwrap_or_else(|ended| {
        // Standard error may be closed: the status still says it.
        let _ = writeln!(std::io::stderr(), "svidproof: {ended}");
        ended.exit
    });
    ExitCode::from(exit.code())
}

/// An error in full, for a person: what it says, then `: ` and what each of its sources says, then their
/// hints (lines that begin with `hint: ` end a text). What was said already is not said again: an error of
/// another crate may have its source in its own text.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let (mut said, mut hints) = (String::new(), String::new());
    let mut below = Some(error);
    while let Some(link) = below {
        below = link.source();
        let text = link.to_string();
        let (what, hint) = text.split_at(text.find("\nhint: ").unwrap_or(text.len()));
        if said.is_empty() {
            said.push_str(what);
        } else if !said.contains(what.trim()) {
            said.push_str(": ");
            said.push_str(what.trim());
        }
        if !hints.contains(hint.trim_end()) {
            hints.push_str(hint);
        }
    }
    said + &hints
}

/// Prints data.
pub(super) fn print(text: &str) -> Result<(), Ended> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Ended::from)
}

/// What the work comes to, or at SIGINT or SIGTERM an end that says `message`. They are listened for before
/// the work begins: it starts what must not be left.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn error(texts: &[&str]) -> AnyError {
        match texts {
            [text] => (*text).into(),
            [text, below @ ..] => Context::new(*text, error(below)).into(),
            [] => unreachable!("an error says something"),
        }
    }

    #[rstest]
    #[case::one(&["no room"], "no room")]
    #[case::a_chain(&["not installed", "not written", "no room"], "not installed: not written: no room")]
    #[case::a_source_in_its_own_text(&["not written: no room", "no room"], "not written: no room")]
    #[case::one_that_only_forwards(&["no room", "no room"], "no room")]
    #[case::one_that_says_the_whole_chain(&["a: b: c", "b: c", "c"], "a: b: c")]
    #[case::a_source_that_says_nothing(&["no answer", ""], "no answer")]
    #[case::a_hint_comes_last(&["a\nhint: one", "b"], "a: b\nhint: one")]
    #[case::hints_in_order(&["a\nhint: one", "b\nhint: two"], "a: b\nhint: one\nhint: two")]
    #[case::a_hint_once(&["a: b\nhint: two", "b\nhint: two"], "a: b\nhint: two")]
    #[case::a_hint_within(&["a: b\nhint: two\nhint: one", "b\nhint: two"], "a: b\nhint: two\nhint: one")]
    #[case::a_hint_of_lines(&["a\nhint: there are\n  x\n  y", "b"], "a: b\nhint: there are\n  x\n  y")]
    #[case::last_lines_of_a_tool(&["a\nhint: log", "last lines:\n  x\n"], "a: last lines:\n  x\nhint: log")]
    fn an_error_is_told_once_with_all_that_lies_below(#[case] texts: &[&str], #[case] expected: &str) {
        assert_eq!(told(&*error(texts)), expected);
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
