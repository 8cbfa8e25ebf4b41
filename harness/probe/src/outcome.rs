//! Outcomes as the probe's parts make them. Not for what an outcome is: that is `protocol`.

use crate::protocol::{Failure, Outcome};

pub(crate) fn failed(kind: Failure, detail: impl Into<String>) -> Outcome {
    Outcome::Failed { kind, detail: detail.into() }
}
