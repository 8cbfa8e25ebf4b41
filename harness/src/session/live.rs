//! A check of what stands in a cluster that is somebody else's: with a probe of the run's own, under its
//! lease, or from outside with SVIDs that a person gives, and then nothing is written there at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::try_join_all;
use svidproof_probe::protocol::Carried;

use super::given::{self, Svid};
use super::{
    Given, GivenError, Renamed, RunContext, Session, SessionError, SvidFiles, System, all_up, first_record,
    home_of, recorded,
};
use crate::cluster::envoy::Admin;
use crate::cluster::kube::{Kube, KubeError};
use crate::cluster::spire::bundle_pem;
use crate::cluster::spire::found::{self, Found, Texts};
use crate::images::{self, Remote};
use crate::lease::Lease;
use crate::provider::{ClusterOptions, existing};
use crate::scenario::{Client, Endpoint, Scenario, Standing, Untried};
use crate::spiffe_id::spiffe_id;
use crate::sys::progress::Progress;

/// What is to be checked, and how.
pub struct Live<'a> {
    /// What stands.
    pub standing: Vec<Standing>,
    /// Which cluster it stands in.
    pub options: ClusterOptions,
    /// From outside, with these SVIDs; absent: by a probe in the cluster.
    pub svids: Option<Vec<SvidFiles>>,
    /// Where the cluster's nodes pull the probe from.
    pub registry: Option<Remote>,
    /// Who watches.
    pub progress: &'a Progress,
}

/// Finds the cluster and what stands in it.
///
/// # Errors
/// What was looked for and is not there; the user's own mistakes by [`SessionError::is_input`].
pub async fn live(lease: &Lease, live: Live<'_>) -> Result<Session, SessionError> {
    match live.svids.clone() {
        Some(files) => outside(lease, live, &files).await,
        None => inside(lease, live).await,
    }
}

async fn inside(lease: &Lease, live: Live<'_>) -> Result<Session, SessionError> {
    let Live { standing, options, registry, progress, .. } = live;
    let (scenarios, untried): (Vec<_>, Vec<_>) =
        standing.into_iter().map(|one| (one.scenario, one.untried)).unzip();
    let names = match registry {
        Some(registry) => images::in_registry(&home_of(&scenarios)?, &registry).await?,
        None => Renamed::new(),
    };
    let (cluster, kube) = reached(&options, lease, progress).await?;
    let spires = Spires::look(&kube, &scenarios).await?;
    let mut known = vec![];
    for mut scenario in scenarios {
        if !scenario.spire.is_stated() || scenario.trust_domain.is_empty() {
            let Found { trust_domain, spire } = spires.of(&scenario, true)?;
            progress.note(&format!("scenario {}: SPIRE {}", scenario.name, in_words(&trust_domain, &spire)));
            scenario.trust_domain = trust_domain;
            if !scenario.spire.is_stated() {
                scenario.spire = spire;
            }
        }
        // What it hands out is what the probe is given.
        scenario.spire.bundle = None;
        known.push(scenario);
    }
    let mut record = first_record(cluster, None, &known)?;
    record.renamed = names;
    record.versions.insert("check-live".into(), "with a probe in the cluster".into());
    record.write(&lease.dir)?;
    let context = Arc::new(RunContext::new(lease, record, kube, progress));
    let mut session = all_up(context, lease, known).await?;
    for (system, untried) in session.systems.iter_mut().zip(untried) {
        system.given = untried.into_iter().map(|(client, why)| (client, Given::Untried(why))).collect();
    }
    Ok(session)
}

async fn outside(lease: &Lease, live: Live<'_>, files: &[SvidFiles]) -> Result<Session, SessionError> {
    let Live { mut standing, options, progress, .. } = live;
    // Before anything is asked of the cluster.
    let svids = files.iter().map(given::read).collect::<Result<Vec<_>, _>>()?;
    claimed(&mut standing, &svids)?;
    for svid in svids.iter().filter(|svid| svid.is_open) {
        progress.note(&format!(
            "warning: others than its owner may read {}, the key of {}",
            svid.files.key.display(),
            svid.id
        ));
    }
    let (mut cluster, kube) = reached(&options, lease, progress).await?;
    let has_node_port = |one: &Standing| {
        one.scenario.endpoints.values().any(|end| end.published.is_some_and(|one| one.node_port.is_some()))
    };
    let node = if standing.iter().any(has_node_port) {
        kube.node_address().await.map_err(SessionError::Claim)?
    } else {
        None
    };
    let scenarios: Vec<_> = standing.iter().map(|one| one.scenario.clone()).collect();
    let needs = |one: &Scenario| one.trust_domain.is_empty() || bundle_of(one, &svids).is_none();
    let spires =
        if scenarios.iter().any(needs) { Some(Spires::look(&kube, &scenarios).await?) } else { None };
    let mut systems = vec![];
    for Standing { mut scenario, untried } in standing {
        if let Some(spires) = spires.as_ref().filter(|_| scenario.trust_domain.is_empty()) {
            scenario.trust_domain = spires.of(&scenario, false)?.trust_domain;
        }
        let bundle = match bundle_of(&scenario, &svids) {
            Some(bundle) => bundle,
            None if scenario.endpoints.values().all(Endpoint::is_plain) => String::new(),
            None => published(&kube, &scenario, spires.as_ref()).await?,
        };
        let given = all_given(&scenario, &untried, &svids, &bundle)?;
        let ports = scenario.endpoints.values().filter_map(|one| one.published?.node_port);
        cluster
            .published
            .extend(node.iter().flat_map(|ip| ports.clone().map(|port| (port, SocketAddr::new(*ip, port)))));
        readable(&kube, &mut scenario, progress).await;
        systems.push(System { scenario, probes: vec![], given });
    }
    let scenarios: Vec<_> = systems.iter().map(|system| system.scenario.clone()).collect();
    // Nothing is installed.
    let mut record = recorded(cluster, PathBuf::new(), None, &scenarios);
    record.versions.insert("check-live".into(), "from outside, with SVIDs that were given".into());
    record.write(&lease.dir)?;
    let context = Arc::new(RunContext::new(lease, record, kube, progress));
    context.note_kubernetes().await?;
    Ok(Session { context, systems })
}

async fn reached(
    options: &ClusterOptions,
    lease: &Lease,
    progress: &Progress,
) -> Result<(crate::provider::Cluster, Kube), SessionError> {
    let step = progress.phase("cluster (existing)");
    let reached = existing::reach(options, lease).await?;
    step.done();
    Ok(reached)
}

/// What the SPIREs of the cluster are found by, read once.
struct Spires {
    pods: Vec<k8s_openapi::api::core::v1::Pod>,
    texts: Texts,
    drivers: Vec<String>,
}

impl Spires {
    /// Reads nothing where every scenario says all.
    async fn look(kube: &Kube, scenarios: &[Scenario]) -> Result<Self, SessionError> {
        if scenarios.iter().all(|one| one.spire.is_stated() && !one.trust_domain.is_empty()) {
            return Ok(Self { pods: vec![], texts: Texts::new(), drivers: vec![] });
        }
        let look = async {
            let pods = kube.all_pods().await?;
            let wanted = found::wanted(&pods).into_iter();
            let texts = wanted.map(async |(namespace, name)| {
                let texts = kube.config_map(&namespace, &name).await?.unwrap_or_default();
                Ok::<_, KubeError>(((namespace, name), texts))
            });
            let texts = try_join_all(texts).await?.into_iter().collect();
            Ok(Self { pods, texts, drivers: kube.csi_drivers().await? })
        };
        look.await.map_err(SessionError::Claim)
    }

    fn of(&self, scenario: &Scenario, with_agent: bool) -> Result<Found, SessionError> {
        let domain = Some(scenario.trust_domain.as_str()).filter(|domain| !domain.is_empty());
        let found = found::find(&self.pods, &self.texts, &self.drivers, domain, with_agent);
        found.map_err(|source| SessionError::NotFound { file: scenario.file.clone(), source })
    }
}

fn in_words(trust_domain: &str, spire: &crate::scenario::Spire) -> String {
    let socket = match (&spire.csi, &spire.socket_dir) {
        (Some(driver), _) => format!("{} by {driver}", spire.socket_file),
        (None, folder) => {
            format!("{}/{} of the nodes", folder.as_deref().unwrap_or_default(), spire.socket_file)
        }
    };
    format!("of {trust_domain} is {}/{}, its agents' socket {socket}", spire.namespace, spire.server)
}

/// Whether each SVID is that of a client of that name; a scenario that does not name its trust domain has
/// that of its clients' SVIDs.
fn claimed(standing: &mut [Standing], svids: &[Svid]) -> Result<(), GivenError> {
    for (number, svid) in svids.iter().enumerate() {
        let SvidFiles { client, chain, .. } = &svid.files;
        if svids[..number].iter().any(|other| other.files.client == *client) {
            return Err(GivenError::Twice { client: client.clone() });
        }
        let mut is_known = false;
        for Standing { scenario, untried } in &mut *standing {
            let fits = |client: &Client| client.jwt().is_none();
            let Some(claimed) =
                scenario.clients.get(client).filter(|one| fits(one)).and_then(Client::identity)
            else {
                continue;
            };
            if untried.contains_key(client) {
                continue;
            }
            is_known = true;
            if scenario.trust_domain.is_empty() {
                let rest = svid.id.trim_start_matches("spiffe://");
                scenario.trust_domain = rest.split('/').next().unwrap_or_default().into();
            }
            let wanted = spiffe_id(&scenario.trust_domain, claimed);
            if svid.id != wanted {
                let problem = format!(
                    "is of {}, and client `{client}` of scenario {} is {wanted}",
                    svid.id, scenario.name
                );
                return Err(GivenError::Unfit { client: client.clone(), file: chain.clone(), problem });
            }
        }
        if !is_known {
            let clients = standing.iter().flat_map(|one| one.scenario.clients.iter());
            let known = clients.filter(|(_, one)| one.identity().is_some() && one.jwt().is_none());
            let known = known.map(|(name, _)| name.clone()).collect();
            return Err(GivenError::NoClient { client: client.clone(), known });
        }
    }
    Ok(())
}

/// The bundle that came with an SVID of the scenario's clients.
fn bundle_of(scenario: &Scenario, svids: &[Svid]) -> Option<String> {
    let own = svids.iter().filter(|svid| scenario.clients.contains_key(&svid.files.client));
    own.map(|svid| svid.carried.bundle.clone()).find(|bundle| !bundle.is_empty())
}

/// The bundle that the scenario's SPIRE server publishes.
async fn published(
    kube: &Kube,
    scenario: &Scenario,
    spires: Option<&Spires>,
) -> Result<String, SessionError> {
    let lacking = |why: String| {
        SessionError::from(GivenError::NoBundle { trust_domain: scenario.trust_domain.clone(), why })
    };
    let spire = match spires {
        Some(spires) if !scenario.spire.is_stated() => spires.of(scenario, false)?.spire,
        _ => scenario.spire.clone(),
    };
    let Some((namespace, name)) = spire.bundle() else {
        return Err(lacking(format!(
            "SPIRE server {}/{} publishes none that is known",
            spire.namespace, spire.server
        )));
    };
    let map = kube.config_map(namespace, name).await.map_err(SessionError::Claim)?;
    let text = map.and_then(|mut map| map.remove(&spire.bundle_key));
    let at = format!("key {} of configmap {namespace}/{name}", spire.bundle_key);
    let text = text.ok_or_else(|| lacking(format!("{at} is not there")))?;
    bundle_pem(&text).map_err(|problem| lacking(format!("{at}: {problem}")))
}

/// What each client presents, and why those that present nothing are not tried.
fn all_given(
    scenario: &Scenario,
    untried: &Untried,
    svids: &[Svid],
    bundle: &str,
) -> Result<BTreeMap<String, Given>, GivenError> {
    let given = scenario.clients.iter().map(|(name, client)| {
        let nobodys = Carried { chain: String::new(), key: String::new(), bundle: bundle.into() };
        let given = match (untried.get(name), svids.iter().find(|svid| svid.files.client == *name)) {
            (Some(why), _) => Given::Untried(why.clone()),
            (None, _) if client.jwt().is_some() => Given::Untried(
                "its JWT-SVID comes from the Workload API, and none is asked from outside".into(),
            ),
            (None, None) if client.is_nobody() => Given::Svid { carried: nobodys, ends: None },
            (None, None) => Given::Untried(format!("no SVID is given: --svid '{name}=CERT,KEY,BUNDLE'")),
            (None, Some(svid)) => {
                let mut carried = svid.carried.clone();
                if carried.bundle.is_empty() {
                    carried.bundle = bundle.into();
                }
                if !carried.bundle.is_empty() {
                    given::is_signed(svid, &carried.bundle)?;
                }
                Given::Svid { carried, ends: Some(svid.ends) }
            }
        };
        Ok((name.clone(), given))
    });
    given.collect()
}

/// Where the API server does not let an Envoy's admin interface be reached, what its client sees is all that
/// there is of evidence.
async fn readable(kube: &Kube, scenario: &mut Scenario, progress: &Progress) {
    for (name, endpoint) in &mut scenario.endpoints {
        let Some(port) = endpoint.admin else { continue };
        // What else there is in the way is told when the endpoint is opened.
        let Ok(Ok(resolved)) = kube.resolve(&endpoint.service).await else { continue };
        let Some(pod) = resolved.pods.first() else { continue };
        let Err(error) = Admin::of(kube, pod, port).config().await else { continue };
        if error.is_forbidden() {
            progress.note(&format!(
                "endpoint {name}: the API server forbids port-forwards to pod {}/{}, so what its Envoy \
                 counts is not known: client side only",
                pod.namespace, pod.pod
            ));
            endpoint.client_side();
        }
    }
}
