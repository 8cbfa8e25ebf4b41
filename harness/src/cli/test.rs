//! `svidproof test`: the checks, on a cluster that is kept; and what `run` shares of it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use futures::future::try_join_all;

use super::{Failure, Scenarios, kept, kept_scenarios, load, or_interrupted, print};
use crate::lease::Lease;
use crate::proof::judge::Judged;
use crate::proof::verdict::{Verdict, exit_code};
use crate::report::{Report, console, html, junit};
use crate::scenario::Scenario;
use crate::session::{self, Record, Session};
use crate::stage;
use crate::surface;
use crate::sys::progress::Progress;

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
    /// Keep what every client got, in tests/snapshots, to be compared with from then on
    #[arg(long, conflicts_with = "check")]
    accept: bool,
    /// Where report.json, junit.xml and report.html go
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
    let scenarios = scenarios(&lease, &args.scenarios)?;
    stage_is_there(args.stage.as_deref(), &scenarios)?;
    let baselines: Vec<_> = scenarios.iter().map(Baseline::of).collect();
    let chosen = |name: &str| args.check.as_deref().is_none_or(|glob| matches(glob, name));
    let work = async {
        let session = session::reopen(&lease, scenarios, progress).await?;
        test_all(&session, args.stage.as_deref(), &chosen).await
    };
    let tested = or_interrupted(Failure::interrupted, work).await?;
    if tested.judged.is_empty() {
        return Err(Failure::input("no check has such a name\nhint: --check takes `*` for any text"));
    }
    let status = report(&tested, &lease.id, started, begun, &args.out, progress)?;
    if args.accept {
        accept(&tested.judged, &baselines, progress)?;
        return Ok(status);
    }
    // A part of a stage's cells is not a surface.
    let opened =
        args.check.is_none() && compare(&tested.judged, &baselines, args.stage.as_deref(), progress)?;
    Ok(if opened { 1 } else { status })
}

/// Those that the user names, or else those that the cluster was brought up with.
pub(super) fn scenarios(lease: &Lease, named: &Scenarios) -> Result<Vec<Scenario>, Failure> {
    if named.files.is_empty() {
        return kept_scenarios(lease);
    }
    load(named)
}

pub(super) fn stage_is_there(stage: Option<&str>, scenarios: &[Scenario]) -> Result<(), Failure> {
    let mut known = scenarios.iter().flat_map(|scenario| scenario.stages.iter().map(|one| one.name.as_str()));
    match stage {
        Some(stage) if !known.clone().any(|name| name == stage) => {
            let known: Vec<_> = known.by_ref().collect();
            Err(Failure::input(format!("there is no stage `{stage}`\nhint: there are {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Where a scenario's surfaces are kept, and of which stages.
struct Baseline {
    scenario: String,
    folder: PathBuf,
    stages: Vec<String>,
}

impl Baseline {
    fn of(scenario: &Scenario) -> Self {
        let stages = scenario.stages.iter().map(|stage| stage.name.clone()).collect();
        Self { scenario: scenario.name.clone(), folder: surface::folder(&scenario.root), stages }
    }
}

/// Keeps the surfaces. What failed is kept as it is: the checks say what should be, the surface what is.
fn accept(judged: &[Judged], baselines: &[Baseline], progress: &Progress) -> Result<(), Failure> {
    let errored = judged.iter().filter(|one| one.verdict == Verdict::Errored).count();
    if errored > 0 {
        return Err(Failure::broken(format!(
            "nothing is accepted: {errored} cell(s) errored, so nobody knows what is open there\nhint: the table says why; mend that, and accept again"
        )));
    }
    let surfaces = surface::surfaces(judged);
    for Baseline { scenario, folder, stages } in baselines {
        for path in surface::store(folder, scenario, stages.iter().map(String::as_str), &surfaces)? {
            let did = if path.exists() { "wrote" } else { "removed" };
            progress.note(&format!("{did} {}", path.display()));
        }
    }
    Ok(())
}

/// Prints what changed against the surfaces that are kept; whether something opened up.
fn compare(
    judged: &[Judged],
    baselines: &[Baseline],
    only: Option<&str>,
    progress: &Progress,
) -> Result<bool, Failure> {
    let surfaces = surface::surfaces(judged);
    let mut opened = false;
    for Baseline { scenario, folder, .. } in baselines {
        let mut old = surface::load(folder, scenario)?;
        old.retain(|surface| only.is_none_or(|only| surface.stage == only));
        let new: Vec<_> = surfaces.iter().filter(|surface| surface.scenario == *scenario).cloned().collect();
        if old.is_empty() {
            if !new.is_empty() {
                progress.note(&format!("no surface of {scenario} is kept to compare with: `svidproof test --accept` keeps this one"));
            }
            continue;
        }
        let changes = surface::diff(&old, &new);
        opened |= surface::opened(&changes);
        print(&format!("\n{scenario}, against the surface that is kept:\n{}", surface::in_words(&changes)))?;
    }
    Ok(opened)
}

/// Every stage of every scenario: scenarios side by side, a scenario's stages in order.
pub(super) async fn test_all(
    session: &Session,
    only: Option<&str>,
    chosen: &dyn Fn(&str) -> bool,
) -> Result<Tested, Failure> {
    let each = session.systems.iter().map(async |system| {
        let mut judged = vec![];
        for stage in system.scenario.stages.iter().filter(|stage| only.is_none_or(|only| stage.name == only))
        {
            judged.extend(
                stage::run(&session.context, system, stage, &std::collections::BTreeMap::new(), chosen)
                    .await?,
            );
        }
        Ok::<_, Failure>(judged)
    });
    let judged = try_join_all(each).await?.into_iter().flatten().collect();
    Ok(Tested { record: session.context.record(), judged })
}

/// Writes the reports, prints the table, and returns the exit status.
pub(super) fn report(
    tested: &Tested,
    run: &str,
    started: jiff::Timestamp,
    begun: Instant,
    out: &Path,
    progress: &Progress,
) -> Result<u8, Failure> {
    let provider = tested.record.cluster.provider.to_string();
    let Record { images, versions, .. } = &tested.record;
    let report = Report::new(run, &provider, images, versions, started, progress.phases(), &tested.judged);
    let files = [
        ("report.json", report.to_json()),
        ("junit.xml", junit::text(&report)),
        ("report.html", html::page(&report)),
    ];
    let written = files.into_iter().try_for_each(|(name, text)| write(out, name, &text));
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    print(&console::table(&report, colour, begun.elapsed()))?;
    written?;
    Ok(exit_code(&report.totals))
}

/// Whole or not at all.
fn write(out: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = out.join(name);
    let write = || {
        std::fs::create_dir_all(out)?;
        let mut file = tempfile::NamedTempFile::new_in(out)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e: std::io::Error| {
        Failure::broken(format!(
            "could not write {}: {e}\nhint: is there room, and may it be written? --out names another folder",
            path.display()
        ))
    })
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
    use std::collections::BTreeMap;

    use rstest::rstest;
    use svidproof_probe::protocol::{Failure as Dial, Http, Observation, Outcome, Timing};

    use super::*;
    use crate::proof::{judge, plan};

    /// What one check comes to in a folder for its surfaces.
    fn seen(outcome: Outcome, folder: &Path) -> (Vec<Judged>, Vec<Baseline>) {
        let scenario = crate::scenario::read_text(
            "scenario: web
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints: {web: {service: a/web, port: 443, identity: /web}}
clients: {friend: /friend}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
",
        );
        let cells = plan::plan(&scenario, &scenario.stages[0], "run");
        let observation = Observation { outcome, tls: None, timing: Timing::default() };
        let observed = [(cells[0].id.clone(), observation)].into();
        let judged = judge::judge(&scenario, &cells, &observed, &BTreeMap::new());
        let baseline = Baseline { folder: folder.into(), ..Baseline::of(&scenario) };
        (judged, vec![baseline])
    }

    fn status(status: u16) -> Outcome {
        Outcome::Response { status, http: Http::Http1, headers: vec![], body: String::new() }
    }

    #[test]
    fn what_is_accepted_is_compared_with_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::new();
        let compared = |outcome, only| {
            let (judged, baselines) = seen(outcome, dir.path());
            compare(&judged, &baselines, only, &progress).unwrap()
        };
        assert!(!compared(status(200), None), "nothing is kept yet");
        // A check that failed does not keep its surface from being kept.
        let (judged, baselines) = seen(status(403), dir.path());
        assert_eq!(judged[0].verdict, Verdict::Failed);
        accept(&judged, &baselines, &progress).unwrap();
        assert!(compared(status(200), None) && compared(status(200), Some("open")));
        assert!(!compared(status(403), None));
        assert!(!compared(status(200), Some("another")), "of that stage nothing is kept");
    }

    #[test]
    fn what_errored_is_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let (judged, baselines) =
            seen(Outcome::Failed { kind: Dial::TimedOut, detail: String::new() }, dir.path());
        assert_eq!(judged[0].verdict, Verdict::Errored);
        let failure = accept(&judged, &baselines, &Progress::new()).unwrap_err();
        assert_eq!(failure.status, 3);
        assert!(failure.message.contains("1 cell(s) errored"), "{}", failure.message);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

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
