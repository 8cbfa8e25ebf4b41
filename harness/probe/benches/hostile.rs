//! How much memory a hostile answer takes: each kind of it, by 128 dials at once, as a probe makes them,
//! client and server on this machine. Run by hand, a process for each kind, since a peak is the whole
//! process's:
//! `cargo bench -p svidproof-probe --bench hostile -- KIND`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program run by hand")]

#[path = "../tests/fixture/asked.rs"]
mod asked;
#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::time::Instant;

use asked::asked;
use fixture::{Authority, BACKEND, FRONTEND, config, listen_tls};
use svidproof_probe::protocol::Outcome;
use svidproof_probe::{Identities, dial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

const AT_ONCE: usize = 128;
const KINDS: [&str; 4] = ["hello", "body", "headers", "chain"];

#[tokio::main]
async fn main() {
    let kind = std::env::args().find(|argument| KINDS.contains(&argument.as_str()));
    let Some(kind) = kind else {
        println!("which of them? {}", KINDS.join(", "));
        return;
    };
    let authority = Authority::new("example.org");
    let (mut backend, frontend) = (authority.svid(BACKEND), authority.svid(FRONTEND));
    if kind == "chain" {
        backend.chain = vec![backend.chain[0].clone(); (1 << 20) / backend.chain[0].len()];
    }
    let mut config = config(&backend, authority.required());
    config.alpn_protocols.clear();
    let head: &'static [u8] = match kind.as_str() {
        "body" => b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n",
        "headers" => {
            let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
            format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n").leak().as_bytes()
        }
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    };
    let is_long = kind == "body";
    let address = listen_tls(config, move |mut stream: TlsStream<TcpStream>| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(head).await;
        let part = vec![b'x'; 1 << 16];
        let mut left = if is_long { 1600 } else { 0 };
        while left > 0 && stream.write_all(&part).await.is_ok() {
            left -= 1;
        }
        let _ = stream.shutdown().await;
    })
    .await;
    let asked = asked(address, &authority, frontend);
    let begun = Instant::now();
    let dials = (0..AT_ONCE).map(|_| {
        let asked = asked.clone();
        tokio::spawn(async move { dial(&asked, &Identities::none()).await })
    });
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for one in futures::future::join_all(dials).await {
        let words = match one.unwrap().outcome {
            Outcome::Response { status, body, body_cut, .. } => {
                format!("{status} with {} bytes{}", body.len(), if body_cut { ", cut" } else { "" })
            }
            other => format!("{other:?}"),
        };
        *seen.entry(words).or_default() += 1;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{kind}: {AT_ONCE} dials in {:.1} s; {peak}; {seen:?}", begun.elapsed().as_secs_f64());
}
