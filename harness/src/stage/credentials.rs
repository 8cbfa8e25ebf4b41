//! What the clients of a stage present: SVIDs carried out of the cluster for those outside, and forged ones.

use std::collections::{BTreeMap, BTreeSet};

use svidproof_probe::protocol::{Carried, Credential, TrustAnchors};

use crate::cluster::kube::Exec;
use crate::forge::{self, Authority, ForgeError, Forged, Signer, authorities};
use crate::proof::plan::Cell;
use crate::scenario::{self, Client, FullClient, Scenario};
use crate::session::{self, RunContext, System};
use crate::sys::chain;

/// Why a credential is not there.
pub(super) enum Unmade {
    /// Only another trust domain can make it, and this run has one alone.
    NotInThisRun(String),
    Broken(String),
}

/// By client.
#[derive(Default)]
pub(super) struct Credentials {
    carried: BTreeMap<String, Result<Carried, Unmade>>,
    forged: BTreeMap<String, Result<Credential, Unmade>>,
}

impl Credentials {
    pub(super) async fn make(run: &RunContext, system: &System, cells: &[Cell]) -> Self {
        let scenario = &system.scenario;
        let names: BTreeSet<_> = cells.iter().map(|cell| &cell.client).collect();
        let mut made = Self::default();
        for name in names {
            match &scenario.clients[name] {
                Client::Forged { credential, like } => {
                    made.forged.insert(name.clone(), forged(run, scenario, credential, like).await);
                }
                client if client.is_outside() => {
                    let carried = carry(run, system, client).await;
                    let carried = carried.map_err(|why| {
                        Unmade::Broken(format!("its SVID could not be carried out of the cluster: {why}"))
                    });
                    made.carried.insert(name.clone(), carried);
                }
                Client::Short(_) | Client::Full(_) => {}
            }
        }
        made
    }

    pub(super) fn unmade(&self, client: &str) -> Option<&Unmade> {
        let forged = self.forged.get(client).and_then(|forged| forged.as_ref().err());
        forged.or_else(|| self.carried.get(client)?.as_ref().err())
    }

    /// What the client presents.
    pub(super) fn of(&self, name: &str, scenario: &Scenario) -> Credential {
        let client = &scenario.clients[name];
        let forged = self.forged.get(name).and_then(|forged| forged.as_ref().ok());
        match (client.identity(), self.carried_by(name)) {
            (None, _) => forged.cloned().unwrap_or(Credential::Nobody),
            (Some(_), Some(carried)) => {
                Credential::Pem { chain: carried.chain.clone(), key: carried.key.clone() }
            }
            (Some(path), None) => Credential::Svid(scenario.spiffe_id(path)),
        }
    }

    fn carried_by(&self, client: &str) -> Option<&Carried> {
        self.carried.get(client)?.as_ref().ok()
    }

    /// What the client verifies the server by.
    pub(super) fn anchors_of(&self, name: &str, trust_domain: &str) -> TrustAnchors {
        let carried = self.carried_by(name).map(|carried| TrustAnchors::Pem(carried.bundle.clone()));
        carried.unwrap_or_else(|| TrustAnchors::TrustDomain(trust_domain.into()))
    }
}

async fn forged(
    run: &RunContext,
    scenario: &Scenario,
    credential: &str,
    like: &str,
) -> Result<Credential, Unmade> {
    let recipe = forge::recipe(credential)
        .ok_or_else(|| Unmade::Broken(format!("there is no recipe `{credential}`")))?;
    match recipe.signer {
        Signer::None => Ok(Credential::Nobody),
        Signer::Neighbour => neighbours(run, &scenario.trust_domain, like).await,
        Signer::Authority | Signer::Rogue | Signer::Itself => {
            let broken = |error: ForgeError| Unmade::Broken(chain(&error));
            let authority =
                Authority::kept(&authorities(&run.dir), &scenario.trust_domain).map_err(broken)?;
            forge::forge(recipe, &scenario.trust_domain, like, &authority)
                .map_err(broken)?
                .map(|Forged { chain, key }| Credential::Pem { chain, key })
                .ok_or_else(|| Unmade::Broken("there is no way to make it".to_owned()))
        }
    }
}

/// An SVID with this path from the first other trust domain of the run, by its own SPIRE server.
async fn neighbours(run: &RunContext, trust_domain: &str, path: &str) -> Result<Credential, Unmade> {
    for file in run.record().scenarios {
        let other = scenario::load(&file).map_err(|error| {
            Unmade::Broken(format!("{} of this run cannot be read: {error}", file.display()))
        })?;
        if other.trust_domain == trust_domain {
            continue;
        }
        let minted = session::server(run, &other).mint(&other.spiffe_id(path)).await;
        let minted = minted.map_err(|error| Unmade::Broken(chain(&error)))?;
        return Ok(Credential::Pem { chain: minted.chain, key: minted.key });
    }
    Err(Unmade::NotInThisRun(
        "there is no other trust domain in this run: bring a scenario with one up too".into(),
    ))
}

/// The SVID that the client presents outside; for nobody, any of the scenario's, for its bundle.
async fn carry(run: &RunContext, system: &System, client: &Client) -> Result<Carried, String> {
    let spiffe = |path: &str| system.scenario.spiffe_id(path);
    if let Client::Full(FullClient { id, from: Some(from), .. }) = client {
        return carry_from(run, system, from, &spiffe(id)).await;
    }
    let mut known = system.scenario.clients.values().filter_map(Client::identity);
    let path = client.identity().or_else(|| known.next());
    let path = path.ok_or("no client of the scenario has an identity")?;
    system.probe.fetch(spiffe(path)).await.map_err(|error| chain(&error))
}

/// Out of a workload's own pod, by the `spire-agent` in it, as the demo's user does it by hand.
pub async fn carry_from(run: &RunContext, system: &System, from: &str, id: &str) -> Result<Carried, String> {
    let (namespace, app) = from.split_once('/').ok_or("`from` is namespace/app")?;
    let pods = run.kube.ready_pods(namespace, &[("app", app)]).await.map_err(|e| chain(&e))?;
    let pod = pods.first().ok_or(format!("no pod app={app} is ready in namespace {namespace}"))?;
    let socket = run.kube.agent_socket(pod, app, &system.scenario.spire).await.map_err(|e| chain(&e))?;
    let argv =
        ["/opt/spire/bin/spire-agent", "api", "fetch", "x509", "-socketPath", &socket, "-output", "json"]
            .map(Into::into)
            .to_vec();
    let exec = Exec { namespace: namespace.into(), pod: pod.pod.clone(), container: app.into(), argv };
    let printed = run.kube.exec(&exec, &[]).await.map_err(|e| chain(&e))?;
    crate::cluster::spire::carried(&printed, id)
}
