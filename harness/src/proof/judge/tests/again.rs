//! What two tries of a cell come to: never more than the worse of them.

use std::cell::RefCell;

use futures::executor::block_on;
use svidproof_probe::protocol::Timing;

use super::super::again::twice;
use super::*;
use crate::proof::verdict::Verdict::{ClientSide, Errored, Failed, Flaky, Passed, Recorded, Skipped};

fn one(check: &str, control: Option<&str>, verdict: Verdict, outcome: Option<Outcome>) -> Judged {
    let mut cell = cell(check, "friend", "backend", Expect::default());
    cell.control = control.map(Into::into);
    let reason = if matches!(verdict, Passed | ClientSide | Recorded) { "" } else { "why" };
    let mut judged = Judged::untried(cell, verdict, reason.into());
    judged.observed = outcome.map(|outcome| Observation { outcome, tls: None, timing: Timing::default() });
    judged
}

#[allow(clippy::unnecessary_wraps, reason = "what was not dialled has none")]
fn ok() -> Option<Outcome> {
    Some(response(200, &[], ""))
}

#[allow(clippy::unnecessary_wraps, reason = "what was not dialled has none")]
fn alert(number: u8) -> Option<Outcome> {
    Some(Outcome::Alert { number })
}

#[allow(clippy::unnecessary_wraps, reason = "what was not dialled has none")]
fn timed_out() -> Option<Outcome> {
    Some(Outcome::Failed { kind: DialFailure::TimedOut, detail: String::new() })
}

/// What comes of it, and which cells were tried again.
fn tried(first: Vec<Judged>, second: Result<Vec<Judged>, String>) -> (Vec<Judged>, Vec<String>) {
    let asked = RefCell::new(vec![]);
    let judged = block_on(twice(first, async |numbers| {
        asked.borrow_mut().extend(numbers.iter().cloned());
        second
    }));
    (judged, asked.into_inner())
}

#[rstest]
#[case::passed_later((Errored, timed_out()), (Passed, ok()), Flaky, ok())]
#[case::recorded_later((Errored, timed_out()), (Recorded, ok()), Flaky, ok())]
#[case::as_far_as_the_client_sees((Errored, timed_out()), (ClientSide, alert(46)), Flaky, alert(46))]
#[case::the_same_answer_and_evidence_later((Errored, ok()), (Passed, ok()), Flaky, ok())]
#[case::errored_again((Errored, timed_out()), (Errored, timed_out()), Errored, timed_out())]
#[case::failed_later((Errored, timed_out()), (Failed, ok()), Failed, ok())]
#[case::another_answer((Errored, ok()), (Recorded, alert(46)), Errored, ok())]
#[case::another_answer_that_is_more_open((Errored, alert(46)), (Recorded, ok()), Errored, ok())]
#[case::errored_with_what_is_more_open((Errored, alert(46)), (Errored, ok()), Errored, ok())]
#[case::no_refusal_stands_for_nothing((Errored, timed_out()), (Errored, alert(46)), Errored, timed_out())]
#[case::not_tried((Errored, timed_out()), (Skipped, None), Errored, timed_out())]
fn two_tries_are_as_bad_as_the_worse(
    #[case] first: (Verdict, Option<Outcome>),
    #[case] second: (Verdict, Option<Outcome>),
    #[case] verdict: Verdict,
    #[case] seen: Option<Outcome>,
) {
    let (first, second) = (one("a", None, first.0, first.1), one("a", None, second.0, second.1));
    let (judged, asked) = tried(vec![first], Ok(vec![second]));
    assert_eq!(asked, ["a"]);
    assert_eq!((judged[0].verdict, judged[0].observed.clone().map(|seen| seen.outcome)), (verdict, seen));
    assert!(judged[0].reason.contains("why"), "{}", judged[0].reason);
}

/// A control that is made again for another's sake is no less a dial of its own.
#[rstest]
#[case::holds(Passed, Passed)]
#[case::errs(Errored, Flaky)]
#[case::fails(Failed, Failed)]
fn a_control_is_made_again_with_what_needs_it(#[case] again: Verdict, #[case] expected: Verdict) {
    let of = |control: Verdict, refused: Verdict| {
        vec![one("served", None, control, ok()), one("refused", Some("served"), refused, alert(46))]
    };
    let (judged, asked) = tried(of(Passed, Errored), Ok(of(again, Passed)));
    assert_eq!(asked, ["refused"]);
    assert_eq!([judged[0].verdict, judged[1].verdict], [expected, Flaky]);
}

#[rstest]
#[case::all_is_well(vec![one("a", None, Passed, ok()), one("b", None, Failed, ok())])]
#[case::what_was_not_dialled(vec![one("a", None, Errored, None)])]
#[case::what_follows_a_control_that_failed(
    vec![one("a", None, Failed, ok()), one("b", Some("a"), Errored, alert(46))]
)]
#[case::what_is_no_flake((0..33).map(|n| one(&n.to_string(), None, Errored, timed_out())).collect())]
fn what_a_second_try_cannot_settle_is_not_tried_again(#[case] first: Vec<Judged>) {
    let (judged, asked) = tried(first.clone(), Ok(vec![]));
    assert_eq!(asked, Vec::<String>::new());
    assert_eq!(judged, first);
}

#[test]
fn what_cannot_be_tried_again_says_so_and_stays_errored() {
    let first = || vec![one("a", None, Errored, timed_out()), one("b", None, Passed, ok())];
    for (second, why) in [(Err("the pod is gone".into()), "the pod is gone"), (Ok(vec![]), "did not come")] {
        let (judged, _) = tried(first(), second);
        assert_eq!([judged[0].verdict, judged[1].verdict], [Errored, Passed]);
        assert!(
            judged[0].reason.contains("could not be tried once more: ") && judged[0].reason.contains(why)
        );
    }
}

/// Whoever reads why a check errs looks at the beginning.
#[test]
fn the_first_reason_stands_first() {
    let (judged, _) =
        tried(vec![one("a", None, Errored, timed_out())], Ok(vec![one("a", None, Passed, ok())]));
    assert_eq!(judged[0].reason, "why\ntried once more, it passed");
}
