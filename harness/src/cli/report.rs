//! What a run of checks leaves behind and prints: report.json, junit.xml, report.html and the table.

use std::path::Path;
use std::time::Instant;

use super::exit::{Context, Ended, Exit, print};
use crate::report::{Report, console, html, junit};
use crate::session::Record;
use crate::suite::Tested;
use crate::sys::progress::{Progress, is_coloured};

/// When a run of checks began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: jiff::Timestamp,
    instant: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Self { at: jiff::Timestamp::now(), instant: Instant::now() }
    }
}

/// What the report says of a run of checks.
pub(super) fn of(tested: &Tested, run: &str, begun: Begun, progress: &Progress) -> Report {
    let Record { cluster, images, versions, .. } = &tested.record;
    let provider = cluster.provider.to_string();
    Report::new(run, &provider, images, versions, begun.at, progress.phases(), &tested.judged)
}

/// For standard output.
pub(super) fn table(report: &Report, begun: Begun) -> String {
    console::table(report, is_coloured(&std::io::stdout()), begun.instant.elapsed())
}

/// Writes the reports, prints the table, and returns the exit status.
pub(super) fn report(
    tested: &Tested,
    run: &str,
    begun: Begun,
    out: &Path,
    progress: &Progress,
) -> Result<Exit, Ended> {
    let report = of(tested, run, begun, progress);
    let files = [
        ("report.json", report.to_json()),
        ("junit.xml", junit::text(&report)),
        ("report.html", html::page(&report)),
    ];
    let written = files.into_iter().try_for_each(|(name, text)| write(out, name, &text));
    print(&table(&report, begun))?;
    written?;
    Ok(report.totals.exit())
}

/// Whole or not at all.
fn write(out: &Path, name: &str, text: &str) -> Result<(), Ended> {
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
