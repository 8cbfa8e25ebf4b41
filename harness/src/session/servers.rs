//! The SPIRE servers that a run talks to.

use super::RunContext;
use crate::cluster::spire::Server;
use crate::scenario::{Neighbour, Scenario};

/// The scenario's SPIRE server.
pub(crate) fn server(context: &RunContext, scenario: &Scenario) -> Server {
    Server::new(context.kube.clone(), scenario.spire.api())
}

/// The SPIRE server of another trust domain.
pub(crate) fn neighbour(context: &RunContext, neighbour: &Neighbour) -> Server {
    Server::new(context.kube.clone(), neighbour.api())
}
