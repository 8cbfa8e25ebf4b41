//! What a user writes: one YAML file, typed. Parsing and the checks across its parts are in `parse` and
//! `validate`.
//!
//! Every path in a scenario is relative to the project's root: the nearest folder, from the file upwards,
//! that holds a `svidproof.yaml`, or, where there is none, `helm/`.

mod check;
mod client;
mod counted;
mod expand;
mod fixed;
mod forged;
mod image;
mod machine;
mod merge;
mod mistake;
mod neighbour;
mod parse;
mod place;
mod registration;
mod release;
mod schema;
mod spelled;
mod spire;
mod standing;
mod together;
mod validate;
mod written;

pub use check::{By, Check, Expect, Matrix, OneOrMany};
pub use client::{Client, FullClient, Jwt};
pub use counted::{Counted, CutOff, Kind};
pub use fixed::Fixed;
pub use forged::{Forged, Forging, Stated, Table, tables};
pub use image::OwnImage;
pub use machine::{Attest, Machine};
pub use merge::merged;
pub use mistake::Mistake;
pub use neighbour::Neighbour;
pub use parse::{ScenarioError, load, project_root, read_yaml};
pub use place::{Place, Source};
pub use registration::{Entry, Registration, Ttl};
pub use release::{Fetched, Origin, Plain, Release};
pub(crate) use schema::of as schema_of;
pub use schema::text as schema_text;
pub use spire::{FromOutside, ServerApi, Spire};
pub use standing::{Standing, Untried};
pub use together::{PROBES, probe_name, together};
pub use validate::is_label;
pub use written::written_out;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spiffe_id::spiffe_id;
use place::Node;

/// At the root of a user's repository: what svidproof needs to know of it.
pub const PROJECT: &str = "svidproof.yaml";

/// The request header that carries a cell's id, by which the application's log tells whose request came
/// through.
pub const CELL_HEADER: &str = "x-svidproof-cell";

/// One system under test.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// A DNS label.
    #[serde(rename = "scenario")]
    pub name: String,
    /// Without the scheme: `example.org`. Absent where nothing is installed: `check-live` finds it out.
    #[serde(default)]
    pub trust_domain: String,
    /// The SPIRE that issues its SVIDs. Absent where nothing is installed: `check-live` finds it.
    #[serde(default)]
    pub spire: Spire,
    /// Other trust domains that stages federate with and clients are of, by name.
    #[serde(default)]
    pub federation: BTreeMap<String, Neighbour>,
    /// Images that the nodes are given before the first wave: `shop:dev` from the container engine, an
    /// archive, `./shop.tar`, or what the engine builds, `Dockerfile:./shop` (its name is `shop:dev`) and
    /// `Dockerfile:./shop=NAME:TAG`.
    #[serde(default)]
    pub images: Vec<String>,
    /// Waves in order; the releases of one wave go side by side. Absent: all stands already.
    #[serde(default)]
    pub install: Vec<Vec<Release>>,
    /// Made as soon as the SPIRE server is ready, in whichever wave it is. Absent: by the entries that are
    /// there.
    #[serde(default)]
    pub registration: Registration,
    /// Machines outside of the cluster that clients are users of, by name.
    #[serde(default)]
    pub machines: BTreeMap<String, Machine>,
    /// What is dialled, by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Who dials, by name.
    pub clients: BTreeMap<String, Client>,
    /// What must come of each forged credential, wherever a stage dials with them.
    #[serde(default)]
    pub forged: Option<Forged>,
    /// The states of the system, in order.
    pub stages: Vec<Stage>,
    /// Faults that the scenario must notice; `svidproof verify` plants them.
    #[serde(default)]
    pub broken: Vec<Broken>,
    /// The file's own path, and the folder that its paths are relative to. Set by `load`.
    #[serde(skip)]
    pub file: PathBuf,
    /// The same as a CI system names it: see [`Source`].
    #[serde(skip)]
    pub named: PathBuf,
    /// The project: the folder that its paths are relative to.
    #[serde(skip)]
    pub root: PathBuf,
    /// The folder that holds our own charts, in `helm/`; empty where the scenario names none of them.
    #[serde(skip)]
    home: PathBuf,
    #[serde(skip)]
    made: BTreeMap<String, PathBuf>,
    /// Where things stand in the file. Set by `load`.
    #[serde(skip)]
    places: Option<Arc<Node>>,
}

impl Scenario {
    /// What is written at a place of its file.
    pub fn source(&self, place: Place) -> Source {
        Source { file: self.named.clone(), line: place.line, column: place.column }
    }

    fn place_of(&self, find: impl Fn(&Node) -> Place) -> Place {
        self.places.as_deref().map_or(Place { line: 1, column: 1 }, find)
    }

    /// Those of `images`. What is none was told when the scenario was read.
    pub fn own_images(&self) -> impl Iterator<Item = OwnImage> {
        self.images.iter().filter_map(|image| OwnImage::read(image, &self.root).ok())
    }

    /// Where a release's chart lies: where it was fetched to, or made, as soon as [`made`](Self::made) says
    /// so.
    pub fn chart(&self, release: &Release) -> PathBuf {
        match (self.made.get(&release.full_name()), release.origin()) {
            (Some(made), _) => made.clone(),
            (None, Origin::Builtin(name)) => self.home.join("helm").join(name),
            (None, _) => self.root.join(&release.chart),
        }
    }

    /// The charts that had to be fetched or made, by their releases' full names.
    #[must_use]
    pub fn made(self, charts: BTreeMap<String, PathBuf>) -> Self {
        Self { made: charts, ..self }
    }

    /// The files and folders of the project that a release is made of.
    pub fn sources(&self, release: &Release) -> Vec<PathBuf> {
        let chart = match release.origin() {
            Origin::Builtin(name) => Some(self.home.join("helm").join(name)),
            Origin::Local(path) => Some(self.root.join(path)),
            Origin::Fetched(_) | Origin::Plain => None,
        };
        let plain = self.plain(release);
        let paths = plain.iter().flat_map(Plain::paths).map(|path| self.root.join(path));
        chart.into_iter().chain(paths).chain(self.values_files(release)).collect()
    }

    /// All manifests that a release without a chart makes, in any stage and under any fault: its own first.
    pub fn plain(&self, release: &Release) -> Vec<Plain> {
        let Some(own) = release.plain() else { return vec![] };
        let all =
            self.stages.iter().map(|stage| &stage.values).chain(self.broken.iter().map(|one| &one.values));
        let meant = all.flatten().filter(|(key, _)| release.is_called(key));
        let others = meant.filter_map(|(_, values)| release.plain_in(values).ok());
        std::iter::once(own).chain(others).collect()
    }

    /// A release's values files, in their order.
    pub fn values_files(&self, release: &Release) -> Vec<PathBuf> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        release.values_files.iter().map(|path| folder.join(path)).collect()
    }

    /// The release that the manifests of `registration` make, if there are any.
    pub fn registration_release(&self) -> Option<Release> {
        let manifests = &self.registration.manifests;
        (!manifests.is_empty()).then(|| Release {
            name: format!("registration-{}", self.name),
            namespace: self.spire.namespace.clone(),
            manifests: Some(OneOrMany::Many(manifests.clone())),
            ..Release::default()
        })
    }

    /// `FILE:LINE:COLUMN` of what a release says under `key`, or of the release itself.
    pub fn place_in(&self, release: &Release, key: &str) -> String {
        let mut all = self.install.iter().enumerate().flat_map(|(wave, releases)| {
            releases.iter().enumerate().map(move |(number, one)| (wave, number, one))
        });
        let found = all.find(|(_, _, one)| one.full_name() == release.full_name());
        let place = self.place_of(|places| match found {
            Some((wave, number, _)) => places.at("install").nth(wave).nth(number).at(key).place(),
            None => places.at("registration").at("manifests").place(),
        });
        format!("{}:{}:{}", self.file.display(), place.line, place.column)
    }

    /// The releases whose pods go and come again when the stage begins.
    pub fn restarted_in(&self, stage: &Stage) -> impl Iterator<Item = &Release> {
        let named = |release: &Release| match &stage.restart {
            Restart::All(all) => *all && release.namespace != self.spire.namespace,
            Restart::Of(names) => names.iter().any(|name| release.is_called(name)),
        };
        let named: Vec<_> =
            self.install.iter().flatten().filter(|release| release.restart || named(release)).collect();
        named.into_iter()
    }

    /// The SPIFFE ID of a path in the scenario's trust domain.
    pub fn spiffe_id(&self, path: &str) -> String {
        spiffe_id(&self.trust_domain, path)
    }

    /// Whom a client's JWT-SVID is for.
    pub fn audience(&self, jwt: &Jwt) -> String {
        if jwt.audience.starts_with('/') { self.spiffe_id(&jwt.audience) } else { jwt.audience.clone() }
    }

    /// All that is reached from outside of the cluster: endpoints, and the SPIRE server.
    pub fn published(&self) -> impl Iterator<Item = Published> {
        let server = self.spire.outside.as_ref().map(|outside| outside.published);
        self.endpoints.values().filter_map(|endpoint| endpoint.published).chain(server)
    }

    /// The clients that are users of machines outside of the cluster, each with that machine's name.
    pub fn users(&self) -> impl Iterator<Item = (&Client, &str)> {
        self.clients.values().filter_map(|client| Some((client, client.machine()?)))
    }

    /// An endpoint and those behind it, nearest first, each once: where `upstream` runs in a circle, it ends
    /// before the first that would come again. Empty for an endpoint that is not defined.
    pub fn route<'a>(&'a self, endpoint: &str) -> impl Iterator<Item = &'a str> {
        let mut passed = BTreeSet::new();
        let first = self.endpoints.get_key_value(endpoint);
        std::iter::successors(first, |(_, endpoint)| {
            self.endpoints.get_key_value(endpoint.upstream.as_ref()?)
        })
        .map(|(name, _)| name.as_str())
        .take_while(move |name| passed.insert(*name))
    }
}

/// Something that is dialled.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// `namespace/name` of a Service; its ready pods are what evidence is read from.
    pub service: String,
    /// The port of the Service.
    pub port: u16,
    /// The path of the SPIFFE ID that the server must prove. Absent: plain HTTP, such as a page.
    #[serde(default)]
    pub identity: Option<String>,
    /// A DNS SAN that the server must prove as well as the SPIFFE ID; it is sent as SNI and authority.
    #[serde(default)]
    pub dns: Option<String>,
    /// The server name that clients send (SNI), where it is another.
    #[serde(default)]
    pub sni: Option<String>,
    /// How clients from outside the cluster come in.
    #[serde(default)]
    pub published: Option<Published>,
    /// The port of Envoy's admin interface on the pod's loopback. Absent: no evidence can be had there. At a
    /// plain endpoint, its counters are read only where the port that is dialled is that Envoy's own.
    #[serde(default)]
    pub admin: Option<u16>,
    /// In the place of `admin`, where nobody may read it: refusals are judged by what the client sees, and
    /// told apart.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// The name of Envoy's cluster that leads to the application: what it forwarded is counted there.
    #[serde(default)]
    pub app_cluster: Option<String>,
    /// The endpoint that this one forwards to with its own identity, where evidence of what went on counts
    /// too.
    #[serde(default)]
    pub upstream: Option<String>,
    /// The container whose log has a line with the `x-svidproof-cell` header of each request that reached the
    /// application.
    #[serde(default)]
    pub app_log: Option<String>,
}

/// What there is of evidence, where an Envoy's counters are not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// What the client saw, and its control.
    ClientSide,
}

/// How clients from outside the cluster come in.
#[derive(Debug, Clone, Copy, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Published {
    /// The port on each node; absent where the Service is of the type `LoadBalancer`, and dialled at the
    /// address that it was given.
    #[serde(default)]
    pub node_port: Option<u16>,
    /// On 127.0.0.1, where the provider is `kind`; a free one where it is absent.
    #[serde(default)]
    pub host_port: Option<u16>,
    /// Where that stands in the scenario's file. Set by `load`.
    #[serde(skip)]
    pub line: u64,
}

/// Wherever they stand.
impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        (self.node_port, self.host_port) == (other.node_port, other.host_port)
    }
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

/// One state of the system under test, and what holds in it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stage {
    /// A DNS label, unique in the scenario.
    #[serde(rename = "stage")]
    pub name: String,
    /// By release (`namespace/release` where two have that name), merged over the release's own values; each
    /// stage starts from the install values, not from the stage before.
    #[serde(default)]
    pub values: BTreeMap<String, Value>,
    /// The trust domains of the scenario's `federation` with which bundles are exchanged in it; with all
    /// others they are not.
    #[serde(default)]
    pub federation: Vec<String>,
    /// Machines whose agents the SPIRE server bans when the stage begins. Their clients then dial with what
    /// they held, once that has ended.
    #[serde(default)]
    pub banned: Vec<String>,
    /// Whose pods go and come again when the stage begins, whether or not their release is another in it.
    #[serde(default)]
    pub restart: Restart,
    /// What holds in it.
    pub checks: Vec<Check>,
    /// Where the forged credentials are tried. `load` makes checks of it.
    #[serde(default)]
    pub forged: Vec<Forging>,
    /// What is dialled without a word about what must come of it. `load` makes checks of it.
    #[serde(default)]
    pub surface: Vec<Matrix>,
}

/// Which releases' pods go and come again.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true` or a list of releases")]
pub enum Restart {
    /// Those of every release outside of the SPIRE's namespace, or only of those that say so themselves.
    All(bool),
    /// Those of these releases (`namespace/release` where two have that name).
    Of(Vec<String>),
}

impl Default for Restart {
    fn default() -> Self {
        Self::All(false)
    }
}

impl Stage {
    /// The check that must hold for `check` to count: the one that it names, or, for a gRPC call that must be
    /// denied and names none, the first that makes the same call at the same endpoint and succeeds.
    pub fn control_of<'a>(&'a self, check: &'a Check, send: &str) -> Option<&'a str> {
        let succeeds = |other: &&Check| other.expect.is_stated() && !other.expect.is_refusal();
        let same = |other: &&Check| other.to == check.to && other.send.iter().any(|one| one == send);
        let found = || Some(self.checks.iter().filter(succeeds).find(same)?.name.as_str());
        check.control.as_deref().or_else(|| check.expect.is_grpc_refusal().then(found)?)
    }
}

/// A planted fault, and the checks that must turn red.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Broken {
    /// Unique in the scenario.
    #[serde(rename = "broken")]
    pub name: String,
    /// The stage in which it is planted.
    pub stage: String,
    /// Merged over the stage's values.
    pub values: BTreeMap<String, Value>,
    /// Names of checks of that stage; each must fail, not err.
    pub red: Vec<String>,
    /// Where it stands in the file. Set by `load`.
    #[serde(skip)]
    pub place: Place,
}

/// A scenario out of a test's own text, for tests of what works on scenarios.
#[cfg(test)]
pub(crate) fn read_text(text: &str) -> Scenario {
    parse::read(text, std::path::Path::new("test.yaml"), std::path::Path::new("."))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// One client, one endpoint, one check.
#[cfg(test)]
pub(crate) fn one_check() -> Scenario {
    read_text(
        "scenario: web
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run}
install: []
registration: []
endpoints: {web: {service: a/web, port: 443, identity: /web}}
clients: {friend: /friend}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
",
    )
}
