//! The conformance tier: the reference scenarios on a real cluster, a check a test and a planted fault a
//! test.
//!
//! One cluster serves all. What was asked for is run first and taken down, also after a panic; then each
//! result is told as a test of its own, so that names can be listed and filtered as with any test.

#[allow(dead_code, clippy::unwrap_used, reason = "a browser for tests, of which this one needs a part")]
#[path = "../harness/tests/webdriver/mod.rs"]
mod webdriver;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;

use futures::FutureExt;
use libtest_mimic::{Arguments, Failed, Trial};
use svidproof::images::Source;
use svidproof::lease::Lease;
use svidproof::proof::judge::Judged;
use svidproof::proof::verdict::Verdict;
use svidproof::provider::{ClusterOptions, Provider};
use svidproof::scenario::{self, Broken, Scenario, Stage};
use svidproof::session::teardown;
use svidproof::session::{self, Session, Setup};
use svidproof::stage::fault::{plant, unnoticed};
use svidproof::surface::{Surface, surfaces};
use svidproof::sys::progress::Progress;
use svidproof::{engine, stage};
use webdriver::Browser;

/// A test's name -> what came of it.
type Results = BTreeMap<String, Outcome>;

#[derive(Clone)]
enum Outcome {
    Judged(Result<(), String>),
    /// What was seen in a whole stage, to be compared with its snapshot (`cargo insta review`, `svidproof
    /// test --accept`).
    Seen(Surface),
}

/// What a person sees of Symbank: the stage, the Service and its port, what is on the screen, and what is
/// not.
struct Screen {
    stage: &'static str,
    service: &'static str,
    port: u16,
    shows: &'static [&'static str],
    lacks: &'static [&'static str],
}

const SCREENS: [Screen; 4] = [
    Screen {
        stage: "both-frontends",
        service: "default/frontend",
        port: 3000,
        shows: &["Jacob Marley", "Your current balance is 10.95"],
        lacks: &["could not be read"],
    },
    Screen {
        stage: "both-frontends",
        service: "default/frontend-2",
        port: 3002,
        shows: &["Alex Fergus", "Your current balance is 310"],
        lacks: &["could not be read"],
    },
    Screen {
        stage: "only-frontend",
        service: "default/frontend",
        port: 3000,
        shows: &["Jacob Marley", "Your current balance is 10.95"],
        lacks: &["could not be read"],
    },
    Screen {
        stage: "only-frontend",
        service: "default/frontend-2",
        port: 3002,
        shows: &["CUSTOMER PORTAL", "could not be read: 503"],
        lacks: &["Alex Fergus", "Your current balance"],
    },
];

impl Screen {
    fn name(&self) -> String {
        format!("symbank::{}::on the screen of {}", self.stage, self.service)
    }

    /// Whether the browser shows what it should, once the page is loaded.
    async fn look(&self, session: &Session) -> Result<(), String> {
        let kube = &session.context.kube;
        let resolved = kube.resolve(self.service).await.map_err(|e| svidproof::sys::chain(&e))?;
        let pod = resolved.pods.first().ok_or_else(|| format!("{} has no ready pod", self.service))?;
        let forward = kube.forward(pod, self.port).await.map_err(|e| svidproof::sys::chain(&e))?;
        let browser = Browser::start().await;
        browser.open(&format!("http://{}/", forward.address)).await;
        let seen = browser.text("body").await;
        browser.quit().await;
        let missing = self
            .shows
            .iter()
            .filter(|text| !seen.contains(**text))
            .map(|text| format!("{text:?} is not on it"));
        let surplus =
            self.lacks.iter().filter(|text| seen.contains(**text)).map(|text| format!("{text:?} is on it"));
        let wrong: Vec<_> = missing.chain(surplus).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}; the screen:\n{seen}", wrong.join(", "))) }
    }
}

const TEARDOWN: &str = "teardown::nothing is left";

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios: Vec<Scenario> = ["front-proxy.yaml", "symbank.yaml"]
        .iter()
        .map(|file| scenario::load(&folder.join(file)).expect("it is valid"))
        .collect();
    let names: Vec<String> = scenarios
        .iter()
        .flat_map(names)
        .chain(SCREENS.iter().map(Screen::name))
        .chain([TEARDOWN.into()])
        .collect();
    let chosen: Vec<String> = names.iter().filter(|name| is_chosen(&arguments, name)).cloned().collect();
    let results = if arguments.list || chosen.is_empty() {
        Results::new()
    } else {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(results(scenarios, &chosen))
    };
    let trial = |name: String| {
        let outcome = results
            .get(&name)
            .cloned()
            .unwrap_or_else(|| Outcome::Judged(Err("it was not come to: see the other failures".into())));
        Trial::test(name, move || match outcome {
            Outcome::Judged(result) => result.map_err(Failed::from),
            Outcome::Seen(surface) => {
                compare(&surface);
                Ok(())
            }
        })
    };
    libtest_mimic::run(&arguments, names.into_iter().map(trial).collect()).exit_code()
}

/// Panics where it differs, as insta does.
fn compare(surface: &Surface) {
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(surface.name(), surface.to_yaml());
    });
}

fn surface_name(scenario: &Scenario, stage: &Stage) -> String {
    format!("{}::{}::surface", scenario.name, stage.name)
}

fn check_name(scenario: &Scenario, stage: &str, check: &str) -> String {
    format!("{}::{stage}::{check}", scenario.name)
}

fn fault_name(scenario: &Scenario, fault: &Broken) -> String {
    format!("{}::broken::{}", scenario.name, fault.name)
}

fn names(scenario: &Scenario) -> Vec<String> {
    let checks = scenario.stages.iter().flat_map(|stage| {
        let checks = stage.checks.iter().map(|check| check_name(scenario, &stage.name, &check.name));
        checks.chain([surface_name(scenario, stage)])
    });
    checks.chain(scenario.broken.iter().map(|fault| fault_name(scenario, fault))).collect()
}

fn screens(scenario: &Scenario, stage: &Stage) -> impl Iterator<Item = &'static Screen> {
    let here = scenario.name == "symbank";
    SCREENS.iter().filter(move |screen| here && screen.stage == stage.name)
}

/// The filters of libtest's command line.
fn is_chosen(arguments: &Arguments, name: &str) -> bool {
    let is = |filter: &String| if arguments.exact { name == filter } else { name.contains(filter.as_str()) };
    arguments.filter.as_ref().is_none_or(is) && !arguments.skip.iter().any(is)
}

/// Brings the cluster up, runs what was chosen, and takes everything down.
async fn results(scenarios: Vec<Scenario>, chosen: &[String]) -> Results {
    let progress = Progress::new();
    let kubeconfig = users_kubeconfig();
    let lease = Lease::new().expect("a lease");
    let mut results = Results::new();
    let work =
        AssertUnwindSafe(work(&lease, scenarios, chosen, &mut results, &progress)).catch_unwind().await;
    let gone = teardown::teardown(&lease, &progress).await.map_err(|e| svidproof::sys::chain(&e));
    let problem = match work {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(_) => Some("it panicked: see above".to_owned()),
    };
    if let Some(problem) = problem {
        for name in chosen {
            results.entry(name.clone()).or_insert_with(|| Outcome::Judged(Err(problem.clone())));
        }
    }
    let left = match gone {
        Ok(()) => left(&lease, kubeconfig.as_deref()).await,
        Err(problem) => Err(problem),
    };
    results.insert(TEARDOWN.into(), Outcome::Judged(left));
    results
}

async fn work(
    lease: &Lease,
    scenarios: Vec<Scenario>,
    chosen: &[String],
    results: &mut Results,
    progress: &Progress,
) -> Result<(), String> {
    let options = ClusterOptions::default();
    let setup =
        Setup { scenarios, provider: Provider::Kind, options: &options, source: Source::Auto, progress };
    let session = session::up(lease, setup).await.map_err(|e| svidproof::sys::chain(&e))?;
    for system in &session.systems {
        let scenario = &system.scenario;
        let wanted = |stage: &Stage| {
            let checks = stage.checks.iter().map(|check| check_name(scenario, &stage.name, &check.name));
            let screens = screens(scenario, stage).map(Screen::name);
            checks.chain([surface_name(scenario, stage)]).chain(screens).any(|name| chosen.contains(&name))
        };
        for stage in scenario.stages.iter().filter(|stage| wanted(stage)) {
            let judged = stage::run(&session.context, system, stage, &BTreeMap::new(), &|_| true)
                .await
                .map_err(|e| svidproof::sys::chain(&e))?;
            for check in &stage.checks {
                results.insert(
                    check_name(scenario, &stage.name, &check.name),
                    Outcome::Judged(passed(&judged, &check.name)),
                );
            }
            for screen in screens(scenario, stage).filter(|screen| chosen.contains(&screen.name())) {
                results.insert(screen.name(), Outcome::Judged(screen.look(&session).await));
            }
            results.extend(
                surfaces(&judged)
                    .into_iter()
                    .map(|seen| (surface_name(scenario, stage), Outcome::Seen(seen))),
            );
        }
    }
    faults(&session, chosen, results).await
}

async fn faults(session: &Session, chosen: &[String], results: &mut Results) -> Result<(), String> {
    for system in &session.systems {
        let faults = system.scenario.broken.iter().map(|fault| (fault, fault_name(&system.scenario, fault)));
        for (fault, name) in faults.filter(|(_, name)| chosen.contains(name)) {
            let judged =
                plant(&session.context, system, fault).await.map_err(|e| svidproof::sys::chain(&e))?;
            let problems = unnoticed(fault, &judged);
            results.insert(
                name,
                Outcome::Judged(if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }),
            );
        }
    }
    Ok(())
}

/// All of a check's cells, each from both sides.
fn passed(judged: &[Judged], check: &str) -> Result<(), String> {
    let cells: Vec<_> = judged.iter().filter(|one| one.cell.check == check).collect();
    let say = |one: &&Judged| {
        format!(
            "{:?}: {} {} {}: {}",
            one.verdict, one.cell.client, one.cell.method, one.cell.target, one.reason
        )
    };
    let red: Vec<_> = cells.iter().filter(|one| one.verdict != Verdict::Passed).map(say).collect();
    match (cells.is_empty(), red.is_empty()) {
        (true, _) => Err("no cell was dialled for it".into()),
        (false, true) => Ok(()),
        (false, false) => Err(red.join("\n")),
    }
}

/// What the run may have left: containers, folders, a line in the user's kubeconfig, processes.
async fn left(lease: &Lease, kubeconfig: Option<&[u8]>) -> Result<(), String> {
    let mut found = vec![];
    let engine = engine::ensure(&Progress::new()).await.map_err(|e| svidproof::sys::chain(&e))?;
    let cluster = format!("svidproof-{}", lease.id);
    let filter = format!("label=io.x-k8s.kind.cluster={cluster}");
    let listed = engine
        .docker()
        .args(["ps", "--all", "--quiet", "--filter", &filter])
        .run()
        .await
        .map_err(|e| svidproof::sys::chain(&e))?;
    if !listed.stdout.trim().is_empty() {
        found.push(format!("containers: {}", listed.stdout.trim()));
    }
    let node = svidproof::sys::dirs::cache().join("nodes").join(&lease.id);
    found.extend(
        [&lease.dir, &node]
            .iter()
            .filter(|path| path.exists())
            .map(|path| format!("folder {}", path.display())),
    );
    if users_kubeconfig().as_deref() != kubeconfig {
        found.push("a change in the user's kubeconfig".into());
    }
    found.extend(processes(&cluster).map(|line| format!("process {line}")));
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

fn users_kubeconfig() -> Option<Vec<u8>> {
    std::fs::read(std::env::home_dir()?.join(".kube/config")).ok()
}

/// Processes whose command line names the cluster.
fn processes(cluster: &str) -> impl Iterator<Item = String> {
    let lines = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(move |line| line.contains(cluster))
}
