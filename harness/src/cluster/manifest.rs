//! A chart's manifests as the set of objects that they are: order, comments and the lines that name a
//! document's source do not count. Not for where they come from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How many objects an error names.
const NAMED: usize = 3;

/// A workload of a release, to be waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// What its controller is.
    pub kind: WorkloadKind,
    /// Where it is.
    pub namespace: String,
    /// Its object's name.
    pub name: String,
}

/// The controllers that roll pods out (Kubernetes documentation, "Workload Management").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum WorkloadKind {
    /// Pods that are alike, replaced a few at a time.
    Deployment,
    /// Pods with names of their own, replaced one at a time.
    StatefulSet,
    /// One pod a node.
    DaemonSet,
}

/// An object of a release by which it is known in the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// `group/version`, or the version of the core group.
    pub api_version: String,
    /// As the manifest has it.
    pub kind: String,
    /// Where it is, if it is in a namespace at all.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The groups of Kubernetes' own API (Kubernetes documentation, "API Groups"); the objects of all others are
/// custom.
const OWN: [&str; 25] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "settings.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

impl Named {
    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether its status says when it is done or ready, and it is none of the workloads.
    fn settles(&self) -> bool {
        matches!((self.group(), self.kind.as_str()), ("batch", "Job"))
            || self.kind == "CustomResourceDefinition"
            || !OWN.contains(&self.group())
    }
}

/// What a chart makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// In an order of their own: by kind, namespace and name.
    objects: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    /// `kind/name`, with its namespace where it says one.
    name: String,
    /// With its keys in order.
    text: String,
    /// Helm runs it, and stores nothing of it.
    is_hook: bool,
    /// A hook that only `helm test` runs.
    is_test: bool,
    workload: Option<Workload>,
    /// Absent for what is no object.
    named: Option<Named>,
}

impl Manifest {
    /// What `text` makes in a release of this namespace.
    pub fn read(text: &str, namespace: &str) -> Self {
        let mut objects: Vec<_> =
            documents(text).flat_map(|document| Object::read(document, namespace)).collect();
        objects.sort();
        Self { objects }
    }

    /// What Helm stores of it. Hooks are run and not kept.
    #[must_use]
    pub fn without_hooks(&self) -> Self {
        Self { objects: self.objects.iter().filter(|object| !object.is_hook).cloned().collect() }
    }

    /// A digest, the same for manifests that make the same.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for object in &self.objects {
            digest.update(&object.text);
            digest.update([0]);
        }
        hex::encode(digest.finalize())
    }

    /// The workloads whose pods are there as long as the release is.
    pub fn workloads(&self) -> Vec<Workload> {
        self.objects.iter().filter(|object| !object.is_hook).filter_map(|one| one.workload.clone()).collect()
    }

    /// The Services.
    pub fn services(&self) -> Vec<Named> {
        let named = self.objects.iter().filter(|object| !object.is_hook).filter_map(|one| one.named.clone());
        named.filter(|one| one.kind == "Service" && one.group().is_empty()).collect()
    }

    /// The objects, beside the workloads, that say of themselves when they are done or ready: Jobs,
    /// definitions of custom resources, and custom resources.
    pub fn settling(&self) -> Vec<Named> {
        let kept = self.objects.iter().filter(|object| !object.is_hook);
        kept.filter_map(|one| one.named.clone()).filter(Named::settles).collect()
    }

    /// The objects that Helm makes before or after all others, and waits for by itself.
    pub fn hooks(&self) -> Vec<Named> {
        let hooks = self.objects.iter().filter(|object| object.is_hook && !object.is_test);
        hooks.filter_map(|one| one.named.clone()).collect()
    }

    /// These, and the tests.
    pub fn all_hooks(&self) -> Vec<Named> {
        self.objects.iter().filter(|object| object.is_hook).filter_map(|one| one.named.clone()).collect()
    }

    /// Whether `helm test` has something to run.
    pub fn has_tests(&self) -> bool {
        self.objects.iter().any(|object| object.is_test)
    }

    /// The first objects in which `other` is otherwise, in words; `None` where it makes the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let texts = |one: &Self| one.objects.clone().into_iter().collect::<BTreeSet<_>>();
        let (own, others) = (texts(self), texts(other));
        let names = |objects: &BTreeSet<Object>| {
            objects.iter().map(|object| object.name.clone()).collect::<BTreeSet<_>>()
        };
        let (here, there) = (names(&own), names(&others));
        let otherwise: BTreeSet<_> = own.symmetric_difference(&others).map(|object| &object.name).collect();
        let word = |name: &&String| match (here.contains(*name), there.contains(*name)) {
            (true, false) => format!("{name} is missing"),
            (false, true) => format!("{name} is there as well"),
            _ => format!("{name} is otherwise"),
        };
        let mut words: Vec<_> = otherwise.iter().take(NAMED).map(word).collect();
        if otherwise.is_empty() {
            // The same objects, some of them more often.
            if self.objects == other.objects {
                return None;
            }
            words.push("an object is there more than once".into());
        }
        let mut told = words.join(", ");
        if otherwise.len() > NAMED {
            let _ = write!(told, ", and {} more", otherwise.len() - NAMED);
        }
        Some(told)
    }
}

impl Object {
    /// The document's object, or each of those that it lists. Helm makes what is listed as if it stood alone,
    /// but takes the whole document for a hook or for none.
    fn read(document: &str, release_namespace: &str) -> Vec<Self> {
        // What is not understood here is compared as it is written.
        let value: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|_| Value::String(without_comments(document)));
        let hook = value.pointer("/metadata/annotations/helm.sh~1hook");
        let events = hook.and_then(Value::as_str).map(|events| events.split(',').map(str::trim));
        let is_hook = hook.is_some();
        let is_test = events.is_some_and(|mut all| all.all(|event| event.starts_with("test")));
        let all = listed(value).into_iter();
        all.map(|value| Self { is_hook, is_test, ..Self::of(&value, release_namespace) }).collect()
    }

    fn of(value: &Value, release_namespace: &str) -> Self {
        let text = |at: &str| value.pointer(at).and_then(Value::as_str);
        let (kind, name) = (text("/kind").unwrap_or("document"), text("/metadata/name").unwrap_or("?"));
        let namespace = text("/metadata/namespace");
        let workload = || {
            Some(Workload {
                kind: serde_json::from_value(Value::from(kind)).ok()?,
                namespace: namespace.unwrap_or(release_namespace).into(),
                name: text("/metadata/name")?.into(),
            })
        };
        let named = || {
            Some(Named {
                api_version: text("/apiVersion")?.into(),
                kind: text("/kind")?.into(),
                namespace: namespace.unwrap_or(release_namespace).into(),
                name: text("/metadata/name")?.into(),
            })
        };
        let within = namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Self {
            name: format!("{kind} {within}{name}"),
            // A map's keys are in order.
            text: value.to_string(),
            is_hook: false,
            is_test: false,
            workload: workload(),
            named: named(),
        }
    }
}

/// The objects of a `List`, of lists in it as well; anything else is its own only one.
fn listed(mut value: Value) -> Vec<Value> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items.into_iter().flat_map(listed).collect(),
        Some(items) => {
            value["items"] = items;
            vec![value]
        }
        None => vec![value],
    }
}

fn without_comments(document: &str) -> String {
    let lines = document.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// The documents of a manifest, without those that hold nothing. Helm puts each after a line of its own.
pub fn documents(manifest: &str) -> impl Iterator<Item = &str> {
    let holds =
        |document: &&str| !document.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
    manifest.split("\n---").map(|text| text.trim_start_matches("---")).filter(holds)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(text: &str) -> Manifest {
        Manifest::read(text, "default")
    }

    const TWO: &str = "---\n# Source: web/templates/a.yaml\nkind: Service\nmetadata: {name: s}\n\
                       ---\n# Source: web/templates/b.yaml\nkind: ConfigMap\nmetadata: {name: c}\n\
                       data: {a: one, b: two}\n";

    #[test]
    fn workloads_are_found_whatever_stands_around_them() {
        let manifest = read(
            "---\n# Source: a\nkind: Service\nmetadata: {name: s}\n\
             ---\n# nothing\n---\nkind: Deployment\nmetadata: {name: d}\n\
             ---\nkind: StatefulSet\nmetadata: {name: h, annotations: {helm.sh/hook: pre-install}}\n\
             ---\nkind: DaemonSet\nmetadata: {name: a, namespace: spire}\n",
        );
        let workload = |kind, namespace: &str, name: &str| Workload {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        };
        let expected = [
            workload(WorkloadKind::DaemonSet, "spire", "a"),
            workload(WorkloadKind::Deployment, "default", "d"),
        ];
        assert_eq!(manifest.workloads(), expected);
    }

    #[rstest]
    #[case::a_job("batch/v1", "Job", true)]
    #[case::another_job("other.test/v1", "Job", true)]
    #[case::a_definition("apiextensions.k8s.io/v1", "CustomResourceDefinition", true)]
    #[case::a_custom_resource("gateway.networking.k8s.io/v1", "Gateway", true)]
    #[case::a_cron_job("batch/v1", "CronJob", false)]
    #[case::of_the_core("v1", "Service", false)]
    #[case::a_workload("apps/v1", "Deployment", false)]
    #[case::our_own("networking.k8s.io/v1", "Ingress", false)]
    fn what_says_of_itself_when_it_is_done_is_found(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] expected: bool,
    ) {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: one");
        let found = |more: &str| {
            let manifest = read(&format!("{text}{more}}}\n"));
            (manifest.settling().len(), manifest.hooks().len())
        };
        assert_eq!(found(", namespace: b"), (usize::from(expected), 0));
        assert_eq!(found(", annotations: {helm.sh/hook: pre-install}"), (0, 1));
        assert_eq!(found(", annotations: {helm.sh/hook: 'test, test-success'}"), (0, 0));
    }

    #[test]
    fn what_a_list_holds_is_waited_for_and_compared() {
        let item = |kind: &str, name: &str| format!("{{kind: {kind}, metadata: {{name: {name}}}}}");
        let text = |name: &str, head: &str| {
            let inner = format!("{{kind: List, items: [{}]}}", item("StatefulSet", name));
            format!("---\nkind: List\n{head}items: [{}, {inner}]\n", item("Deployment", "d"))
        };
        let names =
            |text: &str| read(text).workloads().into_iter().map(|one| one.name).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&text("s", "")), "d s");
        assert_eq!(names(&text("s", "metadata: {annotations: {helm.sh/hook: test}}\n")), "");
        let told = read(&text("s", "")).difference(&read(&text("t", "")));
        assert_eq!(told.as_deref(), Some("StatefulSet s is missing, StatefulSet t is there as well"));
        assert_eq!(read("kind: Other\nitems: [a]\n"), read("items: [a]\nkind: Other\n"));
        assert_ne!(read("kind: Other\nitems: [a]\n"), read("kind: Other\nitems: [b]\n"));
    }

    #[rstest]
    #[case::the_same(TWO)]
    #[case::another_order_and_other_comments(
        "# mine\n---\n# b\nkind: ConfigMap\ndata:\n  b: two\n  # here too\n  a: one\nmetadata: {name: c}\n\
         ---\n\n---\n{\"kind\": \"Service\", \"metadata\": {\"name\": \"s\"}}\n"
    )]
    fn what_makes_the_same_is_the_same(#[case] other: &str) {
        assert_eq!(read(TWO).difference(&read(other)), None);
        assert_eq!(read(TWO).fingerprint(), read(other).fingerprint());
    }

    #[rstest]
    #[case::a_value("a: one", "a: three", "ConfigMap c is otherwise")]
    #[case::a_name("name: s}", "name: t}", "Service s is missing, Service t is there as well")]
    #[case::a_namespace(
        "name: s}",
        "name: s, namespace: shop}",
        "Service s is missing, Service shop/s is there as well"
    )]
    #[case::one_twice(
        "---\n# Source: web/templates/b",
        "---\nkind: Service\nmetadata: {name: s}\n---\n# b",
        "an object is there more than once"
    )]
    #[case::many(
        "kind: Service",
        "kind: A\n---\nkind: B\n---\nkind: C\n---\nkind: D",
        "A ? is there as well, B ? is there as well, C ? is there as well, and 2 more"
    )]
    #[case::what_is_not_yaml("kind: Service", "kind: [", "Service s is missing, document ? is there as well")]
    fn what_is_otherwise_is_named(#[case] from: &str, #[case] to: &str, #[case] expected: &str) {
        assert!(TWO.contains(from));
        let (one, other) = (read(TWO), read(&TWO.replace(from, to)));
        assert_eq!(one.difference(&other).as_deref(), Some(expected));
        assert_ne!(one.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_hook_is_not_stored() {
        let hook = "---\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\n";
        let with = read(&format!("{TWO}{hook}"));
        assert_ne!(with.fingerprint(), read(TWO).fingerprint(), "but it is rendered");
        assert_eq!(with.without_hooks(), read(TWO));
    }

    #[rstest]
    #[case("")]
    #[case("\n")]
    #[case("---\n# Source: nothing\n")]
    fn an_empty_manifest_makes_nothing(#[case] text: &str) {
        assert_eq!(read(text), read(""));
        assert_eq!(read(text).workloads(), []);
    }
}
