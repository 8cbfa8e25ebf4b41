//! What is followed, and what counts as a change of it.

use std::fs;
use std::os::unix::fs::symlink;

use notify::EventKind;
use notify::event::{AccessKind, CreateKind, Flag, ModifyKind};
use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::scenario::{Client, load};

const SCENARIO: &str = r#"scenario: web
trust-domain: example.org
spire: {namespace: spire, server: spire-server, socket-dir: /run/spire}
install:
  - - {release: web, chart: helm/web, namespace: web}
registration:
  - id: /ns/web/sa/web
    select: ["k8s:ns:web"]
endpoints: {web: {service: web/web, port: 443, identity: /ns/web/sa/web, admin: 9901}}
clients: {friend: /ns/web/sa/friend}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
"#;

/// A project whose chart has a library behind a link, and one file behind another.
fn project() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in
        ["helm/web/charts", "helm/web/files", "helm/lib/templates", "helm/other", "shared", "tests/scenarios"]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let files = [
        ("helm/web/Chart.yaml", "name: web"),
        ("shared/page", "hello"),
        ("tests/scenarios/web.yaml", SCENARIO),
    ];
    for (path, text) in files {
        fs::write(root.join(path), text).unwrap();
    }
    symlink("../../lib", root.join("helm/web/charts/lib")).unwrap();
    symlink("../../../shared/page", root.join("helm/web/files/page")).unwrap();
    // A link back does not go on for ever.
    symlink("../web", root.join("helm/lib/web")).unwrap();
    (dir, root)
}

fn changes(path: &Path, kind: EventKind) -> Changes {
    [Ok(Event::new(kind).add_path(path.into()))].into_iter().collect()
}

#[rstest]
#[case::scenario("tests/scenarios/web.yaml", true)]
#[case::another_scenario("tests/scenarios/other.yaml", false)]
#[case::values("helm/web/values.yaml", true)]
#[case::new_template("helm/web/templates/new.yaml", true)]
#[case::library_behind_a_link("helm/lib/templates/_pod.tpl", true)]
#[case::file_behind_a_link("shared/page", true)]
#[case::beside_that_file("shared/other", false)]
#[case::another_chart("helm/other/values.yaml", false)]
#[case::editor_swap_file("helm/web/.values.yaml.swp", false)]
#[case::editor_backup("helm/web/values.yaml~", false)]
#[case::what_helm_leaves_out("helm/web/.helmignore", true)]
fn a_change_touches_what_the_scenario_is_made_of(#[case] path: &str, #[case] touched: bool) {
    let (_dir, root) = project();
    let followed = Followed::scenario(&load(&root.join("tests/scenarios/web.yaml")).unwrap()).unwrap();
    assert_eq!(followed.is_touched(&changes(&root.join(path), EventKind::Create(CreateKind::File))), touched);
}

#[test]
fn reading_is_not_changing() {
    let (_dir, root) = project();
    let followed = Followed::scenario(&load(&root.join("tests/scenarios/web.yaml")).unwrap()).unwrap();
    let values = root.join("helm/web/values.yaml");
    assert!(!followed.is_touched(&changes(&values, EventKind::Access(AccessKind::Any))));
    assert!(followed.is_touched(&changes(&values, EventKind::Modify(ModifyKind::Any))));
}

#[test]
fn lost_changes_may_have_been_any() {
    let (_dir, root) = project();
    let followed = Followed::file(&root.join("tests/scenarios/web.yaml")).unwrap();
    let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert!(followed.is_touched(&[Ok(lost)].into_iter().collect()));
    assert!(followed.is_touched(&[Err(notify::Error::generic("broken"))].into_iter().collect()));
}

#[tokio::test]
async fn a_save_is_told_also_where_a_new_file_takes_the_old_ones_place() {
    let (_dir, root) = project();
    let file = root.join("tests/scenarios/web.yaml");
    let followed = Followed::scenario(&load(&file).unwrap()).unwrap();
    let mut watcher = Watcher::new().unwrap();
    watcher.follow(&followed).unwrap();
    for _ in 0..2 {
        fs::write(root.join("tests/scenarios/new"), SCENARIO).unwrap();
        fs::rename(root.join("tests/scenarios/new"), &file).unwrap();
        assert!(followed.is_touched(&watcher.changed().await.unwrap()));
    }
    fs::write(root.join("helm/lib/templates/_pod.tpl"), "new").unwrap();
    assert!(followed.is_touched(&watcher.changed().await.unwrap()));
}

/// One more.
fn client(scenario: &mut Scenario, identity: &str) {
    scenario.clients.insert("another".into(), Client::Short(identity.into()));
}

fn publish(scenario: &mut Scenario, node_port: u16) {
    let published = crate::scenario::Published { node_port: Some(node_port), host_port: None, line: 1 };
    scenario.endpoints.values_mut().for_each(|endpoint| endpoint.published = Some(published));
}

#[rstest]
#[case::nothing(|_: &mut Scenario| {}, None)]
#[case::a_stage(|s: &mut Scenario| s.stages[0].name = "shut".into(), None)]
#[case::a_client_of_a_known_identity(|s: &mut Scenario| client(s, "/ns/web/sa/friend"), None)]
#[case::a_new_identity(|s: &mut Scenario| client(s, "/new"), Some("the clients' SPIFFE IDs"))]
#[case::nobody(|s: &mut Scenario| client(s, "none"), None)]
#[case::a_client_less(|s: &mut Scenario| s.clients.clear(), None)]
#[case::an_entry(|s: &mut Scenario| s.registration.entries[0].select.clear(), Some("the registration"))]
#[case::the_trust_domain(|s: &mut Scenario| s.trust_domain = "example.com".into(), Some("the trust domain"))]
#[case::a_release(|s: &mut Scenario| s.install[0][0].name = "other".into(), Some("the releases"))]
#[case::the_sockets_folder(|s: &mut Scenario| s.spire.socket_dir = Some("/run/other".into()), Some("the SPIRE"))]
#[case::a_port(|s: &mut Scenario| publish(s, 30444), Some("the published ports"))]
#[case::a_namespace(
    |s: &mut Scenario| s.install[0][0].namespace = "other".into(),
    Some("the releases")
)]
#[case::a_value(|s: &mut Scenario| s.install[0][0].values = serde_json::json!({"a": 1}), None)]
fn what_is_fixed_once_a_cluster_is_up(#[case] edit: fn(&mut Scenario), #[case] expected: Option<&str>) {
    let (_dir, root) = project();
    let before = load(&root.join("tests/scenarios/web.yaml")).unwrap();
    let mut now = before.clone();
    edit(&mut now);
    assert_eq!(before.fixed().needs_up(&now.fixed()), expected);
}
