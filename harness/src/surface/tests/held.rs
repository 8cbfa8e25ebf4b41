//! Recorded cells against what is kept.

use super::*;

/// What is kept where the dials came to `before`, and the cells of now.
fn scene(
    before: &[(&str, &str, protocol::Outcome)],
    now: &[(&str, &str, protocol::Outcome)],
) -> (Vec<Surface>, Vec<Judged>) {
    (surfaces(&judged(before)), judged(now))
}

const SEND: &str = "send: GET /balances/balance_1";

#[rstest]
#[case::the_same(alert(46), alert(46), Verdict::Recorded)]
#[case::opened(alert(46), answer(200, "x"), Verdict::Failed)]
#[case::refused_later(alert(46), local(403, ""), Verdict::Failed)]
#[case::no_longer_shown(alert(46), failed(DialFailure::TimedOut), Verdict::Failed)]
#[case::anothers_data(answer(200, "mine"), answer(200, "another's"), Verdict::Failed)]
#[case::anothers_refusal(answer(404, "mine"), answer(404, "another's"), Verdict::Failed)]
#[case::refused_otherwise(alert(46), alert(48), Verdict::Recorded)]
#[case::closed(answer(200, "x"), alert(46), Verdict::Recorded)]
fn a_recorded_cell_that_is_worse_than_before_fails(
    #[case] before: protocol::Outcome,
    #[case] now: protocol::Outcome,
    #[case] verdict: Verdict,
) {
    let (kept, mut now) = scene(&[("frontend-2", SEND, before)], &[("frontend-2", SEND, now)]);
    let held = hold(&mut now, &kept, true);
    assert_eq!(now[0].verdict, verdict);
    assert_eq!(worse(&held.changes), verdict == Verdict::Failed);
    assert_eq!(now[0].reason.contains("(was: "), verdict == Verdict::Failed, "{}", now[0].reason);
    assert_eq!(held.new, 0);
}

#[test]
fn a_cell_of_which_something_is_expected_is_its_checks_matter() {
    let (kept, mut now) = scene(&[("frontend", SEND, alert(46))], &[("frontend", SEND, answer(200, "x"))]);
    now[0].verdict = Verdict::Passed;
    let held = hold(&mut now, &kept, true);
    assert_eq!(now[0].verdict, Verdict::Passed);
    assert!(worse(&held.changes), "but what changed is told");
}

#[test]
fn what_is_not_kept_is_compared_with_nothing() {
    let mut now = judged(&[("frontend", SEND, alert(46)), ("nobody", SEND, alert(116))]);
    let held = hold(&mut now, &[], true);
    assert_eq!((held.new, now[0].verdict), (2, Verdict::Recorded));
    let kept = surfaces(&now[..1]);
    assert_eq!(hold(&mut now, &kept, true).new, 1);
}

#[test]
fn what_is_kept_and_not_tried_is_gone_where_all_was_to_be_tried() {
    let both = [("frontend", SEND, alert(46)), ("nobody", SEND, alert(116))];
    let (kept, mut now) = scene(&both, &both[..1]);
    let held = hold(&mut now, &kept, true);
    assert!(worse(&held.changes) && held.changes[0].danger == Danger::Gone, "{held:?}");
    assert_eq!(hold(&mut now, &kept, false), Held::default());
}

/// Nor of one that nobody could make, such as from outside of a cluster that nothing is published of.
#[rstest]
#[case(None)]
#[case(Some(DialFailure::Unasked))]
#[case(Some(DialFailure::Credential))]
fn of_a_cell_that_was_not_observed_nothing_is_learnt(#[case] failure: Option<DialFailure>) {
    let both = [("frontend", SEND, answer(200, "x")), ("nobody", SEND, alert(116))];
    let (kept, mut now) = scene(&both, &both);
    now[1].observed =
        failure.map(|kind| Observation { outcome: failed(kind), tls: None, timing: Timing::default() });
    now[1].verdict = Verdict::Errored;
    assert_eq!(hold(&mut now, &kept, true), Held { unseen: 1, ..Held::default() });
    let mut surfaces = observed(&now);
    assert_ne!(surfaces, kept);
    keep_unseen(&mut surfaces, &kept, &now);
    assert_eq!(surfaces, kept);
}

/// Two stages of a scenario have cells of the same names.
#[test]
fn what_is_kept_is_kept_of_its_own_stage() {
    let of = |stage: &str, outcome: protocol::Outcome| {
        let mut all = judged(&[("frontend", SEND, outcome), ("nobody", SEND, alert(116))]);
        for one in &mut all {
            one.cell.stage = stage.into();
        }
        all
    };
    let before = [of("first", alert(46)), of("second", answer(200, "x"))].concat();
    let kept = surfaces(&before);
    let mut now = before;
    for one in now.iter_mut().filter(|one| one.cell.client == "frontend") {
        one.observed = None;
    }
    let mut again = observed(&now);
    assert_ne!(again, kept);
    keep_unseen(&mut again, &kept, &now);
    assert_eq!(again, kept);
}
