//! An endpoint as it stands in the cluster: its pods, their Envoys, and where those count. What a scenario
//! names and is not there is told here, before the first dial.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::{join_all, try_join_all};

use super::StageError;
use crate::cluster::envoy::{Admin, EnvoyError};
use crate::cluster::kube::{Backend, Forward, Resolved, Unresolved};
use crate::cluster::probe::Probe;
use crate::proof::envoy::{Envoy, Meter, Stats};
use crate::proof::judge::Witness;
use crate::scenario::Endpoint;
use crate::session::RunContext;
use crate::sys::chain;

/// How long an admin interface may take to answer at all: what the pod's containers have begun is ready for
/// Kubernetes before it listens.
const ANSWERS: Duration = Duration::from_secs(5);

/// How long a ready pod may take until it serves: an Envoy waits for its secrets (`initial_fetch_timeout` is
/// 15 s unless it is said), and SPIRE's agent asks its server every 5 s unless it is told otherwise.
const READY: Duration = Duration::from_secs(30);

/// One endpoint.
pub(super) struct Target<'a> {
    pub(super) declared: &'a Endpoint,
    pub(super) resolved: Resolved,
    pub(super) pods: Vec<Pod>,
    /// Why its pods are not dialled through the API server, where there is no probe; goes on from a sentence.
    pub(super) unforwarded: Option<String>,
}

/// One pod behind an endpoint.
pub(super) struct Pod {
    pub(super) backend: Backend,
    /// Its own, that the endpoint's leads to.
    pub(super) port: u16,
    pub(super) envoy: Option<Running>,
    /// Its port as one of this machine's, where there is no probe to dial it.
    way: Option<Forward>,
}

impl Pod {
    /// Where it is dialled: `host:port`, or why there is no such place.
    pub(super) fn address(&self) -> Result<String, String> {
        if let Some(way) = &self.way {
            return Ok(way.address.to_string());
        }
        let Backend { pod, ip, .. } = &self.backend;
        let parsed = ip.parse().map_err(|e| format!("pod {pod} has the address {ip}: {e}"));
        parsed.map(|ip: IpAddr| SocketAddr::new(ip, self.port).to_string())
    }
}

/// A pod's Envoy.
pub(super) struct Running {
    pub(super) admin: Admin,
    pub(super) config: Envoy,
    /// Where what happens at the endpoint is counted, or why that cannot be told. Absent where the endpoint
    /// is the application's own, beside an Envoy that serves something else.
    meter: Option<Result<Meter, String>>,
}

impl<'a> Target<'a> {
    /// The endpoint, or why its cells cannot be judged.
    ///
    /// # Errors
    /// The scenario names what is not there, or the Kubernetes API does not answer.
    pub(super) async fn open(
        run: &RunContext,
        probe: Option<&Probe>,
        name: &str,
        declared: &'a Endpoint,
    ) -> Result<Result<Self, String>, StageError> {
        let mistake = |what: String| StageError::Mistake { endpoint: name.into(), what };
        let resolve = |source| StageError::Resolve { endpoint: name.into(), source };
        let resolved = match run.kube.resolve(&declared.service).await.map_err(resolve)? {
            Ok(resolved) => resolved,
            Err(Unresolved::NoService { instead }) => {
                return Err(mistake(format!("there is no Service {}: there is {instead}", declared.service)));
            }
            Err(Unresolved::SelectsNothing) => {
                return Err(mistake(format!("Service {} selects no pods", declared.service)));
            }
            Err(Unresolved::Behind { why }) => {
                let hint = "`kubectl get endpointslices` in its namespace";
                return Ok(Err(format!("endpoint {name}: Service {} {why}\nhint: {hint}", declared.service)));
            }
        };
        let resolved = resolved
            .at(declared.port)
            .map_err(|what| mistake(format!("Service {} {what}", declared.service)))?;
        let strays = resolved.strays();
        if !strays.is_empty() {
            return Ok(Err(format!(
                "endpoint {name}: Service {} leads also to {}, which is no pod: \
                 what answers there is not known",
                declared.service,
                strays.join(", ")
            )));
        }
        if resolved.pods.is_empty() {
            return Ok(Err(format!(
                "endpoint {name}: Service {} has no ready pod\nhint: `kubectl get pods` in its namespace",
                declared.service
            )));
        }
        if let Some(container) = &declared.app_log {
            let lacking = |pod: &&Backend| !pod.containers.contains(container);
            if let Some(pod) = resolved.pods.iter().find(lacking) {
                let containers = pod.containers.join(", ");
                return Err(mistake(format!(
                    "`app-log: {container}`, but pod {} has no such container: it has {containers}",
                    pod.pod
                )));
            }
        }
        let pods = resolved.pods.iter().map(async |backend| {
            let port = match backend.port(declared.port) {
                Ok(port) => port,
                Err(why) => return Ok(Err(format!("endpoint {name}: Service {} {why}", declared.service))),
            };
            let envoy = if let Some(admin) = declared.admin {
                Some(Running::open(run, name, declared, backend, admin, port).await?)
            } else {
                // Without a probe no pod is reached itself: the dials will tell.
                let address = format!("{}:{port}", in_address(&backend.ip));
                if let Some(probe) = probe
                    && let Err(why) = probe.reach(&address, READY).await?
                {
                    return Ok(Err(format!("endpoint {name}: pod {}: {why}", backend.pod)));
                }
                None
            };
            let way = match probe {
                None => Some(run.kube.forward(backend, port).await.map_err(resolve)?),
                Some(_) => None,
            };
            Ok::<_, StageError>(match envoy.transpose() {
                Ok(envoy) => Ok(Pod { backend: backend.clone(), port, envoy, way }),
                Err(why) => Err(format!("endpoint {name}: {why}")),
            })
        });
        let pods: Result<Vec<_>, _> = try_join_all(pods).await?.into_iter().collect();
        Ok(pods.map(|mut pods| {
            let unforwarded = unforwarded(&pods).filter(|_| probe.is_none());
            if unforwarded.is_some() {
                for pod in &mut pods {
                    pod.way = None;
                }
            }
            Self { declared, resolved, pods, unforwarded }
        }))
    }

    /// Whether each pod is dialled through the API server.
    pub(super) fn is_forwarded(&self) -> bool {
        self.pods.iter().all(|pod| pod.way.is_some())
    }

    pub(super) fn envoys(&self) -> impl Iterator<Item = &Running> {
        self.pods.iter().filter_map(|pod| pod.envoy.as_ref())
    }

    /// Whether its Envoys count what happens at it.
    pub(super) fn is_counted(&self) -> bool {
        self.envoys().any(|envoy| envoy.meter.is_some())
    }

    /// How it changed since it was opened, in words: pods that were restarted or replaced lost what they had
    /// counted, and an Envoy with another configuration counts elsewhere. `None` where it did not.
    pub(super) async fn changed(&self, run: &RunContext) -> Option<String> {
        let now = run.kube.resolve(&self.declared.service).await;
        match now.map(|now| now.map(|now| now.at(self.declared.port))) {
            Ok(Ok(Ok(now))) if now.incarnations() == self.resolved.incarnations() => {}
            Ok(Err(Unresolved::Behind { why })) => return Some(format!("its Service {why}")),
            Ok(Ok(_)) => return Some("its pods were restarted or replaced while it was dialled".into()),
            Ok(Err(_)) => return Some("its Service is gone".into()),
            Err(error) => {
                let why = chain(&error);
                return Some(format!("whether its pods still stand could not be read: {why}"));
            }
        }
        let looked = self.envoys().map(async |envoy| match envoy.admin.config().await {
            Ok(dump) if Envoy::read(&dump).is_ok_and(|now| now == envoy.config) => None,
            Ok(_) => Some("its Envoy was configured anew while it was dialled".to_owned()),
            Err(error) => Some(format!("its Envoy could not be read again: {}", chain(&error))),
        });
        join_all(looked).await.into_iter().flatten().next()
    }

    /// The counters of each pod, or why they could not be read.
    pub(super) async fn read(&self) -> BTreeMap<String, Result<Stats, String>> {
        let metered = self.pods.iter().filter_map(|pod| Some((pod, pod.envoy.as_ref()?)));
        let read = metered.map(async |(pod, envoy)| {
            let stats = envoy.admin.stats().await.map_err(|error| chain(&error));
            (pod.backend.pod.clone(), stats)
        });
        join_all(read).await.into_iter().collect()
    }

    /// What the pods counted between two readings. `None` where nothing of the endpoint is counted.
    pub(super) fn witness(
        &self,
        before: &BTreeMap<String, Result<Stats, String>>,
        after: &BTreeMap<String, Result<Stats, String>>,
    ) -> Option<Witness> {
        let mut witness = Witness::default();
        for pod in &self.pods {
            let Some(meter) = pod.envoy.as_ref().and_then(|envoy| envoy.meter.as_ref()) else { continue };
            let name = &pod.backend.pod;
            let readings = before.get(name).zip(after.get(name));
            let happened = match (meter, readings) {
                (Ok(_), None) => Err("its counters were not read".into()),
                (Err(why), _) | (Ok(_), Some((Err(why), _) | (_, Err(why)))) => Err(why.clone()),
                (Ok(meter), Some((Ok(before), Ok(after)))) => meter.between(before, after),
            };
            if let Ok(meter) = meter {
                witness.heed(meter);
            }
            witness.pods.insert(name.clone(), happened);
        }
        (!witness.pods.is_empty()).then_some(witness)
    }
}

impl Running {
    async fn open(
        run: &RunContext,
        name: &str,
        declared: &Endpoint,
        backend: &Backend,
        admin_port: u16,
        port: u16,
    ) -> Result<Result<Self, String>, StageError> {
        let mistake = |what: String| StageError::Mistake { endpoint: name.into(), what };
        let admin = Admin::of(&run.kube, backend, admin_port);
        let dump = match admin.answers(ANSWERS).await {
            Ok(dump) => dump,
            Err(error) => {
                // Nobody answers where it crashes.
                let Some(why) = run.kube.broken(backend).await.filter(|_| error.status().is_none()) else {
                    return Err(mistake(no_admin(admin_port, backend, &error)));
                };
                return Ok(Err(why));
            }
        };
        let no_envoy = |error| {
            mistake(format!(
                "`admin: {admin_port}` of pod {} is not an Envoy's admin interface: {error}",
                backend.pod
            ))
        };
        let first = Envoy::read(&dump).map_err(no_envoy)?;
        let config = match admin.ready_at(port, dump, READY).await {
            Ok(dump) => Envoy::read(&dump).map_err(no_envoy)?,
            // The dials will tell: of a page, this Envoy may be no part.
            Err(_) if declared.is_plain() => first,
            Err(error) => return Ok(Err(chain(&error))),
        };
        let meter = match config.at(port, declared.app_cluster.as_deref()) {
            Ok(meter) => Some(Ok(meter)),
            // A page is mostly its application's own, and the Envoy beside it leads elsewhere.
            Err(error) if error.is_input() && declared.is_plain() => None,
            Err(error) if error.is_input() => {
                return Err(mistake(format!("pod {}: {error}", backend.pod)));
            }
            Err(error) => Some(Err(error.to_string())),
        };
        Ok(Ok(Self { admin, config, meter }))
    }
}

/// Why pods are not dialled through the API server, if so. Who comes that way comes from the pod's own
/// loopback, past network policies and load balancers.
fn unforwarded(pods: &[Pod]) -> Option<String> {
    let why = |pod: &Pod| match &pod.envoy {
        None => Some("no Envoy is known there (`admin`), and no pod is dialled past its Service".to_owned()),
        Some(envoy) => envoy.config.minds_origins.map(|key| {
            format!(
                "its Envoy minds where a client comes from (`{key}`), and through the API server all come \
                 from the pod itself"
            )
        }),
    };
    pods.iter().find_map(why).map(|why| format!(": {why}"))
}

fn no_admin(port: u16, backend: &Backend, error: &EnvoyError) -> String {
    let Backend { pod, containers, .. } = backend;
    format!(
        "`admin: {port}`, but in pod {pod} {}\n\
         hint: the port is `admin.address` in that Envoy's configuration; its pod's containers: {}",
        match error.status() {
            Some(status) => format!("the answer to /config_dump there is {status}"),
            None => "no Envoy's admin interface answers there".into(),
        },
        containers.join(", ")
    )
}

/// An IPv6 address stands in brackets before a port (RFC 3986 3.2.2).
fn in_address(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.into() }
}

/// By endpoint: which of its pods are not what their owner wants, or older than a `ConfigMap` or Secret that
/// they mount, in words; or why that is not known.
pub(super) async fn stale(
    run: &RunContext,
    targets: &BTreeMap<String, Target<'_>>,
) -> BTreeMap<String, String> {
    let looked =
        targets.iter().map(async |(name, target)| match run.kube.stale(&target.resolved.pods).await {
            Ok(found) if found.is_empty() => None,
            Ok(found) => {
                let hint = "delete those pods or have them replaced; an annotation with a checksum of \
                            what is mounted on the pod template makes Helm do so";
                let found = found.join("; ");
                Some((name.clone(), format!("what stands is not what was written: {found}\nhint: {hint}")))
            }
            Err(error) => {
                let why = format!("whether its pods are what was written: {}", chain(&error));
                Some((name.clone(), why))
            }
        });
    join_all(looked).await.into_iter().flatten().collect()
}
