//! Why a machine outside of the cluster has no SPIRE agent.

use std::path::PathBuf;

use crate::cluster::kube::KubeError;
use crate::cluster::spire::SpireError;
use crate::forge::ForgeError;
use crate::scenario::{Attest, Spire};
use crate::sys::files::FileError;
use crate::sys::process::EndError;
use crate::sys::tool::ToolError;
use crate::sys::wait::{TimedOut, WaitError};

/// Why a machine outside of the cluster has no SPIRE agent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum MachineError {
    #[error(transparent)]
    Spire(#[from] SpireError),
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    End(#[from] EndError),
    #[error("{} holds no certificate: it was made by the run, and somebody has changed it", .path.display())]
    Certificate { path: PathBuf },
    #[error("its agent could not be started apart from the run's journal")]
    Apart(#[source] std::io::Error),
    #[error("nothing says how its agent reaches the SPIRE server, or it was never started")]
    NoWay,
    #[error("Service {service}, by which `spire.outside` says that agents reach the SPIRE server, {why}")]
    NoServer { service: String, why: String },
    #[error("the SPIRE server does not take its agent, which says: {last}\nhint: {hint}")]
    Refused { last: String, hint: String },
    #[error("its agent ended with {how}; its last word: {last}")]
    Ended { how: String, last: String },
    #[error("its agent was not taken\nhint: does `spire.outside` lead to the SPIRE server?")]
    Wait(#[source] TimedOut),
    #[error("its agent goes on though it is banned")]
    NotEnded { source: WaitError<std::io::Error> },
}

impl MachineError {
    /// What the server must have loaded to know the agent.
    pub(super) fn hint(attest: Attest, spire: &Spire) -> String {
        match attest {
            Attest::JoinToken => {
                "does the server load the NodeAttestor \"join_token\" (in helm/spire: `server.joinToken: \
                 true`)? A token is taken once, and soon"
                    .into()
            }
            Attest::X509pop => {
                let secret = spire.x509pop_secret.as_deref().unwrap_or_default();
                format!(
                    "does the server load the NodeAttestor \"x509pop\" with `ca.crt` of the Secret {secret} \
                     (in helm/spire: `server.x509pop.secret: {secret}`)?"
                )
            }
        }
    }
}
