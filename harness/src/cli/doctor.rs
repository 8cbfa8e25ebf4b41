//! `svidproof doctor`: what this machine has and lacks. `scripts/setup` installs what it can of it.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Ended, Exit, print};
use crate::engine::{self, Status};
use crate::images::{self, Source};
use crate::sys::chain;
use crate::sys::progress::Progress;
use crate::sys::tool;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {}

/// A program: one of these names will do, what it is for, and when it is needed.
struct Need {
    any_of: &'static [&'static str],
    what_for: &'static str,
    when: When,
}

/// When a program is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Where no docker of the user's answers.
    PrivateEngine,
    /// Where no image registry answers.
    Packages,
}

const fn need(any_of: &'static [&'static str], what_for: &'static str, when: When) -> Need {
    Need { any_of, what_for, when }
}

const NEEDS: [Need; 10] = [
    need(&["terraform", "tofu"], "makes and destroys the cluster", When::Always),
    need(&["docker"], "kind and the engine are driven by it", When::Always),
    need(&["dockerd"], "the private engine, where no docker answers", When::PrivateEngine),
    need(&["runc"], "the private engine's runtime", When::PrivateEngine),
    need(&["iptables"], "keeps the cluster on this machine", When::PrivateEngine),
    need(&["go"], "kind, helm; images: Kubernetes, SPIRE and their like", When::Always),
    need(&["cargo"], "images: the probe and the applications", When::Always),
    need(&["cc"], "images: SPIRE's database, pause", When::Packages),
    need(&["python3"], "images: Envoy comes from a Python wheel", When::Packages),
    need(&["debootstrap"], "images: the node's root file system", When::Packages),
];

/// What is said of each need, a line each, and how many are wanted and missing.
fn told(found: impl Fn(&str) -> Option<PathBuf>, wanted: impl Fn(When) -> bool) -> (String, usize) {
    let (mut text, mut lacking) = (String::new(), 0);
    for need in &NEEDS {
        let (mark, place) = match need.any_of.iter().find_map(|name| found(name)) {
            Some(path) => ("✓", path.display().to_string()),
            None if wanted(need.when) => {
                lacking += 1;
                ("✗", "MISSING".into())
            }
            None => ("-", "not here, and not needed".into()),
        };
        text += &format!("{mark} {:<22} {:<54} {place}\n", need.any_of.join(" or "), need.what_for);
    }
    (text, lacking)
}

pub(super) async fn doctor(_args: DoctorArgs, progress: &Progress) -> Result<Exit, Ended> {
    let status = engine::status().await;
    let users = matches!(status, Ok(Status::Users { .. }));
    let source = images::settled(Source::Auto, None, progress).await;
    let builds = matches!(source, Ok(Source::Packages));
    let (mut text, missing) = told(tool::find, |when| match when {
        When::Always => true,
        When::PrivateEngine => !users,
        When::Packages => builds,
    });
    let engine = match &status {
        Ok(status) => status.to_string(),
        Err(e) => chain(e),
    };
    text += &format!(
        "\n{engine}\ncache {}\nstate {}\n",
        crate::sys::dirs::cache().display(),
        crate::sys::dirs::state().display()
    );
    // What no program mends.
    let shut = matches!(&status, Ok(Status::Stopped { needs: Some(_), .. }) | Err(_));
    let cannot = source.err().map(|error| chain(&error));
    text.extend(cannot.iter().map(|why| format!("✗ {why}\n")));
    if missing > 0 {
        text += &format!(
            "{missing} missing\n\
             hint: this machine's package manager has them; in a checkout, ./scripts/setup installs what is \
             missing, and says what to put on PATH\n"
        );
    }
    print(&text)?;
    Ok(if missing > 0 || shut || cannot.is_some() { Exit::NotJudged } else { Exit::Passed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_here_is_missing() {
        let nothing = |_: &str| None;
        let (text, lacking) = told(nothing, |when| when == When::Always);
        assert_eq!(lacking, 4, "{text}");
        assert!(text.contains("✗ terraform or tofu") && text.contains("- dockerd"), "{text}");
        assert_eq!(told(nothing, |when| when != When::Packages).1, 7);
        assert_eq!(told(nothing, |_| true).1, 10);
        assert_eq!(told(|name| Some(name.into()), |_| true).1, 0);
    }
}
