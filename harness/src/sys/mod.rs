//! The ground: what touches the machine and knows nothing of SPIFFE, Envoy or Kubernetes.

pub mod dirs;
pub mod progress;
pub mod tool;
pub mod wait;
