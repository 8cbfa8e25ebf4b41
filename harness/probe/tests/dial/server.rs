//! What the server must prove: a SPIFFE ID, a DNS name, a chain to the bundle.

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rstest::rstest;
use svidproof_probe::Dial;
use svidproof_probe::protocol::TlsVersions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::fixture::{Authority, BACKEND, config, dns, listen_http, listen_tls, uri};
use crate::world::{World, assert_ok, assert_server_refused, hello, observe};

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
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        "two IDs" => world.authority.leaf(&[uri(BACKEND), uri("spiffe://example.org/other")]),
        _ => world.authority.leaf(&[dns("backend.test")]),
    };
    let address = listen_http(config(&leaf, world.authority.required()), hello).await;
    assert_server_refused(&observe(&Dial { tls, ..world.dial(address) }).await, words);
}

#[rstest]
#[case::both(&[dns("example.com"), uri(BACKEND)], None)]
#[case::among_others(&[dns("www.example.com"), dns("example.com"), uri(BACKEND)], None)]
#[case::another_name(
    &[dns("example.net"), uri(BACKEND)],
    Some("not for the DNS name example.com; it is for example.net")
)]
#[case::an_id_alone(&[uri(BACKEND)], Some("not for the DNS name example.com; it is for none"))]
#[case::another_id(
    &[dns("example.com"), uri("spiffe://example.org/other")],
    Some(concat!(
        "its SPIFFE ID is spiffe://example.org/other, ",
        "not spiffe://example.org/ns/default/sa/default/backend"
    ))
)]
#[case::a_name_alone(&[dns("example.com")], Some("has 0 URI SANs"))]
#[tokio::test]
async fn with_a_dns_name_the_server_must_prove_both(
    #[case] names: &[SanType],
    #[case] refused: Option<&str>,
    #[values(TlsVersions::Tls12, TlsVersions::Tls13)] tls: TlsVersions,
) {
    let world = World::new();
    let leaf = world.authority.leaf(names);
    let address = listen_http(config(&leaf, world.authority.required()), hello).await;
    let mut dial = Dial { tls, ..world.dial(address) };
    dial.server.as_mut().unwrap().dns = Some("example.com".into());
    let seen = observe(&dial).await;
    match refused {
        Some(words) => assert_server_refused(&seen, words),
        None => assert_ok(&seen),
    }
}

#[tokio::test]
async fn the_dns_name_is_sent_as_sni_and_a_spiffe_id_is_not() {
    let world = World::new();
    let leaf = world.authority.leaf(&[dns("example.com"), uri(BACKEND)]);
    let (sni, mut asked) = mpsc::unbounded_channel();
    let address = listen_tls(config(&leaf, world.authority.required()), move |mut stream| {
        let _ = sni.send(stream.get_ref().1.server_name().map(str::to_owned));
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut vec![]).await;
        }
    });
    let mut dial = world.dial(address.await);
    for name in [Some("example.com".to_owned()), None] {
        dial.server.as_mut().unwrap().dns.clone_from(&name);
        let seen = observe(&dial).await;
        assert_ok(&seen);
        assert_eq!(asked.recv().await.unwrap(), name);
        let tls = seen.tls.unwrap();
        assert_eq!((tls.peer_dns, tls.peer_id.as_deref()), (vec!["example.com".to_owned()], Some(BACKEND)));
    }
}
