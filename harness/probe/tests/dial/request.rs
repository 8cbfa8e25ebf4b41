//! The request as it goes on the wire.

use http_body_util::Full;
use hyper::body::Incoming;
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Outcome};

use crate::fixture::listen_http;
use crate::world::{World, assert_failed, assert_ok, hello, observe, recorder};

#[rstest]
#[tokio::test]
async fn the_target_goes_on_the_wire_as_it_is(
    #[values(
        "/",
        "/profiles/../balances/balance_1",
        "/profiles/%2e%2e/balances/balance_1",
        "/profiles/..%2fbalances/balance_1",
        "//balances//x",
        "/profiles;v=1/x",
        "/a\\..\\b",
        "/x?y=/../z",
        "http://backend.test/profiles/../x",
        "HTTP://Backend.test/X",
        "*"
    )]
    target: &str,
) {
    let world = World::new();
    let (address, mut recorded) = recorder(&world, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut dial = world.dial(address);
    dial.request.target = target.into();
    dial.request.headers = vec![("X-Trace".into(), "1".into())];
    let seen = observe(&dial).await;
    if let Outcome::Failed { kind: DialFailure::Protocol, detail } = &seen.outcome {
        assert!(target.starts_with("HTTP:") && detail.contains("cannot be sent as it is"), "{detail}");
        return;
    }
    assert_ok(&seen);
    assert_eq!(
        recorded.recv().await.unwrap(),
        format!("GET {target} HTTP/1.1\r\nhost: backend.test\r\nx-trace: 1\r\n\r\n")
    );
    assert_eq!(seen.tls.unwrap().alpn, None);
}

#[rstest]
#[tokio::test]
async fn the_path_of_http2_is_not_normalised(
    #[values("/a/../b", "/a/%2e%2e/b", "//b", "/a;b?c=d")] target: &str,
) {
    let world = World::new();
    let address = listen_http(world.config(), |request| {
        let uri = request.uri();
        http::Response::new(Full::from(format!(
            "{} {}",
            uri.authority().unwrap(),
            uri.path_and_query().unwrap()
        )))
    });
    let mut dial = world.dial(address.await);
    (dial.request.http, dial.request.target) = (Http::Http2, target.into());
    let seen = observe(&dial).await;
    let Outcome::Response { body, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert_eq!(*body, format!("backend.test {target}"));
}

#[rstest]
#[case::fragment("/a#b")]
#[case::space("/a b")]
#[tokio::test]
async fn a_target_that_would_be_changed_is_not_sent(
    #[case] target: &str,
    #[values(Http::Http1, Http::Http2)] http: Http,
) {
    let world = World::new();
    let mut dial = world.dial(listen_http(world.config(), hello).await);
    dial.request.http = http;
    assert_ok(&observe(&dial).await);
    dial.request.target = target.into();
    assert_failed(&observe(&dial).await, DialFailure::Protocol, "target");
}

#[tokio::test]
async fn http2_is_not_spoken_to_a_server_that_did_not_negotiate_it() {
    let world = World::new();
    let (address, _recorded) = recorder(&world, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut dial = world.dial(address);
    assert_ok(&observe(&dial).await);
    dial.request.http = Http::Http2;
    assert_failed(&observe(&dial).await, DialFailure::Protocol, "did not negotiate h2");
}

#[rstest]
#[tokio::test]
async fn a_long_request_body_arrives(#[values(Http::Http1, Http::Http2)] http: Http) {
    let world = World::new();
    let echo = |request: &http::Request<Incoming>| {
        let length = request.headers()[http::header::CONTENT_LENGTH].clone();
        http::Response::builder().header("x-length", length).body(Full::default()).unwrap()
    };
    let mut dial = world.dial(listen_http(world.config(), echo).await);
    dial.request.http = http;
    dial.request.method = "PUT".into();
    dial.request.body = "y".repeat(1_000_000);
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, headers, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert!(headers.contains(&("x-length".into(), "1000000".into())), "{headers:?}");
}
