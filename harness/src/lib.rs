//! svidproof proves who may talk to whom: a conformance harness for SPIFFE identities and Envoy on Kubernetes.
//!
//! One direction: a scenario and a provider make a session; a stage of it is planned, dialled and judged; the report says what was seen.

pub mod alert;
pub mod cli;
pub mod dirs;
pub mod draft;
pub mod engine;
pub mod envoy;
pub mod fault;
pub mod forge;
pub mod helm;
pub mod images;
pub mod judge;
pub mod kube;
pub mod lease;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod provider;
pub mod report;
pub mod scenario;
pub mod session;
pub mod spire;
pub mod stage;
pub mod surface;
pub mod terraform;
pub mod tool;
pub mod verdict;
pub mod wait;
pub mod watch;
