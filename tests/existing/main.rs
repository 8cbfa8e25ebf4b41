//! A cluster that is not svidproof's own: whatever a run there does, and whenever it is killed, what is
//! somebody else's is the same afterwards, byte for byte. `run` installs beside it, `live` checks what stands.
#![allow(clippy::unwrap_used, reason = "tests")]

mod live;
mod run;
mod theirs;
