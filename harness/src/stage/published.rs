//! Whether what an endpoint is published at leads to it already: a Service knows its new pods a moment before
//! the node forwards to them, and who dials from outside in that moment is shut out by the node.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Opened;
use crate::sys::wait::{self, Look};

/// kube-proxy writes what changed within a second, on a busy machine within a few.
const LONGEST: Duration = Duration::from_secs(10);
/// A connection that leads nowhere is closed at once by who took it: docker's proxy, or a load balancer.
const HELD: Duration = Duration::from_millis(200);

impl Opened<'_> {
    /// Waits until each place that is dialled from outside holds a connection. One that never does may be
    /// meant so: the dials will tell.
    pub(super) async fn forwarded(&self) {
        let outside = self.cells.iter().filter(|cell| self.targets.contains_key(&cell.endpoint));
        let outside = outside.filter(|cell| self.is_dialled_from(cell, true));
        let names: BTreeSet<_> = outside.map(|cell| cell.endpoint.as_str()).collect();
        let places = names.into_iter().filter_map(|name| self.outside(name, &self.targets[name]).ok());
        join_all(places.map(async |address| held(&address, LONGEST).await)).await;
    }
}

/// Waits until a connection to the address stays. Returns whether one did.
async fn held(address: &str, limit: Duration) -> bool {
    let look = async || match tokio::time::timeout(limit, connection(address)).await {
        Ok(Ok(())) => Look::<_, Infallible>::Ready(()),
        Ok(Err(why)) => Look::NotYet(why),
        Err(_) => Look::NotYet("no connection is taken".into()),
    };
    let what = format!("{address} to lead to its pods");
    wait::poll(&what, limit, Duration::from_millis(50), look).await.is_ok()
}

/// One that is there for a moment, or on which something is said.
async fn connection(address: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    match tokio::time::timeout(HELD, stream.read(&mut [0])).await {
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0)) => Err("it is closed at once".into()),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Lets so many connections go before it holds one.
    async fn shuts(number: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for _ in 0..number {
                drop(listener.accept().await);
            }
            let held = listener.accept().await;
            std::future::pending::<()>().await;
            drop(held);
        });
        address
    }

    #[tokio::test]
    async fn a_port_that_shuts_a_few_times_is_waited_for() {
        assert!(held(&shuts(0).await, LONGEST).await);
        assert!(held(&shuts(3).await, LONGEST).await);
    }

    #[tokio::test]
    async fn one_that_always_shuts_is_given_up() {
        let limit = Duration::from_millis(100);
        assert!(!held(&shuts(usize::MAX).await, limit).await);
        assert!(!held("127.0.0.1:1", limit).await);
    }
}
