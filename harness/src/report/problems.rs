//! What a reader has to look at, the worst first: what did not pass, and what surprises. Cells of one check
//! that came to the same verdict are one problem.

use std::collections::BTreeMap;

use super::{Report, Row};
use crate::proof::verdict::Verdict;
use crate::scenario::Source;

/// How bad it is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Failed,
    Errored,
    Flaky,
    /// It passed, and yet surprises.
    Finding,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Failed, Self::Errored, Self::Flaky, Self::Finding];

    pub(super) fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Failed => Some(Self::Failed),
            Verdict::Errored => Some(Self::Errored),
            Verdict::Flaky => Some(Self::Flaky),
            Verdict::Passed | Verdict::ClientSide | Verdict::Recorded | Verdict::Skipped => None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Flaky => "flaky",
            Self::Finding => "finding",
        }
    }
}

/// One check's.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) kind: Kind,
    /// `scenario · stage`.
    pub(super) stage: String,
    pub(super) check: &'a str,
    /// Absent of a Helm test: that stands in a chart.
    pub(super) source: Option<&'a Source>,
    /// Of the first of its cells.
    pub(super) reason: &'a str,
    /// Who dialled what there.
    pub(super) dial: String,
    /// How many of the check's cells there are.
    pub(super) cells: usize,
}

impl Problem<'_> {
    /// `client -> endpoint: GET /, and 3 more cells`.
    pub(super) fn dials(&self) -> String {
        match self.cells {
            1 => self.dial.clone(),
            2 => format!("{}, and 1 more cell", self.dial),
            cells => format!("{}, and {} more cells", self.dial, cells - 1),
        }
    }
}

/// All there are, the worst first, then in the order of the report.
pub(super) fn problems(report: &Report) -> Vec<Problem<'_>> {
    let mut found: BTreeMap<Kind, Vec<Problem>> = BTreeMap::new();
    for row in &report.checks {
        for (kind, reason) in problems_of(row) {
            let stage = format!("{} · {}", row.scenario, row.stage);
            let all = found.entry(kind).or_default();
            match all.iter_mut().find(|one| one.stage == stage && one.check == row.check) {
                Some(one) => one.cells += 1,
                None => all.push(Problem {
                    kind,
                    stage,
                    check: &row.check,
                    source: Some(&row.source),
                    reason,
                    dial: format!("{} -> {}: {}", row.client, row.to, row.send),
                    cells: 1,
                }),
            }
        }
    }
    for test in &report.helm_tests {
        let Some(kind) = Kind::of(test.verdict) else { continue };
        found.entry(kind).or_default().push(Problem {
            kind,
            stage: format!("{} · {}", test.scenario, test.stage),
            check: &test.check,
            source: None,
            reason: &test.reason,
            dial: "helm test".into(),
            cells: 1,
        });
    }
    found.into_values().flatten().collect()
}

/// What there is of one cell, and why.
pub(super) fn problems_of(row: &Row) -> impl Iterator<Item = (Kind, &str)> {
    let verdict = Kind::of(row.verdict).map(|kind| (kind, row.reason.as_str()));
    let finding = row.finding.as_deref().map(|finding| (Kind::Finding, finding));
    verdict.into_iter().chain(finding)
}
