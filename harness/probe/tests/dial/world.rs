//! A trust domain with a backend and a frontend, the dial from one to the other, and what is asserted of it.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rustls::ServerConfig;
use svidproof_probe::protocol::{
    Credential, DialFailure, Http, Outcome, Request, ServerProof, TlsVersions, TrustAnchors,
};
use svidproof_probe::{Dial, Identities, Observation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::fixture::{Authority, BACKEND, FRONTEND, Leaf, config, listen_tls};

/// Longer than anything here takes, so that a time-out is a failure and not a way to pass.
const LONG_MS: u64 = 20_000;

pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) backend: Leaf,
    pub(crate) frontend: Leaf,
}

impl World {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("example.org");
        let (backend, frontend) = (authority.svid(BACKEND), authority.svid(FRONTEND));
        Self { authority, backend, frontend }
    }

    pub(crate) fn config(&self) -> ServerConfig {
        config(&self.backend, self.authority.required())
    }

    pub(crate) fn dial(&self, address: SocketAddr) -> Dial {
        Dial {
            address: address.to_string(),
            credential: shown(&self.frontend),
            server: Some(ServerProof {
                spiffe_id: BACKEND.into(),
                dns: None,
                anchors: TrustAnchors::Pem(self.authority.pem()),
            }),
            tls: TlsVersions::Any,
            sni: None,
            request: Request {
                method: "GET".into(),
                target: "/balances/balance_1".into(),
                authority: "backend.test".into(),
                http: Http::Http1,
                headers: vec![],
                ..Request::default()
            },
            timeout_ms: LONG_MS,
        }
    }
}

pub(crate) fn shown(leaf: &Leaf) -> Credential {
    Credential::Pem { chain: leaf.chain_pem.clone(), key: leaf.key_pem.clone() }
}

pub(crate) async fn observe(dial: &Dial) -> Observation {
    svidproof_probe::dial(dial, &Identities::none()).await
}

#[track_caller]
pub(crate) fn assert_ok(seen: &Observation) {
    assert!(matches!(seen.outcome, Outcome::Response { status: 200, .. }), "{seen:?}");
}

#[track_caller]
pub(crate) fn assert_failed(seen: &Observation, expected: DialFailure, words: &str) {
    match &seen.outcome {
        Outcome::Failed { kind, detail } => {
            assert!(*kind == expected && detail.contains(words), "{kind:?}: {detail}");
        }
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_server_refused(seen: &Observation, words: &str) {
    match &seen.outcome {
        Outcome::ServerRefused { reason } => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(seen.tls.as_ref().unwrap().peer_chain.len(), 1, "what the refused server sent is told");
}

pub(crate) fn hello(request: &http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let body = format!("{} {} {:?}", request.method(), request.uri().path(), request.version());
    let response = http::Response::builder().header("X-Served-By", "backend").header("x-last", "1");
    response.body(Full::from(body)).unwrap()
}

/// A TLS server that tells what it reads, up to the end of the request's head, and answers with `response`.
pub(crate) async fn recorder(
    world: &World,
    response: &'static [u8],
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heads, recorded) = mpsc::unbounded_channel();
    let mut config = world.config();
    config.alpn_protocols.clear();
    let address = listen_tls(config, move |mut stream| {
        let heads = heads.clone();
        async move {
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let _ = heads.send(String::from_utf8(head).unwrap());
            let _ = stream.write_all(response).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    });
    (address.await, recorded)
}
