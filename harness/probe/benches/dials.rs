//! How many dials a second: 32 at once, TLS 1.3 with ECDSA certificates on both sides, a GET over HTTP/1.1
//! each, client and server on this machine. Run by hand: `cargo bench -p svidproof-probe`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program run by hand")]

#[path = "../tests/fixture/asked.rs"]
mod asked;
#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::time::{Duration, Instant};

use asked::asked;
use fixture::{Authority, BACKEND, FRONTEND, config, listen_http};
use futures::StreamExt;
use http_body_util::Full;
use hyper::body::Bytes;
use svidproof_probe::protocol::{Credential, Outcome};
use svidproof_probe::{Dial, Identities, dial};

const FOR: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let authority = Authority::new("example.org");
    let (backend, frontend) = (authority.svid(BACKEND), authority.svid(FRONTEND));
    let address = listen_http(config(&backend, authority.required()), |_| {
        http::Response::new(Full::<Bytes>::from("hello"))
    })
    .await;
    let right = asked(address, &authority, frontend);
    let nobody = Dial { credential: Credential::Nobody, ..right.clone() };
    for (what, asked) in [("answered", right), ("refused", nobody)] {
        let (begun, identities) = (Instant::now(), Identities::none());
        let dials = futures::stream::repeat_with(|| {
            tokio::spawn({
                let (asked, identities) = (asked.clone(), identities.clone());
                async move { dial(&asked, &identities).await.outcome }
            })
        });
        let mut dials = dials.take_while(|_| std::future::ready(begun.elapsed() < FOR)).buffer_unordered(32);
        let (mut done, mut as_expected) = (0_u32, 0_u32);
        while let Some(outcome) = dials.next().await {
            done += 1;
            let expected = matches!(
                (what, outcome.unwrap()),
                ("answered", Outcome::Response { status: 200, .. })
                    | ("refused", Outcome::Alert { number: 116 })
            );
            as_expected += u32::from(expected);
        }
        let a_second = f64::from(done) / begun.elapsed().as_secs_f64();
        println!("{what}: {a_second:.0} dials a second; {as_expected} of {done} as expected");
    }
}
