//! What breaks while svidproof works: its probe, an agent, the API server, an Envoy in the window, the stream
//! to the probe, Helm, the disk under it, docker. Whatever it is, what was judged before stands, nothing passes
//! or fails for it, and the command ends with 3, says what broke, and leaves nothing.
//!
//! Real clusters, made and taken down here. While the window of the stage `late` is open its answer is held
//! back, so that a fault falls into it for certain.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and how long each fault took")]

mod disk;
mod relay;
mod system;

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use conformance::{copy, leftovers, said};
use rustix::process::Signal;
use serde_json::Value;
use svidproof::sys::wait;

use relay::Relay;
use system::System;

/// How long a command may go on after the fault: the longest of the limits that it runs into
/// (docs/architecture.md, "Limits") and the teardown. Not how long it takes.
const ENDS: Duration = Duration::from_mins(4);

pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/repository"), dir.path());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        conformance::svidproof_in(self.dir.path(), args).output().unwrap()
    }

    fn started(&self, args: &[&str]) -> Child {
        let mut command = conformance::svidproof_in(self.dir.path(), args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What all stages come to, on the cluster as it is now.
    #[track_caller]
    fn is_well(&self, after: &str) {
        let test = self.svidproof(&["test", "--out", "well"]);
        assert_eq!(test.status.code(), Some(0), "after {after}: {}", told(&test));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

/// All that it said.
fn told(output: &Output) -> String {
    format!("{}\n{}", said(output), String::from_utf8_lossy(&output.stdout))
}

/// Its end, which must come.
async fn ended(child: Child) -> Output {
    let id = child.id();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    match wait::within("svidproof to end", ENDS, output).await {
        Ok(output) => output.unwrap(),
        Err(late) => {
            system::signal(Signal::KILL, id);
            panic!("{late}");
        }
    }
}

/// What goes wrong in a window of a cluster that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    ProbeDeleted,
    EnvoyKilled,
    ApiServerKilled,
    StreamSilent,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_in_the_window_is_no_verdict() {
    let world = World::new();
    let up = world.svidproof(&["up"]);
    assert!(up.status.success(), "{}", said(&up));
    let system = System::found(&world).await;
    world.is_well("up");
    for (fault, says) in [
        (Fault::ProbeDeleted, "probe"),
        (Fault::EnvoyKilled, "restarted or replaced"),
        (Fault::ApiServerKilled, "probe"),
        (Fault::StreamSilent, "answer(s) and was silent for"),
    ] {
        let began = Instant::now();
        let relay = (fault == Fault::StreamSilent).then(|| Relay::before(&system.kubeconfig));
        let child = world.started(&["test", "--out", "out"]);
        system.window_is_open().await;
        match fault {
            Fault::ProbeDeleted => system.delete_pods("svidproof", "").await,
            Fault::EnvoyKilled => system.kill("envoy").await,
            Fault::ApiServerKilled => system.kill("kube-apiserver").await,
            Fault::StreamSilent => relay.as_ref().unwrap().freeze(),
        }
        let output = ended(child).await;
        drop(relay);
        let name = format!("{fault:?}");
        println!("{name}: ended after {:.1} s", began.elapsed().as_secs_f64());
        is_no_verdict(&world, &name, says, &output);
        system.answers().await;
        world.is_well(&name);
    }
    an_agent_restarts(&world, &system).await;
    disk::out_is_full(&world).await;
    helm_hangs(&world, &system).await;
    docker_is_stopped(world).await;
}

/// What it has handed out is held by those who have it: both sides have seen all of the window, and the
/// verdicts are what they were. (An agent that stays away is a hop: tier `hops`.)
async fn an_agent_restarts(world: &World, system: &System) {
    let child = world.started(&["test", "--out", "out"]);
    system.window_is_open().await;
    system.delete_pods("spire", "app=spire-faults-agent").await;
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

/// It is stopped while it upgrades, and ended when the release's time is over. The next upgrade finds what it
/// left half-way.
async fn helm_hangs(world: &World, system: &System) {
    let child = world.started(&["test", "--out", "out"]);
    // The upgrade after that is of the stage `changed`.
    system.window_is_open().await;
    let helm = system::child_of(child.id(), &["helm", "upgrade", "backend"]).await;
    system::signal(Signal::STOP, helm);
    let output = ended(child).await;
    let told = told(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    for says in ["release backend", "it was not done after 20 s", "4 passed"] {
        assert!(told.contains(says), "`{says}` is not told: {told}");
    }
    world.is_well("a Helm that hung");
}

/// With it all containers end: the API server is gone. What stands is found and taken down by `down`, which
/// starts an engine.
async fn docker_is_stopped(world: World) {
    let system = System::found(&world).await;
    let child = world.started(&["test", "--out", "out"]);
    system.window_is_open().await;
    let pidfile = svidproof::sys::dirs::cache().join("engine/run/docker.pid");
    let dockerd = std::fs::read_to_string(&pidfile).unwrap().trim().parse().unwrap();
    system::signal(Signal::TERM, dockerd);
    let output = ended(child).await;
    is_no_verdict(&world, "docker is stopped", "probe", &output);
    let down = world.svidproof(&["down"]);
    assert!(down.status.success(), "{}", said(&down));
    let folder = world.path("state/svidproof/runs").join(&system.run);
    assert_eq!(leftovers::of_run(&system.run, &folder).await.unwrap(), Vec::<String>::new());
}

/// The rest stands, and of what the fault fell into nothing passed or failed.
#[track_caller]
fn is_no_verdict(world: &World, name: &str, says: &str, output: &Output) {
    let told = told(output);
    assert_eq!(output.status.code(), Some(3), "{name}: {told}");
    assert!(told.contains(says), "{name}: `{says}` is not told: {told}");
    let report = std::fs::read_to_string(world.path("out/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["checks"].as_array().unwrap();
    let verdicts = |stage: &str| -> Vec<&str> {
        let of = rows.iter().filter(|row| row["stage"] == stage);
        of.map(|row| row["verdict"].as_str().unwrap()).collect()
    };
    assert_eq!(verdicts("early"), ["passed", "passed"], "{name}: {told}");
    let late = verdicts("late");
    assert!(late.iter().all(|one| ["errored", "flaky"].contains(one)), "{name}: {late:?}: {told}");
    let errs = report["errors"].as_array().is_some_and(|errors| !errors.is_empty());
    assert!(late.len() == 2 || errs, "{name}: nothing is told of the stage: {report}");
}
