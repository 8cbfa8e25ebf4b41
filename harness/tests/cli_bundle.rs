//! The support bundle: left of what did not pass and of nothing else, beside what went wrong and never in its
//! place, and without a secret.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Block, Exit, Exits, HELM, World, said, stub_api, stub_api_with};
use rustix::process::Signal;
use serde_json::{Value, json};

const BUNDLE: &str = ".svidproof/bundle.tar.zst";
const BROKEN: &str = "[ \"$1\" = install ] && { echo 'Error: broken on purpose' >&2; exit 1; }";

/// Path below the one folder -> text.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let place = entry.path().unwrap().display().to_string();
        let (_, place) = place.split_once('/').expect("all is in one folder");
        let (place, mut text) = (place.to_owned(), vec![]);
        entry.read_to_end(&mut text).unwrap();
        (place, String::from_utf8_lossy(&text).into_owned())
    });
    entries.collect()
}

fn steps(all: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    let manifest: Value = serde_json::from_str(&all["manifest.json"]).unwrap();
    let steps = manifest["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["name"].as_str().unwrap().to_owned(), step.clone())).collect()
}

fn up(world: &World) -> String {
    let kubeconfig = world.root.join("kubeconfig").display().to_string();
    let args = ["up", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    said(world.svidproof(&args).exits(Exit::NotJudged).get_output())
}

#[test]
fn what_failed_leaves_one_and_ends_as_it_would_have() {
    let world = World::new();
    world.kubeconfig(stub_api());
    // Its end, and its last words, are those of before.
    world.fake(
        "helm",
        &format!("{BROKEN}\n[ \"$1\" = history ] && {{ echo 'Error: no history' >&2; exit 1; }}\n{HELM}"),
    );
    let told = up(&world);
    assert!(told.contains(&format!("are in {BUNDLE}, without secrets")), "{told}");
    assert!(told.contains("svidproof: ") && told.contains("broken on purpose"), "{told}");
    let all = unpacked(&world.project().join(BUNDLE));
    assert!(all["error.txt"].contains("broken on purpose"), "{}", all["error.txt"]);
    assert!(all["journal.json"].contains("\"release\""), "{}", all["journal.json"]);
    assert!(all["versions.json"].contains("v1.36.0-stub"), "{}", all["versions.json"]);
    let steps = steps(&all);
    let outcome = |name: &str| steps[name]["outcome"].as_str().unwrap().to_owned();
    assert_eq!(outcome("API server"), "gathered");
    assert_eq!(outcome("helm/web/web/history"), "failed");
    assert!(steps["helm/web/web/history"]["error"].as_str().unwrap().contains("no history"), "{steps:#?}");
    // Of a cluster that is somebody else's, what belongs to the scenario.
    assert_eq!(outcome("objects/web/deployments"), "failed");
    assert!(
        !steps.keys().any(|name| name.starts_with("objects/all") || name.contains("kube-system")),
        "{steps:#?}"
    );
    assert_eq!(outcome("terraform state list"), "left-alone");
    world.assert_nothing_is_left();
}

#[test]
fn a_bundle_of_before_does_not_outlive_a_run_that_has_none() {
    let world = World::new();
    world.kubeconfig(stub_api());
    world.fake("helm", &format!("{BROKEN}\n{HELM}"));
    fs::create_dir(world.project().join(".svidproof")).unwrap();
    fs::write(world.project().join(BUNDLE), "an old one").unwrap();
    up(&world);
    assert!(unpacked(&world.project().join(BUNDLE)).contains_key("error.txt"));
    // What ends with 2 before anything stands explains itself.
    fs::write(world.project().join(BUNDLE), "an old one").unwrap();
    let kubeconfig = world.kubeconfig(stub_api());
    let args = ["up", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "missing"];
    world.svidproof(&args).exits(Exit::Input);
    assert!(!world.project().join(BUNDLE).exists());
    world.assert_nothing_is_left();
}

#[test]
fn a_signal_ends_it_and_the_run_ends_as_it_would_have() {
    let world = World::new();
    let kubeconfig = world.kubeconfig(stub_api());
    let block = Block::new(&world, "history");
    world.fake(
        "helm",
        &format!("{BROKEN}\nif [ \"$1 $2\" = 'history web' ]; then {}; fi\n{HELM}", block.script()),
    );
    let args = ["up", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    let running = world.start(&args, &[&block]);
    let history = block.reached();
    running.signal(Signal::INT);
    history.gone();
    let told = running.ends(Some(Exit::NotJudged));
    assert!(told.contains("warning: the support bundle was given up"), "{told}");
    assert!(told.contains("broken on purpose") && !told.contains("svidproof: interrupted"), "{told}");
    let left: Vec<_> = fs::read_dir(world.project().join(".svidproof"))
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert_eq!(left, ["up-failed.txt"], "half a bundle is none");
    world.assert_nothing_is_left();
}

/// A canary in each place that a cluster's API hands out.
#[test]
fn on_request_it_is_gathered_without_the_secrets_that_are_there() {
    let canary = |name: &str| format!("canary-{name}-0123456789");
    let encoded = |name: &str| STANDARD.encode(canary(name));
    let secrets = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": [
        {"metadata": {"name": "db", "namespace": "web"}, "type": "Opaque", "data": {"pin": encoded("secret")}},
    ]});
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [
        {"metadata": {"name": "web-0", "namespace": "web"},
         "spec": {"containers": [{"name": "web", "args": [canary("secret"), "--password", canary("flag")], "env": [
            {"name": "API_KEY", "value": canary("variable")}, {"name": "PLAIN", "value": format!("x{}x", encoded("secret"))}]}]},
         "status": {"containerStatuses": [{"name": "web", "restartCount": 1}]}},
    ]});
    let maps = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": [
        {"metadata": {"name": "c", "namespace": "web"}, "data": {"a.yaml": format!("token: {}\nport: 1\n", canary("map"))}},
    ]});
    let world = World::new();
    let stub = stub_api_with(vec![
        ("/secrets", secrets),
        ("/pods/web-0/log", json!(format!("Authorization: Bearer {}", canary("log")))),
        ("/pods?", pods),
        ("/configmaps", maps),
    ]);
    let kubeconfig = world.kubeconfig(stub);
    let text = fs::read_to_string(&kubeconfig)
        .unwrap()
        .replace("user: {}", &format!("user: {{token: {}}}", canary("kubeconfig")));
    fs::write(&kubeconfig, text).unwrap();
    let manifest =
        format!("---\\nkind: Secret\\nmetadata: {{name: s}}\\nstringData: {{a: {}}}\\n", canary("manifest"));
    let history = format!("echo 1 deployed by {}", canary("kubeconfig"));
    world.fake(
        "helm",
        &format!("[ \"$1\" = history ] && {history}\n[ \"$1\" = get ] && printf -- '{manifest}'\nexit 0"),
    );
    // It is not needed by name: the run may be one that another svidproof holds.
    world.kept_run();
    let output = world.svidproof(&["bundle", "--out", "sent/b.tar.zst"]).success().get_output().clone();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "sent/b.tar.zst\n");
    let all = unpacked(&world.project().join("sent/b.tar.zst"));
    let names = ["secret", "flag", "variable", "map", "log", "kubeconfig", "manifest"];
    for (place, text) in &all {
        for name in names {
            let (plain, encoded) = (canary(name), STANDARD.encode(canary(name)));
            assert!(
                !text.contains(&plain) && !text.contains(encoded.trim_end_matches('=')),
                "{name} in {place}: {text}"
            );
        }
    }
    let secrets: Value = serde_json::from_str(&all["objects/web/secrets.json"]).unwrap();
    assert_eq!((&secrets[0]["name"], &secrets[0]["bytes of keys"]), (&json!("db"), &json!({"pin": 24})));
    assert!(
        all["logs/web/web-0/web.log"].contains("Bearer [redacted: a token]"),
        "{}",
        all["logs/web/web-0/web.log"]
    );
    assert!(all.contains_key("logs/web/web-0/web.previous.log"), "{:?}", all.keys());
    assert_eq!(all["helm/web/web/history.txt"], "1 deployed by [redacted: a known secret]\n");
    assert!(
        all["helm/web/web/manifest.json"].contains("a Secret's"),
        "{}",
        all["helm/web/web/manifest.json"]
    );
    // A Helm that fails half-way has printed a part of it.
    world.fake("helm", &format!("[ \"$1\" = get ] && printf -- '{manifest}'\nexit 1"));
    world.svidproof(&["bundle", "--out", "sent/c.tar.zst"]).success();
    let failed = &unpacked(&world.project().join("sent/c.tar.zst"))["manifest.json"];
    assert!(failed.contains("what Helm printed of it is left out") && !failed.contains("canary"), "{failed}");
    assert!(all["objects/web/configmaps.json"].contains("port: 1"), "{}", all["objects/web/configmaps.json"]);
}

#[test]
fn of_no_run_there_is_none() {
    let world = World::new();
    let told = said(world.svidproof(&["bundle"]).exits(Exit::Input).get_output());
    assert!(told.contains("no cluster is kept") && told.contains("there is none at all"), "{told}");
    world.kept_run();
    let told = said(world.svidproof(&["bundle", "--run", "ffffffff"]).exits(Exit::Input).get_output());
    assert!(told.contains("there is no run ffffffff\nhint: there are 0a1b2c3d"), "{told}");
}
