//! What a run of checks leaves behind and prints: report.json, junit.xml, report.html and the table.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Instant;

use super::exit::{Context, Ended, Exit, print};
use crate::report::{Report, console, html, junit};
use crate::session::Record;
use crate::suite::Tested;
use crate::sys::progress::Progress;

/// Writes the reports, prints the table, and returns the exit status.
pub(super) fn report(
    tested: &Tested,
    run: &str,
    started: jiff::Timestamp,
    begun: Instant,
    out: &Path,
    progress: &Progress,
) -> Result<Exit, Ended> {
    let provider = tested.record.cluster.provider.to_string();
    let Record { images, versions, .. } = &tested.record;
    let report = Report::new(run, &provider, images, versions, started, progress.phases(), &tested.judged);
    let files = [
        ("report.json", report.to_json()),
        ("junit.xml", junit::text(&report)),
        ("report.html", html::page(&report)),
    ];
    let written = files.into_iter().try_for_each(|(name, text)| write(out, name, &text));
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    print(&console::table(&report, colour, begun.elapsed()))?;
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
