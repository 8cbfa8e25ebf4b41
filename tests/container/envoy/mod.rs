//! A real Envoy with applications behind it, in containers, as in a pod; dialled from outside, and asked for its
//! own account.

pub(crate) mod config;
mod credentials;
mod round;
pub(crate) mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use svidproof::engine::NETWORK;
use svidproof::proof::envoy::{Envoy, Stats};
use svidproof::proof::judge::DialId;
use svidproof::scenario::{self, Scenario};
use svidproof_probe::protocol::Credential;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{
    ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, ImageExt, TestcontainersError,
};
use tokio::io::AsyncBufReadExt;
use tokio::sync::watch;

use config::{ADMIN, FOLDER, NOBODY_HOME, Port};
use credentials::Authority;
pub(crate) use round::{Crowd, Round, plan_of};

static ENVOY: LazyLock<(String, String)> = LazyLock::new(|| declared("envoyproxy/envoy"));
static NGINX: LazyLock<(String, String)> = LazyLock::new(|| declared("nginx"));
/// Of an error's end, in characters.
const LONGEST: usize = 1000;

/// Envoy and its applications, and what it takes to dial them.
pub(crate) struct Rig {
    envoy: ContainerAsync<GenericImage>,
    nginx: ContainerAsync<GenericImage>,
    admin: String,
    config: Envoy,
    /// The dials that the application's log has named until now.
    seen: watch::Receiver<BTreeSet<DialId>>,
    bundle: String,
    credentials: BTreeMap<&'static str, Credential>,
}

/// A scenario of this folder.
pub(crate) fn scenario(file: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("container/envoy").join(file);
    scenario::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// A scenario of a test's own text.
pub(crate) fn scenario_of(text: &str) -> Scenario {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("case.yaml");
    fs::create_dir(root.path().join("helm")).and_then(|()| fs::write(&file, text)).expect("it is written");
    scenario::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `host:port` that refuses: it was free a moment ago, and nobody was told of it.
pub(crate) fn closed() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").to_string()
}

impl Rig {
    pub(crate) async fn start(bootstrap: &Value, ports: &[(u16, Port)]) -> Result<Self, String> {
        let authority = Authority::new("example.org");
        let request = envoy(bootstrap, ports, &authority);
        let envoy = request.start().await.map_err(|error| unstartable(&ENVOY, &error))?;
        let nginx = nginx(envoy.id())?.start().await.map_err(|error| unstartable(&NGINX, &error))?;
        let admin = published(&envoy, ADMIN).await;
        let config = Envoy::read(&get(&admin, "/config_dump").await?).map_err(|error| error.to_string())?;
        let (tell, seen) = watch::channel(BTreeSet::new());
        let mut lines = nginx.stdout(true).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let named = line.split("svidproof-cell=").nth(1).and_then(|rest| rest.split(' ').next());
                tell.send_modify(|seen| seen.extend(named.map(ToOwned::to_owned)));
            }
        });
        Ok(Self {
            envoy,
            nginx,
            admin,
            config,
            seen,
            bundle: authority.pem(),
            credentials: credentials::presented(&authority).into_iter().collect(),
        })
    }

    pub(crate) async fn end(self) -> Result<(), TestcontainersError> {
        self.nginx.rm().await?;
        self.envoy.rm().await
    }

    /// Where a listener is dialled from outside.
    pub(crate) async fn address(&self, port: u16) -> String {
        published(&self.envoy, port).await
    }

    pub(crate) async fn stats(&self) -> Result<Stats, String> {
        get(&self.admin, "/stats").await.map(|text| Stats::read(&text))
    }
}

async fn get(admin: &str, path: &str) -> Result<String, String> {
    let read =
        async { reqwest::get(format!("http://{admin}{path}")).await?.error_for_status()?.text().await };
    read.await.map_err(|error| format!("{path} of Envoy's admin interface at {admin}: {error}"))
}

/// An image's name and tag, as `fixtures/images` declares it.
fn declared(name: &str) -> (String, String) {
    let root = conformance::repository();
    let image = svidproof::images::declared_as(&root, name).unwrap_or_else(|error| panic!("{error}"));
    let (name, tag) = image.rsplit_once(':').expect("a tag");
    (name.into(), tag.into())
}

fn envoy(bootstrap: &Value, ports: &[(u16, Port)], authority: &Authority) -> ContainerRequest<GenericImage> {
    let published = ports.iter().map(|(port, _)| *port).chain([ADMIN, NOBODY_HOME]);
    let image = GenericImage::new(&*ENVOY.0, &*ENVOY.1)
        .with_wait_for(WaitFor::message_on_stderr("all dependencies initialized. starting workers"));
    let request = image
        .with_cmd(["-c", &format!("{FOLDER}/envoy.json"), "--concurrency", "1", "--disable-hot-restart"])
        .with_network(NETWORK)
        .with_hostname(config::HOST)
        .with_host_config_modifier(|config| {
            // For this machine alone.
            for binding in
                config.port_bindings.iter_mut().flat_map(|ports| ports.values_mut()).flatten().flatten()
            {
                binding.host_ip = Some("127.0.0.1".into());
            }
        });
    let request = published.fold(request, |request, port| request.with_mapped_port(0, port.tcp()));
    config::files(bootstrap, ports, authority).into_iter().fold(request, |request, (name, content)| {
        request.with_copy_to(format!("{FOLDER}/{name}"), content.to_string().into_bytes())
    })
}

/// The applications, with the data of the reference scenario's backend, in the network namespace of another
/// container.
fn nginx(beside: &str) -> Result<ContainerRequest<GenericImage>, String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/nginx/files");
    let read = |path: PathBuf| fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
    let conf = include_str!("nginx.conf");
    let mode = Some(format!("container:{beside}"));
    let image = GenericImage::new(&*NGINX.0, &*NGINX.1)
        .with_entrypoint("/usr/sbin/nginx")
        .with_wait_for(WaitFor::message_on_stderr("start worker processes"));
    let mut request = image
        .with_cmd(["-e", "stderr", "-c", "/etc/nginx/conf/nginx.conf"])
        .with_host_config_modifier(move |config| {
            config.network_mode.clone_from(&mode);
            // The ports are the other container's.
            config.publish_all_ports = None;
        })
        .with_copy_to("/etc/nginx/conf/nginx.conf", conf.as_bytes().to_vec());
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
