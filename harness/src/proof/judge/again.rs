//! What is tried once more, and what both tries come to. The second try can make nothing pass: what could not
//! be judged in one of them and was as expected in the other is flaky, and what failed in either failed.

use std::collections::{BTreeMap, BTreeSet};

use svidproof_probe::protocol::Outcome;

use super::Judged;
use super::alike::came_to;
use super::words::is_an_end;
use crate::proof::verdict::Verdict::{self, Errored, Failed, Flaky, Skipped};

/// Where more cells than this errored, none is tried once more: that is no flake but a state, and a second
/// try of all of them would only take as long again.
const MOST: usize = 32;

/// Has what errored in a stage tried once more, in windows of its own, by whoever can: `retry` gets the
/// numbers of those cells, and dials them and their controls anew.
///
/// What was not dialled is not tried again: it was waited for already, as long as such a thing may take. Nor
/// is what only follows a control that failed: that is known.
pub async fn twice(
    first: Vec<Judged>,
    retry: impl AsyncFnOnce(&BTreeSet<String>) -> Result<Vec<Judged>, String>,
) -> Vec<Judged> {
    let doubtful = doubtful(&first);
    if doubtful.is_empty() || doubtful.len() > MOST {
        return first;
    }
    let told = retry(&doubtful).await;
    let mut second: BTreeMap<_, _> = told
        .as_ref()
        .map(|all| all.iter().map(|one| (one.cell.number().to_owned(), one.clone())).collect())
        .unwrap_or_default();
    let each = first.into_iter().map(|mut one| {
        let number = one.cell.number();
        if let Some(again) = second.remove(number) {
            return both(one, again);
        }
        if doubtful.contains(number) {
            let why = told.as_ref().err().map_or("it did not come back", String::as_str);
            one.reason = format!("{}\nit could not be tried once more: {why}", one.reason);
        }
        one
    });
    each.collect()
}

/// The numbers of the cells that a second try may settle.
fn doubtful(judged: &[Judged]) -> BTreeSet<String> {
    let failed: BTreeSet<_> =
        judged.iter().filter(|one| one.verdict == Failed).map(|one| one.cell.check.as_str()).collect();
    let follows = |one: &Judged| one.cell.control.as_deref().is_some_and(|control| failed.contains(control));
    let may = judged.iter().filter(|one| one.verdict == Errored && one.observed.is_some() && !follows(one));
    may.map(|one| one.cell.number().to_owned()).collect()
}

/// One cell's two tries. One that was only made again as another's control counts as well.
fn both(first: Judged, second: Judged) -> Judged {
    let (before, now) = (in_words(&first), in_words(&second));
    let unlike = is_seen(&first) && is_seen(&second) && before != now;
    let otherwise =
        if unlike { format!("; it came to something else: {before}, then {now}") } else { String::new() };
    let reason = match (first.verdict, second.verdict) {
        (Failed, _) | (_, Skipped) => return first,
        (_, Failed) => {
            let reason = format!("{}\nbefore that, {}", second.reason, told(&first));
            return Judged { reason, ..second };
        }
        (Errored, Errored) if first.reason == second.reason => {
            format!("{}\ntried once more, it came to the same", first.reason)
        }
        (Errored, _) => format!("{}\ntried once more, {}{otherwise}", first.reason, told(&second)),
        (_, Errored) => format!("{}, and then, as a control, {}{otherwise}", told(&first), told(&second)),
        _ => return first,
    };
    let verdict = if unlike || first.verdict == second.verdict { Errored } else { Flaky };
    let stands = match verdict {
        // A surface must not hide that something got through.
        Errored if openness(&first) > openness(&second) => first,
        Flaky if second.verdict == Errored => first,
        _ => second,
    };
    Judged { verdict, reason, ..stands }
}

fn told(one: &Judged) -> String {
    match one.verdict {
        Verdict::Passed => "it passed".into(),
        Verdict::ClientSide => "it was as expected by the client's side".into(),
        Verdict::Recorded => "both sides told the same".into(),
        Errored | Failed | Flaky | Skipped => format!("it errored: {}", one.reason),
    }
}

fn in_words(one: &Judged) -> String {
    one.observed.as_ref().map(|seen| came_to(seen, None, one.cut_off)).unwrap_or_default()
}

/// Whether the client saw how it ended: an answer, a refusal, or an end that the server's own counter tells.
fn is_seen(one: &Judged) -> bool {
    one.observed.as_ref().is_some_and(|seen| match seen.outcome {
        Outcome::Failed { kind, .. } => one.cut_off.is_some() && is_an_end(kind),
        _ => true,
    })
}

/// How far the client came: as the surface has it.
fn openness(one: &Judged) -> u8 {
    match one.observed.as_ref().map(|seen| &seen.outcome) {
        Some(Outcome::Bytes { .. } | Outcome::Response { status: ..=399, .. }) => 4,
        Some(Outcome::Response { .. }) => 3,
        _ if !is_seen(one) => 2,
        _ => 1,
    }
}
