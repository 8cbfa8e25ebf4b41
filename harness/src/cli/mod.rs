//! The command line, one file a subcommand. Data goes to standard output, everything else to standard error.
//!
//! Exit status: 0 all passed, 1 a check failed, 2 the user's input is wrong, 3 something could not be judged
//! or brought up, 130 interrupted.

mod dials;
mod diff;
mod doctor;
mod down;
mod engine;
mod images;
mod new;
mod run;
mod svid;
mod test;
mod up;
mod verify;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::images::{ImagesError, Source};
use crate::lease::{Lease, LeaseError};
use crate::provider::{ClusterOptions, Provider};
use crate::scenario::{self, Scenario, ScenarioError};
use crate::session::teardown::TeardownError;
use crate::session::{Record, SessionError};
use crate::stage::StageError;
use crate::sys::progress::Progress;

/// Proves who may talk to whom, over real mTLS, from both ends.
#[derive(Debug, Parser)]
#[command(name = "svidproof", version, max_term_width = 120, after_help = EXIT)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT: &str = "Exit status: 0 all passed, 1 a check failed, 2 the input is wrong, 3 something could not be judged or brought up, 130 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a cluster up, make every check of every stage, report, and take everything down
    Run(run::RunArgs),
    /// Bring a cluster up with the scenarios' systems in it, and keep it
    Up(up::UpArgs),
    /// Make the checks on the cluster that `up` keeps; charts and values that changed are upgraded first
    Test(test::TestArgs),
    /// Make the checks again whenever a chart, its values or a scenario changes, on the cluster that `up`
    /// keeps
    Watch(watch::WatchArgs),
    /// Draft a scenario for a chart
    New(new::NewArgs),
    /// Plant each fault that a scenario lists, and prove that its checks turn red
    Verify(verify::VerifyArgs),
    /// Say in words what changed between two surfaces, or two report.json
    Diff(diff::DiffArgs),
    /// Take down what `up` keeps
    Down(down::DownArgs),
    /// Take down what runs that were killed left behind
    Gc,
    /// Carry SVIDs out of the cluster that `up` keeps
    Svid(svid::SvidArgs),
    /// Build, load, list or prune the container images
    Images(images::ImagesArgs),
    /// Look at the container engine, point other programs at it, or stop the private one
    Engine(engine::EngineArgs),
    /// Name what this machine lacks
    Doctor(doctor::DoctorArgs),
    /// Measure how many dials a second are made in the cluster that `up` keeps
    Dials(dials::DialsArgs),
    /// The OCI runtime that the private engine calls where a capability is missing
    #[command(hide = true)]
    OciRuntime {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// What is tested.
#[derive(Debug, Clone, Args)]
struct Scenarios {
    /// Scenario files [default: those in tests/scenarios]
    #[arg(long = "scenario", value_name = "FILE", num_args = 1..)]
    files: Vec<PathBuf>,
}

/// Where the cluster comes from.
#[derive(Debug, Clone, Args)]
struct Where {
    #[arg(long, value_enum, default_value_t = Provider::Kind)]
    provider: Provider,
    /// Context of an existing cluster
    #[arg(long)]
    context: Option<String>,
    /// Kubeconfig of an existing cluster
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Terraform variable of the provider `gke`
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, serde_json::Value)>,
    /// Where images come from
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    images: Source,
}

impl Where {
    fn options(&self) -> ClusterOptions {
        ClusterOptions {
            context: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            set: self.set.iter().cloned().collect(),
        }
    }
}

/// `name=value`; a value that is JSON is taken as it is, anything else as text.
fn variable(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    Ok((name.into(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Why a command ends early, and with which status.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    fn input(error: impl std::fmt::Display) -> Self {
        Self { status: 2, message: error.to_string() }
    }

    fn broken(error: impl std::fmt::Display) -> Self {
        Self { status: 3, message: error.to_string() }
    }

    fn interrupted() -> Self {
        Self { status: 130, message: "interrupted".into() }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::input(error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let told = crate::sys::chain(&error);
        if error.is_input() { Self::input(told) } else { Self::broken(told) }
    }
}

macro_rules! broken {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::broken(crate::sys::chain(&error))
            }
        })*
    };
}

broken!(
    crate::surface::SurfaceError,
    crate::suite::watch::WatchError,
    LeaseError,
    TeardownError,
    StageError,
    ImagesError,
    crate::engine::EngineError,
    std::io::Error
);

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::OciRuntime { args } = cli.command {
        return ended(Err(Failure::broken(crate::engine::oci_runtime(args))));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return ended(Err(Failure::broken(e))),
    };
    let progress = Progress::new();
    let status = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args, &progress).await,
            Command::Up(args) => up::up(args, &progress).await,
            Command::Test(args) => test::test(args, &progress).await,
            Command::Watch(args) => watch::watch(args, &progress).await,
            Command::New(args) => new::new(args, &progress).await,
            Command::Verify(args) => verify::verify(args, &progress).await,
            Command::Diff(args) => diff::diff(&args),
            Command::Down(args) => down::down(args, &progress).await,
            Command::Gc => down::gc(&progress).await,
            Command::Svid(args) => svid::svid(args, &progress).await,
            Command::Images(args) => images::images(args, &progress).await,
            Command::Engine(args) => engine::engine(args, &progress).await,
            Command::Doctor(args) => doctor::doctor(args).await,
            Command::Dials(args) => dials::dials(args, &progress).await,
            Command::OciRuntime { .. } => Ok(0),
        }
    });
    // A read of standard input or of a name that is under way must not hold the exit up.
    runtime.shutdown_background();
    ended(status)
}

fn ended(status: Result<u8, Failure>) -> ExitCode {
    match status {
        Ok(status) => ExitCode::from(status),
        Err(Failure { status, message }) => {
            // Standard error may be closed: the status still says it.
            let _ = writeln!(std::io::stderr(), "svidproof: {message}");
            ExitCode::from(status)
        }
    }
}

/// Prints data.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::from)
}

/// What the work comes to, or `failure` at SIGINT or SIGTERM. They are listened for before the work begins:
/// it starts what must not be left.
async fn or_interrupted<T>(
    failure: impl FnOnce() -> Failure,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = interrupted() => Err(failure()),
        done = work => done,
    }
}

/// Resolves at SIGINT or SIGTERM.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// The named scenario files, or those of the project that the working directory is in.
fn load(scenarios: &Scenarios) -> Result<Vec<Scenario>, Failure> {
    let files = if scenarios.files.is_empty() { reference_scenarios()? } else { scenarios.files.clone() };
    let mut loaded: Vec<Scenario> = vec![];
    for file in files {
        let scenario = scenario::load(&file)?;
        if let Some(other) = loaded.iter().find(|other| other.name == scenario.name) {
            let names = (other.file.display(), file.display());
            return Err(Failure::input(format!(
                "{} and {} are both scenario `{}`\nhint: name one of them otherwise",
                names.0, names.1, scenario.name
            )));
        }
        loaded.push(scenario);
    }
    Ok(loaded)
}

fn reference_scenarios() -> Result<Vec<PathBuf>, Failure> {
    let root = project()?;
    let folder = root.join("tests/scenarios");
    let entries =
        std::fs::read_dir(&folder).map_err(|e| Failure::input(format!("{}: {e}", folder.display())))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}

/// The folder, from the working directory upwards, that holds charts and scenarios.
fn project() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()?;
    let root = here
        .ancestors()
        .find(|folder| folder.join("helm").is_dir() && folder.join("tests/scenarios").is_dir());
    let hint = "hint: run svidproof inside the project, or name a scenario by --scenario FILE";
    root.map(Path::to_owned).ok_or_else(|| {
        Failure::input(format!(
            "no folder from {} upwards holds helm/ and tests/scenarios/\n{hint}",
            here.display()
        ))
    })
}

/// The scenarios that the kept run was brought up with, read anew.
fn kept_scenarios(lease: &Lease) -> Result<Vec<Scenario>, Failure> {
    let files = Record::read(&lease.dir)?.scenarios;
    Ok(files.iter().map(|file| scenario::load(file)).collect::<Result<_, _>>()?)
}

/// The newest run that was kept, taken over.
fn kept() -> Result<Lease, Failure> {
    for dir in Lease::all()? {
        if let Ok(lease) = Lease::open(dir)
            && lease.kept()?
        {
            return Ok(lease);
        }
    }
    Err(Failure::input(
        "no cluster is kept, or another svidproof is at work on it\nhint: `svidproof up` brings one up and keeps it",
    ))
}
