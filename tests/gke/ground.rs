//! A real kind cluster for the stand-in of Google Cloud (fixtures/google-stand-in), which starts this as its
//! `--up` and `--down`: made as svidproof makes every kind cluster, in a lease of its own, and handed out by
//! a kubeconfig of its administrator.
//!
//! Its environment: `NAME` the cluster's name, `KUBECONFIG_OUT` where the kubeconfig is wanted, `GROUND` a
//! folder in which its run is remembered.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use svidproof::images::{Pulls, Source, Versions};
use svidproof::lease::Lease;
use svidproof::provider::{ClusterOptions, Provider, Site};
use svidproof::session::teardown::teardown;
use svidproof::sys::progress::Progress;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match std::env::args().nth(1).as_deref() {
        Some("up") => runtime.block_on(up()),
        Some("down") => runtime.block_on(down()),
        other => Err(format!("`up` or `down`, not {other:?}").into()),
    }
}

fn told(name: &str) -> Result<PathBuf, Failed> {
    Ok(std::env::var_os(name).ok_or_else(|| format!("{name} is not set"))?.into())
}

/// The file that names the run of a cluster.
fn run_of() -> Result<PathBuf, Failed> {
    Ok(told("GROUND")?.join(told("NAME")?))
}

async fn up() -> Result<(), Failed> {
    let progress = Progress::new();
    let lease = Lease::new()?;
    std::fs::write(run_of()?, &lease.id)?;
    let site = Site {
        home: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        lease: &lease,
        options: &ClusterOptions::default(),
        published: vec![],
        source: Source::Packages,
        versions: &Versions::default(),
        pulls: Pulls::default(),
        own: vec![],
        progress: &progress,
    };
    match Provider::Kind.create(&site).await {
        Ok(created) => {
            std::fs::copy(created.cluster.kubeconfig, told("KUBECONFIG_OUT")?)?;
            Ok(lease.keep()?)
        }
        Err(error) => {
            teardown(&lease, &progress).await?;
            Err(error.into())
        }
    }
}

async fn down() -> Result<(), Failed> {
    let run = std::fs::read_to_string(run_of()?)?;
    let dir = Lease::all()?.into_iter().find(|dir| dir.ends_with(&run)).ok_or("its run is not there")?;
    let lease = Lease::open(dir)?;
    Ok(teardown(&lease, &Progress::new()).await?)
}
