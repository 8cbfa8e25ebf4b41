//! A run that is told to stop at a place (`SVIDPROOF_STOP_AT`), and what a signal there leaves behind.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};

use common::{Exit, Exits, TERRAFORM, World, said};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

struct Stopped {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Stopped {
    /// Starts it, and waits until it says that it is there.
    #[track_caller]
    fn at(world: &World, args: &[&str], place: &str) -> Self {
        let mut command = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
        command.args(args).env("SVIDPROOF_STOP_AT", place);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.ends_with(&format!("stopped at {place}\n")) {
            assert_ne!(said.read_line(&mut told).unwrap(), 0, "it was never at {place}:\n{told}");
        }
        Self { child, said }
    }

    #[track_caller]
    fn ends_by(mut self, signal: Signal, status: Option<i32>) -> String {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), status, "{said}");
        said
    }
}

/// Its Terraform makes a state, and no cluster that would answer.
fn world() -> World {
    let world = World::with_images();
    world.fake("terraform", TERRAFORM);
    world
}

const RUN: [&str; 3] = ["run", "--images", "upstream"];

#[test]
fn a_place_that_does_not_exist_is_refused_with_those_that_do() {
    let world = World::new();
    let mut command = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
    command.arg("leases").env("SVIDPROOF_STOP_AT", "clusters");
    let told = said(assert_cmd::Command::from_std(command).assert().exits(Exit::Input).get_output());
    assert!(told.contains("SVIDPROOF_STOP_AT=clusters names no place"), "{told}");
    assert!(told.contains("hint: it is one of lease, engine, store, applying, "), "{told}");
}

#[rstest]
fn what_a_run_that_is_killed_there_leaves_gc_takes_down(
    #[values("lease", "engine", "applying", "reported", "teardown", "destroying", "gone-cluster", "emptied")]
    place: &str,
) {
    let world = world();
    Stopped::at(&world, &RUN, place).ends_by(Signal::KILL, None);
    assert_eq!(world.runs().len(), 1);
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}

/// Whichever comes first ends what is under way, and not what takes it down.
#[rstest]
fn a_run_that_is_told_to_end_there_takes_all_down(
    #[values(Signal::TERM, Signal::HUP)] signal: Signal,
    #[values("lease", "engine", "applying")] place: &str,
) {
    let world = world();
    Stopped::at(&world, &RUN, place).ends_by(signal, Some(i32::from(Exit::Interrupted.code())));
    world.assert_nothing_is_left();
}

#[rstest]
fn a_first_signal_does_not_end_the_teardown(
    #[values(Signal::TERM, Signal::HUP)] signal: Signal,
    #[values("reported", "teardown", "destroying", "gone-cluster", "emptied")] place: &str,
) {
    let world = world();
    // The cluster does not answer, and that is told first.
    let stopped = Stopped::at(&world, &RUN, place);
    let said = stopped.ends_by(signal, Some(i32::from(Exit::NotJudged.code())));
    assert!(!said.contains("interrupted while taking down"), "{said}");
    world.assert_nothing_is_left();
}

/// A `gc` that is killed itself leaves the rest to the next.
#[rstest]
fn gc_goes_on_where_another_was_killed(
    #[values("teardown", "destroying", "gone-cluster", "emptied")] place: &str,
) {
    let world = world();
    Stopped::at(&world, &RUN, "teardown").ends_by(Signal::KILL, None);
    Stopped::at(&world, &["gc"], place).ends_by(Signal::KILL, None);
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}

/// Between the folder that it makes first and its journal.
#[test]
fn gc_removes_a_run_that_was_killed_before_it_had_begun() {
    let world = World::new();
    fs::create_dir_all(world.root.join("state/svidproof/runs/.0a1b2c3d")).unwrap();
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}
