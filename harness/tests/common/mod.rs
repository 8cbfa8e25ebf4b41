//! A world of its own for each test of the command line: a small project, folders in the places of the
//! user's, and fakes in the place of every tool that svidproof starts. Nothing here stands for svidproof
//! itself: that is the real program.

#![allow(clippy::unwrap_used, reason = "allow-unwrap-in-tests covers test functions alone")]
#![allow(dead_code, unused_macros, unused_imports, reason = "each test file uses its part")]

mod block;
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
pub(crate) use svidproof::proof::verdict::Exit;

pub(crate) use self::block::Block;
pub(crate) use self::terminal::{Streams, Terminal};

/// The scenario of the project: nothing is wrong with it.
pub(crate) const SCENARIO: &str = r#"scenario: web
trust-domain: example.org
spire: {namespace: spire, server: spire-server, socket-dir: /run/spire}
install:
  - - {release: web, chart: helm/web, namespace: web}
registration:
  - id: /ns/web/sa/web
    select: ["k8s:ns:web"]
endpoints:
  web:
    service: web/web
    port: 443
    identity: /ns/web/sa/web
    published: {node-port: 30443}
    admin: 9901
clients: {friend: /ns/web/sa/friend, nobody: none}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
      - {check: nobody is refused, as: nobody, to: web, send: GET /, expect: {alert: certificate_required}, control: friend gets in}
"#;

/// Where [`World::new`] puts it, as a person in the project would name it.
pub(crate) const FILE: &str = "tests/scenarios/web.yaml";

const IMAGES: &str = r#"go:
  - part: tools
    module: example.test/tools
    programs: {helm: example.test/tools/helm, kind: example.test/tools/kind}
tools: [tools/helm, tools/kind]
debian: {part: debian, version: "12", suite: bookworm, packages: [], remove: []}
pip: []
c: []
cargo: [{part: apps, programs: {}}]
images: []
node: {upstream: "kindest/node:v1.36.0", files: {}, text: {}, links: {}, folders: [], environment: {},
  entrypoint: [/init], stop-signal: TERM}
"#;

/// All that svidproof may start. A test that wants one to be called says what it does; the others fail, and
/// say so.
const TOOLS: [&str; 14] = [
    "cargo",
    "cc",
    "debootstrap",
    "docker",
    "dockerd",
    "go",
    "helm",
    "iptables",
    "kind",
    "kubectl",
    "python3",
    "runc",
    "terraform",
    "tofu",
];

/// A docker that answers, and has the clusters' network.
pub(crate) const DOCKER: &str = r#"case "$1 $2" in
"info --format") echo '{"ServerVersion": "1.2.3", "DockerRootDir": "/fake", "ContainersRunning": 0}' ;;
"network ls") echo 0123456789ab ;;
esac"#;

/// A helm that keeps what it is given, a file a release: its chart is a ConfigMap of the values.
pub(crate) const HELM: &str = r#"here=$(dirname "$0")
for word in "$@"; do [ "$before" = --namespace ] && namespace=$word; before=$word; done
manifest() { printf -- '---\nkind: ConfigMap\nmetadata: {name: %s}\ndata: %s\n' "$1" "$(cat)"; }
case "$1" in
version) echo v4.0.0 ;;
template) manifest "$2" ;;
install) manifest "$2" > "$here/$namespace.$2" ;;
upgrade) manifest "$3" > "$here/$namespace.$3" ;;
get) cat "$here/$namespace.$3" 2> /dev/null || { echo 'Error: release: not found' >&2; exit 1; } ;;
esac"#;

/// A terraform that makes nothing but a state.
pub(crate) const TERRAFORM: &str = r#"case "$1" in
apply) echo '{}' > terraform.tfstate ;;
esac"#;

pub(crate) struct World {
    _dir: tempfile::TempDir,
    pub(crate) root: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { root: dir.path().canonicalize().unwrap(), _dir: dir };
        let project = world.project();
        for folder in ["home", "cache", "state", "fakes"] {
            fs::create_dir(world.root.join(folder)).unwrap();
        }
        let module = "module fake\n\nrequire example.test/tools v1.0.0\n";
        let own = [
            ("helm/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
            ("helm/probe/Chart.yaml", "apiVersion: v2\nname: probe\nversion: 1.0.0\n"),
            (FILE, SCENARIO),
            ("fixtures/images/images.yaml", IMAGES),
            ("fixtures/images/tools/go.mod", module),
            ("Cargo.toml", ""),
            ("Cargo.lock", ""),
        ];
        for (path, text) in own {
            fs::create_dir_all(project.join(path).parent().unwrap()).unwrap();
            fs::write(project.join(path), text).unwrap();
        }
        // The real one: what it does when things go wrong is under test too.
        let terraform = Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform/kind");
        fs::create_dir_all(project.join("terraform/kind")).unwrap();
        for entry in
            fs::read_dir(terraform).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file())
        {
            fs::copy(entry.path(), project.join("terraform/kind").join(entry.file_name())).unwrap();
        }
        for tool in TOOLS {
            world.fake(tool, "echo \"fake-${0##*/}: no test wants me to be called\" >&2\nexit 97");
        }
        world
    }

    /// A world in which images are built and docker answers, so that a run gets as far as terraform.
    pub(crate) fn with_images() -> Self {
        let world = Self::new();
        world.fake("docker", DOCKER);
        world.fake("cargo", "");
        // What it builds are the fakes of the same names.
        let fakes = world.root.join("fakes");
        let build = format!(
            "while [ \"$1\" != -o ]; do shift; done\n\
             cp {0}/fake-helm \"$2/helm\"\ncp {0}/fake-kind \"$2/kind\"",
            fakes.display()
        );
        world.fake("go", &format!("[ \"$1\" = version ] && exec echo go version fake\n{build}"));
        world
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.root.join("project")
    }

    /// Replaces text of the project's scenario.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        assert!(SCENARIO.contains(from), "{from:?} is not in the scenario");
        fs::write(self.project().join(FILE), SCENARIO.replace(from, to)).unwrap();
    }

    /// Puts a fake onto PATH in the place of `tool`: a shell script that first records its arguments.
    pub(crate) fn fake(&self, tool: &str, script: &str) {
        let (fake, place) =
            (self.root.join(format!("fakes/fake-{tool}")), self.root.join("fakes").join(tool));
        let record = format!("echo \"{tool} $*\" >> '{}'", self.calls_file().display());
        fs::write(&fake, format!("#!/bin/sh\n# A fake, in the place of {tool}.\n{record}\n{script}\n"))
            .unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        // Again for a test that changes a fake.
        let _ = fs::remove_file(&place);
        symlink(fake.file_name().unwrap(), place).unwrap();
    }

    /// Lets the machine's own terraform through, in the place of its fake.
    pub(crate) fn real_terraform(&self) {
        let path = std::env::var_os("PATH").unwrap();
        let mut places =
            std::env::split_paths(&path).flat_map(|dir| ["terraform", "tofu"].map(|name| dir.join(name)));
        let real = places
            .find(|path| path.is_file())
            .expect("terraform or tofu is on PATH: ./scripts/setup installs one");
        let place = self.root.join("fakes/terraform");
        fs::remove_file(&place).unwrap();
        symlink(real, place).unwrap();
    }

    pub(crate) fn path(&self) -> String {
        format!("{}:/usr/bin:/bin", self.root.join("fakes").display())
    }

    /// The real program in this world, and nothing else of the machine's environment.
    #[allow(
        clippy::disallowed_methods,
        reason = "tool.rs starts what svidproof starts; this starts svidproof"
    )]
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.project())
            .env_clear()
            .env("PATH", self.path())
            .env("HOME", self.root.join("home"));
        command.env("XDG_CACHE_HOME", self.root.join("cache")).env("XDG_STATE_HOME", self.root.join("state"));
        command
    }

    pub(crate) fn svidproof(&self, args: &[&str]) -> assert_cmd::assert::Assert {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("svidproof"));
        command.args(args);
        assert_cmd::Command::from_std(command).assert()
    }

    /// The same, under way; what it says and prints is to be read.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(assert_cmd::cargo::cargo_bin!("svidproof"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// How the fakes were called, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.calls_file()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub(crate) fn called(&self, with: &str) -> bool {
        self.calls().iter().any(|call| call.starts_with(with))
    }

    /// Those of one tool.
    pub(crate) fn calls_of(&self, tool: &str) -> String {
        self.calls()
            .into_iter()
            .filter(|call| call.split(' ').next() == Some(tool))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn calls_file(&self) -> PathBuf {
        self.root.join("calls")
    }

    /// For snapshots: what differs from run to run goes by a name.
    pub(crate) fn settings(&self) -> insta::Settings {
        let mut settings = insta::Settings::clone_current();
        let root = self.root.display().to_string().replace('.', r"\.");
        for (pattern, name) in [
            (root.as_str(), "[world]"),
            (r"\b[0-9a-f]{8}\b", "[run]"),
            (r"\b[0-9a-f]{16}\b", "[key]"),
            (r" +\d+\.\d s", " [time]"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
            (r"\bport \d+", "port [port]"),
            // Parts are made side by side.
            (r"(?m)^  [✓✗] .*\n", ""),
            // cli_bundle.rs has that.
            (r"(?m)^(✓ support bundle|\d+ of \d+ pieces of what happened) .*\n", ""),
            // What of docker's answer is read is not the tests' business.
            (r"--format '\{[^']*'", "--format [format]"),
        ] {
            settings.add_filter(pattern, name);
        }
        settings
    }

    /// No run's folder, no node's folder, nothing in the user's home.
    #[track_caller]
    pub(crate) fn assert_nothing_is_left(&self) {
        for folder in ["state/svidproof/runs", "cache/svidproof/nodes", "home"] {
            assert_eq!(below(&self.root.join(folder)), Vec::<PathBuf>::new(), "left in {folder}");
        }
    }

    /// The folders of the runs that are there.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        below(&self.root.join("state/svidproof/runs"))
    }

    /// A run that was kept, as `up` leaves one on a cluster that is not svidproof's own.
    pub(crate) fn kept_run(&self) {
        let dir = self.root.join("state/svidproof/runs/0a1b2c3d");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("lease.jsonl"), "\"kept\"\n").unwrap();
        let kubeconfig = self.root.join("kubeconfig");
        let record = serde_json::json!({
            "cluster": {
                "provider": "existing", "name": "stub", "kubeconfig": kubeconfig, "context": null, "published": {},
            },
            "helm": "helm", "images": "those of the cluster",
            "scenarios": [self.project().join(FILE)],
            "fixed": [svidproof::scenario::load(&self.project().join(FILE)).unwrap().fixed()],
        });
        fs::write(dir.join("session.json"), record.to_string()).unwrap();
    }

    /// A kubeconfig whose one context, `stub`, leads to this port of the loopback.
    pub(crate) fn kubeconfig(&self, port: u16) -> String {
        let path = self.root.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: stub\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: stub, context: {{cluster: c, user: u}}}}]\n"
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default()
}

/// A stub of an API server: it says its version and its identity, has nothing else, and takes all that it is
/// given. Returns its port.
pub(crate) fn stub_api() -> u16 {
    stub_api_with(vec![])
}

/// The same, which has something more: what it answers where a path holds a word.
pub(crate) fn stub_api_with(more: Vec<(&'static str, serde_json::Value)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = || {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                line.trim_end().to_owned()
            };
            let request = line();
            let length = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()))
                .filter_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .last();
            let mut given = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut given).unwrap();
            let known = more.iter().find(|(word, _)| request.starts_with("GET") && request.contains(word));
            let (status, body) = match known {
                Some((_, body)) => ("200 OK", body.clone()),
                None => answer_of(&request, &given),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
                 connection: close\r\ncontent-length: {}",
                body.len()
            );
            // The client may have gone meanwhile.
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    });
    port
}

fn answer_of(request: &str, given: &[u8]) -> (&'static str, serde_json::Value) {
    use serde_json::json;
    let path = request.split(' ').nth(1).unwrap_or_default();
    if request.starts_with("GET /version") {
        let version = json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0-stub", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        });
        return ("200 OK", version);
    }
    if request.starts_with("GET /api/v1/namespaces/kube-system") {
        return ("200 OK", json!({"metadata": {"name": "kube-system", "uid": "uid-of-the-stub"}}));
    }
    if path.contains("labelSelector=owner") {
        let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {}, "items": []});
        return ("200 OK", list);
    }
    if request.starts_with("POST ") {
        return ("201 Created", serde_json::from_slice(given).unwrap());
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "stub: not found", "reason": "NotFound", "code": 404,
    });
    ("404 Not Found", status)
}

/// An exit status by its name.
pub(crate) trait Exits {
    fn exits(self, exit: Exit) -> Self;
}

impl Exits for assert_cmd::assert::Assert {
    #[track_caller]
    fn exits(self, exit: Exit) -> Self {
        self.code(i32::from(exit.code()))
    }
}

/// What svidproof said.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says aloud that a test did not take place. As root, as in `scripts/test` on a fresh machine, all do.
#[allow(clippy::print_stderr, reason = "it is said to the person who runs the tests")]
pub(crate) fn not_tested(why: &str) {
    assert!(!is_root(), "{why}: but this is root");
    eprintln!("NOT TESTED: {why}");
}

/// Compares with an inline snapshot, in the world's names.
macro_rules! snapshot {
    ($world:expr, $text:expr, @$expected:literal) => {
        $world.settings().bind(|| insta::assert_snapshot!($text, @$expected))
    };
}
pub(crate) use snapshot;
