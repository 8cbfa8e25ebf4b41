//! A port of a pod as a port of this machine's loopback, for what dials an address: the mTLS of a pod, where
//! there is no probe to dial it from beside.
//!
//! Each connection gets a way of its own: one that breaks leaves the others alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
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
    failure: Failure,
}

/// Why the last connection could not be carried to the pod.
type Failure = Arc<Mutex<Option<KubeError>>>;

impl Kube {
    /// Listens on a free port of the loopback; what connects there is carried to `port` of the pod.
    pub async fn forward(&self, backend: &Backend, port: u16) -> Result<Forward, KubeError> {
        let way = self.way(backend, port);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(KubeError::io(&way))?;
        let address = listener.local_addr().map_err(KubeError::io(&way))?;
        let failure = Failure::default();
        let serving = tokio::spawn(serve(listener, way, failure.clone()));
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

async fn serve(listener: TcpListener, way: Way, failure: Failure) {
    let mut streams = JoinSet::new();
    while let Ok((mut local, _)) = listener.accept().await {
        let (way, failure) = (way.clone(), failure.clone());
        streams.spawn(async move {
            if let Err(failed) = carry(&way, &mut local).await {
                // Before the connection is closed: who sees that asks for the reason.
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
            }
            drop(local);
        });
        while streams.try_join_next().is_some() {}
    }
}

/// One connection, to its end.
async fn carry(way: &Way, local: &mut TcpStream) -> Result<(), KubeError> {
    let Opened { stream, complaint, closing } = way.open().await?;
    let ended = tokio::select! {
        biased;
        Some(problem) = complaint => Err(KubeError::other(way)(problem)),
        () = between(local, stream) => Ok(()),
    };
    drop(closing);
    ended
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

    /// What is told of a connection through a forward over an API server at this address.
    async fn told_over(address: SocketAddr) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
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
        crate::sys::chain(&forward.take_failure().unwrap())
    }

    const TRIED: &str = "could not open the way to port 9901 of pod shop/web-0: ";

    #[tokio::test]
    async fn why_a_connection_was_not_carried_is_kept() {
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
