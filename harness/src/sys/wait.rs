//! The only place that waits. Each wait says what it waits for, and, when it gives up, the last status that
//! it saw.

use std::time::Duration;

use futures::Stream;
use tokio::time::Instant;

/// What one look at the world found.
#[derive(Debug)]
pub enum Look<T, E> {
    /// It is there.
    Ready(T),
    /// Not there yet; the text becomes the wait's last status.
    NotYet(String),
    /// It will never be there: the wait ends at once.
    Fatal(E),
}

/// A wait that was given up: for what, how long, and what was last seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gave up waiting for {what} after {} s; last status: {status}", .waited.as_secs())]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// What was seen last.
    pub status: String,
}

/// Why a wait ended without what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// It was not there in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// It will never be there.
    #[allow(missing_docs, reason = "the message says what it is about")]
    #[error("waiting for {what}")]
    Fatal { what: String, source: E },
}

/// Looks again and again, for what offers no event to wait on. `every` is the pause between two looks. One
/// look may take as long as the whole wait, and is given up then.
pub async fn poll<T, E>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> Look<T, E>,
) -> Result<T, WaitError<E>> {
    let begun = Instant::now();
    let mut status = String::from("nothing was seen");
    loop {
        status = match tokio::time::timeout(limit, look()).await {
            Ok(Look::Ready(value)) => return Ok(value),
            Ok(Look::Fatal(source)) => return Err(WaitError::Fatal { what: what.into(), source }),
            Ok(Look::NotYet(status)) => status,
            Err(_) => format!("{status}; the last look got no answer"),
        };
        if begun.elapsed() >= limit {
            return Err(TimedOut { what: what.into(), waited: begun.elapsed(), status }.into());
        }
        #[allow(clippy::disallowed_methods, reason = "this is the place")]
        tokio::time::sleep(every).await;
    }
}

/// Takes events from `next` until one makes `look` ready. The status in a time-out is that of the last event.
pub async fn events<V, T, E>(
    what: &str,
    limit: Duration,
    mut next: impl AsyncFnMut() -> Result<V, E>,
    mut look: impl FnMut(V) -> Look<T, E>,
) -> Result<T, WaitError<E>> {
    let begun = Instant::now();
    let mut status = String::from("nothing was seen");
    loop {
        let rest = limit.saturating_sub(begun.elapsed());
        let Ok(event) = tokio::time::timeout(rest, next()).await else {
            return Err(TimedOut { what: what.into(), waited: begun.elapsed(), status }.into());
        };
        match event.map(&mut look) {
            Ok(Look::Ready(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => status = seen,
            Ok(Look::Fatal(source)) | Err(source) => {
                return Err(WaitError::Fatal { what: what.into(), source });
            }
        }
    }
}

/// Bounds work that has a way of its own to wait.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    let timed = tokio::time::timeout(limit, work).await;
    timed.map_err(|_| TimedOut { what: what.into(), waited: limit, status: "it is still under way".into() })
}

/// Tells that time goes by, for a look whose answer changes with it.
pub fn ticks(every: Duration) -> impl Stream<Item = ()> {
    futures::stream::unfold(tokio::time::interval(every), async |mut ticks| {
        ticks.tick().await;
        Some(((), ticks))
    })
}

/// What follows `first` until there was nothing for `quiet`, or until `limit` has passed. Also ends where
/// `next` has no more.
pub async fn burst<V>(
    first: V,
    quiet: Duration,
    limit: Duration,
    mut next: impl AsyncFnMut() -> Option<V>,
) -> Vec<V> {
    let begun = Instant::now();
    let mut all = vec![first];
    while let Ok(Some(event)) =
        tokio::time::timeout(quiet.min(limit.saturating_sub(begun.elapsed())), next()).await
    {
        all.push(event);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_gives_up_says_the_last_status() {
        let mut looks = 0;
        let result = poll("the moon", Duration::from_secs(3), Duration::from_secs(1), async || {
            looks += 1;
            Look::<(), String>::NotYet(format!("look {looks}"))
        });
        let error = result.await.unwrap_err().to_string();
        assert!(
            error.starts_with("gave up waiting for the moon after") && error.contains("last status: look "),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_never_comes_back_is_given_up() {
        let look = async || std::future::pending::<Look<(), String>>().await;
        let error = poll("the moon", Duration::from_secs(3), Duration::from_secs(1), look).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up waiting for the moon after 3 s; last status: nothing was seen; the last look got no answer"
        );
    }

    #[tokio::test]
    async fn a_fatal_look_ends_the_wait_at_once() {
        let gone = || std::io::Error::other("it is gone");
        let error =
            poll("the moon", Duration::MAX, Duration::ZERO, async || Look::<(), _>::Fatal(gone())).await;
        assert_eq!(crate::sys::chain(&error.unwrap_err()), "waiting for the moon: it is gone");
    }

    #[tokio::test]
    async fn events_are_taken_until_one_is_ready() {
        let mut numbers = 0..;
        let next = async || Ok::<_, String>(numbers.next().unwrap());
        let found = events("three", Duration::from_secs(5), next, |n| {
            if n == 3 { Look::Ready(n) } else { Look::NotYet(n.to_string()) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_never_come_time_out() {
        let next = async || std::future::pending::<Result<(), String>>().await;
        let error =
            events("rain", Duration::from_secs(2), next, |()| Look::<(), _>::Ready(())).await.unwrap_err();
        assert_eq!(error.to_string(), "gave up waiting for rain after 2 s; last status: nothing was seen");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_bounded() {
        let error =
            within("the flood", Duration::from_secs(2), std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up waiting for the flood after 2 s; last status: it is still under way"
        );
        assert_eq!(within("", Duration::from_secs(2), async { 1 }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_goes_by_is_told() {
        let begun = Instant::now();
        let mut ticks = std::pin::pin!(ticks(Duration::from_secs(3)));
        for _ in 0..3 {
            futures::StreamExt::next(&mut ticks).await.unwrap();
        }
        assert_eq!(begun.elapsed().as_secs(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_ends_with_the_first_pause() {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        send.send(2).unwrap();
        let all =
            burst(1, Duration::from_millis(100), Duration::from_secs(2), async || receive.recv().await).await;
        assert_eq!(all, [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_without_a_pause_ends_with_its_limit() {
        let mut ticks = tokio::time::interval(Duration::from_millis(60));
        let first = ticks.tick().await;
        let all = burst(first, Duration::from_millis(100), Duration::from_secs(2), async || {
            Some(ticks.tick().await)
        })
        .await;
        assert!((30..40).contains(&all.len()), "{}", all.len());
    }
}
