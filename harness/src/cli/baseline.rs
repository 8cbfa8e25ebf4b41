//! The surface that is kept in the project: accepted once, and compared with from then on.

use std::path::PathBuf;

use super::exit::{Ended, print};
use crate::proof::judge::Judged;
use crate::proof::verdict::Verdict;
use crate::scenario::Scenario;
use crate::surface;
use crate::sys::progress::Progress;

/// Where a scenario's surfaces are kept, and of which stages.
pub(super) struct Baseline {
    scenario: String,
    folder: PathBuf,
    stages: Vec<String>,
}

impl Baseline {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let stages = scenario.stages.iter().map(|stage| stage.name.clone()).collect();
        Self { scenario: scenario.name.clone(), folder: surface::folder(&scenario.root), stages }
    }
}

/// Keeps the surfaces. What failed is kept as it is: the checks say what should be, the surface what is.
pub(super) fn accept(judged: &[Judged], baselines: &[Baseline], progress: &Progress) -> Result<(), Ended> {
    let errored = judged.iter().filter(|one| one.verdict == Verdict::Errored).count();
    if errored > 0 {
        return Err(Ended::not_judged(format!(
            "nothing is accepted: {errored} cell(s) errored, so nobody knows what is open there\n\
             hint: the table says why; mend that, and accept again"
        )));
    }
    let surfaces = surface::surfaces(judged);
    for Baseline { scenario, folder, stages } in baselines {
        for path in surface::store(folder, scenario, stages.iter().map(String::as_str), &surfaces)? {
            let did = if path.exists() { "wrote" } else { "removed" };
            progress.note(&format!("{did} {}", path.display()));
        }
    }
    Ok(())
}

/// Prints what changed against the surfaces that are kept; whether something opened up.
pub(super) fn compare(
    judged: &[Judged],
    baselines: &[Baseline],
    only: Option<&str>,
    progress: &Progress,
) -> Result<bool, Ended> {
    let surfaces = surface::surfaces(judged);
    let mut opened = false;
    for Baseline { scenario, folder, .. } in baselines {
        let mut old = surface::load(folder, scenario)?;
        old.retain(|surface| only.is_none_or(|only| surface.stage == only));
        let new: Vec<_> = surfaces.iter().filter(|surface| surface.scenario == *scenario).cloned().collect();
        if old.is_empty() {
            if !new.is_empty() {
                progress.note(&format!(
                    "no surface of {scenario} is kept to compare with: \
                     `svidproof test --accept` keeps this one"
                ));
            }
            continue;
        }
        let changes = surface::diff(&old, &new);
        opened |= surface::opened(&changes);
        print(&format!(
            "\n{scenario}, against the surface that is kept:\n{}",
            surface::change_list(&changes)
        ))?;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome, Timing};

    use super::super::exit::Exit;
    use super::*;
    use crate::proof::{judge, plan};

    /// What one check comes to in a folder for its surfaces.
    fn seen(outcome: Outcome, folder: &Path) -> (Vec<Judged>, Vec<Baseline>) {
        let scenario = crate::scenario::read_text(
            "scenario: web
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints: {web: {service: a/web, port: 443, identity: /web}}
clients: {friend: /friend}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
",
        );
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
        let baseline = Baseline { folder: folder.into(), ..Baseline::of(&scenario) };
        (judged, vec![baseline])
    }

    fn status(status: u16) -> Outcome {
        Outcome::Response {
            status,
            http: Http::Http1,
            headers: vec![],
            body: String::new(),
            body_cut: false,
            trailers: vec![],
        }
    }

    #[test]
    fn what_is_accepted_is_compared_with_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::new();
        let compared = |outcome, only| {
            let (judged, baselines) = seen(outcome, dir.path());
            compare(&judged, &baselines, only, &progress).unwrap()
        };
        assert!(!compared(status(200), None), "nothing is kept yet");
        // A check that failed does not keep its surface from being kept.
        let (judged, baselines) = seen(status(403), dir.path());
        assert_eq!(judged[0].verdict, Verdict::Failed);
        accept(&judged, &baselines, &progress).unwrap();
        assert!(compared(status(200), None) && compared(status(200), Some("open")));
        assert!(!compared(status(403), None));
        assert!(!compared(status(200), Some("another")), "of that stage nothing is kept");
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
