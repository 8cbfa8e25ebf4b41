//! What this harness needs of the Kubernetes API, typed: roll-outs watched, commands run in pods, pods found,
//! logs followed, ports forwarded. Not for installing things: that is Helm's.

mod balancer;
mod broken;
mod claim;
mod cloud;
mod entered;
mod exec;
mod fate;
mod forward;
mod hops;
mod http;
mod imageless;
mod look;
mod ours;
mod owner;
mod restart;
mod rollout;
mod service;
mod settle;
mod socket;
mod stale;
mod standing;
mod way;
mod workload;

pub use balancer::address;
pub use claim::{AT_WORK, Claim, KEPT};
pub use cloud::Balancer;
pub use exec::Exec;
pub use forward::Forward;
pub use http::{PodHttp, PodHttpError};
pub use ours::{Holder, RUN_LABEL};
pub use service::{Backend, Resolved, Unresolved};

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::client::{ClientBuilder, UpgradeConnectionError};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tower::BoxError;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::util::MapErrLayer;
use tower_http::timeout::ResponseBodyTimeoutLayer;

use crate::sys::bounded;
use crate::sys::wait::WaitError;
use fate::Stuck;

/// An API server gives a request up by itself after a minute (kube-apiserver, `--request-timeout`).
const ANSWER: Duration = Duration::from_secs(70);
/// An API server ends a watch that saw nothing in half of this. A log that is followed for as long and says
/// nothing is none that anybody waits for.
const SILENCE: Duration = Duration::from_mins(10);

/// No application that names requests in its log does so in longer lines.
const LONGEST_LINE: usize = 1 << 20;

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
    #[error("{what} is there already, and is not this run's: it stays as it is")]
    Foreign { what: String },
    #[error("could not {what}")]
    Api { what: String, source: Box<kube::Error> },
    #[error("could not {what}")]
    Io { what: String, source: std::io::Error },
    #[error("could not {what}: {problem}")]
    Other { what: String, problem: String },
    #[error("{what} failed: {why}\nhint: {hint}")]
    Failed { what: String, why: String, hint: &'static str },
    #[error("{what} will never be rolled out: {why}\nhint: {hint}")]
    Stuck { what: String, why: String, hint: &'static str },
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
    #[error("it failed: {0}")]
    Failed(String),
    #[error("pod {pod} will never be ready")]
    Stuck { pod: String, stuck: Box<Stuck> },
    #[error(transparent)]
    Broken(Box<kube::runtime::watcher::Error>),
}

impl From<kube::runtime::watcher::Error> for WatchEnd {
    fn from(error: kube::runtime::watcher::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl KubeError {
    /// Whether the API server does not let it be done (403), by whichever kind of request.
    pub fn is_forbidden(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        match source.as_ref() {
            kube::Error::Api(status) => status.code == 403,
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => *status == 403,
            _ => false,
        }
    }

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
        let client = bounded(config, ANSWER).map_err(KubeError::api("make a client from the kubeconfig"))?;
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

    /// The container's log from its last seconds on, line by line, as it grows. A line of more than 1 MB is
    /// an error, that says so.
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
        let log = pods.log_stream(&backend.pod, &params).await.map_err(KubeError::api(&what))?;
        Ok(bounded::lines(log, LONGEST_LINE).map_err(move |e| KubeError::io(&what)(e)))
    }
}

/// No request waits longer than `answer` for its answer to begin, be it an object, a watch or a stream, and
/// none for an answer that stops on the way.
fn bounded(config: Config, answer: Duration) -> Result<Client, kube::Error> {
    let named = move |error: BoxError| if error.is::<Elapsed>() { NoAnswer(answer).into() } else { error };
    let builder = ClientBuilder::try_from(config)?
        .with_layer(&ResponseBodyTimeoutLayer::new(SILENCE))
        .with_layer(&TimeoutLayer::new(answer))
        .with_layer(&MapErrLayer::new(named));
    Ok(builder.build())
}

#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs())]
struct NoAnswer(Duration);

/// Ready by its condition, and not being deleted.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

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

    /// It takes the connection, and that is all.
    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_not_waited_for_for_ever() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", mute.local_addr().unwrap());
        let config = Config::new(url.parse().unwrap());
        let kube = Kube { client: bounded(config, Duration::from_secs(5)).unwrap() };
        let told = crate::sys::chain(&kube.version().await.unwrap_err());
        let expected =
            "could not reach the API server: ServiceError: the API server did not answer within 5 s";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_pod_without_a_status_is_not_ready() {
        assert!(!is_ready(&Pod::default()));
    }
}
