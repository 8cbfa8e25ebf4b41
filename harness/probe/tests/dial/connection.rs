//! What is neither an answer nor a refusal: names that do not resolve, connections that end without TLS.

use rstest::rstest;
use svidproof_probe::Dial;
use svidproof_probe::protocol::DialFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{listen, listen_http};
use crate::world::{World, assert_failed, assert_ok, hello, observe};

#[tokio::test]
async fn what_ends_the_connection_without_tls_is_told_apart() {
    let world = World::new();
    assert_ok(&observe(&world.dial(listen_http(world.config(), hello).await)).await);

    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_failed(&observe(&world.dial(unused)).await, DialFailure::Refused, &unused.to_string());

    let resets = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.read(&mut [0; 64]).await;
        tcp.set_zero_linger().unwrap();
    });
    assert_failed(&observe(&world.dial(resets.await)).await, DialFailure::Reset, "reset");

    let closes = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.read(&mut [0; 16 * 1024]).await;
    });
    assert_failed(&observe(&world.dial(closes.await)).await, DialFailure::Closed, "closed");

    let babbles = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.write_all(b"220 mail.example.org ESMTP\r\n").await;
        let _ = tcp.read_to_end(&mut vec![]).await;
    });
    assert_failed(&observe(&world.dial(babbles.await)).await, DialFailure::Protocol, "");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = Dial { timeout_ms: 50, ..world.dial(silent.local_addr().unwrap()) };
    assert_failed(&observe(&dial).await, DialFailure::TimedOut, "gave up after 50 ms, in the TLS handshake");
}

/// Names that the resolver turns down without asking anyone: a label is at most 63 octets long.
#[rstest]
#[case::label_too_long(format!("{}.invalid:443", "a".repeat(64)))]
#[case::no_port("localhost".to_owned())]
#[tokio::test]
async fn a_name_that_does_not_resolve(#[case] address: String) {
    let world = World::new();
    let dial = Dial { address, ..world.dial("127.0.0.1:1".parse().unwrap()) };
    assert_failed(&observe(&dial).await, DialFailure::Unresolved, "does not resolve");
}

#[tokio::test]
async fn localhost_resolves() {
    let world = World::new();
    let address = listen_http(world.config(), hello).await;
    assert_ok(
        &observe(&Dial { address: format!("localhost:{}", address.port()), ..world.dial(address) }).await,
    );
}
