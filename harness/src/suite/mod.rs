//! Every stage of every scenario, once or after each change.

pub mod watch;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;

use crate::proof::chart_test::ChartTest;
use crate::proof::judge::Judged;
use crate::session::Session;
use crate::stage::{self, StageError};

/// What came of a suite.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every cell.
    pub judged: Vec<Judged>,
    /// What `helm test` came to, where releases ask for it.
    pub tests: Vec<ChartTest>,
}

/// What was judged so far. It is there also where the rest of the work ends early.
#[derive(Default)]
pub struct Results(Mutex<BTreeMap<usize, Outcome>>);

impl Results {
    /// All of it, in the order of the scenarios and of their stages.
    pub fn take(&self) -> Outcome {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().fold(Outcome::default(), |mut whole, Outcome { judged, tests }| {
            whole.judged.extend(judged);
            whole.tests.extend(tests);
            whole
        })
    }

    fn add(&self, scenario: usize, judged: Vec<Judged>, tests: Vec<ChartTest>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = all.entry(scenario).or_default();
        outcome.judged.extend(judged);
        outcome.tests.extend(tests);
    }
}

/// Every stage of every scenario, or `only` the stages of that name: scenarios side by side, a scenario's
/// stages in order. Of a stage's checks those whose name is `chosen` are made.
///
/// # Errors
/// One for each scenario that could not go on; the others did.
pub async fn test_all(
    session: &Session,
    only: Option<&str>,
    chosen: &dyn Fn(&str) -> bool,
    results: &Results,
) -> Result<(), Vec<StageError>> {
    let each = session.systems.iter().enumerate().map(async |(number, system)| {
        let stages = system.scenario.stages.iter();
        for stage in stages.filter(|stage| only.is_none_or(|only| stage.name == only)) {
            let judged = stage::run(&session.context, system, stage, &BTreeMap::new(), chosen).await?;
            let tests = stage::chart_tests(&session.context, &system.scenario, stage, chosen).await;
            results.add(number, judged, tests);
        }
        Ok::<_, StageError>(())
    });
    let errors: Vec<_> = join_all(each).await.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether all of `name` is what `glob` says: `*` stands for any text, everything else for itself.
pub fn matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nobody*", "nobody is refused", true)]
    #[case("*refused", "nobody is refused", true)]
    #[case("*is*", "nobody is refused", true)]
    #[case("nobody", "nobody is refused", false)]
    #[case("a*b*c", "a-c-b", false)]
    #[case("*", "", true)]
    #[case("", "", true)]
    #[case("", "nobody", false)]
    #[case("nobody is refused", "nobody is refused", true)]
    #[case("**", "nobody", true)]
    #[case("no*body", "nobody", true)]
    #[case("nob*body", "nobody", false)]
    #[case("?obody", "nobody", false)]
    #[case("a*a", "a", false)]
    #[case("*é*", "café au lait", true)]
    fn globs(#[case] glob: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(glob, name), expected);
    }
}
