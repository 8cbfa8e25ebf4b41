//! The command line, one file a subcommand. Data goes to standard output, everything else to standard error.
//! Here are the arguments, and which subcommand is called; how it ends is `exit`'s.

mod baseline;
mod bundle;
mod chart;
mod check_live;
mod cluster;
mod dials;
mod diff;
mod doctor;
mod down;
mod engine;
mod exit;
mod finish;
mod format;
mod history;
mod images;
mod init;
mod new;
mod report;
mod run;
mod scenarios;
mod schema;
mod status;
mod svid;
mod test;
mod up;
mod verify;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::{Ended, Exit};
use crate::cluster::helm::POST_RENDERER;
use crate::halt;
use crate::provider::gke::{self, TOKEN};
use crate::sys::progress::Progress;

/// Proves who may talk to whom, over real mTLS, from both ends.
#[derive(Debug, Parser)]
#[command(name = "svidproof", version, max_term_width = 120, after_help = exit::statuses())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a cluster up, make every check of every stage, report, and take everything down
    Run(run::RunArgs),
    /// Bring a cluster up with the scenarios' systems in it, and keep it
    Up(up::UpArgs),
    /// Make the checks on the cluster that `up` keeps; charts and values that changed are upgraded first
    Test(test::TestArgs),
    /// Make the checks on what stands in a cluster that is somebody else's, and change nothing of theirs
    CheckLive(check_live::CheckLiveArgs),
    /// Make the checks again whenever a chart, its values or a scenario changes, on the cluster that `up`
    /// keeps
    Watch(watch::WatchArgs),
    /// Make a repository one that svidproof works in: svidproof.yaml and its folders
    Init(init::InitArgs),
    /// Draft a scenario for a chart
    New(new::NewArgs),
    /// Plant each fault that a scenario lists, and prove that its checks turn red
    Verify(verify::VerifyArgs),
    /// Say in words what changed between two surfaces, or two report.json
    Diff(diff::DiffArgs),
    /// Say what the reports of many nights say together: verdicts, times, flakes, what opened and when
    History(history::HistoryArgs),
    /// Take down what `up` keeps
    Down(down::DownArgs),
    /// Take down what runs that were killed left behind
    Gc(down::GcArgs),
    /// Gather what is needed to understand a run into one archive, without secrets
    Bundle(bundle::BundleArgs),
    /// Say what stands, since when, and how it is reached: kubeconfig, endpoints, a curl line for each
    Status,
    /// List the runs that are there, and what each made
    Leases,
    /// Carry SVIDs out of the cluster that `up` keeps
    Svid(svid::SvidArgs),
    /// Build, load, list or prune the container images
    Images(images::ImagesArgs),
    /// Look at the container engine, point other programs at it, or stop the private one
    Engine(engine::EngineArgs),
    /// List the charts that svidproof brings along, or write one out to be changed
    Chart(chart::ChartArgs),
    /// Print the JSON Schema of a file, for editors and other programs
    Schema(schema::SchemaArgs),
    /// Name what this machine lacks
    Doctor(doctor::DoctorArgs),
    /// Measure how many dials a second are made in the cluster that `up` keeps
    Dials(dials::DialsArgs),
    /// Helm's post-renderer, for `inject-admin`
    #[command(name = POST_RENDERER, hide = true)]
    PostRender { port: u16 },
    /// What a kubeconfig of the provider `gke` fetches its tokens by
    #[command(name = TOKEN, hide = true)]
    GkeToken,
    /// The OCI runtime that the private engine calls where a capability is missing
    #[command(hide = true)]
    OciRuntime {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    exit::status(called(Cli::parse().command))
}

fn called(command: Command) -> Result<Exit, Ended> {
    if let Command::OciRuntime { args } = command {
        return Err(Ended::not_judged(crate::engine::oci_runtime(args)));
    }
    if let Command::PostRender { port } = command {
        return chart::post_render(port);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(carry_out(command, &Progress::new()));
    // A read of standard input or of a name that is under way must not hold the exit up.
    runtime.shutdown_background();
    ended
}

async fn carry_out(command: Command, progress: &Progress) -> Result<Exit, Ended> {
    halt::by_environment().map_err(Ended::input)?;
    match command {
        Command::Run(args) => {
            let format = args.telling.format;
            format.annotated(Box::pin(run::run(args, progress)).await)
        }
        Command::Up(args) => Box::pin(up::up(args, progress)).await,
        Command::Test(args) => {
            let format = args.telling.format;
            format.annotated(test::test(args, progress).await)
        }
        Command::CheckLive(args) => {
            let format = args.telling.format;
            format.annotated(Box::pin(check_live::check_live(args, progress)).await)
        }
        Command::Watch(args) => watch::watch(args, progress).await,
        Command::Init(args) => init::init(&args, progress),
        Command::New(args) => new::new(args, progress).await,
        Command::Chart(args) => chart::chart(args, progress),
        Command::Schema(args) => schema::schema(&args),
        Command::Verify(args) => {
            let format = args.format;
            format.annotated(verify::verify(args, progress).await)
        }
        Command::Diff(args) => diff::diff(&args),
        Command::History(args) => history::history(&args, progress),
        Command::Down(args) => down::down(args, progress).await,
        Command::Gc(args) => Box::pin(down::gc(args, progress)).await,
        Command::Bundle(args) => Box::pin(bundle::bundle(args, progress)).await,
        Command::Status => status::status(progress).await,
        Command::Leases => down::leases(),
        Command::Svid(args) => svid::svid(args, progress).await,
        Command::Images(args) => images::images(args, progress).await,
        Command::Engine(args) => engine::engine(args, progress).await,
        Command::Doctor(args) => doctor::doctor(args, progress).await,
        Command::Dials(args) => dials::dials(args, progress).await,
        Command::GkeToken => {
            let credential = gke::exec_credential().await.map_err(Ended::not_judged)?;
            exit::print(&credential)?;
            Ok(Exit::Passed)
        }
        // They are not for people, and were called before there was a runtime.
        Command::PostRender { port } => chart::post_render(port),
        Command::OciRuntime { args } => Err(Ended::not_judged(crate::engine::oci_runtime(args))),
    }
}
