//! The TLS client connection, over TCP, that reads before it writes. Not for what is said inside it: that is
//! `exchange`.
//!
//! In TLS 1.3 a server judges the client's certificate after the client's side of the handshake is complete,
//! and its refusal is an alert. A client that writes meanwhile can lose the alert: the server closes with
//! data unread, so TCP resets the connection, and the reset overtakes the alert or hides it behind a failed
//! write. Hence two rules. Nothing is written until the server has proven that it took the certificate
//! ([`Wire::accepted`]), and a write that fails is only noted: what ended the connection is for the next read
//! to tell.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustls::{ClientConnection, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::protocol::{DialFailure, Outcome};

/// What ended a connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum End {
    #[error("{0}")]
    Tls(rustls::Error),
    #[error("{text}")]
    Io { kind: ErrorKind, text: String },
    #[error("the server closed the connection without an alert and before an answer")]
    Closed,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io { kind: error.kind(), text: error.to_string() }
    }
}

impl From<End> for io::Error {
    fn from(end: End) -> Self {
        Self::other(end)
    }
}

impl From<End> for Outcome {
    fn from(end: End) -> Self {
        let kind = match &end {
            End::Tls(rustls::Error::AlertReceived(alert)) => return Self::Alert { number: u8::from(*alert) },
            End::Tls(rustls::Error::InvalidCertificate(refusal)) => {
                return Self::ServerRefused { reason: crate::verify::reason(refusal) };
            }
            End::Tls(_) => DialFailure::Protocol,
            End::Io { kind, .. } => failure(*kind),
            End::Closed => DialFailure::Closed,
        };
        Self::Failed { kind, detail: end.to_string() }
    }
}

/// What an operating system's error on a connection, or on the way to one, amounts to.
pub(crate) fn failure(kind: ErrorKind) -> DialFailure {
    match kind {
        ErrorKind::ConnectionRefused => DialFailure::Refused,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected => DialFailure::Reset,
        ErrorKind::UnexpectedEof => DialFailure::Closed,
        ErrorKind::TimedOut => DialFailure::TimedOut,
        _ => DialFailure::Protocol,
    }
}

/// The socket and its TLS session.
pub(crate) struct Wire {
    tcp: TcpStream,
    tls: ClientConnection,
    /// The first write that failed.
    unwritable: Option<End>,
    end: Arc<OnceLock<End>>,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream, tls: ClientConnection) -> Self {
        Self { tcp, tls, unwritable: None, end: Arc::default() }
    }

    pub(crate) fn tls(&self) -> &ClientConnection {
        &self.tls
    }

    /// Where the connection's end is noted, once there is one. An HTTP client that owns the wire keeps less
    /// of it than is needed.
    pub(crate) fn end(&self) -> Arc<OnceLock<End>> {
        self.end.clone()
    }

    /// Completes the client's side of the handshake.
    pub(crate) async fn handshake(&mut self) -> Result<(), End> {
        std::future::poll_fn(|cx| {
            loop {
                let pushed = self.poll_push(cx);
                if !self.tls.is_handshaking() {
                    return pushed.map(Ok);
                }
                ready!(self.poll_pull(cx))?;
            }
        })
        .await
    }

    /// Reads, and writes nothing, until the server has proven that it took the client's certificate, or has
    /// refused it. Never ends against a TLS 1.3 server that sends no session ticket: RFC 8446 lets it
    /// (4.6.1).
    pub(crate) async fn accepted(&mut self) -> Result<(), End> {
        std::future::poll_fn(|cx| {
            while !self.proven() {
                ready!(self.poll_pull(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// In TLS 1.3 a session ticket is sent only after the client's Finished (and so its certificate) was
    /// verified; application data is no proof, since a server may send it before. In TLS 1.2 the server's own
    /// Finished is the proof.
    fn proven(&self) -> bool {
        match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => self.tls.tls13_tickets_received() > 0,
            _ => !self.tls.is_handshaking(),
        }
    }

    /// Takes in what the server sent; ready once there was something.
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            let pulled =
                ready!(self.tcp.poll_read_ready(cx)).and_then(|()| self.tls.read_tls(&mut Now(&self.tcp)));
            match pulled {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(self.ended(e.into()))),
                Ok(0) => return Poll::Ready(Err(self.ended(End::Closed))),
                Ok(_) => break,
            }
        }
        Poll::Ready(match self.tls.process_new_packets() {
            Ok(_) => Ok(()),
            Err(e) => {
                // This side's own alert, where it is this side that refuses. Whether it still can be sent
                // changes nothing.
                let _ = self.poll_push(cx);
                Err(self.ended(End::Tls(e)))
            }
        })
    }

    /// Sends what is due. After a write that failed, what is due goes nowhere.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.tls.wants_write() {
            let pushed = match self.unwritable {
                Some(_) => self.tls.write_tls(&mut io::sink()),
                None => ready!(self.tcp.poll_write_ready(cx))
                    .and_then(|()| self.tls.write_tls(&mut Now(&self.tcp))),
            };
            match pushed {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => self.unwritable = Some(e.into()),
                Ok(_) => {}
            }
        }
        Poll::Ready(())
    }

    /// Notes the end. An end of data after a failed write is the reset that made the write fail: the
    /// operating system reports it only once.
    fn ended(&self, end: End) -> End {
        let end = match (end, &self.unwritable) {
            (End::Closed, Some(write)) => write.clone(),
            (end, _) => end,
        };
        self.end.get_or_init(|| end).clone()
    }
}

impl Drop for Wire {
    /// Says goodbye where that does not block, so that the server does not count a truncated connection.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() && self.tls.write_tls(&mut Now(&self.tcp)).is_ok_and(|n| n > 0) {}
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        loop {
            match wire.tls.reader().read(buf.initialize_unfilled()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    if n == 0 && buf.remaining() > 0 {
                        wire.ended(End::Closed);
                    }
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
            }
            ready!(wire.poll_pull(cx))?;
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        loop {
            let taken = wire.tls.writer().write(buf)?;
            let pushed = wire.poll_push(cx);
            // rustls takes nothing while what is due exceeds its limit.
            if taken > 0 || buf.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            ready!(pushed);
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_push(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.tls.send_close_notify();
        wire.poll_push(cx).map(Ok)
    }
}

/// What the socket takes or gives at once, for rustls's blocking interface.
struct Now<'a>(&'a TcpStream);

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{AlertDescription, ClientConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::fixture::{Authority, BACKEND, config, dns};
    use crate::tls::{PROVIDER, roots};

    fn session(authority: &Authority) -> ClientConnection {
        let config = ClientConfig::builder_with_provider(PROVIDER.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config.with_root_certificates(roots([authority.der()]).unwrap()).with_no_client_auth();
        ClientConnection::new(Arc::new(config), ServerName::try_from("backend.test").unwrap()).unwrap()
    }

    /// A wire that is over on the server's side: `farewell` was written, and then the connection was reset.
    /// The client has read neither.
    async fn reset_after(farewell: &'static [u8]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = Authority::new("example.org");
        let tls = session(&authority);
        let (mut server, client) = tokio::join!(
            async { listener.accept().await.unwrap().0 },
            TcpStream::connect(listener.local_addr().unwrap())
        );
        server.write_all(farewell).await.unwrap();
        let wire = Wire::new(client.unwrap(), tls);
        // The bytes have arrived before the reset is sent.
        wire.tcp.readable().await.unwrap();
        server.set_zero_linger().unwrap();
        wire
    }

    #[tokio::test]
    async fn an_alert_is_read_though_the_write_fails() {
        let mut wire = reset_after(&[21, 3, 3, 0, 2, 2, 46]).await;
        let end = wire.handshake().await.unwrap_err();
        assert!(wire.unwritable.is_some(), "the connection was reset before the first write");
        assert!(
            matches!(end, End::Tls(rustls::Error::AlertReceived(AlertDescription::CertificateUnknown))),
            "{end:?}"
        );
    }

    #[tokio::test]
    async fn a_failed_write_without_an_alert_is_a_reset() {
        // The beginning of an alert, and no more.
        let mut wire = reset_after(&[21, 3, 3]).await;
        let outcome = Outcome::from(wire.handshake().await.unwrap_err());
        assert!(matches!(outcome, Outcome::Failed { kind: DialFailure::Reset, .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_session_ticket_is_the_proof_in_tls_1_3() {
        let authority = Authority::new("example.org");
        let leaf = authority.leaf(&[dns("backend.test"), crate::fixture::uri(BACKEND)]);
        let mut server = config(&leaf, rustls::server::WebPkiClientVerifier::no_client_auth());
        server.alpn_protocols.clear();
        for tickets in [0, 1] {
            server.send_tls13_tickets = tickets;
            // The server speaks first: application data is no proof.
            let address = crate::fixture::listen_tls(
                server.clone(),
                async |mut stream: tokio_rustls::server::TlsStream<TcpStream>| {
                    stream.write_all(b"hello").await.unwrap();
                    let _ = stream.read_to_end(&mut vec![]).await;
                },
            );
            let mut wire = Wire::new(TcpStream::connect(address.await).await.unwrap(), session(&authority));
            wire.handshake().await.unwrap();
            if tickets == 0 {
                let (mut hello, mut proven) = ([0; 5], Box::pin(wire.accepted()));
                assert!(futures::poll!(&mut proven).is_pending());
                drop(proven);
                wire.read_exact(&mut hello).await.unwrap();
                assert_eq!((&hello, wire.proven()), (b"hello", false));
            } else {
                wire.accepted().await.unwrap();
            }
        }
    }
}
