//! The response as it is read.

use std::convert::Infallible;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{listen_http, listen_tls};
use crate::world::{World, assert_failed, observe, recorder};

#[rstest]
#[case::head("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n", Ok((200, 0)))]
#[case::no_content("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Ok((204, 0)))]
#[case::not_modified("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n", Ok((304, 0)))]
#[case::forbidden(
    "POST",
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\n\r\nRBAC: access denied",
    Ok((403, 19))
)]
#[case::chunked(
    "GET",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    Ok((200, 2))
)]
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
#[case::all_of_it(256 * 1024, false)]
#[case::a_byte_more(256 * 1024 + 1, true)]
#[case::much_more(1_000_000, true)]
#[tokio::test]
async fn a_long_body_is_cut_with_a_mark(
    #[case] length: usize,
    #[case] cut: bool,
    #[values(Http::Http1, Http::Http2)] http: Http,
) {
    let world = World::new();
    let answer = |request: &http::Request<Incoming>| {
        let length = request.uri().path()[1..].parse().unwrap();
        http::Response::new(Full::<Bytes>::from(vec![b'x'; length]))
    };
    let mut dial = world.dial(listen_http(world.config(), answer).await);
    (dial.request.http, dial.request.target) = (http, format!("/{length}"));
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, body, body_cut, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert_eq!((body.len(), *body_cut), (length.min(256 * 1024), cut));
}

/// A denial as gRPC sends it: in trailers, or, where there is no message, in the headers of an answer without
/// a body.
fn denial(request: &http::Request<Incoming>) -> http::Response<BoxBody<Bytes, Infallible>> {
    let status = [("grpc-status", "7"), ("grpc-message", "denied")];
    let answer = http::Response::builder().header("content-type", "application/grpc");
    if request.uri().path() == "/trailers-only" {
        let answer = status.iter().fold(answer, |answer, (name, value)| answer.header(*name, *value));
        return answer.body(Full::default().boxed()).unwrap();
    }
    let trailers = status.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let trailers = std::future::ready(Some(Ok(trailers.collect())));
    answer.body(Full::from("message").with_trailers(trailers).boxed()).unwrap()
}

#[rstest]
#[case::in_trailers("/trailers", "message")]
#[case::in_headers("/trailers-only", "")]
#[tokio::test]
async fn a_grpc_status_is_read_over_http2(#[case] target: &str, #[case] message: &str) {
    let world = World::new();
    let mut dial = world.dial(listen_http(world.config(), denial).await);
    (dial.request.http, dial.request.target) = (Http::Http2, target.into());
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, headers, body, trailers, .. } = &seen.outcome else {
        panic!("{seen:?}")
    };
    assert_eq!(body, message);
    let (there, elsewhere) = if message.is_empty() { (headers, trailers) } else { (trailers, headers) };
    for (name, value) in [("grpc-status", "7"), ("grpc-message", "denied")] {
        assert!(there.contains(&(name.into(), value.into())), "{seen:?}");
        assert!(elsewhere.iter().all(|(other, _)| other != name), "{seen:?}");
    }
}

#[tokio::test]
async fn trailers_are_read_over_http1() {
    let world = World::new();
    let response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
        2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n";
    let (address, _recorded) = recorder(&world, response).await;
    let seen = observe(&world.dial(address)).await;
    let Outcome::Response { status: 200, body, trailers, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert_eq!((body.as_str(), trailers.as_slice()), ("hi", &[("x-sum".into(), "1".into())][..]));
}

#[test]
fn a_whole_answer_without_trailers_is_told_without_them() {
    let line = r#"{"response":{"status":200,"http":"1.1","headers":[],"body":""}}"#;
    let plain: Outcome = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_string(&plain).unwrap(), line);
    let Outcome::Response { status, http, headers, body, .. } = plain else { panic!("{plain:?}") };
    let trailers = vec![("a".into(), "b".into())];
    let full = Outcome::Response { status, http, headers, body, body_cut: true, trailers };
    let line = serde_json::to_string(&full).unwrap();
    assert!(line.ends_with(r#""body":"","body_cut":true,"trailers":[["a","b"]]}}"#), "{line}");
    assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), full);
}
