//! What the client presents, and how the server's answer to it is read.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rstest::rstest;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConnection, SignatureScheme,
};
use svidproof_probe::Dial;
use svidproof_probe::protocol::{Credential, DialFailure, Http, Outcome, TlsVersions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{Authority, BACKEND, FRONTEND, Leaf, config, listen, listen_http, uri};
use crate::world::{World, assert_failed, assert_ok, hello, observe, shown};

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

    let Outcome::Response { status, http: spoken, headers, body, body_cut, trailers } = &seen.outcome else {
        panic!("{seen:?}")
    };
    let (in_http, in_alpn) = if http == Http::Http1 { ("HTTP/1.1", "http/1.1") } else { ("HTTP/2.0", "h2") };
    assert_eq!(
        (*status, *spoken, body.as_str()),
        (200, http, format!("GET /balances/balance_1 {in_http}").as_str())
    );
    assert_eq!((*body_cut, trailers.len()), (false, 0));
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
#[case::unknown_svid(
    Credential::Svid(FRONTEND.into()),
    "no SVID for spiffe://example.org/ns/default/sa/default/frontend"
)]
#[case::no_pem(
    Credential::Pem { chain: "-".into(), key: "-".into() },
    "the client's chain holds no certificate"
)]
#[tokio::test]
async fn a_credential_that_the_probe_does_not_have(#[case] credential: Credential, #[case] words: &str) {
    let world = World::new();
    let mut dial = world.dial(listen_http(world.config(), hello).await);
    assert_ok(&observe(&dial).await);
    dial.credential = credential;
    assert_failed(&observe(&dial).await, DialFailure::Credential, words);
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
    assert_failed(&seen, DialFailure::Credential, "the client's key cannot be read");
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
