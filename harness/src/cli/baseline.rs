//! The surface that is kept in the project: accepted once, and compared with from then on.

use std::path::PathBuf;

use super::exit::Ended;
use crate::project::Project;
use crate::proof::judge::Judged;
use crate::proof::verdict::Verdict;
use crate::scenario::Scenario;
use crate::surface::{self, Change, Surface};
use crate::sys::progress::Progress;

/// A scenario's surfaces as they are kept, where, and of which stages.
pub(super) struct Baseline {
    scenario: String,
    folder: PathBuf,
    /// Where reports go, if nobody says otherwise.
    pub(super) out: PathBuf,
    stages: Vec<String>,
    kept: Vec<Surface>,
}

/// What the comparison of all scenarios came to.
#[derive(Default)]
pub(super) struct Compared {
    /// Of all scenarios, the most dangerous first. Absent where nothing is kept of any.
    pub(super) changes: Option<Vec<Change>>,
    pub(super) worse: bool,
    /// How many cells are kept that were not observed.
    pub(super) unseen: usize,
    /// How many recorded cells are compared with nothing.
    pub(super) new: usize,
}

impl Baseline {
    /// Reads what is kept: a file that cannot be read is told before anything is made.
    pub(super) fn of(scenario: &Scenario) -> Result<Self, Ended> {
        let stages = scenario.stages.iter().map(|stage| stage.name.clone()).collect();
        let project = Project::at(&scenario.root)?;
        let (folder, out) = (project.snapshots(), project.out());
        let kept = surface::load(&folder, &scenario.name).map_err(Ended::input)?;
        Ok(Self { scenario: scenario.name.clone(), folder, out, stages, kept })
    }

    /// Only what is kept of the stages that the scenario has.
    pub(super) fn of_its_stages(mut self) -> Self {
        self.kept.retain(|one| self.stages.contains(&one.stage));
        self
    }

    /// Of a scenario with no stage, of which nothing is kept.
    #[cfg(test)]
    pub(super) fn none(scenario: &str) -> Self {
        Self {
            out: PathBuf::new(),
            scenario: scenario.into(),
            folder: PathBuf::new(),
            stages: vec![],
            kept: vec![],
        }
    }

    pub(super) fn all(scenarios: &[Scenario]) -> Result<Vec<Self>, Ended> {
        scenarios.iter().map(Self::of).collect()
    }
}

/// Keeps the surfaces. What failed is kept as it is: the checks say what should be, the surface what is. Of
/// cells that were not observed stays what was kept.
pub(super) fn accept(judged: &[Judged], baselines: &[Baseline], progress: &Progress) -> Result<(), Ended> {
    let doubtful = |one: &&Judged| matches!(one.verdict, Verdict::Errored | Verdict::Flaky);
    let errored = judged.iter().filter(doubtful).count();
    if errored > 0 {
        return Err(Ended::not_judged(format!(
            "nothing is accepted: {errored} cell(s) errored, if only once, so nobody knows what is open\n\
             hint: the table says why; mend that, and accept again"
        )));
    }
    let mut surfaces = surface::observed(judged);
    for Baseline { scenario, folder, stages, kept, .. } in baselines {
        surface::keep_unseen(&mut surfaces, kept, judged);
        for path in surface::store(folder, scenario, stages.iter().map(String::as_str), &surfaces)? {
            let did = if path.exists() { "wrote" } else { "removed" };
            progress.note(&format!("{did} {}", path.display()));
        }
    }
    Ok(())
}

/// Holds the cells against the surfaces that are kept: a recorded one that is worse fails. `only`: of this
/// stage; `whole`: these are all cells of their stages.
pub(super) fn compare(
    judged: &mut [Judged],
    baselines: &[Baseline],
    only: Option<&str>,
    whole: bool,
) -> Compared {
    let mut compared = Compared::default();
    for Baseline { scenario, kept, .. } in baselines {
        let kept: Vec<_> =
            kept.iter().filter(|one| only.is_none_or(|only| one.stage == only)).cloned().collect();
        // A scenario's cells stand together.
        let is_its = |one: &Judged| one.cell.scenario == *scenario;
        let first = judged.iter().position(is_its).unwrap_or(judged.len());
        let count = judged[first..].iter().take_while(|one| is_its(one)).count();
        let held = surface::hold(&mut judged[first..first + count], &kept, whole);
        compared.new += held.new;
        if kept.is_empty() {
            continue;
        }
        compared.worse |= surface::worse(&held.changes);
        compared.unseen += held.unseen;
        compared.changes.get_or_insert_default().extend(held.changes);
    }
    // Stable: within one danger, the order stays.
    compared.changes.iter_mut().for_each(|changes| changes.sort_by_key(|change| change.danger));
    compared
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use svidproof_probe::protocol::{DialFailure, Observation, Outcome, Timing};

    use super::super::exit::Exit;
    use super::*;
    use crate::proof::{judge, plan, response};

    /// What one check comes to in a folder for its surfaces.
    fn seen(outcome: Outcome, folder: &Path) -> (Vec<Judged>, Vec<Baseline>) {
        let scenario = crate::scenario::one_check();
        let cells = plan::plan(&scenario, &scenario.stages[0], "run");
        let observation = Observation { outcome, tls: None, timing: Timing::default() };
        let dial = judge::Dialled {
            id: "dial".into(),
            cell: cells[0].id.clone(),
            pod: None,
            observation,
            earlier: vec![],
        };
        let window = judge::Window { dials: vec![dial], witnesses: BTreeMap::new() };
        let judged = judge::judge(&scenario, &cells, &[window], &BTreeMap::new());
        let baseline = Baseline { folder: folder.into(), ..Baseline::of(&scenario).unwrap() };
        (judged, vec![baseline])
    }

    fn status(status: u16) -> Outcome {
        response(status, &[], "")
    }

    /// Compared with what is kept by now.
    fn compared(outcome: Outcome, only: Option<&str>, folder: &Path) -> Compared {
        let (mut judged, _) = seen(outcome, folder);
        let kept = surface::load(folder, "web").unwrap();
        let baseline = Baseline { kept, ..seen(status(200), folder).1.remove(0) };
        compare(&mut judged, &[baseline], only, true)
    }

    #[test]
    fn what_is_accepted_is_compared_with_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::new();
        let compared = |outcome, only| compared(outcome, only, dir.path());
        let first = compared(status(200), None);
        assert!(!first.worse && first.changes.is_none(), "nothing is kept yet");
        // A check that failed does not keep its surface from being kept.
        let (judged, baselines) = seen(status(403), dir.path());
        assert_eq!(judged[0].verdict, Verdict::Failed);
        accept(&judged, &baselines, &progress).unwrap();
        assert!(compared(status(200), None).worse && compared(status(200), Some("open")).worse);
        assert!(!compared(status(403), None).worse);
        assert!(!compared(status(200), Some("another")).worse, "of that stage nothing is kept");
    }

    /// It may have changed: nobody looked.
    #[test]
    fn what_was_not_observed_is_not_told_as_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let (judged, baselines) = seen(status(200), dir.path());
        accept(&judged, &baselines, &Progress::new()).unwrap();
        let told = |outcome| {
            let compared = compared(outcome, None, dir.path());
            (compared.changes.map(|changes| changes.len()), compared.unseen)
        };
        let undone = Outcome::Failed { kind: DialFailure::Unasked, detail: "nobody asked".into() };
        assert_eq!(told(undone), (Some(0), 1));
        assert_eq!(told(status(200)), (Some(0), 0));
    }

    #[test]
    fn what_errored_is_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (judged, baselines) =
            seen(Outcome::Failed { kind: DialFailure::TimedOut, detail: String::new() }, dir.path());
        assert_eq!(judged[0].verdict, Verdict::Errored);
        let ended = accept(&judged, &baselines, &Progress::new()).unwrap_err();
        assert_eq!(ended.exit, Exit::NotJudged);
        assert!(ended.to_string().contains("1 cell(s) errored"), "{ended}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
