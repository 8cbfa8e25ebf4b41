//! Outcomes as the probe's parts make them. Not for what an outcome is: that is `protocol`.

use crate::protocol::{DialFailure, Outcome};

pub(crate) fn failed(kind: DialFailure, detail: impl Into<String>) -> Outcome {
    Outcome::Failed { kind, detail: detail.into() }
}

/// What came back without HTTP.
pub(crate) fn replied(bytes: &[u8]) -> Outcome {
    Outcome::Bytes { text: String::from_utf8_lossy(bytes).into_owned() }
}
