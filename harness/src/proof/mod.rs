//! Pure: from a scenario to the dials it takes, and from what both sides saw to verdicts.

pub mod chart_test;
pub mod envoy;
pub mod hops;
pub mod judge;
pub mod plan;
pub mod verdict;

/// An answer over HTTP/1.1, for tests of what is made of one.
#[cfg(test)]
pub(crate) fn response(
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> svidproof_probe::protocol::Outcome {
    svidproof_probe::protocol::Outcome::Response {
        status,
        http: svidproof_probe::protocol::Http::Http1,
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.into(),
        body_cut: false,
        trailers: vec![],
    }
}
