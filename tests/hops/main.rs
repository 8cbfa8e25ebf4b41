//! Which hop broke, on a real cluster: each fault of faults.yaml is planted in a system that is well, and must
//! be told by the name of its hop and no other, under the check and in the report; then it is mended.
//!
//! One real cluster, made and taken down here.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use conformance::{copy, said};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use svidproof::cluster::kube::Kube;
use svidproof::cluster::manifest::{Workload, WorkloadKind};
use svidproof::cluster::spire::{Server, Wanted};
use svidproof::proof::hops::Hop;
use svidproof::scenario::{self, Entry};
use svidproof::sys::wait::{self, Look};

const SCENARIO: &str = "tests/scenarios/hops.yaml";
const NAMESPACE: &str = "hops";
const AGENTS: &str = "spire-hops-agent";
/// The entry of the workload that is broken.
const OWN: &str = "hops-test.";
const LONG: Duration = Duration::from_mins(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    #[serde(rename = "fault")]
    name: String,
    #[serde(default = "guest")]
    of: String,
    hop: String,
    says: String,
    deployment: Option<Value>,
    service: Option<Value>,
    /// Of its Envoy's configuration: a text, and what stands in its place.
    config: Option<(String, String)>,
    entry: Option<Registered>,
    agents: Option<Value>,
    #[serde(default)]
    banned: bool,
}

/// In the place of the guest's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registered {
    /// None: no entry.
    select: Vec<String>,
    #[serde(default = "agents")]
    parent: String,
}

fn guest() -> String {
    "guest".into()
}

fn agents() -> String {
    "/agents".into()
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        conformance::svidproof_in(self.dir.path(), args).output().unwrap()
    }

    /// What `test` ended with, all that it said, and its report.
    fn tested(&self, stage: &str) -> (Option<i32>, String, Value) {
        let output = self.svidproof(&["test", "--stage", stage, "--out", "out"]);
        let told = format!("{}\n{}", said(&output), String::from_utf8_lossy(&output.stdout));
        let report = std::fs::read_to_string(self.path("out/report.json")).unwrap();
        (output.status.code(), told, serde_json::from_str(&report).unwrap())
    }

    #[track_caller]
    fn is_well(&self) {
        for stage in ["guest", "proxy"] {
            let (status, told, _) = self.tested(stage);
            assert!(status == Some(0) && !told.contains("hop: "), "{told}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hop_that_breaks_is_named_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("hops/repository"), dir.path());
    let world = World { dir };
    let up = world.svidproof(&["up"]);
    assert!(up.status.success(), "{}", said(&up));
    let faults = include_str!("faults.yaml");
    let faults: Vec<Fault> = serde_saphyr::from_str(faults).unwrap();
    assert!(faults.len() >= 14);
    let system = System::found(&world).await;
    system.invite().await;
    world.is_well();
    let only = std::env::var("HOPS").unwrap_or_default();
    let mut problems = vec![];
    let mut named = BTreeSet::new();
    for fault in faults.iter().filter(|fault| fault.name.contains(&only)) {
        let stands = system.plant(fault).await;
        let stage = if fault.of == "proxy" { "proxy" } else { "guest" };
        let (status, told, report) = world.tested(stage);
        let hops = hops(&told, &report);

        if status == Some(0) || hops != BTreeSet::from([fault.hop.clone()]) || !told.contains(&fault.says) {
            problems.push(format!("## {}: expected {}, told {hops:?}\n{told}", fault.name, fault.hop));
        }
        named.extend(hops);
        system.mend(fault, stands).await;
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    world.is_well();
    // What no fault of a running system breaks for certain is held by the table of harness/src/proof/hops.
    let all: BTreeSet<_> = Hop::ALL.iter().map(|hop| hop.name()).collect();
    let left: Vec<_> = all.difference(&named).collect();
    assert!(!only.is_empty() || left == ["svid"], "{left:?}");
}

/// The names of all hops that are told: under checks, in the report, and in what ended the stage.
fn hops(told: &str, report: &Value) -> BTreeSet<String> {
    let lines = told.lines().filter_map(|line| line.trim().strip_prefix("hop: "));
    let lines = lines.filter_map(|line| line.split(" of ").next()).map(ToOwned::to_owned);
    let rows = report["checks"].as_array().unwrap().iter();
    let rows = rows.filter_map(|row| row["hop"]["name"].as_str()).map(ToOwned::to_owned);
    lines.chain(rows).collect()
}

/// The system, past svidproof.
struct System {
    kube: Kube,
    server: Server,
    deployments: Api<Deployment>,
    services: Api<Service>,
    configs: Api<ConfigMap>,
    pods: Api<Pod>,
    daemons: Api<DaemonSet>,
    agents: Api<Pod>,
}

/// What stood before a fault.
struct Stands {
    deployment: Value,
    service: Value,
    config: Option<BTreeMap<String, String>>,
}

impl System {
    async fn found(world: &World) -> Self {
        let session = files(&world.path("state"), "session.json").pop().unwrap();
        let session: Value = serde_json::from_slice(&std::fs::read(session).unwrap()).unwrap();
        let kubeconfig = PathBuf::from(session["cluster"]["kubeconfig"].as_str().unwrap());
        let kube = Kube::connect(&kubeconfig, session["cluster"]["context"].as_str()).await.unwrap();
        let scenario = scenario::load(&world.path(SCENARIO)).unwrap();
        Self {
            server: Server::new(kube.clone(), scenario.spire.api()),
            deployments: Api::namespaced(kube.client(), NAMESPACE),
            services: Api::namespaced(kube.client(), NAMESPACE),
            configs: Api::namespaced(kube.client(), NAMESPACE),
            pods: Api::namespaced(kube.client(), NAMESPACE),
            daemons: Api::namespaced(kube.client(), "spire"),
            agents: Api::namespaced(kube.client(), "spire"),
            kube,
        }
    }

    /// Makes the guest, which is like the backend.
    async fn invite(&self) {
        self.register(&Registered {
            select: vec!["k8s:ns:hops".into(), "k8s:pod-label:app:guest".into()],
            parent: agents(),
        })
        .await;
        let backend = self.configs.get("backend-envoy").await.unwrap().data.unwrap();
        let text = backend["envoy.yaml"].replace("hops.example/backend", "hops.example/guest");
        let config = json!({"metadata": {"name": "guest-envoy"}, "data": {"envoy.yaml": text}});
        let made = PostParams::default();
        self.configs.create(&made, &serde_json::from_value(config).unwrap()).await.unwrap();
        let like = |spec: Value| serde_json::from_str(&spec.to_string().replace("backend", "guest")).unwrap();
        let backend = self.services.get("backend").await.unwrap().spec.unwrap();
        let ports = serde_json::to_value(backend.ports).unwrap();
        let spec: Value = like(json!({"selector": backend.selector, "ports": ports}));
        let service = json!({"metadata": {"name": "guest"}, "spec": spec});
        self.services.create(&made, &serde_json::from_value(service).unwrap()).await.unwrap();
        let backend = self.deployments.get("backend").await.unwrap().spec;
        let spec: Value = like(serde_json::to_value(backend).unwrap());
        let deployment = json!({"metadata": {"name": "guest"}, "spec": spec});
        self.deployments.create(&made, &serde_json::from_value(deployment).unwrap()).await.unwrap();
        self.comes("guest").await;
    }

    async fn register(&self, registered: &Registered) {
        self.server.delete(OWN).await.unwrap();
        if registered.select.is_empty() {
            return;
        }
        let entry = Entry { id: "/guest".into(), select: registered.select.clone(), ..Entry::default() };
        let wanted = Wanted { entry, parent: registered.parent.clone() };
        self.server.create("hops.example", OWN, &[wanted]).await.unwrap();
    }

    async fn plant(&self, fault: &Fault) -> Stands {
        let name = fault.of.as_str();
        let config = format!("{name}-envoy");
        let stands = Stands {
            deployment: serde_json::to_value(self.deployments.get(name).await.unwrap().spec).unwrap(),
            service: serde_json::to_value(self.services.get(name).await.unwrap().spec).unwrap(),
            config: self.configs.get(&config).await.unwrap().data,
        };
        let before = self.uids(name).await;
        let with = PatchParams::default();
        if let Some(entry) = &fault.entry {
            self.register(entry).await;
        }
        if let Some(patch) = &fault.service {
            self.services.patch(name, &with, &Patch::Merge(patch)).await.unwrap();
        }
        if let Some((from, to)) = &fault.config {
            let text = &stands.config.as_ref().unwrap()["envoy.yaml"];
            assert!(text.contains(from), "{from} is not in the configuration:\n{text}");
            let data = json!({"data": {"envoy.yaml": text.replace(from, to)}});
            self.configs.patch(&config, &with, &Patch::Merge(data)).await.unwrap();
        }
        if let Some(patch) = &fault.agents {
            self.daemons.patch(AGENTS, &with, &Patch::Strategic(patch)).await.unwrap();
        }
        if fault.banned {
            for agent in self.server.attested().await.unwrap() {
                self.server.ban(&format!("spiffe://hops.example{}", agent.id)).await.unwrap();
            }
        }
        if fault.agents.is_some() || fault.banned {
            self.no_agents().await;
        }
        if let Some(patch) = &fault.deployment {
            self.deployments.patch(name, &with, &Patch::Strategic(patch)).await.unwrap();
        }
        if fault.config.is_some() || fault.entry.is_some() {
            let again = json!({"spec": {"template": {"metadata": {"annotations": {"again": fault.name}}}}});
            self.deployments.patch(name, &with, &Patch::Merge(again)).await.unwrap();
        }
        let is_new = fault.deployment.is_some() || fault.config.is_some() || fault.entry.is_some();
        self.settles(fault, if is_new { before } else { BTreeSet::new() }).await;
        stands
    }

    async fn mend(&self, fault: &Fault, stands: Stands) {
        let name = fault.of.as_str();
        if fault.entry.is_some() {
            self.register(&Registered {
                select: vec!["k8s:ns:hops".into(), "k8s:pod-label:app:guest".into()],
                parent: agents(),
            })
            .await;
        }
        let put = PostParams::default();
        if fault.agents.is_some() {
            let mend = json!({"spec": {"template": {"spec": {"nodeSelector": null}}}});
            self.daemons.patch(AGENTS, &PatchParams::default(), &Patch::Merge(mend)).await.unwrap();
        }
        if fault.banned {
            for agent in self.server.attested().await.unwrap() {
                self.server.evict(&format!("spiffe://hops.example{}", agent.id)).await.unwrap();
            }
            let labelled = ListParams::default().labels("app=spire-hops-agent");
            self.agents.delete_collection(&DeleteParams::default(), &labelled).await.unwrap();
        }
        if fault.agents.is_some() || fault.banned {
            let workload = workload(WorkloadKind::DaemonSet, "spire", AGENTS);
            self.kube.rolled_out(&workload, LONG).await.unwrap();
        }
        let mut config = self.configs.get(&format!("{name}-envoy")).await.unwrap();
        config.data = stands.config;
        self.configs.replace(&format!("{name}-envoy"), &put, &config).await.unwrap();
        let mut service = self.services.get(name).await.unwrap();
        service.spec = serde_json::from_value(stands.service).unwrap();
        self.services.replace(name, &put, &service).await.unwrap();
        let mut spec = stands.deployment;
        spec["template"]["metadata"]["annotations"]["again"] = format!("after {}", fault.name).into();
        let mut deployment = self.deployments.get(name).await.unwrap();
        deployment.spec = serde_json::from_value(spec).unwrap();
        self.deployments.replace(name, &put, &deployment).await.unwrap();
        self.comes(name).await;
    }

    async fn comes(&self, name: &str) {
        let workload = workload(WorkloadKind::Deployment, NAMESPACE, name);
        self.kube.rolled_out(&workload, LONG).await.unwrap();
    }

    async fn uids(&self, name: &str) -> BTreeSet<String> {
        let labelled = ListParams::default().labels(&format!("app={name}"));
        let pods = self.pods.list(&labelled).await.unwrap().items;
        pods.into_iter().filter_map(|pod| pod.metadata.uid).collect()
    }

    /// Waits until none of the pods of before is left, and each of the others is as it will stay.
    async fn settles(&self, fault: &Fault, before: BTreeSet<String>) {
        let name = fault.of.as_str();
        // Without an SVID an Envoy waits, and comes to nothing.
        let waits = ["entry", "selectors", "parent", "sds"].contains(&fault.hop.as_str());
        // A volume may be late, and come.
        let stuck = ["image", "pod"].contains(&fault.hop.as_str());
        let labels = BTreeMap::from([("app".to_owned(), name.to_owned())]);
        let every = Duration::from_millis(300);
        let what = format!("the pods of {name} to settle");
        let stays = wait::poll(&what, LONG, every, async || {
            let uids = self.uids(name).await;
            if uids.iter().any(|uid| before.contains(uid)) {
                return Look::NotYet("one of before is there".to_owned());
            }
            let wanted = self.deployments.get(name).await.unwrap().spec.and_then(|spec| spec.replicas);
            let pods = self.kube.as_they_stand(NAMESPACE, &labels).await.unwrap();
            let stays = pods.iter().all(|pod| {
                pod.ready
                    || stuck && pod.trouble.is_some()
                    || waits && pod.state.contains("running, not ready")
            });
            if stays && (wanted == Some(0)) == pods.is_empty() {
                Look::<_, std::io::Error>::Ready(())
            } else {
                Look::NotYet(pods.iter().map(|pod| pod.state.clone()).collect::<Vec<_>>().join("; "))
            }
        });
        stays.await.unwrap();
    }

    /// Waits until no agent serves any more: one that learns that it is banned ends.
    async fn no_agents(&self) {
        let every = Duration::from_millis(300);
        let labels = BTreeMap::from([("app".to_owned(), AGENTS.to_owned())]);
        let gone = wait::poll("the agents to be gone", LONG, every, async || {
            let left = self.kube.as_they_stand("spire", &labels).await.unwrap();
            let left = left.iter().filter(|pod| pod.ready).count();
            if left == 0 {
                Look::<_, std::io::Error>::Ready(())
            } else {
                Look::NotYet(format!("{left} are left"))
            }
        });
        gone.await.unwrap();
    }
}

fn workload(kind: WorkloadKind, namespace: &str, name: &str) -> Workload {
    Workload { kind, namespace: namespace.into(), name: name.into() }
}

/// All files of this name below a folder.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, name));
        } else if entry.file_name() == name {
            found.push(path);
        }
    }
    found
}
