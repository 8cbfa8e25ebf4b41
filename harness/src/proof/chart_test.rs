//! `helm test` of a release, as a check of a stage: from what Helm said to a verdict. No server's evidence is
//! in it: it says what the chart's own tests say, and that they said it.

use schemars::JsonSchema;
use serde::Serialize;

use super::verdict::Verdict;

/// The tests of a release's own chart, run in a stage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChartTest {
    /// The scenario's name.
    pub scenario: String,
    /// The stage's name.
    pub stage: String,
    /// `helm test of NAMESPACE/NAME`.
    pub check: String,
    /// What became of it: passed, failed, or errored where it could not be run.
    pub verdict: Verdict,
    /// Empty where it passed.
    pub reason: String,
    /// The last lines of what the tests logged.
    pub log: String,
    /// From its start to its end.
    pub milliseconds: f64,
}

/// What Helm said of a release's tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// All of them succeeded; with what they logged.
    Succeeded(String),
    /// Helm ended with an error: its last lines.
    Ended(String),
    /// The chart has none.
    Nothing,
    /// Helm could not be run, in words.
    Broken(String),
}

impl Said {
    /// Verdict, reason, log.
    ///
    /// A test that failed is told by Helm's last words: `Error: … pod NAME failed`, or, of a Job, `job NAME
    /// failed` (Helm 3) and `Job Failed.` (Helm 4, after kstatus). Everything else that ends it (a time-out,
    /// an image that is not there, no API server) says nothing about the system under test.
    pub fn verdict(self) -> (Verdict, String, String) {
        match self {
            Self::Succeeded(log) => (Verdict::Passed, String::new(), log),
            Self::Nothing => {
                let why = "the chart has no test: nothing of it has the annotation `helm.sh/hook: test`";
                (Verdict::Errored, why.into(), String::new())
            }
            Self::Broken(why) => (Verdict::Errored, why, String::new()),
            Self::Ended(lines) => {
                let at = lines.rfind("Error:").unwrap_or(0);
                let (log, error) = lines.split_at(at);
                let words: Vec<_> = error.split_whitespace().collect();
                let named = |words: &[&str]| {
                    matches!(words[0], "pod" | "job") && words[2].trim_end_matches(':') == "failed"
                };
                let failed = words.windows(3).any(named) || error.contains("Job Failed.");
                let verdict = if failed { Verdict::Failed } else { Verdict::Errored };
                (verdict, words.join(" "), log.trim_end().into())
            }
        }
    }
}

impl ChartTest {
    /// The name of the check that runs a release's tests.
    pub fn name(release: &str) -> String {
        format!("helm test of {release}")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_pod(
        "POD LOGS: smoke\nno page\nError: 1 error occurred:\n\t* pod smoke failed\n",
        Verdict::Failed
    )]
    #[case::a_job("Error: job smoke failed: BackoffLimitExceeded", Verdict::Failed)]
    #[case::a_pod_as_helm_4_says_it(
        "Error: resource Pod/default/smoke not ready. status: Failed, message: pod smoke failed",
        Verdict::Failed
    )]
    #[case::a_job_as_helm_4_says_it(
        "Error: resource Job/default/smoke not ready. status: Failed, message: Job Failed. failed: 1/1",
        Verdict::Failed
    )]
    #[case::no_node_takes_it(
        "Error: resource Pod/default/smoke not ready. status: Failed, message: Pod could not be scheduled",
        Verdict::Errored
    )]
    #[case::too_late("POD LOGS: smoke\nError: timed out waiting for the condition", Verdict::Errored)]
    #[case::nobody_there("Error: Kubernetes cluster unreachable: dial tcp: failed", Verdict::Errored)]
    #[case::its_log_alone(
        "the pod smoke failed in its log\nError: context deadline exceeded",
        Verdict::Errored
    )]
    fn only_a_test_that_failed_fails(#[case] lines: &str, #[case] expected: Verdict) {
        assert_eq!(Said::Ended(lines.into()).verdict().0, expected);
    }

    #[test]
    fn a_test_that_failed_says_which_and_what_it_logged() {
        let lines = "  POD LOGS: smoke\n  no page\n  Error: 1 error occurred:\n  \t* pod smoke failed";
        let (_, reason, log) = Said::Ended(lines.into()).verdict();
        assert_eq!(reason, "Error: 1 error occurred: * pod smoke failed");
        assert_eq!(log, "  POD LOGS: smoke\n  no page");
    }

    #[test]
    fn no_test_passes_nothing() {
        assert_eq!(Said::Nothing.verdict().0, Verdict::Errored);
        assert_eq!(
            Said::Broken("no Helm".into()).verdict(),
            (Verdict::Errored, "no Helm".into(), String::new())
        );
        let (verdict, reason, log) = Said::Succeeded("fine".into()).verdict();
        assert_eq!((verdict, reason.as_str(), log.as_str()), (Verdict::Passed, "", "fine"));
    }
}
