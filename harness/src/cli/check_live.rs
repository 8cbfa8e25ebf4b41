//! `svidproof check-live`: the checks on what stands in a cluster that is somebody else's.

use std::path::PathBuf;

use clap::Args;

use super::baseline::Baseline;
use super::bundle::Ending;
use super::down::{and_down, clear};
use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted};
use super::finish::{Asked, Telling, failed_before, finish};
use super::report::{About, Begun};
use super::scenarios::{Scenarios, load};
use crate::images::Remote;
use crate::lease::Lease;
use crate::proof::verdict::Verdict;
use crate::provider::{ClusterOptions, Provider};
use crate::scenario::{Endpoint, Scenario, Standing};
use crate::session::{Live, SvidFiles, live};
use crate::suite::{Results, matches, test_all};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct CheckLiveArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    /// Context of the cluster
    #[arg(long)]
    context: Option<String>,
    /// Kubeconfig of the cluster [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// What stands is this stage [default: each scenario's first]
    #[arg(long)]
    stage: Option<String>,
    /// Only checks whose name this matches; `*` stands for any text
    #[arg(long, value_name = "GLOB")]
    check: Option<String>,
    /// Make a namespace with a probe in the cluster, and entries for that in the scenario's SPIRE; both go at
    /// the end. Without it nothing is written, and all is dialled from this machine
    #[arg(long)]
    with_probe: bool,
    /// The registry that `svidproof images push` put the probe into
    #[arg(long, value_name = "HOST[:PORT][/PREFIX]", requires = "with_probe")]
    registry: Option<Remote>,
    /// What a client of the scenario presents, as files; may be repeated. A client without one is skipped,
    /// but for those that present nothing
    #[arg(long, value_name = "CLIENT=CERT,KEY[,BUNDLE]", conflicts_with = "with_probe")]
    svid: Vec<SvidFiles>,
    /// Judge refusals by what the client sees alone, and tell them apart: where others' traffic never pauses,
    /// what Envoys count is nobody's proof
    #[arg(long)]
    client_side: bool,
    #[command(flatten)]
    pub(super) telling: Telling,
}

pub(super) async fn check_live(args: CheckLiveArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = load(&args.scenarios)?;
    let mut standing = standing(scenarios, args.stage.as_deref(), progress)?;
    if args.client_side {
        let endpoints = standing.iter_mut().flat_map(|one| one.scenario.endpoints.values_mut());
        endpoints.for_each(Endpoint::client_side);
    }
    let scenarios: Vec<_> = standing.iter().map(|one| one.scenario.clone()).collect();
    let baselines: Vec<_> = Baseline::all(&scenarios)?.into_iter().map(Baseline::of_its_stages).collect();
    let chosen = |name: &str| args.check.as_deref().is_none_or(|glob| matches(glob, name));
    let mut checks = scenarios.iter().flat_map(|one| &one.stages).flat_map(|one| &one.checks);
    if !checks.any(|one| chosen(&one.name)) {
        return Err(Ended::input("no check has such a name\nhint: --check takes `*` for any text"));
    }
    let begun = Begun::now();
    clear(progress).await?;
    let lease = Lease::new()?;
    let results = Results::default();
    // With what is found out of them.
    let mut known = scenarios;
    let work = async {
        let asked = Live {
            standing,
            options: ClusterOptions {
                context: args.context.clone(),
                kubeconfig: args.kubeconfig.clone(),
                ..ClusterOptions::default()
            },
            svids: (!args.with_probe).then(|| args.svid.clone()),
            registry: args.registry.clone(),
            progress,
        };
        let session = Box::pin(live(&lease, asked)).await?;
        known = session.systems.iter().map(|system| system.scenario.clone()).collect();
        Ok(test_all(&session, None, &chosen, &results).await?)
    };
    let ended = or_interrupted(INTERRUPTED, Box::pin(work)).await;
    let about = About::of(&lease, Some(Provider::Existing), begun);
    let asked = Asked {
        baselines: &baselines,
        only: None,
        // A part of a stage's cells is not a surface.
        whole: args.check.is_none(),
        accept: false,
        telling: &args.telling,
    };
    let outcome = results.take();
    let tried = outcome.judged.iter().any(|one| one.verdict != Verdict::Skipped);
    let finished = finish(&about, &asked, outcome, ended, progress).and_then(|exit| match exit {
        // What looked at nothing is no pass.
        Exit::Passed if !tried => Err(Ended::not_judged(
            "no check was made: all were skipped, each for the reason that the report gives\n\
             hint: --svid gives a client its SVID; --with-probe lets every client dial",
        )),
        exit => Ok(exit),
    });
    let reports = args.telling.folder(&baselines);
    let ending = Ending { lease: &lease, scenarios: &known, reports: &reports, only_looks: !args.with_probe };
    ending.explain(finished.as_ref().copied(), progress).await;
    let failed = matches!(finished, Ok(Exit::CheckFailed));
    let down = and_down(finished, &lease, progress).await;
    down.map_err(|left| if failed { failed_before(left) } else { left })
}

/// What is looked at of each scenario: nothing that it would make.
fn standing(
    scenarios: Vec<Scenario>,
    stage: Option<&str>,
    progress: &Progress,
) -> Result<Vec<Standing>, Ended> {
    let all = scenarios.into_iter().map(|scenario| {
        let name = scenario.name.clone();
        if scenario.install.iter().flatten().any(|release| release.helm_tests) {
            progress.note(&format!("scenario {name}: `helm test` is not run: it makes pods"));
        }
        scenario.as_it_stands(stage).map_err(|known| {
            Ended::input(format!(
                "scenario {name} has no stage `{}`\nhint: there are {}",
                stage.unwrap_or_default(),
                known.join(", ")
            ))
        })
    });
    all.collect()
}
