//! `--provider gke` whole: real Terraform, the real root and charts, real Kubernetes, both reference
//! scenarios. In Google Cloud's place stands a **stand-in** (fixtures/google-stand-in): its clusters are
//! kind's, behind a check of tokens, its load balancers are addresses of the loopback. What is Google's alone
//! is not tested by this: docs/gke.md.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod cloud;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloud::{Cloud, Ground};
use conformance::{copy, said};
use serde_json::Value;

/// What is wrong is told sooner than a roll-out would be given up.
const SOON: Duration = Duration::from_secs(150);

/// Each has its cloud and its cluster: one after the other, or they wait for one another's processors.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two users of one project of the cloud, on two machines. What is last goes last.
struct World {
    cloud: Cloud,
    _ground: Option<Ground>,
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Its clusters are made by `Provider::Kind`, each anew.
    fn new() -> Self {
        let (turn, dir) = (turn(), tempfile::tempdir().unwrap());
        let ground = env!("CARGO_BIN_EXE_ground");
        let cloud = Cloud::start(dir.path(), &format!("{ground} up"), &format!("{ground} down"), "10m");
        Self { cloud, _ground: None, dir, _turn: turn }
    }

    /// One real kind cluster, which is handed out as a new one each time, and a small project.
    fn on_one_ground(deadline: &str) -> Self {
        let (turn, dir) = (turn(), tempfile::tempdir().unwrap());
        let ground = Ground::up(dir.path());
        let up = format!("cp {} $KUBECONFIG_OUT", ground.kubeconfig.display());
        let world = Self {
            cloud: Cloud::start(dir.path(), &up, "true", deadline),
            _ground: Some(ground),
            dir,
            _turn: turn,
        };
        world.project();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// svidproof on a machine, with the cloud's credentials.
    fn on(&self, machine: &str, root: &Path, args: &[&str]) -> Command {
        let mut command = conformance::svidproof();
        command.current_dir(root).env("XDG_STATE_HOME", self.path(machine)).envs(self.cloud.env()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Command {
        let set = format!("project={}", cloud::PROJECT);
        let out = self.path("out");
        let base = ["run", "--provider", "gke", "--yes", "--set", &set, "--out", out.to_str().unwrap()];
        self.on("here", &self.path("project"), &[&base, args].concat())
    }

    fn gc(&self, machine: &str) -> Output {
        self.on(machine, &self.path("project"), &["gc"]).output().unwrap()
    }

    /// A project with one small scenario, and with what a cloud makes something for beside it.
    fn project(&self) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(tests.join("neighbours/small.yaml")).unwrap();
        let extras =
            "    - {release: extras, chart: extras, namespace: small, timeout: 20s}\n\nregistration:\n";
        let text = text.replace("chart: helm/", "chart: builtin:").replacen("\nregistration:\n", extras, 1);
        assert!(text.contains("extras"));
        std::fs::create_dir_all(self.path("project/tests/scenarios")).unwrap();
        std::fs::write(self.path("project/tests/scenarios/small.yaml"), text).unwrap();
        std::fs::write(self.path("project/svidproof.yaml"), "").unwrap();
        copy(&tests.join("gke/extras"), &self.path("project/extras"));
    }

    /// Neither the cloud nor any machine has anything of a run.
    #[track_caller]
    fn is_bare(&self) {
        assert_eq!(self.cloud.made(), Vec::<String>::new());
        for machine in ["here", "there"] {
            let runs = std::fs::read_dir(self.path(machine).join("svidproof/runs"));
            assert_eq!(runs.map_or(0, Iterator::count), 0, "{machine}");
        }
    }

    /// A run with this fault ends with 3, soon, says these words, and leaves nothing.
    #[track_caller]
    fn is_told(&self, fault: &str, words: &[&str]) {
        self.is_told_and(fault, words);
        self.is_bare();
    }

    #[track_caller]
    fn is_told_and(&self, fault: &str, words: &[&str]) {
        self.cloud.fault(fault);
        let begun = Instant::now();
        let run = self.run(&[]).output().unwrap();
        let told = said(&run);
        eprintln!("fault {fault}: told and taken down in {:.1?}", begun.elapsed());
        assert_eq!(run.status.code(), Some(3), "{told}");
        for words in words.iter().chain(&["hint: "]) {
            assert!(told.contains(words), "`{words}` is not said:\n{told}");
        }
        assert!(begun.elapsed() < SOON, "it took {:?}:\n{told}", begun.elapsed());
        self.cloud.fault("");
    }
}

#[test]
fn both_scenarios_run_in_a_cluster_of_a_clouds() {
    let world = World::new();
    let set = format!("project={}", cloud::PROJECT);
    let out = world.path("out");
    let scenarios =
        ["--scenario", "tests/scenarios/front-proxy.yaml", "--scenario", "tests/scenarios/symbank.yaml"];
    let args = ["run", "--provider", "gke", "--yes", "--set", &set, "--out", out.to_str().unwrap()];
    let run =
        world.on("here", &conformance::repository(), &[&args[..], &scenarios].concat()).output().unwrap();
    let told = said(&run);
    assert!(run.status.success(), "{told}\n{}", String::from_utf8_lossy(&run.stdout));
    assert!(told.contains("3 spot machines e2-standard-4"), "what it costs is said:\n{told}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let totals = &report["totals"];
    assert_eq!([&totals["failed"], &totals["errored"], &totals["skipped"]], [0, 0, 0]);
    assert!(totals["passed"].as_u64().unwrap() > 280, "{totals}");
    // From outside, by the cloud's addresses: nobody publishes a node's port there.
    let outside = report["checks"].as_array().unwrap().iter().filter(|check| {
        let outside = ["browser", "generator", "nobody-outside"];
        check["verdict"] == "passed" && outside.contains(&check["as"].as_str().unwrap_or_default())
    });
    assert!(outside.count() > 10, "{told}");
    assert!(world.cloud.tokens() > 3, "a token lasts less than the run: {}", world.cloud.tokens());
    world.is_bare();
}

#[test]
fn what_a_cloud_does_wrong_is_told_and_nothing_is_left() {
    let mut world = World::on_one_ground("8s");
    let run = world.run(&[]).output().unwrap();
    assert!(run.status.success(), "{}\n{}", said(&run), String::from_utf8_lossy(&run.stdout));
    world.is_bare();

    world.is_told("token-refused", &["Google gave no token", "invalid_grant"]);
    world.is_told("quota", &["apply", "Insufficient regional quota"]);
    world.is_told("cluster-half", &["apply"]);
    world.is_told("pool-fails", &["apply"]);
    world.is_told("stuck", &["apply", "timeout while waiting for state to become 'DONE'"]);
    world.is_told("token-expired", &["could not reach the API server", "Unauthorized"]);
    world.is_told("door-shut", &["could not reach the API server"]);
    world.is_told("no-address", &["the cloud to give Service small/extras the address of a load balancer"]);

    // What could not be destroyed, and what was left though it was: the next look takes it away, or names it.
    world.is_told_and("busy-destroy 1", &["destroy", "svidproof gc"]);
    assert!(!world.cloud.made().is_empty());
    let gc = world.gc("here");
    assert!(gc.status.success(), "{}", said(&gc));
    world.is_bare();
    // A list that is forbidden, or that is without a place, says nothing of what is left.
    for (fault, words) in [("list-forbidden", "answered 403"), ("zone-silent", "is without us-central1-f")] {
        world.is_told_and(fault, &[words]);
        assert!(world.gc("here").status.success());
        world.is_bare();
    }
    // A firewall that is left holds the network back.
    let leaks: [(&str, &[&str]); 2] = [
        ("lb-leak", &["there is still:", "load balancer's forwarding rule", "firewall k8s-fw-"]),
        ("disk-leak", &["the cluster is destroyed, and this of it is still in project", "disk "]),
    ];
    for (fault, words) in leaks {
        world.is_told_and(fault, words);
        let again = world.gc("here");
        assert_eq!(again.status.code(), Some(3), "it is not forgotten: {}", said(&again));
        world.cloud.sweep();
        assert!(world.gc("here").status.success());
        world.is_bare();
    }

    // A run that is killed while Terraform works is taken down by `gc`.
    world.cloud.fault("stuck");
    let mut run = world.run(&[]).spawn().unwrap();
    world.cloud.waits_for("google_compute_network");
    kill(&mut run);
    world.cloud.fault("");
    let gc = world.gc("here");
    assert!(gc.status.success(), "{}", said(&gc));
    world.is_bare();
}

/// Its state is in the cloud too: another machine destroys what a lost one left, once its time is over.
#[test]
fn what_a_lost_machine_left_is_destroyed_by_another() {
    let world = World::on_one_ground("1m");
    std::fs::create_dir(world.path("cloud/buckets/states")).unwrap();
    let bucket = ["--set", "state_bucket=states", "--set", "expires=1700000000"];
    let up = {
        let set = format!("project={}", cloud::PROJECT);
        let base = ["up", "--provider", "gke", "--yes", "--set", &set];
        world.on("here", &world.path("project"), &[&base[..], &bucket].concat()).output().unwrap()
    };
    assert!(up.status.success(), "{}", said(&up));
    // The machine is lost.
    std::fs::remove_dir_all(world.path("here")).unwrap();
    let expired = |args: &[&str]| {
        let set = format!("project={}", cloud::PROJECT);
        let base = ["gc", "--expired", "--provider", "gke", "--set", &set];
        let output = world.on("there", &world.path("project"), &[&base[..], args].concat()).output().unwrap();
        (output.status.code(), said(&output))
    };
    let (status, told) = expired(&["--dry-run", "--set", "state_bucket=states"]);
    assert!(status == Some(0) && told.contains("has expired at 2023-11-14T22:13:20Z"), "{told}");
    let (status, told) = expired(&[]);
    assert!(status == Some(3) && told.contains("hint: `--set state_bucket=NAME`"), "{told}");
    assert!(!world.cloud.made().is_empty());
    let (status, told) = expired(&["--set", "state_bucket=states"]);
    assert_eq!(status, Some(0), "{told}");
    world.is_bare();
}

/// As the kernel would, for want of memory.
fn kill(run: &mut Child) {
    run.kill().unwrap();
    run.wait().unwrap();
}
