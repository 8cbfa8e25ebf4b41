//! What is talked to: the Kubernetes API, Helm, SPIRE's server, Envoy's admin interface, the probe. What is
//! made of it is others' work.

pub mod chart;
pub mod containers;
pub mod envoy;
pub mod helm;
pub mod inject;
pub mod kube;
pub mod manifest;
pub mod probe;
pub mod spire;
