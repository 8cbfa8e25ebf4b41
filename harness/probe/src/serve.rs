//! The in-cluster binary's conversation: calls in, replies out, one JSON object a line. Not for where the
//! lines come from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dial;
use crate::identities::Identities;
use crate::protocol::{Answer, Ask, Call, Reply};

/// Dials under way at once. A dial that TLS 1.3 lets in mostly waits, for a refusal that does not come; and
/// few enough that a refusal is not late for want of a processor.
const AT_ONCE: usize = 128;

/// Answers calls until the input ends and every answer is written.
pub async fn serve(
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin,
    identities: Identities,
) -> io::Result<()> {
    let (replies, answered) = mpsc::channel(AT_ONCE);
    tokio::try_join!(take(input, replies, identities), write(output, answered)).map(|_| ())
}

/// Starts what each line asks for; returns when all of it is done.
async fn take(
    input: impl AsyncBufRead + Unpin,
    replies: mpsc::Sender<Reply>,
    identities: Identities,
) -> io::Result<()> {
    let dials = Arc::new(Semaphore::new(AT_ONCE));
    let mut lines = input.lines();
    let mut calls = JoinSet::new();
    while let Some(line) = lines.next_line().await? {
        let (replies, identities, dials) = (replies.clone(), identities.clone(), dials.clone());
        calls.spawn(async move {
            let reply = match serde_json::from_str(&line) {
                Ok(Call { id, ask }) => Reply { id, answer: answer(ask, &identities, &dials).await },
                Err(e) => Reply { id: 0, answer: Answer::Error(format!("the line is not a call: {e}")) },
            };
            // There is nobody to tell once the writer is gone; `write` returned its error then.
            let _ = replies.send(reply).await;
        });
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
    Ok(())
}

async fn answer(ask: Ask, identities: &Identities, dials: &Semaphore) -> Answer {
    match ask {
        Ask::Dial(asked) => {
            // Never closed, so never refused.
            let _permit = dials.acquire().await;
            Answer::Observed(dial(&asked, identities).await)
        }
        Ask::Await { ids, timeout_ms } => {
            match identities.await_all(&ids, Duration::from_millis(timeout_ms)).await {
                Ok(ids) => Answer::Held { ids },
                Err(e) => Answer::Error(e.to_string()),
            }
        }
        Ask::Reach { address, timeout_ms } => reach(&address, Duration::from_millis(timeout_ms)).await,
        Ask::Fetch { id } => {
            identities.fetch(&id).map_or_else(|e| Answer::Error(e.to_string()), Answer::Svid)
        }
        Ask::Jwt { id, audience } => {
            identities.jwt(&id, &audience).await.map_or_else(|e| Answer::Error(e.to_string()), Answer::Jwt)
        }
    }
}

async fn reach(address: &str, limit: Duration) -> Answer {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Answer::Reached,
        Ok(Err(e)) => Answer::Error(format!("connecting to {address}: {e}")),
        Err(_) => {
            Answer::Error(format!("connecting to {address}: no answer within {} ms", limit.as_millis()))
        }
    }
}

/// Writes each reply as it comes, flushed whenever none is waiting.
async fn write(mut output: impl AsyncWrite + Unpin, mut replies: mpsc::Receiver<Reply>) -> io::Result<()> {
    while let Some(reply) = replies.recv().await {
        let mut line = serde_json::to_vec(&reply)?;
        line.push(b'\n');
        output.write_all(&line).await?;
        if replies.is_empty() {
            output.flush().await?;
        }
    }
    output.flush().await
}
