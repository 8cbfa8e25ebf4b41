//! Answers that do not end, or hold too much: whatever comes, a dial ends within its bound and keeps little.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Outcome};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::fixture::{BACKEND, config, listen, listen_http, listen_tls};
use crate::world::{World, assert_failed, observe, recorder};

#[rstest]
#[tokio::test]
async fn an_endless_body_is_cut(#[values(Http::Http1, Http::Http2)] http: Http) {
    let world = World::new();
    let endless = |_: &http::Request<_>| {
        let frame = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; 1 << 16])));
        http::Response::new(StreamBody::new(stream::repeat_with(frame)))
    };
    let mut dial = world.dial(listen_http(world.config(), endless).await);
    dial.request.http = http;
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, body, body_cut: true, .. } = &seen.outcome else {
        panic!("{seen:?}")
    };
    assert_eq!(body.len(), 256 * 1024);
}

#[tokio::test]
async fn ten_thousand_headers_of_http1_are_no_answer() {
    let world = World::new();
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    for part in ["head", "trailers"] {
        let response = match part {
            "head" => format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n"),
            _ => format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{many}\r\n"),
        };
        let (address, _recorded) = recorder(&world, response.leak().as_bytes()).await;
        assert_failed(&observe(&world.dial(address)).await, DialFailure::Protocol, "");
    }
}

#[tokio::test]
async fn ten_thousand_headers_of_http2_are_no_answer() {
    let world = World::new();
    let many = |_: &http::Request<_>| {
        let response = http::Response::builder();
        let response = (0..10_000).fold(response, |response, n| response.header(format!("x-{n}"), "y"));
        response.body(http_body_util::Full::<Bytes>::default()).unwrap()
    };
    let mut dial = world.dial(listen_http(world.config(), many).await);
    dial.request.http = Http::Http2;
    assert_failed(&observe(&dial).await, DialFailure::Protocol, "");
}

#[tokio::test]
async fn a_chain_of_a_megabyte_is_no_handshake() {
    let world = World::new();
    let mut long = world.authority.svid(BACKEND);
    long.chain = vec![long.chain[0].clone(); (1 << 20) / long.chain[0].len()];
    let address = listen_tls(config(&long, world.authority.required()), async |_| {}).await;
    let begun = Instant::now();
    let seen = observe(&world.dial(address)).await;
    assert_failed(&seen, DialFailure::Protocol, "");
    assert!(seen.tls.is_none_or(|tls| tls.peer_chain.is_empty()), "nothing of it is kept");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A byte now and then, for as long as anybody listens.
async fn drip(mut to: impl AsyncWrite + Unpin) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while to.write_all(b"x").await.is_ok() {
        pace.tick().await;
    }
}

#[rstest]
#[case::in_the_handshake(None, "in the TLS handshake")]
#[case::in_the_head(Some(&b"HTTP/1.1 200 OK\r\nx-slow: "[..]), "waiting for the response")]
#[case::in_the_body(Some(&b"HTTP/1.1 200 OK\r\n\r\n"[..]), "waiting for the response")]
#[tokio::test]
async fn a_byte_now_and_then_does_not_hold_a_dial(#[case] first: Option<&'static [u8]>, #[case] step: &str) {
    let world = World::new();
    let mut config = world.config();
    config.alpn_protocols.clear();
    let address = match first {
        Some(first) => {
            listen_tls(config, move |mut stream: TlsStream<TcpStream>| async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(first).await;
                drip(stream).await;
            })
            .await
        }
        None => {
            listen(async |mut tcp: TcpStream| {
                // The head of a handshake record that is never whole.
                let _ = tcp.write_all(&[22, 3, 3, 0x3f, 0xff, 2, 0, 0x3f, 0xfb]).await;
                drip(tcp).await;
            })
            .await
        }
    };
    let mut dial = world.dial(address);
    dial.timeout_ms = 500;
    let begun = Instant::now();
    assert_failed(&observe(&dial).await, DialFailure::TimedOut, &format!("gave up after 500 ms, {step}"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
