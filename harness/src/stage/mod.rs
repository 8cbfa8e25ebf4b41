//! One stage of a scenario, run: the releases brought to the stage's values, every cell dialled in one
//! window, both sides' accounts judged.

mod credentials;
pub mod fault;
mod pages;
mod untried;

pub use credentials::carry_from;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use serde_json::Value;
use svidproof_probe::Identities;
use svidproof_probe::protocol::{Carried, Credential, Dial, Observation, Request, ServerProof, TrustAnchors};

use crate::cluster::envoy::{Admin, Counters, EnvoyError};
use crate::cluster::kube::{Backend, KubeError, Resolved};
use crate::cluster::probe::ProbeError;
use crate::forge::ForgeError;
use crate::proof::judge::{self, Evidence, Judged};
use crate::proof::plan::{CELL_HEADER, Cell, CellId, plan, written_out};
use crate::scenario::{Endpoint, Stage};
use crate::session::{RunContext, SessionError, System, apply, stage_values};
use crate::sys::wait::{self, Look};

/// A whole dial's bound: a refusal takes milliseconds, and Envoy's own upstream bound is 15 s.
const DIAL: Duration = Duration::from_secs(10);
/// How long a request's line may take from the application's standard output to here.
const LOG: Duration = Duration::from_secs(5);
/// Envoy looks its upstream's name up every half second with the charts' values; the default is 5 s.
const SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("endpoint {endpoint}: {source}")]
    Resolve { endpoint: String, source: KubeError },
    #[error(
        "endpoint {endpoint}: service {service} has no ready pod\nhint: `kubectl get pods` in its namespace"
    )]
    NoPods { endpoint: String, service: String },
    #[error(
        "endpoint {endpoint}: service {service} has no port {port} that leads to its pods: it has {known}"
    )]
    NoPort { endpoint: String, service: String, port: u16, known: String },
    #[error("endpoint {endpoint} has no address that can be dialled from outside the cluster\nhint: {hint}")]
    NotPublished { endpoint: String, hint: &'static str },
    #[error("endpoint {endpoint}: {source}")]
    Envoy { endpoint: String, source: EnvoyError },
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Forge(#[from] ForgeError),
    #[error("client {client}: its SVID could not be carried out of the cluster: {problem}")]
    Carry { client: String, problem: String },
}

/// Brings the scenario to `stage` (with `fault` over it) and makes the checks whose names `chosen` lets
/// through.
pub async fn run(
    context: &RunContext,
    system: &System,
    stage: &Stage,
    fault: &BTreeMap<String, Value>,
    chosen: &dyn Fn(&str) -> bool,
) -> Result<Vec<Judged>, StageError> {
    let scenario = &system.scenario;
    let step = context.progress.phase(format!("{}: {}", scenario.name, stage.name));
    let releases = scenario.install.iter().flatten();
    let brought = releases.map(async |release| {
        apply(context, scenario, release, &stage_values(release, &[&stage.values, fault])).await
    });
    try_join_all(brought).await?;
    let window = Window::open(context, system, stage, chosen).await?;
    let judged = window.run().await;
    step.done();
    judged
}

/// Makes the in-cluster dials of a stage over and over, as many at once as the probe takes; returns the
/// seconds that `count` of them took. For a benchmark: nothing is judged.
pub async fn time_dials(
    context: &RunContext,
    system: &System,
    stage: &Stage,
    count: usize,
) -> Result<f64, StageError> {
    let window = Window::open(context, system, stage, &|_| true).await?;
    let outside = |cell: &Cell| system.scenario.clients[&cell.client].is_outside();
    let cells: Vec<_> = window.cells.iter().filter(|cell| !window.is_page(cell) && !outside(cell)).collect();
    let begun = Instant::now();
    try_join_all(
        cells.iter().cycle().take(count).enumerate().map(|(number, cell)| window.observe(number, cell)),
    )
    .await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Everything that a stage's cells need, looked up once.
struct Window<'a> {
    context: &'a RunContext,
    system: &'a System,
    cells: Vec<Cell>,
    endpoints: BTreeMap<String, Target<'a>>,
    carried: BTreeMap<String, Carried>,
    /// By client; the reason where it could not be had.
    forged: BTreeMap<String, Result<Credential, String>>,
    /// By endpoint: which of its pods are older than what they mount.
    stale: BTreeMap<String, String>,
}

struct Target<'a> {
    declared: &'a Endpoint,
    resolved: Resolved,
    /// Of the container.
    port: u16,
    admins: Vec<Admin>,
}

impl<'a> Window<'a> {
    async fn open(
        context: &'a RunContext,
        system: &'a System,
        stage: &Stage,
        chosen: &dyn Fn(&str) -> bool,
    ) -> Result<Self, StageError> {
        let scenario = &system.scenario;
        // A run's own word in each cell's id keeps two windows on the same pods apart.
        let word = format!("{}-{}", context.run, jiff::Timestamp::now().as_millisecond());
        let all = plan(scenario, stage, &word);
        let controls: BTreeSet<_> =
            all.iter().filter(|cell| chosen(&cell.check)).filter_map(|cell| cell.control.clone()).collect();
        let cells: Vec<_> =
            all.into_iter().filter(|cell| chosen(&cell.check) || controls.contains(&cell.check)).collect();
        let names: BTreeSet<_> = cells.iter().flat_map(|cell| scenario.route(&cell.endpoint)).collect();
        let targets = names.into_iter().map(async |name| {
            let target = Target::open(context, name, &scenario.endpoints[name]).await?;
            Ok::<_, StageError>((name.to_owned(), target))
        });
        let mut window = Self {
            context,
            system,
            cells,
            endpoints: try_join_all(targets).await?.into_iter().collect(),
            carried: BTreeMap::new(),
            forged: BTreeMap::new(),
            stale: BTreeMap::new(),
        };
        window.settle().await?;
        window.find_stale().await?;
        window.carry().await?;
        window.forge().await?;
        Ok(window)
    }

    /// Waits until each Envoy in front of another knows where that one's pods are now.
    async fn settle(&self) -> Result<(), StageError> {
        let waits = self.endpoints.iter().filter_map(|(name, target)| {
            let upstream = self.endpoints.get(target.declared.upstream.as_ref()?)?;
            let pods = upstream.resolved.pods.iter().map(|pod| pod.ip.clone());
            let allowed: Vec<_> = pods.chain(upstream.resolved.cluster_ip.clone()).collect();
            Some(target.admins.iter().map(move |admin| (name, admin, allowed.clone())))
        });
        let waits = waits.flatten().map(async |(name, admin, allowed)| {
            let settled = admin.forwards_only_to(&allowed, SETTLE).await;
            settled.map_err(|source| StageError::Envoy { endpoint: name.clone(), source })
        });
        try_join_all(waits).await.map(drop)
    }

    async fn run(mut self) -> Result<Vec<Judged>, StageError> {
        let untried = self.untried();
        let before = self.counters().await?;
        let logs = self.follow_logs().await?;
        let observed = join_all(
            self.cells
                .iter()
                .enumerate()
                .filter(|(_, cell)| !self.is_page(cell))
                .map(|(number, cell)| self.observe(number, cell)),
        );
        let mut observations: BTreeMap<CellId, Observation> =
            observed.await.into_iter().collect::<Result<_, _>>()?;
        let reached = self.reached(logs, &observations).await;
        let between = self.counters().await?;
        // Pages after the dials, one by one and in a window of their own: what an application asks of its own
        // upstream is known only where its page is as expected, and must not make the dials' account
        // doubtful.
        for cell in self.cells.iter().filter(|cell| self.is_page(cell)) {
            let observation = self.page(cell).await?;
            observations.insert(cell.id.clone(), observation);
        }
        let after = self.counters().await?;
        let (pages, dials): (Vec<_>, Vec<_>) =
            self.cells.iter().cloned().partition(|cell| self.is_page(cell));
        let scenario = &self.system.scenario;
        let dials =
            judge::judge(scenario, &dials, &observations, &self.evidence(&before, &between, &reached));
        let pages = judge::judge(scenario, &pages, &observations, &self.evidence(&between, &after, &reached));
        Ok(dials.into_iter().chain(pages).chain(untried).collect())
    }

    /// What each endpoint's Envoys counted from one reading to the other, and which requests its application
    /// saw.
    fn evidence(
        &self,
        before: &BTreeMap<String, Counters>,
        after: &BTreeMap<String, Counters>,
        reached: &BTreeMap<String, BTreeSet<CellId>>,
    ) -> BTreeMap<String, Result<Evidence, String>> {
        let evidence = self.endpoints.keys().filter_map(|name| {
            let Counters { counted, rbac } = *after.get(name)?;
            let counted = counted.since(before.get(name)?.counted);
            Some((name.clone(), Ok(Evidence { counted, rbac, reached: reached.get(name).cloned() })))
        });
        evidence.collect()
    }

    fn is_page(&self, cell: &Cell) -> bool {
        self.endpoints[&cell.endpoint].declared.is_plain()
    }

    async fn counters(&self) -> Result<BTreeMap<String, Counters>, StageError> {
        let read = self.endpoints.iter().filter(|(_, target)| target.declared.gives_evidence()).map(
            async |(name, target)| {
                let counted = try_join_all(
                    target.admins.iter().map(|admin| admin.counters(&target.declared.app_cluster)),
                )
                .await;
                let counted =
                    counted.map_err(|source| StageError::Envoy { endpoint: name.clone(), source })?;
                let sum = |sum: Counters, one: &Counters| Counters {
                    counted: sum.counted + one.counted,
                    rbac: sum.rbac || one.rbac,
                };
                Ok::<_, StageError>((name.clone(), counted.iter().fold(Counters::default(), sum)))
            },
        );
        Ok(try_join_all(read).await?.into_iter().collect())
    }

    async fn follow_logs(&self) -> Result<BTreeMap<String, Lines>, StageError> {
        let logs = self.endpoints.iter().filter_map(|(name, target)| {
            target.declared.app_log.as_ref().map(|container| (name, target, container))
        });
        let opened = logs.map(async |(name, target, container)| {
            let streams = try_join_all(
                target.resolved.pods.iter().map(|pod| self.context.kube.follow_log(pod, container)),
            )
            .await;
            let streams = streams.map_err(|source| StageError::Resolve { endpoint: name.clone(), source })?;
            Ok::<_, StageError>((name.clone(), futures::stream::select_all(streams).boxed()))
        });
        Ok(try_join_all(opened).await?.into_iter().collect())
    }

    /// Which cells' requests the applications saw. Waits for those that were answered: when they are there,
    /// what was refused would be there too.
    async fn reached(
        &self,
        logs: BTreeMap<String, Lines>,
        observations: &BTreeMap<CellId, Observation>,
    ) -> BTreeMap<String, BTreeSet<CellId>> {
        let read = logs.into_iter().map(async |(name, mut lines)| {
            let behind = |cell: &&Cell| judge::terminal(&self.system.scenario, &cell.endpoint) == name;
            let cells: BTreeSet<_> = self.cells.iter().filter(behind).map(|cell| cell.id.clone()).collect();
            let mut missing: BTreeSet<_> = self
                .cells
                .iter()
                .filter(behind)
                .filter(|cell| answered(observations.get(&cell.id)))
                .map(|cell| cell.id.clone())
                .collect();
            let mut seen = BTreeSet::new();
            let what = format!("the log of endpoint {name} to name the requests that were answered");
            if !missing.is_empty() {
                let next =
                    async || lines.next().await.ok_or("the log ended".to_owned())?.map_err(|e| e.to_string());
                let look = |line: String| {
                    if let Some(cell) = cell_in(&line).filter(|cell| cells.contains(*cell)) {
                        missing.remove(cell);
                        seen.insert(cell.to_owned());
                    }
                    if missing.is_empty() {
                        Look::Ready(())
                    } else {
                        Look::NotYet(format!("{} are missing", missing.len()))
                    }
                };
                // A line that does not come is not an error here: the judge sees which requests are not in
                // the log.
                let _ = wait::events::<_, _, String>(&what, LOG, next, look).await;
            }
            (name, seen)
        });
        join_all(read).await.into_iter().collect()
    }

    async fn observe(&self, number: usize, cell: &Cell) -> Result<(CellId, Observation), StageError> {
        let client = &self.system.scenario.clients[&cell.client];
        let target = &self.endpoints[&cell.endpoint];
        let request = Request {
            method: cell.method.clone(),
            target: written_out(&cell.target),
            authority: target
                .declared
                .dns
                .clone()
                .unwrap_or_else(|| target.declared.service.rsplit('/').next().unwrap_or_default().into()),
            http: cell.http,
            headers: cell.headers.clone(),
            body: String::new(),
        };
        let domain = &self.system.scenario.trust_domain;
        let identity = target.declared.identity.as_deref().unwrap_or_default();
        let carried = self.carried.get(&cell.client);
        let forged = self.forged.get(&cell.client).and_then(|forged| forged.as_ref().ok());
        let credential = match (client.identity(), carried) {
            (None, _) => forged.cloned().unwrap_or(Credential::Nobody),
            (Some(_), Some(carried)) => {
                Credential::Pem { chain: carried.chain.clone(), key: carried.key.clone() }
            }
            (Some(path), None) => Credential::Svid(self.system.scenario.spiffe_id(path)),
        };
        let anchors = carried.map_or_else(
            || TrustAnchors::TrustDomain(domain.clone()),
            |carried| TrustAnchors::Pem(carried.bundle.clone()),
        );
        let address = if client.is_outside() {
            self.outside(&cell.endpoint, target)?
        } else {
            inside(&cell.endpoint, target, number)?
        };
        let spiffe_id = self.system.scenario.spiffe_id(identity);
        let server = ServerProof { spiffe_id, dns: target.declared.dns.clone(), anchors };
        let timeout_ms = u64::try_from(DIAL.as_millis()).unwrap_or(u64::MAX);
        let dial = Dial { address, credential, server, tls: cell.tls, request, timeout_ms };
        let observation = if client.is_outside() {
            svidproof_probe::dial(&dial, &Identities::none()).await
        } else {
            self.system.probe.dial(dial).await?
        };
        Ok((cell.id.clone(), observation))
    }

    /// Where the endpoint's published port is dialled from this machine.
    fn outside(&self, name: &str, target: &Target) -> Result<String, StageError> {
        let published = target.declared.published.as_ref();
        let of_provider = published
            .and_then(|published| self.context.record().cluster.published.get(&published.node_port).copied());
        let of_cloud =
            target.resolved.ingress.as_ref().map(|host| format!("{host}:{}", target.declared.port));
        of_provider.as_ref().map(SocketAddr::to_string).or(of_cloud).ok_or_else(|| StageError::NotPublished {
            endpoint: name.into(),
            hint: "give its Service the type LoadBalancer, or use the provider `kind`",
        })
    }
}

type Lines = futures::stream::BoxStream<'static, Result<String, KubeError>>;

impl<'a> Target<'a> {
    async fn open(context: &RunContext, name: &str, declared: &'a Endpoint) -> Result<Self, StageError> {
        let resolved = context
            .kube
            .resolve(&declared.service)
            .await
            .map_err(|source| StageError::Resolve { endpoint: name.into(), source })?;
        if resolved.pods.is_empty() {
            return Err(StageError::NoPods { endpoint: name.into(), service: declared.service.clone() });
        }
        let port = container_port(name, declared, &resolved)?;
        let open = async |pod: &Backend, port| Admin::open(&context.kube, pod, port).await;
        let admins = match declared.admin {
            Some(port) => try_join_all(resolved.pods.iter().map(|pod| open(pod, port))).await,
            None => Ok(vec![]),
        };
        let admins = admins.map_err(|source| StageError::Envoy { endpoint: name.into(), source })?;
        Ok(Self { declared, resolved, port, admins })
    }
}

fn first_pod<'a>(name: &str, target: &'a Target) -> Result<&'a Backend, StageError> {
    target
        .resolved
        .pods
        .first()
        .ok_or_else(|| StageError::NoPods { endpoint: name.into(), service: target.declared.service.clone() })
}

/// The container's port behind the endpoint's. A number of the container's own is none of the Service's: who
/// dials the Service does not reach it.
fn container_port(name: &str, declared: &Endpoint, resolved: &Resolved) -> Result<u16, StageError> {
    resolved.target_ports.get(&declared.port).copied().ok_or_else(|| {
        let known: Vec<_> = resolved.target_ports.keys().map(ToString::to_string).collect();
        StageError::NoPort {
            endpoint: name.into(),
            service: declared.service.clone(),
            port: declared.port,
            known: if known.is_empty() { "none".into() } else { known.join(", ") },
        }
    })
}

/// The endpoint's pods in turn: each of them must hold.
fn inside(name: &str, target: &Target, number: usize) -> Result<String, StageError> {
    let pods = &target.resolved.pods;
    let pod = pods.get(number % pods.len().max(1)).map_or_else(|| first_pod(name, target), Ok)?;
    Ok(SocketAddr::new(
        pod.ip.parse().map_err(|_| StageError::NoPods {
            endpoint: name.into(),
            service: target.declared.service.clone(),
        })?,
        target.port,
    )
    .to_string())
}

/// The cell that a line of an application's log names.
fn cell_in(line: &str) -> Option<&str> {
    let rest = line.split(CELL_HEADER).nth(1).or_else(|| line.split("svidproof-cell").nth(1))?;
    rest.trim_start_matches(['=', ':', ' ', '"']).split([' ', '"', ',']).next()
}

/// An answer that an application may have given, so that its log should name the request.
fn answered(observation: Option<&Observation>) -> bool {
    observation.is_some_and(judge::is_from_application)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_services(443, "443 leads to 8443")]
    #[case::the_containers(8443, "has no port 8443 that leads to its pods: it has 80, 443")]
    #[case::nobodys(1, "has no port 1 that leads to its pods: it has 80, 443")]
    fn only_a_port_that_the_service_has_is_dialled(#[case] port: u16, #[case] expected: &str) {
        let text = format!("{{service: default/shop, port: {port}, identity: /shop}}");
        let declared: Endpoint = serde_saphyr::from_str(&text).unwrap();
        let target_ports = BTreeMap::from([(80, 8080), (443, 8443)]);
        let resolved = Resolved { pods: vec![], cluster_ip: None, ingress: None, target_ports };
        let said = match container_port("shop", &declared, &resolved) {
            Ok(number) => format!("{port} leads to {number}"),
            Err(error) => error.to_string(),
        };
        assert!(said.ends_with(expected), "{said}");
    }

    #[test]
    fn a_log_line_names_its_cell() {
        assert_eq!(cell_in("svidproof-cell=r1.symbank.a.3 \"GET / HTTP/1.1\" 200"), Some("r1.symbank.a.3"));
        assert_eq!(cell_in("{\"x-svidproof-cell\": \"r1.s.a.3\", \"x\": 1}"), Some("r1.s.a.3"));
        assert_eq!(cell_in("GET / 200"), None);
    }
}
