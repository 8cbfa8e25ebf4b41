//! One Lease object (coordination.k8s.io) a cluster: while one run works on a cluster that is not its own,
//! no other does. It also says what the run may have made, so that another machine can take it down.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::ours::{RUN_LABEL, gone};
use super::{Kube, KubeError};

/// Where it is, and what it is called: the namespace is in every cluster.
const PLACE: (&str, &str) = ("default", "svidproof");
const HOST: &str = "svidproof.dev/host";
const THINGS: &str = "svidproof.dev/things";

/// A run that was not heard of for as long has expired.
pub const AT_WORK: Duration = Duration::from_mins(10);
/// So long one that is kept on purpose is not disturbed.
pub const KEPT: Duration = Duration::from_hours(7 * 24);

/// What a cluster says of the run that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The run's ID.
    pub run: String,
    /// The machine that it was started on.
    pub host: String,
    /// Since when.
    pub since: String,
    /// Whether it was not heard of for longer than it said.
    pub expired: bool,
    /// What it may have made, as JSON.
    pub things: String,
}

impl Kube {
    /// Who holds the cluster.
    pub async fn claimed(&self) -> Result<Option<Claim>, KubeError> {
        let found = self.leases().get_opt(PLACE.1).await.map_err(KubeError::api(what("read")))?;
        Ok(found.map(|lease| Claim::of(lease, Timestamp::now())))
    }

    /// Takes the cluster for the run, unless another has it: that one is returned then.
    pub async fn claim(&self, run: &str, things: &str) -> Result<Option<Claim>, KubeError> {
        let now = Timestamp::now();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(PLACE.1.into()),
                labels: Some([(RUN_LABEL.to_owned(), run.to_owned())].into()),
                annotations: Some([(HOST.to_owned(), host), (THINGS.to_owned(), things.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(run.into()),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                lease_duration_seconds: Some(seconds(AT_WORK)),
                ..LeaseSpec::default()
            }),
        };
        match self.leases().create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => self.claimed().await,
            Err(error) => Err(KubeError::api(what("make"))(error)),
        }
    }

    /// Says that the run is still there, and for how long to believe it.
    pub async fn renew(&self, run: &str, believe: Duration) -> Result<(), KubeError> {
        let now = MicroTime(Timestamp::now());
        // It must be the run's still: a test fails the whole patch (RFC 6902, section 5).
        let patch = serde_json::from_value(json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": run },
            { "op": "replace", "path": "/spec/renewTime", "value": now },
            { "op": "replace", "path": "/spec/leaseDurationSeconds", "value": seconds(believe) },
        ]))
        .map_err(|error| KubeError::other(what("renew"))(error.to_string()))?;
        let patched = self.leases().patch(PLACE.1, &PatchParams::default(), &Patch::<()>::Json(patch)).await;
        patched.map(drop).map_err(KubeError::api(what("renew")))
    }

    /// Gives the cluster back, if the run has it.
    pub async fn release_claim(&self, run: &str) -> Result<(), KubeError> {
        let found = self.leases().get_opt(PLACE.1).await.map_err(KubeError::api(what("read")))?;
        let Some(found) = found.filter(|lease| holder(lease) == run) else { return Ok(()) };
        let this = Preconditions { uid: found.metadata.uid, resource_version: None };
        let only = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        gone(self.leases().delete(PLACE.1, &only).await).map_err(KubeError::api(what("delete")))
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client(), PLACE.0)
    }
}

impl Claim {
    fn of(lease: Lease, now: Timestamp) -> Self {
        let annotations = lease.metadata.annotations.clone().unwrap_or_default();
        let said = |key: &str, annotations: &BTreeMap<String, String>| {
            annotations.get(key).cloned().unwrap_or_default()
        };
        let run = holder(&lease);
        let spec = lease.spec.unwrap_or_default();
        let believed = i64::from(spec.lease_duration_seconds.unwrap_or_default());
        let renewed = spec.renew_time.map_or(0, |time| time.0.as_second());
        Self {
            run,
            host: said(HOST, &annotations),
            since: spec.acquire_time.map(|time| time.0.to_string()).unwrap_or_default(),
            expired: renewed.saturating_add(believed) < now.as_second(),
            things: said(THINGS, &annotations),
        }
    }
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn what(doing: &str) -> String {
    format!("{doing} Lease {}/{}, by which one run at a time works on a cluster", PLACE.0, PLACE.1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::heard_of(300, 599, false)]
    #[case::silent(300, 901, true)]
    #[case::kept(604_800, 86_400, false)]
    fn a_run_that_is_not_heard_of_expires(#[case] believed: i32, #[case] after: i64, #[case] expired: bool) {
        let renewed = Timestamp::from_second(1_000_000).unwrap();
        let spec = LeaseSpec {
            holder_identity: Some("0a1b2c3d".into()),
            renew_time: Some(MicroTime(renewed)),
            lease_duration_seconds: Some(believed),
            ..LeaseSpec::default()
        };
        let lease = Lease { spec: Some(spec), ..Lease::default() };
        let now = Timestamp::from_second(1_000_000 + after - 300).unwrap();
        let claim = Claim::of(lease, now);
        assert_eq!((claim.run.as_str(), claim.expired), ("0a1b2c3d", expired));
    }
}
