//! Which cluster a command is to make or find.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::exit::Ended;
use crate::data;
use crate::images::{self, Remote, Source, Versions};
use crate::project::Project;
use crate::provider::gke::Asked;
use crate::provider::terraform::{self, Variable};
use crate::provider::{ClusterOptions, Provider};
use crate::scenario::{OwnImage, Scenario};
use crate::session::{Setup, Ways};
use crate::sys::progress::Progress;

/// A run of everything takes minutes; a night's, an hour.
const LIFETIME: Duration = Duration::from_hours(6);
const SHORTEST: Duration = Duration::from_mins(15);

/// Where the cluster comes from.
#[derive(Debug, Clone, Args)]
pub(super) struct ClusterArgs {
    /// Where the cluster comes from [default: `provider` of svidproof.yaml, or kind]
    #[arg(long, value_enum)]
    provider: Option<Provider>,
    /// Context of an existing cluster
    #[arg(long)]
    context: Option<String>,
    /// Kubeconfig of an existing cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Terraform variable of the provider `gke`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, serde_json::Value)>,
    /// Make what costs money without asking: for the provider `gke` where nobody is there to be asked
    #[arg(long)]
    yes: bool,
    /// When `svidproof gc --expired` may take a cluster of the provider `gke` for lost, after it is made
    /// [default: 6h]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    max_lifetime: Option<Duration>,
    /// Worker nodes of the cluster that `kind` makes; every check is made from each of them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=9))]
    workers: u8,
    /// Where images come from [default: `images` of svidproof.yaml, or auto]
    #[arg(long, value_enum)]
    images: Option<Source>,
    #[command(flatten)]
    versions: VersionArgs,
    /// The registry that `svidproof images push` put svidproof's own programs into: charts that run them
    /// (probe, symbank, echo) pull them from there
    #[arg(long, value_name = "HOST[:PORT][/PREFIX]")]
    registry: Option<Remote>,
    /// The registry that stands in the place of every other, for nodes that pull [default:
    /// `registry-mirror` of svidproof.yaml]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = Remote::mirror)]
    registry_mirror: Option<Remote>,
    /// An image that the nodes are given: NAME of the container engine, FILE.tar, or
    /// Dockerfile:FOLDER[=NAME]; may be repeated
    #[arg(long, value_name = "IMAGE", value_parser = own_image)]
    load: Vec<OwnImage>,
    /// Those of svidproof.yaml.
    #[arg(skip)]
    registries: Vec<String>,
    /// Those of svidproof.yaml.
    #[arg(skip)]
    digests: BTreeMap<String, String>,
}

/// Versions in the place of those that the declaration of the images states.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct VersionArgs {
    /// The nodes' Kubernetes; `svidproof images versions` says which can be built here, and with `--images
    /// upstream` it is any that the registry has
    #[arg(long, value_name = "VERSION", value_parser = version)]
    kubernetes: Option<String>,
    /// The SPIRE server and agents of every chart, whichever tag it has
    #[arg(long, value_name = "VERSION", value_parser = version)]
    spire: Option<String>,
    /// The Envoys of every chart, whichever tag it has
    #[arg(long, value_name = "VERSION", value_parser = version)]
    envoy: Option<String>,
}

impl VersionArgs {
    pub(super) fn versions(&self) -> Versions {
        let each = [&self.kubernetes, &self.spire, &self.envoy];
        Versions::new(images::PARTS.into_iter().zip(each.map(Clone::clone)))
    }
}

impl ClusterArgs {
    /// What is said to a provider that would not listen, or misspelt, is told before anything is made.
    pub(super) fn check(&self, scenarios: &[Scenario], progress: &Progress) -> Result<(), Ended> {
        let said = [
            ("--context", self.context.is_some(), Provider::Existing),
            ("--kubeconfig", self.kubeconfig.is_some(), Provider::Existing),
            ("--workers", self.workers > 0, Provider::Kind),
            ("--set", !self.set.is_empty(), Provider::Gke),
            ("--yes", self.yes, Provider::Gke),
            ("--max-lifetime", self.max_lifetime.is_some(), Provider::Gke),
            ("--kubernetes", self.versions.kubernetes.is_some(), Provider::Kind),
            ("--registry-mirror", self.registry_mirror.is_some(), Provider::Kind),
        ];
        if let Some((option, _, whose)) =
            said.into_iter().find(|(_, is_said, whose)| *is_said && *whose != self.provider())
        {
            return Err(Ended::input(format!(
                "{option} says nothing to the provider {}\nhint: is --provider {whose} meant?",
                self.provider()
            )));
        }
        let pulling = [("--registry-mirror", &self.registry_mirror), ("--registry", &self.registry)];
        let shut = self.provider() == Provider::Kind && self.images == Some(Source::Packages);
        if let Some((option, _)) = pulling.into_iter().find(|(_, said)| shut && said.is_some()) {
            return Err(Ended::input(format!(
                "{option} says nothing to --images packages, whose nodes pull nothing\n\
                 hint: is --images upstream meant?",
            )));
        }
        let Some(first) = scenarios.first() else { return Ok(()) };
        if self.provider() != Provider::Gke {
            return Ok(());
        }
        let root = data::home(&first.root).map_err(Ended::not_judged)?.join("terraform/gke");
        check_variables(&root, &self.set)?;
        let asked = Asked::of(&root, &self.set.iter().cloned().collect()).map_err(Ended::input)?;
        self.agree(&asked, progress)
    }

    /// What costs money is said, and made only where somebody says so.
    fn agree(&self, asked: &Asked, progress: &Progress) -> Result<(), Ended> {
        let said = format!(
            "this makes {asked}; it is taken down at the end, and may be taken for lost after {} min",
            self.lifetime().as_secs() / 60
        );
        if self.yes {
            progress.note(&said);
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Ended::input(format!(
                "{said}\nhint: --yes lets it be made where nobody can be asked"
            )));
        }
        progress.note(&format!("{said}\nShall it be made? [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Ended::not_judged)?;
        if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            Ok(())
        } else {
            Err(Ended::input("nothing was made"))
        }
    }

    fn lifetime(&self) -> Duration {
        self.max_lifetime.unwrap_or(LIFETIME)
    }

    /// What nobody said here is as the scenarios' project has it.
    pub(super) fn in_project(mut self, scenarios: &[Scenario]) -> Result<Self, Ended> {
        if let Some(first) = scenarios.first() {
            let project = Project::at(&first.root)?;
            self.provider = self.provider.or(project.provider);
            self.images = self.images.or(project.images);
            // What a project says in general need not suit what a person says now.
            let pulls = self.provider() == Provider::Kind && self.images != Some(Source::Packages);
            self.registry_mirror =
                self.registry_mirror.or(project.registry_mirror.filter(|_| pulls).map(|mirror| mirror.0));
            self.registries = project.registries.into_iter().map(|registry| registry.0).collect();
            self.digests = project.digests.into_iter().map(|(image, digest)| (image, digest.0)).collect();
        }
        Ok(self)
    }

    pub(super) fn provider(&self) -> Provider {
        self.provider.unwrap_or(Provider::Kind)
    }

    /// What is to be brought up there.
    pub(super) fn setup<'a>(&self, scenarios: Vec<Scenario>, progress: &'a Progress) -> Setup<'a> {
        let options = ClusterOptions {
            context: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            workers: self.workers,
            set: self.set.iter().cloned().collect(),
            max_lifetime: Some(self.lifetime()),
        };
        Setup {
            scenarios,
            provider: self.provider(),
            options,
            ways: Ways {
                source: self.images.unwrap_or_default(),
                versions: self.versions.versions(),
                registry: self.registry.clone(),
                mirror: self.registry_mirror.clone(),
                registries: self.registries.clone(),
                digests: self.digests.clone(),
            },
            load: self.load.clone(),
            progress,
        }
    }
}

/// Whether the root has each variable that is set, and each that must be said is said.
pub(super) fn check_variables(root: &Path, set: &[(String, serde_json::Value)]) -> Result<(), Ended> {
    let known = terraform::variables(root).map_err(Ended::input)?;
    let is_set = |wanted: &str| set.iter().any(|(name, _)| name == wanted);
    if let Some((name, _)) = set.iter().find(|(name, _)| known.iter().all(|one| one.name != *name)) {
        let names: Vec<_> = known.iter().map(|one| one.name.as_str()).collect();
        return Err(Ended::input(format!(
            "--set {name}: {} has no such variable; it has {}",
            root.join("variables.tf").display(),
            names.join(", ")
        )));
    }
    // As Terraform itself takes it.
    let from_env = |name: &str| std::env::var_os(format!("TF_VAR_{name}")).is_some();
    // svidproof names the cluster after its run.
    let lacks = |one: &&Variable| {
        one.default.is_none() && one.name != "name" && !is_set(&one.name) && !from_env(&one.name)
    };
    match known.iter().find(lacks) {
        Some(Variable { name, .. }) => Err(Ended::input(format!(
            "the provider gke must be told its `{name}`\nhint: --set {name}=VALUE; docs/gke.md lists all"
        ))),
        None => Ok(()),
    }
}

/// As `1.36.3`, with or without a `v`.
fn version(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let is_fit = |letter: char| letter.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&letter);
    if bare.starts_with(|first: char| first.is_ascii_digit()) && bare.chars().all(is_fit) {
        Ok(bare.into())
    } else {
        Err("it is a version, as 1.36.3".into())
    }
}

/// As `6h` or `90min`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let read: jiff::SignedDuration = text.parse().map_err(|_| "it is a duration, as 6h or 90min")?;
    // Less than an apply takes, and the cluster would be lost before it is there.
    Duration::try_from(read)
        .ok()
        .filter(|lifetime| *lifetime >= SHORTEST)
        .ok_or_else(|| format!("it is {} min at the least", SHORTEST.as_secs() / 60))
}

/// From where svidproof runs.
fn own_image(text: &str) -> Result<OwnImage, String> {
    OwnImage::read(text, Path::new("."))
}

/// `name=value`; a value that is JSON is taken as it is, anything else as text.
pub(super) fn variable(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::text("zone=europe-west1-b", "zone", json!("europe-west1-b"))]
    #[case::number("nodes=3", "nodes", json!(3))]
    #[case::list("zones=[\"a\", \"b\"]", "zones", json!(["a", "b"]))]
    #[case::a_value_with_an_equals_sign("label=a=b", "label", json!("a=b"))]
    #[case::nothing("label=", "label", json!(""))]
    fn a_variable_is_json_or_text(#[case] text: &str, #[case] name: &str, #[case] value: serde_json::Value) {
        assert_eq!(variable(text), Ok((name.into(), value)));
    }

    #[rstest]
    #[case::bare("1.36.3", Ok("1.36.3"))]
    #[case::as_tags_have_it("v1.39-latest", Ok("1.39-latest"))]
    #[case::a_word("latest", Err("it is a version, as 1.36.3"))]
    #[case::nothing("", Err("it is a version, as 1.36.3"))]
    #[case::an_image("1.36.3@sha256:01", Err("it is a version, as 1.36.3"))]
    fn a_version_is_one(#[case] text: &str, #[case] expected: Result<&str, &str>) {
        assert_eq!(version(text), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_variable_has_a_value() {
        assert_eq!(variable("zone"), Err("it is NAME=VALUE".into()));
    }
}
