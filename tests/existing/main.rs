//! A cluster that is not svidproof's own, with a foreign SPIRE, foreign releases, Secrets, namespaces and
//! entries in it: whatever a run there does, and whenever it is killed, they are the same afterwards, byte for
//! byte.
//!
//! As long as a run has the cluster, dead or alive, no other user's begins there. The last run goes to its end, by
//! Helm 3.
//!
//! The foreign ones are another svidproof's: `up` makes the cluster with one scenario in it; to a run of the
//! other with `--provider existing` all of that is somebody else's.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use conformance::said;
use svidproof::sys::wait::{self, Look};

/// What is compared. Pods and their like change by themselves.
const KINDS: &str = "namespaces,secrets,configmaps,serviceaccounts,services,deployments,daemonsets,\
                     statefulsets,roles,rolebindings,clusterroles,clusterrolebindings";
/// After which of its own lines a run is killed: while it looks, while Helm installs, while it waits for pods,
/// while it dials.
const KILLS: [&str; 4] =
    ["cluster (existing)", "release spire-com-server", "front-proxy: SPIRE agent", "workloads and probe"];
/// A Helm that the killed run had started ends in less.
const LONGEST: Duration = Duration::from_mins(1);

struct World {
    dir: tempfile::TempDir,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl World {
    fn svidproof(&self, state: &str, args: &[&str]) -> Command {
        let mut command = conformance::svidproof();
        command.current_dir(repository()).env("XDG_STATE_HOME", self.dir.path().join(state)).args(args);
        command
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn kubectl(&self, args: &[&str]) -> String {
        let kubectl = svidproof::images::tool("kubectl").unwrap_or_else(|| "kubectl".into());
        let output = Command::new(kubectl).arg("--kubeconfig").arg(self.kubeconfig()).args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// All that is there, but for what the cluster itself writes.
    fn looks(&self) -> String {
        let listed = self.kubectl(&["get", KINDS, "--all-namespaces", "--output", "json"]);
        let mut listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        for item in listed["items"].as_array_mut().unwrap() {
            let item = item.as_object_mut().unwrap();
            let has_status = item.remove("status").is_some();
            let metadata = item["metadata"].as_object_mut().unwrap();
            metadata.remove("managedFields");
            if has_status {
                // It moves with the status too; what is wanted has a `generation`.
                metadata.remove("resourceVersion");
            }
        }
        let mut lines: Vec<_> = listed["items"].as_array().unwrap().iter().map(ToString::to_string).collect();
        lines.sort();
        lines.push(self.kubectl(&["get", "lease", "--namespace", "default", "--output", "name"]));
        let show = "/opt/spire/bin/spire-server entry show";
        let exec = ["exec", "--namespace", "spire", "spire-org-server-0", "--"];
        let shown = self.kubectl(&exec.into_iter().chain(show.split(' ')).collect::<Vec<_>>());
        lines.push(shown);
        lines.join("\n")
    }

    fn existing(&self, scenario: &str) -> Vec<String> {
        let context = self.kubectl(&["config", "current-context"]);
        let (kubeconfig, scenario) = (self.kubeconfig(), format!("tests/{scenario}.yaml"));
        let args = ["run", "--provider", "existing", "--context", context.trim(), "--scenario", &scenario];
        let mut args: Vec<_> = args.map(str::to_owned).into();
        args.extend(["--kubeconfig".into(), kubeconfig.display().to_string()]);
        args
    }

    /// Another user is refused as long as a run has the cluster, and has nothing to collect in it.
    fn another_user_is_refused(&self) {
        let refused =
            self.svidproof("third", &strs(&self.existing("scenarios/front-proxy"))).output().unwrap();
        let runs = self.runs("mine");
        let run = runs[0].file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        let told = said(&refused);
        assert!(told.contains(&format!("run {run} works on ")) && told.contains("one at a time"), "{told}");
        let collected = self.svidproof("third", &["gc"]).output().unwrap();
        assert!(said(&collected).contains("0 left-over run(s) taken down"), "{}", said(&collected));
        assert_eq!(self.runs("third"), Vec::<PathBuf>::new());
    }

    fn collect(&self) {
        let collected = wait::poll(
            "programs that the killed run had started to end",
            LONGEST,
            // They tell nobody when they do.
            Duration::from_millis(300),
            async || {
                let output = self.svidproof("mine", &["gc"]).output().unwrap();
                assert!(output.status.success(), "{}", said(&output));
                let gone = self.runs("mine").is_empty();
                if gone { Look::<(), Infallible>::Ready(()) } else { Look::NotYet(said(&output)) }
            },
        );
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(collected)
            .unwrap();
    }

    /// Kills a run once it has said this, and `meanwhile` was done.
    fn kill_after(&self, words: &str, meanwhile: impl FnOnce()) {
        let mut run = self.svidproof("mine", &strs(&self.existing("scenarios/front-proxy")));
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut told = vec![];
        let said = lines.inspect(|line| told.push(line.clone())).any(|line| line.contains(words));
        meanwhile();
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(said, "it never said `{words}`:\n{}", told.join("\n"));
    }

    fn runs(&self, state: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join(state).join("svidproof/runs"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for state in ["third", "mine", "theirs"] {
            for command in ["gc", "down"] {
                let _ = self.svidproof(state, &[command]).output();
            }
        }
    }
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn what_is_anothers_is_the_same_afterwards() {
    let world = World { dir: tempfile::tempdir().unwrap() };
    let up =
        world.svidproof("theirs", &["up", "--scenario", "tests/scenarios/symbank.yaml"]).output().unwrap();
    assert!(up.status.success(), "{}", said(&up));
    std::fs::copy(world.runs("theirs")[0].join("kubeconfig"), world.kubeconfig()).unwrap();
    // Names that the run itself uses: a namespace, and a Secret beside its own.
    world.kubectl(&["create", "namespace", "backend"]);
    world.kubectl(&["create", "configmap", "theirs", "--namespace", "backend", "--from-literal=a=b"]);
    world.kubectl(&["create", "secret", "generic", "their-ca", "--namespace", "spire", "--from-literal=a=b"]);
    let before = world.looks();

    let refused = world.svidproof("mine", &strs(&world.existing("scenarios/symbank"))).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    for what in ["Secret spire-org-ca", "Helm release backend in namespace default"] {
        assert!(said(&refused).contains(what), "{}", said(&refused));
    }
    same(&before, &world.looks(), "a run that was refused");

    let secret = "create secret generic spire-com-ca --namespace spire --from-literal=tls.key=theirs";
    world.kubectl(&secret.split(' ').collect::<Vec<_>>());
    let with_secret = world.looks();
    let refused = world.svidproof("mine", &strs(&world.existing("scenarios/front-proxy"))).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("Secret spire-com-ca in namespace spire"), "{}", said(&refused));
    same(&with_secret, &world.looks(), "a Secret that a scenario names");
    world.kubectl(&["delete", "secret", "spire-com-ca", "--namespace", "spire"]);

    for words in KILLS {
        world.kill_after(words, || {
            if words == KILLS[1] {
                world.another_user_is_refused();
            }
        });
        if words == KILLS[1] {
            // The dead hold it until they are collected.
            world.another_user_is_refused();
        }
        world.collect();
        same(&before, &world.looks(), &format!("a run that was killed after `{words}`"));
    }

    // To its end, by the Helm of before: installed, upgraded by each stage, uninstalled.
    let helm = repository().join("target/helm3/helm");
    assert!(helm.exists(), "no {}: `./scripts/helm3/build` makes it", helm.display());
    let path = std::env::var("PATH").unwrap();
    let mut run = world.svidproof("mine", &strs(&world.existing("neighbours/small")));
    let out = world.dir.path().join("out");
    run.arg("--out").arg(&out).env("PATH", format!("{}:{path}", helm.parent().unwrap().display()));
    let ended = run.output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&ended.stdout), said(&ended));
    assert_eq!(world.runs("mine"), Vec::<PathBuf>::new());
    same(&before, &world.looks(), "a run by Helm 3 that went to its end");
}

#[track_caller]
fn same(before: &str, after: &str, what: &str) {
    let gone = before.lines().filter(|line| !after.contains(line));
    let new = after.lines().filter(|line| !before.contains(line));
    let told: Vec<_> =
        gone.map(|line| format!("- {line:.300}")).chain(new.map(|line| format!("+ {line:.300}"))).collect();
    assert!(before == after, "{what}:\n{}", told.join("\n"));
}
