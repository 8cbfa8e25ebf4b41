//! `svidproof engine`: the private container engine, where there is one.

use clap::{Args, Subcommand};

use super::{Failure, print};

#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    #[command(subcommand)]
    command: EngineCommand,
}

#[derive(Debug, Subcommand)]
enum EngineCommand {
    /// Which engine is used, and where it is
    Status,
    /// Stop the private engine; a user's own engine is left alone
    Stop,
}

pub(super) async fn engine(args: EngineArgs) -> Result<u8, Failure> {
    let said = match args.command {
        EngineCommand::Status => crate::engine::status().await?.to_string(),
        EngineCommand::Stop => crate::engine::stop().await?.to_string(),
    };
    print(&format!("{said}\n"))?;
    Ok(0)
}
