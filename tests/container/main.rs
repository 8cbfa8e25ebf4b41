//! The container tier: a real Envoy, broken in every way that matters, and the judge that must notice.
//!
//! A scenario states what holds at a correct listener. Each variant of the listener is held against it: the
//! correct one passes everywhere, a broken one goes red at exactly what it opens. One Envoy has all the
//! variants, a listener each, so that a window's counters are its own.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use svidproof::proof::judge::{Evidence, Judged};
use svidproof::proof::verdict::Verdict;
use svidproof::scenario::Counted;
use svidproof_probe::protocol::{Failure, Outcome};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

mod envoy;

use envoy::config::{Listener, Policy};
use envoy::{Rig, closed, scenario};

/// A listener, and what it opens: the scenario's clients or checks that go red.
struct Variant {
    name: &'static str,
    listener: Listener,
    red: &'static [&'static str],
    /// What becomes of all the others.
    others: Verdict,
}

impl Variant {
    fn new(name: &'static str, listener: Listener, red: &'static [&'static str]) -> Self {
        Self { name, listener, red, others: Verdict::Passed }
    }
}

fn listeners() -> Vec<Variant> {
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

fn policies() -> Vec<Variant> {
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

/// Correct listeners, one for each lie: nobody else may move their counters.
fn told_of() -> [Listener; 5] {
    [10_201, 10_202, 10_203, 10_204, 10_205].map(Listener::correct)
}

/// The containers are started by the first test that needs them.
struct Shared {
    runtime: Runtime,
    rig: OnceCell<Result<Rig, String>>,
}

impl Shared {
    fn run(&self, test: impl AsyncFnOnce(&Rig) -> Result<(), Failed>) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let all: Vec<_> = listeners()
                .into_iter()
                .chain(policies())
                .map(|variant| variant.listener)
                .chain(told_of())
                .collect();
            let rig = self.rig.get_or_init(|| Rig::start(&all)).await;
            test(rig.as_ref().map_err(|problem| Failed::from(problem.as_str()))?).await
        })
    }
}

fn main() -> ExitCode {
    // The client of Envoy's admin interface wants one, though it asks in plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::from_args();
    let shared = Arc::new(Shared { runtime: Runtime::new().expect("a runtime"), rig: OnceCell::new() });
    let conclusion = libtest_mimic::run(&arguments, trials(&shared));
    let shared = Arc::into_inner(shared).expect("the tests are over");
    if let Some(Ok(rig)) = shared.rig.into_inner() {
        shared.runtime.block_on(rig.end()).expect("the containers are removed");
    }
    conclusion.exit_code()
}

fn trials(shared: &Arc<Shared>) -> Vec<Trial> {
    let held = |file: &'static str, group: &str, variant: Variant, by: fn(&Judged) -> &str| {
        let shared = shared.clone();
        Trial::test(format!("{group}::{}", variant.name), move || {
            shared
                .run(async |rig| exactly(&rig.judge(&scenario(file), &variant.listener).await, &variant, by))
        })
    };
    let listeners = listeners()
        .into_iter()
        .map(|variant| held("listener.yaml", "listener", variant, |judged| &judged.cell.client));
    let policies = policies()
        .into_iter()
        .map(|variant| held("policy.yaml", "policy", variant, |judged| &judged.cell.check));
    let lie = |name: &str, test: fn(&Shared) -> Result<(), Failed>| {
        let shared = shared.clone();
        Trial::test(format!("judge::{name}"), move || test(&shared))
    };
    let lies = [
        lie("counters of another listener err every cell", counters_of_another_listener),
        lie("counters that are off by one err every cell", counters_off_by_one),
        lie("a dial that is not in the plan errs every cell", a_dial_that_is_not_in_the_plan),
        lie("a log without the requests errs what was answered", a_log_without_the_requests),
        lie("a port that refuses errs every cell", a_port_that_refuses),
        lie("a published port with nothing behind it errs every cell", a_port_with_nothing_behind),
    ];
    listeners.chain(policies).chain(lies).collect()
}

/// The cells that a variant opens fail, and all others are as it says.
fn exactly(
    judged: &[Judged],
    Variant { red, others, .. }: &Variant,
    by: fn(&Judged) -> &str,
) -> Result<(), Failed> {
    let known: BTreeSet<_> = judged.iter().map(by).collect();
    assert!(red.iter().all(|name| known.contains(name)), "{red:?} are not all among {known:?}");
    expect(judged, |one| if red.contains(&by(one)) { Verdict::Failed } else { *others })
}

fn all_err(judged: &[Judged]) -> Result<(), Failed> {
    expect(judged, |_| Verdict::Errored)
}

/// Tells all differences at once.
fn expect(judged: &[Judged], verdict: impl Fn(&Judged) -> Verdict) -> Result<(), Failed> {
    let difference = |one: &Judged| {
        let wanted = verdict(one);
        let cell = &one.cell;
        (one.verdict != wanted).then(|| {
            let reason = if one.reason.is_empty() { "as expected" } else { &one.reason };
            format!(
                "{} ({} {}): {wanted:?} was to be, {:?} it is: {reason}",
                cell.check, cell.method, cell.target, one.verdict
            )
        })
    };
    let differences: Vec<_> = judged.iter().filter_map(difference).collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

fn counters_of_another_listener(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [listener, other, ..] = told_of();
        let scenario = scenario("listener.yaml");
        let before = rig.counted(&other).await;
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        let counted = rig.counted(&other).await.counted.since(before.counted);
        assert_eq!(counted, Counted::default());
        all_err(&dialled.judge(&scenario, Ok(Evidence { counted, ..evidence })))
    })
}

fn counters_off_by_one(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [_, _, listener, ..] = told_of();
        let scenario = scenario("listener.yaml");
        let (dialled, honest) = rig.window(&scenario, &listener).await;
        expect(&dialled.judge(&scenario, Ok(honest.clone())), |_| Verdict::Passed)?;
        let lies: [fn(&mut Counted); 9] = [
            |counted| counted.no_cert -= 1,
            |counted| counted.no_cert += 1,
            |counted| counted.san -= 1,
            |counted| counted.san += 1,
            |counted| counted.chain -= 1,
            |counted| counted.broken += 1,
            |counted| counted.denied += 1,
            |counted| counted.forwarded -= 1,
            |counted| counted.forwarded += 1,
        ];
        for lie in lies {
            let mut told = honest.clone();
            lie(&mut told.counted);
            all_err(&dialled.judge(&scenario, Ok(told)))?;
        }
        all_err(&dialled.judge(&scenario, Err("the admin interface did not answer".into())))
    })
}

fn a_dial_that_is_not_in_the_plan(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [.., listener, _] = told_of();
        let scenario = scenario("listener.yaml");
        let before = rig.counted(&listener).await;
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        let refused =
            dialled.cells.iter().find(|cell| cell.client == "a wrong ID").expect("it is in the scenario");
        let seen = rig.dial_one(refused, &rig.address(&listener).await).await;
        assert_eq!(seen.outcome, Outcome::Alert { number: 46 });
        let counted = rig.counted(&listener).await.counted.since(before.counted);
        let judged = dialled.judge(&scenario, Ok(Evidence { counted, ..evidence }));
        let reason = "clients saw 2 SAN refusals, Envoy counted 3 (fail_verify_san)";
        assert!(judged.iter().all(|one| one.reason.contains(reason)), "{}", judged[0].reason);
        all_err(&judged)
    })
}

fn a_log_without_the_requests(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let [.., listener] = told_of();
        let scenario = scenario("listener.yaml");
        let (dialled, evidence) = rig.window(&scenario, &listener).await;
        // What was refused falls with its control.
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..evidence.clone() })),
        )?;
        all_err(&dialled.judge(&scenario, Ok(Evidence { reached: None, ..evidence })))
    })
}

fn a_port_that_refuses(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let scenario = scenario("listener.yaml");
        let dialled = rig.dial(&scenario, "refused", &closed()).await;
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Failed { kind: Failure::Refused, .. });
        assert!(
            dialled.observations.values().all(|seen| refused(&seen.outcome)),
            "{:?}",
            dialled.observations
        );
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..Evidence::default() })),
        )
    })
}

fn a_port_with_nothing_behind(shared: &Shared) -> Result<(), Failed> {
    shared.run(async |rig| {
        let scenario = scenario("listener.yaml");
        let dialled = rig.dial(&scenario, "nobody-home", &rig.nobody_home().await).await;
        assert!(
            dialled.observations.values().all(|seen| matches!(seen.outcome, Outcome::Failed { .. })),
            "{:?}",
            dialled.observations
        );
        all_err(
            &dialled.judge(&scenario, Ok(Evidence { reached: Some(BTreeSet::new()), ..Evidence::default() })),
        )
    })
}
