//! Runs that are killed beside one that goes on: nothing of them is left, and that one does not notice.
//!
//! As a tier, one SIGKILL at each place where another kind of thing stands. `--kills N` is the soak of
//! scripts/soak: N kills, at every place where a run can stop and then at random times, and as many SIGTERM and
//! SIGHUP, which `gc` does not follow. It prints a line of JSON a kill, and one for all of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kill;
mod places;
mod world;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;

use kill::{Done, Kill};
use world::{Beside, World};

/// What a soak is told.
struct Soak {
    kills: usize,
    seed: u64,
}

impl Soak {
    /// `--kills N [--seed N]`; nothing where it is the tier that is meant.
    fn asked() -> Option<Self> {
        let said: Vec<String> = std::env::args().skip(1).collect();
        let number = |flag: &str| {
            let value = said.iter().skip_while(|word| *word != flag).nth(1)?;
            Some(value.parse::<u64>().unwrap_or_else(|_| panic!("{flag} takes a number, not {value}")))
        };
        let kills = usize::try_from(number("--kills")?).unwrap();
        Some(Self { kills, seed: number("--seed").unwrap_or_else(|| fastrand::u64(..)) })
    }
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Soak::asked() {
        Some(soak) => soaked(&soak),
        None => tier(&Arguments::from_args()),
    }
}

/// Those of a cluster of their own, and those of the kept one, side by side; each list in a world of its own.
/// What became of each, and of the run beside.
fn carried_out(kills: [Vec<Kill>; 2], tell: &(impl Fn(&Done) + Sync)) -> (Vec<Done>, Vec<String>) {
    let beside = Beside::up();
    let done = std::thread::scope(|threads| {
        let lists = kills.map(|list| {
            threads.spawn(|| {
                let world = World::new(&beside);
                let carry_out = |kill: Kill| {
                    let done = kill.carried_out(&world);
                    tell(&done);
                    done
                };
                list.into_iter().map(carry_out).collect::<Vec<_>>()
            })
        });
        lists.map(|list| list.join().expect("no kill panics")).into_iter().flatten().collect()
    });
    (done, beside.ends())
}

fn tier(arguments: &Arguments) -> ExitCode {
    const BESIDE: &str = "the run beside is untouched";
    let lists = places::of_tier();
    let is_chosen = |name: &str| {
        let asked = arguments.filter.as_ref().is_none_or(|filter| {
            if arguments.exact { name == filter } else { name.contains(filter.as_str()) }
        });
        asked && !arguments.list && !arguments.ignored
    };
    let names: Vec<_> = lists.iter().flatten().map(Kill::name).chain([BESIDE.into()]).collect();
    let chosen = lists.map(|list| list.into_iter().filter(|kill| is_chosen(&kill.name())).collect());
    let (done, beside) = if names.iter().any(|name| is_chosen(name)) {
        carried_out(chosen, &|_| {})
    } else {
        (vec![], vec![])
    };
    let of = |name: &String| {
        let mut left = done.iter().filter(|one| one.kill.name() == *name).flat_map(|one| one.left.clone());
        if name == BESIDE { beside.join("\n") } else { left.by_ref().collect::<Vec<_>>().join("\n") }
    };
    let trial = |name: String| {
        let left = of(&name);
        Trial::test(name, move || if left.is_empty() { Ok(()) } else { Err(Failed::from(left)) })
    };
    libtest_mimic::run(arguments, names.into_iter().map(trial).collect()).exit_code()
}

fn soaked(soak: &Soak) -> ExitCode {
    let begun = Instant::now();
    say(&json!({ "kills": soak.kills, "seed": soak.seed }));
    let lists = places::of_soak(soak.kills, &mut fastrand::Rng::with_seed(soak.seed));
    let (done, beside) = carried_out(lists, &|done| say(&done.told()));
    let count = |signal: &str| done.iter().filter(|one| one.kill.signal() == signal).count();
    let left: Vec<_> = done.iter().flat_map(|one| &one.left).chain(&beside).collect();
    let at_places = done.iter().filter(|one| one.kill.place.is_some()).count();
    say(&json!({
        "seed": soak.seed, "seconds": begun.elapsed().as_secs(),
        "kills": count("KILL"), "terms": count("TERM"), "hups": count("HUP"),
        "at-places": at_places, "at-random": done.len() - at_places,
        "ended-before": done.iter().filter(|one| one.ended_before).count(),
        "beside": if beside.is_empty() { "untouched" } else { "touched" }, "leftovers": left,
    }));
    if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}
