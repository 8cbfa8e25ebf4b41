//! What a cloud makes because of objects in a cluster, and keeps when the cluster alone goes: load balancers
//! and disks. Its controllers take each away while the object's finalizer holds the object back, so an object
//! that is gone says that what it stood for is (Kubernetes documentation, "Finalizers").

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{try_join, try_join_all, try_join3, try_join5};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};

use super::balancer::{addresses, is_balancer};
use super::rollout::{Watched, gone};
use super::{Kube, KubeError, Unresolved};
use crate::sys::wait::{Look, WaitError};

/// A cloud takes a minute or two for an address.
const ADDRESS: Duration = Duration::from_mins(5);
/// How long it may take for one to be given back, or a disk.
const GONE: Duration = Duration::from_mins(5);

/// A load balancer that a cloud made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Balancer {
    /// The Service that it is for: `namespace/name`.
    pub service: String,
    /// An IP address or a host name.
    pub address: String,
}

impl Kube {
    /// Waits until a Service of the type `LoadBalancer` has an address; one of another type wants none.
    /// `limit` is how long that may take, if not five minutes.
    pub async fn balanced(
        &self,
        namespace: &str,
        name: &str,
        limit: Option<Duration>,
    ) -> Result<(), KubeError> {
        let what = format!("the cloud to give Service {namespace}/{name} the address of a load balancer");
        let look = |seen: Service| {
            if !is_balancer(&seen) || !addresses(&seen).is_empty() {
                return Look::Ready(());
            }
            Look::NotYet("it has none".into())
        };
        match self.watched(namespace, name, &what, limit.unwrap_or(ADDRESS), look).await {
            Err(WaitError::TimedOut(mut gave_up)) => {
                let service = format!("{namespace}/{name}");
                gave_up.status = match self.resolve(&service).await {
                    Ok(Err(Unresolved::NoService { instead })) => {
                        format!("it is not there: there is {instead}")
                    }
                    _ => format!(
                        "{}{}\nhint: `kubectl describe service --namespace {namespace} {name}` has its \
                         events: a quota of addresses, perhaps",
                        gave_up.status,
                        self.last_event(namespace, name).await
                    ),
                };
                Err(WaitError::TimedOut(gave_up).into())
            }
            waited => Ok(waited?),
        }
    }

    /// The last that the cloud's controller said of the Service.
    async fn last_event(&self, namespace: &str, name: &str) -> String {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client(), namespace);
        let of = format!("involvedObject.kind=Service,involvedObject.name={name}");
        let listed = events.list(&ListParams::default().fields(&of)).await;
        let last = listed.ok().and_then(|listed| listed.items.into_iter().next_back());
        last.and_then(|event| event.message).map(|said| format!("; it said: {said}")).unwrap_or_default()
    }

    /// The load balancers that there are.
    pub async fn balancers(&self) -> Result<Vec<Balancer>, KubeError> {
        let all: Api<Service> = Api::all(self.client());
        let all = all.list(&ListParams::default()).await;
        let all = all.map_err(KubeError::api("list the Services that have load balancers"))?;
        let of = |service: &Service| {
            let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
            addresses(service).into_iter().map(move |address| Balancer { service: name.clone(), address })
        };
        Ok(all.items.iter().filter(|one| is_balancer(one)).flat_map(of).collect())
    }

    /// Deletes, in the whole cluster, what a load balancer or a disk stands for, and waits until the cloud
    /// has taken those away. For a cluster that goes itself.
    ///
    /// # Errors
    /// Something was not gone in time, each named.
    pub async fn give_back(&self) -> Result<(), KubeError> {
        let services = self.delete_all(|one: &Service| is_balancer(one)).await?;
        let ingresses = self.delete_all(|_: &Ingress| true).await?;
        // A disk goes with its claim, if its volume is not to be retained, and a claim with the last pod that
        // has it (Kubernetes documentation, "Storage Object in Use Protection").
        let claims = self.delete_all(|_: &PersistentVolumeClaim| true).await?;
        let namespaces: BTreeSet<_> = claims.iter().map(|(namespace, _)| namespace.as_str()).collect();
        try_join_all(namespaces.into_iter().map(|namespace| self.stop(namespace))).await?;
        let volumes: Api<PersistentVolume> = Api::all(self.client());
        let listed = volumes.list(&ListParams::default()).await;
        let listed = listed.map_err(KubeError::api("list the volumes"))?.items;
        let goes = |one: &&PersistentVolume| {
            let spec = one.spec.as_ref();
            spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) == Some("Delete")
        };
        let volumes = listed.iter().filter(goes).map(|one| {
            let name = one.name_any();
            let (what, all) = (format!("volume {name} and its disk to be gone"), volumes.clone());
            async move { Ok::<_, KubeError>(gone(all, &name, &what, GONE).await?) }
        });
        let objects = try_join3(
            self.gone_all::<Service>(services),
            self.gone_all::<Ingress>(ingresses),
            self.gone_all::<PersistentVolumeClaim>(claims),
        );
        try_join(objects, try_join_all(volumes)).await.map(drop)
    }

    /// Deletes every pod of a namespace, and first what would make it anew.
    async fn stop(&self, namespace: &str) -> Result<(), KubeError> {
        try_join5(
            self.empty::<CronJob>(namespace),
            self.empty::<Job>(namespace),
            self.empty::<StatefulSet>(namespace),
            self.empty::<Deployment>(namespace),
            self.empty::<DaemonSet>(namespace),
        )
        .await?;
        try_join(self.empty::<ReplicaSet>(namespace), self.empty::<ReplicationController>(namespace)).await?;
        self.empty::<Pod>(namespace).await
    }

    async fn empty<K: Watched>(&self, namespace: &str) -> Result<(), KubeError> {
        let api: Api<K> = Api::namespaced(self.client(), namespace);
        let deleted = api.delete_collection(&DeleteParams::background(), &ListParams::default()).await;
        deleted.map(drop).map_err(KubeError::api(format!("delete every {} of {namespace}", K::kind(&()))))
    }

    /// Those that were told to go, by namespace and name.
    async fn delete_all<K: Watched>(
        &self,
        which: impl Fn(&K) -> bool,
    ) -> Result<Vec<(String, String)>, KubeError> {
        let kind = K::kind(&());
        let all: Api<K> = Api::all(self.client());
        let listed = all.list(&ListParams::default()).await;
        let listed = listed.map_err(KubeError::api(format!("list every {kind}")))?.items;
        let those: Vec<_> = listed.iter().filter(|one| which(one)).collect();
        let deleted = those.iter().map(async |one| {
            let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
            let api: Api<K> = Api::namespaced(self.client(), &namespace);
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => {
                    drop(deleted.map_err(KubeError::api(format!("delete {kind} {namespace}/{name}")))?);
                }
            }
            Ok((namespace, name))
        });
        try_join_all(deleted).await
    }

    async fn gone_all<K: Watched>(&self, those: Vec<(String, String)>) -> Result<(), KubeError> {
        let each = those.into_iter().map(|(namespace, name)| async move {
            let what =
                format!("{} {namespace}/{name}, and what the cloud made for it, to be gone", K::kind(&()));
            let api: Api<K> = Api::namespaced(self.client(), &namespace);
            Ok::<_, KubeError>(gone(api, &name, &what, GONE).await?)
        });
        try_join_all(each).await.map(drop)
    }
}
