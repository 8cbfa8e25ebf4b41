//! One thing that is wrong in a scenario, and what would be right. Finding it is `parse`'s and `validate`'s.

use std::fmt::{Display, Formatter};
use std::path::PathBuf;

/// One thing that is wrong in a scenario, and where. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The scenario, as the user named it.
    pub file: PathBuf,
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Display for Mistake {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)
    }
}

/// What would be right: the one name that is meant, or all that there are.
pub(super) fn instead<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    // A slip is a letter or two; more in a long name.
    let near = known
        .iter()
        .map(|name| (distance(wrong, name), *name))
        .min()
        .filter(|(far, name)| *far <= (name.chars().count() / 3).max(1));
    match near {
        Some((_, name)) => format!(": did you mean `{name}`?"),
        None if known.is_empty() => ": there is none".into(),
        None => format!(": expected one of `{}`", known.join("`, `")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let swap = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_same("san", "san", 0)]
    #[case::one_more("san", "sans", 1)]
    #[case::two_swapped("freind", "friend", 2)]
    #[case::missing("", "san", 3)]
    #[case::beyond_ascii("zażółć", "zazolc", 4)]
    fn a_distance_is_counted_in_letters(#[case] a: &str, #[case] b: &str, #[case] expected: usize) {
        assert_eq!((distance(a, b), distance(b, a)), (expected, expected));
    }

    #[rstest]
    #[case::a_slip("statu", &["status", "alert"], ": did you mean `status`?")]
    #[case::the_nearest("frontend-3", &["frontend", "frontend-2"], ": did you mean `frontend-2`?")]
    #[case::too_far("body", &["status", "alert"], ": expected one of `status`, `alert`")]
    #[case::missing("body", &[], ": there is none")]
    fn what_would_be_right_is_said(#[case] wrong: &str, #[case] known: &[&str], #[case] expected: &str) {
        assert_eq!(instead(wrong, known.iter().copied()), expected);
    }
}
