//! A port of a pod as a port of this machine's loopback, for the pages and the admin interfaces that are to
//! be read with an ordinary HTTP client.
//!
//! Each connection gets a stream of its own: one that breaks leaves the others alone.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Backend, Kube, KubeError};

/// Ends with its owner.
#[derive(Debug)]
pub struct Forward {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Kube {
    pub async fn forward(&self, backend: &Backend, port: u16) -> Result<Forward, KubeError> {
        let what =
            format!("forward a local port to port {port} of pod {}/{}", backend.namespace, backend.pod);
        let listener =
            TcpListener::bind("127.0.0.1:0").await.map_err(|e| KubeError::other(&what)(e.to_string()))?;
        let address = listener.local_addr().map_err(|e| KubeError::other(&what)(e.to_string()))?;
        let pods: Api<Pod> = Api::namespaced(self.client(), &backend.namespace);
        let serving = tokio::spawn(serve(listener, pods, backend.pod.clone(), port));
        Ok(Forward { address, serving })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    let mut streams = JoinSet::new();
    while let Ok((local, _)) = listener.accept().await {
        streams.spawn(bridge(local, pods.clone(), pod.clone(), port));
        while streams.try_join_next().is_some() {}
    }
}

/// What goes wrong shows at the local end as a connection closed early: the HTTP client says so.
async fn bridge(mut local: TcpStream, pods: Api<Pod>, pod: String, port: u16) {
    let Ok(mut forwarder) = pods.portforward(&pod, &[port]).await else { return };
    if let Some(mut remote) = forwarder.take_stream(port) {
        let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
    }
    forwarder.abort();
}
