//! Two users on one container engine: each with a home and a state of their own, and one image cache, which is
//! what they share by `XDG_CACHE_HOME`. They run at once; one is killed, and the other does not notice.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde_json::{Value, json};

/// What a run says once its cluster is there; it has work for a quarter of a minute then.
const UP: &str = "✓ cluster (kind)";

/// One of the users.
struct User(tempfile::TempDir);

impl User {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "state"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self(dir)
    }

    fn svidproof(&self, args: &[&str]) -> Command {
        let mut command = conformance::svidproof();
        let home = std::env::home_dir().unwrap();
        command.current_dir(conformance::repository()).args(args);
        command.env("HOME", self.0.path().join("home")).env("XDG_STATE_HOME", self.0.path().join("state"));
        command.env("XDG_CACHE_HOME", svidproof::sys::dirs::cache().parent().unwrap());
        // Compilers are the machine's, not a user's.
        for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            command.env(variable, std::env::var_os(variable).unwrap_or_else(|| home.join(folder).into()));
        }
        command
    }

    fn says(&self, args: &[&str]) -> Output {
        self.svidproof(args).output().unwrap()
    }

    fn starts(&self) -> Run {
        let out = self.0.path().join("out").display().to_string();
        let mut run =
            self.svidproof(&["run", "--scenario", "tests/neighbours/small.yaml", "--out", out.as_str()]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Run { child, said, told: String::new() }
    }

    fn runs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path().join("state/svidproof/runs"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// The one run's ID.
    fn run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for command in ["gc", "down"] {
            let _ = self.says(&[command]);
        }
    }
}

/// A run under way.
struct Run {
    child: Child,
    said: BufReader<ChildStderr>,
    told: String,
}

impl Run {
    #[track_caller]
    fn says(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let read = self.said.read_line(&mut line).unwrap();
            self.told += &line;
            assert_ne!(read, 0, "it never said `{words}`:\n{}", self.told);
            if line.contains(words) {
                return;
            }
        }
    }

    #[track_caller]
    fn dies(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it had ended before:\n{}", self.told);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn ends(mut self) -> (Option<i32>, String) {
        self.said.read_to_string(&mut self.told).unwrap();
        (self.child.wait().unwrap().code(), self.told)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The engine that both use, asked by hand.
struct Engine(Vec<(String, String)>);

impl Engine {
    fn of(user: &User) -> Self {
        let env = user.says(&["engine", "env"]);
        assert!(env.status.success(), "{}", said(&env));
        let env = String::from_utf8(env.stdout).unwrap();
        let lines = env.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        Self(lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn docker(&self, args: &[&str]) -> String {
        let mut docker = Command::new("docker");
        let output = docker.args(args).envs(self.0.iter().map(|(key, value)| (key, value))).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The names of the containers of this run.
    fn containers(&self, run: &str) -> Vec<String> {
        let filter = format!("name=svidproof-.*{run}");
        let listed = self.docker(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// The ports of this machine that the run's node has.
    fn ports(&self, run: &str) -> BTreeSet<u64> {
        let node = format!("svidproof-{run}-control-plane");
        let ports = self.docker(&["inspect", "--format", "{{json .NetworkSettings.Ports}}", &node]);
        let ports: Value = serde_json::from_str(&ports).unwrap();
        let all = ports.as_object().unwrap().values().filter_map(Value::as_array).flatten();
        all.map(|one| one["HostPort"].as_str().unwrap().parse().unwrap()).collect()
    }
}

#[test]
fn one_is_killed_and_the_other_does_not_notice() {
    let (one, other) = (User::new(), User::new());
    let (mut killed, mut goes_on) = (one.starts(), other.starts());
    killed.says(UP);
    goes_on.says(UP);
    let (theirs, mine) = (one.run(), other.run());
    let engine = Engine::of(&other);
    let ports = [&theirs, &mine].map(|run| engine.ports(run));
    assert!(ports[0].len() == 2 && ports[1].len() == 2 && ports[0].is_disjoint(&ports[1]), "{ports:?}");
    killed.dies();
    assert_ne!(theirs, mine);

    // Neither knows of the other's: not the leases, and not what is to be collected.
    let listed = said(&other.says(&["leases"]));
    assert!(listed.contains(&format!("{mine}  under way")) && !listed.contains(&theirs), "{listed}");
    let collected = other.says(&["gc"]);
    assert!(said(&collected).contains("0 left-over run(s) taken down"), "{}", said(&collected));
    assert!(!engine.containers(&theirs).is_empty(), "it is the other user's");

    let collected = one.says(&["gc"]);
    assert!(collected.status.success(), "{}", said(&collected));
    assert!(said(&collected).contains("1 left-over run(s) taken down"), "{}", said(&collected));
    assert_eq!(engine.containers(&theirs), Vec::<String>::new());

    let (status, told) = goes_on.ends();
    assert_eq!(status, Some(0), "{told}");
    let report = std::fs::read(other.0.path().join("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["totals"]["passed"], json!(4), "{}", report["totals"]);
    for (user, run) in [(&one, &theirs), (&other, &mine)] {
        assert_eq!(user.runs(), Vec::<PathBuf>::new());
        assert_eq!(engine.containers(run), Vec::<String>::new());
        assert!(!svidproof::sys::dirs::cache().join("nodes").join(run).exists());
        assert!(!user.0.path().join("home/.kube/config").exists(), "a user's own kubeconfig is not touched");
    }
}

/// A real docker with another ID than the lease has: nothing is deleted there.
#[test]
fn what_was_made_in_another_engine_is_left_alone() {
    let user = User::new();
    let engine = Engine::of(&user);
    // By another path it is not the private one, but one of the user's own.
    let socket = user.0.path().join("docker.sock");
    let host = engine
        .0
        .iter()
        .find(|(name, _)| name == "DOCKER_HOST")
        .map_or("/var/run/docker.sock", |(_, host)| host);
    symlink(host.trim_start_matches("unix://"), &socket).unwrap();
    let id = engine.docker(&["info", "--format", "{{.ID}}"]).trim().to_owned();
    let run = format!("{:08x}", std::process::id());
    let name = format!("svidproof-{run}");
    engine.docker(&["network", "create", "--internal", "--label", &format!("svidproof.run={run}"), &name]);
    let is_there =
        || !engine.docker(&["network", "ls", "--quiet", "--filter", &format!("name=^{name}$")]).is_empty();

    let dir = user.0.path().join("state/svidproof/runs").join(&run);
    std::fs::create_dir_all(&dir).unwrap();
    let lease = |engine: &str| {
        let env = [("DOCKER_HOST", format!("unix://{}", socket.display()))];
        let made = json!({"making": {"thing": "network", "name": name, "env": env, "engine": engine}});
        std::fs::write(dir.join("lease.jsonl"), format!("{made}\n")).unwrap();
    };
    lease("WAS:ANOTHER");
    let refused = user.says(&["gc"]);
    let (told, kept) = (said(&refused), is_there());
    lease(&id);
    let collected = user.says(&["gc"]);
    let gone = !is_there();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("WAS:ANOTHER") && told.contains(&id) && told.contains("down --forget"), "{told}");
    assert!(kept, "it was deleted in an engine that the lease does not name");
    assert!(collected.status.success() && gone, "{}", said(&collected));
    assert_eq!(user.runs(), Vec::<PathBuf>::new());
}
