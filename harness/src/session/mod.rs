//! A cluster with the scenarios' systems in it: brought up in order, by events; taken up again from its
//! record.
//!
//! The order (SPIRE's own needs): server -> bundle published and entries created -> agent -> workloads, with
//! the probe beside them.

mod apply;
mod autopsy;
mod bringup;
mod charts;
mod error;
mod given;
mod hands;
mod hops;
mod live;
pub mod machines;
mod noted;
mod record;
mod register;
mod renamed;
mod servers;
mod supply;
pub mod teardown;

pub use apply::{apply, has_tests, makes_a_difference, restart, stage_values};
pub use autopsy::autopsy;
pub use error::SessionError;
pub use given::{Given, GivenError, SvidFiles};
pub use hands::{Strange, keep};
pub use hops::{Hops, look};
pub use live::{Live, live};
pub use machines::MachineError;
pub use record::{Installed, Record};
pub use register::{federate, lost, restore};
pub use renamed::Renamed;
use renamed::{pinned, renamed, tell_idle};
pub(crate) use servers::{neighbour, server};
use supply::Supplied;
pub use supply::{Lacking, Missing, Ways};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;

use crate::cluster::helm::{Helm, HelmError, How, version};
use crate::cluster::kube::{Holder, KEPT, Kube, KubeError};
use crate::cluster::probe::Probe;
use crate::data;
use crate::halt::{self, Halt};
use crate::images::{self, Images, ImagesError, Pulls, Source, Versions};
use crate::lease::{Lease, Shared};
use crate::provider::needs::{self, Asked, Looked};
use crate::provider::{self, Cluster, ClusterOptions, Created, Provider, Site, host_ports};
use crate::scenario::{OwnImage, Release, Scenario};
use crate::session::bringup::{bring_up, open_probes};
use crate::session::hands::Renewal;
use crate::sys::files::{self, FileError};
use crate::sys::progress::Progress;
use crate::sys::{dirs, tool};

/// What is wanted.
pub struct Setup<'a> {
    /// What to install, side by side.
    pub scenarios: Vec<Scenario>,
    /// Where the cluster comes from.
    pub provider: Provider,
    /// What the user says of the cluster.
    pub options: ClusterOptions,
    /// Where images come from.
    pub ways: Ways,
    /// Images to be loaded into the nodes beside those that the scenarios name.
    pub load: Vec<OwnImage>,
    /// Who watches.
    pub progress: &'a Progress,
}

/// A cluster that is up.
pub struct Session {
    /// What the systems share.
    pub context: Arc<RunContext>,
    /// One a scenario, in the scenarios' order.
    pub systems: Vec<System>,
}

/// What all scenarios of a session share: the cluster, and the run's folder and record.
pub struct RunContext {
    /// The run's folder.
    pub dir: PathBuf,
    /// The run's ID: its lease's.
    pub run: String,
    /// A client of the cluster.
    pub kube: Kube,
    /// Helm against the cluster.
    pub helm: Helm,
    /// Who watches.
    pub progress: Progress,
    record: Mutex<Record>,
    /// The releases of which this session has seen that they stand as the record says.
    seen: Mutex<BTreeSet<String>>,
    /// While it is there, the run holds a cluster that is not its own.
    renewal: Mutex<Option<Renewal>>,
    /// By what programs that are started hold the run too.
    shared: Mutex<Option<Shared>>,
}

impl RunContext {
    fn new(lease: &Lease, record: Record, kube: Kube, progress: &Progress) -> Self {
        let Cluster { kubeconfig, context, .. } = record.cluster.clone();
        Self {
            dir: lease.dir.clone(),
            run: lease.id.clone(),
            kube,
            helm: Helm::new(record.helm.clone(), kubeconfig, context, lease.dir.join("values"))
                .labelled(&lease.id),
            progress: progress.clone(),
            record: Mutex::new(record),
            seen: Mutex::default(),
            renewal: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    fn hold(&self, renewal: Renewal) {
        *self.renewal.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewal);
    }

    fn share(&self, shared: Shared) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
    }

    /// Starts what is to outlive svidproof, and must not hold the run.
    fn apart<T>(&self, start: impl FnOnce() -> T) -> std::io::Result<T> {
        match &*self.shared.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(shared) => shared.apart(start),
            None => Ok(start()),
        }
    }

    /// In a cluster that is not the run's own: installs what is not there, upgrades what is the run's, and
    /// keeps its hands off the rest.
    async fn how(&self, release: &Release) -> Result<How, KubeError> {
        if self.record().cluster.uid.is_empty() {
            return Ok(How::Either);
        }
        let (namespace, name) = (&release.namespace, &release.name);
        match self.kube.release_of(namespace, name, &self.run).await? {
            Holder::Nobody => Ok(How::Install),
            Holder::Ours => Ok(How::Upgrade),
            Holder::Another => {
                Err(KubeError::Foreign { what: format!("Helm release {name} in namespace {namespace}") })
            }
        }
    }

    /// The record as it is now.
    pub fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A version of a part that runs here, as it says itself.
    pub fn note_ran(&self, part: &str, version: String) -> Result<(), SessionError> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = record.ran.entry(part.into()).or_default().insert(version);
        if is_new { record.write(&self.dir) } else { Ok(()) }
    }

    async fn note_kubernetes(&self) -> Result<(), SessionError> {
        let version = self.kube.version().await.map_err(SessionError::Silent)?;
        self.note_ran("kubernetes", version.trim_start_matches('v').into())
    }

    fn installed(&self, key: &str) -> Option<Installed> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).installed.get(key).cloned()
    }

    /// `None`: nobody knows any more.
    fn note_installed(&self, key: &str, installed: Option<Installed>) -> Result<(), SessionError> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into());
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match installed {
            Some(installed) => drop(record.installed.insert(key.into(), installed)),
            None => drop(record.installed.remove(key)),
        }
        record.write(&self.dir)
    }

    /// At the first look in a session, somebody may have called Helm since the record was written: then
    /// nobody knows any more.
    async fn look(&self, key: &str, release: &Release) -> Result<(), HelmError> {
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !seen().contains(key);
        let Some(known) = self.installed(key).filter(|_| is_new) else { return Ok(()) };
        let stands = self.helm.stored(&release.name, &release.namespace).await?;
        seen().insert(key.into());
        if stands.is_none_or(|stands| stands.fingerprint() != known.stands) {
            self.record.lock().unwrap_or_else(PoisonError::into_inner).installed.remove(key);
        }
        Ok(())
    }
}

/// A scenario that stands, with who dials it.
pub struct System {
    /// What stands.
    pub scenario: Scenario,
    /// In the cluster, with every identity that the scenario's clients present: one, or one on each node of
    /// the run's own. Where there is none, all is dialled from where svidproof runs.
    pub probes: Vec<Probe>,
    /// By client: what it presents, where no probe is asked for that.
    pub given: BTreeMap<String, Given>,
}

impl System {
    /// The probe that carries credentials out.
    pub fn probe(&self) -> Result<&Probe, SessionError> {
        let lacking = || SessionError::NoProbe { scenario: self.scenario.name.clone() };
        self.probes.first().ok_or_else(lacking)
    }
}

/// Makes the cluster and brings every scenario up in it, side by side.
pub async fn up(lease: &Lease, setup: Setup<'_>) -> Result<Session, SessionError> {
    let Setup { scenarios, provider, options, mut ways, load, progress } = setup;
    let registry = ways.registry.take();
    machines::possible(&scenarios, provider)?;
    if provider == Provider::Kind {
        ports_are_free(&scenarios)?;
    }
    let federates = scenarios.iter().find(|scenario| !scenario.federation.is_empty());
    if let Some(scenario) = federates.filter(|_| !provider.is_disposable()) {
        return Err(SessionError::Federates { file: scenario.file.clone() });
    }
    stated(&scenarios)?;
    let home = home_of(&scenarios)?;
    // Of a cluster that is not made here, svidproof installs what is pulled.
    ways.source = match provider {
        Provider::Kind => images::settled(ways.source, ways.mirror.as_ref(), progress).await?,
        Provider::Gke | Provider::Existing => Source::Upstream,
    };
    let mut names: Renamed = images::in_versions(&home, &ways.versions, ways.source)?;
    let asked = Asked::of(provider, false, &home, ways.source, &ways.versions).await?;
    // No program mends that.
    if asked.makers.contains("debootstrap") && !rustix::process::geteuid().is_root() {
        return Err(ImagesError::NotRoot.into());
    }
    let Looked { lacking, .. } = needs::look(&asked, &dirs::cache(), tool::find);
    if !lacking.is_empty() {
        return Err(SessionError::Lacks { provider, lacking });
    }
    let helm = match helm_program(None) {
        Some(helm) => helm,
        None if provider == Provider::Kind => images::first(&home, "helm", progress).await?,
        None => return Err(SessionError::NoHelm),
    };
    let agent = machines::agent(&scenarios, &home, &ways.versions, progress).await?;
    let scenarios = charts::ready(scenarios, &lease.dir, &helm, progress).await?;
    if let Some(registry) = registry {
        names.extend(images::in_registry(&home, &registry).await?);
    }
    if ways.source == Source::Upstream {
        names = pinned(names, &ways.digests);
    }
    let (scenarios, ran) = renamed(&helm, scenarios, &names).await?;
    for (part, version) in ways.versions.of_releases() {
        if ran.none_of(&images::in_versions(&home, &ways.versions.only(part), ways.source)?) {
            return Err(SessionError::NoneRuns { part: part.into(), version: version.into() });
        }
    }
    let own = own_images(&scenarios, load);
    let Supplied { own, digests: pulled } =
        supplied(&helm, &scenarios, provider, own, &ways, progress).await?;
    let published = scenarios.iter().flat_map(Scenario::published).collect();
    let Ways { source, ref versions, ref mirror, ref digests, .. } = ways;
    let (pulls, options) = (Pulls { mirror: mirror.as_ref(), digests: Some(digests) }, &options);
    let site = Site { home, lease, options, published, source, versions, pulls, own, progress };
    let Created { cluster, kube, images } = provider.create(&site).await?;
    tell_idle(digests, &ran, images.as_ref(), progress);
    let mut record = first_record(cluster, images.as_ref(), &scenarios)?;
    record.renamed = names;
    record.asked = ways.versions.clone();
    record.versions.extend(pulled);
    record.versions.extend(which_helm(&record.helm).await);
    record.workers = options.workers;
    if let Some((program, version)) = agent {
        record.agent = program;
        record.versions.insert("spire-agent outside".into(), version);
    }
    if options.workers > 0 {
        record.versions.insert("workers".into(), format!("{}, each check from each", options.workers));
    }
    record.write(&lease.dir)?;
    let context = Arc::new(RunContext::new(lease, record, kube, progress));
    all_up(context, lease, scenarios).await
}

async fn all_up(
    context: Arc<RunContext>,
    lease: &Lease,
    scenarios: Vec<Scenario>,
) -> Result<Session, SessionError> {
    context.note_kubernetes().await?;
    if let Some(place) = lease.place()? {
        context.share(lease.share_with_children()?);
        context.helm.major().await.map_err(SessionError::WhichHelm)?;
        context.hold(hands::claim(&context.kube, lease, &place, &scenarios).await?);
        halt::at(Halt::Claimed).await;
    }
    let up = scenarios.into_iter().map(async |scenario| {
        let up = bring_up(&context, lease, scenario.clone()).await;
        match up {
            Ok(system) => Ok(system),
            Err(error) => Err(hops::told(&context, &scenario, error).await),
        }
    });
    let systems = try_join_all(up).await?;
    let unfinished = lease.dir.join(UNFINISHED);
    files::remove(&unfinished)?;
    Ok(Session { context, systems })
}

/// Goes on with a bring-up that failed and whose cluster was left: what stands as it should stays.
pub async fn go_on(lease: &Lease, setup: Setup<'_>) -> Result<Session, SessionError> {
    let Setup { scenarios, provider, mut ways, load, progress, .. } = setup;
    let record = Record::read(&lease.dir)?;
    record.fits(&scenarios)?;
    ways.versions = record.asked_again(&ways.versions)?;
    let scenarios = charts::ready(scenarios, &lease.dir, &record.helm, progress).await?;
    let (scenarios, _) = renamed(&record.helm, scenarios, &record.renamed).await?;
    let own = own_images(&scenarios, load);
    if provider == Provider::Kind {
        ways.source = images::settled(ways.source, ways.mirror.as_ref(), progress).await?;
    }
    let own = supplied(&record.helm, &scenarios, provider, own, &ways, progress).await?.own;
    if provider == Provider::Kind && !own.is_empty() {
        let home = home_of(&scenarios)?;
        provider::load(&own, &home, &record.cluster.name, &lease.dir, progress).await?;
    }
    let Cluster { kubeconfig, context, .. } = &record.cluster;
    let kube = Kube::connect(kubeconfig, context.as_deref()).await.map_err(SessionError::Kept)?;
    let context = Arc::new(RunContext::new(lease, record, kube, progress));
    all_up(context, lease, scenarios).await
}

/// Beside the record of a run whose bring-up failed, and whose cluster was left.
const UNFINISHED: &str = "unfinished";

/// Leaves the run standing, to be gone on with; `false` where there is no cluster yet.
pub fn leave_unfinished(lease: &Lease) -> Result<bool, SessionError> {
    if Record::read(&lease.dir).is_err() {
        return Ok(false);
    }
    files::write(&lease.dir.join(UNFINISHED), "")?;
    lease.keep()?;
    Ok(true)
}

/// Whether the run is one of these scenarios on such a cluster, and its bring-up failed.
pub fn is_unfinished(lease: &Lease, scenarios: &[Scenario], provider: Provider) -> bool {
    let same = |record: Record| {
        record.cluster.provider == provider && record.scenarios.iter().eq(&files_of(scenarios))
    };
    lease.dir.join(UNFINISHED).is_file() && Record::read(&lease.dir).is_ok_and(same)
}

/// Where svidproof's own things are.
fn home_of(scenarios: &[Scenario]) -> Result<PathBuf, FileError> {
    let root = scenarios.first().map(|scenario| scenario.root.clone()).unwrap_or_default();
    data::home(&root)
}

/// Where images come from: every image that is asked for will be there, with those that the engine pulls, or
/// that svidproof makes for this run alone, beside `own`.
async fn supplied(
    helm: &Path,
    scenarios: &[Scenario],
    provider: Provider,
    own: Vec<OwnImage>,
    ways: &Ways,
    progress: &Progress,
) -> Result<Supplied, SessionError> {
    supply::check_injected(helm, scenarios).await?;
    if provider != Provider::Kind {
        if !own.is_empty() {
            progress.note(&format!("provider {provider} pulls its images: none of your own is loaded"));
        }
        return Ok(Supplied { own, ..Supplied::default() });
    }
    let declared = images::declared(&home_of(scenarios)?, &ways.versions, ways.source)?;
    let mut supplied = supply::check(helm, scenarios, &declared, &own, ways, progress).await?;
    supplied.own.splice(..0, own);
    Ok(supplied)
}

/// Those that the scenarios name, and those that are to be loaded besides; each once.
fn own_images(scenarios: &[Scenario], load: Vec<OwnImage>) -> Vec<OwnImage> {
    let named = scenarios.iter().flat_map(Scenario::own_images);
    named.chain(load).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is known of the session before anything is installed.
fn first_record(
    cluster: Cluster,
    images: Option<&Images>,
    scenarios: &[Scenario],
) -> Result<Record, SessionError> {
    let built = images.map(|images| images.bin.join("helm"));
    let helm = helm_program(built).ok_or(SessionError::NoHelm)?;
    Ok(recorded(cluster, helm, images, scenarios))
}

fn recorded(cluster: Cluster, helm: PathBuf, images: Option<&Images>, scenarios: &[Scenario]) -> Record {
    Record {
        cluster,
        helm,
        versions: images.map(|images| images.versions.clone()).unwrap_or_default(),
        images: images.map_or_else(|| "those of the cluster".into(), |images| images.source.to_string()),
        workers: 0,
        scenarios: files_of(scenarios),
        fixed: scenarios.iter().map(Scenario::fixed).collect(),
        renamed: Renamed::new(),
        asked: Versions::default(),
        ran: BTreeMap::new(),
        agent: PathBuf::new(),
        installed: BTreeMap::new(),
    }
}

/// Helm is the user's, else the one that was built.
fn helm_program(built: Option<PathBuf>) -> Option<PathBuf> {
    tool::find("helm").or(built).or_else(|| images::tool("helm"))
}

/// Which Helm installs, and whose it is, for the report; nothing where it does not say.
async fn which_helm(program: &Path) -> Option<(String, String)> {
    let version = version(program).await.ok()?;
    let whose = if tool::find("helm").is_some_and(|users| users == program) { "of PATH" } else { "built" };
    Some(("helm".into(), format!("{}, {whose}", version.trim_start_matches('v'))))
}

/// Absolute.
fn files_of(scenarios: &[Scenario]) -> Vec<PathBuf> {
    let absolute =
        |scenario: &Scenario| std::path::absolute(&scenario.file).unwrap_or_else(|_| scenario.file.clone());
    scenarios.iter().map(absolute).collect()
}

/// What is installed must be said; only on what stands it is found out.
fn stated(scenarios: &[Scenario]) -> Result<(), SessionError> {
    let lacks = |one: &&Scenario| one.trust_domain.is_empty() || !one.spire.is_stated();
    let lacking = scenarios.iter().find(lacks).map(|one| SessionError::Unstated { file: one.file.clone() });
    lacking.map_or(Ok(()), Err)
}

/// Before anything is made: images that take minutes must not end at a port.
fn ports_are_free(scenarios: &[Scenario]) -> Result<(), SessionError> {
    for scenario in scenarios {
        for published in scenario.published() {
            let taken =
                |source| SessionError::Port { file: scenario.file.clone(), line: published.line, source };
            host_ports(&[published]).map_err(taken)?;
        }
    }
    Ok(())
}

/// Takes up a session that was kept. The scenarios may be a part of those that it was brought up with.
pub async fn reopen(
    lease: &Lease,
    scenarios: Vec<Scenario>,
    progress: &Progress,
) -> Result<Session, SessionError> {
    let record = Record::read(&lease.dir)?;
    record.fits(&scenarios)?;
    let scenarios = charts::ready(scenarios, &lease.dir, &record.helm, progress).await?;
    let (scenarios, _) = renamed(&record.helm, scenarios, &record.renamed).await?;
    let cluster = &record.cluster;
    let connected = Kube::connect(&cluster.kubeconfig, cluster.context.as_deref()).await;
    let kube = connected.map_err(SessionError::Kept)?;
    let place = lease.place()?;
    if let Some(place) = &place {
        hands::same(&kube, place).await?;
    }
    let context = Arc::new(RunContext::new(lease, record, kube, progress));
    if place.is_some() {
        context.share(lease.share_with_children()?);
        context.hold(Renewal::begin(context.kube.clone(), lease.id.clone(), KEPT));
    }
    let open = async |scenario: Scenario| match open_probes(&context, &scenario).await {
        Ok(probes) => Ok(System { scenario, probes, given: BTreeMap::new() }),
        Err(error) => Err(hops::told(&context, &scenario, error).await),
    };
    let systems = try_join_all(scenarios.into_iter().map(open)).await?;
    Ok(Session { context, systems })
}

#[cfg(test)]
pub(crate) mod tests;
