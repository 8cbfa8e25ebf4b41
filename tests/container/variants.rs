//! The listeners under test, each with what it opens: the variants of TLS, and those of the policy. A new one
//! is one more entry of a table here, with a port of its own. Not for how they are held against a scenario.

use svidproof::proof::verdict::Verdict;

use crate::envoy::config::{Listener, Policy};

/// A listener, and what it opens: the scenario's clients or checks that go red.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) listener: Listener,
    pub(crate) red: &'static [&'static str],
    /// What becomes of all the others.
    pub(crate) others: Verdict,
}

impl Variant {
    fn new(name: &'static str, listener: Listener, red: &'static [&'static str]) -> Self {
        Self { name, listener, red, others: Verdict::Passed }
    }
}

/// What of TLS is checked, and whom it opens to where a part is left out.
pub(crate) fn listeners() -> Vec<Variant> {
    let variant = Variant::new;
    let correct = Listener::correct;
    vec![
        variant("a certificate required, CA and SAN refuses all but the right SVID", correct(10_001), &[]),
        // A SAN list implies that a certificate is required.
        variant(
            "CA and SAN alone refuses all but the right SVID too",
            Listener { require: false, ..correct(10_002) },
            &[],
        ),
        variant(
            "a CA alone opens to nobody and to a wrong ID",
            Listener { require: false, sans: &[], ..correct(10_003) },
            &["nobody", "a wrong ID"],
        ),
        variant(
            "a certificate required and CA opens to a wrong ID",
            Listener { sans: &[], ..correct(10_004) },
            &["a wrong ID"],
        ),
        // Envoy counts the refusals that it does not make: there, counters are no evidence.
        Variant {
            others: Verdict::Errored,
            ..variant(
                "ACCEPT_UNTRUSTED opens to whoever has a certificate, and leaves the rest in doubt",
                Listener { accept_untrusted: true, ..correct(10_005) },
                &["a wrong ID", "the same ID of another CA", "another trust domain", "an expired SVID"],
            )
        },
        variant(
            "no validation context opens to everyone",
            Listener { ca: false, ..correct(10_006) },
            &["nobody", "a wrong ID", "the same ID of another CA", "another trust domain", "an expired SVID"],
        ),
    ]
}

/// The policy on methods and paths, and the ways around it.
pub(crate) fn policies() -> Vec<Variant> {
    let with = |port, hardened, policy| {
        let sans = &["/ns/default/sa/default/frontend", "/ns/default/sa/default/frontend-2"];
        Listener { sans, hardened, policy, ..Listener::correct(port) }
    };
    let variant = Variant::new;
    let policy = |method, folder| Some(Policy { method, folder });
    vec![
        variant("a folder on normalised paths is closed", with(10_101, true, policy(true, true)), &[]),
        variant(
            "the tutorial's prefix on paths as they come opens to every trick",
            with(10_102, false, policy(true, false)),
            &["`..`", "`%2e%2e`", "`..%2f`", "a neighbour's name"],
        ),
        variant(
            "the tutorial's prefix on normalised paths opens to a neighbour",
            with(10_103, true, policy(true, false)),
            &["a neighbour's name"],
        ),
        variant(
            "a folder on paths as they come opens to the ways out of it",
            with(10_104, false, policy(true, true)),
            &["`..`", "`%2e%2e`", "`..%2f`"],
        ),
        variant(
            "without the rule for the method it opens to other methods",
            with(10_105, true, policy(false, true)),
            &["other methods"],
        ),
        variant(
            "without the filter it opens to all but a path that Envoy rejects itself",
            with(10_106, true, None),
            &["other folders", "other methods", "another frontend", "`..`", "`%2e%2e`", "a neighbour's name"],
        ),
    ]
}
