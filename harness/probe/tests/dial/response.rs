//! The response as it is read.

use http_body_util::Full;
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{listen_http, listen_tls};
use crate::world::{World, assert_failed, observe, recorder};

#[rstest]
#[case::head("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n", Ok((200, 0)))]
#[case::no_content("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Ok((204, 0)))]
#[case::not_modified("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n", Ok((304, 0)))]
#[case::forbidden("POST", b"HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\n\r\nRBAC: access denied", Ok((403, 19)))]
#[case::chunked("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Ok((200, 2)))]
#[case::until_the_end("GET", b"HTTP/1.1 200 OK\r\n\r\nhello", Ok((200, 5)))]
#[case::cut_short("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", Err(DialFailure::Closed))]
#[case::no_answer("GET", b"", Err(DialFailure::Closed))]
#[case::not_http("GET", b"220 mail.example.org ESMTP\r\n\r\n", Err(DialFailure::Protocol))]
#[tokio::test]
async fn responses(
    #[case] method: &str,
    #[case] response: &'static [u8],
    #[case] expected: Result<(u16, usize), DialFailure>,
) {
    let world = World::new();
    let (address, _recorded) = recorder(&world, response).await;
    let mut dial = world.dial(address);
    dial.request.method = method.into();
    let seen = observe(&dial).await;
    match expected {
        Ok(expected) => {
            let Outcome::Response { status, body, .. } = &seen.outcome else { panic!("{seen:?}") };
            assert_eq!((*status, body.len()), expected);
        }
        Err(kind) => assert_failed(&seen, kind, ""),
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_none() {
    let world = World::new();
    let address = listen_tls(
        world.config(),
        async |mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut vec![]).await;
        },
    );
    assert_failed(&observe(&world.dial(address.await)).await, DialFailure::Protocol, "unexpected message");
}

#[rstest]
#[tokio::test]
async fn of_a_long_body_a_part_is_read(#[values(Http::Http1, Http::Http2)] http: Http) {
    let world = World::new();
    let mut dial = world
        .dial(listen_http(world.config(), |_| http::Response::new(Full::from(vec![b'x'; 1_000_000]))).await);
    dial.request.http = http;
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, body, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert_eq!(body.len(), 256 * 1024);
}
