//! A repository outside of this checkout whose scenario installs what people install: a packed chart, one of
//! a repository, one of a registry, one with a dependency that was not built, values files, a kustomization, plain manifests, a
//! Job, a hook, a definition and its custom resource, an Envoy without an admin interface, a Service of the type `LoadBalancer`, and a chart's own tests. Each is broken once, and must
//! say so in words.
//!
//! One real cluster, made and taken down here. The repository of charts and the registry are one server on the
//! loopback: a stand-in that serves files, and no more than Helm asks for.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conformance::{copy, said};
use sha2::{Digest, Sha256};
use svidproof::images;
use svidproof::sys::tool::{self, Tool};
use svidproof::sys::wait::{self, Look};

const SCENARIO: &str = "tests/scenarios/web.yaml";
/// Arguments with which nginx fails, and says so.
const FAILS: &str = r#"["-t", "-c", "/missing"]"#;
const ITS_WORDS: &str = "nginx: configuration file /missing test failed";

struct World {
    dir: tempfile::TempDir,
    scenario: String,
    /// How often the chart of the repository was fetched.
    fetched: Arc<AtomicUsize>,
}

impl World {
    /// The repository, with its chart packed and its chart repository served.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/repository"), dir.path());
        let mut world = Self { dir, scenario: String::new(), fetched: Arc::default() };
        world.helm(&["package", "charts/jobs"]);
        world.helm(&["package", "charts/widgets", "--destination", "served"]);
        world.helm(&["repo", "index", "served"]);
        world.helm(&["package", "charts/notes"]);
        world.push("notes");
        // What can be rendered from the project itself shows nothing.
        std::fs::remove_dir_all(world.path("charts/jobs")).unwrap();
        std::fs::remove_dir_all(world.path("charts/widgets")).unwrap();
        std::fs::remove_dir_all(world.path("charts/notes")).unwrap();
        let port = serve(world.path("served"), Arc::clone(&world.fetched));
        let scenario = std::fs::read_to_string(world.path(SCENARIO)).unwrap();
        world.scenario = scenario.replace("PORT", &port.to_string());
        std::fs::write(world.path(SCENARIO), &world.scenario).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn helm(&self, args: &[&str]) {
        let helm = tool::find("helm").or_else(|| images::tool("helm")).expect("a helm");
        let output = Command::new(helm).current_dir(self.dir.path()).args(args).output().unwrap();
        assert!(output.status.success(), "helm {args:?}: {}", said(&output));
    }

    /// Puts a packed chart where a registry serves it (OCI Distribution Specification, "Pull"; Helm's media
    /// types).
    fn push(&self, name: &str) {
        let packed = std::fs::read(self.path(&format!("{name}-1.0.0.tgz"))).unwrap();
        let config = format!(r#"{{"apiVersion": "v2", "name": "{name}", "version": "1.0.0"}}"#).into_bytes();
        let folder = self.path(&format!("served/v2/charts/{name}"));
        let put = |at: &str, bytes: &[u8]| {
            let path = folder.join(at);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let part = |kind: &str, bytes: &[u8]| {
            put(&format!("blobs/{}", digest(bytes)), bytes);
            let media = format!("application/vnd.cncf.helm.{kind}");
            serde_json::json!({"mediaType": media, "digest": digest(bytes), "size": bytes.len()})
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": part("config.v1+json", &config),
            "layers": [part("chart.content.v1.tar+gzip", &packed)],
        });
        let manifest = manifest.to_string().into_bytes();
        put("manifests/1.0.0", &manifest);
        put(&format!("manifests/{}", digest(&manifest)), &manifest);
        std::fs::remove_file(self.path(&format!("{name}-1.0.0.tgz"))).unwrap();
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        conformance::svidproof_in(self.dir.path(), args).output().unwrap()
    }

    /// The report of the checks, which ended with this status.
    #[track_caller]
    fn tested(&self, args: &[&str], status: i32) -> (serde_json::Value, String) {
        let output = self.svidproof(&[&["test", "--out", "out"], args].concat());
        let told = format!("{}\n{}", said(&output), String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(status), "{told}");
        let report = std::fs::read_to_string(self.path("out/report.json")).unwrap();
        (serde_json::from_str(&report).unwrap(), told)
    }

    /// With `from` replaced in the scenario, `test` ends with this status and these words.
    #[track_caller]
    fn broken(&self, from: &str, to: &str, status: i32, words: &[&str]) {
        assert!(self.scenario.contains(from), "{from:?} is not in the scenario");
        std::fs::write(self.path(SCENARIO), self.scenario.replacen(from, to, 1)).unwrap();
        let (_, told) = self.tested(&["--stage", "page"], status);
        for words in words {
            assert!(told.contains(words), "`{words}` is not said:\n{told}");
        }
        std::fs::write(self.path(SCENARIO), &self.scenario).unwrap();
    }
}

/// A hook's pod comes up in seconds.
const LONGEST: Duration = Duration::from_mins(1);

impl World {
    /// With `from` replaced in the scenario, Helm hangs in a hook, and the run is killed there: the next one
    /// finds a release that Helm calls under way, and goes on.
    fn killed_in_a_hook(&self, from: &str, to: &str) {
        std::fs::write(self.path(SCENARIO), self.scenario.replacen(from, to, 1)).unwrap();
        let mut command = conformance::svidproof();
        command.current_dir(self.dir.path()).env("XDG_STATE_HOME", self.path("state"));
        command.args(["test", "--stage", "page"]).stderr(Stdio::null()).stdout(Stdio::null());
        let mut run = command.spawn().unwrap();
        let helm = images::tool("helm").unwrap();
        let kubeconfig = files_below(&self.path("state"), "kubeconfig").pop().unwrap();
        let every = Duration::from_millis(300);
        let under_way = wait::poll("Helm to be in the hook", LONGEST, every, async || {
            let status = Tool::new(&helm).args(["status", "jobs", "--namespace", "default"]);
            match status.env("KUBECONFIG", &kubeconfig).run().await {
                Ok(output) if output.stdout.contains("STATUS: pending-upgrade") => Look::Ready(()),
                Ok(output) => Look::NotYet(output.stdout),
                Err(error) => Look::Fatal(error),
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let under_way = runtime.block_on(under_way);
        run.kill().unwrap();
        run.wait().unwrap();
        under_way.unwrap();
        std::fs::write(self.path(SCENARIO), &self.scenario).unwrap();
        self.tested(&["--stage", "page"], 0);
    }
}

/// The files of this name.
fn files_below(folder: &Path, name: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = |path: PathBuf| {
        if path.is_dir() {
            files_below(&path, name)
        } else {
            path.ends_with(name).then_some(path).into_iter().collect()
        }
    };
    all.flat_map(found).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Serves the files of a folder, and counts the packed charts that it gave.
fn serve(folder: PathBuf, fetched: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = Mutex::new(folder);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let file = std::fs::read(folder.lock().unwrap().join(name));
            if Path::new(name).extension().is_some_and(|ending| ending == "tgz") && file.is_ok() {
                fetched.fetch_add(1, Ordering::SeqCst);
            }
            let (status, body) = file.map_or(("404 Not Found", vec![]), |body| ("200 OK", body));
            let kind = if name.contains("/manifests/") { MANIFEST } else { "application/octet-stream" };
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {kind}\r\n\
                 docker-content-digest: {}\r\ncontent-length: {}\r\n\r\n",
                digest(&body),
                body.len()
            );
            let body = if request.starts_with("HEAD ") { vec![] } else { body };
            // The client may have gone meanwhile.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    port
}

#[test]
fn what_people_install_is_installed_and_each_of_it_broken_says_so() {
    let world = World::new();
    let up = world.svidproof(&["up"]);
    assert!(up.status.success(), "{}", said(&up));
    assert!(!world.path("charts/web/charts").exists(), "the user's own folder was written into");

    let (report, _) = world.tested(&[], 0);
    assert_eq!(report["totals"]["passed"], 8, "five checks, and a chart's tests in each of three stages");
    assert_eq!(report["helm_tests"][0]["check"], "helm test of default/jobs");
    let helm = report["versions"]["helm"].as_str().unwrap();
    assert!(helm.ends_with("built") || helm.ends_with("of PATH"), "{helm}");
    assert_eq!(world.fetched.load(Ordering::SeqCst), 1, "fetched once, by `up`");

    let jobs = "helm-tests: true}";
    let with = |value: &str| format!("helm-tests: true, values: {{{value}: {FAILS}}}}}");
    let job = &["job default/migrate-", "failed: ", "BackoffLimitExceeded", ITS_WORDS];
    world.broken(jobs, &with("job"), 3, job);
    world.broken(jobs, &with("hook"), 3, &["hook job default/prepare failed", ITS_WORDS]);
    world.killed_in_a_hook(jobs, "helm-tests: true, values: {hook: [\"-g\", \"daemon off;\"]}}");
    let test = &["helm test of default/jobs", "failed: Error:", "pod smoke failed", ITS_WORDS];
    world.broken(jobs, &with("test"), 1, test);
    world.broken("{third: value}", "{third: another}", 1, &["the page says where its words come from"]);

    let told_by_nobody = world.scenario.replace(", inject-admin: 9901", "");
    std::fs::write(world.path(SCENARIO), told_by_nobody).unwrap();
    let (_, told) = world.tested(&["--stage", "quiet"], 2);
    assert!(told.contains("admin"), "{told}");
    std::fs::write(world.path(SCENARIO), &world.scenario).unwrap();

    let widget = std::fs::read_to_string(world.path("widgets/widget.yaml")).unwrap();
    let stalled = widget.replace("type: Ready", "type: Stalled");
    assert_ne!(widget, stalled);
    std::fs::write(world.path("widgets/widget.yaml"), stalled).unwrap();
    let words = &["widget default/one failed", "Stalled is True: Made: it is there"];
    world.broken("friend", "friend", 3, words);
    std::fs::write(world.path("widgets/widget.yaml"), &widget).unwrap();

    let version = &["web.yaml:", "release widgets", "version 9.9.9", "could not be fetched"];
    world.broken("version: 1.2.3", "version: 9.9.9", 2, version);
    world.broken("values/first.yaml", "missing.yaml", 2, &["the values file `missing.yaml` is not there"]);
    world.broken("kustomize: plain/overlay", "kustomize: plain", 2, &["has no kustomization.yaml"]);
    std::fs::rename(world.path("libs"), world.path("gone")).unwrap();
    world.broken("friend", "friend", 2, &["depends on labels 1.0.0 (file://../../libs/labels)"]);
    std::fs::rename(world.path("gone"), world.path("libs")).unwrap();

    world.tested(&[], 0);
}
