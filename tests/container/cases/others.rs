//! Who else is there: health checks, other clients, other ports, and counters that are not.

use serde_json::{Value, json};

use super::answers::direct;
use super::{Case, DENIED, NOBODY, Port, SERVED, STRANGER, Verdict, Verdicts, check, denying, served};
use crate::envoy::config::{ANOTHER, cluster, dynamic, to};

fn hiding(pattern: Value) -> Value {
    json!({"stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [pattern]}}}})
}

/// Another port, whose requests go where `cluster` is.
fn beside(target: &str) -> Port {
    Port { routes: json!([to("/", target)]), clusters: vec![cluster("~side", ANOTHER)], ..denying() }
}

/// With nothing on an answer that tells whose it is.
fn bare(routes: Value) -> Port {
    Port { routes, router: json!({"suppress_envoy_headers": true}), ..Port::default() }
}

fn feigned() -> Value {
    json!([direct("/missing", 404, "no"), to("/", "~app")])
}

/// Another port, whose requests go to the application of the port before it.
fn denying_to_below() -> Port {
    Port { routes: json!([to("/", "p~below-app")]), ..denying() }
}

pub(super) fn cases() -> Vec<Case> {
    let checked = || Port {
        app: json!({"health_checks": [{"timeout": "1s", "interval": "0.01s", "no_traffic_interval": "0.01s",
            "unhealthy_threshold": 3, "healthy_threshold": 1, "http_health_check": {"path": "/prices"}}]}),
        ..denying()
    };
    let there: Verdicts = &[
        (SERVED, Verdict::Errored, "meanwhile"),
        (DENIED, Verdict::Errored, "meanwhile"),
        (STRANGER, Verdict::Errored, "meanwhile"),
        (NOBODY, Verdict::Errored, "meanwhile"),
    ];
    let with = |name, ports: Vec<Port>, crowd, broken: Vec<Port>| Case {
        ports,
        crowd: Some(crowd),
        broken: ("the filter is gone", broken),
        red: &[DENIED],
        ..Case::new(name, Port::default())
    };
    let open = |port: Port| Port { filters: vec![], ..port };
    let shared = |port: Port| Port { hcm: json!({"stat_prefix": "common"}), ..port };
    vec![
        Case::new("health checks", checked()).broken("the filter is gone", open(checked()), &[DENIED]),
        with("another client for a while", vec![denying()], (0, 2), vec![Port::default()]),
        // A connection on which nothing is said is counted as one, and as nothing else.
        Case {
            knocks: true,
            ..with("a TCP probe all the time", vec![denying()], (0, 1000), vec![Port::default()])
        },
        with("another client all the time", vec![denying()], (0, 1000), vec![Port::default()]).but(there),
        with(
            "another client at another port",
            vec![denying(), beside("~side")],
            (1, 1000),
            vec![Port::default(), beside("~side")],
        ),
        with(
            "another client at another port with the same counters",
            vec![shared(denying()), shared(beside("~side"))],
            (1, 1000),
            vec![shared(Port::default()), shared(beside("~side"))],
        )
        .exclusive(),
        // Its requests are forwarded, ours are answered here, and no header says so.
        Case {
            ports: vec![bare(feigned()), denying_to_below()],
            crowd: Some((1, 1000)),
            broken: ("the application answers", vec![bare(json!([to("/", "~app")])), denying_to_below()]),
            ..Case::new("another client at another port that leads to the same cluster", Port::default())
        }
        .checks([served(), check("its own 404", "friend", "GET /missing", "{by: application}")])
        .but(&[(SERVED, Verdict::Errored, "meanwhile"), ("its own 404", Verdict::Errored, "meanwhile")]),
        Case::new("counters of clusters that are left out", denying())
            .alone(hiding(json!({"prefix": "cluster."})))
            .but(&[
                (
                    SERVED,
                    Verdict::Errored,
                    "upstream_rq_total`: is it left out by `stats_config.stats_matcher`",
                ),
                (
                    DENIED,
                    Verdict::Errored,
                    "upstream_rq_total`: is it left out by `stats_config.stats_matcher`",
                ),
                (STRANGER, Verdict::Errored, "is it left out by `stats_config.stats_matcher`"),
                (NOBODY, Verdict::Errored, "is it left out by `stats_config.stats_matcher`"),
            ])
            .broken("the filter is gone", Port::default(), &[DENIED]),
        Case::new("counters of policies that are left out", denying())
            .alone(hiding(json!({"contains": ".rbac."})))
            .but(&[
                (SERVED, Verdict::Errored, "rbac.denied`: is it left out"),
                (DENIED, Verdict::Errored, "rbac.denied`: is it left out"),
                (STRANGER, Verdict::Errored, "rbac.denied`: is it left out"),
                (NOBODY, Verdict::Errored, "rbac.denied`: is it left out"),
            ])
            .broken("the filter is gone", Port::default(), &[DENIED])
            .fallen(&[
                (SERVED, Verdict::Passed, ""),
                (STRANGER, Verdict::Passed, ""),
                (NOBODY, Verdict::Passed, ""),
            ]),
        Case::new("counters of TLS that are left out", denying())
            .alone(hiding(json!({"contains": ".ssl.fail_verify"})))
            .but(&[
                (SERVED, Verdict::Errored, "fail_verify_no_cert`: is it left out"),
                (DENIED, Verdict::Errored, "fail_verify_no_cert`: is it left out"),
                (STRANGER, Verdict::Errored, "fail_verify_no_cert`: is it left out"),
                (NOBODY, Verdict::Errored, "fail_verify_no_cert`: is it left out"),
            ])
            .broken("the filter is gone", Port::default(), &[DENIED]),
        Case::new("listeners, clusters and routes that come by discovery", denying())
            .alone(dynamic())
            .broken("the filter is gone", Port::default(), &[DENIED]),
        Case::new("counters that are made late", denying())
            .alone(json!({"deferred_stat_options": {"enable_deferred_creation_stats": true}}))
            .broken("the filter is gone", Port::default(), &[DENIED]),
    ]
}
