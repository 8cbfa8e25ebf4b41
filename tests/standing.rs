//! How a cluster that is somebody else's looks, to be held against how it looked before.

use serde_json::Value;

/// What is compared. Pods and their like change by themselves.
const KINDS: &str = "namespaces,secrets,configmaps,serviceaccounts,services,deployments,daemonsets,\
                     statefulsets,roles,rolebindings,clusterroles,clusterrolebindings";

/// All that is there, but for what the cluster itself writes; the entries of these pods of SPIRE servers in the
/// namespace `spire`, the runs that hold it.
///
/// # Panics
/// What kubectl printed is not what it prints.
pub fn looks(kubectl: &dyn Fn(&[&str]) -> String, servers: &[&str]) -> String {
    let listed = kubectl(&["get", KINDS, "--all-namespaces", "--output", "json"]);
    let mut listed: Value = serde_json::from_str(&listed).expect("kubectl prints JSON");
    let items = listed["items"].as_array_mut().expect("a list has items");
    for item in &mut *items {
        let item = item.as_object_mut().expect("an object is one");
        let has_status = item.remove("status").is_some();
        let metadata = item["metadata"].as_object_mut().expect("an object has metadata");
        metadata.remove("managedFields");
        if has_status {
            // It moves with the status too; what is wanted has a `generation`.
            metadata.remove("resourceVersion");
        }
    }
    let mut lines: Vec<_> = items.iter().map(ToString::to_string).collect();
    lines.sort();
    lines.push(kubectl(&["get", "lease", "--namespace", "default", "--output", "name"]));
    for server in servers {
        let show = ["--", "/opt/spire/bin/spire-server", "entry", "show"];
        let exec = ["exec", "--namespace", "spire", server];
        lines.push(kubectl(&exec.into_iter().chain(show).collect::<Vec<_>>()));
    }
    lines.join("\n")
}

/// What differs, a line each.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let gone = before.lines().filter(|line| !after.contains(line));
    let new = after.lines().filter(|line| !before.contains(line));
    gone.map(|line| format!("- {line:.300}")).chain(new.map(|line| format!("+ {line:.300}"))).collect()
}

/// # Panics
/// They differ.
#[track_caller]
pub fn same(before: &str, after: &str, what: &str) {
    assert!(before == after, "{what}:\n{}", difference(before, after).join("\n"));
}
