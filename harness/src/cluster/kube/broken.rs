//! Whether a container of a pod that was ready has ended since: a pod without a readiness probe is ready as
//! soon as its containers have begun, also those that crash at once.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::fate::ended;
use super::{Backend, Kube};

impl Kube {
    /// In words, which container ended and with what last line; `None` where all of them run as they were
    /// begun, or that cannot be read.
    pub async fn broken(&self, backend: &Backend) -> Option<String> {
        let Backend { namespace, pod: name, .. } = backend;
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let pod = pods.get_opt(name).await.ok()?;
        let Some(pod) = pod else { return Some(format!("pod {name} is gone")) };
        let (container, why) = ended(&pod, &backend.incarnation)?;
        let log = self.last_words(namespace, name, Some(&container)).await;
        Some(format!("pod {name}: {why}{log}"))
    }
}
