//! For whom a command prints: a reader at a terminal, or GitHub Actions too.

use clap::ValueEnum;

use super::exit::{Ended, Exit, print};
use crate::report::github::{Level, command};
use crate::scenario::{Mistake, ScenarioError, Source};
use crate::sys::files;

/// `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For a reader.
    #[default]
    Text,
    /// For a reader, and annotations for GitHub Actions.
    Github,
}

impl Format {
    /// Annotates what ended a command early: each mistake of a scenario at its line.
    pub(super) fn annotated(self, ended: Result<Exit, Ended>) -> Result<Exit, Ended> {
        let (Self::Github, Err(early)) = (self, &ended) else { return ended };
        // What kept it from being told is of no use to whoever reads that already.
        let _ = print(&annotations(early));
        ended
    }
}

fn annotations(ended: &Ended) -> String {
    match ended.error.downcast_ref() {
        Some(ScenarioError::Invalid { mistakes }) => mistakes.iter().map(at_its_line).collect(),
        _ => command(Level::Error, None, "svidproof", &ended.to_string()),
    }
}

fn at_its_line(Mistake { file, line, column, message }: &Mistake) -> String {
    let file = files::in_repository(file).unwrap_or_else(|| file.clone());
    let source = Source { file, line: *line, column: *column };
    command(Level::Error, Some(&source), "a mistake in the scenario", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_it_is_told_at_the_lines_of_its_mistakes_or_for_the_whole_job() {
        let mistake =
            |line| Mistake { file: "no/such.yaml".into(), line, column: 3, message: "no, 100%".into() };
        let ended = Ended::from(ScenarioError::Invalid { mistakes: vec![mistake(2), mistake(5)] });
        let told = annotations(&ended);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        let first = "::error file=no/such.yaml,line=2,col=3,title=a mistake in the scenario::no, 100%25";
        assert_eq!(lines[0], first);
        let ended = Ended::not_judged("the pod is gone\nhint: look");
        assert_eq!(annotations(&ended), "::error title=svidproof::the pod is gone%0Ahint: look\n");
    }
}
