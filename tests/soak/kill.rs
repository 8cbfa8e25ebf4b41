//! One run, killed or told to end, and what is left of it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use svidproof::halt::{Halt, VARIABLE};

use crate::world::World;

/// A run that was told to end has ended by then.
const LONGEST: Duration = Duration::from_mins(4);

/// Which cluster the run is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Where {
    Own,
    /// One of its own, with SPIRE agents outside.
    Outside,
    Kept,
}

#[derive(Clone, Debug)]
pub(crate) struct Kill {
    /// None: at a random time.
    pub(crate) place: Option<Halt>,
    pub(crate) site: Where,
    /// From there, or from its beginning.
    after: Duration,
    signal: Signal,
}

/// What became of it.
pub(crate) struct Done {
    pub(crate) kill: Kill,
    /// The run, where there was one yet.
    run: Option<String>,
    /// It was over before its time came.
    pub(crate) ended_before: bool,
    seconds: f64,
    /// What is left, or what went wrong, a line each.
    pub(crate) left: Vec<String>,
}

impl Kill {
    pub(crate) fn at(place: Halt, site: Where, after: Duration, signal: Signal) -> Self {
        Self { place: Some(place), site, after, signal }
    }

    pub(crate) fn at_random(site: Where, after: Duration, signal: Signal) -> Self {
        Self { place: None, site, after, signal }
    }

    pub(crate) fn name(&self) -> String {
        let place = self.place.map_or_else(|| "at random".into(), |place| format!("at {}", place.name()));
        format!("{}: {place}", self.cluster())
    }

    fn cluster(&self) -> &'static str {
        match self.site {
            Where::Own => "a cluster of its own",
            Where::Outside => "a cluster of its own and machines outside",
            Where::Kept => "a kept cluster",
        }
    }

    pub(crate) fn signal(&self) -> &'static str {
        match self.signal {
            Signal::KILL => "KILL",
            Signal::TERM => "TERM",
            _ => "HUP",
        }
    }

    pub(crate) fn carried_out(self, world: &World) -> Done {
        let begun = Instant::now();
        let (run, ended_before, result) = self.killed(world);
        let mut left: Vec<_> = result.err().into_iter().collect();
        if self.signal == Signal::KILL {
            left.extend(world.collected());
        }
        left.extend(world.left(self.site, run.as_deref()));
        let of = |line: String| format!("{} {} by {}: {line}", self.name(), self.after_text(), self.signal());
        let left = left.into_iter().map(of).collect();
        Done { run, ended_before, seconds: begun.elapsed().as_secs_f64(), left, kill: self }
    }

    fn after_text(&self) -> String {
        format!("after {:.1} s", self.after.as_secs_f64())
    }

    /// The run, whether it ended before its time came, and what went wrong.
    fn killed(&self, world: &World) -> (Option<String>, bool, Result<(), String>) {
        let mut command = world.run(self.site);
        if let Some(place) = self.place {
            command.env(VARIABLE, place.name());
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = followed(&mut child);
        let mut told = vec![];
        if let Some(place) = self.place {
            let there = format!("stopped at {}", place.name());
            told.extend(lines.iter().take_while(|line| *line != there));
        }
        // Until its time has come, or it has ended, which closes what it says.
        let until = Instant::now() + self.after;
        let ended = loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => told.push(line),
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        let run = world.runs().pop().map(|dir| name_of(&dir));
        if !ended {
            let _ = kill_process(Pid::from_child(&child), self.signal);
        }
        let limit = Instant::now() + LONGEST;
        let is_over = loop {
            match lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) => told.push(line),
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        if !is_over {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let told = told.join("\n");
        let result = match (self.place, ended, status.code()) {
            _ if !is_over => Err(format!("it did not end in {} s:\n{told}", LONGEST.as_secs())),
            (Some(place), true, _) => Err(format!("it was never at {}:\n{told}", place.name())),
            (_, false, Some(_)) if self.signal == Signal::KILL => {
                Err(format!("it outlived SIGKILL:\n{told}"))
            }
            (_, false, None) if self.signal != Signal::KILL => {
                Err(format!("the signal itself ended it, and not svidproof:\n{told}"))
            }
            _ => Ok(()),
        };
        (run, ended, result)
    }
}

/// What it says, line by line, until it and whoever writes there has ended.
fn followed(child: &mut Child) -> Receiver<String> {
    let said = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

pub(crate) fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Done {
    pub(crate) fn told(&self) -> Value {
        let unique: BTreeSet<_> = self.left.iter().collect();
        json!({
            "signal": self.kill.signal(), "at": self.kill.place.map(Halt::name),
            "after": (self.kill.after.as_secs_f64() * 10.0).round() / 10.0,
            "in": self.kill.cluster(), "run": self.run, "ended-before": self.ended_before,
            "seconds": self.seconds.round(), "leftovers": unique,
        })
    }
}
