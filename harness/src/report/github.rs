//! Annotations for GitHub Actions: a workflow command a line, which GitHub shows at the scenario's line in
//! the pull request (GitHub's documentation, "Workflow commands for GitHub Actions"). It shows ten of each
//! level for a step: the worst come first.

use super::Report;
use super::problems::{Kind, problems};
use crate::scenario::Source;

/// How loud GitHub is about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It makes the command fail.
    Error,
    /// It may the next time.
    Warning,
    /// It is only told.
    Notice,
}

/// A command for each check that did not pass or surprises.
pub fn text(report: &Report) -> String {
    let lines = problems(report).into_iter().map(|problem| {
        let level = match problem.kind {
            Kind::Failed | Kind::Errored => Level::Error,
            Kind::Flaky => Level::Warning,
            Kind::Finding => Level::Notice,
        };
        let title = format!("{}: {} ({})", problem.kind.word(), problem.check, problem.stage);
        command(level, problem.source, &title, &format!("{}\n{}", problem.reason, problem.dials()))
    });
    lines.collect()
}

/// One command with its newline. `source.file` is relative to the repository, as GitHub names files; without
/// one it belongs to the job alone.
pub fn command(level: Level, source: Option<&Source>, title: &str, message: &str) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
    };
    let place = source.filter(|source| source.line > 0).map(|Source { file, line, column }| {
        format!("file={},line={line},col={column},", property(&file.to_string_lossy()))
    });
    format!("::{level} {}title={}::{}\n", place.unwrap_or_default(), property(title), data(message))
}

/// As the runner reads it (actions/toolkit, `core.issueCommand`). What a terminal would take for its own is
/// left out: what a server said is in it.
fn data(text: &str) -> String {
    let is_told = |one: &char| !one.is_control() || matches!(one, '\n' | '\r');
    let escaped = |one| match one {
        '%' => "%25".into(),
        '\r' => "%0D".into(),
        '\n' => "%0A".into(),
        other => String::from(other),
    };
    text.chars().filter(is_told).map(escaped).collect()
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("a check", "why", "title=a check::why")]
    #[case::another_line("a", "one\r\ntwo", "title=a::one%0D%0Atwo")]
    #[case::what_ends_a_property("a: b, c", "a: b, c", "title=a%3A b%2C c::a: b, c")]
    #[case::what_is_escaped_already("50%0A", "50%0A", "title=50%250A::50%250A")]
    #[case::another_command("x::stop", "\n::add-mask::x", "title=x%3A%3Astop::%0A::add-mask::x")]
    #[case::colours("\u{1b}[31mred\0", "\u{1b}[31mred\0", "title=[31mred::[31mred")]
    fn what_is_said_stays_in_its_command(#[case] title: &str, #[case] message: &str, #[case] said: &str) {
        assert_eq!(command(Level::Error, None, title, message), format!("::error {said}\n"));
    }

    #[test]
    fn it_stands_at_its_line() {
        let source = Source { file: "tests/a,b.yaml".into(), line: 7, column: 9 };
        let told = command(Level::Notice, Some(&source), "a", "b");
        assert_eq!(told, "::notice file=tests/a%2Cb.yaml,line=7,col=9,title=a::b\n");
        let nowhere = Source::default();
        assert_eq!(command(Level::Warning, Some(&nowhere), "a", "b"), "::warning title=a::b\n");
    }
}
