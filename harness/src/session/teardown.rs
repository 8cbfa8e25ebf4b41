//! Taking down what a lease names, in the reverse of the order in which it was made. Nothing else is touched.

use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use jiff::Timestamp;

use crate::cluster::helm::{Helm, HelmError};
use crate::cluster::kube::{Kube, KubeError};
use crate::cluster::spire::{Server, SpireError};
use crate::engine::{self, EngineError};
use crate::halt::{self, Halt};
use crate::lease::{Lease, LeaseError, Place, Thing};
use crate::provider::terraform::{Terraform, TerraformError};
use crate::provider::{ClusterOptions, Provider, ProviderError, existing, gke};
use crate::session::hands::{self, Strange};
use crate::session::{Record, helm_program};
use crate::sys::chain;
use crate::sys::files::{self, FileError};
use crate::sys::process::{self, EndError};
use crate::sys::progress::Progress;
use crate::sys::tool;

/// What a run has left behind.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum TeardownError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("which run holds the cluster could not be read")]
    Claim(#[source] KubeError),
    #[error("what run {run} may have made is not understood: a newer svidproof's?")]
    Things { run: String, source: serde_json::Error },
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
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Terraform(#[from] TerraformError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Helm(#[from] HelmError),
    #[error(transparent)]
    Kube(#[from] KubeError),
    #[error(transparent)]
    Spire(#[from] SpireError),
    #[error(transparent)]
    Folder(#[from] FileError),
    #[error(transparent)]
    Process(#[from] EndError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Strange(#[from] Strange),
    #[error("the run's own kubeconfig cannot be used")]
    Unreached(#[source] KubeError),
    #[error(
        "in which cluster the run worked was not written down (a svidproof of before began it): nothing is \
         taken out of any\nhint: `svidproof down --forget RUN`, once you have looked yourself"
    )]
    Unknown,
    #[error("no Helm is found to uninstall releases with")]
    NoHelm,
}

/// Takes everything of the run down and removes its folder. Goes on past a thing that fails, and names all of
/// those in the end. What is in a cluster that the run made goes with that cluster.
pub async fn teardown(lease: &Lease, progress: &Progress) -> Result<(), TeardownError> {
    let step = progress.phase("teardown");
    halt::at(Halt::Teardown).await;
    let standing = lease.standing()?;
    let disposable = standing.iter().any(is_disposable);
    let in_cluster = |thing: &Thing| is_in_cluster(thing);
    let reached = if disposable || !standing.iter().any(in_cluster) {
        Err(Problem::Unknown)
    } else {
        Reached::open(lease).await
    };
    let mut problems = vec![];
    let mut cluster_is_gone = false;
    // Where the cluster itself goes, things in it that could not be removed go too.
    let (mut inside, mut told) = (vec![], false);
    for thing in standing.into_iter().rev() {
        let gone = match (&thing, &reached) {
            (thing, _) if is_in_cluster(thing) && disposable => Ok(()),
            (thing, Ok(reached)) if is_in_cluster(thing) => {
                remove_from(thing, reached, &lease.id, progress).await
            }
            (thing, Err(why)) if is_in_cluster(thing) => {
                if !std::mem::replace(&mut told, true) {
                    inside.push(format!("  {}", chain(why)));
                }
                inside.push(format!("  left: {thing:?}"));
                continue;
            }
            _ => remove(&thing, &lease.id, progress).await,
        };
        match gone {
            // On a full disk it cannot be noted. Where all is gone the journal goes too; where not, trying
            // again does no harm.
            Ok(()) => {
                halt::at(once_gone(&thing)).await;
                cluster_is_gone |= matches!(thing, Thing::Cluster { .. });
                drop(lease.gone(thing));
            }
            Err(problem) if is_in_cluster(&thing) => inside.push(format!("  {}", chain(&problem))),
            Err(problem) => problems.push(format!("  {}", chain(&problem))),
        }
    }
    // One engine that is not there is told once, not for each thing that was made in it.
    problems.dedup();
    if !cluster_is_gone {
        problems.extend(inside);
    }
    if !problems.is_empty() {
        return Err(left(lease, problems));
    }
    halt::at(Halt::Emptied).await;
    if let Err(problem) = files::remove(&lease.dir) {
        return Err(left(lease, vec![format!("  {}", chain(&problem))]));
    }
    step.done();
    Ok(())
}

fn once_gone(thing: &Thing) -> Halt {
    match thing {
        Thing::Cluster { .. } => Halt::GoneCluster,
        Thing::Folder { .. } => Halt::GoneFolder,
        Thing::Process { .. } => Halt::GoneProcess,
        Thing::Network { .. } => Halt::GoneNetwork,
        Thing::Container { .. } => Halt::GoneContainer,
        Thing::Entries { .. } => Halt::GoneEntries,
        Thing::Release { .. } => Halt::GoneRelease,
        Thing::Secret { .. } => Halt::GoneSecret,
        Thing::Namespace { .. } => Halt::GoneNamespace,
        Thing::Claim => Halt::GoneClaim,
    }
}

fn is_disposable(thing: &Thing) -> bool {
    matches!(thing, Thing::Cluster { provider, .. } if provider == "kind")
}

fn is_in_cluster(thing: &Thing) -> bool {
    matches!(
        thing,
        Thing::Entries { .. }
            | Thing::Release { .. }
            | Thing::Secret { .. }
            | Thing::Namespace { .. }
            | Thing::Claim
    )
}

fn left(lease: &Lease, problems: Vec<String>) -> TeardownError {
    TeardownError::Left { run: lease.id.clone(), problems, journal: lease.dir.join("lease.jsonl") }
}

/// What became of the runs that were left behind.
#[derive(Debug, Default)]
pub struct Collected {
    /// The IDs of those that are gone now.
    pub gone: Vec<String>,
    /// The IDs of those that are under way, or of which a program that they started is.
    pub held: Vec<String>,
    /// Why others are not.
    pub left: Vec<TeardownError>,
}

/// Takes down every run whose owner is gone and that was not kept; one that cannot be does not keep the
/// others.
pub async fn gc(progress: &Progress) -> Result<Collected, TeardownError> {
    let mut collected = Collected::default();
    Lease::clear_unbegun()?;
    for dir in Lease::all()? {
        let lease = match Lease::open(dir.clone()) {
            Ok(lease) => lease,
            Err(error) if error.is_held() => {
                collected.held.push(dir.file_name().unwrap_or_default().to_string_lossy().into_owned());
                continue;
            }
            Err(error) => {
                collected.left.push(error.into());
                continue;
            }
        };
        match collect(&lease, progress).await {
            Ok(true) => collected.gone.push(lease.id),
            Ok(false) => {}
            Err(error) => collected.left.push(error),
        }
    }
    Ok(collected)
}

/// Takes down, in the cluster that `options` name, what a run of another machine left that has expired: what
/// it may have made stands in the cluster's own Lease. Returns its ID, or none where nothing has expired.
pub async fn expired(
    options: &ClusterOptions,
    dry_run: bool,
    progress: &Progress,
) -> Result<Option<String>, TeardownError> {
    // A look first, by a lease of its own, which holds nothing.
    let own = Lease::new()?;
    let found = async {
        let (cluster, kube) = existing::reach(options, &own).await?;
        let claim = kube.claimed().await.map_err(TeardownError::Claim)?;
        Ok::<_, TeardownError>((cluster, claim))
    };
    let found = found.await;
    let kubeconfig = files::read(&own.dir.join("kubeconfig"));
    files::remove(&own.dir).map_err(LeaseError::from)?;
    let (cluster, claim) = found?;
    let Some(claim) = claim.filter(|claim| claim.expired) else { return Ok(None) };
    let things: Vec<Thing> = serde_json::from_str(&claim.things)
        .map_err(|source| TeardownError::Things { run: claim.run.clone(), source })?;
    progress.note(&format!("run {} of {}, since {}, has expired", claim.run, claim.host, claim.since));
    if dry_run {
        for thing in &things {
            progress.note(&format!("  would go, if it is the run's: {thing:?}"));
        }
        return Ok(Some(claim.run));
    }
    let lease = Lease::adopt(&claim.run)?;
    let path = lease.dir.join("kubeconfig");
    kubeconfig.and_then(|text| files::replace(&path, text)).map_err(LeaseError::from)?;
    lease.working_in(Place { name: cluster.name, kubeconfig: path, uid: cluster.uid })?;
    for thing in std::iter::once(Thing::Claim).chain(things) {
        lease.making(thing)?;
    }
    teardown(&lease, progress).await?;
    Ok(Some(claim.run))
}

/// Takes down every cluster that svidproof made in a project of Google Cloud and whose time is over, whatever
/// machine made it. Says what became of each, by name.
///
/// # Errors
/// The clusters could not be listed.
pub async fn expired_in_cloud(
    root: &Path,
    options: &ClusterOptions,
    dry_run: bool,
    progress: &Progress,
) -> Result<Collected, TeardownError> {
    let mut collected = Collected::default();
    for over in gke::expired(root, options).await? {
        let (made, expires) = &over;
        progress.note(&format!("cluster {} in {} has expired at {expires}", made.name, made.location));
        if dry_run {
            continue;
        }
        match take_over(root, options, &over).await {
            Ok(lease) => match teardown(&lease, progress).await {
                Ok(()) => collected.gone.push(lease.id),
                Err(error) => collected.left.push(error),
            },
            Err(TeardownError::Lease(error)) if error.is_held() => collected.held.push(made.name.clone()),
            Err(error) => collected.left.push(error),
        }
    }
    Ok(collected)
}

/// The lease of a cluster of this machine or of another.
async fn take_over(
    root: &Path,
    options: &ClusterOptions,
    over: &(gke::Made, Timestamp),
) -> Result<Lease, TeardownError> {
    let run = over.0.name.strip_prefix("svidproof-").unwrap_or(&over.0.name);
    if let Some(dir) = Lease::all()?.into_iter().find(|dir| dir.file_name().is_some_and(|id| id == run)) {
        return Ok(Lease::open(dir)?);
    }
    let lease = Lease::adopt(run)?;
    match gke::adopt(root, options, &lease, over).await {
        Ok(()) => Ok(lease),
        Err(error) => {
            // It named nothing that this machine could take down.
            files::remove(&lease.dir).map_err(LeaseError::from)?;
            Err(error.into())
        }
    }
}

async fn collect(lease: &Lease, progress: &Progress) -> Result<bool, TeardownError> {
    if lease.kept()? {
        return Ok(false);
    }
    progress.note(&format!("run {} was left by a svidproof that ended early; it is taken down", lease.id));
    teardown(lease, progress).await?;
    Ok(true)
}

/// The cluster of a run that is not ours to destroy.
struct Reached {
    kube: Kube,
    helm: Option<Helm>,
}

impl Reached {
    /// Only if it is the very cluster that the run worked in.
    async fn open(lease: &Lease) -> Result<Self, Problem> {
        let place = lease.place()?.ok_or(Problem::Unknown)?;
        tool::quiet().await;
        let kube = Kube::connect(&place.kubeconfig, None).await.map_err(Problem::Unreached)?;
        hands::same(&kube, &place).await?;
        // The record may be torn, or never written: any Helm can do it.
        let program = Record::read(&lease.dir).ok().map(|record| record.helm).filter(|helm| helm.exists());
        let program = program.or_else(|| helm_program(None));
        let helm =
            program.map(|program| Helm::new(program, place.kubeconfig, None, lease.dir.join("values")));
        Ok(Self { kube, helm })
    }
}

async fn remove_from(
    thing: &Thing,
    reached: &Reached,
    run: &str,
    progress: &Progress,
) -> Result<(), Problem> {
    let Reached { kube, helm } = reached;
    if let Some(what) = hands::look(kube, thing, run).await? {
        progress.note(&format!("{what} stays: it does not carry the label of run {run}"));
        return Ok(());
    }
    match thing {
        Thing::Entries { server, prefix } => {
            let server = Server::new(kube.clone(), server.clone());
            // One that the run installed may never have come, or have gone.
            if server.workload().await?.is_some() {
                server.delete(prefix).await?;
            }
        }
        Thing::Release { name, namespace } => {
            let helm = helm.as_ref().ok_or(Problem::NoHelm)?;
            let stands = helm.stored(name, namespace).await?;
            let hooks = helm.hooks(name, namespace).await?;
            helm.uninstall(name, namespace).await?;
            try_join_all(hooks.iter().map(|hook| kube.delete(hook))).await?;
            let workloads = stands.map(|stands| stands.workloads()).unwrap_or_default();
            try_join_all(workloads.iter().map(|workload| kube.workload_gone(workload))).await?;
        }
        Thing::Secret { name, namespace } => kube.delete_secret(namespace, name, run).await?,
        Thing::Namespace { name } => kube.delete_namespace(name, run).await?,
        Thing::Claim => kube.release_claim(run).await?,
        Thing::Cluster { .. }
        | Thing::Folder { .. }
        | Thing::Process { .. }
        | Thing::Network { .. }
        | Thing::Container { .. } => {}
    }
    Ok(())
}

async fn remove(thing: &Thing, run: &str, progress: &Progress) -> Result<(), Problem> {
    match thing {
        Thing::Cluster { terraform, env, provider, engine } => {
            if *provider == Provider::Gke.to_string() {
                return Ok(gke::destroy(terraform, env, progress).await?);
            }
            engine::again(progress, env, engine).await?;
            match Terraform::at(terraform.clone(), env.clone())?.destroy().await {
                Ok(()) | Err(TerraformError::Cut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            // On a full disk the state names less than there is.
            engine::remove_nodes(&format!("svidproof-{run}"), env).await?;
        }
        Thing::Folder { path } => files::remove(path)?,
        Thing::Process { program, flag, file } => process::end(program, flag, file).await?,
        Thing::Network { name, env, engine } => {
            engine::remove_network(progress, name, env, engine).await?;
        }
        Thing::Container { name, env, engine } => {
            engine::remove_container(progress, name, env, engine).await?;
        }
        Thing::Entries { .. }
        | Thing::Release { .. }
        | Thing::Secret { .. }
        | Thing::Namespace { .. }
        | Thing::Claim => {}
    }
    Ok(())
}
