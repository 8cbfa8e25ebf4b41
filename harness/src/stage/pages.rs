//! Plain HTTP pages, fetched through the API server by a forwarded port.

use std::time::Instant;

use svidproof_probe::protocol::{DialFailure, Http, Observation, Outcome, Timing};

use super::{DIAL, StageError, Window, first_pod};
use crate::cluster::kube::Forward;
use crate::proof::plan::Cell;
use crate::sys::chain;

impl Window<'_> {
    /// A plain HTTP page, fetched through the API server by a forwarded port.
    pub(super) async fn page(&self, cell: &Cell) -> Result<Observation, StageError> {
        let target = &self.endpoints[&cell.endpoint];
        let pod = first_pod(&cell.endpoint, target)?;
        let resolve = |source| StageError::Resolve { endpoint: cell.endpoint.clone(), source };
        let forward = self.context.kube.forward(pod, target.port).await.map_err(resolve)?;
        let begun = Instant::now();
        let outcome = fetch(&forward, cell).await.unwrap_or_else(|e| Outcome::Failed {
            kind: if e.is_timeout() { DialFailure::TimedOut } else { DialFailure::Closed },
            // Why the tunnel broke, which the client only sees closed.
            detail: forward.take_failure().map_or_else(|| format!("{e:?}"), |why| chain(&why)),
        });
        let done_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Observation { outcome, tls: None, timing: Timing { done_us, ..Timing::default() } })
    }
}

async fn fetch(forward: &Forward, cell: &Cell) -> Result<Outcome, reqwest::Error> {
    let method = reqwest::Method::from_bytes(cell.method.as_bytes()).unwrap_or_default();
    let client =
        reqwest::Client::builder().timeout(DIAL).redirect(reqwest::redirect::Policy::none()).build()?;
    let mut request = client.request(method, format!("http://{}{}", forward.address, cell.target));
    for (name, value) in &cell.headers {
        request = request.header(name, value);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Outcome::Response {
        status,
        http: Http::Http1,
        headers,
        body: response.text().await?,
        body_cut: false,
        trailers: vec![],
    })
}
