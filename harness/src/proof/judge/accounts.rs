//! Both accounts of one endpoint side by side: what the clients' outcomes must have caused, and what its
//! Envoys counted.

use svidproof_probe::protocol::Outcome;

use super::origin::Origin;
use super::window::{Dialled, Witness};
use crate::proof::envoy::Happened;
use crate::scenario::{Counted, CutOff};

/// What else went on there, as far as it explains a difference.
pub(super) fn others(witness: &Witness, happened: &Happened, dials: usize) -> String {
    let dials = dials as u64;
    let mut words = String::new();
    if happened.requests > dials {
        words += &format!("; {} requests came there meanwhile, {dials} of ours", happened.requests);
    } else if happened.reached() > dials {
        words += &format!("; {} connections came there meanwhile, {dials} of ours", happened.reached());
    } else if happened.beside > 0 {
        let beside = happened.beside;
        words += &format!("; meanwhile {beside} came to a port of the same Envoy that counts there too");
    }
    for remark in &witness.remarks {
        words += &format!("; {remark}");
    }
    words
}

/// How often what is tallied once may be counted.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) came: u64,
    pub(super) forwarded: u64,
}

impl Times {
    pub(super) const ONCE: Self = Self { came: 1, forwarded: 1 };
}

/// How what was tallied and what was counted differ, in words.
pub(super) fn differ(tallied: &Counted, happened: &Happened, times: Times) -> Vec<String> {
    let counted = &happened.counted;
    let refusals = ("refusal for want of a certificate", "refusals for want of a certificate");
    let kinds = [
        (tallied.no_cert, counted.no_cert, refusals, "fail_verify_no_cert"),
        (tallied.san, counted.san, ("SAN refusal", "SAN refusals"), "fail_verify_san"),
        (tallied.chain, counted.chain, ("chain refusal", "chain refusals"), "fail_verify_error"),
        (tallied.broken, counted.broken, ("broken handshake", "broken handshakes"), "connection_error"),
        (tallied.denied, counted.denied, ("RBAC denial", "RBAC denials"), "rbac.denied"),
        (tallied.jwt_denied, counted.jwt_denied, ("JWT denial", "JWT denials"), "jwt_authn.denied"),
        (
            tallied.authz_denied,
            counted.authz_denied,
            ("denial by the authorizer", "denials by the authorizer"),
            "ext_authz.denied",
        ),
        (
            tallied.authz_error,
            counted.authz_error,
            ("request refused for want of the authorizer", "requests refused for want of the authorizer"),
            "ext_authz.error",
        ),
        (
            tallied.forwarded,
            counted.forwarded,
            ("forwarded request", "forwarded requests"),
            "upstream_rq_total",
        ),
        (
            tallied.no_chain,
            counted.no_chain,
            ("connection that no chain takes", "connections that no chain takes"),
            "no_filter_chain_match",
        ),
        (
            tallied.network_rbac,
            counted.network_rbac,
            ("connection cut off by a policy", "connections cut off by a policy"),
            "network rbac.denied",
        ),
    ];
    let differing = kinds.iter().filter(|(tallied, counted, _, counter)| {
        let most = match *counter {
            "upstream_rq_total" => times.forwarded,
            "rbac.denied" | "jwt_authn.denied" | "ext_authz.denied" | "ext_authz.error" => times.came,
            _ => 1,
        };
        tallied != counted && !(*tallied == 1 && (1..=most).contains(counted))
    });
    let differing = differing.map(|(tallied, counted, (one, many), counter)| {
        let what = if *tallied == 1 { one } else { many };
        format!("clients saw {tallied} {what}, Envoy counted {counted} ({counter})")
    });
    differing.chain(let_in(tallied, happened, times)).collect()
}

/// Who was let in without an authorizer's word has the application's answer like any other: where nobody else
/// was there, it was the one that was dialled.
fn let_in(tallied: &Counted, happened: &Happened, times: Times) -> Option<String> {
    let (tallied, counted) = (tallied.authz_open, happened.counted.authz_open);
    let ours = tallied == 0 && counted.max(happened.requests) <= times.came;
    (tallied != counted && !ours).then(|| {
        format!(
            "Envoy let {counted} request(s) in whose authorizer gave no answer \
             (ext_authz.failure_mode_allowed)"
        )
    })
}

/// Whether its connection must have been counted (`downstream_cx_total`). One that no filter chain takes is
/// not.
pub(super) fn is_counted(dial: &Dialled, origin: Origin) -> bool {
    match (&dial.observation.outcome, origin) {
        (_, Origin::CutOff(cut)) => cut != CutOff::NoChain,
        (Outcome::Failed { .. }, _) => false,
        _ => true,
    }
}

/// What ours should have shown there and did not, in words: somebody else answered.
pub(super) fn missed(connected: u64, came: u64, happened: &Happened) -> Vec<String> {
    let mut missed = vec![];
    if happened.connections < connected {
        missed.push(format!(
            "clients made {connected} connection(s), Envoy counted {} (downstream_cx_total): somebody else \
             listens there",
            happened.connections
        ));
    }
    if happened.requests < came {
        missed.push(format!(
            "{came} request(s) should have come there, Envoy counted {} (downstream_rq_total): another \
             was asked",
            happened.requests
        ));
    }
    missed
}
