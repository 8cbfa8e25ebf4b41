//! What stands between svidproof and the API server on the machine's loopback, and can be silent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Puts the kubeconfig back when it is dropped.
pub(crate) struct Relay {
    kubeconfig: PathBuf,
    before: String,
    frozen: Arc<(AtomicBool, Notify)>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// Between whoever reads this kubeconfig and the server that it names.
    pub(crate) fn before(kubeconfig: &Path) -> Self {
        let before = std::fs::read_to_string(kubeconfig).unwrap();
        let server = before.lines().find_map(|line| line.trim().strip_prefix("server: https://")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap().to_string();
        std::fs::write(kubeconfig, before.replace(server, &here)).unwrap();
        let frozen = Arc::new((AtomicBool::new(false), Notify::new()));
        let serving = tokio::spawn(serve(listener, server.to_owned(), Arc::clone(&frozen)));
        Self { kubeconfig: kubeconfig.into(), before, frozen, serving }
    }

    /// From now on the connections that there are carry nothing, and stay. New ones are carried.
    pub(crate) fn freeze(&self) {
        self.frozen.0.store(true, Ordering::SeqCst);
        self.frozen.1.notify_waiters();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
        std::fs::write(&self.kubeconfig, &self.before).unwrap();
    }
}

async fn serve(listener: std::net::TcpListener, server: String, frozen: Arc<(AtomicBool, Notify)>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let mut carried = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let (server, frozen) = (server.clone(), Arc::clone(&frozen));
        carried.spawn(async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            let was = frozen.0.load(Ordering::SeqCst);
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                () = frozen.1.notified(), if !was => std::future::pending().await,
            }
        });
    }
}
