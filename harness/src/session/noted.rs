//! What is made in a cluster that is not the run's own is written into the lease first. Namespaces.

use super::{RunContext, SessionError};
use crate::cluster::kube::Holder;
use crate::lease::{Lease, Thing};
use crate::scenario::Scenario;

/// Makes the release's namespace if it is not there, and writes the release into the lease.
///
/// It is not left to `--create-namespace`: Helm 4 applies a namespace of its own making over the one that is
/// there, and takes off it what labels a release of Helm's has given it.
pub(super) async fn note_release(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
    name: &str,
    namespace: &str,
) -> Result<(), SessionError> {
    make_namespace(context, lease, scenario, namespace, &[]).await?;
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Release { name: name.into(), namespace: namespace.into() })?;
    }
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
    match context.kube.namespace_of(namespace, &context.run).await.map_err(failed)? {
        Holder::Nobody => {}
        Holder::Ours if !labels.is_empty() => {
            return context.kube.label_namespace(namespace, &context.run, labels).await.map_err(failed);
        }
        Holder::Ours | Holder::Another => return Ok(()),
    }
    if !context.record().cluster.provider.is_disposable() {
        lease.making(Thing::Namespace { name: namespace.into() })?;
    }
    context.kube.create_namespace(namespace, &context.run, labels).await.map_err(failed)
}
