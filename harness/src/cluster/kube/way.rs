//! The way to a port of a pod, over the API server and the kubelet (Kubernetes API, `pods/portforward`): a
//! stream in this process, and nothing that listens on this machine.

use std::fmt::{self, Display};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Backend, Kube, KubeError};
use crate::sys::wait;

/// How long the API server and the kubelet may take to open the way into a pod. Shorter than whoever reads
/// through it waits: the reason is there before that one gives up.
const OPEN: Duration = Duration::from_secs(8);

/// Where it leads. In words: what is tried with it.
#[derive(Clone)]
pub(super) struct Way {
    pods: Api<Pod>,
    namespace: String,
    pod: String,
    port: u16,
}

/// One stream of bytes to the port.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Both>,
    /// Why it broke, where the kubelet says so: such as that nothing listens on the port. It comes before the
    /// stream ends.
    pub(super) complaint: BoxFuture<'static, Option<String>>,
    /// Held as long as the stream is used: dropped, it closes the way, whoever still holds the stream.
    pub(super) closing: Box<dyn Send>,
}

/// A stream of bytes in both directions.
pub(super) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Both for S {}

struct Closing(Portforwarder);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Kube {
    /// The way to this port of the pod; asks nothing yet.
    pub(super) fn way(&self, backend: &Backend, port: u16) -> Way {
        let Backend { namespace, pod, .. } = backend;
        let pods = Api::namespaced(self.client(), namespace);
        Way { pods, namespace: namespace.clone(), pod: pod.clone(), port }
    }
}

impl Way {
    /// A stream of its own.
    pub(super) async fn open(&self) -> Result<Opened, KubeError> {
        let ports = [self.port];
        let opening = self.pods.portforward(&self.pod, &ports);
        let opened = wait::within("the API server and the kubelet to open it", OPEN, opening).await;
        let opened = opened.map_err(|gave_up| KubeError::other(self)(gave_up.to_string()))?;
        let mut forwarder = opened.map_err(KubeError::api(self))?;
        let stream = forwarder.take_stream(self.port);
        let stream = stream.ok_or_else(|| KubeError::other(self)("it has no stream".into()))?;
        let complaint = forwarder.take_error(self.port);
        let complaint = complaint.map_or_else(|| future::ready(None).boxed(), FutureExt::boxed);
        Ok(Opened { stream: Box::new(stream), complaint, closing: Box::new(Closing(forwarder)) })
    }
}

impl Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { namespace, pod, port, .. } = self;
        write!(f, "open the way to port {port} of pod {namespace}/{pod}")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// What is told of a way over an API server at this address.
    async fn told_over(address: SocketAddr) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let kube = Kube { client: kube::Client::try_from(config).unwrap() };
        let backend = Backend { namespace: "shop".into(), pod: "web-0".into(), ..Backend::default() };
        match kube.way(&backend, 9901).open().await {
            Ok(_) => panic!("it was opened"),
            Err(error) => crate::sys::chain(&error),
        }
    }

    const TRIED: &str = "could not open the way to port 9901 of pod shop/web-0: ";

    #[tokio::test]
    async fn why_a_way_is_not_opened_is_told() {
        // Bound and never listened at: nobody else can be there meanwhile.
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let told = told_over(bound.local_addr().unwrap()).await;
        assert!(told.starts_with(TRIED) && told.contains("Connection refused"), "{told}");
    }

    /// It takes the connection, and that is all.
    #[tokio::test(start_paused = true)]
    async fn a_way_that_is_never_opened_is_given_up() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let told = told_over(mute.local_addr().unwrap()).await;
        let gave_up = "gave up waiting for the API server and the kubelet to open it after 8 s";
        assert!(told.starts_with(&format!("{TRIED}{gave_up}")), "{told}");
    }
}
