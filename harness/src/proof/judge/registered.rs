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
    let err = |mut judged: Judged| {
        let Cell { client, endpoint, .. } = &judged.cell;
        let client = scenario.clients.get(client).into_iter().flat_map(Client::attested);
        let endpoint = scenario.endpoints.get(endpoint).and_then(|endpoint| endpoint.identity.as_deref());
        let why = client.chain(endpoint).find_map(|identity| why(scenario, identity, lost));
        if let Some(why) = why.filter(|_| judged.verdict != Verdict::Skipped) {
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

    fn judged(verdict: Verdict, lost: Result<BTreeSet<String>, String>) -> (Verdict, String) {
        let scenario = one_check();
        let cell = plan(&scenario, &scenario.stages[0], "word").remove(0);
        let all = registered(&scenario, vec![Judged::untried(cell, verdict, String::new())], &lost);
        (all[0].verdict, all[0].reason.clone())
    }

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
        let (verdict, reason) = judged(verdict, lost);
        assert_eq!(verdict, expected);
        assert!(reason.contains(words) && (words.is_empty() == reason.is_empty()), "{reason}");
    }
}
