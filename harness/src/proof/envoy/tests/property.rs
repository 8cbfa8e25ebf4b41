//! Whatever others do, it is not this port's; whatever falls, it is an error.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const BESIDE: &str = "http.second.downstream_rq_total";

/// Counters of other listeners, managers, filters and clusters.
const OTHERS: [&str; 9] = [
    "listener.0.0.0.0_9002.downstream_cx_total",
    "listener.0.0.0.0_9002.ssl.fail_verify_no_cert",
    "listener.0.0.0.0_9002.no_filter_chain_match",
    BESIDE,
    "http.second.rbac.denied",
    "http.in.rbac.shadow_denied",
    "cluster.other.upstream_rq_total",
    "cluster.other.upstream_rq_retry",
    "cluster.far.upstream_rq_total",
];

const OWN: [&str; 11] = [
    COUNTERS[0],
    COUNTERS[1],
    COUNTERS[2],
    COUNTERS[3],
    COUNTERS[4],
    COUNTERS[5],
    COUNTERS[6],
    COUNTERS[7],
    COUNTERS[8],
    "http.in.rbac.denied",
    "http.in.rbac.allowed",
];

fn meter() -> Meter {
    let mut dump = Dump::filter(http("rbac", json!({"rules": {}})));
    dump.listeners.push(listener("0.0.0.0", 9002, vec![hcm(json!({"stat_prefix": "second"}))]));
    dump.meter()
}

fn values(names: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<&'static str, (u64, u64)>> {
    let one = (0..1_000_000_u64, 0..1_000_u64);
    proptest::collection::vec(one, names.len()).prop_map(|all| names.iter().copied().zip(all).collect())
}

/// The reading before, and that after every counter grew by what it has second.
fn readings(all: &BTreeMap<&'static str, (u64, u64)>) -> (Stats, Stats) {
    let before = all.iter().map(|(name, (value, _))| (*name, *value)).collect();
    (before, all.iter().map(|(name, (value, more))| (*name, value + more)).collect())
}

proptest! {
    #[test]
    fn what_others_count_is_elsewhere_or_nothing(others in values(&OTHERS), own in values(&OWN)) {
        let mut all = others.clone();
        all.extend(own.iter().map(|(name, (value, _))| (*name, (*value, 0))));
        let (before, after) = readings(&all);
        let seen = meter().between(&before, &after).unwrap();
        let expected: BTreeMap<_, _> = [("other", 6), ("far", 8)]
            .into_iter()
            .map(|(cluster, at)| (cluster.to_owned(), others[OTHERS[at]].1))
            .filter(|(_, grown)| *grown > 0)
            .collect();
        // What comes to the other port goes to the same cluster.
        let beside = others[BESIDE].1;
        prop_assert_eq!(seen, Happened { elsewhere: expected, beside, ..Happened::default() });
    }

    #[test]
    fn what_falls_is_an_error(own in values(&OWN), which in 0..OWN.len(), by in 1..1_000_u64) {
        let (before, after) = readings(&own);
        let name = OWN[which];
        let high = after.get(name).unwrap() + by;
        let before = own.keys().map(|one| (*one, if *one == name { high } else { before.get(one).unwrap() }));
        let error = meter().between(&before.collect(), &after).unwrap_err();
        let said = format!("`{name}` went from {high} back to");
        prop_assert!(error.starts_with(&said), "{}", error);
    }

    #[test]
    fn what_is_forwarded_is_never_nothing(own in values(&OWN), more in 1..1_000_u64) {
        let mut own = own;
        own.get_mut("cluster.app.upstream_rq_total").unwrap().1 = more;
        own.insert(BESIDE, (0, 0));
        let (before, after) = readings(&own);
        prop_assert_eq!(meter().between(&before, &after).unwrap().counted.forwarded, more);
    }
}
