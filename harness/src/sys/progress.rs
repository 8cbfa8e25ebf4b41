//! What a person sees while svidproof works: a line a step with its time, on standard error. A spinner on a
//! terminal; elsewhere plain lines, and whenever nothing was said for a while, what is under way.
//!
//! Steps at the first level are the run's phases: the report repeats them. Not for results: those are the
//! report's.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::printable::{in_a_line, printable};
use super::terminal::{Reader, cut, padded};

/// Nobody should have to ask whether it still works.
const SILENCE: Duration = Duration::from_secs(15);

/// The columns of a step's name, so that times stand below each other.
const NAME: usize = 44;

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
    phases: Mutex<Vec<Phase>>,
    /// The steps under way, in the order in which they began.
    running: Mutex<Vec<Running>>,
    /// When a line was written last.
    said: Mutex<Instant>,
    /// While it is there, silence is broken.
    watched: OnceLock<Sender<()>>,
}

struct Running {
    name: String,
    phase: bool,
    begun: Instant,
    about: Option<String>,
}

impl Progress {
    /// Spinners and colour only where standard error is a terminal.
    pub fn new() -> Self {
        Self::on(std::io::stderr().is_terminal())
    }

    fn on(terminal: bool) -> Self {
        Self(Arc::new(Inner {
            begun: Instant::now(),
            spinners: terminal.then(MultiProgress::new),
            phases: Mutex::default(),
            running: Mutex::default(),
            said: Mutex::new(Instant::now()),
            watched: OnceLock::new(),
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
        self.0.say(&reader().flowed(&printable(line)));
    }

    /// The phases that came to their end, in that order.
    pub fn phases(&self) -> Vec<Phase> {
        locked(&self.0.phases).clone()
    }

    fn step(&self, name: String, phase: bool) -> Step {
        let spinner = self.0.spinners.as_ref().map(|all| {
            let spinner = all.add(ProgressBar::new_spinner());
            spinner.set_style(
                // What is wide is cut to what the rest of the line leaves of the terminal.
                ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            spinner.set_message(in_a_line(&name));
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if self.0.spinners.is_none() {
            self.0.watched.get_or_init(|| {
                let (watched, end) = channel();
                let inner = Arc::downgrade(&self.0);
                std::thread::spawn(move || break_silence(&inner, &end, SILENCE));
                watched
            });
        }
        let begun = Instant::now();
        locked(&self.0.running).push(Running { name: name.clone(), phase, begun, about: None });
        Step { progress: self.clone(), name, phase, begun, spinner, ended: false }
    }

    fn ended(&self, step: &Step, mark: &str, colour: &str) {
        let reader = reader();
        let indent = if step.phase { "" } else { "  " };
        let mark = reader.painted(colour, mark);
        let took = format!("{:>6.1} s", step.begun.elapsed().as_secs_f64());
        let name = in_a_line(&step.name);
        let (name, room) = match reader.columns {
            None => (name, NAME),
            Some(columns) => {
                let room = columns - indent.len() - "✓  ".chars().count() - took.len();
                (cut(&name, room), NAME.min(room))
            }
        };
        self.0.say(&format!("{indent}{mark} {} {took}", padded(&name, room)));
    }
}

/// Who reads standard error.
fn reader() -> Reader {
    Reader::of(&std::io::stderr())
}

impl Inner {
    fn say(&self, line: &str) {
        *locked(&self.said) = Instant::now();
        match &self.spinners {
            Some(spinners) => drop(spinners.println(line)),
            // Standard error may be closed: the work goes on.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// What is under way: the parts, or, where there are none, the phases.
    fn under_way(&self) -> Option<String> {
        let running = locked(&self.running);
        let is_part = running.iter().any(|step| !step.phase);
        let each = running.iter().filter(|step| step.phase != is_part).map(|step| {
            let about = step.about.as_ref().map(|about| format!(" ({about})")).unwrap_or_default();
            format!("{} for {} s{about}", step.name, step.begun.elapsed().as_secs())
        });
        let each: Vec<_> = each.collect();
        (!each.is_empty()).then(|| format!("  … {}", each.join(", ")))
    }
}

/// Until nobody holds the progress any more.
fn break_silence(progress: &Weak<Inner>, end: &Receiver<()>, silence: Duration) {
    let mut wait = silence;
    while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        let Some(progress) = progress.upgrade() else { return };
        let silent = locked(&progress.said).elapsed();
        wait = silence.saturating_sub(silent);
        if wait.is_zero() {
            wait = silence;
            if let Some(line) = progress.under_way() {
                progress.say(&printable(&line));
            }
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// More about a step that takes long: how long it took elsewhere.
    #[must_use]
    pub fn about(self, text: &str) -> Self {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(in_a_line(&format!("{} ({text})", self.name)));
        }
        if let Some(running) = locked(&self.progress.0.running).iter_mut().find(|one| self.is(one)) {
            running.about = Some(text.into());
        }
        self
    }

    fn is(&self, running: &Running) -> bool {
        running.begun == self.begun && running.name == self.name
    }

    /// The step came to its end.
    pub fn done(mut self) {
        self.finish("✓", "\x1b[32m");
        if self.phase {
            let inner = &self.progress.0;
            let started = seconds(self.begun.duration_since(inner.begun));
            let phase = Phase { name: self.name.clone(), started, seconds: seconds(self.begun.elapsed()) };
            locked(&inner.phases).push(phase);
        }
    }

    fn finish(&mut self, mark: &str, colour: &str) {
        self.ended = true;
        locked(&self.progress.0.running).retain(|one| !self.is(one));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Progress {
        Progress::on(false)
    }

    #[test]
    fn what_is_under_way_is_told_parts_before_phases_and_with_what_is_known() {
        let progress = quiet();
        assert_eq!(progress.0.under_way(), None);
        let phase = progress.phase("images");
        assert_eq!(progress.0.under_way().unwrap(), "  … images for 0 s");
        let part = progress.part("spire 1").about("13 min on two cores");
        let other = progress.part("helm 4");
        let both = "  … spire 1 for 0 s (13 min on two cores), helm 4 for 0 s";
        assert_eq!(progress.0.under_way().unwrap(), both);
        other.done();
        drop(part);
        assert_eq!(progress.0.under_way().unwrap(), "  … images for 0 s");
        phase.done();
        assert_eq!(progress.0.under_way(), None);
    }

    #[test]
    fn silence_is_broken_as_long_as_somebody_works() {
        let progress = quiet();
        let begun = *locked(&progress.0.said);
        let step = progress.part("long");
        let (held, end) = channel();
        let inner = Arc::downgrade(&progress.0);
        let watch = std::thread::spawn(move || break_silence(&inner, &end, Duration::from_millis(1)));
        let said = || *locked(&progress.0.said);
        // Bounded by the test itself: nothing else writes.
        let looked = Instant::now();
        while said() == begun && looked.elapsed() < Duration::from_mins(1) {
            std::thread::yield_now();
        }
        assert!(said() > begun, "a line was written");
        step.done();
        drop(held);
        watch.join().unwrap();
    }
}
