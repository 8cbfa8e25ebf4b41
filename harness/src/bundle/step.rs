//! One step of a bundle: what it is called, what it does, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::manifest::Outcome;
use super::{STEP, WHOLE};
use crate::redact::{self, Redactor};
use crate::sys::bounded::End;
use crate::sys::{chain, wait};

/// One file, as it was read.
#[derive(Debug)]
pub(super) struct Piece {
    /// Below the archive's one folder.
    pub(super) path: String,
    pub(super) content: Content,
    /// Bytes that were left out where it was read.
    pub(super) cut: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(Vec<u8>),
    /// Where it is known what stands under which name.
    Json(Value),
}

impl Piece {
    pub(super) fn text(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: Content::Text(text.into()), cut: 0 }
    }

    pub(super) fn json(path: impl Into<String>, value: Value) -> Self {
        Self { path: path.into(), content: Content::Json(value), cut: 0 }
    }

    /// The last part of a log.
    pub(super) fn end(path: impl Into<String>, end: End) -> Self {
        let (text, cut) = end.text();
        Self { path: path.into(), content: Content::Text(text), cut }
    }

    /// JSON where it is that, else text.
    pub(super) fn either(path: impl Into<String>, text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value) => Self::json(path, value),
            Err(_) => Self::text(path, text),
        }
    }

    fn cleaned(self, redactor: &Redactor) -> Clean {
        let (text, marks) = match self.content {
            Content::Text(text) => (text, 0),
            Content::Json(mut value) => {
                let marks = redact::object(&mut value);
                (serde_json::to_vec_pretty(&value).unwrap_or_default(), marks)
            }
        };
        let (bytes, more) = redactor.bytes(&text);
        let path = String::from_utf8_lossy(&redactor.bytes(self.path.as_bytes()).0).into_owned();
        Clean { path, bytes: bytes.into_owned(), cut: self.cut, redacted: marks + more }
    }
}

/// One file as it may leave the machine.
#[derive(Debug)]
pub(super) struct Clean {
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) cut: u64,
    pub(super) redacted: usize,
}

/// What came of a step; `T` is its pieces, as they were read or as they may leave.
#[derive(Debug)]
pub(super) struct Done<T = Piece> {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
    pub(super) took: Duration,
    pub(super) pieces: Vec<T>,
}

impl Done {
    /// In a thread of its own: a large text takes a while.
    pub(super) async fn cleaned(self, redactor: Arc<Redactor>) -> Done<Clean> {
        let Self { name, outcome, error, took, pieces } = self;
        let work = move || {
            let error = error.map(|error| redactor.bytes(error.as_bytes()).0.into_owned());
            let error = error.map(|error| String::from_utf8_lossy(&error).into_owned());
            (error, pieces.into_iter().map(|piece| piece.cleaned(&redactor)).collect())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((error, pieces)) => Done { name, outcome, error, took, pieces },
            Err(failed) => {
                let error = Some(format!("what it gathered could not be redacted: {failed}"));
                Done { name, outcome: Outcome::Failed, error, took, pieces: vec![] }
            }
        }
    }
}

/// Why a step has no pieces.
#[derive(Debug)]
pub(super) struct Unhad {
    outcome: Outcome,
    why: String,
}

impl Unhad {
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, why: why.into() }
    }

    pub(super) fn left_alone(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::LeftAlone, why: why.into() }
    }
}

impl<E: std::error::Error> From<E> for Unhad {
    fn from(error: E) -> Self {
        Self::failed(chain(&error))
    }
}

/// A step that was not begun yet.
pub(super) struct Step<'a> {
    name: String,
    work: BoxFuture<'a, Result<Vec<Piece>, Unhad>>,
}

impl<'a> Step<'a> {
    /// `work` comes to its pieces, or says why there are none.
    pub(super) fn new(
        name: impl Into<String>,
        work: impl Future<Output = Result<Vec<Piece>, Unhad>> + Send + 'a,
    ) -> Self {
        Self { name: name.into(), work: work.boxed() }
    }

    /// Does it within its time, and within what is left until `end`.
    pub(super) async fn done(self, end: Instant) -> Done {
        let Self { name, work } = self;
        let begun = Instant::now();
        let limit = STEP.min(end.saturating_duration_since(begun));
        if limit.is_zero() {
            let error = Some(format!("not begun: all steps together may take {} s", WHOLE.as_secs()));
            return Done { name, outcome: Outcome::NotBegun, error, took: limit, pieces: vec![] };
        }
        let (outcome, error, pieces) = match wait::within(&name, limit, work).await {
            Ok(Ok(pieces)) => (Outcome::Gathered, None, pieces),
            Ok(Err(Unhad { outcome, why })) => (outcome, Some(why), vec![]),
            Err(late) => (Outcome::TimedOut, Some(late.to_string()), vec![]),
        };
        Done { name, outcome, error, took: begun.elapsed(), pieces }
    }

    pub(super) async fn take(self, end: Instant, redactor: Arc<Redactor>) -> Done<Clean> {
        self.done(end).await.cleaned(redactor).await
    }
}
