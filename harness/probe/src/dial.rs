//! One dial from its name to its observation: resolve, connect, handshake, read, then ask. Not for HTTP
//! itself (`exchange`) nor TLS over TCP (`wire`).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, SupportedProtocolVersion, version};
use sha2::{Digest, Sha256};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::credential::{Always, CredentialError, anchors, presented};
use crate::exchange::{exchange, exchange_plain};
use crate::identities::Identities;
use crate::message::Message;
use crate::outcome::{failed, replied};
use crate::protocol::{Dial, DialFailure, Observation, Outcome, ServerProof, Timing, Tls, TlsVersions};
use crate::tls::{PROVIDER, alpn};
use crate::verify::{Sans, Verifier};
use crate::wire::{Wire, failure};

/// How long a TLS 1.3 server that sends no session ticket (RFC 8446 4.6.1: it need not) may stay silent
/// before its silence is taken for consent: far more than verifying a chain takes. Over a slow network, twice
/// the handshake's own time is the longer: one round trip is in it.
const QUIET: Duration = Duration::from_millis(100);

/// Dials once. Whatever happens is an [`Outcome`]; nothing of the dial is left when it returns.
pub async fn dial(dial: &Dial, identities: &Identities) -> Observation {
    let mut so_far = SoFar {
        begun: Instant::now(),
        step: "reading what is asked",
        tls: None,
        timing: Timing::default(),
        reply: vec![],
    };
    let outcome =
        match timeout(Duration::from_millis(dial.timeout_ms), attempt(dial, identities, &mut so_far)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(stopped)) => stopped,
            // What came is what the server answered, though more was waited for.
            Err(_) if !so_far.reply.is_empty() => replied(&so_far.reply),
            Err(_) => failed(
                DialFailure::TimedOut,
                format!("gave up after {} ms, {}", dial.timeout_ms, so_far.step),
            ),
        };
    let timing = Timing { done_us: so_far.micros(), ..so_far.timing };
    Observation { outcome, tls: so_far.tls, timing }
}

/// What is known of a dial before its end, also where a time-out cuts it short.
struct SoFar {
    begun: Instant,
    step: &'static str,
    tls: Option<Tls>,
    timing: Timing,
    /// Without HTTP: the bytes that came back.
    reply: Vec<u8>,
}

impl SoFar {
    fn micros(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl From<CredentialError> for Outcome {
    fn from(error: CredentialError) -> Self {
        failed(DialFailure::Credential, error.to_string())
    }
}

/// Both sides of the result are outcomes; an `Err` is one that stopped the dial before an answer.
async fn attempt(dial: &Dial, identities: &Identities, so_far: &mut SoFar) -> Result<Outcome, Outcome> {
    let message = Message::new(&dial.request)?;
    let Some(server) = dial.server.as_ref().filter(|_| dial.tls != TlsVersions::None) else {
        let (tcp, _) = connected(dial, so_far).await?;
        so_far.step = "waiting for the response";
        return exchange_plain(tcp, message, &mut so_far.reply).await;
    };
    let roots = anchors(&server.anchors, identities)?;
    let client = presented(&dial.credential, identities)?.map(|key| Arc::new(Always::new(key)));
    let dns = server.dns.as_deref().map(dns_name).transpose()?;
    let verifier = Arc::new(Verifier::new(roots, server.spiffe_id.clone(), dns, PROVIDER.clone()));

    let (tcp, address) = connected(dial, so_far).await?;
    so_far.step = "in the TLS handshake";
    let tls = session(dial, server, address, verifier.clone(), client.clone())?;
    let mut wire = Wire::new(tcp, tls);
    let handshake = Instant::now();
    let shaken = wire.handshake().await;
    if shaken.is_ok() {
        so_far.timing.handshake_us = Some(so_far.micros());
    }
    so_far.tls = describe(wire.tls(), &verifier);
    if let Some(client) = &client {
        client.check()?;
    }
    shaken.map_err(Outcome::from)?;

    so_far.step = "reading before the first write";
    // No ticket and no alert in that time: the answer to the request has to tell.
    if let Ok(read) = timeout(QUIET.max(2 * handshake.elapsed()), wire.accepted()).await {
        read.map_err(Outcome::from)?;
    }

    so_far.step = "waiting for the response";
    exchange(wire, message, &mut so_far.reply).await
}

/// A TCP connection to the first of the address's meanings that takes one.
async fn connected(dial: &Dial, so_far: &mut SoFar) -> Result<(TcpStream, SocketAddr), Outcome> {
    so_far.step = "resolving the name";
    let unresolved = |problem: String| {
        failed(DialFailure::Unresolved, format!("{} does not resolve: {problem}", dial.address))
    };
    let addresses: Vec<_> =
        lookup_host(&dial.address).await.map_err(|e| unresolved(e.to_string()))?.collect();
    let first = *addresses.first().ok_or_else(|| unresolved("it has no address".into()))?;

    so_far.step = "connecting";
    let unconnected = |e: std::io::Error| {
        failed(failure(e.kind()), format!("connecting to {} ({first}): {e}", dial.address))
    };
    let tcp = TcpStream::connect(addresses.as_slice()).await.map_err(unconnected)?;
    tcp.set_nodelay(true).map_err(unconnected)?;
    so_far.timing.connected_us = Some(so_far.micros());
    Ok((tcp, first))
}

/// A new session: its configuration is built for this dial alone, and nothing is kept from it, so each dial
/// is a full handshake.
fn session(
    dial: &Dial,
    server: &ServerProof,
    address: SocketAddr,
    verifier: Arc<Verifier>,
    client: Option<Arc<Always>>,
) -> Result<ClientConnection, Outcome> {
    let name = match dial.sni.as_ref().or(server.dns.as_ref()).filter(|name| !name.is_empty()) {
        // rustls sends no SNI for an IP address.
        None => ServerName::IpAddress(address.ip().into()),
        Some(name) => dns_name(name)?,
    };
    let unusable =
        |e: rustls::Error| failed(DialFailure::Protocol, format!("no TLS session can be made: {e}"));
    let config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&versions(dial.tls))
        .map_err(unusable)?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match client {
        Some(client) => config.with_client_cert_resolver(client),
        None => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn(dial.request.http).map(<[u8]>::to_vec).into_iter().collect();
    ClientConnection::new(Arc::new(config), name).map_err(unusable)
}

fn dns_name(name: &str) -> Result<ServerName<'static>, Outcome> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        failed(DialFailure::Credential, format!("the expected server name {name:?} is not a DNS name"))
    })
}

/// None for plain text, which has no session.
fn versions(asked: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    match asked {
        TlsVersions::Any => vec![&version::TLS13, &version::TLS12],
        TlsVersions::Tls12 => vec![&version::TLS12],
        TlsVersions::Tls13 => vec![&version::TLS13],
        TlsVersions::None => vec![],
    }
}

fn describe(tls: &ClientConnection, verifier: &Verifier) -> Option<Tls> {
    let version = match tls.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "1.2".into(),
        ProtocolVersion::TLSv1_3 => "1.3".into(),
        other => format!("{other:?}"),
    };
    let sent = verifier.sent();
    let Sans { mut uris, dns } = sent.first().map(Sans::of).unwrap_or_default();
    Some(Tls {
        version,
        alpn: tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        peer_id: if uris.len() == 1 { uris.pop() } else { None },
        peer_dns: dns,
        peer_chain: sent.iter().map(|certificate| hex(&Sha256::digest(certificate))).collect(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
