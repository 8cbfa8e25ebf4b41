//! What is made in a cluster that is not the run's own is written into the lease first.

use super::{RunContext, SessionError};
use crate::cluster::kube::Holder;
use crate::lease::{Lease, Thing};
use crate::scenario::Scenario;

/// Writes the release, and its namespace if it makes one, into the lease.
pub(super) async fn note_release(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    name: &str,
    namespace: &str,
) -> Result<(), SessionError> {
    if context.record().cluster.provider.is_disposable() {
        return Ok(());
    }
    make_namespace(context, lease, scenario, namespace, &[]).await?;
    lease.making(Thing::Release { name: name.into(), namespace: namespace.into() })?;
    Ok(())
}

/// Makes the namespace, with these labels, where it is not there; only then is it the run's to delete. One
/// that is there and the run's gets the labels too.
pub(super) async fn make_namespace(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    namespace: &str,
    labels: &[(&str, &str)],
) -> Result<(), SessionError> {
    let failed = |source| SessionError::Kube { scenario: scenario.name.clone(), source };
    if context.kube.namespace_of(namespace, &context.run).await.map_err(failed)? != Holder::Nobody {
        return context.kube.label_namespace(namespace, &context.run, labels).await.map_err(failed);
    }
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Namespace { name: namespace.into() })?;
    }
    context.kube.create_namespace(namespace, &context.run, labels).await.map_err(failed)
}
