//! What this harness needs of the Kubernetes API, typed: roll-outs watched, commands run in pods, pods found,
//! logs followed, ports forwarded. Not for installing things: that is Helm's.

mod exec;
mod forward;
mod rollout;
mod stale;

pub use exec::Exec;
pub use forward::Forward;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use futures::{AsyncBufReadExt, Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::sys::wait::WaitError;

/// A client of one cluster.
#[derive(Clone)]
pub struct Kube {
    client: Client,
}

/// What the Kubernetes API, or a wait for it, did not give.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum KubeError {
    #[error(
        "the kubeconfig {} is of no use\n\
         hint: --kubeconfig and --context name the cluster",
        path.display()
    )]
    Kubeconfig { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    #[error(
        "the kubeconfig {} has no context `{context}`: it has {}\n\
         hint: --kubeconfig and --context name the cluster",
        path.display(),
        known.join(", ")
    )]
    NoContext { path: PathBuf, context: String, known: Vec<String> },
    #[error("could not {what}")]
    Api { what: String, source: Box<kube::Error> },
    #[error("could not {what}")]
    Io { what: String, source: std::io::Error },
    #[error("could not {what}: {problem}")]
    Other { what: String, problem: String },
    #[error(transparent)]
    Watch(#[from] WatchEnd),
    #[error(transparent)]
    Wait(#[from] WaitError<WatchEnd>),
}

/// Why a watch of the Kubernetes API ended before what it was held for.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum WatchEnd {
    #[error("the watch ended")]
    Closed,
    #[error(transparent)]
    Broken(Box<kube::runtime::watcher::Error>),
}

impl From<kube::runtime::watcher::Error> for WatchEnd {
    fn from(error: kube::runtime::watcher::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl KubeError {
    pub(crate) fn api<'a>(what: impl Display + 'a) -> impl FnOnce(kube::Error) -> Self + 'a {
        move |source| Self::Api { what: what.to_string(), source: Box::new(source) }
    }

    fn io<'a>(what: impl Display + 'a) -> impl Fn(std::io::Error) -> Self + 'a {
        move |source| Self::Io { what: what.to_string(), source }
    }

    fn other<'a>(what: impl Display + 'a) -> impl Fn(String) -> Self + 'a {
        move |problem| Self::Other { what: what.to_string(), problem }
    }
}

/// A ready pod of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where the pod is.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its address in the cluster.
    pub ip: String,
}

/// A Service and what stands behind it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The ready pods.
    pub pods: Vec<Backend>,
    /// Absent where the Service is headless.
    pub cluster_ip: Option<String>,
    /// Where a cloud gave the Service an address: IP or host name.
    pub ingress: Option<String>,
    /// Service port -> container port.
    pub target_ports: BTreeMap<u16, u16>,
}

impl Kube {
    /// Reads the kubeconfig; asks nothing of the cluster yet.
    pub async fn connect(kubeconfig: &Path, context: Option<&str>) -> Result<Self, KubeError> {
        let failed = |source| KubeError::Kubeconfig { path: kubeconfig.into(), source: Box::new(source) };
        let options = KubeConfigOptions { context: context.map(Into::into), ..Default::default() };
        let read = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
        if let Some(context) = context.filter(|context| read.contexts.iter().all(|one| one.name != *context))
        {
            let known = read.contexts.into_iter().map(|one| one.name).collect();
            return Err(KubeError::NoContext { path: kubeconfig.into(), context: context.into(), known });
        }
        let config = Config::from_custom_kubeconfig(read, &options).await.map_err(failed)?;
        let client = Client::try_from(config).map_err(KubeError::api("make a client from the kubeconfig"))?;
        Ok(Self { client })
    }

    /// The API server's version, as a proof that it answers.
    pub async fn version(&self) -> Result<String, KubeError> {
        self.client
            .apiserver_version()
            .await
            .map(|info| info.git_version)
            .map_err(KubeError::api("reach the API server"))
    }

    /// The client itself, for what is not here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether there is such a namespace now.
    pub async fn namespace_exists(&self, name: &str) -> Result<bool, KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .get_opt(name)
            .await
            .map(|found| found.is_some())
            .map_err(KubeError::api(format!("read namespace {name}")))
    }

    /// Makes the Secret, or changes it to this. Its namespace is made where it is not there.
    pub async fn apply_secret(
        &self,
        namespace: &str,
        name: &str,
        kind: &str,
        data: &[(&str, &str)],
    ) -> Result<(), KubeError> {
        let what = format!("apply secret {namespace}/{name}");
        let own = PatchParams::apply("svidproof");
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        namespaces.patch(namespace, &own, &Patch::Apply(made)).await.map_err(KubeError::api(&what))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let made = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": { "name": name },
            "stringData": data,
        });
        secrets.patch(name, &own, &Patch::Apply(made)).await.map(drop).map_err(KubeError::api(&what))
    }

    /// Deletes a Secret; one that is not there is as good as deleted.
    pub async fn delete_secret(&self, namespace: &str, name: &str) -> Result<(), KubeError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match secrets.delete(name, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(e) => Err(KubeError::api(format!("delete secret {namespace}/{name}"))(e)),
        }
    }

    /// Deletes a namespace and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), KubeError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        match namespaces.delete(name, &kube::api::DeleteParams::default()).await {
            Ok(_) => self.namespace_gone(name).await,
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(e) => Err(KubeError::api(format!("delete namespace {name}"))(e)),
        }
    }

    /// The Service `namespace/name` and its pods that are ready and not on their way out.
    pub async fn resolve(&self, service: &str) -> Result<Resolved, KubeError> {
        let what = format!("resolve service {service}");
        let (namespace, name) = service
            .split_once('/')
            .ok_or_else(|| KubeError::other(&what)("it is not namespace/name".into()))?;
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let service = services.get(name).await.map_err(KubeError::api(&what))?;
        let spec = service.spec.unwrap_or_default();
        let selector = spec.selector.unwrap_or_default();
        if selector.is_empty() {
            return Err(KubeError::other(&what)("it selects no pods".into()));
        }
        let pods = self.pods(namespace, &selector).await?;
        let target_ports = target_ports(&spec.ports.unwrap_or_default(), &pods);
        let backends = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| {
            let ip = pod.status.as_ref()?.pod_ip.clone()?;
            Some(Backend { namespace: namespace.into(), pod: pod.metadata.name.clone()?, ip })
        });
        let ingress = service
            .status
            .and_then(|status| status.load_balancer?.ingress?.into_iter().next())
            .and_then(|one| one.ip.or(one.hostname));
        let cluster_ip = spec.cluster_ip.filter(|ip| ip != "None");
        Ok(Resolved { pods: backends.collect(), cluster_ip, ingress, target_ports })
    }

    /// The ready pods with these labels.
    pub async fn ready_pods(
        &self,
        namespace: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<Backend>, KubeError> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let pods = self.pods(namespace, &labels).await?;
        let ready = pods.into_iter().filter(is_ready);
        Ok(ready
            .filter_map(|pod| {
                Some(Backend {
                    namespace: namespace.into(),
                    pod: pod.metadata.name?,
                    ip: pod.status?.pod_ip?,
                })
            })
            .collect())
    }

    async fn pods(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Result<Vec<Pod>, KubeError> {
        let selector =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let list = pods.list(&ListParams::default().labels(&selector)).await;
        list.map(|list| list.items)
            .map_err(KubeError::api(format!("list the pods {selector} in {namespace}")))
    }

    /// The container's log from its last seconds on, line by line, as it grows.
    pub async fn follow_log(
        &self,
        backend: &Backend,
        container: &str,
    ) -> Result<impl Stream<Item = Result<String, KubeError>> + Unpin + use<>, KubeError> {
        let what =
            format!("follow the log of container {container} in pod {}/{}", backend.namespace, backend.pod);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &backend.namespace);
        let params = LogParams {
            container: Some(container.into()),
            follow: true,
            since_seconds: Some(2),
            ..Default::default()
        };
        let lines = pods.log_stream(&backend.pod, &params).await.map_err(KubeError::api(&what))?.lines();
        Ok(lines.map_err(move |e| KubeError::io(&what)(e)))
    }
}

/// Ready by its condition, and not being deleted.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// Service port -> container port. A port whose name no container has is left out.
fn target_ports(ports: &[ServicePort], pods: &[Pod]) -> BTreeMap<u16, u16> {
    let target = |port: &ServicePort| match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named_port(pods, name),
    };
    let pair =
        |port: &ServicePort| Some((u16::try_from(port.port).ok()?, u16::try_from(target(port)?).ok()?));
    ports.iter().filter_map(pair).collect()
}

/// The pods of one Service are alike: the first is asked.
fn named_port(pods: &[Pod], name: &str) -> Option<i32> {
    let spec = pods.first()?.spec.as_ref()?;
    // Init containers that go on running serve ports too (Kubernetes, "Sidecar Containers").
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    /// A pod whose containers have these ports.
    fn pod(containers: &[&[(&str, u16)]]) -> Vec<Pod> {
        let ports = |ports: &&[(&str, u16)]| -> Vec<Value> {
            ports.iter().map(|(name, number)| json!({ "name": name, "containerPort": number })).collect()
        };
        let containers: Vec<_> =
            containers.iter().map(|all| json!({ "name": "c", "ports": ports(all) })).collect();
        vec![serde_json::from_value(json!({ "spec": { "containers": containers } })).unwrap()]
    }

    #[rstest]
    #[case::ok_by_name(443, json!("mtls"), &[(443, 9001)])]
    #[case::ok_by_number(443, json!(8443), &[(443, 8443)])]
    #[case::ok_by_the_same_number(443, Value::Null, &[(443, 443)])]
    #[case::no_container_has_the_name(443, json!("grpc"), &[])]
    #[case::not_a_port(443, json!(70000), &[])]
    fn a_services_port_leads_to_a_containers(
        #[case] port: u16,
        #[case] target: Value,
        #[case] expected: &[(u16, u16)],
    ) {
        let port: ServicePort =
            serde_json::from_value(json!({ "port": port, "targetPort": target })).unwrap();
        let pods = pod(&[&[("http", 9003)], &[("admin", 9901), ("mtls", 9001)]]);
        assert_eq!(target_ports(&[port], &pods), expected.iter().copied().collect());
    }

    /// A pod with a port of an init container.
    fn init(policy: &str) -> Vec<Pod> {
        let ports = json!([{ "name": "mtls", "containerPort": 8443 }]);
        let init = json!([{ "name": "envoy", "restartPolicy": policy, "ports": ports }]);
        let spec = json!({ "spec": { "initContainers": init, "containers": [{ "name": "app" }] } });
        vec![serde_json::from_value(spec).unwrap()]
    }

    #[test]
    fn a_sidecars_port_counts() {
        assert_eq!(named_port(&init("Always"), "mtls"), Some(8443));
    }

    #[rstest]
    #[case::an_init_container_ends(init("OnFailure"))]
    #[case::no_pod_is_there(vec![])]
    #[case::no_container_has_a_port(pod(&[&[]]))]
    fn a_port_that_nobody_names_leads_nowhere(#[case] pods: Vec<Pod>) {
        assert_eq!(named_port(&pods, "mtls"), None);
    }

    #[rstest]
    #[case::ok("Ready", "True", None, true)]
    #[case::not_ready("Ready", "False", None, false)]
    #[case::another_condition("Initialized", "True", None, false)]
    #[case::on_its_way_out("Ready", "True", Some("2026-01-01T00:00:00Z"), false)]
    fn a_pod_is_ready(
        #[case] kind: &str,
        #[case] status: &str,
        #[case] deleted: Option<&str>,
        #[case] expected: bool,
    ) {
        let pod = json!({
            "metadata": { "deletionTimestamp": deleted },
            "status": { "conditions": [{ "type": kind, "status": status }] },
        });
        assert_eq!(is_ready(&serde_json::from_value(pod).unwrap()), expected);
    }

    #[test]
    fn a_pod_without_a_status_is_not_ready() {
        assert!(!is_ready(&Pod::default()));
    }
}
