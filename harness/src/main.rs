//! The command line: parse, install the TLS provider, call, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider in the whole program. Another that was installed before would be a second `main`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    svidproof::cli::main()
}
