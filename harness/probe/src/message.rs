//! A request as it goes on the wire, or why it cannot be sent as it is. Not for sending it.

use std::convert::Infallible;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

use crate::outcome::failed;
use crate::protocol::{self, DialFailure, Http, Outcome};

/// As hyper takes it.
pub(crate) type Request = http::Request<BoxBody<Bytes, Infallible>>;

/// What is sent.
pub(crate) enum Message {
    /// In this version of HTTP.
    Http(Http, Box<Request>),
    /// Bytes alone, and how many are waited for.
    Bytes { sent: Vec<u8>, waited: usize },
}

impl Message {
    /// The request, or why it cannot be sent as it is.
    pub(crate) fn new(request: &protocol::Request) -> Result<Self, Outcome> {
        if request.http == Http::None {
            return Ok(Self::Bytes { sent: request.body.clone(), waited: request.reply });
        }
        let mut headers = HeaderMap::new();
        if request.http == Http::Http1 {
            let host = HeaderValue::from_str(&request.authority)
                .map_err(|_| unsendable("authority", &request.authority))?;
            headers.insert(header::HOST, host);
        }
        fields(&request.headers, &mut headers)?;
        let mut trailers = HeaderMap::new();
        fields(&request.trailers, &mut trailers)?;
        let body = Full::from(request.body.clone());
        let body = if trailers.is_empty() {
            body.boxed()
        } else {
            if request.http == Http::Http1 {
                // A chunked body alone has room for them, and they are announced (RFC 9112, section 7.1.2).
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                for (name, _) in &request.trailers {
                    headers.append(header::TRAILER, value(name)?);
                }
            }
            body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed()
        };
        let mut message = Request::new(body);
        *message.method_mut() = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| unsendable("method", &request.method))?;
        *message.uri_mut() = target(request).ok_or_else(|| unsendable("target", &request.target))?;
        *message.headers_mut() = headers;
        Ok(Self::Http(request.http, Box::new(message)))
    }
}

fn fields(from: &[(String, String)], to: &mut HeaderMap) -> Result<(), Outcome> {
    for (name, text) in from {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable("header name", name))?;
        to.append(key, value(text)?);
    }
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, Outcome> {
    HeaderValue::from_str(text).map_err(|_| unsendable("header value", text))
}

fn unsendable(what: &str, value: &str) -> Outcome {
    failed(DialFailure::Protocol, format!("the request's {what} {value:?} cannot be sent as it is"))
}

/// The request target, if what is sent for it is the same text. (`http::Uri` drops a fragment, for one.)
fn target(request: &protocol::Request) -> Option<Uri> {
    let asked = request.target.as_str();
    if request.http == Http::Http1 {
        let uri: Uri = asked.parse().ok()?;
        // Its text, since `Uri` itself compares scheme and host without regard to case.
        let sent = uri.to_string();
        return (sent == asked).then_some(uri);
    }
    if request.method == Method::CONNECT.as_str() {
        // `:authority` alone (RFC 9113, section 8.5).
        let uri = Uri::builder().authority(asked).build().ok()?;
        return (uri.authority()?.as_str() == asked).then_some(uri);
    }
    let uri =
        Uri::builder().scheme("https").authority(request.authority.as_str()).path_and_query(asked).build();
    uri.ok().filter(|uri| uri.path_and_query().is_some_and(|path| path.as_str() == asked))
}
