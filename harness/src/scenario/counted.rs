//! What an Envoy counts while it is dialled. Where it counts it, and what a cell must have moved, are
//! others' to say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Events at an enforcing Envoy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Counted {
    /// Handshakes without a certificate: `ssl.fail_verify_no_cert`.
    #[serde(default)]
    pub no_cert: u64,
    /// Handshakes with a SAN that is not on the list: `ssl.fail_verify_san`.
    #[serde(default)]
    pub san: u64,
    /// Handshakes with a chain that does not verify: `ssl.fail_verify_error`.
    #[serde(default)]
    pub chain: u64,
    /// Requests that the RBAC filter denied: `http.*.rbac.denied`.
    #[serde(default)]
    pub denied: u64,
    /// Requests that went on to the application: `cluster.*.upstream_rq_total`.
    #[serde(default)]
    pub forwarded: u64,
    /// Handshakes that broke off for another reason than the client's certificate: `ssl.connection_error`.
    #[serde(default)]
    pub broken: u64,
    /// Connections that no filter chain takes: `listener.*.no_filter_chain_match`. Left out where there are
    /// none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_chain: u64,
    /// Connections that a network RBAC filter closed: `*.rbac.denied` of its own prefix. Left out where
    /// there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub network_rbac: u64,
    /// Requests that an external authorizer denied: `http.*.ext_authz.denied`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub authz_denied: u64,
    /// Requests that were turned away since the authorizer gave no answer: `http.*.ext_authz.error`, without
    /// those of `authz_open`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub authz_error: u64,
    /// Requests that were let in though the authorizer gave no answer:
    /// `http.*.ext_authz.failure_mode_allowed`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub authz_open: u64,
    /// Requests that the JWT filter denied: `http.*.jwt_authn.denied`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jwt_denied: u64,
    /// Requests that the RBAC filter allowed: `http.*.rbac.allowed`. Nobody writes it down: it is what was
    /// forwarded, where there is a filter.
    #[serde(default, skip_deserializing)]
    pub allowed: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl std::ops::Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Counted {
    /// What was counted in between. An Envoy that was restarted meanwhile counts from 0 again: its account
    /// then does not agree, which is right.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            no_cert: both(self.no_cert, other.no_cert),
            san: both(self.san, other.san),
            chain: both(self.chain, other.chain),
            denied: both(self.denied, other.denied),
            forwarded: both(self.forwarded, other.forwarded),
            broken: both(self.broken, other.broken),
            no_chain: both(self.no_chain, other.no_chain),
            network_rbac: both(self.network_rbac, other.network_rbac),
            authz_denied: both(self.authz_denied, other.authz_denied),
            authz_error: both(self.authz_error, other.authz_error),
            authz_open: both(self.authz_open, other.authz_open),
            jwt_denied: both(self.jwt_denied, other.jwt_denied),
            allowed: both(self.allowed, other.allowed),
        }
    }
}

/// The counter that what was expected moves, where what the client sees does not tell which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No certificate was presented.
    NoCert,
    /// The SAN is not on the list.
    San,
    /// The chain does not verify.
    Chain,
    /// It broke off for another reason.
    Broken,
    /// The RBAC filter denied the request.
    Denied,
    /// An external authorizer (`ext_authz`) denied it.
    AuthzDenied,
    /// The authorizer gave no answer, and the request was turned away.
    AuthzError,
    /// The authorizer gave no answer, and the request was let in all the same (`failure_mode_allow`).
    AuthzOpen,
    /// The JWT filter (`jwt_authn`) denied it.
    JwtDenied,
}

impl Kind {
    /// What may refuse a handshake.
    pub const OF_HANDSHAKES: [Self; 4] = [Self::NoCert, Self::San, Self::Chain, Self::Broken];
    /// What may deny a request.
    pub const DENIALS: [Self; 4] = [Self::Denied, Self::AuthzDenied, Self::AuthzError, Self::JwtDenied];

    /// Whether a request is denied by it.
    pub fn is_denial(self) -> bool {
        Self::DENIALS.contains(&self)
    }

    /// As a scenario writes it, which is the counter's name in [`Counted`] too.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoCert => "no-cert",
            Self::San => "san",
            Self::Chain => "chain",
            Self::Broken => "broken",
            Self::Denied => "denied",
            Self::AuthzDenied => "authz-denied",
            Self::AuthzError => "authz-error",
            Self::AuthzOpen => "authz-open",
            Self::JwtDenied => "jwt-denied",
        }
    }

    /// What is counted where it happens once.
    pub fn once(self) -> Counted {
        let none = Counted::default();
        match self {
            Self::NoCert => Counted { no_cert: 1, ..none },
            Self::San => Counted { san: 1, ..none },
            Self::Chain => Counted { chain: 1, ..none },
            Self::Broken => Counted { broken: 1, ..none },
            Self::Denied => Counted { denied: 1, ..none },
            Self::AuthzDenied => Counted { authz_denied: 1, ..none },
            Self::AuthzError => Counted { authz_error: 1, ..none },
            Self::AuthzOpen => Counted { authz_open: 1, ..none },
            Self::JwtDenied => Counted { jwt_denied: 1, ..none },
        }
    }
}

/// Why an Envoy ends a connection without an answer and without a TLS alert, by the counter that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CutOff {
    /// No filter chain of the listener takes it: a server name, a protocol or an address that none matches.
    NoChain,
    /// A network RBAC filter denied it.
    NetworkRbac,
    /// The client speaks plain text, and the port TLS alone. Envoy counts a handshake that broke off.
    NotTls,
}

impl CutOff {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::NoChain, Self::NetworkRbac, Self::NotTls];

    /// What is counted where it happens once.
    pub fn once(self) -> Counted {
        let none = Counted::default();
        match self {
            Self::NoChain => Counted { no_chain: 1, ..none },
            Self::NetworkRbac => Counted { network_rbac: 1, ..none },
            Self::NotTls => Counted { broken: 1, ..none },
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Kind::NoCert, "no-cert")]
    #[case(Kind::San, "san")]
    #[case(Kind::Chain, "chain")]
    #[case(Kind::Broken, "broken")]
    #[case(Kind::Denied, "denied")]
    #[case(Kind::AuthzDenied, "authz-denied")]
    #[case(Kind::AuthzError, "authz-error")]
    #[case(Kind::AuthzOpen, "authz-open")]
    #[case(Kind::JwtDenied, "jwt-denied")]
    fn each_kind_is_counted_in_its_place(#[case] kind: Kind, #[case] key: &str) {
        assert_eq!((kind.word(), serde_json::to_value(kind).unwrap()), (key, key.into()));
        let counted = serde_json::to_value(kind.once()).unwrap();
        let counters = counted.as_object().unwrap();
        assert_eq!(counters[key], 1);
        assert_eq!(counters.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 1);
    }

    #[rstest]
    #[case(CutOff::NoChain, "no-chain")]
    #[case(CutOff::NetworkRbac, "network-rbac")]
    #[case(CutOff::NotTls, "broken")]
    fn each_cut_is_counted_in_its_place(#[case] cut: CutOff, #[case] key: &str) {
        let counted = serde_json::to_value(cut.once()).unwrap();
        let counters = counted.as_object().unwrap();
        assert_eq!(counters[key], 1);
        assert_eq!(counters.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 1);
        assert_eq!(CutOff::ALL.iter().filter(|one| **one == cut).count(), 1);
    }

    #[test]
    fn what_was_counted_in_between_adds_up() {
        let before = Counted { no_cert: 1, forwarded: 5, ..Counted::default() };
        let between =
            Counted { no_cert: 2, denied: 1, allowed: 4, no_chain: 5, network_rbac: 6, ..Counted::default() };
        assert_eq!((before + between).since(before), between);
        assert_eq!(before.since(before), Counted::default());
    }

    #[test]
    fn an_envoy_that_was_restarted_does_not_count_below_zero() {
        let before = Counted { san: 7, ..Counted::default() };
        assert_eq!(Counted { san: 3, chain: 1, ..Counted::default() }.since(before), Kind::Chain.once());
    }

    #[test]
    fn what_was_allowed_is_not_for_a_scenario_to_say() {
        assert!(serde_saphyr::from_str::<Counted>("{allowed: 1}").is_err());
        assert_eq!(serde_saphyr::from_str::<Counted>("{no-cert: 1}").unwrap(), Kind::NoCert.once());
    }
}
