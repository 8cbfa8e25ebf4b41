//! `svidproof svid fetch`: an SVID carried out of the cluster, as files that curl and openssl take.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use svidproof_probe::protocol::Carried;

use super::exit::{Context, Ended, Exit, print};
use super::scenarios::{kept, kept_scenarios};
use crate::scenario::{Client, FullClient};
use crate::session;
use crate::stage::carry_from;
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct SvidArgs {
    #[command(subcommand)]
    command: SvidCommand,
}

#[derive(Debug, Subcommand)]
enum SvidCommand {
    /// Write svid.0.pem, svid.0.key (mode 0600) and bundle.0.pem
    Fetch {
        /// A client of a scenario, or the SPIFFE ID of one
        #[arg(long = "as", value_name = "ID")]
        id: String,
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

pub(super) async fn svid(args: SvidArgs, progress: &Progress) -> Result<Exit, Ended> {
    let SvidCommand::Fetch { id, out } = args.command;
    let lease = kept()?;
    let scenarios = kept_scenarios(&lease)?;
    let mut known = vec![];
    let mut wanted = None;
    for scenario in scenarios {
        let clients: Vec<_> = scenario.clients.clone().into_iter().collect();
        for (name, client) in clients {
            let Some(path) = client.identity() else { continue };
            let spiffe = scenario.spiffe_id(path);
            if name == id || spiffe == id {
                wanted.get_or_insert((scenario.clone(), client, spiffe.clone()));
            }
            known.push(format!("  {name} = {spiffe}"));
        }
    }
    let Some((scenario, client, spiffe)) = wanted else {
        return Err(Ended::input(format!(
            "no client of the kept run is `{id}`\nhint: there are\n{}",
            known.join("\n")
        )));
    };
    let session = session::reopen(&lease, vec![scenario], progress).await?;
    let system = &session.systems[0];
    let carried = match client {
        client if client.machine().is_some() => {
            let held = session::machines::svid(&session.context, &system.scenario, &client).await;
            let held = held.map_err(Ended::not_judged)?;
            held.ok_or_else(|| Ended::not_judged(format!("{spiffe} is handed to nobody")))?
        }
        Client::Full(FullClient { from: Some(from), .. }) => {
            carry_from(&session.context, system, &from, &spiffe).await.map_err(Ended::not_judged)?
        }
        _ => system.probe()?.fetch(spiffe.clone()).await.map_err(Ended::not_judged)?,
    };
    write(&carried, &out).map_err(|e| {
        Ended::not_judged(Context::new(format!("could not write the SVID into {}", out.display()), e))
    })?;
    print(&format!("{spiffe}\n"))?;
    Ok(Exit::Passed)
}

fn write(carried: &Carried, out: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("svid.0.pem"), &carried.chain)?;
    std::fs::write(out.join("bundle.0.pem"), &carried.bundle)?;
    let path = out.join("svid.0.key");
    // The mode counts only where the file is made: one that is there may be open to others.
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut key = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
    key.write_all(carried.key.as_bytes())
}
