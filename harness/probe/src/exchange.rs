//! One HTTP request and its response over a wire that is ready for it. Not for what the server's refusal
//! means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::outcome::failed;
use crate::protocol::{DialFailure, Http, Outcome, Request};
use crate::tls::alpn;
use crate::wire::{Wire, failure};

/// Of a longer body only this much is read.
const BODY_LIMIT: usize = 256 * 1024;

/// A request as hyper takes it.
pub(crate) type Message = http::Request<Full<Bytes>>;

/// Sends the request and reads the response. Both sides of the result are outcomes; an `Err` is one without a
/// response.
pub(crate) async fn exchange(wire: Wire, http: Http, message: Message) -> Result<Outcome, Outcome> {
    let negotiated = wire.tls().alpn_protocol();
    if http == Http::Http2 && negotiated != Some(alpn(Http::Http2)) {
        return Err(failed(
            DialFailure::Protocol,
            "HTTP/2 was asked for, and the server did not negotiate h2 by ALPN",
        ));
    }
    let end = wire.end();
    // What ended the connection says more than how the HTTP client noticed it.
    let outcome = |e| end.get().cloned().map_or_else(|| unexpected(&e), Outcome::from);
    ask(wire, http, message).await.map_err(outcome)
}

/// The same in plain text. HTTP/2 is spoken with prior knowledge (RFC 9113, section 3.3).
pub(crate) async fn exchange_plain(tcp: TcpStream, http: Http, message: Message) -> Result<Outcome, Outcome> {
    ask(tcp, http, message).await.map_err(|error| {
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

async fn ask<I>(io: I, http: Http, message: Message) -> Result<Outcome, hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = Tasks::default();
    let answered = async {
        let response = match http {
            Http::Http1 => {
                let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
                tasks.spawn(connection);
                sender.send_request(message).await?
            }
            Http::Http2 => {
                let (mut sender, connection) = http2::handshake(tasks.executor(), TokioIo::new(io)).await?;
                tasks.spawn(connection);
                sender.send_request(message).await?
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

/// The request, or why it cannot be sent as it is.
pub(crate) fn message(request: &Request) -> Result<Message, Outcome> {
    let unsendable = |what: &str, value: &str| {
        failed(DialFailure::Protocol, format!("the request's {what} {value:?} cannot be sent as it is"))
    };
    let mut headers = HeaderMap::new();
    if request.http == Http::Http1 {
        let host = HeaderValue::from_str(&request.authority)
            .map_err(|_| unsendable("authority", &request.authority))?;
        headers.insert(header::HOST, host);
    }
    for (name, value) in &request.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable("header name", name))?;
        headers.append(key, HeaderValue::from_str(value).map_err(|_| unsendable("header value", value))?);
    }
    let mut message = Message::new(Full::from(request.body.clone()));
    *message.method_mut() =
        Method::from_bytes(request.method.as_bytes()).map_err(|_| unsendable("method", &request.method))?;
    *message.uri_mut() = target(request).ok_or_else(|| unsendable("target", &request.target))?;
    *message.headers_mut() = headers;
    Ok(message)
}

/// The request target, if what is sent for it is the same text. (`http::Uri` drops a fragment, for one.)
fn target(request: &Request) -> Option<Uri> {
    let asked = request.target.as_str();
    match request.http {
        Http::Http1 => {
            let uri: Uri = asked.parse().ok()?;
            // Its text, since `Uri` itself compares scheme and host without regard to case.
            let sent = uri.to_string();
            (sent == asked).then_some(uri)
        }
        Http::Http2 => {
            let uri = Uri::builder()
                .scheme("https")
                .authority(request.authority.as_str())
                .path_and_query(asked)
                .build()
                .ok()?;
            (uri.path_and_query()?.as_str() == asked).then_some(uri)
        }
    }
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
