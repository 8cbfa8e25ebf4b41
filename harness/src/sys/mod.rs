//! The ground: what touches the machine and knows nothing of SPIFFE, Envoy or Kubernetes.

pub mod bounded;
mod chain;
pub mod dirs;
pub mod files;
#[cfg(test)]
pub(crate) mod mutated;
mod printable;
pub mod process;
pub mod progress;
pub mod signal;
pub mod terminal;
pub mod tool;
pub mod wait;

pub use chain::chain;
pub use printable::{in_a_line, printable};
