//! Faults that a scenario must notice: planted on purpose, to prove that its checks can fail.

use crate::proof::judge::Judged;
use crate::proof::verdict::{Exit, Totals, Verdict};
use crate::scenario::Broken;
use crate::session::{RunContext, System};
use crate::stage::{self, StageError};

/// Runs the fault's stage with the fault over it.
pub async fn plant(context: &RunContext, system: &System, fault: &Broken) -> Result<Vec<Judged>, StageError> {
    let Some(stage) = system.scenario.stages.iter().find(|stage| stage.name == fault.stage) else {
        return Ok(vec![]);
    };
    stage::run(context, system, stage, &fault.values, &|_| true).await
}

/// What of the fault went unnoticed: each named check must fail (not err) at least once, and the run's own
/// exit status must be 1.
pub fn unnoticed(fault: &Broken, judged: &[Judged]) -> Vec<String> {
    let red =
        |name: &String| judged.iter().any(|one| one.cell.check == *name && one.verdict == Verdict::Failed);
    let mut problems: Vec<_> =
        fault.red.iter().filter(|name| !red(name)).map(|name| format!("`{name}` did not turn red")).collect();
    let totals: Totals = judged.iter().map(|one| one.verdict).collect();
    let (exit, wanted) = (totals.exit(), Exit::CheckFailed);
    if exit != wanted {
        problems.push(format!("the exit status would be {}, not {}", exit.code(), wanted.code()));
    }
    problems
}
