//! What is needed to understand a bring-up that failed, gathered while the cluster still stands: warning
//! events, what Helm says of releases that are not ready, the last errors in the logs of SPIRE.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};

use super::{Record, SessionError};
use crate::cluster::kube::{Kube, KubeError};
use crate::lease::Lease;
use crate::scenario::Scenario;
use crate::sys::bounded::end_of;
use crate::sys::chain;
use crate::sys::files;
use crate::sys::tool::Tool;

/// How many events are told, the last ones.
const EVENTS: usize = 40;
/// Where the last error is looked for.
const LOG_LINES: i64 = 500;
/// A cluster that answers does so by then; nobody waits longer for what only explains.
const LIMIT: Duration = Duration::from_secs(20);

/// Writes `up-failed.txt` into `out`, with the failure in words, and returns its path; `None` where there is
/// no cluster yet.
pub async fn autopsy(
    lease: &Lease,
    scenarios: &[Scenario],
    failure: &str,
    out: &Path,
) -> Result<Option<PathBuf>, SessionError> {
    let Ok(record) = Record::read(&lease.dir) else { return Ok(None) };
    let told = tokio::time::timeout(LIMIT, told(&record, scenarios)).await;
    let told = told.unwrap_or_else(|_| format!("the cluster did not answer within {LIMIT:?}\n"));
    files::make_folder(out)?;
    let path = out.join("up-failed.txt");
    let failure = section("what failed", Ok(vec![failure.to_owned()]));
    files::write(&path, format!("run {}\n\n{failure}{told}", lease.id))?;
    Ok(Some(path))
}

async fn told(record: &Record, scenarios: &[Scenario]) -> String {
    let kube = match Kube::connect(&record.cluster.kubeconfig, record.cluster.context.as_deref()).await {
        Ok(kube) => kube,
        Err(error) => return chain(&error) + "\n",
    };
    let mut text = section("warning events, the last ones", events(&kube).await);
    for scenario in scenarios {
        for release in scenario.install.iter().flatten() {
            let key = format!("{}/{}", scenario.name, release.full_name());
            if !record.installed.contains_key(&key) {
                let status = status(record, &release.name, &release.namespace).await;
                text += &section(&format!("helm status of {key}, which is not ready"), Ok(status));
            }
        }
        let namespace = &scenario.spire.namespace;
        let what = format!("last errors in the logs of namespace {namespace} (SPIRE)");
        text += &section(&what, errors(&kube, namespace).await);
    }
    text
}

fn section(title: &str, lines: Result<Vec<String>, KubeError>) -> String {
    let lines = lines.unwrap_or_else(|error| vec![chain(&error)]);
    let lines = if lines.is_empty() { "none".into() } else { lines.join("\n") };
    format!("## {title}\n{lines}\n\n")
}

async fn events(kube: &Kube) -> Result<Vec<String>, KubeError> {
    let events: Api<Event> = Api::all(kube.client());
    let listed = events.list(&ListParams::default().fields("type=Warning")).await;
    let mut all = listed.map_err(KubeError::api("list events"))?.items;
    all.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let from = all.len().saturating_sub(EVENTS);
    Ok(all[from..].iter().map(line).collect())
}

fn line(event: &Event) -> String {
    let about = &event.involved_object;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{} {}/{}: {}: {} (seen {} times)",
        text(&about.kind),
        text(&about.namespace),
        text(&about.name),
        text(&event.reason),
        text(&event.message).trim(),
        event.count.unwrap_or(1)
    )
}

async fn status(record: &Record, name: &str, namespace: &str) -> Vec<String> {
    let mut tool = Tool::new(&record.helm).env("KUBECONFIG", &record.cluster.kubeconfig);
    if let Some(context) = &record.cluster.context {
        tool = tool.args(["--kube-context", context]);
    }
    match tool.args(["status", name, "--namespace", namespace]).run().await {
        Ok(output) => output.stdout.lines().map(str::to_owned).collect(),
        Err(error) => vec![chain(&error)],
    }
}

async fn errors(kube: &Kube, namespace: &str) -> Result<Vec<String>, KubeError> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
    let listed = pods.list(&ListParams::default()).await;
    let mut found = vec![];
    for pod in listed.map_err(KubeError::api(format!("list pods of namespace {namespace}")))?.items {
        let name = pod.metadata.name.unwrap_or_default();
        for container in pod.spec.into_iter().flat_map(|spec| spec.containers) {
            let container = container.name;
            let tail = LogParams {
                container: Some(container.clone()),
                tail_lines: Some(LOG_LINES),
                ..Default::default()
            };
            // One that never started has none.
            let log = match pods.log_stream(&name, &tail).await {
                Ok(log) => end_of(log).await.unwrap_or_default().into_string(),
                Err(_) => String::new(),
            };
            found.extend(last_error(&log).map(|line| format!("{name}, container {container}: {line}")));
        }
    }
    Ok(found)
}

/// SPIRE's own words for what went wrong last, in either of its formats.
pub(super) fn last_error(log: &str) -> Option<&str> {
    log.lines().rev().find(|line| line.contains("level=error") || line.contains("\"level\":\"error\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_found() {
        let log = "time=1 level=error msg=first\ntime=2 level=info\ntime=3 level=error msg=last\ntime=4 level=info\n";
        assert_eq!(last_error(log), Some("time=3 level=error msg=last"));
        assert_eq!(
            last_error("{\"level\":\"error\",\"msg\":\"x\"}"),
            Some("{\"level\":\"error\",\"msg\":\"x\"}")
        );
        assert_eq!(last_error("level=info\n"), None);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(section("a", Ok(vec![])), "## a\nnone\n\n");
    }
}
