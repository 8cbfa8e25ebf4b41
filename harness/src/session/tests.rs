//! What is installed, and when nothing is to be done: by a Helm that keeps what it is given in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::sys::chain;

/// A chart of one ConfigMap that holds the values, and a Helm that stores what it was given last. What is
/// put in its place is done first.
const HELM: &str = r#"#!/bin/sh
here=$(dirname "$0")
while [ "$1" = --kube-context ]; do shift 2; done
echo "$*" >> "$here/calls"
for last in "$@"; do [ "$before" = --namespace ] && namespace=$last; before=$last; done
manifest() {
  printf -- '---\n# Source: web/templates/web.yaml\nkind: ConfigMap\nmetadata: {name: %s}\ndata: %s\n' "$1" "$2"
  printf -- '---\nkind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n'
}
EXTRA
case "$1" in
template) manifest "$2" "$(cat)" ;;
upgrade) manifest "$3" "$(cat)" | head -n 5 > "$here/$namespace.$3" ;;
get) cat "$here/$namespace.$3" 2> /dev/null || { echo 'Error: release: not found' >&2; exit 1; } ;;
esac
"#;

pub(crate) struct World {
    dir: tempfile::TempDir,
    lease: Lease,
    pub(crate) scenario: Scenario,
}

impl World {
    fn new(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (helm, run) = (dir.path().join("helm"), dir.path().join("run"));
        fs::write(&helm, HELM.replace("EXTRA", extra)).unwrap();
        fs::set_permissions(&helm, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&run).unwrap();
        fs::write(
            dir.path().join("kubeconfig"),
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers: [{name: u, user: {}}]\n\
             clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
             contexts: [{name: c, context: {cluster: c, user: u}}]\n",
        )
        .unwrap();
        let scenario = crate::scenario::one_check();
        let lease = Lease::open(run).unwrap();
        let record = Record {
            agent: PathBuf::new(),
            workers: 0,
            cluster: serde_json::from_value(json!({
                "provider": "existing", "name": "c", "kubeconfig": dir.path().join("kubeconfig"),
                "context": null, "published": {},
            }))
            .unwrap(),
            helm,
            images: String::new(),
            versions: BTreeMap::new(),
            renamed: BTreeMap::new(),
            asked: Versions::default(),
            ran: BTreeMap::new(),
            scenarios: vec![],
            fixed: vec![scenario.fixed()],
            installed: BTreeMap::new(),
        };
        record.write(&lease.dir).unwrap();
        Self { dir, lease, scenario }
    }

    /// A scenario that installs `web` into namespace `a`.
    pub(crate) fn with_release(extra: &str) -> Self {
        let mut world = Self::new(extra);
        let (name, chart, namespace) = ("web".into(), PathBuf::from("helm/web"), "a".into());
        world.scenario.install = vec![vec![Release { name, chart, namespace, ..Release::default() }]];
        world
    }

    /// A file beside the Helm, for what it does to depend on.
    pub(crate) fn touch(&self, name: &str) {
        fs::write(self.dir.path().join(name), "").unwrap();
    }

    /// A session of its own, as another process takes the run up.
    pub(crate) async fn session(&self) -> RunContext {
        let record = Record::read(&self.lease.dir).unwrap();
        let kube = Kube::connect(&record.cluster.kubeconfig, None).await.unwrap();
        RunContext::new(&self.lease, record, kube, &Progress::new())
    }

    async fn apply(&self, session: &RunContext, to: &str, values: Value) -> Result<bool, String> {
        let (namespace, name) = to.split_once('/').unwrap();
        let release = Release {
            name: name.into(),
            chart: PathBuf::from("helm/web"),
            namespace: namespace.into(),
            ..Release::default()
        };
        apply(session, &self.scenario, &release, &values).await.map_err(|error| chain(&error))
    }

    pub(crate) fn stands(&self, namespace: &str, release: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{namespace}.{release}"))).unwrap()
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let path = self.dir.path().join("calls");
        let calls = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        let _ = fs::remove_file(path);
        calls
    }
}

fn upgrades(calls: &[String]) -> usize {
    calls.iter().filter(|call| call.starts_with("upgrade ")).count()
}

#[tokio::test]
async fn values_go_by_standard_input_and_are_kept_for_a_person() {
    let world = World::new("");
    let session = world.session().await;
    // The same words, parted otherwise.
    world.apply(&session, "shop/web-api", json!({"mine": "shop"})).await.unwrap();
    world.apply(&session, "shop-web/api", json!({"mine": "shop-web"})).await.unwrap();
    assert!(world.stands("shop", "web-api").contains(r#"{"mine":"shop"}"#));
    assert!(world.stands("shop-web", "api").contains(r#"{"mine":"shop-web"}"#));
    let calls = world.calls();
    assert_eq!(
        calls.iter().find(|call| call.starts_with("upgrade ")).unwrap(),
        &format!(
            "upgrade --install web-api {} --namespace shop --reset-values \
             --labels svidproof.run=run --values -",
            world.scenario.root.join("helm/web").display()
        )
    );
    let kept = world.lease.dir.join("values/shop/web-api.json");
    assert_eq!(fs::read_to_string(&kept).unwrap(), r#"{"mine":"shop"}"#);
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let other = world.lease.dir.join("values/shop-web/api.json");
    assert_eq!(fs::read_to_string(other).unwrap(), r#"{"mine":"shop-web"}"#);
}

/// Helm 3 always applies as the client does, and has no flag for it.
#[rstest]
#[case::helm_4("v4.3.1", " --server-side=false")]
#[case::helm_3("v3.17.3", "")]
#[tokio::test]
async fn what_a_release_says_goes_to_helm(#[case] version: &str, #[case] server_side: &str) {
    let mut world = World::with_release(&format!("[ \"$1\" = version ] && exec echo {version}"));
    world.scenario.file = PathBuf::from("/project/web.yaml");
    let text = "{release: web, namespace: a, chart: helm/web, values-files: [one.yaml, /two.yaml], timeout: 90s, \
                args: [--skip-crds], server-side: false}";
    let release: Release = serde_saphyr::from_str(text).unwrap();
    let applied = apply(&world.session().await, &world.scenario, &release, &json!({"a": 1})).await;
    assert!(applied.map_err(|error| chain(&error)).unwrap());
    let calls = world.calls();
    let given = "--skip-crds --values /project/one.yaml --values /two.yaml --values -";
    let chart = world.scenario.root.join("helm/web").display().to_string();
    assert!(calls.contains(&format!("template web {chart} --namespace a {given}")), "{calls:?}");
    let upgrade = format!(
        "upgrade --install web {chart} --namespace a --reset-values \
         --labels svidproof.run=run --timeout=90s{server_side} {given}"
    );
    assert!(calls.contains(&upgrade), "{calls:?}");
}

/// What is gone on with is what was begun: nobody has to say it again, and nobody can say otherwise.
#[test]
fn a_run_goes_on_with_the_versions_that_it_was_begun_with() {
    let world = World::new("");
    let of = |spire: Option<&str>| Versions::new([("spire", spire.map(str::to_owned))]);
    let mut record = Record::read(&world.lease.dir).unwrap();
    record.asked = of(Some("1.2.3"));
    assert_eq!(record.asked_again(&of(None)).unwrap(), of(Some("1.2.3")));
    assert_eq!(record.asked_again(&of(Some("1.2.3"))).unwrap(), of(Some("1.2.3")));
    let told = record.asked_again(&of(Some("4.5.6"))).unwrap_err();
    assert!(
        told.is_input() && told.to_string().contains("begun with spire 1.2.3, and spire 4.5.6"),
        "{told}"
    );
}

/// `helm upgrade` without values would keep those of before.
#[tokio::test]
async fn no_values_are_given_as_none() {
    let world = World::new("");
    let session = world.session().await;
    world.apply(&session, "a/web", json!({"of": "a stage"})).await.unwrap();
    assert!(world.apply(&session, "a/web", Value::Null).await.unwrap());
    assert!(world.stands("a", "web").ends_with("data: {}\n"), "{}", world.stands("a", "web"));
}

#[tokio::test]
async fn two_releases_of_one_name_are_both_installed() {
    let world = World::new("");
    let session = world.session().await;
    assert!(world.apply(&session, "blue/web", Value::Null).await.unwrap());
    assert!(world.apply(&session, "green/web", Value::Null).await.unwrap(), "in another namespace");
    assert!(!world.apply(&session, "blue/web", Value::Null).await.unwrap());
    let keys: Vec<_> = session.record().installed.into_keys().collect();
    assert_eq!(keys, ["web/blue/web", "web/green/web"]);
}

#[tokio::test]
async fn what_stands_is_looked_at_once_a_session() {
    let world = World::new("");
    let session = world.session().await;
    world.apply(&session, "a/web", json!(1)).await.unwrap();
    world.calls();
    assert!(!world.apply(&session, "a/web", json!(1)).await.unwrap());
    let calls = world.calls();
    assert!(calls.len() == 1 && calls[0].starts_with("template "), "{calls:?}");

    let session = world.session().await;
    assert!(!world.apply(&session, "a/web", json!(1)).await.unwrap());
    let calls = world.calls();
    assert!(calls.contains(&"get manifest web --namespace a".into()) && upgrades(&calls) == 0, "{calls:?}");
    world.apply(&session, "a/web", json!(1)).await.unwrap();
    assert_eq!(world.calls().len(), 1);
}

/// Somebody called Helm by hand: the record does not know.
#[rstest]
#[case::something_else(Some("kind: ConfigMap\nmetadata: {name: web}\ndata: 2\n"))]
#[case::nothing(None)]
#[tokio::test]
async fn what_does_not_stand_any_more_is_put_right(#[case] by_hand: Option<&str>) {
    let world = World::new("");
    world.apply(&world.session().await, "a/web", json!(1)).await.unwrap();
    let stored = world.dir.path().join("a.web");
    match by_hand {
        Some(manifest) => fs::write(&stored, manifest).unwrap(),
        None => fs::remove_file(&stored).unwrap(),
    }
    assert!(world.apply(&world.session().await, "a/web", json!(1)).await.unwrap());
    assert!(world.stands("a", "web").contains("data: 1\n"));
}

#[tokio::test]
async fn what_stands_must_be_what_was_written() {
    // As Helm did it: the values of before stay.
    let world = World::new("[ \"$1 $(cat)\" = 'upgrade {}' ] && exit 0\n");
    fs::write(world.dir.path().join("a.web"), "kind: ConfigMap\nmetadata: {name: web}\ndata: {\"a\": 1}\n")
        .unwrap();
    let session = world.session().await;
    let error = world.apply(&session, "a/web", Value::Null).await.unwrap_err();
    assert!(
        error.starts_with(
            "scenario web: what stands is not what was written: release web (namespace a): ConfigMap web is \
             otherwise\nhint: "
        ),
        "{error}"
    );
    assert!(session.record().installed.is_empty(), "nobody knows");
    assert_eq!(upgrades(&world.calls()), 1);
}

#[tokio::test]
async fn a_chart_that_is_not_deterministic_is_told_apart() {
    let world = World::new(r#"manifest() { echo "kind: Secret"; echo "metadata: {name: $1, uid: $$}"; }"#);
    let error = world.apply(&world.session().await, "a/web", Value::Null).await.unwrap_err();
    assert!(error.contains("is not deterministic") && error.contains("Secret web is otherwise"), "{error}");
}

/// A chart may ask the cluster for its version, its kinds or an object.
#[tokio::test]
async fn what_the_cluster_makes_different_is_no_mistake() {
    let extra = r#"case "$*" in upgrade*|*--dry-run=server*) manifest() { echo "kind: Service"; } ;; esac"#;
    let world = World::new(extra);
    assert!(world.apply(&world.session().await, "a/web", Value::Null).await.unwrap());
    assert!(!world.apply(&world.session().await, "a/web", Value::Null).await.unwrap(), "it stays as it is");
}

/// Helm 3 takes the cluster's version for what it is only where it validates.
#[tokio::test]
async fn what_the_cluster_makes_different_is_no_mistake_to_helm_3_either() {
    let extra = r#"[ "$1" = version ] && exec echo v3.17.3
case "$*" in upgrade*|*--validate*) manifest() { echo "kind: Service"; } ;; esac"#;
    let world = World::new(extra);
    assert!(world.apply(&world.session().await, "a/web", Value::Null).await.unwrap());
}

/// A chart of definitions alone, or of nothing: Helm says nothing of a manifest.
#[rstest]
#[case("manifest() { :; }")]
#[case("manifest() { echo; }")]
#[tokio::test]
async fn a_chart_that_makes_nothing_is_installed(#[case] extra: &str) {
    let world = World::new(extra);
    assert!(world.apply(&world.session().await, "a/web", Value::Null).await.unwrap());
    assert!(!world.apply(&world.session().await, "a/web", Value::Null).await.unwrap());
}

/// `svidproof down` of a newer svidproof has to find the cluster.
#[test]
fn a_record_of_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let record = json!({
        "cluster": {"provider": "existing", "name": "c", "kubeconfig": "k", "context": null, "published": {}},
        "helm": "helm", "images": "", "scenarios": [], "applied": {"web/web": "0123"},
    });
    fs::write(dir.path().join("session.json"), record.to_string()).unwrap();
    assert_eq!(Record::read(dir.path()).unwrap().helm, Path::new("helm"));
}

#[test]
fn values_go_to_the_release_that_they_name() {
    let release = |namespace: &str| Release {
        name: "web".into(),
        namespace: namespace.into(),
        values: json!({"own": 1}),
        ..Release::default()
    };
    let stage: BTreeMap<_, _> = [("blue/web".to_owned(), json!({"of": "blue"}))].into();
    let fault: BTreeMap<_, _> = [("web".to_owned(), json!({"own": 2}))].into();
    assert_eq!(stage_values(&release("blue"), &[&stage, &fault]), json!({"own": 2, "of": "blue"}));
    assert_eq!(stage_values(&release("green"), &[&stage]), json!({"own": 1}));
}
