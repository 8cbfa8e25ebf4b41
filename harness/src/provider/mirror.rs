//! A kind cluster's one way out: to the registry that stands, for its nodes, in the place of every other.
//!
//! Two relays (fixtures/apps/relay), each a container of the run: one on the cluster's network, one on the
//! engine's own machine, and between them a socket in a volume of theirs. The firewall stays as it is, no
//! port is opened, and what a node reaches is that one address, though it be the machine's loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{ProviderError, Site};
use crate::engine::Engine;
use crate::images::{self, Remote};
use crate::lease::Thing;
use crate::sys::files;
use crate::sys::wait;

/// The relay's image, as it is declared.
const IMAGE: &str = "svidproof/relay:dev";
/// The folder that both relays see, and the socket in it.
const SHARED: &str = "/way";
const SOCKET: &str = "unix:/way/socket";
/// How long the registry may take to accept a connection.
const REACHED: Duration = Duration::from_secs(5);

/// Opens the way, and writes what tells a node's containerd of it: the folder to be its
/// `/etc/containerd/certs.d` (containerd documentation, "hosts.md").
pub(super) async fn open(
    site: &Site<'_>,
    engine: &Engine,
    network: &str,
    mirror: &Remote,
) -> Result<PathBuf, ProviderError> {
    images::load(&site.home, engine, &[IMAGE.into()], site.source, site.progress).await?;
    let address = address(mirror).await?.to_string();
    let run = &site.lease.id;
    let (out, way) = (format!("svidproof-mirror-out-{run}"), format!("svidproof-mirror-{run}"));
    let start = async |name: &str, options: &[&str], from: &str, to: &str| {
        let (name, env, engine_id) = (name.to_owned(), engine.env(), engine.id.clone());
        site.lease.making(Thing::Container { name: name.clone(), env, engine: engine_id })?;
        let tool = engine.run(&name, run).arg("--detach").args(options.iter().copied());
        Ok::<_, ProviderError>(tool.args([IMAGE, from, to]).run().await.map(drop)?)
    };
    start(&out, &["--network", "host", "--volume", SHARED], SOCKET, &address).await?;
    // TLS wants the name that the registry's certificate has.
    let is_plain = mirror.scheme() == "http";
    let (known_as, port) = (if is_plain { way.as_str() } else { mirror.name() }, mirror.port());
    let options = ["--network", network, "--network-alias", known_as, "--volumes-from", out.as_str()];
    start(&way, &options, &format!("0.0.0.0:{port}"), SOCKET).await?;
    let folder = site.lease.dir.join("certs.d");
    let place = folder.join("_default");
    files::make_folder(&place)?;
    // As the server, and not as one host before another: what it does not have is asked of nobody else.
    let hosts = format!("server = \"{}://{known_as}:{port}\"\n", mirror.scheme());
    files::write(&place.join("hosts.toml"), hosts)?;
    Ok(folder)
}

/// Where it answers, by an address: the relay knows no names.
async fn address(mirror: &Remote) -> Result<SocketAddr, ProviderError> {
    let failed = |source| ProviderError::Mirror { mirror: mirror.to_string(), source };
    let name = mirror.name().trim_start_matches('[').trim_end_matches(']');
    let connect = TcpStream::connect((name, mirror.port()));
    let connected = wait::within(&format!("{mirror} to accept a connection"), REACHED, connect).await;
    let connected = connected.map_err(|late| failed(std::io::Error::other(late)))?;
    connected.and_then(|stream| stream.peer_addr()).map_err(failed)
}
