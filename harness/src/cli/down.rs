//! `svidproof down`, `gc` and `leases`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::cluster::{check_variables, variable};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use crate::data;
use crate::lease::{Lease, LeaseError};
use crate::provider::{ClusterOptions, Provider};
use crate::session::teardown::{self, Collected};
use crate::sys::progress::Progress;
use crate::sys::signal::interrupted;
use crate::sys::{chain, files};

/// What an interrupt leaves.
const LEFT: &str = "interrupted while taking down\nhint: `svidproof gc` takes the rest down";

#[derive(Debug, Args)]
pub(super) struct DownArgs {
    /// Only this run [default: all that are kept]
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Forget this run without touching anything: what it made and is still there stays
    #[arg(long, value_name = "ID", conflicts_with = "run")]
    forget: Option<String>,
}

pub(super) async fn down(args: DownArgs, progress: &Progress) -> Result<Exit, Ended> {
    if let Some(run) = &args.forget {
        return forget(run, progress);
    }
    let mut found = 0;
    // A kept run that somebody works on is wanted down, and is not.
    let mut in_use = None;
    for dir in Lease::all()? {
        let is_kept = Lease::is_kept(&dir).unwrap_or_default();
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if args.run.as_ref().is_some_and(|wanted| *wanted != id) {
            continue;
        }
        let lease = match Lease::open(dir) {
            Ok(lease) => lease,
            Err(error) if error.is_held() && args.run.is_none() => {
                progress.note(&format!("run {id} is under way in another svidproof: left alone"));
                in_use = in_use.or(is_kept.then_some(id));
                continue;
            }
            Err(error) if error.is_held() => return Err(under_way(&id)),
            Err(error) => return Err(error.into()),
        };
        found += 1;
        take_down(&lease, progress).await?;
    }
    if let Some(id) = in_use {
        return Err(under_way(&id));
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

fn under_way(run: &str) -> Ended {
    Ended::input(format!("run {run} is under way in another svidproof\nhint: end that one first"))
}

/// Takes a run out of the books, and says what is left of it.
fn forget(run: &str, progress: &Progress) -> Result<Exit, Ended> {
    let dir = Lease::all()?.into_iter().find(|dir| dir.file_name().is_some_and(|name| name == run));
    let dir = dir.ok_or_else(|| Ended::input(format!("there is no run {run} to forget")))?;
    let lease = Lease::open(dir)
        .map_err(|error| if error.is_held() { under_way(run) } else { Ended::from(error) })?;
    for thing in lease.standing()? {
        progress.note(&format!("not taken down, and forgotten: {thing:?}"));
    }
    files::remove(&lease.dir).map_err(Ended::not_judged)?;
    Ok(Exit::Passed)
}

/// Takes down what runs that were killed left behind; a signal leaves the rest to the next. One that cannot
/// be taken down is told, and does not keep anybody from anything.
pub(super) async fn clear(progress: &Progress) -> Result<(), Ended> {
    let collected = or_interrupted(LEFT, async { Ok(teardown::gc(progress).await?) }).await?;
    for left in collected.left {
        progress.note(&format!("warning: {}", chain(&left)));
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Say what would be taken down, and take nothing down
    #[arg(long)]
    dry_run: bool,
    /// In an existing cluster: what a run of another machine left there that has not been heard of for long
    #[arg(long)]
    expired: bool,
    /// Context of that cluster
    #[arg(long, requires = "expired")]
    context: Option<String>,
    /// Kubeconfig of that cluster
    #[arg(long, value_name = "FILE", requires = "expired")]
    kubeconfig: Option<PathBuf>,
    /// `gke`: not in a cluster, but every cluster of a project whose `--max-lifetime` is over
    #[arg(long, value_enum, requires = "expired", conflicts_with_all = ["context", "kubeconfig"])]
    provider: Option<Provider>,
    /// Terraform variable of the provider `gke`: its `project`, and the `state_bucket` of other machines'
    /// runs
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = variable, requires = "provider")]
    set: Vec<(String, serde_json::Value)>,
}

pub(super) async fn gc(args: GcArgs, progress: &Progress) -> Result<Exit, Ended> {
    if args.expired {
        return expired(args, progress).await;
    }
    if args.dry_run {
        return told(|lease| Ok(!lease.kept()?), "would go: ");
    }
    collected(or_interrupted(LEFT, async { Ok(teardown::gc(progress).await?) }).await?, progress)
}

fn collected(Collected { gone, held, left }: Collected, progress: &Progress) -> Result<Exit, Ended> {
    for run in held {
        progress.note(&format!("run {run} is under way, or a program that it started: left alone"));
    }
    progress.note(&format!("{} left-over run(s) taken down", gone.len()));
    let left = left.into_iter().map(Ended::from).reduce(Ended::then);
    left.map_or(Ok(Exit::Passed), Err)
}

async fn expired(args: GcArgs, progress: &Progress) -> Result<Exit, Ended> {
    let GcArgs { dry_run, context, kubeconfig, provider, set, .. } = args;
    match provider {
        Some(Provider::Gke) => return expired_in_cloud(set, dry_run, progress).await,
        Some(Provider::Kind) => {
            return Err(Ended::input(
                "clusters of the provider kind are this machine's\n\
                 hint: `svidproof gc` alone takes them down",
            ));
        }
        Some(Provider::Existing) | None => {}
    }
    let options = ClusterOptions { context, kubeconfig, ..ClusterOptions::default() };
    let work = async { Ok(teardown::expired(&options, dry_run, progress).await?) };
    if or_interrupted(LEFT, work).await?.is_none() {
        progress.note("no run that has expired holds the cluster");
    }
    Ok(Exit::Passed)
}

async fn expired_in_cloud(
    set: Vec<(String, serde_json::Value)>,
    dry_run: bool,
    progress: &Progress,
) -> Result<Exit, Ended> {
    let root = data::home(Path::new(".")).map_err(Ended::not_judged)?.join("terraform/gke");
    check_variables(&root, &set)?;
    let options = ClusterOptions { set: set.into_iter().collect(), ..ClusterOptions::default() };
    let work = Box::pin(async { Ok(teardown::expired_in_cloud(&root, &options, dry_run, progress).await?) });
    collected(or_interrupted(LEFT, work).await?, progress)
}

/// `svidproof leases`: every run that this machine knows of, and what it made.
pub(super) fn leases() -> Result<Exit, Ended> {
    told(|_| Ok(true), "")
}

fn told(which: impl Fn(&Lease) -> Result<bool, LeaseError>, before: &str) -> Result<Exit, Ended> {
    for dir in Lease::all()? {
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lease = match Lease::open(dir) {
            Ok(lease) => lease,
            Err(error) if error.is_held() => {
                print(&format!("{id}  under way\n"))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if which(&lease)? {
            let state = if lease.kept()? { "kept" } else { "left by a svidproof that ended early" };
            let place = lease.place()?.map(|place| format!(", in {}", place.name)).unwrap_or_default();
            print(&format!("{id}  {state}{place}\n"))?;
            for thing in lease.standing()? {
                print(&format!("  {before}{thing:?}\n"))?;
            }
        }
    }
    Ok(Exit::Passed)
}

/// Takes the run down, whatever came of it. What went wrong first is told first, and gives the exit status.
pub(super) async fn and_down<T>(
    came: Result<T, Ended>,
    lease: &Lease,
    progress: &Progress,
) -> Result<T, Ended> {
    let was_interrupted = came.as_ref().is_err_and(|ended| ended.exit == Exit::Interrupted);
    let down = if was_interrupted { take_down(lease, progress).await } else { finish(lease, progress).await };
    match (came, down) {
        (came, Ok(())) => came,
        (Ok(_), Err(left)) => Err(left),
        (Err(first), Err(left)) => Err(first.then(left)),
    }
}

/// Takes the run down. The command's first signal is taken for its end, which is what is under way; a second
/// leaves the rest to `gc`.
async fn finish(lease: &Lease, progress: &Progress) -> Result<(), Ended> {
    let mut down = Box::pin(async { Ok(teardown::teardown(lease, progress).await?) });
    tokio::select! {
        biased;
        () = interrupted() => {}
        done = &mut down => return done,
    }
    progress.note("interrupted: the run is taken down first");
    or_interrupted(LEFT, down).await?;
    Err(Ended { exit: Exit::Interrupted, error: INTERRUPTED.into() })
}

/// Takes the run down; a signal leaves the rest to `gc`.
async fn take_down(lease: &Lease, progress: &Progress) -> Result<(), Ended> {
    or_interrupted(LEFT, async { Ok(teardown::teardown(lease, progress).await?) }).await
}
