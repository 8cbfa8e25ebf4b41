//! One mTLS dial, observed. [`dial()`] connects, completes the TLS handshake, reads before it writes, sends
//! at most one request, and says what it saw.
//!
//! Not for judging: whether an [`Observation`] is right is for the caller to say. Nothing here retries, and
//! nothing outlives a dial.

mod credential;
mod dial;
mod exchange;
#[cfg(test)]
#[path = "../tests/fixture/mod.rs"]
mod fixture;
mod identities;
mod message;
mod outcome;
mod plain;
pub mod protocol;
mod serve;
mod tls;
mod verify;
mod wire;

pub use dial::dial;
pub use identities::{Identities, IdentityError};
pub use protocol::{Dial, Observation};
pub use serve::serve;
