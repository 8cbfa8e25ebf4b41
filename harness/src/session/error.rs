//! Why the scenarios' systems do not stand, and whether the user's own input is why.

use std::path::PathBuf;

use super::{GivenError, Lacking, MachineError, Strange};
use crate::cluster::chart::ChartError;
use crate::cluster::helm::HelmError;
use crate::cluster::kube::KubeError;
use crate::cluster::probe::ProbeError;
use crate::cluster::spire::SpireError;
use crate::cluster::spire::found::NotFound;
use crate::forge::ForgeError;
use crate::images::ImagesError;
use crate::lease::LeaseError;
use crate::proof::hops::Walk;
use crate::provider::{Provider, ProviderError};
use crate::scenario::PROBES;
use crate::sys::chain;
use crate::sys::files::FileError;
use crate::sys::wait::TimedOut;

/// Why the scenarios' systems do not stand.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum SessionError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("the run's own cluster could not be made out")]
    Strange(#[from] Strange),
    #[error("could not look at what is in the cluster, or take it for the run")]
    Claim(#[source] KubeError),
    #[error(
        "{cluster} has already what the scenarios would make, and it is not this run's:\n{}\n\
         hint: nothing was touched; other names in the scenarios, or another cluster, keep both apart",
        foreign.iter().map(|what| format!("  {what}")).collect::<Vec<_>>().join("\n")
    )]
    NotOurs { cluster: String, foreign: Vec<String> },
    #[error("run {run} works on {cluster}, from {host} since {since}: one at a time\nhint: {hint}")]
    Taken { cluster: String, run: String, host: String, since: String, hint: String },
    #[error(transparent)]
    WhichHelm(HelmError),
    #[error(
        "{}: {what} changed, and that is fixed once a cluster is up\n\
         hint: `svidproof down`, then `svidproof up`",
        file.display()
    )]
    Fixed { file: PathBuf, what: &'static str },
    #[error(
        "{}: the kept cluster was not brought up with scenario {scenario}, but with {}\n\
         hint: `svidproof down`, then `svidproof up`",
        file.display(),
        if known.is_empty() { "what nobody wrote down".into() } else { known.join(", ") }
    )]
    NotUp { file: PathBuf, scenario: String, known: Vec<String> },
    #[error(
        "{}: `federation` gives SPIRE servers other bundles, and that is done only in a cluster of \
         svidproof's own\nhint: `--provider kind`",
        file.display()
    )]
    Federates { file: PathBuf },
    #[error(
        "{}: it does not say its `trust-domain` and where its `spire` stands\n\
         hint: `svidproof check-live` finds both out; what installs must be told",
        file.display()
    )]
    Unstated { file: PathBuf },
    #[error("{}", file.display())]
    NotFound { file: PathBuf, source: NotFound },
    #[error(transparent)]
    Given(#[from] GivenError),
    #[error(
        "this machine lacks what `--provider {provider}` needs:\n  {}\n\
         hint: `svidproof doctor` lists all that is looked for; in a checkout, ./scripts/setup installs \
         programs",
        lacking.join("\n  ")
    )]
    Lacks { provider: Provider, lacking: Vec<String> },
    #[error(
        "what is standing was begun with {was}, and {now} is asked for\n\
         hint: `svidproof down` takes it down; then it begins anew"
    )]
    OtherVersions { was: String, now: String },
    #[error(
        "--{part} {version} says nothing here: no release runs an image of {part}'s own name\n\
         hint: one of another name has its version in its release's values"
    )]
    NoneRuns { part: String, version: String },
    #[error("the cluster does not say which Kubernetes it is")]
    Silent(#[source] KubeError),
    #[error("the kept cluster cannot be talked to")]
    Kept(#[source] KubeError),
    #[error("{}:{line}", file.display())]
    Port { file: PathBuf, line: u64, source: ProviderError },
    #[error("scenario {scenario}: {}", hooks.join("\n"))]
    Hook { scenario: String, hooks: Vec<String>, source: HelmError },
    #[error("{place}: release {release}")]
    Chart { place: String, release: String, source: ChartError },
    #[error(
        "{place}: release {release} runs {image}, and by --registry, --spire or --envoy it is to run {to}\n\
         hint: svidproof gives that name to the values that have the image's whole name (or `repository` \
         and `tag`), and no value of this chart has: give the chart such a value"
    )]
    NotRenamed { place: String, release: String, image: String, to: String },
    #[error("scenario {scenario}")]
    Helm { scenario: String, source: HelmError },
    #[error("scenario {scenario}")]
    Kube { scenario: String, source: KubeError },
    #[error("scenario {scenario}")]
    Spire { scenario: String, source: SpireError },
    #[error("scenario {scenario}")]
    Forge { scenario: String, source: ForgeError },
    #[error("scenario {scenario}")]
    Probe { scenario: String, source: ProbeError },
    #[error("scenario {scenario}: machine {machine}")]
    Machine { scenario: String, machine: String, source: Box<MachineError> },
    #[error(
        "{}: `machines` are played by a Linux machine alone: SPIRE's agent looks there who its workloads are",
        file.display()
    )]
    NoMachines { file: PathBuf },
    #[error(
        "{}: `spire.outside` names a node port, and only the provider `kind` leads one to this machine\n\
         hint: `published: {{}}`, and a Service of the type LoadBalancer",
        file.display()
    )]
    NodePortOfAnother { file: PathBuf },
    #[error(
        "{}: a client is user {user} of its machine, and svidproof runs as user {own}: only root may be \
         another\n\
         hint: without `user` it is user {own}, and its entry selects `unix:uid:{own}`",
        file.display()
    )]
    NotRoot { file: PathBuf, user: u32, own: u32 },
    #[error("scenario {scenario}: no probe is ready in namespace {PROBES}\nhint: `svidproof up` installs it")]
    NoProbe { scenario: String },
    #[error(
        "scenario {scenario}: probes are ready on {there} of the {wanted} worker nodes that were made, and a \
         check is made from each\n\
         hint: `kubectl get nodes`: is one gone, or closed to pods? `svidproof down` and `up` make them anew"
    )]
    ProbesLacking { scenario: String, there: usize, wanted: usize },
    #[error(
        "scenario {scenario}: entries hang under the agents, since no entry has `node: true`\n\
         hint: do its agents run, and reach the server? `kubectl logs` of their pods"
    )]
    NoAgent { scenario: String, source: TimedOut },
    #[error(
        "scenario {scenario}: what others registered is lost with the data of the SPIRE server\n\
         hint: a controller manager makes its entries again; does it run?"
    )]
    Unregistered { scenario: String, source: TimedOut },
    #[error(
        "scenario {scenario}: the SPIRE server was made anew, and its agents go on with the CA of before\n\
         hint: an agent takes the new one when it is restarted: `restart` of its release in the same stage"
    )]
    OldBundle { scenario: String, source: TimedOut },
    #[error(
        "{place}: release {release} starts no Envoy that can be given an admin interface: {}\n\
         hint: give the chart's own value that opens one, or say `evidence: client-side`",
        if without.is_empty() { "none of its containers is one".into() } else { without.join("; ") }
    )]
    NotInjected { place: String, release: String, without: Vec<String> },
    /// With the hop that broke.
    #[error("{}\n{hop}", chain(error))]
    Hop { error: Box<SessionError>, hop: Box<Walk> },
    #[error("{0}")]
    Lacking(Box<Lacking>),
    #[error("an image of your own cannot be taken")]
    Own { source: ImagesError },
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the run's record {} is not understood", path.display())]
    Record { path: PathBuf, source: serde_json::Error },
    #[error("helm is not on PATH, and none was built\nhint: install Helm, or run `svidproof images build`")]
    NoHelm,
}

impl SessionError {
    /// Whether the user's own input is the cause.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Provider(error) | Self::Port { source: error, .. } => error.is_input(),
            Self::Chart { source, .. } => source.is_input(),
            Self::Hop { error, .. } => error.is_input(),
            Self::NotOurs { .. }
            | Self::Taken { .. }
            | Self::WhichHelm(_)
            | Self::Fixed { .. }
            | Self::NotUp { .. }
            | Self::Federates { .. }
            | Self::NoMachines { .. }
            | Self::NodePortOfAnother { .. }
            | Self::NotRoot { .. }
            | Self::Unstated { .. }
            | Self::NotFound { .. }
            | Self::Given(_)
            | Self::Kube { source: KubeError::Foreign { .. }, .. }
            | Self::Lacking(_)
            | Self::NotRenamed { .. }
            | Self::NoneRuns { .. }
            | Self::OtherVersions { .. }
            | Self::NotInjected { .. }
            | Self::Own { .. } => true,
            Self::Images(error) => error.is_input(),
            _ => false,
        }
    }
}
