//! What a run of checks leaves behind: report.json, junit.xml, report.html, report.sarif and summary.md.

use std::path::Path;
use std::time::Instant;

use super::exit::{Context, Ended};
use crate::lease::Lease;
use crate::proof::judge::Judged;
use crate::provider::Provider;
use crate::report::{Report, html, junit, markdown, sarif};
use crate::session::Record;
use crate::surface::Change;
use crate::sys::progress::Progress;

/// The report for people.
pub(super) const PAGE: &str = "report.html";

/// When a run of checks began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: jiff::Timestamp,
    pub(super) instant: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Self { at: jiff::Timestamp::now(), instant: Instant::now() }
    }
}

/// What is known of a run, also where it was not even brought up.
pub(super) struct About<'a> {
    pub(super) run: &'a str,
    /// The provider that was asked for.
    pub(super) provider: String,
    /// Absent where no cluster was made.
    pub(super) record: Option<Record>,
    pub(super) begun: Begun,
}

impl<'a> About<'a> {
    pub(super) fn of(lease: &'a Lease, provider: Option<Provider>, begun: Begun) -> Self {
        let record = Record::read(&lease.dir).ok();
        let known = record.as_ref().map(|record| record.cluster.provider);
        let provider = known.or(provider).map(|provider| provider.to_string()).unwrap_or_default();
        Self { run: &lease.id, provider, record, begun }
    }

    /// What the report says of these cells, and of what ended the work early.
    pub(super) fn report(&self, judged: &[Judged], ended: Option<&Ended>, progress: &Progress) -> Report {
        let record = self.record.as_ref();
        let images = record.map(|record| record.images.clone()).unwrap_or_default();
        let versions = record.map(Record::all_versions).unwrap_or_default();
        let phases = progress.phases();
        let mut report =
            Report::new(self.run, &self.provider, &images, &versions, self.begun.at, phases, judged);
        report.errors.extend(ended.map(ToString::to_string));
        report
    }
}

/// Writes the reports. `changed`: against the surfaces that are kept.
pub(super) fn write(report: &Report, changed: &[Change], out: &Path) -> Result<(), Ended> {
    let files = [
        ("report.json", report.to_json()),
        ("junit.xml", junit::text(report)),
        (PAGE, html::page(report)),
        ("report.sarif", sarif::text(report)),
        ("summary.md", markdown::summary(report, changed)),
    ];
    files.into_iter().try_for_each(|(name, text)| whole(out, name, &text))
}

/// Whole or not at all.
pub(super) fn whole(out: &Path, name: &str, text: &str) -> Result<(), Ended> {
    let path = out.join(name);
    let write = || {
        std::fs::create_dir_all(out)?;
        let mut file = tempfile::NamedTempFile::new_in(out)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| {
        let tried = format!(
            "could not write {}\nhint: is there room, and may it be written? --out names another folder",
            path.display()
        );
        Ended::not_judged(Context::new(tried, e))
    })
}
