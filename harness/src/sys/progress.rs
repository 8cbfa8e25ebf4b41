//! What a person sees while svidproof works: a line a step with its time, on standard error. A spinner on a
//! terminal, plain lines elsewhere.
//!
//! Steps at the first level are the run's phases: the report repeats them. Not for results: those are the
//! report's.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::printable::{in_a_line, printable};

/// A finished phase.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Phase {
    #[allow(missing_docs, reason = "a docstring would go into the report's schema")]
    pub name: String,
    /// When it began, in seconds since the command did: phases of two scenarios run side by side.
    pub started: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Cheap to clone; all clones write to one place.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

struct Inner {
    begun: Instant,
    spinners: Option<MultiProgress>,
    colour: bool,
    phases: Mutex<Vec<Phase>>,
}

/// Whether what goes there is coloured: a terminal, and no `NO_COLOR` that says something (no-color.org).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Progress {
    /// Spinners and colour only where standard error is a terminal.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = is_coloured(&std::io::stderr());
        Self(Arc::new(Inner {
            begun: Instant::now(),
            spinners: terminal.then(MultiProgress::new),
            colour,
            phases: Mutex::default(),
        }))
    }

    /// A phase of the run.
    pub fn phase(&self, name: impl Into<String>) -> Step {
        self.step(name.into(), true)
    }

    /// A part of a phase.
    pub fn part(&self, name: impl Into<String>) -> Step {
        self.step(name.into(), false)
    }

    /// A line for the person who watches. It may hold words of others.
    pub fn note(&self, line: &str) {
        self.say(&printable(line));
    }

    fn say(&self, line: &str) {
        match &self.0.spinners {
            Some(spinners) => drop(spinners.println(line)),
            // Standard error may be closed: the work goes on.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// The phases that came to their end, in that order.
    pub fn phases(&self) -> Vec<Phase> {
        self.0.phases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn step(&self, name: String, phase: bool) -> Step {
        let spinner = self.0.spinners.as_ref().map(|all| {
            let spinner = all.add(ProgressBar::new_spinner());
            spinner.set_style(
                ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            spinner.set_prefix(in_a_line(&name));
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Step { progress: self.clone(), name, phase, begun: Instant::now(), spinner, ended: false }
    }

    fn ended(&self, step: &Step, mark: &str, colour: &str) {
        let (paint, plain) = if self.0.colour { (colour, "\x1b[0m") } else { ("", "") };
        let indent = if step.phase { "" } else { "  " };
        self.say(&format!(
            "{indent}{paint}{mark}{plain} {:<44} {:>6.1} s",
            printable(&step.name),
            step.begun.elapsed().as_secs_f64()
        ));
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One step under way. Dropped before [`Step::done`], it is shown as not having come to its end.
pub struct Step {
    progress: Progress,
    name: String,
    phase: bool,
    begun: Instant,
    spinner: Option<ProgressBar>,
    ended: bool,
}

impl Step {
    /// What the step is at, for the spinner.
    pub fn status(&self, text: impl Into<String>) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(in_a_line(&text.into()));
        }
    }

    /// The step came to its end.
    pub fn done(mut self) {
        self.finish("✓", "\x1b[32m");
        if self.phase {
            let inner = &self.progress.0;
            let started = seconds(self.begun.duration_since(inner.begun));
            let phase = Phase { name: self.name.clone(), started, seconds: seconds(self.begun.elapsed()) };
            inner.phases.lock().unwrap_or_else(PoisonError::into_inner).push(phase);
        }
    }

    fn finish(&mut self, mark: &str, colour: &str) {
        self.ended = true;
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        self.progress.ended(self, mark, colour);
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.finish("✗", "\x1b[31m");
        }
    }
}
