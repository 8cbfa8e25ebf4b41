//! `svidproof verify`: a check that cannot fail is worth nothing. Each fault that a scenario lists is
//! planted, and must turn its checks red.

use clap::Args;

use super::exit::{Ended, Exit, INTERRUPTED, or_interrupted, print};
use super::scenarios::{kept, kept_scenarios};
use crate::lease::Lease;
use crate::session;
use crate::stage::fault::{plant, unnoticed};
use crate::sys::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only the fault with this name
    #[arg(long)]
    fault: Option<String>,
}

pub(super) async fn verify(args: VerifyArgs, progress: &Progress) -> Result<Exit, Ended> {
    let lease = kept()?;
    or_interrupted(INTERRUPTED, verify_all(&lease, &args, progress)).await
}

async fn verify_all(lease: &Lease, args: &VerifyArgs, progress: &Progress) -> Result<Exit, Ended> {
    let scenarios = kept_scenarios(lease)?;
    let session = session::reopen(lease, scenarios, progress).await?;
    let (mut planted, mut missed) = (0, 0);
    for system in &session.systems {
        for fault in system
            .scenario
            .broken
            .iter()
            .filter(|fault| args.fault.as_ref().is_none_or(|name| *name == fault.name))
        {
            planted += 1;
            let problems = unnoticed(fault, &plant(&session.context, system, fault).await?);
            let mark = if problems.is_empty() { "noticed" } else { "MISSED " };
            print(&format!(
                "{mark}  {}: {}\n{}",
                system.scenario.name,
                fault.name,
                problems.iter().map(|line| format!("         {line}\n")).collect::<String>()
            ))?;
            missed += usize::from(!problems.is_empty());
        }
    }
    if planted == 0 {
        return Err(Ended::input("there is no such fault\nhint: a scenario lists its faults under `broken`"));
    }
    print(&format!("{} of {planted} faults noticed\n", planted - missed))?;
    Ok(if missed > 0 { Exit::CheckFailed } else { Exit::Passed })
}
