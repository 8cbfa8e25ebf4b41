//! `svidproof verify`: a check that cannot fail is worth nothing. Each fault that a scenario lists is
//! planted, and must turn its checks red. In every exit the stages' own states are put back.

use clap::Args;

use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::format::Format;
use super::scenarios::{kept, kept_scenarios};
use crate::provider::Provider;
use crate::report::github::{Level, command};
use crate::scenario::Scenario;
use crate::session::{self, Record, Session};
use crate::stage::fault::{Faults, Noticed};
use crate::sys::printable;
use crate::sys::progress::Progress;
use crate::sys::terminal::Reader;

/// What is said where putting back is interrupted too.
const STILL_PLANTED: &str = "interrupted while a stage's own state is put back: a fault may be planted\n\
                             hint: `svidproof test` brings each stage to its own state again";

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only the fault with this name
    #[arg(long)]
    fault: Option<String>,
    /// On a cluster that is not svidproof's own: yes, weaken what is installed there for a while
    #[arg(long)]
    plant_faults: bool,
    /// `github` prints an annotation for GitHub Actions besides, at the line of each fault that went
    /// unnoticed
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

pub(super) async fn verify(args: VerifyArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    let scenarios = kept_scenarios(&lease)?;
    is_there(args.fault.as_deref(), &scenarios)?;
    let provider = Record::read(&lease.dir)?.cluster.provider;
    if provider == Provider::Existing && !args.plant_faults {
        return Err(Ended::input(
            "this cluster is not svidproof's own, and a planted fault opens what is to be closed, for a \
             while\n\
             hint: --plant-faults says that it may be",
        ));
    }
    let opened =
        or_interrupted(INTERRUPTED, async { Ok(session::reopen(&lease, scenarios, progress).await?) });
    let Session { context, systems } = opened.await?;
    let mut all: Vec<_> = systems.iter().map(|system| Faults::new(&context, system)).collect();
    let ended = or_interrupted(INTERRUPTED, Box::pin(verify_all(&mut all, &args))).await;
    and_put_back(ended, async {
        let mut left = Ok(());
        for faults in &mut all {
            // One that stays planted does not keep the others planted.
            left = both(left, faults.put_back().await.map_err(Ended::not_judged));
        }
        left
    })
    .await
}

fn is_there(fault: Option<&str>, scenarios: &[Scenario]) -> Result<(), Ended> {
    let mut known = scenarios.iter().flat_map(|scenario| &scenario.broken);
    if known.any(|one| fault.is_none_or(|name| name == one.name)) {
        return Ok(());
    }
    Err(Ended::input("there is no such fault\nhint: a scenario lists its faults under `broken`"))
}

async fn verify_all(all: &mut [Faults<'_>], args: &VerifyArgs) -> Result<Exit, Ended> {
    let only = args.fault.as_deref();
    let (mut planted, mut missed) = (0, 0);
    for faults in all {
        let scenario = faults.scenario();
        for fault in scenario.broken.iter().filter(|fault| only.is_none_or(|name| name == fault.name)) {
            let noticed = Box::pin(faults.verify(fault)).await?;
            planted += 1;
            missed += usize::from(!noticed.problems.is_empty());
            print(&told(&scenario.name, &fault.name, &noticed, Reader::of(&std::io::stdout())))?;
            if args.format == Format::Github && !noticed.problems.is_empty() {
                let title = format!("MISSED: {} ({})", fault.name, scenario.name);
                let source = scenario.source(fault.place);
                print(&command(Level::Error, Some(&source), &title, &noticed.problems.join("\n")))?;
            }
        }
    }
    print(&format!("{} of {planted} faults noticed\n", planted - missed))?;
    Ok(if missed > 0 { Exit::CheckFailed } else { Exit::Passed })
}

fn told(scenario: &str, fault: &str, Noticed { problems, notes }: &Noticed, reader: Reader) -> String {
    const UNDER: &str = "         ";
    let mark = if problems.is_empty() { "noticed" } else { "MISSED " };
    let head = reader.wrapped(&format!("{scenario}: {fault}"), &format!("{mark}  "), UNDER);
    let lines = problems.iter().chain(notes).map(|line| reader.wrapped(&printable(line), UNDER, UNDER));
    head + &lines.collect::<String>()
}

/// Puts back whatever came of the work; an interrupt ends that too.
async fn and_put_back<T>(
    ended: Result<T, Ended>,
    put_back: impl Future<Output = Result<(), Ended>>,
) -> Result<T, Ended> {
    let left = or_interrupted(STILL_PLANTED, Box::pin(put_back)).await;
    match (ended, left) {
        (ended, Ok(())) => ended,
        (Ok(_), Err(left)) => Err(left),
        (Err(ended), Err(left)) => Err(ended.then(left)),
    }
}

fn both(first: Result<(), Ended>, second: Result<(), Ended>) -> Result<(), Ended> {
    match (first, second) {
        (Err(first), Err(second)) => Err(first.then(second)),
        (first, second) => first.and(second),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Each interrupt, at work, and what is put back all the same.
    /// One test, since a signal is for the whole process: it would end what another test waits for.
    #[tokio::test]
    async fn what_is_still_planted_is_no_success_and_an_interrupt_puts_it_back() {
        let left = async || Err(Ended::not_judged("a fault is still planted"));
        assert_eq!(and_put_back(Ok(Exit::Passed), left()).await.unwrap_err().exit, Exit::NotJudged);
        let ended = and_put_back(Err::<Exit, _>(Ended::input("first")), left()).await.unwrap_err();
        assert_eq!(ended.to_string(), "first\na fault is still planted");
        let interrupt = async |signal| {
            kill_process(getpid(), signal).unwrap();
            std::future::pending::<Result<(), Ended>>().await
        };
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let ended = or_interrupted(INTERRUPTED, interrupt(signal)).await;
            let put_back = Cell::new(false);
            let ended = and_put_back(ended, async {
                put_back.set(true);
                Ok(())
            });
            let ended = ended.await.unwrap_err();
            assert!(put_back.get());
            assert_eq!((ended.exit, ended.to_string().as_str()), (Exit::Interrupted, INTERRUPTED));
        }
        let ended = and_put_back(Err::<(), _>(Ended::input("first")), interrupt(Signal::INT));
        let ended = ended.await.unwrap_err();
        assert_eq!((ended.exit, ended.to_string()), (Exit::Input, format!("first\n{STILL_PLANTED}")));
    }

    #[test]
    fn a_fault_is_told_in_a_line_and_what_is_wrong_below() {
        let told = |noticed| told("web", "hole", &noticed, Reader::default());
        let noticed = Noticed { problems: vec!["`a` did not turn red".into()], notes: vec!["a note".into()] };
        assert_eq!(told(noticed), "MISSED   web: hole\n         `a` did not turn red\n         a note\n");
        assert_eq!(told(Noticed::default()), "noticed  web: hole\n");
    }
}
