//! What a scenario noticed of a fault: its checks with the fault beside those without it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::proof::judge::Judged;
use crate::proof::verdict::{Exit, Totals, Verdict};
use crate::scenario::Broken;

/// What came of a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Why it does not count as noticed, in words; empty where it does.
    pub problems: Vec<String>,
    /// What else there is to say of it.
    pub notes: Vec<String>,
}

impl Noticed {
    /// It was not even planted.
    pub(super) fn nothing(why: String) -> Self {
        Self { problems: vec![why], notes: vec![] }
    }
}

/// Each check that the fault names must fail (not err) at least once where it does not without the fault, all
/// others must stay as they are without it, and the run's own exit status must be 1.
pub fn noticed(fault: &Broken, sound: &[Judged], judged: &[Judged]) -> Noticed {
    let before: BTreeMap<_, _> = sound.iter().map(|one| (one.cell.number(), one.verdict)).collect();
    let turned = |one: &&Judged| before.get(one.cell.number()) != Some(&one.verdict);
    let mut noticed = Noticed::default();
    for name in &fault.red {
        let failed = || judged.iter().filter(|one| one.cell.check == *name && one.verdict == Verdict::Failed);
        if failed().next().is_none() {
            noticed.problems.push(format!("`{name}` did not turn red"));
        } else if failed().find(turned).is_none() {
            noticed.problems.push(format!("`{name}` is red without the fault as well, so it tells nothing"));
        }
    }
    let is_red = |one: &&Judged| {
        use Verdict::{Errored, Failed, Flaky, Skipped};
        matches!(one.verdict, Failed | Errored | Flaky | Skipped)
    };
    let others = judged.iter().filter(|one| !fault.red.contains(&one.cell.check));
    let (mut told, mut follow) = (BTreeSet::new(), vec![]);
    let mut forged: BTreeMap<_, usize> = BTreeMap::new();
    for one in others.filter(is_red).filter(turned) {
        if one.cell.forged.is_some() {
            *forged.entry(&one.cell.endpoint).or_default() += 1;
        } else if told.insert(&one.cell.check) {
            if follows_its_control(fault, one) {
                follow.push(format!("`{}`", one.cell.check));
            } else {
                noticed.problems.push(format!(
                    "`{}` did not stay green, and the fault does not name it: {}",
                    one.cell.check, one.reason
                ));
            }
        }
    }
    noticed.notes.extend(forged.into_iter().map(|(endpoint, count)| {
        format!("of the forged credentials at {endpoint}, {count} came to something else as well")
    }));
    if !follow.is_empty() {
        noticed.notes.push(format!("not judged, since their control is red: {}", follow.join(", ")));
    }
    let totals: Totals = judged.iter().map(|one| one.verdict).collect();
    let (exit, wanted) = (totals.exit(), Exit::CheckFailed);
    if exit != wanted {
        noticed.problems.push(format!("the exit status would be {}, not {}", exit.code(), wanted.code()));
    }
    noticed
}

/// It could not be judged, for no other reason than that its control is among the red ones: whoever has no
/// control left says nothing of the fault, and the control says it.
fn follows_its_control(fault: &Broken, one: &Judged) -> bool {
    let Some(control) = one.cell.control.as_ref().filter(|control| fault.red.contains(control)) else {
        return false;
    };
    // Doubts of the cell itself come first in its reason; of several pods, the pod does.
    let own = one.reason.strip_prefix("at pod ").and_then(|rest| rest.split_once(": "));
    let reason = own.map_or(one.reason.as_str(), |(_, reason)| reason);
    one.verdict == Verdict::Errored && reason.starts_with(&format!("the control `{control}` "))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::proof::plan::plan;
    use crate::proof::verdict::Verdict::{Errored, Failed, Flaky, Passed, Skipped};

    const SCENARIO: &str = "\
scenario: web
trust-domain: example.org
spire: {namespace: spire, server: s, socket-dir: /run}
install: []
registration: []
endpoints: {web: {service: a/web, port: 443, identity: /web, admin: 1}}
clients: {friend: /friend, stranger: /stranger, nobody: none}
stages:
  - stage: open
    checks:
      - {check: served, as: friend, to: web, send: [GET /, GET /a], expect: {status: 200}}
      - {check: refused, as: stranger, to: web, send: GET /, expect: {alert: certificate_unknown}, control: served}
      - {check: nobody, as: nobody, to: web, send: GET /, expect: {alert: certificate_required}, control: served}
broken:
  - {broken: hole, stage: open, values: {}, red: [refused]}
";

    /// Of each cell its verdict, in the order of the plan (`served` is two), and the reason of whatever is
    /// red.
    fn judged(run: &str, verdicts: [Verdict; 4], reason: &str) -> Vec<Judged> {
        let scenario = crate::scenario::read_text(SCENARIO);
        let cells = plan(&scenario, &scenario.stages[0], run);
        let judge = |(cell, verdict): (crate::proof::plan::Cell, Verdict)| {
            let reason = if verdict == Passed { String::new() } else { reason.into() };
            Judged::untried(cell, verdict, reason)
        };
        cells.into_iter().zip(verdicts).map(judge).collect()
    }

    fn told(red: &[&str], sound: [Verdict; 4], with: [Verdict; 4], reason: &str) -> Noticed {
        let mut fault = crate::scenario::read_text(SCENARIO).broken.remove(0);
        fault.red = red.iter().map(ToString::to_string).collect();
        noticed(&fault, &judged("first", sound, "it was red"), &judged("second", with, reason))
    }

    const GREEN: [Verdict; 4] = [Passed; 4];

    #[rstest]
    #[case::ok(GREEN, [Passed, Passed, Failed, Passed], &[])]
    #[case::not_noticed(
        GREEN, GREEN,
        &["`refused` did not turn red", "the exit status would be 0, not 1"]
    )]
    #[case::an_error_is_not_enough(
        GREEN, [Passed, Passed, Errored, Passed],
        &["`refused` did not turn red", "the exit status would be 3, not 1"]
    )]
    #[case::red_without_it(
        [Passed, Passed, Failed, Passed], [Passed, Passed, Failed, Passed],
        &["`refused` is red without the fault as well, so it tells nothing"]
    )]
    #[case::another_fails(
        GREEN, [Passed, Passed, Failed, Failed],
        &["`nobody` did not stay green, and the fault does not name it: why"]
    )]
    #[case::another_errs(
        GREEN, [Passed, Passed, Failed, Errored],
        &["`nobody` did not stay green, and the fault does not name it: why"]
    )]
    #[case::another_errs_once(
        GREEN, [Passed, Passed, Failed, Flaky],
        &["`nobody` did not stay green, and the fault does not name it: why"]
    )]
    #[case::another_is_not_tried(
        GREEN, [Passed, Passed, Failed, Skipped],
        &["`nobody` did not stay green, and the fault does not name it: why"]
    )]
    #[case::a_part_of_another(
        GREEN, [Passed, Failed, Failed, Passed],
        &["`served` did not stay green, and the fault does not name it: why"]
    )]
    #[case::another_was_red_before([Passed, Passed, Passed, Failed], [Passed, Passed, Failed, Failed], &[])]
    #[case::another_was_of_another_red(
        [Passed, Passed, Passed, Errored], [Passed, Passed, Failed, Failed],
        &["`nobody` did not stay green, and the fault does not name it: why"]
    )]
    fn what_a_fault_leaves_alone_stays_as_it_is(
        #[case] sound: [Verdict; 4],
        #[case] with: [Verdict; 4],
        #[case] expected: &[&str],
    ) {
        assert_eq!(told(&["refused"], sound, with, "why").problems, expected);
    }

    #[rstest]
    #[case::its_control_alone("the control `served` did not hold: status 503", "")]
    #[case::at_one_of_several_pods("at pod web-1: the control `served` did not hold: status 503", "")]
    #[case::a_doubt_of_its_own(
        "there is no evidence from web; the control `served` did not hold: status 503",
        "`nobody` did not stay green"
    )]
    fn whoever_has_no_control_left_says_nothing(#[case] reason: &str, #[case] expected: &str) {
        let told = told(&["served"], GREEN, [Failed, Failed, Passed, Errored], reason);
        assert_eq!(told.problems.is_empty(), expected.is_empty(), "{told:?}");
        assert!(told.problems.iter().all(|problem| problem.starts_with(expected)), "{told:?}");
        let noted = ["not judged, since their control is red: `nobody`".to_owned()];
        assert_eq!(told.notes == noted, expected.is_empty(), "{told:?}");
    }

    #[test]
    fn a_control_that_the_fault_does_not_name_is_no_excuse() {
        let reason = "the control `served` did not hold: status 503";
        let told = told(&["refused"], GREEN, [Passed, Passed, Failed, Errored], reason);
        assert_eq!(told.problems.len(), 1, "{told:?}");
    }

    #[test]
    fn what_fails_is_never_excused_by_its_control() {
        let told = told(&["served"], GREEN, [Failed, Failed, Passed, Failed], "the control `served` is red");
        assert_eq!(told.problems.len(), 1, "{told:?}");
    }

    #[test]
    fn a_forged_credential_is_told_and_no_more() {
        let fault = crate::scenario::read_text(SCENARIO).broken.remove(0);
        let sound = judged("first", GREEN, "");
        let mut with = judged("second", [Passed, Passed, Failed, Failed], "why");
        with[3].cell.forged = Some("rogue-ca".into());
        let told = noticed(&fault, &sound, &with);
        assert_eq!(told.problems, Vec::<String>::new());
        assert_eq!(told.notes, ["of the forged credentials at web, 1 came to something else as well"]);
    }
}
