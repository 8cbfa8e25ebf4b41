//! One stage of a scenario, run: the releases brought to the stage's values, every cell dialled, both sides'
//! accounts judged. What came of it is `proof::judge`'s to say.

mod chart_tests;
mod credentials;
mod dials;
pub mod fault;
mod federation;
mod hops;
mod log;
mod outside;
mod published;
mod target;

pub use chart_tests::chart_tests;
pub use credentials::carry_from;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join, try_join_all};
use serde_json::Value;

use crate::cluster::kube::KubeError;
use crate::cluster::probe::ProbeError;
use crate::proof::hops::Walk;
use crate::proof::judge::{self, Judged};
use crate::proof::plan::{Cell, plan};
use crate::proof::verdict::Verdict;
use crate::scenario::{Scenario, Stage};
use crate::session::{
    RunContext, SessionError, System, apply, federate, machines, restart, restore, stage_values,
};
use crate::sys::chain;

use credentials::{Credentials, Unmade};
use target::Target;

/// Envoy looks its upstream's name up every half second with the charts' values; the default is 5 s.
const SETTLE: Duration = Duration::from_secs(30);

/// Why a stage could not be dialled.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum StageError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("endpoint {endpoint}")]
    Resolve { endpoint: String, source: KubeError },
    /// The scenario names something that is not there.
    #[error("endpoint {endpoint}: {what}")]
    Mistake { endpoint: String, what: String },
    #[error("endpoint {endpoint} has no address that can be dialled from outside the cluster\nhint: {hint}")]
    NotPublished { endpoint: String, hint: &'static str },
    #[error(
        "endpoint {endpoint} is published at node port {said}, but {is}: what answers there is another's\n\
         hint: `nodePort` of the Service and `node-port` of the endpoint are the same"
    )]
    OtherNodePort { endpoint: String, said: u16, is: String },
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// With the hop that broke.
    #[error("{}\n{hop}", chain(error))]
    Hop { error: Box<StageError>, hop: Box<Walk> },
}

impl StageError {
    /// Whether the scenario is at fault, and not the system under test or the machine.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Mistake { .. } => true,
            Self::Session(error) => error.is_input(),
            Self::Hop { error, .. } => error.is_input(),
            _ => false,
        }
    }
}

/// Brings the scenario to `stage` (with `fault` over it) and makes the checks whose names `chosen` lets
/// through. What could not be judged is tried once more.
pub async fn run(
    run: &RunContext,
    system: &System,
    stage: &Stage,
    fault: &BTreeMap<String, Value>,
    chosen: &dyn Fn(&str) -> bool,
) -> Result<Vec<Judged>, StageError> {
    let scenario = &system.scenario;
    let step = run.progress.phase(format!("{}: {}", scenario.name, stage.name));
    let made = async {
        bring(run, scenario, stage, fault).await?;
        let judged = Opened::open(run, system, stage, &|cell| chosen(&cell.check)).await?.run().await;
        // All is looked up anew: what a pod was, and where it counts, may be why.
        let judged = judge::twice(judged, async |numbers| {
            run.progress.note(&format!(
                "{}: {}: {} cell(s) errored, and are tried once more",
                scenario.name,
                stage.name,
                numbers.len()
            ));
            let opened = Opened::open(run, system, stage, &|cell| numbers.contains(cell.number())).await;
            Ok(opened.map_err(|error| chain(&error))?.run().await)
        });
        Ok(judged.await)
    };
    let judged = match made.await {
        // What is planted is known.
        made if !fault.is_empty() => made?,
        Ok(judged) => hops::named(run, system, judged).await,
        Err(error) => return Err(hops::told(run, system, stage, error).await),
    };
    step.done();
    Ok(judged)
}

/// Brings every release to the stage's values, with `fault` over them, and restarts those that the stage
/// restarts. Returns whether any had to be changed.
pub async fn bring(
    run: &RunContext,
    scenario: &Scenario,
    stage: &Stage,
    fault: &BTreeMap<String, Value>,
) -> Result<bool, StageError> {
    let releases = scenario.install.iter().flatten();
    let brought = releases.map(async |release| {
        apply(run, scenario, release, &stage_values(release, &[&stage.values, fault])).await
    });
    let changed = try_join_all(brought).await?.into_iter().any(|changed| changed);
    let restarted = scenario.restarted_in(stage).map(|release| restart(run, scenario, release));
    let restarted = try_join_all(restarted).await?;
    Ok(changed || !restarted.is_empty())
}

/// Makes the in-cluster dials of a stage over and over, as many at once as the probe takes; returns the
/// seconds that `count` of them took. For a benchmark: nothing is judged.
pub async fn time_dials(
    run: &RunContext,
    system: &System,
    stage: &Stage,
    count: usize,
) -> Result<f64, StageError> {
    let opened = Opened::open(run, system, stage, &|_| true).await?;
    let at = |cell| opened.places(cell, false).into_iter().map(move |place| (cell, place));
    let dials: Vec<_> = opened.cells.iter().flat_map(at).collect();
    let begun = Instant::now();
    let made = dials.iter().filter(|(cell, _)| !opened.is_outside(cell)).cycle().take(count);
    let probe = system.probes.first();
    try_join_all(made.map(|(cell, place)| opened.dial(probe, cell, place, "timed"))).await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Everything that a stage's cells need, looked up once.
struct Opened<'a> {
    run: &'a RunContext,
    system: &'a System,
    cells: Vec<Cell>,
    targets: BTreeMap<String, Target<'a>>,
    credentials: Credentials,
    /// By endpoint: why its cells are not dialled, in words.
    unfit: BTreeMap<String, String>,
}

impl<'a> Opened<'a> {
    async fn open(
        run: &'a RunContext,
        system: &'a System,
        stage: &Stage,
        chosen: &dyn Fn(&Cell) -> bool,
    ) -> Result<Self, StageError> {
        let scenario = &system.scenario;
        // A run's own word in each cell's id keeps two windows on the same pods apart.
        let word = format!("{}-{}", run.run, jiff::Timestamp::now().as_millisecond());
        let all = plan(scenario, stage, &word);
        let controls: BTreeSet<_> =
            all.iter().filter(|cell| chosen(cell)).filter_map(|cell| cell.control.clone()).collect();
        let wanted = |cell: &Cell| chosen(cell) || controls.contains(&cell.check);
        let cells: Vec<_> = all.into_iter().filter(wanted).collect();
        let names: BTreeSet<_> = cells.iter().flat_map(|cell| scenario.route(&cell.endpoint)).collect();
        let targets = names.into_iter().map(async |name| {
            let target = Target::open(run, system.probes.first(), name, &scenario.endpoints[name]).await?;
            Ok::<_, StageError>((name.to_owned(), target))
        });
        // Side by side: an Envoy may wait for what was lost.
        let restored = async {
            restore(run, system).await?;
            machines::ensure(run, scenario).await?;
            Ok(federate(run, scenario, &stage.federation).await?)
        };
        let (opened, ()) = try_join(try_join_all(targets), restored).await?;
        let (mut targets, mut unfit) = (BTreeMap::new(), BTreeMap::new());
        for (name, target) in opened {
            match target {
                Ok(target) => drop(targets.insert(name, target)),
                Err(why) => drop(unfit.insert(name, why)),
            }
        }
        for version in targets.values().flat_map(Target::envoys).filter_map(|one| one.config.version.clone())
        {
            run.note_ran("envoy", version)?;
        }
        unfit.extend(unsettled(&targets).await);
        unfit.extend(federation::unheard(scenario, stage, &targets).await);
        unfit.extend(target::stale(run, &targets).await);
        let envoys = targets.values().flat_map(Target::envoys);
        let clock_skew = envoys.map(|envoy| envoy.config.clock_skew).max().unwrap_or_default();
        let credentials = Credentials::make(run, system, &cells, clock_skew, &stage.banned).await;
        let opened = Self { run, system, cells, targets, credentials, unfit };
        opened.forwarded().await;
        Ok(opened)
    }

    /// Takes the cells out that cannot be tried, judged already.
    fn untried(&mut self) -> Vec<Judged> {
        let mut judged = vec![];
        let cells = std::mem::take(&mut self.cells);
        for cell in cells {
            let unfit = self.system.scenario.route(&cell.endpoint).find_map(|name| self.unfit.get(name));
            let untried = match (self.credentials.unmade(&cell.client), unfit) {
                (Some(Unmade::NotInThisRun(why)), _) => Some((Verdict::Skipped, why.clone())),
                (Some(Unmade::Broken(why)), _) => {
                    Some((Verdict::Errored, format!("the client's credential could not be made: {why}")))
                }
                (None, Some(why)) => Some((Verdict::Errored, why.clone())),
                (None, None) => self.unreached(&cell).map(|why| (Verdict::Skipped, why)),
            };
            match untried {
                Some((verdict, reason)) => judged.push(Judged::untried(cell, verdict, reason)),
                None => self.cells.push(cell),
            }
        }
        let (cells, judged) = without_controls(std::mem::take(&mut self.cells), judged);
        self.cells = cells;
        judged
    }

    /// Why nobody who dials from outside gets there, where everyone has to.
    fn unreached(&self, cell: &Cell) -> Option<String> {
        let target = self.targets.get(&cell.endpoint).filter(|_| self.system.probes.is_empty())?;
        let is_reached = target.is_forwarded() || self.is_published(&cell.endpoint, target);
        (!is_reached).then(|| {
            let why = target.unforwarded.clone().unwrap_or_default();
            format!("endpoint {} has no address that can be dialled from here{why}", cell.endpoint)
        })
    }
}

/// What counts only with a control is not tried where all of that was skipped: it could not be judged.
fn without_controls(cells: Vec<Cell>, mut judged: Vec<Judged>) -> (Vec<Cell>, Vec<Judged>) {
    let of = |check: &str| judged.iter().filter(|one| one.cell.check == check).collect::<Vec<_>>();
    let lacks = |cell: &Cell| {
        let control = cell.control.as_ref()?;
        let all = of(control);
        let is_made = all.is_empty() || cells.iter().any(|one| one.check == *control);
        let is_skipped = all.iter().all(|one| one.verdict == Verdict::Skipped);
        (is_skipped && !is_made).then(|| format!("its control `{control}` is not tried: {}", all[0].reason))
    };
    let why: Vec<_> = cells.iter().map(lacks).collect();
    let mut left = vec![];
    for (cell, why) in cells.into_iter().zip(why) {
        match why {
            Some(why) => judged.push(Judged::untried(cell, Verdict::Skipped, why)),
            None => left.push(cell),
        }
    }
    (left, judged)
}

/// Waits until each Envoy in front of another knows where that one's pods are now. By endpoint, why one does
/// not.
async fn unsettled(targets: &BTreeMap<String, Target<'_>>) -> BTreeMap<String, String> {
    let waits = targets.iter().filter_map(|(name, target)| {
        let upstream = targets.get(target.declared.upstream.as_ref()?)?;
        let pods = upstream.resolved.pods.iter().map(|pod| pod.ip.clone());
        let allowed: Vec<_> = pods.chain(upstream.resolved.cluster_ip.clone()).collect();
        Some(target.envoys().map(move |envoy| (name, envoy, allowed.clone())))
    });
    let waits = waits.flatten().map(async |(name, envoy, allowed)| {
        let settled = envoy.admin.forwards_only_to(&envoy.config.upstreams(), &allowed, SETTLE).await;
        settled.err().map(|error| (name.clone(), chain(&error)))
    });
    join_all(waits).await.into_iter().flatten().collect()
}
