//! Machines outside of a real cluster, whose SPIRE agents are ended, turned down and killed: what becomes of
//! them is told with its cause, and nothing of them is left.
//!
//! One svidproof's `up` makes the cluster, with a SPIRE, an edge and machines of its own. To another's runs
//! with `--provider existing` all of that is somebody else's.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use conformance::said;
use serde_json::Value;
use svidproof::sys::process;
use svidproof::sys::wait::{self, Look};

/// Which agent a run's machine has is known by these.
const AGENT: (&str, &str) = ("spire-agent", "-config");

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn svidproof(&self, state: &str, args: &[&str]) -> Command {
        let mut command = conformance::svidproof();
        command.current_dir(conformance::repository());
        command.env("XDG_STATE_HOME", self.dir.path().join(state)).args(args);
        command
    }

    #[track_caller]
    fn ends(&self, state: &str, args: &[&str], status: i32) -> String {
        let output = self.svidproof(state, args).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}{}", said(&output), out(&output));
        said(&output) + &out(&output)
    }

    /// A scenario of a file, with some of it otherwise.
    fn scenario(&self, from: &str, name: &str, other: &[(&str, &str)]) -> String {
        // Beside the file that it is made of: that is where its project is.
        let mut text = std::fs::read_to_string(from_root(from)).unwrap();
        for (before, after) in other {
            assert!(text.contains(before), "{from} has no {before}");
            text = text.replace(before, after);
        }
        let folder = self.dir.path().join("project");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("svidproof.yaml"), "{}").unwrap();
        if !folder.join("helm").exists() {
            conformance::copy(&from_root("helm"), &folder.join("helm"));
        }
        let path = folder.join(format!("{name}.yaml"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn existing(&self, scenario: &str) -> Vec<String> {
        let run = &self.runs("mine")[0];
        let context = self.kubectl(&["config", "current-context"]);
        let (kubeconfig, out) = (run.join("kubeconfig"), self.dir.path().join("out"));
        let paths = [("--kubeconfig", kubeconfig), ("--out", out)];
        let paths = paths.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        let args =
            ["run", "-v", "--provider", "existing", "--context", context.trim(), "--scenario", scenario];
        args.into_iter().map(str::to_owned).chain(paths).collect()
    }

    fn runs(&self, state: &str) -> Vec<PathBuf> {
        let runs = std::fs::read_dir(self.dir.path().join(state).join("svidproof/runs"));
        runs.into_iter().flatten().map(|run| run.unwrap().path()).collect()
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn kubectl(&self, args: &[&str]) -> String {
        let kubectl = svidproof::images::tool("kubectl").unwrap();
        let kubeconfig = self.runs("mine")[0].join("kubeconfig");
        let output = Command::new(kubectl).arg("--kubeconfig").arg(kubeconfig).args(args).output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", said(&output));
        out(&output)
    }

    /// What their SPIRE server knows: the SPIFFE IDs of its agents, and its entries' own IDs.
    fn known(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let asked = |what: [&str; 2]| {
            let server = [
                "exec",
                "--namespace",
                "spire",
                "spire-outside-server-0",
                "--",
                "/opt/spire/bin/spire-server",
            ];
            let all: Vec<_> = server.into_iter().chain(what).chain(["-output", "json"]).collect();
            serde_json::from_str::<Value>(&self.kubectl(&all)).unwrap()
        };
        let of = |list: &Value, key: &str| {
            list.as_array().unwrap().iter().map(|one| one[key].to_string()).collect::<BTreeSet<_>>()
        };
        (of(&asked(["agent", "list"])["agents"], "id"), of(&asked(["entry", "show"])["entries"], "id"))
    }

    /// Nothing of this user's runs is left: no run, no agent of one, and no folder of a machine's.
    #[track_caller]
    fn nothing_is_left(&self, state: &str, machines: &[(String, PathBuf)]) {
        assert_eq!(self.runs(state), Vec::<PathBuf>::new());
        for (run, config) in machines {
            assert!(process::running(AGENT.0, AGENT.1, config).is_none(), "an agent of run {run} runs");
            assert_eq!(open_folders(run), Vec::<PathBuf>::new());
        }
    }

    /// The machines of this user's runs that there are now: the run, and its agent's configuration.
    fn machines(&self, state: &str, name: &str) -> Vec<(String, PathBuf)> {
        let runs = self.runs(state).into_iter();
        let named = runs.map(|run| {
            (
                run.file_name().unwrap().to_str().unwrap().to_owned(),
                run.join("machines").join(name).join("agent.conf"),
            )
        });
        named.collect()
    }
}

fn from_root(path: &str) -> PathBuf {
    conformance::repository().join(path)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn strs(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

/// Where everybody may come to the agents of a run's machines.
fn open_folders(run: &str) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        path.file_name().unwrap().to_string_lossy().starts_with(&format!("svidproof-{run}-"))
    };
    std::fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().path()).filter(is_one).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof("theirs", &["gc"]).output();
        let _ = self.svidproof("mine", &["down"]).output();
    }
}

#[test]
fn machines_come_and_go_and_leave_nothing() {
    let world = World { dir: tempfile::tempdir().unwrap() };
    let balanced = [
        ("published: {node-port: 30481}", "published: {}"),
        ("published: {node-port: 30444}", "published: {}"),
        ("service: {type: NodePort, nodePort: 30481}", "service: {type: LoadBalancer}"),
        ("service: {nodePort: 30444}", "service: {type: LoadBalancer, nodePort: 0}"),
    ];
    let scenario = world.scenario("tests/scenarios/outside.yaml", "outside", &balanced);
    world.ends("mine", &["up", "--scenario", &scenario], 0);
    let test = ["test", "-v", "--scenario", scenario.as_str(), "--stage", "registered"];
    let told = world.ends("mine", &test, 0);
    assert!(told.contains("batch -> proxy") && told.contains("10 passed"), "{told}");

    an_agent_that_was_killed_is_started_anew(&world, &test);
    a_token_is_taken_once(&world);

    // To another user all of that is somebody else's.
    let before = world.known();
    let theirs = |name: &str, other: &[(&str, &str)]| {
        world.existing(&world.scenario("tests/outside/theirs.yaml", name, other))
    };
    let told = world.ends("theirs", &strs(&theirs("joined", &[])), 0);
    assert!(told.contains("joined -> proxy") && told.contains("3 passed"), "{told}");
    assert_eq!(world.known(), before, "an agent or an entry of the run is left");

    let faults = [
        (
            "another-user",
            vec![("unix:uid:64009", "unix:uid:64011")],
            "user 64009 of machine vm-9 to be handed spiffe://outside.example/vm-2/report",
        ),
        (
            "one-who-should-have-none",
            vec![(
                "[\"unix:uid:64009\"]}",
                "[\"unix:uid:64009\"]}\n  - {id: /x, parent: /vm-9, select: [\"unix:uid:64010\"]}",
            )],
            "user 64010 is handed nothing: it was handed spiffe://outside.example/x",
        ),
        (
            "another-ca",
            vec![
                ("attest: join-token", "attest: x509pop"),
                ("  socket-dir:", "  x509pop-secret: not-the-servers\n  socket-dir:"),
            ],
            "does the server load the NodeAttestor \"x509pop\" with `ca.crt` of the Secret not-the-servers",
        ),
        (
            "no-server-there",
            vec![("port: 8081", "port: 8082")],
            "agents reach the SPIRE server, has no port 8082: it has",
        ),
    ];
    for (name, other, why) in faults {
        let told = world.ends("theirs", &strs(&theirs(name, &other)), 3);
        assert!(told.contains(why), "{name}: {told}");
        assert_eq!(world.runs("theirs"), Vec::<PathBuf>::new(), "{name}");
        assert_eq!(world.known(), before, "{name}: an agent or an entry of the run is left");
    }

    a_run_that_is_killed_leaves_nothing_once_collected(&world, &theirs("killed", &[]));
    assert_eq!(world.known(), before, "an agent or an entry of the killed run is left");

    let machines: Vec<_> = ["vm-1", "vm-2"].iter().flat_map(|name| world.machines("mine", name)).collect();
    assert!(machines.iter().all(|(_, config)| process::running(AGENT.0, AGENT.1, config).is_some()));
    world.ends("mine", &["down"], 0);
    world.nothing_is_left("mine", &machines);
}

fn an_agent_that_was_killed_is_started_anew(world: &World, test: &[&str]) {
    let (_, config) = &world.machines("mine", "vm-1")[0];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(process::end(AGENT.0, AGENT.1, config)).unwrap();
    let told = world.ends("mine", test, 0);
    assert!(
        told.contains("the SPIRE agent of machine vm-1 had ended") && told.contains("10 passed"),
        "{told}"
    );
    assert!(!told.contains("machine vm-2 had ended"), "{told}");
}

/// What a token was for is not to be had by it a second time.
#[allow(clippy::disallowed_methods, reason = "an agent that is not svidproof's")]
fn a_token_is_taken_once(world: &World) {
    let (run, config) = &world.machines("mine", "vm-2")[0];
    let folder = world.dir.path().join("second");
    let text = std::fs::read_to_string(config).unwrap();
    let data = config.parent().unwrap().join("data").display().to_string();
    let socket = format!("/tmp/svidproof-{run}-vm-2/agent.sock");
    assert!(text.contains(&data) && text.contains(&socket), "{text}");
    let own = text.replace(&data, &folder.join("data").display().to_string());
    let own = own.replace(&socket, &folder.join("agent.sock").display().to_string());
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("agent.conf"), own).unwrap();
    let mut second = Command::new(format!("/tmp/svidproof-{run}-vm-2/spire-agent"));
    let second = second.arg("run").arg("-config").arg(folder.join("agent.conf"));
    let mut second = second.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(second.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<_> =
        lines.take_while(|line| !line.contains("Failed to retrieve attestation result")).collect();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(!said.iter().any(|line| line.contains("Node attestation was successful")), "{said:#?}");
}

fn a_run_that_is_killed_leaves_nothing_once_collected(world: &World, args: &[String]) {
    let mut run =
        world.svidproof("theirs", &strs(args)).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // While it dials, or is about to: its agent runs then.
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("workloads and probe")));
    run.kill().unwrap();
    run.wait().unwrap();
    let machines = world.machines("theirs", "vm-9");
    let (id, config) = &machines[0];
    assert!(process::running(AGENT.0, AGENT.1, config).is_some(), "its agent outlives it");
    assert_eq!(open_folders(id).len(), 1);
    let collected = wait::poll(
        "programs that the killed run had started to end",
        Duration::from_mins(1),
        // They tell nobody when they do.
        Duration::from_millis(300),
        async || {
            let told = world.ends("theirs", &["gc"], 0);
            let gone = world.runs("theirs").is_empty();
            if gone { Look::<(), Infallible>::Ready(()) } else { Look::NotYet(told) }
        },
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(collected).unwrap();
    world.nothing_is_left("theirs", &machines);
}
