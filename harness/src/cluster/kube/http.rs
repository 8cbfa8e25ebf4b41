//! What an HTTP server in a pod answers, such as an Envoy's admin interface: over the API server, by
//! connections that are in this process alone. A port of this machine's would be open to whoever is on it,
//! and an admin interface does what it is told.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::way::{Opened, Way};
use super::{Backend, Kube, KubeError};
use crate::sys::wait::{self, TimedOut};

/// How long the kubelet may take to say why a connection broke. It says so before it breaks it.
const COMPLAINT: Duration = Duration::from_secs(1);

/// An HTTP/1.1 server at a port of a pod.
pub struct PodHttp {
    way: Way,
    /// Connections that wait for the next request: a new one takes the API server and the kubelet some
    /// milliseconds.
    idle: Mutex<Vec<Connection>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum PodHttpError {
    #[error(transparent)]
    Way(#[from] KubeError),
    #[error("it answers with status {0}")]
    Status(StatusCode),
    #[error("its answer is longer than may be read")]
    TooLong,
    #[error("what comes from there is no HTTP, or broke off")]
    Broken(#[from] hyper::Error),
    #[error(transparent)]
    Late(#[from] TimedOut),
}

impl Kube {
    /// The HTTP server at this port of the pod; asks nothing yet.
    pub fn http(&self, backend: &Backend, port: u16) -> PodHttp {
        PodHttp { way: self.way(backend, port), idle: Mutex::default() }
    }
}

impl PodHttp {
    /// The body of what it answers to a GET of this path and query, of at most `longest` bytes, within
    /// `limit`.
    ///
    /// # Errors
    /// The way there, a status that is no success, a longer body, what is no HTTP, or no answer in time.
    pub async fn get(
        &self,
        path: &'static str,
        longest: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, PodHttpError> {
        let answer = Box::pin(self.answer(path, longest));
        wait::within(&format!("the answer to GET {path}"), limit, answer).await?
    }

    async fn answer(&self, path: &'static str, longest: usize) -> Result<Vec<u8>, PodHttpError> {
        while let Some(mut kept) = self.kept() {
            match kept.ask(path, longest).await {
                // Its server has closed it meanwhile, or the way has: nothing was answered.
                Err(PodHttpError::Broken(_)) => {}
                answer => return self.keep(kept, answer),
            }
        }
        let mut fresh = Connection::over(self.way.open().await?).await?;
        match fresh.ask(path, longest).await {
            // The client only sees its connection closed: what closed it says more.
            Err(PodHttpError::Broken(error)) => Err(match fresh.complaint().await {
                Some(problem) => KubeError::other(&self.way)(problem).into(),
                None => error.into(),
            }),
            answer => self.keep(fresh, answer),
        }
    }

    /// Only a connection whose answer was read to its end can be used again.
    fn keep(
        &self,
        connection: Connection,
        answer: Result<Vec<u8>, PodHttpError>,
    ) -> Result<Vec<u8>, PodHttpError> {
        if answer.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        answer
    }

    fn kept(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    complaint: BoxFuture<'static, Option<String>>,
    driving: JoinHandle<()>,
}

impl Connection {
    async fn over(way: Opened) -> Result<Self, PodHttpError> {
        let Opened { stream, complaint, closing } = way;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(async move {
            // How it ends, each request says.
            let _ = connection.await;
            drop(closing);
        });
        Ok(Self { sender, complaint, driving })
    }

    async fn ask(&mut self, path: &'static str, longest: usize) -> Result<Vec<u8>, PodHttpError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("localhost"));
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(PodHttpError::Status(response.status()));
        }
        let mut body = response.into_body();
        let mut read = vec![];
        while let Some(frame) = body.frame().await {
            let Ok(part) = frame?.into_data() else { continue };
            if read.len() + part.len() > longest {
                return Err(PodHttpError::TooLong);
            }
            read.extend_from_slice(&part);
        }
        Ok(read)
    }

    async fn complaint(&mut self) -> Option<String> {
        let said = wait::within("the kubelet to say why", COMPLAINT, &mut self.complaint).await;
        said.ok().flatten()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A connection, and its server's end.
    async fn connected(complaint: Option<&'static str>) -> (Connection, DuplexStream) {
        let (stream, pod) = duplex(1 << 16);
        let complaint = std::future::ready(complaint.map(ToOwned::to_owned)).boxed();
        let way = Opened { stream: Box::new(stream), complaint, closing: Box::new(()) };
        (Connection::over(way).await.unwrap(), pod)
    }

    /// Reads one request, and gives this answer.
    async fn answer(pod: &mut DuplexStream, answer: &str) -> String {
        let mut asked = vec![];
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(pod.read_u8().await.unwrap());
        }
        pod.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nLIVE";

    #[tokio::test]
    async fn one_connection_answers_one_request_after_the_other() {
        let (mut connection, mut pod) = connected(None).await;
        for path in ["/ready", "/stats?format=json"] {
            let (said, asked) = tokio::join!(connection.ask(path, 4), answer(&mut pod, OK));
            assert_eq!(said.unwrap(), b"LIVE");
            assert!(asked.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{asked}");
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_may_be() {
        let (mut connection, mut pod) = connected(None).await;
        let (said, _) = tokio::join!(connection.ask("/", 3), answer(&mut pod, OK));
        assert!(matches!(said, Err(PodHttpError::TooLong)), "{said:?}");
    }

    /// An answer that begins so and does not end.
    async fn without_end(head: &str) -> PodHttpError {
        let (mut connection, mut pod) = connected(None).await;
        let endless = async {
            answer(&mut pod, head).await;
            while pod.write_all(&[b'x'; 1 << 14]).await.is_ok() {}
            // It is closed by who gives it up, which may not have said so yet.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            said = connection.ask("/stats", 1 << 20) => said.unwrap_err(),
            () = endless => unreachable!(),
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        let body = without_end("HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(matches!(body, PodHttpError::TooLong), "{body:?}");
        let header = without_end("HTTP/1.1 200 OK\r\nx-long: ").await;
        assert!(matches!(header, PodHttpError::Broken(_)), "{header:?}");
    }

    #[tokio::test]
    async fn a_status_that_is_no_success_is_no_answer() {
        let (mut connection, mut pod) = connected(None).await;
        let refused = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let (said, _) = tokio::join!(connection.ask("/", 3), answer(&mut pod, refused));
        assert_eq!(said.unwrap_err().to_string(), "it answers with status 404 Not Found");
    }

    #[tokio::test]
    async fn what_the_kubelet_says_of_a_connection_that_breaks_is_kept() {
        let (mut connection, pod) = connected(Some("connection refused")).await;
        drop(pod);
        let said = connection.ask("/", 3).await;
        assert!(matches!(said, Err(PodHttpError::Broken(_))), "{said:?}");
        assert_eq!(connection.complaint().await.as_deref(), Some("connection refused"));
    }
}
