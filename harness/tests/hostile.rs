//! What a hostile server says, from its first byte to the line that a person reads: dialled by the probe's own
//! library, judged, and told. Nothing of it reaches a terminal as it is, and nothing of it is lost.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use common::{FILE, World};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rstest::rstest;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};
use svidproof::proof::judge::{Dialled, Window, judge};
use svidproof::proof::plan::plan;
use svidproof::report::console::{Closing, closing, table};
use svidproof::report::{Report, junit};
use svidproof::sys::terminal::Reader;
use svidproof_probe::protocol::{
    Credential, Http, Observation, Request, ServerProof, TlsVersions, TrustAnchors,
};
use svidproof_probe::{Dial, Identities, dial};

const RIGHT: &str = "spiffe://example.org/ns/web/sa/web";

/// A server with these URI SANs that answers one connection so; and the bundle that it is verified by.
fn server(sans: &[&str], answer: Vec<u8>) -> (SocketAddr, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![]).unwrap();
    leaf.subject_alt_names = sans.iter().map(|san| SanType::URI((*san).try_into().unwrap())).collect();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let mut session = ServerConnection::new(Arc::new(config.unwrap())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut stream = Stream::new(&mut session, &mut tcp);
        // The client may turn it down.
        let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(&answer));
    });
    (address, ca.pem())
}

async fn dialled((address, bundle): (SocketAddr, String)) -> Observation {
    let asked = Dial {
        address: address.to_string(),
        credential: Credential::Nobody,
        server: Some(ServerProof { spiffe_id: RIGHT.into(), dns: None, anchors: TrustAnchors::Pem(bundle) }),
        tls: TlsVersions::Any,
        sni: None,
        request: Request {
            method: "GET".into(),
            target: "/".into(),
            authority: "web.test".into(),
            http: Http::Http1,
            ..Request::default()
        },
        timeout_ms: 20_000,
    };
    dial(&asked, &Identities::none()).await
}

/// What a terminal is told of it, what a file is, and junit.xml.
fn told(observation: &Observation) -> ([String; 2], String) {
    let world = World::new();
    world.edit("expect: {status: 200}", "expect: {status: 200, body: hello, headers: {x-who: web}}");
    let scenario = svidproof::scenario::load(&world.project().join(FILE)).unwrap();
    let cells = plan(&scenario, &scenario.stages[0], "run");
    let dial = Dialled {
        id: "dial".into(),
        cell: cells[0].id.clone(),
        pod: None,
        observation: observation.clone(),
        earlier: vec![],
    };
    let window = Window { dials: vec![dial], witnesses: BTreeMap::new() };
    let judged = judge(&scenario, &cells[..1], &[window], &BTreeMap::new());
    let started = "2026-03-01T09:30:00Z".parse().unwrap();
    let report = Report::new("r", "kind", "packages", &BTreeMap::new(), started, vec![], &judged);
    let readers = [Some(80), None].map(|columns| Reader { colour: false, columns });
    let printed =
        readers.map(|reader| table(&report, reader, true) + &closing(&report, Closing::default(), reader));
    (printed, junit::text(&report))
}

#[rstest]
#[case::a_san(&["spiffe://example.org/\u{1b}[2J\u{7}\r\n  - forged"], b"", "\\u{1b}[2J\\u{7}")]
#[case::several_sans(&["spiffe://example.org/\u{1b}]0;owned\u{7}", RIGHT], b"", "\\u{1b}]0;owned\\u{7}")]
#[case::a_body(
    &[RIGHT],
    b"HTTP/1.1 200 OK\r\nx-who: web\r\ncontent-length: 17\r\n\r\n\x1b[31mred\xc2\x9b2J\xff\r\x08!!",
    "\\u{1b}[31mred\\u{9b}2J\u{fffd}"
)]
#[case::a_header(
    &[RIGHT],
    b"HTTP/1.1 200 OK\r\nx-who: \xc2\x9b2J\xe2\x80\xae\xff\r\ncontent-length: 5\r\n\r\nhello",
    "\\u{9b}2J\\u{202e}\u{fffd}"
)]
#[tokio::test]
async fn nothing_of_it_is_raw_at_the_end(
    #[case] sans: &[&str],
    #[case] answer: &'static [u8],
    #[case] shown: &str,
) {
    let observation = dialled(server(sans, answer.to_vec())).await;
    let said = format!("{:?}", observation.outcome);
    let (printed, junit) = told(&observation);
    for told in printed {
        let raw = |one: char| one.is_control() && one != '\n' || one == '\u{202e}';
        assert!(!told.contains(raw), "{told:?}");
        // It may have been wrapped.
        let words = |text: &str| text.split_whitespace().collect::<String>();
        assert!(words(&told).contains(&words(shown)), "{shown} is not told of {said}:\n{told}");
        assert!(!told.lines().any(|line| line.starts_with("  - ")), "it looks like a row:\n{told}");
    }
    // XML has no place for them.
    assert!(!junit.contains(|one: char| one.is_control() && one != '\n'), "{junit:?}");
}
