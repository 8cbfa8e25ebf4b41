//! The container tier: a real Envoy, broken in every way that matters, and the judge that must notice.
//!
//! A scenario states what holds at a correct listener. Each variant of the listener is held against it: the
//! correct one passes everywhere, a broken one goes red at exactly what it opens. One Envoy has all the
//! variants, a listener each, so that a window's counters are its own.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use svidproof::proof::judge::Judged;
use svidproof::proof::verdict::Verdict;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

mod envoy;
mod lies;
mod variants;

use envoy::{Rig, scenario};
use lies::told_of;
use variants::{Variant, listeners, policies};

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
    listeners.chain(policies).chain(lies::trials(shared)).collect()
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
