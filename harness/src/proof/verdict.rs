//! What became of a check, the totals of a run, and the exit status they make. How a verdict is reached is
//! `judge`'s.

use schemars::JsonSchema;
use serde::Serialize;

/// What became of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As expected, from both sides.
    Passed,
    /// As expected, as far as the client sees: the scenario says that the server's side cannot be read.
    ClientSide,
    /// Nothing was expected of it, and both sides tell the same: it is kept, and compared with what was kept.
    Recorded,
    /// Not conformant: an answer or a refusal came that is not the expected one.
    Failed,
    /// It could not be judged.
    Errored,
    /// It could not be judged once, and in another try of the same run it was as expected, or recorded. Which
    /// of the two holds next time nobody knows: it never counts as passed.
    Flaky,
    /// It was not tried; the reason says why.
    Skipped,
}

/// How many cells came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// As expected.
    pub passed: usize,
    /// As expected by the client's side alone.
    #[serde(skip_serializing_if = "is_none")]
    pub client_side: usize,
    /// Nothing was expected of them.
    pub recorded: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not to be judged.
    pub errored: usize,
    /// Not to be judged in one of two tries.
    #[serde(skip_serializing_if = "is_none")]
    pub flaky: usize,
    /// Not tried.
    pub skipped: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl FromIterator<Verdict> for Totals {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        let mut totals = Self::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Passed => totals.passed += 1,
                Verdict::ClientSide => totals.client_side += 1,
                Verdict::Recorded => totals.recorded += 1,
                Verdict::Failed => totals.failed += 1,
                Verdict::Errored => totals.errored += 1,
                Verdict::Flaky => totals.flaky += 1,
                Verdict::Skipped => totals.skipped += 1,
            }
        }
        totals
    }
}

impl Totals {
    /// The worst verdict makes it: one that failed, else one that could not be judged, be it in one try only.
    pub fn exit(&self) -> Exit {
        match self {
            Self { failed: 1.., .. } => Exit::CheckFailed,
            Self { errored: 1.., .. } | Self { flaky: 1.., .. } => Exit::NotJudged,
            _ => Exit::Passed,
        }
    }
}

/// Makes the enum, and keeps each docstring for `--help`: it is written once.
macro_rules! exits {
    ($(#[doc = $sentence:literal] $name:ident = $code:literal,)+) => {
        /// How svidproof ends: its exit status, which scripts and CI systems read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $sentence] $name = $code,)+
        }

        impl Exit {
            /// All there are, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// When svidproof ends so.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence.trim_ascii(),)+
                }
            }
        }
    };
}

exits! {
    /// What was asked for was done, and all checks that were made passed.
    Passed = 0,
    /// A check failed, something opened up, or a planted fault went unnoticed.
    CheckFailed = 1,
    /// The input is wrong: an argument, a scenario, a chart, or the cluster that is named.
    Input = 2,
    /// Something could not be judged or brought up, or is missing on this machine.
    NotJudged = 3,
    /// SIGINT or SIGTERM came.
    Interrupted = 130,
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Verdict::{ClientSide, Errored, Failed, Flaky, Passed, Recorded, Skipped};
    use super::*;

    #[rstest]
    #[case(&[], Exit::Passed)]
    #[case(&[Passed, Skipped, Recorded, ClientSide], Exit::Passed)]
    #[case(&[Passed, Errored], Exit::NotJudged)]
    #[case(&[Passed, Flaky], Exit::NotJudged)]
    #[case(&[Errored, Failed, Passed], Exit::CheckFailed)]
    #[case(&[Flaky, Failed], Exit::CheckFailed)]
    fn the_worst_verdict_makes_the_exit_status(#[case] verdicts: &[Verdict], #[case] exit: Exit) {
        assert_eq!(verdicts.iter().copied().collect::<Totals>().exit(), exit);
    }

    /// Scripts of users hold these numbers: they never change. clap ends with 2 too, and a shell with 130.
    #[test]
    fn the_numbers_stay_as_they_are() {
        let numbers: Vec<_> = Exit::ALL.iter().map(|exit| (*exit, exit.code())).collect();
        let expected = [
            (Exit::Passed, 0),
            (Exit::CheckFailed, 1),
            (Exit::Input, 2),
            (Exit::NotJudged, 3),
            (Exit::Interrupted, 130),
        ];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn each_exit_has_a_sentence() {
        for exit in Exit::ALL {
            let sentence = exit.sentence();
            assert!(sentence.ends_with('.') && sentence.trim() == sentence, "{exit:?}: {sentence:?}");
        }
    }

    #[test]
    fn each_verdict_is_counted_in_its_place() {
        let verdicts =
            [Passed, Passed, Passed, ClientSide, Recorded, Failed, Failed, Errored, Flaky, Flaky, Skipped];
        let totals: Totals = verdicts.into_iter().collect();
        let expected =
            Totals { passed: 3, client_side: 1, recorded: 1, failed: 2, errored: 1, flaky: 2, skipped: 1 };
        assert_eq!(totals, expected);
    }
}
