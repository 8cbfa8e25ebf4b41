//! What was dialled with an identity that is none any more says nothing: a workload holds its SVID for a
//! while after its entry is gone.

use std::collections::BTreeSet;

use super::Judged;
use crate::proof::plan::Cell;
use crate::proof::verdict::Verdict;
use crate::scenario::{Client, Scenario};

/// Errs the cells whose client's or server's identity the SPIRE server has no entry for after the windows:
/// the paths of `lost`, or, where that is not known for the reason given, all.
pub fn registered(
    scenario: &Scenario,
    judged: Vec<Judged>,
    lost: &Result<BTreeSet<String>, String>,
) -> Vec<Judged> {
    let why = |judged: &Judged| {
        let Cell { client, endpoint, .. } = &judged.cell;
        let client = scenario.clients.get(client).into_iter().flat_map(Client::attested);
        // Each on the way proved its own.
        let servers = scenario.route(endpoint).filter_map(|name| scenario.endpoints.get(name));
        let servers = servers.filter_map(|endpoint| endpoint.identity.as_deref());
        let why = client.chain(servers).find_map(|identity| why(scenario, identity, lost));
        why.filter(|_| judged.verdict != Verdict::Skipped)
    };
    let doubtful: BTreeSet<_> =
        judged.iter().filter(|one| why(one).is_some()).map(|one| one.cell.check.clone()).collect();
    let err = |mut judged: Judged| {
        let control = judged.cell.control.as_ref().filter(|control| doubtful.contains(*control));
        let of_control = || {
            let of_control = |control| format!("its control says nothing: {control} (see there)");
            let is_good = matches!(judged.verdict, Verdict::Passed | Verdict::ClientSide);
            control.map(of_control).filter(|_| is_good)
        };
        if let Some(why) = why(&judged).or_else(of_control) {
            judged.reason =
                if judged.reason.is_empty() { why } else { format!("{why}; besides: {}", judged.reason) };
            judged.verdict = Verdict::Errored;
        }
        judged
    };
    judged.into_iter().map(err).collect()
}

fn why(scenario: &Scenario, identity: &str, lost: &Result<BTreeSet<String>, String>) -> Option<String> {
    let id = || scenario.spiffe_id(identity);
    match lost {
        Ok(lost) if !lost.contains(identity) => None,
        Ok(_) => Some(format!(
            "the SPIRE server has no entry for {} any more: it was proved with an SVID of before\n\
             hint: does a controller delete entries that it did not make (`entryIDPrefix`)?",
            id()
        )),
        Err(why) => {
            Some(format!("whether the SPIRE server still has an entry for {} is not known: {why}", id()))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::proof::plan::plan;
    use crate::scenario::one_check;

    fn judged(verdict: Verdict, lost: &Result<BTreeSet<String>, String>) -> (Verdict, String) {
        let scenario = one_check();
        let cell = plan(&scenario, &scenario.stages[0], "word").remove(0);
        let all = registered(&scenario, vec![Judged::untried(cell, verdict, String::new())], lost);
        (all[0].verdict, all[0].reason.clone())
    }

    /// Nobody has no identity to lose, and is refused for nothing where who must get in was not shown to.
    #[test]
    fn a_control_that_is_lost_shows_nothing() {
        let scenario = one_check();
        let cell = plan(&scenario, &scenario.stages[0], "word").remove(0);
        let refused = Cell {
            check: "nobody is refused".into(),
            client: "nobody".into(),
            control: Some(cell.check.clone()),
            ..cell.clone()
        };
        let both_as = |verdict: Verdict, lost: &[&str]| {
            let all = [(cell.clone(), Verdict::Passed), (refused.clone(), verdict)];
            let all = all.map(|(cell, verdict)| Judged::untried(cell, verdict, String::new())).to_vec();
            registered(&scenario, all, &paths(lost)).into_iter().map(|one| one.verdict).collect::<Vec<_>>()
        };
        for seen in [Verdict::Passed, Verdict::ClientSide] {
            assert_eq!(both_as(seen, &["/friend"]), [Verdict::Errored, Verdict::Errored]);
            assert_eq!(both_as(seen, &["/other"]), [Verdict::Passed, seen]);
        }
    }

    #[test]
    fn who_is_forwarded_to_proves_an_identity_too() {
        let mut scenario = one_check();
        let cell = plan(&scenario, &scenario.stages[0], "word").remove(0);
        let mut behind = scenario.endpoints[&cell.endpoint].clone();
        behind.identity = Some("/behind".into());
        scenario.endpoints.insert("behind".into(), behind);
        scenario.endpoints.get_mut(&cell.endpoint).unwrap().upstream = Some("behind".into());
        let one = Judged::untried(cell, Verdict::Passed, String::new());
        let all = registered(&scenario, vec![one], &paths(&["/behind"]));
        assert_eq!(all[0].verdict, Verdict::Errored);
    }

    #[allow(clippy::unnecessary_wraps, reason = "as what is lost is told")]
    fn paths(paths: &[&str]) -> Result<BTreeSet<String>, String> {
        Ok(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[rstest]
    #[case::all_there(Verdict::Passed, paths(&[]), Verdict::Passed, "")]
    #[case::another_is_lost(Verdict::Passed, paths(&["/other"]), Verdict::Passed, "")]
    #[case::lost(
        Verdict::Passed,
        paths(&["/friend"]),
        Verdict::Errored,
        "has no entry for spiffe://example.org/friend any more"
    )]
    #[case::the_servers_own(
        Verdict::Passed,
        paths(&["/web"]),
        Verdict::Errored,
        "has no entry for spiffe://example.org/web any more"
    )]
    #[case::recorded(Verdict::Recorded, paths(&["/friend"]), Verdict::Errored, "has no entry")]
    #[case::failed(Verdict::Failed, paths(&["/friend"]), Verdict::Errored, "has no entry")]
    #[case::not_known(Verdict::Passed, Err("it is gone".into()), Verdict::Errored, "is not known: it is gone")]
    #[case::not_tried(Verdict::Skipped, paths(&["/friend"]), Verdict::Skipped, "")]
    fn nothing_passes_on_an_identity_that_is_none_any_more(
        #[case] verdict: Verdict,
        #[case] lost: Result<BTreeSet<String>, String>,
        #[case] expected: Verdict,
        #[case] words: &str,
    ) {
        let (verdict, reason) = judged(verdict, &lost);
        assert_eq!(verdict, expected);
        assert!(reason.contains(words) && (words.is_empty() == reason.is_empty()), "{reason}");
    }
}
