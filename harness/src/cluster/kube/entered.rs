//! Manifests of SPIRE's controller manager: whether the entries that they stand for are in the server, as the
//! manager says in their status (spire-controller-manager, docs/clusterspiffeid-crd.md and
//! clusterstaticentry-crd.md).

use std::time::Duration;

use futures::StreamExt;
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;

use super::rollout::unbroken;
use super::settle::in_words;
use super::{Kube, KubeError, WatchEnd};
use crate::cluster::manifest::Named;
use crate::sys::wait::Look;

impl Kube {
    /// Waits until the entries of a `ClusterSPIFFEID` or a `ClusterStaticEntry` are in the server. Other
    /// objects have none.
    pub async fn entered(&self, object: &Named, limit: Duration) -> Result<(), KubeError> {
        let look: fn(&Value) -> Look<(), WatchEnd> = match object.kind.as_str() {
            "ClusterSPIFFEID" => of_pods,
            "ClusterStaticEntry" => of_one,
            _ => return Ok(()),
        };
        let api = self.dynamic(object).await?;
        let config = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
        let seen = watcher(api, config).default_backoff().applied_objects().boxed();
        let what = format!("the entries of {}", in_words(object));
        let look = |seen: DynamicObject| look(&serde_json::to_value(seen).unwrap_or_default());
        Ok(unbroken(seen, &what, limit, look).await?)
    }
}

const SILENT: &str = "its controller says nothing of it: does it run, and is this its `className`?";

fn of_pods(value: &Value) -> Look<(), WatchEnd> {
    let Some(stats) = value.pointer("/status/stats") else { return Look::NotYet(SILENT.into()) };
    let number = |key: &str| stats[key].as_u64().unwrap_or(0);
    let (pods, namespaces) = (number("podsSelected"), number("namespacesSelected"));
    if pods == 0 {
        let ignored = number("namespacesIgnored");
        return Look::NotYet(format!("it selects no pod in {namespaces} namespaces ({ignored} are ignored)"));
    }
    let (unread, refused) = (number("podEntryRenderFailures"), number("entryFailures"));
    if unread + refused > 0 {
        return Look::NotYet(format!(
            "of {pods} pods its templates are of no use for {unread}, and the server refused the entries of \
             {refused}: the controller's log says why"
        ));
    }
    match number("entriesToSet") + number("entriesMasked") {
        0 => Look::NotYet(format!("{pods} pods are selected, and none has an entry yet")),
        _ => Look::Ready(()),
    }
}

fn of_one(value: &Value) -> Look<(), WatchEnd> {
    let Some(status) = value.get("status") else { return Look::NotYet(SILENT.into()) };
    let is = |key: &str| status[key] == true;
    match (is("rendered"), is("masked"), is("set")) {
        (_, _, true) | (_, true, _) => Look::Ready(()),
        (false, ..) => Look::NotYet("it is no entry as it is written: the controller's log says why".into()),
        _ => Look::NotYet("the server did not take its entry: the controller's log says why".into()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn told(look: Look<(), WatchEnd>) -> String {
        match look {
            Look::Ready(()) => "ready".into(),
            Look::NotYet(status) => status,
            Look::Fatal(end) => panic!("{end}"),
        }
    }

    #[rstest]
    #[case::nothing_said(json!({}), SILENT)]
    #[case::set(json!({"podsSelected": 2, "entriesToSet": 2, "namespacesSelected": 1}), "ready")]
    #[case::anothers_is_the_same(json!({"podsSelected": 1, "entriesMasked": 1}), "ready")]
    #[case::not_yet(json!({"podsSelected": 2}), "2 pods are selected, and none has an entry yet")]
    #[case::no_pod(
        json!({"namespacesSelected": 3, "namespacesIgnored": 1}),
        "it selects no pod in 3 namespaces (1 are ignored)"
    )]
    #[case::templates(
        json!({"podsSelected": 2, "podEntryRenderFailures": 1, "entriesToSet": 1}),
        "of 2 pods its templates are of no use for 1, and the server refused the entries of 0: the \
         controller's log says why"
    )]
    #[case::refused(
        json!({"podsSelected": 2, "entryFailures": 2, "entriesToSet": 2}),
        "of 2 pods its templates are of no use for 0, and the server refused the entries of 2: the \
         controller's log says why"
    )]
    fn entries_of_pods_are_there(#[case] stats: Value, #[case] expected: &str) {
        let object =
            if stats == json!({}) { json!({"status": {}}) } else { json!({"status": {"stats": stats}}) };
        assert_eq!(told(of_pods(&object)), expected);
    }

    #[rstest]
    #[case::nothing_said(json!({}), SILENT)]
    #[case::set(json!({"status": {"rendered": true, "masked": false, "set": true}}), "ready")]
    #[case::anothers_is_the_same(json!({"status": {"rendered": true, "masked": true, "set": false}}), "ready")]
    #[case::refused(
        json!({"status": {"rendered": true, "masked": false, "set": false}}),
        "the server did not take its entry: the controller's log says why"
    )]
    #[case::not_read(
        json!({"status": {"rendered": false, "masked": false, "set": false}}),
        "it is no entry as it is written: the controller's log says why"
    )]
    fn a_static_entry_is_there(#[case] object: Value, #[case] expected: &str) {
        assert_eq!(told(of_one(&object)), expected);
    }
}
