//! What the clients of a stage present: SVIDs carried out of the cluster for those outside, and forged ones.

use std::collections::BTreeSet;

use svidproof_probe::protocol::{Carried, Credential};

use super::{StageError, Window};
use crate::cluster::kube::Exec;
use crate::cluster::spire::Server as SpireServer;
use crate::forge::{self, Authority, Forged, Signer, authorities};
use crate::scenario::{self, Client, FullClient};
use crate::session::{RunContext, System};
use crate::sys::chain;

impl Window<'_> {
    /// Carries out of the cluster what clients outside of it present.
    pub(super) async fn carry(&mut self) -> Result<(), StageError> {
        let clients: BTreeSet<_> = self.cells.iter().map(|cell| cell.client.clone()).collect();
        for name in clients {
            let client = &self.system.scenario.clients[&name];
            if client.is_outside() {
                let carried = carry(self.context, self.system, &name, client).await?;
                self.carried.insert(name, carried);
            }
        }
        Ok(())
    }

    /// Makes what the forged clients present. What only another trust domain can make is left out where there
    /// is none.
    pub(super) async fn forge(&mut self) -> Result<(), StageError> {
        let scenario = &self.system.scenario;
        let names: BTreeSet<_> = self.cells.iter().map(|cell| cell.client.clone()).collect();
        let clients = names.into_iter().filter_map(|name| match &scenario.clients[&name] {
            Client::Forged { credential, like } => Some((name, forge::recipe(credential)?, like)),
            Client::Short(_) | Client::Full(_) => None,
        });
        let clients: Vec<_> = clients.collect();
        if clients.is_empty() {
            return Ok(());
        }
        let authority = Authority::kept(&authorities(&self.context.dir), &scenario.trust_domain)?;
        for (name, recipe, like) in clients {
            let credential = match recipe.signer {
                Signer::None => Ok(Credential::Nobody),
                Signer::Neighbour => neighbours(self.context, &scenario.trust_domain, like).await,
                Signer::Authority | Signer::Rogue | Signer::Itself => {
                    forge::forge(recipe, &scenario.trust_domain, like, &authority)?
                        .map(|Forged { chain, key }| Credential::Pem { chain, key })
                        .ok_or_else(|| "there is no way to make it".to_owned())
                }
            };
            self.forged.insert(name, credential);
        }
        Ok(())
    }
}

/// An SVID with this path from the first other trust domain of the run, by its own SPIRE server.
async fn neighbours(context: &RunContext, trust_domain: &str, path: &str) -> Result<Credential, String> {
    let scenarios = context.record().scenarios;
    let other = scenarios
        .iter()
        .filter_map(|file| scenario::load(file).ok())
        .find(|other| other.trust_domain != trust_domain);
    let other =
        other.ok_or("there is no other trust domain in this run: bring a scenario with one up too")?;
    let spire = &other.spire;
    let server = SpireServer::new(context.kube.clone(), &spire.namespace, &spire.server, &spire.container);
    let minted = server.mint(&other.spiffe_id(path)).await.map_err(|e| chain(&e))?;
    Ok(Credential::Pem { chain: minted.chain, key: minted.key })
}

/// The SVID that the client presents outside; for nobody, any of the scenario's, for its bundle.
async fn carry(
    context: &RunContext,
    system: &System,
    name: &str,
    client: &Client,
) -> Result<Carried, StageError> {
    let spiffe = |path: &str| system.scenario.spiffe_id(path);
    let problem = |problem: String| StageError::Carry { client: name.into(), problem };
    if let Client::Full(FullClient { id, from: Some(from), .. }) = client {
        carry_from(context, system, from, &spiffe(id)).await.map_err(problem)
    } else {
        let mut known = system.scenario.clients.values().filter_map(Client::identity);
        let path = client
            .identity()
            .or_else(|| known.next())
            .ok_or_else(|| problem("no client of the scenario has an identity".into()))?;
        Ok(system.probe.fetch(spiffe(path)).await?)
    }
}

/// Out of a workload's own pod, by the `spire-agent` in it, as the demo's user does it by hand.
pub async fn carry_from(
    context: &RunContext,
    system: &System,
    from: &str,
    id: &str,
) -> Result<Carried, String> {
    let (namespace, app) = from.split_once('/').ok_or("`from` is namespace/app")?;
    let pods = context.kube.ready_pods(namespace, &[("app", app)]).await.map_err(|e| chain(&e))?;
    let pod = pods.first().ok_or(format!("no pod app={app} is ready in namespace {namespace}"))?;
    let socket = format!("{}/agent.sock", system.scenario.spire.socket_dir);
    let argv =
        ["/opt/spire/bin/spire-agent", "api", "fetch", "x509", "-socketPath", &socket, "-output", "json"]
            .map(Into::into)
            .to_vec();
    let exec = Exec { namespace: namespace.into(), pod: pod.pod.clone(), container: app.into(), argv };
    let printed = context.kube.exec(&exec, &[]).await.map_err(|e| chain(&e))?;
    crate::cluster::spire::carried(&printed, id)
}
