//! svidproof proves who may talk to whom: a conformance harness for SPIFFE identities and Envoy on
//! Kubernetes.
//!
//! One direction: a scenario and a provider make a session; a stage of it is planned, dialled and judged; the
//! report says what was seen.

pub mod alert;
pub mod bundle;
pub mod cli;
pub mod cluster;
pub mod data;
pub mod draft;
pub mod engine;
pub mod forge;
pub mod halt;
pub mod history;
pub mod images;
pub mod lease;
pub mod project;
pub mod proof;
pub mod provider;
pub mod redact;
pub mod report;
pub mod scenario;
pub mod session;
pub mod spiffe_id;
pub mod stage;
pub mod suite;
pub mod surface;
pub mod sys;
