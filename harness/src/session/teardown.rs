//! Taking down what a lease names, in the reverse of the order in which it was made. Nothing else is touched.

use std::path::PathBuf;

use crate::cluster::helm::{Helm, HelmError};
use crate::cluster::kube::{Kube, KubeError};
use crate::cluster::spire::{Server, SpireError};
use crate::engine::{self, EngineError};
use crate::lease::{Lease, LeaseError, Thing};
use crate::provider::terraform::{Terraform, TerraformError};
use crate::session::Record;
use crate::sys::chain;
use crate::sys::files::{self, FileError};
use crate::sys::progress::Progress;

/// What a run has left behind.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum TeardownError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(
        "run {run} is not all gone:\n{}\n\
         hint: `svidproof gc` tries again; {} names what was made",
        .problems.join("\n"),
        .journal.display()
    )]
    Left { run: String, problems: Vec<String>, journal: PathBuf },
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Terraform(#[from] TerraformError),
    #[error(transparent)]
    Helm(#[from] HelmError),
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Spire(#[from] SpireError),
    #[error(transparent)]
    Folder(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the cluster is not known, so this could not be taken out of it: {0:?}")]
    Unknown(Thing),
}

/// Takes everything of the run down and removes its folder. Goes on past a thing that fails, and names all of
/// those in the end.
pub async fn teardown(lease: &Lease, progress: &Progress) -> Result<(), TeardownError> {
    let step = progress.phase("teardown");
    let standing = lease.standing()?;
    // Where the cluster goes as a whole, what is in it goes along.
    let disposable =
        standing.iter().any(|thing| matches!(thing, Thing::Cluster { provider, .. } if provider == "kind"));
    let reached = if disposable { None } else { Reached::open(lease).await };
    let mut problems = vec![];
    for thing in standing.into_iter().rev() {
        let gone = match &thing {
            Thing::Entries { .. }
            | Thing::Release { .. }
            | Thing::Secret { .. }
            | Thing::Namespace { .. }
                if disposable =>
            {
                Ok(())
            }
            other => remove(other, reached.as_ref()).await,
        };
        match gone {
            // On a full disk it cannot be noted. Where all is gone the journal goes too; where not, trying
            // again does no harm.
            Ok(()) => drop(lease.gone(thing)),
            Err(problem) => problems.push(format!("  {}", chain(&problem))),
        }
    }
    if !problems.is_empty() {
        return Err(left(lease, problems));
    }
    if let Err(problem) = files::remove(&lease.dir) {
        return Err(left(lease, vec![format!("  {}", chain(&problem))]));
    }
    step.done();
    Ok(())
}

fn left(lease: &Lease, problems: Vec<String>) -> TeardownError {
    TeardownError::Left { run: lease.id.clone(), problems, journal: lease.dir.join("lease.jsonl") }
}

/// Takes down every run whose owner is gone and that was not kept. Returns their IDs.
pub async fn gc(progress: &Progress) -> Result<Vec<String>, TeardownError> {
    let mut gone = vec![];
    for dir in Lease::all()? {
        // A run that cannot be locked is under way.
        let Ok(lease) = Lease::open(dir) else { continue };
        if lease.kept()? {
            continue;
        }
        progress
            .note(&format!("run {} was left by a svidproof that ended early; it is taken down", lease.id));
        teardown(&lease, progress).await?;
        gone.push(lease.id);
    }
    Ok(gone)
}

/// The cluster of a run that is not ours to destroy.
struct Reached {
    kube: Kube,
    helm: Helm,
}

impl Reached {
    async fn open(lease: &Lease) -> Option<Self> {
        let record = Record::read(&lease.dir).ok()?;
        let kube = Kube::connect(&record.cluster.kubeconfig, record.cluster.context.as_deref()).await.ok()?;
        let helm = Helm::new(
            record.helm,
            record.cluster.kubeconfig,
            record.cluster.context,
            lease.dir.join("values"),
        );
        Some(Self { kube, helm })
    }
}

async fn remove(thing: &Thing, reached: Option<&Reached>) -> Result<(), Problem> {
    let reached = || reached.ok_or_else(|| Problem::Unknown(thing.clone()));
    match thing {
        Thing::Cluster { terraform, env, .. } => {
            Terraform::at(terraform.clone(), env.clone())?.destroy().await?;
        }
        Thing::Folder { path } => files::remove(path)?,
        Thing::Entries { namespace, server, container, prefix } => {
            Server::new(reached()?.kube.clone(), namespace, server, container).delete(prefix).await?;
        }
        Thing::Release { name, namespace } => reached()?.helm.uninstall(name, namespace).await?,
        Thing::Secret { name, namespace } => reached()?.kube.delete_secret(namespace, name).await?,
        Thing::Namespace { name } => reached()?.kube.delete_namespace(name).await?,
        Thing::Network => engine::remove_network().await?,
    }
    Ok(())
}
