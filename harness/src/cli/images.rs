//! `svidproof images`: what a cluster is made of.

use clap::{Args, Subcommand};

use super::exit::{Ended, Exit, or_interrupted, print};
use super::scenarios::home;
use crate::engine;
use crate::images::{self, Cached, ImagesError, Source};
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
    /// What is in the cache, and how large it is
    List,
    /// Remove from the cache what svidproof does not need any more
    Prune,
}

pub(super) async fn images(args: ImagesArgs, progress: &Progress) -> Result<Exit, Ended> {
    let home = home()?;
    or_interrupted(KEPT, carry_out(args, &home, progress)).await
}

async fn carry_out(args: ImagesArgs, home: &std::path::Path, progress: &Progress) -> Result<Exit, Ended> {
    match args.command {
        ImagesCommand::Build { images } => {
            let step = progress.phase("images");
            let engine = engine::ensure(progress).await?;
            images::build(home, &engine, images, progress).await?;
            step.done();
        }
        ImagesCommand::Load { names, images } => {
            let step = progress.phase("images for the engine");
            let engine = engine::ensure(progress).await?;
            images::load(home, &engine, &names, images, progress).await.map_err(|error| match error {
                ImagesError::NotDeclared { .. } => Ended::input(error),
                _ => error.into(),
            })?;
            step.done();
        }
        ImagesCommand::List => print(&lines(&images::list(home).await?))?,
        ImagesCommand::Prune => {
            let engine = engine::ensure(progress).await?;
            print(&lines(&images::prune(home, &engine, progress).await?))?;
        }
    }
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
