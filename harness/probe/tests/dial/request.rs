//! The request as it goes on the wire.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rstest::rstest;
use svidproof_probe::protocol::{DialFailure, Http, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::fixture::{listen_http, listen_tls};
use crate::world::{World, assert_failed, assert_ok, hello, observe, recorder};

#[rstest]
#[tokio::test]
async fn the_target_goes_on_the_wire_as_it_is(
    #[values(
        "/",
        "/a/../b",
        "//x",
        "/%2e%2e/",
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

/// The Huffman codes (RFC 7541, appendix B) of the characters below.
const CODES: [(char, &str); 14] = [
    ('%', "010101"),
    ('.', "010111"),
    ('/', "011000"),
    ('2', "00010"),
    (';', "11111011"),
    ('=', "100000"),
    ('?', "1111111100"),
    ('\\', "1111111111111110000"),
    ('a', "00011"),
    ('b', "100011"),
    ('c', "00100"),
    ('d', "100100"),
    ('e', "00101"),
    ('x', "1111001"),
];

/// A string as HPACK has it, Huffman-coded (RFC 7541 5.2): shorter than 127 octets here.
fn hpack(text: &str) -> Vec<u8> {
    let code = |c| CODES.iter().find(|(of, _)| *of == c).unwrap().1;
    let mut bits: String = text.chars().map(code).collect();
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let octets: Vec<u8> =
        bits.as_bytes().chunks(8).map(|octet| octet.iter().fold(0, |o, bit| o << 1 | (bit - b'0'))).collect();
    [&[0x80 | u8::try_from(octets.len()).unwrap()][..], &octets].concat()
}

/// A server of HTTP/2 that decodes nothing: it tells the first header block as it came, and answers 200.
async fn block_recorder(world: &World) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (blocks, recorded) = mpsc::unbounded_channel();
    let address = listen_tls(world.config(), move |mut stream| {
        let blocks = blocks.clone();
        async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            // SETTINGS, empty (RFC 9113 6.5).
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == 1 {
                    let _ = blocks.send(payload);
                    break;
                }
            }
            // HEADERS that end stream 1: `:status: 200` by its index.
            stream.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]).await.unwrap();
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    });
    (address.await, recorded)
}

#[rstest]
#[tokio::test]
async fn the_target_of_http2_goes_on_the_wire_as_it_is(
    #[values("/a/../b", "/%2e%2e/", "/a/%2e%2e/b", "//x", "//b", "/a;b?c=d", "/a\\..\\b")] target: &str,
) {
    let world = World::new();
    let (address, mut recorded) = block_recorder(&world).await;
    let mut dial = world.dial(address);
    (dial.request.http, dial.request.target) = (Http::Http2, target.into());
    assert_ok(&observe(&dial).await);
    let block = recorded.recv().await.unwrap();
    // A literal without indexing, its name the fourth of the static table: `:path` (RFC 7541 6.2.2).
    let path = [&[0x04][..], &hpack(target)].concat();
    assert!(block.windows(path.len()).any(|part| part == path), "{path:02x?} is not in {block:02x?}");
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
        http::Response::builder().header("x-length", length).body(Full::<Bytes>::default()).unwrap()
    };
    let mut dial = world.dial(listen_http(world.config(), echo).await);
    dial.request.http = http;
    dial.request.method = "PUT".into();
    dial.request.body = "y".repeat(1_000_000).into_bytes();
    let seen = observe(&dial).await;
    let Outcome::Response { status: 200, headers, .. } = &seen.outcome else { panic!("{seen:?}") };
    assert!(headers.contains(&("x-length".into(), "1000000".into())), "{headers:?}");
}
