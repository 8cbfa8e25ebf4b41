//! What a user writes: one YAML file, typed. Parsing and the checks across its parts are in `parse` and
//! `validate`.
//!
//! Every path in a scenario is relative to the project's root: the nearest folder, from the file upwards,
//! that holds `helm/`.

mod expand;
mod parse;
mod validate;

pub use parse::{Mistake, ScenarioError, load};
pub use validate::is_label;

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use svidproof_probe::protocol::{Http, TlsVersions};

use crate::forge::{self, Signer};

/// One system under test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    #[serde(rename = "scenario")]
    pub name: String,
    /// Without the scheme: `example.org`.
    pub trust_domain: String,
    pub spire: Spire,
    /// Waves in order; the releases of one wave go side by side.
    pub install: Vec<Vec<Release>>,
    /// Created as soon as the SPIRE server of the first wave is ready.
    pub registration: Vec<Entry>,
    pub endpoints: BTreeMap<String, Endpoint>,
    pub clients: BTreeMap<String, Client>,
    /// What must come of each forged credential, wherever a stage dials with them; names as in
    /// `fixtures/credentials/forged.yaml`.
    #[serde(default)]
    pub forged: BTreeMap<String, Stated>,
    pub stages: Vec<Stage>,
    /// Faults that the scenario must notice; `svidproof verify` plants them.
    #[serde(default)]
    pub broken: Vec<Broken>,
    /// The file's own path, and the folder that its paths are relative to. Set by `load`.
    #[serde(skip)]
    pub file: PathBuf,
    #[serde(skip)]
    pub root: PathBuf,
}

/// Where the scenario's SPIRE stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spire {
    pub namespace: String,
    /// The server's StatefulSet; its first pod is asked to create entries.
    pub server: String,
    #[serde(default = "default_server_container")]
    pub container: String,
    /// The ConfigMap to which the server publishes its bundle under the key `bundle.crt`; waited for before
    /// the second wave.
    #[serde(default)]
    pub bundle: Option<String>,
    /// The Secret from which the server takes its upstream CA. svidproof makes both, and keeps the CA to
    /// forge credentials with.
    #[serde(default)]
    pub authority_secret: Option<String>,
    /// The host directory in which the agent's `agent.sock` stands; the probe mounts it.
    pub socket_dir: String,
}

fn default_server_container() -> String {
    "spire-server".into()
}

/// One Helm release.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    #[serde(rename = "release")]
    pub name: String,
    /// A folder, relative to the root.
    pub chart: PathBuf,
    pub namespace: String,
    #[serde(default)]
    pub values: Value,
}

/// A registration entry, as `spire-server entry create` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// The path part of the SPIFFE ID: `/ns/default/sa/default/backend`.
    pub id: String,
    /// `type:value` each: `k8s:ns:default`.
    pub select: Vec<String>,
    /// A node alias: its parent is the server, and the other entries' parent is it.
    #[serde(default)]
    pub node: bool,
    /// DNS SANs.
    #[serde(default)]
    pub dns: Vec<String>,
}

/// Something that is dialled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// `namespace/name` of a Service; its ready pods are what evidence is read from.
    pub service: String,
    pub port: u16,
    /// The path of the SPIFFE ID that the server must prove. Absent: plain HTTP (a page), fetched through the
    /// API server.
    #[serde(default)]
    pub identity: Option<String>,
    /// A DNS SAN that the server must prove as well as the SPIFFE ID; it is sent as SNI and authority.
    #[serde(default)]
    pub dns: Option<String>,
    /// How clients from outside the cluster come in.
    #[serde(default)]
    pub published: Option<Published>,
    /// The port of Envoy's admin interface on the pod's loopback. Absent: no evidence can be had there. At a
    /// page, it is only asked whether Envoy has found the upstream's pods.
    #[serde(default)]
    pub admin: Option<u16>,
    /// The name of Envoy's cluster that leads to the application: what it forwarded is counted there.
    #[serde(default = "default_app_cluster")]
    pub app_cluster: String,
    /// The endpoint that this one forwards to with its own identity, where evidence of what went on counts
    /// too.
    #[serde(default)]
    pub upstream: Option<String>,
    /// The container whose log has a line with the `x-svidproof-cell` header of each request that reached the
    /// application.
    #[serde(default)]
    pub app_log: Option<String>,
}

fn default_app_cluster() -> String {
    "local_service".into()
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Published {
    pub node_port: u16,
    /// On 127.0.0.1, where the provider is `kind`; a free one where it is absent.
    #[serde(default)]
    pub host_port: Option<u16>,
    /// Where that stands in the scenario's file. Set by `load`.
    #[serde(skip)]
    pub line: u64,
}

impl Endpoint {
    /// Plain HTTP: no identity is proved, no client certificate is asked for.
    pub fn is_plain(&self) -> bool {
        self.identity.is_none()
    }

    /// Whether its Envoy's counters are read and judged.
    pub fn gives_evidence(&self) -> bool {
        self.admin.is_some() && !self.is_plain()
    }
}

/// Who dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// `none` for nobody, or the path of a SPIFFE ID, attested for the probe in the cluster.
    Short(String),
    Full(FullClient),
    /// One that a scenario does not declare: it comes of a stage's `forged`.
    Forged {
        credential: String,
        /// The path of the SPIFFE ID of the client that it is made like.
        like: String,
    },
}

impl Client {
    /// The path of the SPIFFE ID that was attested for it; `None` for nobody and for a forged credential.
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Short(id) | Self::Full(FullClient { id, .. }) => (id != NOBODY).then_some(id),
            Self::Forged { .. } => None,
        }
    }

    /// Whether no certificate is presented.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Forged { credential, .. } => {
                forge::RECIPES.get(credential).is_some_and(|recipe| recipe.signer == Signer::None)
            }
            attested => attested.identity().is_none(),
        }
    }

    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Full(FullClient { outside: true, .. }))
    }
}

/// How a scenario writes a client without a certificate.
const NOBODY: &str = "none";

/// By hand, not `untagged`: that would take line, column and the wrong key out of an error in the full form.
impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClientVisitor;
        impl<'de> Visitor<'de> for ClientVisitor {
            type Value = Client;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("`none`, the path of a SPIFFE ID, or a map with `id`")
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Client, E> {
                Ok(Client::Short(id.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Client, A::Error> {
                FullClient::deserialize(MapAccessDeserializer::new(map)).map(Client::Full)
            }
        }
        deserializer.deserialize_any(ClientVisitor)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullClient {
    /// As in the short form.
    pub id: String,
    /// Dial from where svidproof runs, through the endpoint's published port, with an SVID carried out of the
    /// cluster.
    #[serde(default)]
    pub outside: bool,
    /// `namespace/pod-label-app`: carry the SVID out of this workload's pod, by its own spire-agent; else out
    /// of the probe.
    #[serde(default)]
    pub from: Option<String>,
}

/// One state of the system under test, and what holds in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stage {
    #[serde(rename = "stage")]
    pub name: String,
    /// By release, merged over the release's own values; each stage starts from the install values, not from
    /// the stage before.
    #[serde(default)]
    pub values: BTreeMap<String, Value>,
    pub checks: Vec<Check>,
    /// Where the forged credentials are tried. `load` makes checks of it.
    #[serde(default)]
    pub forged: Vec<Forging>,
    /// What is dialled without a word about what must come of it. `load` makes checks of it.
    #[serde(default)]
    pub surface: Vec<Matrix>,
}

/// All forged credentials at one endpoint, with TLS 1.2 and 1.3 each, and with each the sound one as their
/// control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forging {
    pub to: String,
    /// A client that the endpoint lets in.
    pub like: String,
    /// A request of that client's that is answered with 200.
    pub send: String,
    /// Where something else must come of a credential here than the scenario's `forged` says.
    #[serde(default)]
    pub but: BTreeMap<String, Stated>,
}

/// What must come of a forged credential. Exactly one of `status` and `alert` is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stated {
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default)]
    pub alert: Option<AlertName>,
    /// Where the alert does not tell it.
    #[serde(default)]
    pub counts: Option<Kind>,
    #[serde(default)]
    pub finding: Option<String>,
}

/// Every client with every request at every endpoint. What comes of it is for the snapshot to say; that it
/// could be judged is checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Matrix {
    #[serde(rename = "surface")]
    pub name: String,
    #[serde(rename = "as")]
    pub clients: OneOrMany,
    pub to: OneOrMany,
    pub methods: OneOrMany,
    /// Request targets, as in `send`.
    pub paths: OneOrMany,
    #[serde(default = "default_http")]
    pub http: Vec<Http>,
    /// Sets of request headers, one set a request.
    #[serde(default = "default_headers")]
    pub headers: Vec<BTreeMap<String, String>>,
}

fn default_http() -> Vec<Http> {
    vec![Http::default()]
}

fn default_headers() -> Vec<BTreeMap<String, String>> {
    vec![BTreeMap::new()]
}

/// A client, an endpoint, a request, what is expected and, for a refusal, the control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    #[serde(rename = "check")]
    pub name: String,
    /// One client, or several: the check is then made for each.
    #[serde(rename = "as")]
    pub clients: OneOrMany,
    pub to: String,
    /// `METHOD TARGET`, one or several.
    pub send: OneOrMany,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub tls: TlsVersions,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub expect: Expect,
    /// The name of a check of the same stage that must pass for this refusal to count.
    #[serde(default)]
    pub control: Option<String>,
    /// What a reader should know about this: it is as expected, and yet not as it should be.
    #[serde(default)]
    pub finding: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// What must be seen. At most one of `status` and `alert` is there, and in a check that a user writes exactly
/// one; the rest narrows it down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A TLS alert by its RFC 8446 name or its number. In TLS 1.2, `certificate_required` is
    /// `handshake_failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertName>,
    /// What the server counts with the alert, where the alert does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Kind>,
    /// The body, parsed as JSON, equals this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The whole body; `""` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// How often each text stands in the body.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub count: BTreeMap<String, usize>,
    /// Header names in lower case, and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What the endpoint's `upstream` must have counted for this one request, if it is not the request
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Counted>,
}

impl Expect {
    /// Whether anything is: a cell of a surface only has to be judged.
    pub fn is_stated(&self) -> bool {
        self.alert.is_some() || self.status.is_some()
    }

    /// Whether the client must be turned away: by a TLS alert, or by an HTTP status of 400 or more.
    pub fn is_refusal(&self) -> bool {
        self.alert.is_some() || self.status.is_some_and(|status| status >= 400)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected the name of a TLS alert, such as certificate_required, or its number"
)]
pub enum AlertName {
    Number(u8),
    Name(String),
}

/// Events at an enforcing Envoy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Counted {
    /// Handshakes without a certificate: `ssl.fail_verify_no_cert`.
    #[serde(default)]
    pub no_cert: u64,
    /// Handshakes with a SAN that is not on the list: `ssl.fail_verify_san`.
    #[serde(default)]
    pub san: u64,
    /// Handshakes with a chain that does not verify: `ssl.fail_verify_error`.
    #[serde(default)]
    pub chain: u64,
    /// Requests that the RBAC filter denied: `http.*.rbac.denied`.
    #[serde(default)]
    pub denied: u64,
    /// Requests that went on to the application: `cluster.*.upstream_rq_total`.
    #[serde(default)]
    pub forwarded: u64,
    /// Handshakes that broke off for another reason than the client's certificate: `ssl.connection_error`.
    #[serde(default)]
    pub broken: u64,
    /// Requests that the RBAC filter allowed: `http.*.rbac.allowed`. Nobody writes it down: it is what was
    /// forwarded, where there is a filter.
    #[serde(default, skip_deserializing)]
    pub allowed: u64,
}

/// The counter that a refused handshake moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    NoCert,
    San,
    Chain,
    Broken,
}

impl Kind {
    pub fn once(self) -> Counted {
        let none = Counted::default();
        match self {
            Self::NoCert => Counted { no_cert: 1, ..none },
            Self::San => Counted { san: 1, ..none },
            Self::Chain => Counted { chain: 1, ..none },
            Self::Broken => Counted { broken: 1, ..none },
        }
    }
}

impl std::ops::Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Counted {
    /// What was counted in between. An Envoy that was restarted meanwhile counts from 0 again: its account
    /// then does not agree, which is right.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            no_cert: both(self.no_cert, other.no_cert),
            san: both(self.san, other.san),
            chain: both(self.chain, other.chain),
            denied: both(self.denied, other.denied),
            forwarded: both(self.forwarded, other.forwarded),
            broken: both(self.broken, other.broken),
            allowed: both(self.allowed, other.allowed),
        }
    }
}

/// A planted fault, and the checks that must turn red.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broken {
    #[serde(rename = "broken")]
    pub name: String,
    pub stage: String,
    /// Merged over the stage's values.
    pub values: BTreeMap<String, Value>,
    /// Names of checks of that stage; each must fail, not err.
    pub red: Vec<String>,
}

/// A scenario out of a test's own text, for tests of what works on scenarios.
#[cfg(test)]
pub(crate) fn read_text(text: &str) -> Scenario {
    parse::read(text, std::path::Path::new("test.yaml"), std::path::Path::new("."))
        .unwrap_or_else(|error| panic!("{error}"))
}
