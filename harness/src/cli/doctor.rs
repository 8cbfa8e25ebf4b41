//! `svidproof doctor`: what this machine has and lacks. `scripts/setup` installs what it can of it.

use clap::Args;

use super::exit::{Ended, Exit, print};
use crate::engine;
use crate::sys::chain;
use crate::sys::tool;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {}

/// A program, what it is for, and whether one of these names will do.
struct Need {
    any_of: &'static [&'static str],
    what_for: &'static str,
}

const NEEDS: &[Need] = &[
    Need { any_of: &["terraform", "tofu"], what_for: "makes and destroys the cluster" },
    Need { any_of: &["docker"], what_for: "kind and the engine are driven by it" },
    Need { any_of: &["dockerd"], what_for: "the private engine, where no docker answers" },
    Need { any_of: &["runc"], what_for: "the private engine's runtime" },
    Need { any_of: &["iptables"], what_for: "keeps the cluster on this machine" },
    Need { any_of: &["go"], what_for: "images: Kubernetes, SPIRE and their like" },
    Need { any_of: &["cargo"], what_for: "images: the probe and the applications" },
    Need { any_of: &["cc"], what_for: "images: SPIRE's database, pause" },
    Need { any_of: &["python3"], what_for: "images: Envoy comes from a Python wheel" },
    Need { any_of: &["debootstrap"], what_for: "images: the node's root file system" },
];

pub(super) async fn doctor(_args: DoctorArgs) -> Result<Exit, Ended> {
    let mut lacking = 0;
    let mut text = String::new();
    for need in NEEDS {
        let found = need.any_of.iter().find_map(|name| tool::find(name));
        lacking += usize::from(found.is_none());
        let place = found.map_or_else(|| "MISSING".into(), |path| path.display().to_string());
        text += &format!(
            "{} {:<22} {:<44} {place}\n",
            if place == "MISSING" { "✗" } else { "✓" },
            need.any_of.join(" or "),
            need.what_for
        );
    }
    let engine = match engine::status().await {
        Ok(status) => status.to_string(),
        Err(e) => chain(&e),
    };
    text += &format!(
        "\n{engine}\ncache {}\nstate {}\n",
        crate::sys::dirs::cache().display(),
        crate::sys::dirs::state().display()
    );
    if lacking > 0 {
        text += &format!(
            "{lacking} missing\n\
             hint: ./scripts/setup installs what is missing, and says what to put on PATH\n"
        );
    }
    print(&text)?;
    Ok(if lacking > 0 { Exit::NotJudged } else { Exit::Passed })
}
