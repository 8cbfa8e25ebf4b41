//! Two readings: what is missing, and what went back.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::scenario::Counted;

fn policed() -> Dump {
    let filter = http("rbac", json!({"rules": {}}));
    Dump::network(vec![
        network("rbac", json!({"stat_prefix": "net"})),
        hcm(json!({"http_filters": [filter, router(json!({}))]})),
    ])
}

const POLICIES: [&str; 3] = ["net.rbac.denied", "http.in.rbac.denied", "http.in.rbac.allowed"];

/// Every counter of a port, each with a value of its own.
fn all() -> Vec<(&'static str, u64)> {
    COUNTERS.into_iter().chain(POLICIES).zip(1..).collect()
}

fn read(values: &[(&str, u64)]) -> Stats {
    values.iter().copied().collect()
}

#[test]
fn each_counter_is_what_it_counts() {
    let zero: Vec<_> = all().iter().map(|(name, _)| (*name, 0)).collect();
    let seen = policed().meter().between(&read(&zero), &read(&all())).unwrap();
    assert_eq!((seen.counted.no_chain, seen.counted.network_rbac), (1, 11));
    assert_eq!((seen.connections, seen.requests, seen.retries), (2, 7, 9));
    assert_eq!(seen.elsewhere.get("other"), Some(&10));
    let counted = seen.counted;
    assert_eq!((counted.no_cert, counted.san, counted.chain, counted.broken), (3, 4, 5, 6));
    assert_eq!((counted.forwarded, counted.denied, counted.allowed), (8, 12, 13));
}

/// Of two pods: each count with its like.
#[test]
fn both_together_is_the_sum_of_each() {
    let of = |from: u64| Happened {
        counted: Counted { san: from, ..Counted::default() },
        retries: from + 1,
        elsewhere: BTreeMap::from([("both".to_owned(), from + 2), (format!("alone-{from}"), 1)]),
        mirrored: from + 3,
        requests: from + 5,
        connections: from + 6,
        beside: from + 7,
    };
    let both = Happened {
        counted: Counted { san: 110, ..Counted::default() },
        retries: 112,
        elsewhere: BTreeMap::from([("both".into(), 114), ("alone-10".into(), 1), ("alone-100".into(), 1)]),
        mirrored: 116,
        requests: 120,
        connections: 122,
        beside: 124,
    };
    assert_eq!(of(10).plus(&of(100)), both);
}

#[test]
fn only_what_came_between_is_counted() {
    let later: Vec<_> = all().iter().map(|(name, value)| (*name, value + 1)).collect();
    let seen = policed().meter().between(&read(&all()), &read(&later)).unwrap();
    assert_eq!((seen.counted.no_chain, seen.counted.network_rbac, seen.counted.no_cert), (1, 1, 1));
    assert_eq!((seen.connections, seen.requests, seen.retries), (1, 1, 1));
    assert_eq!(seen.elsewhere.get("other"), Some(&1));
    let same = policed().meter().between(&read(&all()), &read(&all())).unwrap();
    assert_eq!(same, Happened::default());
}

#[test]
fn a_counter_that_is_not_listed_is_named() {
    for (name, _) in all().into_iter().filter(|(name, _)| !name.contains(".other.")) {
        let rest: Vec<_> = all().into_iter().filter(|(one, _)| *one != name).collect();
        let why = policed().meter().between(&read(&rest), &read(&rest)).unwrap_err();
        assert!(why.contains(&format!("does not list the counter `{name}`")), "{why}");
        assert!(why.contains("stats_config.stats_matcher"), "{why}");
        // What was not there and then is was made meanwhile.
        policed().meter().between(&read(&rest), &read(&all())).unwrap();
    }
}

#[test]
fn a_counter_that_fell_or_vanished_is_of_another_start() {
    for (name, value) in all() {
        let fallen: Vec<_> =
            all().into_iter().map(|(one, v)| (one, if one == name { v - 1 } else { v })).collect();
        let why = policed().meter().between(&read(&all()), &read(&fallen)).unwrap_err();
        let words =
            format!("`{name}` went from {value} back to {}: Envoy was started anew meanwhile", value - 1);
        assert_eq!(why, words);
        let gone: Vec<_> = all().into_iter().filter(|(one, _)| *one != name).collect();
        let why = policed().meter().between(&read(&all()), &read(&gone)).unwrap_err();
        assert!(why.contains(&format!("`{name}` was {value} and is not listed any more")), "{why}");
    }
}

/// Also where each of them counted more since than before.
#[test]
fn a_start_meanwhile_is_seen_by_the_time_that_envoy_is_up() {
    let up = |seconds: u64| {
        let mut values = all();
        values.push(("server.uptime", seconds));
        read(&values)
    };
    let meter = policed().meter();
    assert!(meter.between(&up(9), &up(3)).unwrap_err().contains("`server.uptime` went from 9 back to 3"));
    assert_eq!(meter.between(&up(3), &up(9)).unwrap(), Happened::default());
}

const DEFERRED: &str = "enable_deferred_creation_stats";

#[test]
fn counters_of_clusters_may_come_when_they_are_first_used() {
    let deferred = |on: bool| policed().bootstrap(json!({"deferred_stat_options": {DEFERRED: on}}));
    let rest: Vec<_> = all().into_iter().filter(|(name, _)| !name.starts_with("cluster.")).collect();
    let meter = deferred(true).meter();
    assert_eq!(meter.between(&read(&rest), &read(&rest)).unwrap(), Happened::default());
    assert_eq!(meter.between(&read(&rest), &read(&all())).unwrap().counted.forwarded, 8);
    // Those that were there do not go away by themselves.
    let why = meter.between(&read(&all()), &read(&rest)).unwrap_err();
    assert!(why.contains("`cluster.app.upstream_rq_total` was 8"), "{why}");
    let why = deferred(false).meter().between(&read(&rest), &read(&rest)).unwrap_err();
    assert!(why.contains("`cluster.app.upstream_rq_total`"), "{why}");
    // Listeners and policies count from the start.
    let why = meter.between(&read(&[]), &read(&[])).unwrap_err();
    assert!(why.contains("does not list"), "{why}");
}

/// Then a counter that is not there may be one that is left out although it moved.
#[test]
fn counters_that_may_be_left_out_are_needed_also_where_they_may_come_late() {
    let bootstrap = json!({
        "deferred_stat_options": {DEFERRED: true},
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "cluster.app"}]}}},
    });
    let rest: Vec<_> = all().into_iter().filter(|(name, _)| !name.starts_with("cluster.")).collect();
    let why = policed().bootstrap(bootstrap).meter().between(&read(&rest), &read(&rest)).unwrap_err();
    assert!(why.contains("`cluster.app.upstream_rq_total`"), "{why}");
}

#[test]
fn readings_are_lines_of_a_name_and_a_number() {
    let text = "cluster.a: b.x: 4\nhttp.in.rq: 7 \nversion: \"x\"\nhistogram: No recorded values\n\nnoise\n";
    let stats = Stats::read(text);
    assert_eq!((stats.get("cluster.a: b.x"), stats.get("http.in.rq")), (Some(4), Some(7)));
    assert_eq!(stats, [("cluster.a: b.x", 4), ("http.in.rq", 7)].into_iter().collect());
    assert_eq!(stats.get("version"), None);
}

#[test]
fn only_requests_to_clusters_are_elsewhere() {
    let meter = Dump::default().meter();
    for (name, elsewhere) in [
        ("cluster.new.upstream_rq_total", 1),
        ("cluster.a.b.upstream_rq_total", 1),
        ("cluster.new.upstream_rq_retry", 0),
        ("cluster.new.external.upstream_rq_200", 0),
        ("vhost.v.upstream_rq_total", 0),
    ] {
        assert_eq!(happened(&meter, &[(name, 2)]).elsewhere.len(), elsewhere, "{name}");
    }
    let moved = happened(&meter, &[("cluster.new.upstream_rq_total", 2)]);
    assert_eq!(moved.elsewhere.get("new"), Some(&2));
}
