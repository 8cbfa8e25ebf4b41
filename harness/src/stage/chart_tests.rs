//! `helm test` of the releases that ask for it, once a stage's own checks are made. What it came to is
//! `proof::chart_test`'s to say.

use std::time::Instant;

use crate::proof::chart_test::{ChartTest, Said};
use crate::scenario::{Release, Scenario, Stage};
use crate::session::{RunContext, has_tests, stage_values};
use crate::sys::chain;

/// Runs the tests of each release that asks for it and whose check `chosen` lets through; one after the
/// other, since tests of one system may well be in each other's way.
pub async fn chart_tests(
    run: &RunContext,
    scenario: &Scenario,
    stage: &Stage,
    chosen: &dyn Fn(&str) -> bool,
) -> Vec<ChartTest> {
    let asked = scenario.install.iter().flatten().filter(|release| release.helm_tests);
    let mut all = vec![];
    for release in asked {
        let check = ChartTest::name(&release.full_name());
        if !chosen(&check) {
            continue;
        }
        let step = run.progress.part(format!("{}: {check}", scenario.name));
        let begun = Instant::now();
        let (verdict, reason, log) = said(run, scenario, stage, release).await.verdict();
        all.push(ChartTest {
            scenario: scenario.name.clone(),
            stage: stage.name.clone(),
            check,
            verdict,
            reason,
            log,
            milliseconds: (begun.elapsed().as_secs_f64() * 1e3).round(),
        });
        step.done();
    }
    all
}

async fn said(run: &RunContext, scenario: &Scenario, stage: &Stage, release: &Release) -> Said {
    match has_tests(run, scenario, release, &stage_values(release, &[&stage.values])).await {
        Ok(true) => run.helm.test(release).await.unwrap_or_else(|error| Said::Broken(chain(&error))),
        Ok(false) => Said::Nothing,
        Err(error) => Said::Broken(chain(&error)),
    }
}
