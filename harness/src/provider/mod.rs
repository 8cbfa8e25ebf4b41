//! Where the cluster comes from. Each provider is a Terraform root (`kind`, `gke`) or none (`existing`).

pub mod existing;
pub mod gke;
mod kind;
mod mirror;
pub mod needs;
mod network;
pub mod terraform;

pub use kind::load;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::kube::{Kube, KubeError};
use crate::engine::EngineError;
use crate::images::{Images, ImagesError, Pulls, Source, Versions};
use crate::lease::{Lease, LeaseError};
use crate::provider::gke::GkeError;
use crate::provider::terraform::TerraformError;
use crate::scenario::{OwnImage, Published};
use crate::sys::files::FileError;
use crate::sys::progress::Progress;
use crate::sys::tool::ToolError;
use crate::sys::wait::WaitError;

/// Where a cluster may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// A cluster on this machine, made for the run.
    Kind,
    /// A cluster on Google Kubernetes Engine, made for the run.
    Gke,
    /// A cluster that is there: the context that `--context` names.
    Existing,
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Gke => "gke",
            Self::Existing => "existing",
        })
    }
}

/// What a person can say of the cluster that they want; each provider reads its part.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// `existing`: the context's name, which must be given.
    pub context: Option<String>,
    /// `existing`: else `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `kind`: how many nodes there are beside the control plane.
    pub workers: u8,
    /// `gke`: Terraform variables.
    pub set: BTreeMap<String, Value>,
    /// `gke`: for how long the cluster is not taken for lost.
    pub max_lifetime: Option<Duration>,
}

/// A cluster that answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// Where it comes from.
    pub provider: Provider,
    /// What a person would call it.
    pub name: String,
    /// How to reach it.
    pub kubeconfig: PathBuf,
    /// The kubeconfig's context; its current one where absent.
    pub context: Option<String>,
    /// What it is known again by: the UID of its namespace kube-system. Empty where it goes with the run.
    #[serde(default)]
    pub uid: String,
    /// Node port -> where it can be dialled from this machine. Empty: ask the Service for its ingress
    /// address.
    pub published: BTreeMap<u16, SocketAddr>,
}

impl Cluster {
    /// Where a node port is dialled from this machine; none where the provider leads to none.
    pub fn mapped(&self, published: Published) -> Option<SocketAddr> {
        self.published.get(&published.node_port?).copied()
    }
}

/// What [`Provider::create`] made or found.
pub struct Created {
    /// The cluster, as the run's record keeps it.
    pub cluster: Cluster,
    /// A client of it, which has had an answer.
    pub kube: Kube,
    /// What the nodes were given; none where the cluster brings its own.
    pub images: Option<Images>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ProviderError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Terraform(#[from] TerraformError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(
        "port {port} of 127.0.0.1, which the scenario publishes node port {node_port} on, is taken\n\
         hint: name another `host-port` in the scenario, or leave it out to get a free one"
    )]
    PortTaken { port: u16, node_port: u16, source: std::io::Error },
    #[error(transparent)]
    Kubeconfig(KubeError),
    #[error(
        "no cluster is reached by context {context} of {}\n\
         hint: `kubectl version` should answer there",
        kubeconfig.display()
    )]
    Unreachable { context: String, kubeconfig: PathBuf, source: KubeError },
    #[error(
        "which cluster is meant? --context names it, one of those of {}: {}\n\
         hint: the current context is not taken: what is current is another the next moment",
        kubeconfig.display(), known.join(", ")
    )]
    NoContext { kubeconfig: PathBuf, known: Vec<String> },
    #[error("the run's own kubeconfig could not be written")]
    OwnKubeconfig { source: serde_json::Error },
    #[error("no kind was built\nhint: `svidproof images build` builds it")]
    NoKind,
    #[error("no kubeconfig was found\nhint: name one by --kubeconfig or KUBECONFIG")]
    NoKubeconfig,
    #[error("the cluster's Terraform outputs lack `{0}`")]
    Output(&'static str),
    #[error(transparent)]
    Gke(#[from] GkeError),
    #[error(transparent)]
    Wait(#[from] WaitError<KubeError>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "the registry mirror {mirror} is not reached\n\
         hint: does it run there? On a machine of the container engine's own, name it as that machine does"
    )]
    Mirror { mirror: String, source: std::io::Error },
    #[error("could not find a free port of 127.0.0.1")]
    FreePort(#[source] std::io::Error),
}

impl ProviderError {
    /// Whether the user's own input is the cause.
    pub fn is_input(&self) -> bool {
        match self {
            Self::PortTaken { .. }
            | Self::Kubeconfig(_)
            | Self::Unreachable { .. }
            | Self::NoKubeconfig
            | Self::NoContext { .. } => true,
            Self::Images(error) => error.is_input(),
            _ => false,
        }
    }
}

/// What a provider works with.
pub struct Site<'a> {
    /// The folder with what svidproof brings along: `terraform/`, `fixtures/images/` and their like.
    pub home: PathBuf,
    /// The run's journal: what is made goes into it first.
    pub lease: &'a Lease,
    /// What the user says of the cluster.
    pub options: &'a ClusterOptions,
    /// Node ports that the scenarios want to reach from this machine.
    pub published: Vec<Published>,
    /// Where images come from, for the provider that brings them: `kind`.
    pub source: Source,
    /// What is to be of another version than the declaration's own.
    pub versions: &'a Versions,
    /// How nodes that pull do so.
    pub pulls: Pulls<'a>,
    /// Images that its nodes are given besides.
    pub own: Vec<OwnImage>,
    /// Who watches.
    pub progress: &'a Progress,
}

impl Provider {
    /// Makes the cluster, or finds it.
    ///
    /// # Errors
    /// What could not be made, with what was tried; [`ProviderError::is_input`] tells the user's own
    /// mistakes.
    pub async fn create(self, site: &Site<'_>) -> Result<Created, ProviderError> {
        if self == Self::Kind {
            return kind::create(site).await;
        }
        let step = site.progress.phase(format!("cluster ({self})"));
        let (cluster, kube) = match self {
            Self::Gke => gke::create(site).await?,
            _ => existing::reach(site.options, site.lease).await?,
        };
        step.done();
        Ok(Created { cluster, kube, images: None })
    }

    /// Whether releases and entries go with the cluster, so that nothing has to be taken out of it first.
    pub fn is_disposable(self) -> bool {
        matches!(self, Self::Kind)
    }
}

/// One entry a node port. Two scenarios may publish the same only where they agree.
fn node_ports(published: &[Published]) -> BTreeMap<u16, Option<u16>> {
    let mut ports = BTreeMap::new();
    for (one, node_port) in published.iter().filter_map(|one| Some((one, one.node_port?))) {
        let host = ports.entry(node_port).or_insert(one.host_port);
        *host = host.or(one.host_port);
    }
    ports
}

/// Finds a free port of the loopback for each, or proves that the named one is free.
pub(crate) fn host_ports(published: &[Published]) -> Result<BTreeMap<u16, SocketAddr>, ProviderError> {
    let mut held = vec![];
    let mut given = BTreeSet::new();
    let mut ports = BTreeMap::new();
    for (node_port, wanted) in node_ports(published) {
        let port = wanted.unwrap_or(0);
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))
            .map_err(|source| ProviderError::PortTaken { port, node_port, source })?;
        let address = listener.local_addr().map_err(ProviderError::FreePort)?;
        given.insert(address.port());
        // All are held until the last is found, so that none is found twice.
        held.push(listener);
        ports.insert(node_port, address);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_the_users_to_change() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error =
            host_ports(&[Published { node_port: Some(30443), host_port: Some(port), line: 1 }]).unwrap_err();
        assert!(
            error.is_input() && error.to_string().starts_with(&format!("port {port} of 127.0.0.1")),
            "{error}"
        );
    }

    #[test]
    fn free_ports_differ() {
        let ports = host_ports(&[30443, 30444].map(|port| Published {
            node_port: Some(port),
            host_port: None,
            line: 1,
        }))
        .unwrap();
        assert_ne!(ports[&30443], ports[&30444]);
    }
}
