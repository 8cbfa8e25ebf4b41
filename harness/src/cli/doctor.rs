//! `svidproof doctor`: what this machine has and lacks for what is asked of it. `scripts/setup` installs what
//! it can of that.

use std::path::PathBuf;

use clap::Args;
use futures::future::{join, join3};

use super::exit::{Ended, Exit, print};
use super::scenarios::home;
use crate::cluster::helm;
use crate::engine::{self, Status};
use crate::images::{self, Source, Versions};
use crate::provider::needs::{self, Asked};
use crate::provider::{Provider, terraform};
use crate::sys::progress::Progress;
use crate::sys::{chain, dirs, tool};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Where the cluster is to come from
    #[arg(long, value_enum, default_value_t = Provider::Kind)]
    provider: Provider,
    /// Where images are to come from
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    images: Source,
}

pub(super) async fn doctor(args: DoctorArgs, progress: &Progress) -> Result<Exit, Ended> {
    let DoctorArgs { provider, images } = args;
    let here = provider == Provider::Kind;
    let helm: Option<PathBuf> = tool::find("helm").or_else(|| images::tool("helm"));
    let versions = join(terraform::version(), async { Some(helm::version(helm.as_deref()?).await) });
    let settled =
        async { if here { images::settled(images, None, progress).await } else { Ok(Source::Upstream) } };
    // Each asks somebody else, and waits.
    let (status, (terraform, helm), source) = join3(engine::status(), versions, settled).await;
    // What cannot be built here is told below.
    let taken = source.as_ref().copied().unwrap_or(Source::Upstream);
    let private = !matches!(status, Ok(Status::Users { .. }));
    let asked = Asked::of(provider, private, &home()?, taken, &Versions::default()).await?;
    let looked = needs::look(&asked, &dirs::cache(), tool::find);
    let mut text = looked.text;
    text += &terraform.map_or_else(|error| format!("! {}\n", chain(&error)), |said| format!("{said}\n"));
    text += &match helm {
        Some(Ok(version)) => format!("Helm {version}\n"),
        Some(Err(error)) => format!("! {}\n", chain(&error)),
        None => "no Helm yet: it is built\n".into(),
    };
    let engine = match &status {
        Ok(status) => status.to_string(),
        Err(e) => chain(e),
    };
    if here {
        text += &format!("\n{engine}\n");
    }
    text += &format!("cache {}\nstate {}\n", dirs::cache().display(), dirs::state().display());
    // What no program mends.
    let shut = here && matches!(&status, Ok(Status::Stopped { needs: Some(_), .. }) | Err(_));
    let cannot = source.err().map(|error| chain(&error));
    text.extend(cannot.iter().map(|why| format!("✗ {why}\n")));
    if !looked.lacking.is_empty() {
        text += &format!(
            "{} missing\n\
             hint: this machine's package manager has them; in a checkout, ./scripts/setup installs what is \
             missing, and says what to put on PATH\n",
            looked.lacking.len()
        );
    }
    print(&text)?;
    Ok(if !looked.lacking.is_empty() || shut || cannot.is_some() { Exit::NotJudged } else { Exit::Passed })
}
