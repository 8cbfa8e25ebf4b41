//! `svidproof down` and `svidproof gc`.

use clap::Args;

use super::exit::{Ended, Exit, or_interrupted};
use crate::lease::Lease;
use crate::session::teardown;
use crate::sys::progress::Progress;

/// What an interrupt leaves.
const LEFT: &str = "interrupted while taking down\nhint: `svidproof gc` takes the rest down";

#[derive(Debug, Args)]
pub(super) struct DownArgs {
    /// Only this run [default: all that are kept]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

pub(super) async fn down(args: DownArgs, progress: &Progress) -> Result<Exit, Ended> {
    let mut found = 0;
    for dir in Lease::all()? {
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if args.run.as_ref().is_some_and(|wanted| *wanted != id) {
            continue;
        }
        let Ok(lease) = Lease::open(dir) else {
            progress.note(&format!("run {id} is under way in another svidproof: left alone"));
            continue;
        };
        found += 1;
        take_down(&lease, progress).await?;
    }
    match (&args.run, found) {
        (Some(run), 0) => Err(Ended::input(format!("there is no run {run} to take down"))),
        (None, 0) => {
            progress.note("nothing is kept");
            Ok(Exit::Passed)
        }
        _ => Ok(Exit::Passed),
    }
}

/// Takes down what runs that were killed left behind; a signal leaves the rest to the next.
pub(super) async fn clear(progress: &Progress) -> Result<Vec<String>, Ended> {
    or_interrupted(LEFT, async { Ok(teardown::gc(progress).await?) }).await
}

pub(super) async fn gc(progress: &Progress) -> Result<Exit, Ended> {
    let gone = clear(progress).await?;
    progress.note(&format!("{} left-over run(s) taken down", gone.len()));
    Ok(Exit::Passed)
}

/// Takes the run down, whatever came of it. What went wrong first is told first, and gives the exit status.
pub(super) async fn and_down<T>(
    came: Result<T, Ended>,
    lease: &Lease,
    progress: &Progress,
) -> Result<T, Ended> {
    match (came, take_down(lease, progress).await) {
        (came, Ok(())) => came,
        (Ok(_), Err(left)) => Err(left),
        (Err(first), Err(left)) => Err(first.then(left)),
    }
}

/// Takes the run down; a second signal leaves the rest to `gc`.
async fn take_down(lease: &Lease, progress: &Progress) -> Result<(), Ended> {
    or_interrupted(LEFT, async { Ok(teardown::teardown(lease, progress).await?) }).await
}
