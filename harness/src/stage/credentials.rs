//! What the clients of a stage present: SVIDs carried out of the cluster for those outside, JWT-SVIDs, and
//! forged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use svidproof_probe::protocol::{Carried, Credential, Token, TrustAnchors};

use super::outside::{self, Held};
use crate::cluster::kube::Exec;
use crate::forge::{self, Authority, ForgeError, Forged, JwtFlaw, Signer, authorities};
use crate::proof::plan::Cell;
use crate::scenario::{self, Client, FullClient, Jwt, Scenario};
use crate::session::{self, Given, RunContext, System};
use crate::spiffe_id::spiffe_id;
use crate::sys::chain;
use crate::sys::wait::{self, Look};

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
    /// Forged ones, and those that another trust domain's server signs.
    forged: BTreeMap<String, Result<Credential, Unmade>>,
    tokens: BTreeMap<String, Result<Token, Unmade>>,
    /// Of users of machines outside of the cluster.
    outside: BTreeMap<String, Result<Held, Unmade>>,
}

/// An Envoy that takes tokens for longer than this after their end is not waited for, in seconds.
const LONGEST_SKEW: u64 = 120;

/// How long it may take until a token has expired, beside what an Envoy takes it for longer.
const EXPIRY: Duration = Duration::from_secs(10);

impl Credentials {
    /// `clock_skew` is for how many seconds the Envoys under test take a token after its end.
    /// `banned` are the machines whose agents the stage bans.
    pub(super) async fn make(
        run: &RunContext,
        system: &System,
        cells: &[Cell],
        clock_skew: u64,
        banned: &[String],
    ) -> Self {
        let scenario = &system.scenario;
        let names: BTreeSet<_> = cells.iter().map(|cell| &cell.client).collect();
        // First: it is waited until theirs have ended, and others must not end meanwhile.
        let banned = outside::banned(run, scenario, &names, banned).await.into_iter();
        let banned = banned.map(|(name, held)| (name, held.map_err(Unmade::Broken))).collect();
        let mut made = Self { outside: banned, ..Self::default() };
        for &name in &names {
            match system.given.get(name) {
                Some(Given::Svid { carried, .. }) => {
                    made.carried.insert(name.clone(), Ok(carried.clone()));
                    continue;
                }
                Some(Given::Untried(why)) => {
                    made.forged.insert(name.clone(), Err(Unmade::NotInThisRun(why.clone())));
                    continue;
                }
                None => {}
            }
            match &scenario.clients[name] {
                Client::Forged { credential, like } => {
                    made.forged.insert(name.clone(), forged(run, scenario, credential, like).await);
                }
                Client::Full(FullClient { id, trust_domain: Some(domain), .. }) => {
                    made.forged.insert(name.clone(), foreign(run, scenario, domain, id).await);
                }
                client if client.machine().is_some() => {
                    if !made.outside.contains_key(name) {
                        let held = outside::held(run, scenario, client).await;
                        made.outside.insert(name.clone(), held.map_err(Unmade::Broken));
                    }
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
        let bearers = names.into_iter().filter(|name| !system.given.contains_key(*name));
        let bearers = bearers.filter_map(|name| Some((name, scenario.clients[name].jwt()?)));
        let tokens = bearers.map(async |(name, jwt)| {
            let path = scenario.clients[name].subject().unwrap_or_default();
            let token = token(run, system, &scenario.spiffe_id(path), jwt, clock_skew).await;
            let token = token.map_err(|why| Unmade::Broken(format!("its JWT-SVID: {why}")));
            (name.clone(), token)
        });
        made.tokens = join_all(tokens).await.into_iter().collect();
        made
    }

    pub(super) fn unmade(&self, client: &str) -> Option<&Unmade> {
        let forged = self.forged.get(client).and_then(|forged| forged.as_ref().err());
        let token = || self.tokens.get(client).and_then(|token| token.as_ref().err());
        let outside = || self.outside.get(client).and_then(|held| held.as_ref().err());
        forged.or_else(token).or_else(outside).or_else(|| self.carried.get(client)?.as_ref().err())
    }

    /// The header that the client's JWT-SVID is borne in (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// A token that is to be valid is so no more; in words.
    pub(super) fn authorization_of(
        &self,
        name: &str,
        scenario: &Scenario,
    ) -> Result<Option<(String, String)>, String> {
        let Some(Ok(token)) = self.tokens.get(name) else { return Ok(None) };
        let sound = scenario.clients[name].jwt().is_some_and(|jwt| jwt.forged.is_none());
        let left = forge::expiry(token).map_err(|error| error.to_string())? - Timestamp::now().as_second();
        if sound && left < 1 {
            return Err(format!(
                "the JWT-SVID of client `{name}` has expired since the stage began\n\
                 hint: SPIRE gives them for `default_jwt_svid_ttl`, five minutes where that is not set"
            ));
        }
        Ok(Some(("authorization".into(), format!("Bearer {}", token.0))))
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
        let outside = || self.outside.get(client)?.as_ref().ok().map(|held| &held.carried);
        self.carried.get(client).and_then(|carried| carried.as_ref().ok()).or_else(outside)
    }

    /// Why what the client presents at this moment is not what it was: a machine's user's SVID has ended
    /// since the stage began. In words.
    pub(super) fn ended(&self, client: &str) -> Option<String> {
        self.outside.get(client)?.as_ref().ok()?.ended(client)
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

/// An SVID of a trust domain of the scenario's federation, by its own SPIRE server.
async fn foreign(
    run: &RunContext,
    scenario: &Scenario,
    domain: &str,
    path: &str,
) -> Result<Credential, Unmade> {
    let neighbour = scenario.federation.get(domain);
    let neighbour = neighbour.ok_or_else(|| Unmade::Broken(format!("{domain} is not in `federation`")))?;
    let minted = session::neighbour(run, neighbour).mint(&spiffe_id(domain, path)).await;
    let minted = minted.map_err(|error| Unmade::Broken(chain(&error)))?;
    Ok(Credential::Pem { chain: minted.chain, key: minted.key })
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

/// A client's JWT-SVID, with what is to be wrong with it.
async fn token(
    run: &RunContext,
    system: &System,
    id: &str,
    jwt: &Jwt,
    clock_skew: u64,
) -> Result<Token, String> {
    let audience = system.scenario.audience(jwt);
    if jwt.forged == Some(JwtFlaw::Expired) {
        let server = session::server(run, &system.scenario);
        let token = server.mint_brief_jwt(id, &audience).await.map_err(|error| chain(&error))?;
        expired(&token, clock_skew).await?;
        return Ok(token);
    }
    let probe = system.probe().map_err(|error| chain(&error))?;
    let token = probe.jwt(id.into(), audience).await.map_err(|error| chain(&error))?;
    match jwt.forged {
        Some(flaw) => forge::jwt(&token, flaw).map_err(|error| error.to_string()),
        None => Ok(token),
    }
}

/// Waits until nobody takes the token any more.
async fn expired(token: &Token, clock_skew: u64) -> Result<(), String> {
    if clock_skew > LONGEST_SKEW {
        return Err(format!(
            "an expired one is taken for {clock_skew} s by an Envoy here (`clock_skew_seconds`), and more \
             than {LONGEST_SKEW} s are not waited"
        ));
    }
    let expiry = forge::expiry(token).map_err(|error| error.to_string())?;
    let skew = i64::try_from(clock_skew).unwrap_or(i64::MAX);
    let what = format!("a JWT-SVID to have expired for {clock_skew} s, as long as Envoy still takes it");
    let limit = EXPIRY + Duration::from_secs(clock_skew);
    let look = async || match Timestamp::now().as_second() - expiry.saturating_add(skew) {
        1.. => Look::Ready(()),
        left => Look::<_, Infallible>::NotYet(format!("{} s are left", 1 - left)),
    };
    wait::poll(&what, limit, Duration::from_millis(200), look).await.map_err(|error| chain(&error))
}

/// The SVID that the client presents outside; for nobody, any of the scenario's, for its bundle.
async fn carry(run: &RunContext, system: &System, client: &Client) -> Result<Carried, String> {
    let spiffe = |path: &str| system.scenario.spiffe_id(path);
    if let Client::Full(FullClient { id, from: Some(from), .. }) = client {
        return carry_from(run, system, from, &spiffe(id)).await;
    }
    let mut known = system.scenario.clients.values().flat_map(Client::probed);
    let path = client.identity().or_else(|| known.next());
    let path = path.ok_or("no client of the scenario has an identity")?;
    let probe = system.probe().map_err(|error| chain(&error))?;
    probe.fetch(spiffe(path)).await.map_err(|error| chain(&error))
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
