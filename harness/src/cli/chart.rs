//! `svidproof chart`: the charts that the binary carries; and what Helm calls to write into a chart of the
//! user's.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::{Ended, Exit, print};
use super::scenarios::home;
use crate::cluster::inject;
use crate::data::{self, BUILTIN};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct ChartArgs {
    #[command(subcommand)]
    command: ChartCommand,
}

#[derive(Debug, Subcommand)]
enum ChartCommand {
    /// What there is; a scenario names one as `chart: builtin:NAME`
    List,
    /// Write one out, with what it is made of, to a folder that is not there yet
    Export {
        /// As `list` shows it
        name: String,
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
}

pub(super) fn chart(args: ChartArgs, progress: &Progress) -> Result<Exit, Ended> {
    let (name, to) = match args.command {
        ChartCommand::List => {
            let line = |(name, sentence): (&String, &String)| format!("{BUILTIN}{name:<12} {sentence}\n");
            print(&data::charts().iter().map(line).collect::<String>())?;
            return Ok(Exit::Passed);
        }
        ChartCommand::Export { name, to } => (name, to),
    };
    let name = name.strip_prefix(BUILTIN).unwrap_or(&name);
    if !data::charts().contains_key(name) {
        let known: Vec<_> = data::charts().keys().map(String::as_str).collect();
        return Err(Ended::input(format!(
            "there is no chart `{name}`\nhint: there are {}",
            known.join(", ")
        )));
    }
    if to.exists() {
        return Err(Ended::input(format!(
            "{} is there already, and is not overwritten\nhint: name a folder that is not there",
            to.display()
        )));
    }
    data::export(&home()?, name, &to).map_err(Ended::not_judged)?;
    progress.note(&format!("wrote {}", to.display()));
    Ok(Exit::Passed)
}

/// Standard input's manifests, each of their Envoys with an admin interface at this port.
pub(super) fn post_render(port: u16) -> Result<Exit, Ended> {
    let mut manifests = String::new();
    std::io::stdin().read_to_string(&mut manifests)?;
    print(&inject::admin(&manifests, port).text)?;
    Ok(Exit::Passed)
}
