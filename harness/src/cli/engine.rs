//! `svidproof engine`: the private container engine, where there is one.

use clap::{Args, Subcommand};

use super::exit::{Ended, Exit, print};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    #[command(subcommand)]
    command: EngineCommand,
}

#[derive(Debug, Subcommand)]
enum EngineCommand {
    /// Which engine is used, and where it is
    Status,
    /// Make sure that there is an engine, and print the shell commands that point other programs at it
    Env,
    /// Stop the private engine; a user's own engine is left alone
    Stop,
}

pub(super) async fn engine(args: EngineArgs, progress: &Progress) -> Result<Exit, Ended> {
    let said = match args.command {
        EngineCommand::Status => format!("{}\n", crate::engine::status().await?),
        EngineCommand::Env => exports(&crate::engine::ensure(progress).await?.env()),
        EngineCommand::Stop => format!("{}\n", crate::engine::stop().await?),
    };
    print(&said)?;
    Ok(Exit::Passed)
}

/// For `eval` in a POSIX shell.
fn exports(env: &[(String, String)]) -> String {
    env.iter().map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_word_for_a_shell() {
        let env = [("DOCKER_HOST".to_owned(), "unix:///a b/it's.sock".to_owned())];
        assert_eq!(exports(&env), "export DOCKER_HOST='unix:///a b/it'\\''s.sock'\n");
    }
}
