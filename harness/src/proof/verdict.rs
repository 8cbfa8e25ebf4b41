//! What became of a check, the totals of a run, and the exit code they make. How a verdict is reached is
//! `judge`'s.

use schemars::JsonSchema;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As expected, from both sides.
    Passed,
    /// Not conformant: an answer or a refusal came that is not the expected one.
    Failed,
    /// It could not be judged.
    Errored,
    /// It was not tried; the reason says why.
    Skipped,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub errored: usize,
    pub skipped: usize,
}

impl FromIterator<Verdict> for Totals {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        let mut totals = Self::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Passed => totals.passed += 1,
                Verdict::Failed => totals.failed += 1,
                Verdict::Errored => totals.errored += 1,
                Verdict::Skipped => totals.skipped += 1,
            }
        }
        totals
    }
}

/// 1 where a check failed; else 3 where one could not be judged; else 0.
pub fn exit_code(totals: &Totals) -> u8 {
    match totals {
        Totals { failed: 1.., .. } => 1,
        Totals { errored: 1.., .. } => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Verdict::{Errored, Failed, Passed, Skipped};
    use super::*;

    #[rstest]
    #[case(&[], 0)]
    #[case(&[Passed, Skipped], 0)]
    #[case(&[Passed, Errored], 3)]
    #[case(&[Errored, Failed, Passed], 1)]
    fn the_worst_verdict_makes_the_exit_code(#[case] verdicts: &[Verdict], #[case] code: u8) {
        assert_eq!(exit_code(&verdicts.iter().copied().collect()), code);
    }

    #[test]
    fn each_verdict_is_counted_in_its_place() {
        let totals: Totals = [Passed, Passed, Passed, Failed, Failed, Errored, Skipped].into_iter().collect();
        assert_eq!(totals, Totals { passed: 3, failed: 2, errored: 1, skipped: 1 });
    }
}
