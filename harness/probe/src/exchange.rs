//! One request and its response over a wire that is ready for it. Not for what the request is made of
//! (`message`), nor for what the server's refusal means.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::message::{self, Message};
use crate::outcome::{failed, replied};
use crate::plain::Plain;
use crate::protocol::{DialFailure, Http, Outcome};
use crate::tls::alpn;
use crate::wire::{Wire, failure};

/// Of a longer body only this much is read.
const BODY_LIMIT: usize = 256 * 1024;

/// Sends the request and reads the response. Both sides of the result are outcomes; an `Err` is one without a
/// response.
pub(crate) async fn exchange(
    mut wire: Wire,
    message: Message,
    reply: &mut Vec<u8>,
) -> Result<Outcome, Outcome> {
    let negotiated = wire.tls().alpn_protocol();
    let (http, request) = match message {
        Message::Bytes { sent, waited } => {
            return bytes(&mut wire, &sent, waited, reply).await.map_err(|error| {
                // What ended the connection says more than the error that a reader sees.
                wire.end().get().cloned().map_or_else(|| unheard(&error), Outcome::from)
            });
        }
        Message::Http(http, request) => (http, request),
    };
    if http == Http::Http2 && negotiated != alpn(Http::Http2) {
        return Err(failed(
            DialFailure::Protocol,
            "HTTP/2 was asked for, and the server did not negotiate h2 by ALPN",
        ));
    }
    let end = wire.end();
    // What ended the connection says more than how the HTTP client noticed it.
    let outcome = |e| end.get().cloned().map_or_else(|| unexpected(&e), Outcome::from);
    ask(wire, http, *request).await.map_err(outcome)
}

/// The same in plain text. HTTP/2 is spoken with prior knowledge (RFC 9113, section 3.3).
pub(crate) async fn exchange_plain(
    tcp: TcpStream,
    message: Message,
    reply: &mut Vec<u8>,
) -> Result<Outcome, Outcome> {
    let (mut plain, heard) = Plain::new(tcp);
    let speaks_tls = |number| {
        failed(DialFailure::SpeaksTls, format!("the server answered plain text with the TLS alert {number}"))
    };
    let (http, request) = match message {
        Message::Bytes { sent, waited } => {
            let answered = bytes(&mut plain, &sent, waited, reply).await.map_err(|error| unheard(&error));
            return heard.alert().map_or(answered, |number| Err(speaks_tls(number)));
        }
        Message::Http(http, request) => (http, request),
    };
    ask(plain, http, *request).await.map_err(|error| {
        if let Some(number) = heard.alert() {
            return speaks_tls(number);
        }
        let io = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        match io {
            Some(io) => failed(failure(io.kind()), format!("{error}: {io}")),
            None if error.is_incomplete_message() || error.is_closed() => {
                failed(DialFailure::Closed, error.to_string())
            }
            None => unexpected(&error),
        }
    })
}

/// Sends bytes and reads what comes back, into `reply`: as many as are waited for, or until the end.
async fn bytes<I>(io: &mut I, sent: &[u8], waited: usize, reply: &mut Vec<u8>) -> io::Result<Outcome>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(sent).await?;
    io.flush().await?;
    let mut part = vec![0; if waited == 0 { BODY_LIMIT } else { waited }];
    while reply.len() < waited.max(1) {
        let room = part.len() - reply.len();
        match io.read(&mut part[..room]).await {
            Ok(read @ 1..) => reply.extend_from_slice(&part[..read]),
            // What came before the end is what was answered.
            Ok(0) | Err(_) if !reply.is_empty() => break,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
    }
    Ok(replied(reply))
}

/// An end of a connection of which nothing else is known.
fn unheard(error: &io::Error) -> Outcome {
    failed(failure(error.kind()), format!("waiting for the reply: {error}"))
}

async fn ask<I>(io: I, http: Http, request: message::Request) -> Result<Outcome, hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = Tasks::default();
    let answered = async {
        let response = match http {
            Http::Http1 | Http::None => {
                let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
                tasks.spawn(connection);
                sender.send_request(request).await?
            }
            Http::Http2 => {
                let (mut sender, connection) = http2::handshake(tasks.executor(), TokioIo::new(io)).await?;
                tasks.spawn(connection);
                sender.send_request(request).await?
            }
        };
        read(response, http).await
    };
    let answered = answered.await;
    tasks.finish().await;
    answered
}

/// The wire notes every end of a connection, so what the HTTP client complains about without one is what the
/// server said.
fn unexpected(error: &hyper::Error) -> Outcome {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    failed(DialFailure::Protocol, format!("{error}{cause}"))
}

async fn read(response: http::Response<Incoming>, http: Http) -> Result<Outcome, hyper::Error> {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut body_cut, mut trailers) = (vec![], false, HeaderMap::new());
    while !body_cut && let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                let room = BODY_LIMIT - body.len();
                body_cut = data.len() > room;
                body.extend_from_slice(&data[..data.len().min(room)]);
            }
            Err(other) => trailers.extend(other.into_trailers().unwrap_or_default()),
        }
    }
    Ok(Outcome::Response {
        status: head.status.as_u16(),
        http,
        headers: texts(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
        body_cut,
        trailers: texts(&trailers),
    })
}

/// Names in lower case, as `HeaderName` has them.
fn texts(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The HTTP client's tasks; all of them end with the exchange, also where a time-out drops it.
#[derive(Default)]
struct Tasks(Executor);

/// What hyper may start further tasks with.
#[derive(Default, Clone)]
struct Executor(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn executor(&self) -> Executor {
        self.0.clone()
    }

    /// Its failure is not lost: the wire notes it, and the request fails with it.
    fn spawn(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        hyper::rt::Executor::execute(&self.0, connection);
    }

    /// Ends all of them, and with them the connection, before the dial returns.
    async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock());
        tasks.shutdown().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.lock().abort_all();
    }
}

impl Executor {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.lock().spawn(async { drop(task.await) });
    }
}
