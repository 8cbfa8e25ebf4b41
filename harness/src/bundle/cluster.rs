//! What of a bundle the cluster says: its objects and events, the logs of its pods, each Envoy and each SPIRE
//! server.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, LogParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::step::{Done, Piece, Step, Unhad};
use super::{STEP, Subject};
use crate::cluster::envoy::Admin;
use crate::cluster::kube::{Backend, Kube, KubeError};
use crate::cluster::spire::Server;
use crate::provider::Provider;
use crate::scenario::{Neighbour, PROBES, Scenario, ServerApi};
use crate::session::Record;
use crate::sys::bounded::end_of;

/// How many objects of a kind are listed.
const LISTED: u32 = 1000;

/// Group and version, kind, plural.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const POD: Kind = ("", "v1", "Pod", "pods");
const SERVICE: Kind = ("", "v1", "Service", "services");
const KINDS: [Kind; 12] = [
    ("", "v1", "ConfigMap", "configmaps"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("batch", "v1", "Job", "jobs"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
    ("", "v1", "Event", "events"),
];
/// Of no namespace: told where the cluster is the run's own.
const WIDE: [Kind; 3] = [
    ("", "v1", "Node", "nodes"),
    ("", "v1", "Namespace", "namespaces"),
    ("", "v1", "PersistentVolume", "persistentvolumes"),
];

/// What an Envoy's admin interface is asked for (Envoy documentation, "Administration interface").
const ADMIN: [(&str, &str); 6] = [
    ("/config_dump", "config_dump.json"),
    ("/certs", "certs.json"),
    ("/stats", "stats.txt"),
    ("/clusters", "clusters.txt"),
    ("/listeners", "listeners.txt"),
    ("/server_info", "server_info.json"),
];
/// What a SPIRE server's own command line is asked for.
const SPIRE: [(&[&str], &str); 5] = [
    (&["healthcheck", "-verbose"], "health.txt"),
    (&["entry", "show", "-output", "json"], "entries.json"),
    (&["agent", "list", "-output", "json"], "agents.json"),
    (&["bundle", "show"], "bundle.pem"),
    (&["bundle", "list"], "federated-bundles.txt"),
];

/// A cluster that answers.
pub(super) struct Reached {
    kube: Kube,
    pub(super) version: String,
    /// What is in its Secrets, as far as they may be read.
    pub(super) secrets: Vec<Vec<u8>>,
    /// All of them, or none: what belongs to the scenarios.
    scope: Vec<Option<String>>,
    is_own: bool,
    pods: Vec<Value>,
    services: Vec<Value>,
}

/// What must be known before the other steps: whether the cluster answers at all, what is secret, and which
/// pods there are.
pub(super) async fn reach(record: &Record, subject: &Subject<'_>, told: &mut Vec<Done>) -> Option<Reached> {
    let cluster = &record.cluster;
    let mut answered = None;
    let look = async {
        let kube = Kube::connect(&cluster.kubeconfig, cluster.context.as_deref()).await?;
        let version = kube.version().await?;
        answered = Some((kube, version));
        Ok(vec![])
    };
    told.push(Step::new("API server", look).done(Instant::now() + STEP).await);
    let (kube, version) = answered?;
    let is_own = cluster.provider != Provider::Existing;
    let scope =
        if is_own { vec![None] } else { namespaces(subject.scenarios).into_iter().map(Some).collect() };
    let mut reached =
        Reached { kube, version, secrets: vec![], scope, is_own, pods: vec![], services: vec![] };
    let end = Instant::now() + STEP;
    let kube = &reached.kube;
    let all = join_all(reached.scope.iter().map(async |of| {
        let of = of.as_deref();
        let (mut secrets, mut pods, mut services) = (vec![], vec![], vec![]);
        let first = [
            Step::new(named(of, "secrets"), async {
                let listed;
                (listed, secrets) = list_secrets(kube, of).await?;
                Ok(vec![Piece::json(format!("{}.json", named(of, "secrets")), listed)])
            }),
            Step::new(named(of, POD.3), async {
                pods = listed(kube, POD, of).await?;
                Ok(vec![objects(of, POD, &pods)])
            }),
            Step::new(named(of, SERVICE.3), async {
                services = listed(kube, SERVICE, of).await?;
                Ok(vec![objects(of, SERVICE, &services)])
            }),
        ];
        let done = join_all(first.map(|step| step.done(end))).await;
        (done, secrets, pods, services)
    }));
    for (done, secrets, pods, services) in all.await {
        told.extend(done);
        reached.secrets.extend(secrets);
        reached.pods.extend(pods);
        reached.services.extend(services);
    }
    Some(reached)
}

pub(super) fn steps<'a>(subject: &'a Subject<'a>, reached: &'a Reached) -> Vec<Step<'a>> {
    let mut steps = vec![];
    for of in reached.scope.iter().map(Option::as_deref) {
        steps.extend(KINDS.map(|kind| list(reached, kind, of)));
    }
    if reached.is_own {
        steps.extend(WIDE.map(|kind| list(reached, kind, None)));
    }
    steps.extend(reached.pods.iter().flat_map(|pod| logs(reached, pod)));
    steps.extend(envoys(subject, reached));
    steps.extend(spires(subject, reached));
    steps
}

/// Where the scenarios' releases and endpoints stand, and their SPIRE and probes.
fn namespaces(scenarios: &[Scenario]) -> BTreeSet<String> {
    let of = |one: &Scenario| {
        let releases = one.install.iter().flatten().map(|release| release.namespace.clone());
        let services = one.endpoints.values().filter_map(|end| Some(end.service.split_once('/')?.0.into()));
        let spire = one.spire.is_stated().then(|| one.spire.namespace.clone());
        releases.chain(services).chain(spire).collect::<Vec<_>>()
    };
    scenarios.iter().flat_map(of).chain([PROBES.into()]).collect()
}

fn named(of: Option<&str>, plural: &str) -> String {
    format!("objects/{}/{plural}", of.unwrap_or("all"))
}

fn objects(of: Option<&str>, kind: Kind, items: &[Value]) -> Piece {
    Piece::json(format!("{}.json", named(of, kind.3)), json!({"items": items}))
}

fn list<'a>(reached: &'a Reached, kind: Kind, of: Option<&'a str>) -> Step<'a> {
    Step::new(named(of, kind.3), async move {
        let items = listed(&reached.kube, kind, of).await?;
        let events = kind.2 == "Event";
        let piece = if events {
            Piece::text(format!("{}.txt", named(of, kind.3)), told(items))
        } else {
            objects(of, kind, &items)
        };
        Ok(vec![piece])
    })
}

/// Each with its kind, which a list leaves out.
async fn listed(
    kube: &Kube,
    (group, version, kind, plural): Kind,
    of: Option<&str>,
) -> Result<Vec<Value>, KubeError> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    let api: Api<DynamicObject> = match of {
        Some(namespace) => Api::namespaced_with(kube.client(), namespace, &resource),
        None => Api::all_with(kube.client(), &resource),
    };
    let listed = api.list(&ListParams::default().limit(LISTED)).await;
    let what =
        format!("list {plural} of {}", of.map_or("all namespaces".into(), |one| format!("namespace {one}")));
    let items = listed.map_err(KubeError::api(what))?.items.into_iter();
    Ok(items
        .map(|object| {
            let mut value = serde_json::to_value(object).unwrap_or_default();
            value["kind"] = kind.into();
            value
        })
        .collect())
}

/// Events as lines, the last one last.
fn told(mut events: Vec<Value>) -> String {
    let text = |event: &Value, path: &str| {
        event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let time = |event: &Value| {
        let all = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
        all.iter().map(|path| text(event, path)).find(|time| !time.is_empty()).unwrap_or_default()
    };
    events.sort_by_key(time);
    let line = |event: &Value| {
        format!(
            "{} {} {} {}/{}: {}: {} (seen {} times)\n",
            time(event),
            text(event, "/type"),
            text(event, "/involvedObject/kind"),
            text(event, "/involvedObject/namespace"),
            text(event, "/involvedObject/name"),
            text(event, "/reason"),
            text(event, "/message").trim(),
            event["count"].as_u64().unwrap_or(1)
        )
    };
    events.iter().map(line).collect()
}

/// Names and keys, for the bundle; and values, to be known wherever else they stand.
async fn list_secrets(kube: &Kube, of: Option<&str>) -> Result<(Value, Vec<Vec<u8>>), KubeError> {
    let api: Api<Secret> = match of {
        Some(namespace) => Api::namespaced(kube.client(), namespace),
        None => Api::all(kube.client()),
    };
    let listed =
        api.list(&ListParams::default().limit(LISTED)).await.map_err(KubeError::api("list secrets"))?;
    let mut values = vec![];
    let mut told = vec![];
    for Secret { metadata, type_, data, .. } in listed.items {
        let (kind, data) = (type_.unwrap_or_default(), data.unwrap_or_default());
        let keys: BTreeMap<_, _> = data.iter().map(|(key, value)| (key.clone(), value.0.len())).collect();
        told.push(json!({
            "namespace": metadata.namespace, "name": metadata.name, "type": kind, "labels": metadata.labels,
            "bytes of keys": keys,
        }));
        values.extend(secret_values(&kind, data));
    }
    Ok((json!(told), values))
}

/// Of a Secret of a known type, what it is for (Kubernetes documentation, "Types of Secret"): the rest of it
/// is a namespace's name and the like.
fn secret_values(kind: &str, data: BTreeMap<String, ByteString>) -> Vec<Vec<u8>> {
    let only: &[&str] = match kind {
        "kubernetes.io/service-account-token" => &["token"],
        "kubernetes.io/basic-auth" => &["password"],
        "bootstrap.kubernetes.io/token" => &["token-secret"],
        // Packed, and nowhere else.
        "helm.sh/release.v1" => return vec![],
        _ => &[],
    };
    let mut values = vec![];
    for (_, ByteString(value)) in
        data.into_iter().filter(|(key, _)| only.is_empty() || only.contains(&key.as_str()))
    {
        if let Ok(inner) = serde_json::from_slice::<Value>(&value) {
            texts(&inner, &mut values);
        }
        values.push(value);
    }
    values
}

/// Of a Secret that is JSON, such as a registry's credentials, each text by itself.
fn texts(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => found.push(text.clone().into_bytes()),
        Value::Array(list) => list.iter().for_each(|one| texts(one, found)),
        Value::Object(map) => map.values().for_each(|one| texts(one, found)),
        _ => {}
    }
}

/// Of each container, and of the one before it where it was restarted.
fn logs<'a>(reached: &'a Reached, pod: &'a Value) -> Vec<Step<'a>> {
    let meta = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    let (namespace, name) = (meta("namespace"), meta("name"));
    let restarted = |container: &str| {
        let kinds = ["containerStatuses", "initContainerStatuses"];
        let mut all = kinds.iter().filter_map(|kind| pod["status"][kind].as_array()).flatten();
        all.any(|one| one["name"] == container && one["restartCount"].as_u64() > Some(0))
    };
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    let containers = kinds.iter().filter_map(|kind| pod["spec"][kind].as_array()).flatten();
    let mut steps = vec![];
    for container in containers.filter_map(|one| one["name"].as_str()) {
        for previous in [false, true].into_iter().filter(|previous| !previous || restarted(container)) {
            let before = if previous { ".previous" } else { "" };
            let place = format!("logs/{namespace}/{name}/{container}{before}");
            steps.push(Step::new(place.clone(), async move {
                let what = format!("read the log of container {container} in pod {namespace}/{name}");
                let pods: Api<Pod> = Api::namespaced(reached.kube.client(), namespace);
                let of = LogParams { container: Some(container.into()), previous, ..Default::default() };
                let log = pods.log_stream(name, &of).await.map_err(KubeError::api(&what))?;
                let end =
                    end_of(log).await.map_err(|error| Unhad::failed(format!("could not {what}: {error}")))?;
                Ok(vec![Piece::end(format!("{place}.log"), end)])
            }));
        }
    }
    steps
}

/// Of each pod of each endpoint that has an admin interface, ready or not.
fn envoys<'a>(subject: &'a Subject<'a>, reached: &'a Reached) -> Vec<Step<'a>> {
    let endpoints = subject.scenarios.iter().flat_map(|one| one.endpoints.values());
    let with_admin = endpoints.filter_map(|one| Some((one.service.split_once('/')?, one.admin?)));
    let pods: BTreeSet<_> = with_admin
        .flat_map(|((namespace, service), admin)| {
            pods_of(reached, namespace, service).map(move |pod| (namespace, pod, admin))
        })
        .collect();
    let mut steps = vec![];
    for (namespace, pod, port) in pods {
        for (path, file) in ADMIN {
            let place = format!("envoy/{namespace}/{pod}/{port}/{file}");
            steps.push(Step::new(place.clone(), async move {
                let backend = Backend { namespace: namespace.into(), pod: pod.into(), ..Backend::default() };
                let admin = Admin::of(&reached.kube, &backend, port);
                Ok(vec![Piece::either(place, admin.get(path).await?)])
            }));
        }
    }
    steps
}

/// The names of the pods that the Service selects, and that have begun to run.
fn pods_of<'a>(reached: &'a Reached, namespace: &'a str, service: &str) -> impl Iterator<Item = &'a str> {
    let is_in = move |object: &Value| object["metadata"]["namespace"] == namespace;
    let mut services = reached.services.iter().filter(move |one| is_in(one));
    let service = services.find(|one| one["metadata"]["name"] == service);
    let selector = service.and_then(|one| one["spec"]["selector"].as_object()).filter(|all| !all.is_empty());
    let selected = move |pod: &&Value| {
        let labels = &pod["metadata"]["labels"];
        selector.is_some_and(|all| all.iter().all(|(key, value)| labels[key] == *value))
    };
    let running = |pod: &&Value| pod["status"]["phase"] == "Running";
    let pods = reached.pods.iter().filter(move |pod| is_in(pod) && running(pod) && selected(pod));
    pods.filter_map(|pod| pod["metadata"]["name"].as_str())
}

fn spires<'a>(subject: &'a Subject<'a>, reached: &'a Reached) -> Vec<Step<'a>> {
    let mut servers: Vec<ServerApi> = vec![];
    for scenario in subject.scenarios.iter().filter(|one| one.spire.is_stated()) {
        let others = scenario.federation.values().map(Neighbour::api);
        for api in std::iter::once(scenario.spire.api()).chain(others) {
            if !servers.contains(&api) {
                servers.push(api);
            }
        }
    }
    let mut steps = vec![];
    for api in servers {
        for (command, file) in SPIRE {
            let place = format!("spire/{}/{}/{file}", api.namespace, api.server.replace('/', "-"));
            let server = Server::new(reached.kube.clone(), api.clone());
            steps.push(Step::new(place.clone(), async move {
                if subject.only_looks {
                    let why = "nothing is run in a pod of somebody else's without `--with-probe`";
                    return Err(Unhad::left_alone(why));
                }
                Ok(vec![Piece::either(place, server.says(command).await?)])
            }));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_in_their_order() {
        let event = |time: &str, name: &str| {
            json!({"lastTimestamp": time, "type": "Warning", "reason": "Failed", "message": "no image\n", "count": 3,
                "involvedObject": {"kind": "Pod", "namespace": "web", "name": name}})
        };
        let mut new = event("", "b");
        new["lastTimestamp"] = Value::Null;
        new["eventTime"] = "2026-01-01T00:00:02Z".into();
        let lines = told(vec![event("2026-01-01T00:00:03Z", "c"), new, event("2026-01-01T00:00:01Z", "a")]);
        let expected = "2026-01-01T00:00:01Z Warning Pod web/a: Failed: no image (seen 3 times)\n";
        assert!(lines.starts_with(expected), "{lines}");
        let order: Vec<_> = lines.lines().map(|line| &line[37..38]).collect();
        assert_eq!(order, ["a", "b", "c"], "{lines}");
    }

    #[test]
    fn of_a_secret_what_it_is_for_is_known() {
        let data = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).into(), ByteString(value.as_bytes().to_vec()))).collect()
        };
        let known = |kind: &str, pairs: &[(&str, &str)]| {
            let values = secret_values(kind, data(pairs)).into_iter();
            values.map(|value| String::from_utf8(value).unwrap()).collect::<Vec<_>>()
        };
        let account = [("namespace", "kube-system"), ("token", "t")];
        assert_eq!(known("kubernetes.io/service-account-token", &account), ["t"]);
        assert_eq!(known("Opaque", &[("a", "1"), ("b", "2")]), ["1", "2"]);
        assert_eq!(known("helm.sh/release.v1", &[("release", "H4sI")]), Vec::<String>::new());
        let docker = r#"{"auths":{"r.test":{"password":"p"}}}"#;
        assert_eq!(known("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", docker)]), ["p", docker]);
    }
}
