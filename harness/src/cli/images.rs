//! `svidproof images`: what a cluster is made of.

use std::path::Path;

use clap::{Args, Subcommand};

use super::cluster::VersionArgs;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, or_interrupted, print};
use super::scenarios::home;
use crate::engine;
use crate::images::{self, Cached, ImagesError, Pulls, Remote, Source, Versions, Which};
use crate::lease::Lease;
use crate::sys::files;
use crate::sys::progress::Progress;

/// What an interrupt leaves.
const KEPT: &str = "interrupted; what is built is kept, and the next build goes on from there";

#[derive(Debug, Args)]
pub(super) struct ImagesArgs {
    #[command(subcommand)]
    command: ImagesCommand,
}

#[derive(Debug, Subcommand)]
enum ImagesCommand {
    /// Build what is not in the cache yet
    Build {
        /// Where images come from
        #[arg(long, value_enum, default_value_t = Source::Auto)]
        images: Source,
        #[command(flatten)]
        versions: VersionArgs,
    },
    /// Give the container engine images, for containers beside any cluster
    Load {
        /// As `images.yaml` declares them, such as `nginx:1.22`
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where images come from
        #[arg(long, value_enum, default_value_t = Source::Auto)]
        images: Source,
    },
    /// Put images into a registry: svidproof's own programs, which no other registry has. Each is printed by
    /// its name there and its digest
    Push {
        /// The registry, and what is to stand before each name there. `docker login` keeps its credentials
        #[arg(long, value_name = "HOST[:PORT][/PREFIX]")]
        to: Remote,
        /// Every image that svidproof declares, and the node image, under its upstream name: what
        /// `--registry-mirror` asks for
        #[arg(long)]
        all: bool,
    },
    /// Print which versions of Kubernetes, SPIRE and Envoy can be built here, newest first, as JSON
    Versions,
    /// What is in the cache, and how large it is
    List,
    /// Remove from the cache what svidproof does not need any more
    Prune,
}

pub(super) async fn images(args: ImagesArgs, progress: &Progress) -> Result<Exit, Ended> {
    let home = home()?;
    match args.command {
        ImagesCommand::Build { images, versions } => {
            build(&home, images, &versions.versions(), progress).await
        }
        ImagesCommand::Load { names, images } => {
            or_interrupted(KEPT, load(&home, &names, images, progress)).await
        }
        ImagesCommand::Push { to, all } => {
            let which = if all { Which::All } else { Which::Own };
            or_interrupted(KEPT, push(&home, &to, which, progress)).await
        }
        ImagesCommand::Versions => {
            let served = images::served(&home).map_err(Ended::not_judged)?;
            let json = serde_json::to_string(&served).map_err(Ended::not_judged)?;
            print(&format!("{json}\n"))?;
            Ok(Exit::Passed)
        }
        ImagesCommand::List => or_interrupted(KEPT, async { listed(&images::list(&home).await?) }).await,
        ImagesCommand::Prune => or_interrupted(KEPT, prune(&home, progress)).await,
    }
}

/// A run of its own: what it makes in the engine on the way does not stay.
async fn build(home: &Path, source: Source, versions: &Versions, progress: &Progress) -> Result<Exit, Ended> {
    clear(progress).await?;
    let lease = Lease::new()?;
    let work = async {
        let step = progress.phase("images");
        let engine = engine::ensure(progress).await?;
        images::build(home, &engine, source, versions, &Pulls::default(), &lease, progress).await?;
        step.done();
        Ok(Exit::Passed)
    };
    let built = or_interrupted(KEPT, work).await;
    if built.is_ok() && lease.standing()?.is_empty() {
        files::remove(&lease.dir).map_err(Ended::not_judged)?;
        return built;
    }
    and_down(built, &lease, progress).await
}

/// In no lease: the images are there to stay, and nothing else is made.
async fn load(home: &Path, names: &[String], source: Source, progress: &Progress) -> Result<Exit, Ended> {
    let step = progress.phase("images for the engine");
    let engine = engine::ensure(progress).await?;
    images::load(home, &engine, names, source, progress).await.map_err(|error| match error {
        ImagesError::NotDeclared { .. } => Ended::input(error),
        _ => error.into(),
    })?;
    step.done();
    Ok(Exit::Passed)
}

async fn push(home: &Path, to: &Remote, which: Which, progress: &Progress) -> Result<Exit, Ended> {
    let step = progress.phase(format!("images for {to}"));
    let mut lines = String::new();
    let pushed = images::push(home, to, which, |line| lines += &format!("{line}\n"), progress).await;
    // What went before something did not is there.
    print(&lines)?;
    pushed.map_err(|error| if error.is_input() { Ended::input(error) } else { error.into() })?;
    step.done();
    Ok(Exit::Passed)
}

async fn prune(home: &Path, progress: &Progress) -> Result<Exit, Ended> {
    let engine = engine::ensure(progress).await?;
    listed(&images::prune(home, &engine, progress).await?)
}

fn listed(cached: &[Cached]) -> Result<Exit, Ended> {
    print(&lines(cached))?;
    Ok(Exit::Passed)
}

fn lines(cached: &[Cached]) -> String {
    let line = |one: &Cached| {
        format!(
            "{:>8.1} MB  {:<8} {}\n",
            megabytes(one.bytes),
            if one.current { "current" } else { "old" },
            one.name
        )
    };
    let total = megabytes(cached.iter().map(|one| one.bytes).sum());
    cached.iter().map(line).collect::<String>() + &format!("{total:>8.1} MB\n")
}

#[allow(clippy::cast_precision_loss, reason = "it is shown to one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
