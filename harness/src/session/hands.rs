//! Before anything is written into a cluster that is not svidproof's own: is everything that the run would
//! make free, and does no other run work there? Then the run holds the cluster until it is taken down.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use tokio::task::JoinHandle;

use super::SessionError;
use crate::cluster::kube::{AT_WORK, Claim, Holder, KEPT, Kube, KubeError};
use crate::lease::{Lease, Place, Thing};
use crate::scenario::{PROBES, Scenario, probe_name};
use crate::sys::wait;

/// How often a run says that it is still there.
const RENEWAL: Duration = Duration::from_mins(1);

/// Takes the cluster for the run, or says all that stands in its way.
///
/// # Errors
/// [`SessionError::Taken`] by another run; [`SessionError::NotOurs`] names every release and Secret that is
/// there already. Nothing was written then.
pub(super) async fn claim(
    kube: &Kube,
    lease: &Lease,
    place: &Place,
    scenarios: &[Scenario],
) -> Result<Renewal, SessionError> {
    let claimed = kube.claimed().await.map_err(SessionError::Claim)?;
    if let Some(other) = claimed.filter(|claim| claim.run != lease.id) {
        return Err(taken(other, place));
    }
    let things = things(scenarios, &lease.id);
    let looks = things.iter().map(|thing| look(kube, thing, &lease.id));
    let foreign: Vec<_> =
        try_join_all(looks).await.map_err(SessionError::Claim)?.into_iter().flatten().collect();
    if !foreign.is_empty() {
        return Err(SessionError::NotOurs { cluster: place.name.clone(), foreign });
    }
    lease.making(Thing::Claim)?;
    let said = serde_json::to_string(&things).unwrap_or_default();
    match kube.claim(&lease.id, &said).await.map_err(SessionError::Claim)? {
        Some(other) if other.run != lease.id => Err(taken(other, place)),
        _ => Ok(Renewal::begin(kube.clone(), lease.id.clone(), AT_WORK)),
    }
}

fn taken(other: Claim, place: &Place) -> SessionError {
    let Claim { run, host, since, expired, .. } = other;
    let hint = if expired {
        format!(
            "it was not heard of for long: `svidproof gc --expired --context {}` takes it down",
            place.name
        )
    } else {
        format!("wait until it is over, or `svidproof down --run {run}` on {host}")
    };
    SessionError::Taken { cluster: place.name.clone(), run, host, since, hint }
}

/// All that a run of these scenarios may make in a cluster, in the order of its making.
fn things(scenarios: &[Scenario], run: &str) -> Vec<Thing> {
    let mut namespaces = BTreeSet::from([PROBES.to_owned()]);
    let mut rest = vec![];
    for scenario in scenarios {
        let spire = &scenario.spire;
        for name in [&spire.authority_secret, &spire.x509pop_secret].into_iter().flatten() {
            namespaces.insert(spire.namespace.clone());
            rest.push(Thing::Secret { name: name.clone(), namespace: spire.namespace.clone() });
        }
        for release in scenario.install.iter().flatten().chain(&scenario.registration_release()) {
            namespaces.insert(release.namespace.clone());
            rest.push(Thing::Release { name: release.name.clone(), namespace: release.namespace.clone() });
        }
        rest.push(Thing::Release { name: probe_name(&scenario.name), namespace: PROBES.into() });
        rest.push(entries(scenario, run));
    }
    namespaces.into_iter().map(|name| Thing::Namespace { name }).chain(rest).collect()
}

/// The entries that the run makes in the scenario's SPIRE server.
pub(super) fn entries(scenario: &Scenario, run: &str) -> Thing {
    Thing::Entries { server: scenario.spire.api(), prefix: prefix(run) }
}

/// What the IDs of the run's entries begin with. SPIRE's controller manager, told to clean up entries of no
/// prefix, takes those without a dot for such (its configuration, `entryIDPrefixCleanup`).
pub(super) fn prefix(run: &str) -> String {
    format!("svidproof.{run}.")
}

/// In words, what is there already and is another's. A namespace may be: it is used, and stays.
pub(super) async fn look(kube: &Kube, thing: &Thing, run: &str) -> Result<Option<String>, KubeError> {
    let (holder, what) = match thing {
        Thing::Release { name, namespace } => (
            kube.release_of(namespace, name, run).await?,
            format!("Helm release {name} in namespace {namespace}"),
        ),
        Thing::Secret { name, namespace } => {
            (kube.secret_of(namespace, name, run).await?, format!("Secret {name} in namespace {namespace}"))
        }
        _ => return Ok(None),
    };
    Ok((holder == Holder::Another).then_some(what))
}

/// Notes that the run stays on purpose, in its lease and, where it holds another's cluster, there.
pub async fn keep(lease: &Lease) -> Result<(), SessionError> {
    lease.keep()?;
    if let Some(place) =
        lease.place()?.filter(|_| lease.standing().is_ok_and(|all| all.contains(&Thing::Claim)))
    {
        let kube = Kube::connect(&place.kubeconfig, None).await.map_err(SessionError::Claim)?;
        kube.renew(&lease.id, KEPT).await.map_err(SessionError::Claim)?;
    }
    Ok(())
}

/// Says again and again that the run is there, until it is dropped.
pub(super) struct Renewal(JoinHandle<()>);

impl Renewal {
    pub(super) fn begin(kube: Kube, run: String, believe: Duration) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = pin!(wait::ticks(RENEWAL));
            while ticks.next().await.is_some() {
                // A renewal that fails is made up for by the next; ten in a row, and the run has expired.
                let _ = kube.renew(&run, believe).await;
            }
        }))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether the lease's cluster is still the one that it was.
///
/// # Errors
/// It does not answer, or is another.
pub(super) async fn same(kube: &Kube, place: &Place) -> Result<(), Strange> {
    let there = wait::within("the cluster to say which it is", Duration::from_secs(30), kube.identity());
    let there = there.await??;
    if there == place.uid {
        return Ok(());
    }
    Err(Strange::Another { cluster: place.name.clone(), then: place.uid.clone(), there })
}

/// Why a run's cluster is left alone.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum Strange {
    #[error(
        "{cluster} is another cluster now: the run worked in the one whose namespace kube-system has UID \
         {then}, and there it has {there}. Nothing was touched\n\
         hint: where the run's own cluster is gone for good, `svidproof down --forget RUN` forgets what was \
         in it"
    )]
    Another { cluster: String, then: String, there: String },
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Silent(#[from] wait::TimedOut),
}
