//! Where a scenario's SPIRE stands: the server and its API, the bundle that it publishes, the agent's socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Published;

/// Where the scenario's SPIRE stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spire {
    /// Where the server stands.
    pub namespace: String,
    /// The server's StatefulSet or Deployment; `deployment/NAME` or `statefulset/NAME` where there are both.
    pub server: String,
    /// The server's container.
    #[serde(default = "default_container")]
    pub container: String,
    /// The server's program in that container.
    #[serde(default = "default_binary")]
    pub binary: String,
    /// The socket of the server's API in that container (SPIRE server configuration, `socket_path`). Absent:
    /// where the program itself looks for it.
    #[serde(default)]
    pub api_socket: Option<String>,
    /// The ConfigMap to which the server publishes its bundle, or `NAMESPACE/NAME`; waited for, until it
    /// holds what the server's API says, before the wave after the server's.
    #[serde(default)]
    pub bundle: Option<String>,
    /// The key of that ConfigMap. Its text is PEM or a SPIFFE bundle (JWKS).
    #[serde(default = "default_bundle_key")]
    pub bundle_key: String,
    /// The Secret from which the server takes its upstream CA. svidproof makes both, and keeps the CA to
    /// forge credentials with.
    #[serde(default)]
    pub authority_secret: Option<String>,
    /// The Secret from which the server takes the CA that certificates of `machines` with `attest: x509pop`
    /// must be of (key `ca.crt`). svidproof makes both.
    #[serde(default)]
    pub x509pop_secret: Option<String>,
    /// How agents outside of the cluster reach the server; for `machines`.
    #[serde(default)]
    pub outside: Option<FromOutside>,
    /// The host directory in which the agent's socket stands; the probe mounts it.
    #[serde(default)]
    pub socket_dir: Option<String>,
    /// In the place of `socket-dir`: the CSI driver by which pods are given that directory.
    #[serde(default)]
    pub csi: Option<String>,
    /// The socket's name in that directory.
    #[serde(default = "default_socket_file")]
    pub socket_file: String,
}

/// How a SPIRE server is reached from outside of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FromOutside {
    /// `namespace/name` of a Service that leads to the server.
    pub service: String,
    /// The port of that Service.
    pub port: u16,
    /// As an endpoint's.
    pub published: Published,
}

pub(super) fn default_container() -> String {
    "spire-server".into()
}

pub(super) fn default_binary() -> String {
    "/opt/spire/bin/spire-server".into()
}

fn default_bundle_key() -> String {
    "bundle.crt".into()
}

fn default_socket_file() -> String {
    "agent.sock".into()
}

impl Spire {
    /// Whether the scenario says where it stands.
    pub fn is_stated(&self) -> bool {
        *self != Self::default()
    }

    /// Where its server is asked.
    pub fn api(&self) -> ServerApi {
        ServerApi {
            namespace: self.namespace.clone(),
            server: self.server.clone(),
            container: self.container.clone(),
            binary: self.binary.clone(),
            api_socket: self.api_socket.clone(),
        }
    }

    /// Namespace and name of the ConfigMap with the bundle.
    pub fn bundle(&self) -> Option<(&str, &str)> {
        let bundle = self.bundle.as_deref()?;
        Some(bundle.split_once('/').unwrap_or((&self.namespace, bundle)))
    }
}

/// Where a SPIRE server's API is asked: by its own program, in its own container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerApi {
    /// Where the server stands.
    pub namespace: String,
    /// Its workload, as [`Spire::server`] has it.
    pub server: String,
    /// Its container.
    pub container: String,
    /// Its program there.
    #[serde(default = "default_binary")]
    pub binary: String,
    /// The API's socket there; absent: where the program looks for it.
    #[serde(default)]
    pub api_socket: Option<String>,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::beside_the_server("bundle: trust", Some(("spire", "trust")))]
    #[case::elsewhere("bundle: system/trust", Some(("system", "trust")))]
    #[case::nowhere("csi: csi.spiffe.io", None)]
    fn a_bundle_stands_where_it_says(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
        let spire: Spire =
            serde_saphyr::from_str(&format!("{{namespace: spire, server: spire-server, {text}}}")).unwrap();
        assert_eq!(spire.bundle(), expected);
    }

    /// A run of before has entries to be deleted too.
    #[test]
    fn a_server_of_before_is_asked_as_before() {
        let old = r#"{"namespace": "spire", "server": "spire-server", "container": "main"}"#;
        let api: ServerApi = serde_json::from_str(old).unwrap();
        assert_eq!((api.binary.as_str(), api.api_socket), ("/opt/spire/bin/spire-server", None));
    }
}
