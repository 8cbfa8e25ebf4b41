//! Every outcome of a dial, against servers on loopback; each refusal beside a dial of the same kind that
//! succeeds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fixture::{Authority, BACKEND, FRONTEND, Leaf, config, dns, listen, listen_http, listen_tls, uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rstest::rstest;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use svidproof_probe::protocol::{
    Bundle, Credential, Failure, Http, Outcome, Request, Server, ServerName, TlsVersions,
};
use svidproof_probe::{Dial, Identities, Observation};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Longer than anything here takes, so that a time-out is a failure and not a way to pass.
const LONG_MS: u64 = 20_000;

struct World {
    authority: Authority,
    backend: Leaf,
    frontend: Leaf,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("example.org");
        let (backend, frontend) = (authority.svid(BACKEND), authority.svid(FRONTEND));
        Self { authority, backend, frontend }
    }

    fn config(&self) -> ServerConfig {
        config(&self.backend, self.authority.required())
    }

    fn dial(&self, address: SocketAddr) -> Dial {
        Dial {
            address: address.to_string(),
            credential: shown(&self.frontend),
            server: Server {
                name: ServerName::Spiffe(BACKEND.into()),
                bundle: Bundle::Pem(self.authority.pem()),
            },
            tls: TlsVersions::Any,
            request: Request {
                method: "GET".into(),
                target: "/balances/balance_1".into(),
                authority: "backend.test".into(),
                http: Http::Http1,
                headers: vec![],
                body: String::new(),
            },
            timeout_ms: LONG_MS,
        }
    }
}

fn shown(leaf: &Leaf) -> Credential {
    Credential::Pem { chain: leaf.chain_pem.clone(), key: leaf.key_pem.clone() }
}

async fn observe(dial: &Dial) -> Observation {
    svidproof_probe::dial(dial, &Identities::none()).await
}

#[track_caller]
fn assert_ok(seen: &Observation) {
    assert!(matches!(seen.outcome, Outcome::Response { status: 200, .. }), "{seen:?}");
}

#[track_caller]
fn assert_failed(seen: &Observation, expected: Failure, words: &str) {
    match &seen.outcome {
        Outcome::Failed { kind, detail } => {
            assert!(*kind == expected && detail.contains(words), "{kind:?}: {detail}")
        }
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[track_caller]
fn assert_server_refused(seen: &Observation, words: &str) {
    match &seen.outcome {
        Outcome::ServerRefused { reason } => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(seen.tls.as_ref().unwrap().peer_chain.len(), 1, "what the refused server sent is told");
}

fn hello(request: &http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let body = format!("{} {} {:?}", request.method(), request.uri().path(), request.version());
    let response = http::Response::builder().header("X-Served-By", "backend").header("x-last", "1");
    response.body(Full::from(body)).unwrap()
}

#[rstest]
#[tokio::test]
async fn the_right_svid_gets_an_answer(
    #[values((TlsVersions::Any, "1.3"), (TlsVersions::Tls13, "1.3"), (TlsVersions::Tls12, "1.2"))]
    (tls, version): (TlsVersions, &str),
    #[values(Http::Http1, Http::Http2)] http: Http,
) {
    let world = World::new();
    let address = listen_http(world.config(), hello).await;
    let mut dial = world.dial(address);
    (dial.tls, dial.request.http) = (tls, http);
    let seen = observe(&dial).await;

    let Outcome::Response { status, http: spoken, headers, body } = &seen.outcome else { panic!("{seen:?}") };
    let (in_http, in_alpn) = if http == Http::Http1 { ("HTTP/1.1", "http/1.1") } else { ("HTTP/2.0", "h2") };
    assert_eq!(
        (*status, *spoken, body.as_str()),
        (200, http, format!("GET /balances/balance_1 {in_http}").as_str())
    );
    assert_eq!(headers[..2], [("x-served-by".into(), "backend".into()), ("x-last".into(), "1".into())]);
    let tls = seen.tls.unwrap();
    assert_eq!(
        (tls.version.as_str(), tls.alpn.as_deref(), tls.peer_id.as_deref()),
        (version, Some(in_alpn), Some(BACKEND))
    );
    assert_eq!((tls.peer_chain.len(), tls.peer_chain[0].len()), (1, 64));
    let (connected, shaken) = (seen.timing.connected_us.unwrap(), seen.timing.handshake_us.unwrap());
    assert!(connected <= shaken && shaken <= seen.timing.done_us, "{:?}", seen.timing);
}

#[rstest]
#[case::nobody_1_3(TlsVersions::Tls13, "nobody", 116)]
// rustls sends 116 in TLS 1.2 too, where a real Envoy sends 40.
#[case::nobody_1_2(TlsVersions::Tls12, "nobody", 116)]
#[case::other_ca_1_3(TlsVersions::Tls13, "other CA", 48)]
#[case::other_ca_1_2(TlsVersions::Tls12, "other CA", 48)]
#[case::expired_1_3(TlsVersions::Tls13, "expired", 45)]
#[case::expired_1_2(TlsVersions::Tls12, "expired", 45)]
#[case::mismatched_key_1_3(TlsVersions::Tls13, "mismatched key", 51)]
#[tokio::test]
async fn a_refusal_is_an_alert_by_its_number(
    #[case] tls: TlsVersions,
    #[case] client: &str,
    #[case] alert: u8,
    #[values(Http::Http1, Http::Http2)] http: Http,
) {
    let world = World::new();
    let address = listen_http(world.config(), hello).await;
    let mut dial = world.dial(address);
    (dial.tls, dial.request.http) = (tls, http);
    assert_ok(&observe(&dial).await);

    dial.credential = match client {
        "nobody" => Credential::Nobody,
        "other CA" => shown(&Authority::new("example.net").svid(FRONTEND)),
        "expired" => shown(
            &world
                .authority
                .leaf_with(&[uri(FRONTEND)], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)),
        ),
        _ => Credential::Pem { chain: world.frontend.chain_pem.clone(), key: world.backend.key_pem.clone() },
    };
    let seen = observe(&dial).await;
    assert_eq!(seen.outcome, Outcome::Alert { number: alert });
    assert_eq!(seen.tls.unwrap().peer_id.as_deref(), Some(BACKEND), "whoever refuses has proven who it is");
}

#[rstest]
#[tokio::test]
async fn an_alert_in_answer_to_the_first_message(#[values(40, 46, 70, 120, 255)] number: u8) {
    let world = World::new();
    let address = listen(move |mut tcp: tokio::net::TcpStream| async move {
        let _ = tcp.read(&mut [0; 16 * 1024]).await;
        let _ = tcp.write_all(&[21, 3, 3, 0, 2, 2, number]).await;
        let _ = tcp.read_to_end(&mut vec![]).await;
    });
    let seen = observe(&world.dial(address.await)).await;
    assert_eq!((seen.outcome, seen.tls), (Outcome::Alert { number }, None));
}

#[tokio::test]
async fn a_refusal_is_read_every_time() {
    let world = World::new();
    let address = listen_http(world.config(), hello).await;
    let dial = Dial { credential: Credential::Nobody, ..world.dial(address) };
    for _ in 0..200 {
        assert_eq!(observe(&dial).await.outcome, Outcome::Alert { number: 116 });
    }
}

#[rstest]
#[case::other_id(
    "other ID",
    "its SPIFFE ID is spiffe://example.org/other, not spiffe://example.org/ns/default/sa/default/backend"
)]
#[case::other_ca("other CA", "does not verify against the bundle")]
#[case::expired("expired", "does not verify against the bundle")]
#[case::client_only("client only", "does not verify against the bundle")]
#[case::two_ids("two IDs", "has 2 URI SANs where an X.509-SVID has exactly one")]
#[case::no_id("no ID", "has 0 URI SANs")]
#[tokio::test]
async fn the_server_must_prove_its_spiffe_id(
    #[case] server: &str,
    #[case] words: &str,
    #[values(TlsVersions::Tls12, TlsVersions::Tls13)] tls: TlsVersions,
) {
    let world = World::new();
    let good = Dial { tls, ..world.dial(listen_http(world.config(), hello).await) };
    assert_ok(&observe(&good).await);

    let right = [uri(BACKEND)];
    let leaf = match server {
        "other ID" => world.authority.svid("spiffe://example.org/other"),
        "other CA" => Authority::new("example.org").svid(BACKEND),
        "expired" => {
            world.authority.leaf_with(&right, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
        }
        "client only" => world.authority.leaf_with(&right, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
        }),
        "two IDs" => world.authority.leaf(&[uri(BACKEND), uri("spiffe://example.org/other")]),
        _ => world.authority.leaf(&[dns("backend.test")]),
    };
    let address = listen_http(config(&leaf, world.authority.required()), hello).await;
    assert_server_refused(&observe(&Dial { tls, ..world.dial(address) }).await, words);
}

#[rstest]
#[case::its_name(&[dns("example.com"), uri("spiffe://example.com/proxy")], None)]
#[case::another_name(&[dns("example.net")], Some("not for the DNS name example.com; it is for example.net"))]
#[case::an_id_alone(&[uri(BACKEND)], Some("not for the DNS name example.com; it is for none"))]
#[tokio::test]
async fn a_server_can_be_known_by_its_dns_name(#[case] names: &[SanType], #[case] refused: Option<&str>) {
    let world = World::new();
    let (sni, mut asked) = mpsc::unbounded_channel();
    let address =
        listen_tls(config(&world.authority.leaf(names), world.authority.required()), move |mut stream| {
            let _ = sni.send(stream.get_ref().1.server_name().map(str::to_owned));
            async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                let _ = stream.read_to_end(&mut vec![]).await;
            }
        });
    let mut dial = world.dial(address.await);
    dial.server.name = ServerName::Dns("example.com".into());
    let seen = observe(&dial).await;
    if let Some(words) = refused {
        return assert_server_refused(&seen, words);
    }
    assert_ok(&seen);
    assert_eq!(asked.recv().await.unwrap().as_deref(), Some("example.com"), "the DNS name is sent as SNI");
    let tls = seen.tls.unwrap();
    assert_eq!(
        (tls.peer_dns, tls.peer_id.as_deref()),
        (vec!["example.com".to_owned()], Some("spiffe://example.com/proxy"))
    );

    dial.server.name = ServerName::Spiffe("spiffe://example.com/proxy".into());
    assert_ok(&observe(&dial).await);
    assert_eq!(asked.recv().await.unwrap(), None, "a SPIFFE ID is not");
}

#[tokio::test]
async fn what_ends_the_connection_without_tls_is_told_apart() {
    let world = World::new();
    assert_ok(&observe(&world.dial(listen_http(world.config(), hello).await)).await);

    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_failed(&observe(&world.dial(unused)).await, Failure::Refused, &unused.to_string());

    let resets = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.read(&mut [0; 64]).await;
        tcp.set_zero_linger().unwrap();
    });
    assert_failed(&observe(&world.dial(resets.await)).await, Failure::Reset, "reset");

    let closes = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.read(&mut [0; 16 * 1024]).await;
    });
    assert_failed(&observe(&world.dial(closes.await)).await, Failure::Closed, "closed");

    let babbles = listen(async |mut tcp: tokio::net::TcpStream| {
        let _ = tcp.write_all(b"220 mail.example.org ESMTP\r\n").await;
        let _ = tcp.read_to_end(&mut vec![]).await;
    });
    assert_failed(&observe(&world.dial(babbles.await)).await, Failure::Protocol, "");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = Dial { timeout_ms: 50, ..world.dial(silent.local_addr().unwrap()) };
    assert_failed(&observe(&dial).await, Failure::TimedOut, "gave up after 50 ms, in the TLS handshake");
}

/// Names that the resolver turns down without asking anyone: a label is at most 63 octets long.
#[rstest]
#[case::label_too_long(format!("{}.invalid:443", "a".repeat(64)))]
#[case::no_port("localhost".to_owned())]
#[tokio::test]
async fn a_name_that_does_not_resolve(#[case] address: String) {
    let world = World::new();
    let dial = Dial { address, ..world.dial("127.0.0.1:1".parse().unwrap()) };
    assert_failed(&observe(&dial).await, Failure::Unresolved, "does not resolve");
}

#[tokio::test]
async fn localhost_resolves() {
    let world = World::new();
    let address = listen_http(world.config(), hello).await;
    assert_ok(
        &observe(&Dial { address: format!("localhost:{}", address.port()), ..world.dial(address) }).await,
    );
}

#[rstest]
#[case::unknown_svid(Credential::Svid(FRONTEND.into()), "no SVID for spiffe://example.org/ns/default/sa/default/frontend")]
#[case::no_pem(Credential::Pem { chain: "-".into(), key: "-".into() }, "the client's chain holds no certificate")]
#[tokio::test]
async fn a_credential_that_the_probe_does_not_have(#[case] credential: Credential, #[case] words: &str) {
    let world = World::new();
    let mut dial = world.dial(listen_http(world.config(), hello).await);
    assert_ok(&observe(&dial).await);
    dial.credential = credential;
    assert_failed(&observe(&dial).await, Failure::Credential, words);
}

#[tokio::test]
async fn an_unreadable_key_is_not_repeated() {
    let world = World::new();
    let mut dial = world.dial("127.0.0.1:1".parse().unwrap());
    dial.credential = Credential::Pem {
        chain: world.frontend.chain_pem.clone(),
        key: world.frontend.key_pem.replacen('M', "!", 1),
    };
    let seen = observe(&dial).await;
    assert_failed(&seen, Failure::Credential, "the client's key cannot be read");
    let line = world.frontend.key_pem.lines().nth(2).unwrap();
    assert!(!format!("{seen:?}").contains(line));
    assert!(!format!("{dial:?}").contains(line));
}

/// A server's verifier that sees every chain, answers as it is told, and may wait until the client has
/// written after its handshake.
#[derive(Debug)]
struct Witness {
    seen: Mutex<Vec<Vec<u8>>>,
    /// The connection to wait on: its next bytes are the client's first after the handshake.
    until_written: Option<std::net::TcpStream>,
    verdict: Result<(), CertificateError>,
}

impl ClientCertVerifier for Witness {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        *self.seen.lock().unwrap() = std::iter::once(leaf).chain(rest).map(|sent| sent.to_vec()).collect();
        if let Some(tcp) = &self.until_written {
            tcp.peek(&mut [0]).unwrap();
        }
        self.verdict.clone().map(|()| ClientCertVerified::assertion()).map_err(Error::from)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[rstest]
#[tokio::test]
async fn a_forged_chain_is_sent_as_it_is(#[values(TlsVersions::Tls12, TlsVersions::Tls13)] tls: TlsVersions) {
    let world = World::new();
    let witness = Arc::new(Witness { seen: Mutex::default(), until_written: None, verdict: Ok(()) });
    let address = listen_http(config(&world.backend, witness.clone()), hello).await;
    // Leaf and intermediate do not belong together, and the key belongs to neither.
    let chain =
        [Authority::new("rogue").svid(FRONTEND), Authority::new("other").svid("spiffe://example.net/other")];
    let mut dial = world.dial(address);
    dial.tls = tls;
    dial.credential = Credential::Pem {
        chain: chain.iter().map(|leaf| leaf.chain_pem.as_str()).collect(),
        key: world.backend.key_pem.clone(),
    };
    assert_ok(&observe(&dial).await);
    assert_eq!(*witness.seen.lock().unwrap(), chain.map(|leaf| leaf.chain[0].to_vec()));
}

/// Serves one connection by hand, on a thread since its verifier may block: no session ticket, `200` to
/// whoever is admitted.
fn without_tickets(world: &World, wait: bool, verdict: Result<(), CertificateError>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let backend = Leaf {
        chain: world.backend.chain.clone(),
        key: world.backend.key.clone_key(),
        chain_pem: String::new(),
        key_pem: String::new(),
    };
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let until_written = wait.then(|| tcp.try_clone().unwrap());
        let mut config =
            config(&backend, Arc::new(Witness { seen: Mutex::default(), until_written, verdict }));
        config.send_tls13_tickets = 0;
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
        // To the end: what is unread at the close would make it a reset.
        let _ = tcp.read_to_end(&mut vec![]);
    });
    address
}

#[rstest]
#[case::admitted(false, Ok(()), None)]
#[case::refused_in_the_quiet_time(false, Err(CertificateError::UnknownIssuer), Some(48))]
#[case::admitted_after_it(true, Ok(()), None)]
#[case::refused_after_it(true, Err(CertificateError::UnknownIssuer), Some(48))]
#[tokio::test]
async fn a_server_without_session_tickets(
    #[case] wait: bool,
    #[case] verdict: Result<(), CertificateError>,
    #[case] alert: Option<u8>,
) {
    let world = World::new();
    let seen = observe(&world.dial(without_tickets(&world, wait, verdict))).await;
    match alert {
        None => assert_ok(&seen),
        Some(number) => assert_eq!(seen.outcome, Outcome::Alert { number }),
    }
}

/// A TLS server that tells what it reads, up to the end of the request's head, and answers with `response`.
async fn recorder(world: &World, response: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
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
    if let Outcome::Failed { kind: Failure::Protocol, detail } = &seen.outcome {
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
    assert_failed(&observe(&dial).await, Failure::Protocol, "target");
}

#[tokio::test]
async fn http2_is_not_spoken_to_a_server_that_did_not_negotiate_it() {
    let world = World::new();
    let (address, _recorded) = recorder(&world, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut dial = world.dial(address);
    assert_ok(&observe(&dial).await);
    dial.request.http = Http::Http2;
    assert_failed(&observe(&dial).await, Failure::Protocol, "did not negotiate h2");
}

#[rstest]
#[case::head("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n", Ok((200, 0)))]
#[case::no_content("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Ok((204, 0)))]
#[case::not_modified("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 300\r\n\r\n", Ok((304, 0)))]
#[case::forbidden("POST", b"HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\n\r\nRBAC: access denied", Ok((403, 19)))]
#[case::chunked("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Ok((200, 2)))]
#[case::until_the_end("GET", b"HTTP/1.1 200 OK\r\n\r\nhello", Ok((200, 5)))]
#[case::cut_short("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe", Err(Failure::Closed))]
#[case::no_answer("GET", b"", Err(Failure::Closed))]
#[case::not_http("GET", b"220 mail.example.org ESMTP\r\n\r\n", Err(Failure::Protocol))]
#[tokio::test]
async fn responses(
    #[case] method: &str,
    #[case] response: &'static [u8],
    #[case] expected: Result<(u16, usize), Failure>,
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
    assert_failed(&observe(&world.dial(address.await)).await, Failure::Protocol, "unexpected message");
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
