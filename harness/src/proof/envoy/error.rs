//! Why an Envoy's configuration says nothing of a port: the user's mistake, or what is not understood.

/// Why a port of an Envoy cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ConfigError {
    #[error("what Envoy tells of its configuration is not understood: {0}")]
    Dump(String),
    /// The user's mistake: the admin interface is another Envoy's, or the port is.
    #[error("this Envoy has no listener on port {port}{}", listening(listeners))]
    NoListener { port: u16, listeners: Vec<String> },
    /// The user's mistake.
    #[error("this Envoy has no cluster `{name}`: it has {}", known.join(", "))]
    NoCluster { name: String, known: Vec<String> },
    /// Counting there is not understood, so nothing that is counted there is proof.
    #[error("{0}")]
    Unexplained(String),
}

impl ConfigError {
    /// Whether what the scenario names is not there.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::NoListener { .. } | Self::NoCluster { .. })
    }
}

fn listening(listeners: &[String]) -> String {
    if listeners.is_empty() { ", and no other".into() } else { format!(": it has {}", listeners.join(", ")) }
}
