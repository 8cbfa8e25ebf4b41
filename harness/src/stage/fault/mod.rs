//! Faults that a scenario must notice: planted on purpose, to prove that its checks can fail.
//!
//! A fault must make a difference, must turn the checks red that it names, and leave all others as they are
//! without it. One that merely cannot be judged, since its control is among the red ones, is left out of
//! that: it is the control that tells. What is generated is told and no more: a forged credential that gets
//! in is the hole itself, and a surface expects nothing.

mod noticed;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;

pub use noticed::{Noticed, noticed};

use crate::proof::judge::Judged;
use crate::scenario::{Broken, Scenario, Stage};
use crate::session::{RunContext, System, makes_a_difference, stage_values};
use crate::stage::{self, StageError};
use crate::sys::chain;
use crate::sys::wait::{self, Look, TimedOut, WaitError};

/// An upgrade that was interrupted gives its release free within seconds; the roll-out that follows has a
/// bound of its own.
const PUT_BACK: Duration = Duration::from_mins(3);
const AGAIN: Duration = Duration::from_secs(1);

/// The faults of one system, planted one after the other.
pub struct Faults<'a> {
    run: &'a RunContext,
    system: &'a System,
    /// What came of each stage's checks without a fault.
    sound: BTreeMap<String, Vec<Judged>>,
    planted: Planted<'a>,
}

impl<'a> Faults<'a> {
    /// Plants nothing yet.
    pub fn new(run: &'a RunContext, system: &'a System) -> Self {
        let planted = Planted { run, scenario: &system.scenario, stage: None };
        Self { run, system, sound: BTreeMap::new(), planted }
    }

    /// The system's scenario.
    pub fn scenario(&self) -> &'a Scenario {
        &self.system.scenario
    }

    /// Plants the fault, makes its stage's checks, and says what was noticed of it. The fault stays planted.
    pub async fn verify(&mut self, fault: &Broken) -> Result<Noticed, StageError> {
        let scenario = &self.system.scenario;
        let Some(stage) = scenario.stages.iter().find(|stage| stage.name == fault.stage) else {
            return Ok(Noticed::nothing(format!("there is no stage `{}`", fault.stage)));
        };
        if !differs(self.run, scenario, stage, fault).await? {
            return Ok(Noticed::nothing(format!(
                "it changes nothing: no release is rendered otherwise than in stage `{}`",
                stage.name
            )));
        }
        if !self.sound.contains_key(&stage.name) {
            let sound = self.checked(stage, &BTreeMap::new()).await?;
            self.planted.stage = None;
            self.sound.insert(stage.name.clone(), sound);
        }
        self.planted.stage = Some(stage);
        let judged = self.checked(stage, &fault.values).await?;
        Ok(noticed(fault, &self.sound[&stage.name], &judged))
    }

    /// What a surface comes to is nobody's expectation, so its cells are not dialled.
    async fn checked(
        &self,
        stage: &Stage,
        fault: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Vec<Judged>, StageError> {
        let stated = |name: &str| {
            let mut checks = stage.checks.iter().filter(|check| check.name == name);
            checks.any(|check| check.expect.is_stated())
        };
        stage::run(self.run, self.system, stage, fault, &stated).await
    }

    /// Puts the stage's own state back, where a fault is planted or may be. To be called in every exit.
    pub async fn put_back(&mut self) -> Result<(), NotPutBack> {
        self.planted.put_back().await
    }
}

/// Whether the fault makes any release another than the stage's own.
async fn differs(
    run: &RunContext,
    scenario: &Scenario,
    stage: &Stage,
    fault: &Broken,
) -> Result<bool, StageError> {
    let releases = scenario.install.iter().flatten();
    let differ = releases.map(async |release| {
        let (own, faulty) =
            (stage_values(release, &[&stage.values]), stage_values(release, &[&stage.values, &fault.values]));
        makes_a_difference(run, scenario, release, [&own, &faulty]).await
    });
    Ok(try_join_all(differ).await?.into_iter().any(|differs| differs))
}

/// A fault was not taken out again.
#[derive(Debug, thiserror::Error)]
#[error(
    "scenario {scenario}: a fault is still planted: stage `{stage}` could not be put back\n\
     hint: `svidproof test --stage {stage}` brings it back, `svidproof down` takes all down"
)]
pub struct NotPutBack {
    scenario: String,
    stage: String,
    source: PutBackError,
}

#[derive(Debug, thiserror::Error)]
enum PutBackError {
    #[error(transparent)]
    Wait(#[from] WaitError<StageError>),
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// A scenario that may have a fault in it.
struct Planted<'a> {
    run: &'a RunContext,
    scenario: &'a Scenario,
    /// Whose state is not its own.
    stage: Option<&'a Stage>,
}

impl Planted<'_> {
    async fn put_back(&mut self) -> Result<(), NotPutBack> {
        let Some(stage) = self.stage else { return Ok(()) };
        let step = self.run.progress.phase(format!("{}: {} put back", self.scenario.name, stage.name));
        let what = format!("stage {} to be as it was", stage.name);
        let look = async || match stage::bring(self.run, self.scenario, stage, &BTreeMap::new()).await {
            Ok(_) => Look::Ready(()),
            // Helm was interrupted, and takes its leave.
            Err(error) if chain(&error).contains("another operation") => Look::NotYet(chain(&error)),
            Err(error) => Look::Fatal(error),
        };
        let put_back = wait::within(&what, PUT_BACK, wait::poll(&what, PUT_BACK, AGAIN, look)).await;
        let put_back: Result<(), PutBackError> = match put_back {
            Ok(waited) => waited.map_err(Into::into),
            Err(gave_up) => Err(gave_up.into()),
        };
        let (scenario, name) = (self.scenario.name.clone(), stage.name.clone());
        put_back.map_err(|source| NotPutBack { scenario, stage: name, source })?;
        self.stage = None;
        step.done();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
