//! `svidproof test`: the checks, on a cluster that is kept; and what `run` shares of it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use futures::future::try_join_all;

use super::{Failure, Scenarios, kept, load, or_interrupted, print};
use crate::judge::Judged;
use crate::progress::Progress;
use crate::report::{Report, console};
use crate::scenario;
use crate::session::{self, Record, Session};
use crate::stage;
use crate::verdict::exit_code;

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    scenarios: Scenarios,
    /// Only this stage
    #[arg(long)]
    stage: Option<String>,
    /// Only checks whose name this matches; `*` stands for any text
    #[arg(long, value_name = "GLOB")]
    check: Option<String>,
    /// Where report.json goes
    #[arg(long, value_name = "DIR", default_value = ".svidproof")]
    out: PathBuf,
}

/// What a run of checks came to.
pub(super) struct Tested {
    pub(super) record: Record,
    pub(super) judged: Vec<Judged>,
}

pub(super) async fn test(args: TestArgs, progress: &Progress) -> Result<u8, Failure> {
    let lease = kept()?;
    let (begun, started) = (Instant::now(), jiff::Timestamp::now());
    let scenarios = if args.scenarios.files.is_empty() {
        Record::read(&lease.dir)?.scenarios.iter().map(|file| scenario::load(file)).collect::<Result<Vec<_>, _>>()?
    } else {
        load(&args.scenarios)?
    };
    if let Some(stage) = &args.stage
        && !scenarios.iter().any(|scenario| scenario.stages.iter().any(|one| one.name == *stage))
    {
        let known: Vec<_> = scenarios.iter().flat_map(|scenario| scenario.stages.iter().map(|one| one.name.as_str())).collect();
        return Err(Failure::input(format!("there is no stage `{stage}`\nhint: there are {}", known.join(", "))));
    }
    let chosen = |name: &str| args.check.as_deref().is_none_or(|glob| matches(glob, name));
    let work = async {
        let session = session::reopen(&lease, scenarios, progress).await?;
        test_all(&session, args.stage.as_deref(), &chosen).await
    };
    let tested = or_interrupted(Failure::interrupted, work).await?;
    if tested.judged.is_empty() {
        return Err(Failure::input("no check has such a name\nhint: --check takes `*` for any text"));
    }
    report(&tested, &lease.id, started, begun, &args.out, progress)
}

/// Every stage of every scenario: scenarios side by side, a scenario's stages in order.
pub(super) async fn test_all(session: &Session, only: Option<&str>, chosen: &dyn Fn(&str) -> bool) -> Result<Tested, Failure> {
    let each = session.live.iter().map(async |live| {
        let mut judged = vec![];
        for stage in live.scenario.stages.iter().filter(|stage| only.is_none_or(|only| stage.name == only)) {
            judged.extend(stage::run(&session.ground, live, stage, &std::collections::BTreeMap::new(), chosen).await?);
        }
        Ok::<_, Failure>(judged)
    });
    let judged = try_join_all(each).await?.into_iter().flatten().collect();
    Ok(Tested { record: session.ground.record(), judged })
}

/// Writes report.json, prints the table, and returns the exit status.
pub(super) fn report(
    tested: &Tested,
    run: &str,
    started: jiff::Timestamp,
    begun: Instant,
    out: &Path,
    progress: &Progress,
) -> Result<u8, Failure> {
    let provider = tested.record.cluster.provider.to_string();
    let report = Report::new(run, &provider, &tested.record.images, started, progress.phases(), &tested.judged);
    let path = out.join("report.json");
    let write = || {
        std::fs::create_dir_all(out)?;
        let mut file = tempfile::NamedTempFile::new_in(out)?;
        std::io::Write::write_all(&mut file, report.to_json().as_bytes())?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    let written: Result<(), std::io::Error> = write();
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    print(&console::table(&report, colour, begun.elapsed()))?;
    written.map_err(|e| {
        Failure::broken(format!(
            "could not write {}: {e}\nhint: is there room, and may it be written? --out names another folder",
            path.display()
        ))
    })?;
    Ok(exit_code(&report.totals))
}

/// `*` stands for any text, everything else for itself.
fn matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::matches;

    #[rstest]
    #[case("nobody*", "nobody is refused", true)]
    #[case("*refused", "nobody is refused", true)]
    #[case("*is*", "nobody is refused", true)]
    #[case("nobody", "nobody is refused", false)]
    #[case("a*b*c", "a-c-b", false)]
    #[case("*", "", true)]
    fn globs(#[case] glob: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(glob, name), expected);
    }
}
