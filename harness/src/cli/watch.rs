//! `svidproof watch`: the loop of a chart's developer. A save, and what it opened and closed.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::report::{About, Begun};
use super::scenarios::{Scenarios, kept, scenarios, stage_is_there};
use crate::lease::Lease;
use crate::project::Project;
use crate::report::console::{self, Closing};
use crate::scenario::{self, Scenario};
use crate::session;
use crate::suite::watch::{Followed, Watcher};
use crate::suite::{Outcome, Results, test_all};
use crate::surface::{self, Surface};
use crate::sys::progress::Progress;
use crate::sys::terminal::Reader;

#[derive(Debug, Args)]
#[command(after_help = end())]
pub(super) struct WatchArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    /// Only this stage [default: all of a scenario that is touched, in order]
    #[arg(long)]
    stage: Option<String>,
}

/// Not with 0, as for every command: from outside it cannot be told whether a round was cut short.
fn end() -> String {
    format!("It works until it is interrupted, and then ends with {}.", Exit::Interrupted.code())
}

/// A scenario, from round to round.
struct Watched {
    file: PathBuf,
    followed: Followed,
    /// Of the last round that came to its end, or else those that are kept.
    surfaces: Vec<Surface>,
}

pub(super) async fn watch(args: WatchArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    let scenarios = scenarios(&lease, &args.scenarios)?;
    stage_is_there(args.stage.as_deref(), &scenarios)?;
    let only = args.stage.as_deref();
    or_interrupted(INTERRUPTED, Box::pin(follow(&lease, scenarios, only, progress))).await
}

async fn follow(
    lease: &Lease,
    scenarios: Vec<Scenario>,
    only: Option<&str>,
    progress: &Progress,
) -> Result<Exit, Ended> {
    let mut files = Watcher::new()?;
    let mut all = vec![];
    for scenario in scenarios {
        let mut surfaces = surface::load(&Project::at(&scenario.root)?.snapshots(), &scenario.name)?;
        surfaces.retain(|surface| only.is_none_or(|only| surface.stage == only));
        let followed = Followed::scenario(&scenario)?;
        files.follow(&followed)?;
        all.push(Watched { file: scenario.file, followed, surfaces });
    }
    let mut due: Vec<&mut Watched> = all.iter_mut().collect();
    loop {
        // One after the other: they share the record of what stands in the cluster.
        for watched in due {
            if let Err(ended) = round(lease, watched, &mut files, only, progress).await {
                progress.note(&format!("svidproof: {ended}"));
            }
        }
        progress.note("waiting for a change …");
        due = loop {
            let changes = files.changed().await?;
            let touched: Vec<_> =
                all.iter_mut().filter(|watched| watched.followed.is_touched(&changes)).collect();
            if !touched.is_empty() {
                break touched;
            }
        };
    }
}

/// The scenario as it is now: read, brought to its stages, checked, told. What is wrong is the user's to
/// mend: the next change makes a new round.
async fn round(
    lease: &Lease,
    watched: &mut Watched,
    files: &mut Watcher,
    only: Option<&str>,
    progress: &Progress,
) -> Result<(), Ended> {
    let begun = Begun::now();
    let scenario = scenario::load(&watched.file)?;
    watched.followed = Followed::scenario(&scenario)?;
    files.follow(&watched.followed)?;
    stage_is_there(only, std::slice::from_ref(&scenario))?;
    let session = session::reopen(lease, vec![scenario], progress).await?;
    let results = Results::default();
    let ended = test_all(&session, only, &|_| true, &results).await.map_err(Ended::from);
    let Outcome { judged, tests } = results.take();
    let report = About::of(lease, None, begun).report(&judged, ended.as_ref().err(), progress);
    let report = report.with_tests(tests);
    let surfaces = surface::surfaces(&judged);
    let changes =
        (!watched.surfaces.is_empty() && ended.is_ok()).then(|| surface::diff(&watched.surfaces, &surfaces));
    // A part of the cells is no surface.
    if ended.is_ok() {
        watched.surfaces = surfaces;
    }
    let elapsed = begun.instant.elapsed();
    let last = Closing { changed: changes.as_deref(), elapsed, ..Closing::default() };
    let reader = Reader::of(&std::io::stdout());
    let table = console::table(&report, reader, false);
    print(&format!("{table}{}", console::closing(&report, last, reader)))?;
    ended
}
