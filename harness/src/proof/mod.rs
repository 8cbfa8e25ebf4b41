//! Pure: from a scenario to the dials it takes, and from what both sides saw to verdicts.

pub mod envoy;
pub mod judge;
pub mod plan;
pub mod verdict;
