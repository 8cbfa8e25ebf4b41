//! One run on one cluster: brought up, what was chosen made there, taken down whatever came of it. Not for
//! telling the results.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use conformance::leftovers;
use futures::FutureExt;
use svidproof::lease::Lease;
use svidproof::proof::judge::Judged;
use svidproof::proof::verdict::Verdict;
use svidproof::provider::{ClusterOptions, Provider};
use svidproof::scenario::{Scenario, Stage};
use svidproof::session::{self, Session, Setup, System, Ways, teardown};
use svidproof::stage;
use svidproof::stage::fault::Faults;
use svidproof::surface::{Surface, surfaces};
use svidproof::sys::progress::Progress;

use crate::subject::{Subject, TEARDOWN};

/// A test's name -> what came of it.
pub(crate) type Results = BTreeMap<String, TestResult>;

#[derive(Clone)]
pub(crate) enum TestResult {
    Judged(Result<(), String>),
    /// What was seen in a whole stage, to be compared with its snapshot (`cargo insta review`, `svidproof
    /// test --accept`).
    Seen(Surface),
}

/// Brings the cluster up, runs what was chosen, and takes everything down, also after a panic.
pub(crate) async fn results(subjects: &[Subject], chosen: &[String]) -> Results {
    let progress = Progress::new();
    let before = leftovers::users_kubeconfig();
    let lease = Lease::new().expect("a lease");
    let mut results = Results::new();
    let work = AssertUnwindSafe(work(&lease, subjects, chosen, &mut results, &progress)).catch_unwind().await;
    let gone = teardown::teardown(&lease, &progress).await.map_err(|e| svidproof::sys::chain(&e));
    let problem = match work {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some("it panicked: see above".to_owned()),
    };
    if let Some(problem) = problem {
        for name in chosen {
            results.entry(name.clone()).or_insert_with(|| TestResult::Judged(Err(problem.clone())));
        }
    }
    let left = match gone {
        Ok(()) => leftovers::of(&lease, before.as_deref()).await,
        Err(problem) => Err(problem),
    };
    results.insert(TEARDOWN.into(), TestResult::Judged(left));
    results
}

async fn work(
    lease: &Lease,
    subjects: &[Subject],
    chosen: &[String],
    results: &mut Results,
    progress: &Progress,
) -> Result<(), String> {
    let scenarios: Vec<Scenario> = subjects.iter().map(|subject| subject.scenario.clone()).collect();
    let setup = Setup {
        scenarios,
        provider: Provider::Kind,
        options: ClusterOptions::default(),
        ways: Ways::default(),
        load: vec![],
        progress,
    };
    let session = Box::pin(session::up(lease, setup)).await.map_err(|e| svidproof::sys::chain(&e))?;
    let systems = || subjects.iter().map(|subject| (subject, live(&session, subject)));
    for (subject, live) in systems() {
        for one in &subject.scenario.stages {
            if subject.names_of_stage(one).iter().any(|name| chosen.contains(name)) {
                results.extend(stage_results(&session, subject, live, one, chosen).await?);
            }
        }
    }
    // Last: a fault may leave the system as no stage wants it.
    for (subject, live) in systems() {
        let mut faults = Faults::new(&session.context, live);
        for fault in subject.scenario.broken.iter().filter(|fault| chosen.contains(&subject.fault(fault))) {
            let noticed = faults.verify(fault).await.map_err(|e| svidproof::sys::chain(&e))?;
            let problems = noticed.problems;
            let result = if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) };
            results.insert(subject.fault(fault), TestResult::Judged(result));
        }
        faults.put_back().await.map_err(|e| svidproof::sys::chain(&e))?;
    }
    Ok(())
}

fn live<'a>(session: &'a Session, subject: &Subject) -> &'a System {
    let found = session.systems.iter().find(|live| live.scenario.name == subject.scenario.name);
    found.expect("every scenario was brought up")
}

async fn stage_results(
    session: &Session,
    subject: &Subject,
    live: &System,
    stage: &Stage,
    chosen: &[String],
) -> Result<Results, String> {
    let judged = stage::run(&session.context, live, stage, &BTreeMap::new(), &|_| true)
        .await
        .map_err(|e| svidproof::sys::chain(&e))?;
    let check = |name: &str| (subject.check(&stage.name, name), TestResult::Judged(passed(&judged, name)));
    let mut results: Results = stage.checks.iter().map(|one| check(&one.name)).collect();
    for screen in subject.screens_of(stage) {
        let name = screen.name(&subject.scenario);
        if chosen.contains(&name) {
            results.insert(name, TestResult::Judged(screen.look(session).await));
        }
    }
    results
        .extend(surfaces(&judged).into_iter().map(|seen| (subject.surface(stage), TestResult::Seen(seen))));
    Ok(results)
}

/// All of a check's cells, each from both sides.
fn passed(judged: &[Judged], check: &str) -> Result<(), String> {
    let cells: Vec<_> = judged.iter().filter(|one| one.cell.check == check).collect();
    let say = |one: &&Judged| {
        let cell = &one.cell;
        format!("{:?}: {} {} {}: {}", one.verdict, cell.client, cell.method, cell.target, one.reason)
    };
    // What is recorded is the snapshot's to judge.
    let fits = |one: &Judged| matches!(one.verdict, Verdict::Passed | Verdict::Recorded);
    let red: Vec<_> = cells.iter().filter(|one| !fits(one)).map(say).collect();
    match (cells.is_empty(), red.is_empty()) {
        (true, _) => Err("no cell was dialled for it".into()),
        (false, true) => Ok(()),
        (false, false) => Err(red.join("\n")),
    }
}
