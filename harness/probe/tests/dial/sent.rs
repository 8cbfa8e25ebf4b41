//! What goes out besides a method, a target and headers: bodies, trailers, odd methods, the server's name, bytes
//! without HTTP; and a WebSocket.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rstest::rstest;
use svidproof_probe::protocol::{Dial, DialFailure, Http, Outcome, TlsVersions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::fixture::{listen, listen_tls};
use crate::world::{World, assert_failed, assert_ok, observe, recorder};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[rstest]
#[case("CONNECT", "backend.test:443")]
#[case("OPTIONS", "*")]
#[case("get", "/x")]
#[case("BREW!", "/pot")]
#[tokio::test]
async fn a_method_goes_out_as_it_is_written(#[case] method: &str, #[case] target: &str) {
    let world = World::new();
    let (address, mut recorded) = recorder(&world, OK).await;
    let mut dial = world.dial(address);
    (dial.request.method, dial.request.target) = (method.into(), target.into());
    assert_ok(&observe(&dial).await);
    let head = recorded.recv().await.unwrap();
    assert!(head.starts_with(&format!("{method} {target} HTTP/1.1\r\nhost: backend.test\r\n")), "{head}");
    assert_eq!(head.matches("host:").count(), 1, "{head}");
}

/// What an HTTP server makes of each request: method, target, body and trailers.
async fn listening(world: &World) -> (SocketAddr, mpsc::UnboundedReceiver<(String, Vec<u8>, Vec<String>)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = listen_tls(world.config(), move |stream| {
        let tell = tell.clone();
        async move {
            let service = service_fn(move |request: http::Request<Incoming>| {
                let tell = tell.clone();
                async move {
                    let line = format!("{} {}", request.method(), request.uri());
                    let whole = request.into_body().collect().await.unwrap();
                    let trailers = whole.trailers().into_iter().flatten();
                    let trailers =
                        trailers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
                    let trailers = trailers.collect();
                    tell.send((line, whole.to_bytes().to_vec(), trailers)).unwrap();
                    Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::default()))
                }
            });
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            let _ = if h2 {
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await
            } else {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            };
        }
    });
    (address.await, told)
}

#[rstest]
#[tokio::test]
async fn any_bytes_are_a_body_and_trailers_come_after_it(
    #[values(Http::Http1, Http::Http2)] http: Http,
    #[values(vec![], vec![0, 255, 10, 13])] body: Vec<u8>,
) {
    let world = World::new();
    let (address, mut told) = listening(&world).await;
    let mut dial = world.dial(address);
    (dial.request.http, dial.request.method, dial.request.body) = (http, "POST".into(), body.clone());
    assert_ok(&observe(&dial).await);
    let (_, came, trailers) = told.recv().await.unwrap();
    assert_eq!((came, trailers.len()), (body.clone(), 0));
    dial.request.trailers = vec![("x-digest".into(), "1".into()), ("x-end".into(), "2".into())];
    assert_ok(&observe(&dial).await);
    let (_, came, trailers) = told.recv().await.unwrap();
    assert_eq!((came, trailers), (body, vec!["x-digest: 1".to_owned(), "x-end: 2".into()]));
}

/// `:authority` alone (RFC 9113, section 8.5), and `*` for the server itself (section 8.3.1).
#[rstest]
#[case("CONNECT", "other.test:443", "CONNECT other.test:443")]
#[case("OPTIONS", "*", "OPTIONS https://backend.test*")]
#[case("brew", "/pot", "brew https://backend.test/pot")]
#[tokio::test]
async fn odd_requests_are_sent_over_http2_too(
    #[case] method: &str,
    #[case] target: &str,
    #[case] line: &str,
) {
    let world = World::new();
    let (address, mut told) = listening(&world).await;
    let mut dial = world.dial(address);
    dial.request.http = Http::Http2;
    (dial.request.method, dial.request.target) = (method.into(), target.into());
    let seen = observe(&dial).await;
    assert_ok(&seen);
    assert_eq!(told.recv().await.unwrap().0, line);
}

#[tokio::test]
async fn a_server_that_goes_on_in_another_protocol_has_answered() {
    let world = World::new();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let (address, mut recorded) = recorder(&world, answer).await;
    let mut dial = world.dial(address);
    dial.request.headers =
        [("connection", "Upgrade"), ("upgrade", "websocket")].map(|(a, b)| (a.into(), b.into())).into();
    let seen = observe(&dial).await;
    assert!(matches!(seen.outcome, Outcome::Response { status: 101, .. }), "{seen:?}");
    assert!(recorded.recv().await.unwrap().contains("upgrade: websocket"));
}

/// A server that takes these bytes and answers with those, over TLS or in plain text.
async fn talking(world: &World, plain: bool, heard: usize, answer: &'static [u8]) -> (Dial, SocketAddr) {
    async fn talk(
        mut io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        heard: usize,
        answer: &[u8],
    ) {
        let _ = io.read_exact(&mut vec![0; heard]).await;
        let _ = io.write_all(answer).await;
        let _ = io.flush().await;
        if answer.is_empty() {
            return;
        }
        let _ = io.read_to_end(&mut vec![]).await;
    }
    let address = if plain {
        listen(move |tcp| talk(tcp, heard, answer)).await
    } else {
        let mut config = world.config();
        // A server that would not take a protocol for none.
        config.alpn_protocols = vec![b"redis".to_vec()];
        listen_tls(config, move |stream| talk(stream, heard, answer)).await
    };
    let mut dial = world.dial(address);
    dial.request.http = Http::None;
    dial.request.body = b"PING\r\n".to_vec();
    dial.request.reply = 5;
    if plain {
        dial.tls = TlsVersions::None;
    }
    (dial, address)
}

#[rstest]
#[tokio::test]
async fn bytes_go_out_and_as_many_as_are_waited_for_come_back(#[values(false, true)] plain: bool) {
    let world = World::new();
    let reply = |text: &str| Outcome::Bytes { text: text.into() };
    let (mut dial, _) = talking(&world, plain, 6, b"+PONG and more").await;
    assert_eq!(observe(&dial).await.outcome, reply("+PONG"));
    dial.request.reply = 0;
    assert_eq!(observe(&dial).await.outcome, reply("+PONG and more"));
    // What never comes is not waited for beyond the dial's own bound.
    (dial.request.reply, dial.timeout_ms) = (50, 1_000);
    let seen = observe(&dial).await;
    assert_eq!((seen.outcome, seen.tls.is_none()), (reply("+PONG and more"), plain));
}

#[rstest]
#[tokio::test]
async fn a_server_that_says_nothing_has_not_answered(#[values(false, true)] plain: bool) {
    let (dial, _) = talking(&World::new(), plain, 6, b"").await;
    assert_failed(&observe(&dial).await, DialFailure::Closed, "");
}

/// A server of TLS ends plain text with an alert, or with nothing.
#[rstest]
#[case(Http::Http1)]
#[case(Http::None)]
#[tokio::test]
async fn plain_text_at_a_server_of_tls_gets_no_answer(#[case] http: Http) {
    let world = World::new();
    let mut dial = world.dial(listen_tls(world.config(), |_| async {}).await);
    (dial.tls, dial.request.http, dial.request.body) = (TlsVersions::None, http, b"PING\r\n\r\n".to_vec());
    let seen = observe(&dial).await;
    assert_failed(&seen, DialFailure::SpeaksTls, "TLS alert");
    assert_eq!(seen.tls, None);
}

/// Also where another name is what the server must prove.
#[rstest]
#[case(Some("other.test"), Some("other.test"))]
#[case(Some(""), None)]
#[case(None, None)]
#[tokio::test]
async fn the_name_that_is_asked_for_is_sent(#[case] sni: Option<&str>, #[case] sent: Option<&str>) {
    let world = World::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut config = world.config();
    config.alpn_protocols.clear();
    let address = listen_tls(config, move |mut stream| {
        let _ = tell.send(stream.get_ref().1.server_name().map(str::to_owned));
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(OK).await;
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    });
    let dial = Dial { sni: sni.map(Into::into), ..world.dial(address.await) };
    assert_ok(&observe(&dial).await);
    assert_eq!(told.recv().await.unwrap().as_deref(), sent);
}
