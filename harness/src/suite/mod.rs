//! Every stage of every scenario, once or after each change.

pub mod watch;

use std::collections::BTreeMap;

use futures::future::try_join_all;

use crate::proof::judge::Judged;
use crate::session::{Record, Session};
use crate::stage::{self, StageError};

/// What a run of checks came to.
pub struct Tested {
    /// What stands in the cluster by then: the report names it.
    pub record: Record,
    /// Every cell, in the order of the scenarios and of their stages.
    pub judged: Vec<Judged>,
}

/// Every stage of every scenario, or `only` the stages of that name: scenarios side by side, a scenario's
/// stages in order. Of a stage's checks those whose name is `chosen` are made.
pub async fn test_all(
    session: &Session,
    only: Option<&str>,
    chosen: &dyn Fn(&str) -> bool,
) -> Result<Tested, StageError> {
    let each = session.systems.iter().map(async |system| {
        let mut judged = vec![];
        for stage in system.scenario.stages.iter().filter(|stage| only.is_none_or(|only| stage.name == only))
        {
            judged.extend(stage::run(&session.context, system, stage, &BTreeMap::new(), chosen).await?);
        }
        Ok::<_, StageError>(judged)
    });
    let judged = try_join_all(each).await?.into_iter().flatten().collect();
    Ok(Tested { record: session.context.record(), judged })
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
