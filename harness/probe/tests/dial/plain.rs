//! Plain HTTP: no TLS, and the target as it is written all the same.

use rstest::rstest;
use svidproof_probe::protocol::{Dial, DialFailure, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, assert_failed, observe};

/// Answers the first connection with this, and says what came over it.
async fn plain(answer: &'static [u8]) -> (Dial, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        stream.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (Dial { server: None, ..World::new().dial(address) }, heard)
}

#[rstest]
#[tokio::test]
async fn the_target_goes_out_as_it_is(
    #[values("/prices/../admin", "//x", "/%2e%2e/", "http://shop.example/prices")] target: &str,
) {
    let (mut dial, heard) = plain(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    dial.request.target = target.into();
    let seen = observe(&dial).await;
    assert!(matches!(&seen.outcome, Outcome::Response { status: 200, body, .. } if body == "ok"), "{seen:?}");
    assert_eq!(seen.tls, None);
    assert!(heard.await.unwrap().starts_with(&format!("GET {target} HTTP/1.1\r\n")));
}

#[tokio::test]
async fn a_server_that_closes_instead_of_answering_has_not_answered() {
    let (dial, heard) = plain(b"").await;
    let seen = observe(&dial).await;
    assert_failed(&seen, DialFailure::Closed, "");
    assert!(heard.await.unwrap().starts_with("GET "));
}

#[tokio::test]
async fn a_tls_alert_in_answer_to_plain_text_is_told() {
    // An alert record: handshake_failure (RFC 8446, section 6).
    let (dial, heard) = plain(&[0x15, 3, 3, 0, 2, 2, 40]).await;
    assert_failed(&observe(&dial).await, DialFailure::SpeaksTls, "the TLS alert 40");
    heard.await.unwrap();
}
