//! The in-cluster binary: `hold` keeps its pod alive, `serve` (run by `exec` in that pod) dials as its
//! standard input asks.

use std::io::{self, Write};
use std::process::ExitCode;

use svidproof_probe::{Identities, serve};
use tokio::io::{BufReader, BufWriter};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: svidproof-probe hold | serve | --version";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("hold"), None) => run(hold()),
        (Some("serve"), None) => run(serve_stdio()),
        (Some("--version"), None) => version(""),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("svidproof-probe: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn version(and: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", format!("svidproof-probe {} {and}", env!("CARGO_PKG_VERSION")).trim_end())
}

fn say(line: &str) {
    // Nothing is left to do where standard error itself is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Ends with `work`, and does not wait for blocking calls (a name lookup, the read of standard input) that it
/// left behind.
fn run(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = Runtime::new()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// As process 1 of a pod: the kernel gives it no default signal handlers, so the pod's end must be listened
/// for.
async fn hold() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    version("holds")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn serve_stdio() -> io::Result<()> {
    let identities =
        std::env::var("SPIFFE_ENDPOINT_SOCKET").map_or_else(|_| Identities::none(), Identities::follow);
    serve(BufReader::new(tokio::io::stdin()), BufWriter::new(tokio::io::stdout()), identities).await
}
