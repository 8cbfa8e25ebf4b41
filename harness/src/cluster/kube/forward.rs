//! A port of a pod as a port of this machine's loopback, for the pages and the admin interfaces that are to
//! be read with an ordinary HTTP client.
//!
//! Each connection gets a stream of its own: one that breaks leaves the others alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Backend, Kube, KubeError};

/// Ends with its owner.
#[derive(Debug)]
pub struct Forward {
    /// Where to connect on this machine.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
    failure: Failure,
}

/// Why the last connection could not be carried to the pod.
type Failure = Arc<Mutex<Option<KubeError>>>;

impl Kube {
    /// Listens on a free port of the loopback; what connects there is carried to `port` of the pod.
    pub async fn forward(&self, backend: &Backend, port: u16) -> Result<Forward, KubeError> {
        let what =
            format!("forward a local port to port {port} of pod {}/{}", backend.namespace, backend.pod);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(KubeError::io(&what))?;
        let address = listener.local_addr().map_err(KubeError::io(&what))?;
        let pods: Api<Pod> = Api::namespaced(self.client(), &backend.namespace);
        let failure = Failure::default();
        let tunnel = Tunnel { what, pods, pod: backend.pod.clone(), port, failure: failure.clone() };
        let serving = tokio::spawn(serve(listener, tunnel));
        Ok(Forward { address, serving, failure })
    }
}

impl Forward {
    /// Why the last connection broke, where it was not the pod's or the client's doing. The client itself
    /// only sees its connection closed.
    pub fn take_failure(&self) -> Option<KubeError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What each connection needs.
#[derive(Clone)]
struct Tunnel {
    what: String,
    pods: Api<Pod>,
    pod: String,
    port: u16,
    failure: Failure,
}

async fn serve(listener: TcpListener, tunnel: Tunnel) {
    let mut streams = JoinSet::new();
    while let Ok((mut local, _)) = listener.accept().await {
        let tunnel = tunnel.clone();
        streams.spawn(async move {
            if let Err(failure) = tunnel.carry(&mut local).await {
                // Before the connection is closed: who sees that asks for the reason.
                *tunnel.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            }
            drop(local);
        });
        while streams.try_join_next().is_some() {}
    }
}

impl Tunnel {
    /// One connection, to its end.
    async fn carry(&self, local: &mut TcpStream) -> Result<(), KubeError> {
        let opened = self.pods.portforward(&self.pod, &[self.port]).await;
        let mut forwarder = opened.map_err(KubeError::api(&self.what))?;
        // Such as that nothing listens on the port.
        let complaint = forwarder.take_error(self.port);
        let complaint = async { complaint?.await };
        let remote = forwarder.take_stream(self.port);
        let carried = async {
            if let Some(mut remote) = remote {
                // Either end may close: that is the client's to judge.
                let _ = tokio::io::copy_bidirectional(local, &mut remote).await;
            }
        };
        let ended = tokio::select! {
            biased;
            Some(problem) = complaint => Err(KubeError::other(&self.what)(problem)),
            () = carried => Ok(()),
        };
        forwarder.abort();
        ended
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn why_a_connection_was_not_carried_is_kept() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Bound, then given back: nobody listens there.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let config = kube::Config::new(format!("http://{free}").parse().unwrap());
        let kube = Kube { client: kube::Client::try_from(config).unwrap() };
        let backend = Backend {
            namespace: "shop".into(),
            pod: "web-0".into(),
            ip: String::new(),
            ..Backend::default()
        };
        let forward = kube.forward(&backend, 9901).await.unwrap();
        assert!(forward.take_failure().is_none());
        let mut client = TcpStream::connect(forward.address).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        let told = crate::sys::chain(&forward.take_failure().unwrap());
        assert!(
            told.starts_with("could not forward a local port to port 9901 of pod shop/web-0: "),
            "{told}"
        );
        assert!(told.contains("Connection refused"), "{told}");
    }
}
