//! A connection in plain text that notes whether it is TLS that answers. Not for what is said over it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An alert's record: its head, then level and description (RFC 8446, sections 5.1 and 6).
const ALERT: usize = 7;

/// A socket, and the first bytes that came over it.
pub(crate) struct Plain {
    tcp: TcpStream,
    heard: Heard,
}

/// The beginning of what came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Plain {
    pub(crate) fn new(tcp: TcpStream) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { tcp, heard: heard.clone() }, heard)
    }
}

impl Heard {
    /// The number of the TLS alert that came, where one did.
    pub(crate) fn alert(&self) -> Option<u8> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
            [21, 3, _, 0, 2, _, number, ..] => Some(*number),
            _ => None,
        }
    }

    fn note(&self, came: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ALERT.saturating_sub(heard.len());
        heard.extend(came.iter().take(room));
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let plain = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut plain.tcp).poll_read(cx, buf))?;
        plain.heard.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
