//! The support bundle: what a person who was not there needs to understand what went wrong, as one archive.
//! It is gathered in steps that go on side by side; each has an end, and may fail alone.
//!
//! It only reads. Nothing enters the archive but through `redact`, and secrets are left out where they are
//! read. What is made of it is a person's work.

mod archive;
mod cluster;
mod files;
mod manifest;
mod programs;
mod step;

pub use manifest::{Manifest, Outcome, Told};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use crate::redact::Redactor;
use crate::scenario::Scenario;
use crate::session::Record;
use crate::sys::files::FileError;
use archive::Archive;
use cluster::Reached;
use step::Step;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(15);
/// How long all of them may: a teardown waits for it.
const WHOLE: Duration = Duration::from_mins(1);
/// How many steps go on at a time.
const TOGETHER: usize = 8;

/// What the bundle is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The run's ID.
    pub run: &'a str,
    /// The run's folder.
    pub dir: &'a Path,
    /// What was to stand. Where the cluster is not the run's own, nothing else of it is looked at.
    pub scenarios: &'a [Scenario],
    /// Where the run's reports are.
    pub reports: &'a Path,
    /// What went wrong, where that is known.
    pub why: Option<&'a str>,
    /// Nothing is run in a pod, nor a port of one forwarded for more than reading: the cluster's user may
    /// only look.
    pub only_looks: bool,
}

/// There is no bundle.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum BundleError {
    #[error(
        "the support bundle {} could not be written\n\
         hint: is there room, and may it be written? `svidproof bundle --out FILE` names another",
        path.display()
    )]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the support bundle could not be given a folder")]
    Folder(#[from] FileError),
}

/// Gathers all that can be had, and writes it to `file`, for its owner alone; one that is there is replaced.
/// Returns what became of each step.
pub async fn gather(subject: &Subject<'_>, file: &Path) -> Result<Manifest, BundleError> {
    let begun = Instant::now();
    let record = Record::read(subject.dir).ok();
    let mut first = vec![];
    let reached = match &record {
        Some(record) => cluster::reach(record, subject, &mut first).await,
        None => None,
    };
    let known = files::secrets(subject, record.as_ref());
    let known = known.into_iter().chain(reached.iter().flat_map(|reached| reached.secrets.iter().cloned()));
    let redactor = Arc::new(Redactor::knowing(known));
    let mut archive = Archive::create(file, subject.run)?;
    let mut told = vec![];
    for done in first {
        told.push(archive.add(done.cleaned(Arc::clone(&redactor)).await)?);
    }
    let end = begun + WHOLE;
    let steps = stream::iter(steps(subject, record.as_ref(), reached.as_ref()));
    let mut gathered = steps.map(|step| step.take(end, Arc::clone(&redactor))).buffer_unordered(TOGETHER);
    while let Some(done) = gathered.next().await {
        told.push(archive.add(done)?);
    }
    let manifest = Manifest::new(subject.run, subject.why, begun.elapsed(), told);
    archive.finish(&manifest, &redactor)?;
    Ok(manifest)
}

fn steps<'a>(
    subject: &'a Subject<'a>,
    record: Option<&'a Record>,
    reached: Option<&'a Reached>,
) -> Vec<Step<'a>> {
    let mut steps = files::steps(subject, record);
    steps.extend(programs::steps(subject, record, reached));
    steps.extend(reached.into_iter().flat_map(|reached| cluster::steps(subject, reached)));
    steps
}

#[cfg(test)]
mod tests;
