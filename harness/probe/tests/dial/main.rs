//! Every outcome of a dial, against servers on loopback; each refusal beside a dial of the same kind that
//! succeeds. Not for what a real Envoy answers: that is for the conformance tier.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod client;
mod connection;
mod hostile;
mod plain;
mod request;
mod response;
mod sent;
mod server;
mod world;
