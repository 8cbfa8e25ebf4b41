//! A port of a pod as a port of this machine's loopback, for what dials an address: the mTLS of a pod, where
//! there is no probe to dial it from beside.
//!
//! Each connection gets a way of its own: one that breaks leaves the others alone.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::way::{Opened, Way};
use super::{Backend, Kube, KubeError};
use crate::sys::wait;

/// How long a pod may go on after its client has said all: then nobody waits for it any more. Until then it
/// is the client's to give up.
const AFTER: Duration = Duration::from_secs(10);

/// Ends with its owner.
#[derive(Debug)]
pub struct Forward {
    /// Where to connect on this machine.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Kube {
    /// Listens on a free port of the loopback; what connects there is carried to `port` of the pod.
    pub async fn forward(&self, backend: &Backend, port: u16) -> Result<Forward, KubeError> {
        let way = self.way(backend, port);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(KubeError::io(&way))?;
        let address = listener.local_addr().map_err(KubeError::io(&way))?;
        Ok(Forward { address, serving: tokio::spawn(serve(listener, way)) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A way that is not opened, or breaks, closes its connection: that is all that a client of it sees.
async fn serve(listener: TcpListener, way: Way) {
    let mut streams = JoinSet::new();
    while let Ok((mut local, _)) = listener.accept().await {
        let way = way.clone();
        streams.spawn(async move {
            let Ok(Opened { stream, complaint, closing }) = way.open().await else { return };
            tokio::select! {
                biased;
                Some(_) = complaint => {}
                () = between(&mut local, stream) => {}
            }
            drop(closing);
        });
        while streams.try_join_next().is_some() {}
    }
}

/// Carries both ways until the pod has said all, or for a while after the client has. Either end may close or
/// break off: that is the client's to judge.
async fn between(local: &mut TcpStream, remote: impl AsyncRead + AsyncWrite) {
    let (mut client_says, mut client_hears) = local.split();
    let (mut pod_says, mut pod_hears) = split(remote);
    let mut back = std::pin::pin!(copy(&mut pod_says, &mut client_hears));
    let there = async {
        let _ = copy(&mut client_says, &mut pod_hears).await;
        let _ = pod_hears.shutdown().await;
    };
    tokio::select! {
        _ = &mut back => return,
        () = there => {}
    }
    let _ = wait::within("the pod to come to its end", AFTER, back).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    /// A pod whose node is gone closes nothing.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_never_ends_is_left_once_its_client_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut local, _) = listener.accept().await.unwrap();
        let (pod, _silent) = tokio::io::duplex(64);
        drop(client);
        let begun = tokio::time::Instant::now();
        between(&mut local, pod).await;
        assert!(begun.elapsed() >= AFTER && begun.elapsed() < 2 * AFTER, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_client_that_has_said_all_still_gets_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut local, _) = listener.accept().await.unwrap();
        let (pod, mut inside) = tokio::io::duplex(64);
        let answers = async {
            let mut asked = String::new();
            inside.read_to_string(&mut asked).await.unwrap();
            inside.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
            drop(inside);
        };
        let asks = async {
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
        };
        tokio::join!(between(&mut local, pod), answers, asks);
        drop(local);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "HELLO");
    }
}
