//! The signals that end a command: SIGINT, SIGTERM and SIGHUP.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves once one of them comes. They are listened for from this call on, and not from the first await on.
pub fn interrupted() -> impl Future<Output = ()> {
    let on = |kind| signal(kind).ok();
    // The terminal that was closed, or ssh that broke off, is no reason to leave a cluster either.
    let all = (on(SignalKind::interrupt()), on(SignalKind::terminate()), on(SignalKind::hangup()));
    async move {
        let (Some(mut int), Some(mut term), Some(mut hup)) = all else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}
