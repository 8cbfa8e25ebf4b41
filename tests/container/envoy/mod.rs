//! A real Envoy with an nginx behind it, in containers, as in a pod; dialled from outside, and asked for its
//! own account.

pub(crate) mod config;
mod credentials;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use futures::future::join_all;
use svidproof::cluster::envoy::{Counters, counted};
use svidproof::engine::NETWORK;
use svidproof::proof::judge::{self, Evidence, Judged};
use svidproof::proof::plan::{Cell, CellId, plan};
use svidproof::scenario::{self, Scenario};
use svidproof::sys::wait::{self, Look};
use svidproof_probe::protocol::{Credential, Dial, Observation, Request, ServerProof, TrustAnchors};
use svidproof_probe::{Identities, dial};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{
    ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, ImageExt, TestcontainersError,
};
use tokio::io::AsyncBufReadExt;

use config::{ADMIN, APPLICATION, FOLDER, Listener, NOBODY_HOME, spiffe};
use credentials::Authority;

static ENVOY: LazyLock<(String, String)> = LazyLock::new(|| declared("envoyproxy/envoy"));
static NGINX: LazyLock<(String, String)> = LazyLock::new(|| declared("nginx"));
/// How long a request's line may take from nginx's standard output to here.
const LOG: Duration = Duration::from_secs(5);
/// Of an error's end, in characters.
const LONGEST: usize = 1000;

/// Envoy and its application, and what it takes to dial them.
pub(crate) struct Rig {
    envoy: ContainerAsync<GenericImage>,
    nginx: ContainerAsync<GenericImage>,
    admin: String,
    bundle: String,
    credentials: BTreeMap<&'static str, Credential>,
}

/// What came of one window of dials at one address, from the clients' side.
pub(crate) struct Dialled {
    pub(crate) cells: Vec<Cell>,
    pub(crate) observations: BTreeMap<CellId, Observation>,
}

/// A scenario of this folder.
pub(crate) fn scenario(file: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("container/envoy").join(file);
    scenario::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// `host:port` that refuses: it was free a moment ago, and nobody was told of it.
pub(crate) fn closed() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").to_string()
}

impl Rig {
    pub(crate) async fn start(listeners: &[Listener]) -> Result<Self, String> {
        let authority = Authority::new("example.org");
        let envoy =
            envoy(listeners, &authority).start().await.map_err(|error| unstartable(&ENVOY, &error))?;
        let nginx = nginx(envoy.id())?.start().await.map_err(|error| unstartable(&NGINX, &error))?;
        let admin = published(&envoy, ADMIN).await;
        Ok(Self {
            envoy,
            nginx,
            admin,
            bundle: authority.pem(),
            credentials: credentials::presented(&authority).into_iter().collect(),
        })
    }

    pub(crate) async fn end(self) -> Result<(), TestcontainersError> {
        self.nginx.rm().await?;
        self.envoy.rm().await
    }

    /// Where a listener is dialled from outside.
    pub(crate) async fn address(&self, listener: &Listener) -> String {
        published(&self.envoy, listener.port).await
    }

    /// A published port with nothing behind it.
    pub(crate) async fn nobody_home(&self) -> String {
        published(&self.envoy, NOBODY_HOME).await
    }

    /// Makes all checks of the scenario's one stage. `run` sets its cells apart from those of other windows.
    pub(crate) async fn dial(&self, scenario: &Scenario, run: &str, address: &str) -> Dialled {
        let cells = plan(scenario, &scenario.stages[0], run);
        let dials = cells.iter().map(async |cell| (cell.id.clone(), self.dial_one(cell, address).await));
        let observations = join_all(dials).await.into_iter().collect();
        Dialled { cells, observations }
    }

    pub(crate) async fn dial_one(&self, cell: &Cell, address: &str) -> Observation {
        let request = Request {
            method: cell.method.clone(),
            target: cell.target.clone(),
            authority: "backend".into(),
            http: cell.http,
            headers: cell.headers.clone(),
            body: String::new(),
        };
        let spiffe_id = spiffe("/ns/default/sa/default/backend");
        let asked = Dial {
            address: address.into(),
            credential: self.credentials[cell.client.as_str()].clone(),
            server: ServerProof { spiffe_id, dns: None, anchors: TrustAnchors::Pem(self.bundle.clone()) },
            tls: cell.tls,
            request,
            timeout_ms: 10_000,
        };
        dial(&asked, &Identities::none()).await
    }

    /// What Envoy counted at a listener since its start.
    pub(crate) async fn counted(&self, listener: &Listener) -> Counters {
        let stats = async {
            reqwest::get(format!("http://{}/stats", self.admin)).await?.error_for_status()?.text().await
        };
        let stats =
            stats.await.unwrap_or_else(|error| panic!("Envoy's admin interface at {}: {error}", self.admin));
        let own = listener.counters();
        let lines: Vec<_> =
            stats.lines().filter(|line| own.iter().any(|prefix| line.starts_with(prefix))).collect();
        assert!(!lines.is_empty(), "Envoy has no counter that begins with one of {own:?}");
        counted(&lines.join("\n"), &listener.cluster())
    }

    /// The cells whose requests nginx logged. Waits for those that the application answered, as far as the
    /// clients can tell.
    pub(crate) async fn reached(&self, dialled: &Dialled) -> BTreeSet<CellId> {
        let answered =
            dialled.observations.iter().filter(|(_, observation)| judge::is_from_application(observation));
        let mut missing: BTreeSet<_> = answered.map(|(id, _)| id.as_str()).collect();
        let mut reached = BTreeSet::new();
        let mut lines = self.nginx.stdout(true).lines();
        let next = async || {
            lines.next_line().await.map_err(|error| error.to_string())?.ok_or_else(|| "it ended".to_owned())
        };
        let look = |line: String| {
            let named =
                dialled.cells.iter().find(|cell| line.contains(&format!("svidproof-cell={} ", cell.id)));
            if let Some(cell) = named {
                missing.remove(cell.id.as_str());
                reached.insert(cell.id.clone());
            }
            if missing.is_empty() {
                Look::Ready(())
            } else {
                Look::NotYet(format!("{missing:?} are missing"))
            }
        };
        // A line that does not come is for the judge to see.
        let _ = wait::events::<_, _, String>("nginx to log what was answered", LOG, next, look).await;
        reached
    }

    /// One window at one listener, honestly told.
    pub(crate) async fn judge(&self, scenario: &Scenario, listener: &Listener) -> Vec<Judged> {
        let (dialled, evidence) = self.window(scenario, listener).await;
        dialled.judge(scenario, Ok(evidence))
    }

    /// Both sides' accounts of one window.
    pub(crate) async fn window(&self, scenario: &Scenario, listener: &Listener) -> (Dialled, Evidence) {
        let before = self.counted(listener).await;
        let dialled = self.dial(scenario, &listener.cluster(), &self.address(listener).await).await;
        let reached = Some(self.reached(&dialled).await);
        let after = self.counted(listener).await;
        (dialled, Evidence { counted: after.counted.since(before.counted), rbac: after.rbac, reached })
    }
}

impl Dialled {
    pub(crate) fn judge(&self, scenario: &Scenario, evidence: Result<Evidence, String>) -> Vec<Judged> {
        judge::judge(
            scenario,
            &self.cells,
            &self.observations,
            &BTreeMap::from([("backend".into(), evidence)]),
        )
    }
}

/// An image's name and tag, as `fixtures/images` declares it.
fn declared(name: &str) -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let image = svidproof::images::declared_as(&root, name).unwrap_or_else(|error| panic!("{error}"));
    let (name, tag) = image.rsplit_once(':').expect("a tag");
    (name.into(), tag.into())
}

fn envoy(listeners: &[Listener], authority: &Authority) -> ContainerRequest<GenericImage> {
    let ports = listeners.iter().map(|listener| listener.port).chain([ADMIN, NOBODY_HOME]);
    let image = GenericImage::new(&*ENVOY.0, &*ENVOY.1)
        .with_wait_for(WaitFor::message_on_stderr("all dependencies initialized. starting workers"));
    let request = image
        .with_cmd(["-c", &format!("{FOLDER}/envoy.json"), "--concurrency", "1", "--disable-hot-restart"])
        .with_network(NETWORK)
        .with_host_config_modifier(|config| {
            // For this machine alone.
            for binding in
                config.port_bindings.iter_mut().flat_map(|ports| ports.values_mut()).flatten().flatten()
            {
                binding.host_ip = Some("127.0.0.1".into());
            }
        });
    let request = ports.fold(request, |request, port| request.with_mapped_port(0, port.tcp()));
    config::files(listeners, authority).into_iter().fold(request, |request, (name, content)| {
        request.with_copy_to(format!("{FOLDER}/{name}"), content.to_string().into_bytes())
    })
}

/// The backend of the reference scenario, with its configuration and its data, in the network namespace of
/// another container.
fn nginx(beside: &str) -> Result<ContainerRequest<GenericImage>, String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/nginx/files");
    let read = |path: PathBuf| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
    let conf = String::from_utf8_lossy(&read(chart.join("nginx.conf"))?)
        .replace("__PORT__", &APPLICATION.to_string());
    let mode = Some(format!("container:{beside}"));
    let image = GenericImage::new(&*NGINX.0, &*NGINX.1)
        .with_entrypoint("/usr/sbin/nginx")
        .with_wait_for(WaitFor::message_on_stderr("start worker processes"));
    let mut request = image
        .with_cmd(["-e", "stderr", "-c", "/etc/nginx/conf/nginx.conf", "-g", "error_log stderr notice;"])
        .with_host_config_modifier(move |config| {
            config.network_mode.clone_from(&mode);
            // The ports are the other container's.
            config.publish_all_ports = None;
        })
        .with_copy_to("/etc/nginx/conf/nginx.conf", conf.into_bytes());
    for data in ["profiles/profile_1", "balances/balance_1", "transactions/transaction_1"] {
        let to = CopyTargetOptions::new(format!("/usr/share/nginx/html/{data}")).with_mode(0o644);
        request = request.with_copy_to(to, read(chart.join(data))?);
    }
    Ok(request)
}

async fn published(container: &ContainerAsync<GenericImage>, port: u16) -> String {
    let host = container.get_host_port_ipv4(port.tcp()).await;
    format!("127.0.0.1:{}", host.unwrap_or_else(|error| panic!("port {port} is not published: {error}")))
}

fn unstartable((name, tag): &(String, String), error: &TestcontainersError) -> String {
    let engine = match std::env::var("DOCKER_HOST") {
        Ok(host) => format!("DOCKER_HOST={host}"),
        Err(_) => "the default docker, since DOCKER_HOST is not set".into(),
    };
    // It may hold the container's whole log, and the cause is the last of it.
    let error = error.to_string();
    let cut = error.char_indices().rev().nth(LONGEST).map_or(0, |(at, _)| at);
    let error = if cut == 0 { error } else { format!("… {}", &error[cut..]) };
    format!(
        "could not start {name}:{tag} in {engine}: {error}\n\
         hint: `svidproof images load {name}:{tag}` gives the engine that image, and \
         `eval \"$(svidproof engine env)\"` points the tests at it; ./scripts/test does both"
    )
}
