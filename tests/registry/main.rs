//! A real registry, CNCF Distribution, on the loopback: filled with every image that svidproof declares, under
//! its upstream name. A cluster is made of what it has, and of nothing else; a chart comes out of it too. In
//! front of it stands one that does wrong, and each of that is told.
//!
//! The registry is a container of its image in the engine; each cluster is a real one, made and taken down here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod faulty;
mod user;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::{copy, said};
use faulty::{Fault, Faulty};
use serde_json::{Value, json};
use svidproof::images;
use svidproof::sys::tool;
use svidproof::sys::wait::{self, Look};
use user::User;

const SCENARIO: &str = "tests/scenarios/small.yaml";

/// A project whose nodes pull through a mirror, and the registry.
struct World {
    dir: tempfile::TempDir,
    container: String,
    port: u16,
    /// Others, by their containers.
    more: Vec<String>,
    /// In front of it.
    faulty: Faulty,
    /// What was put there: an image's name there, and its digest.
    pushed: BTreeMap<String, String>,
}

/// A port of the loopback that nobody has.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free();
        let container = format!("svidproof-test-registry-{port}");
        let mut world = Self {
            dir,
            container,
            port,
            more: vec![],
            faulty: Faulty::before(port),
            pushed: BTreeMap::new(),
        };
        world.project();
        world.serve();
        world.fill();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        conformance::svidproof_in(self.dir.path(), args)
    }

    /// The scenario of the tier `neighbours`, with a chart more that lies in the registry.
    fn project(&self) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(tests.join("neighbours/small.yaml")).unwrap();
        let chart = format!("oci://127.0.0.1:{}/charts/echoes", self.port);
        let echoes = format!(
            "    - {{release: echoes, chart: '{chart}', version: 1.0.0, args: [--plain-http], namespace: small}}\n\n\
             registration:\n"
        );
        let text = text.replace("chart: helm/", "chart: builtin:").replacen("\nregistration:\n", &echoes, 1);
        assert!(text.contains(&chart));
        std::fs::create_dir_all(self.path("tests/scenarios")).unwrap();
        std::fs::write(self.path(SCENARIO), text).unwrap();
        self.says(&[]);
        copy(&tests.join("registry/echoes"), &self.path("echoes"));
    }

    /// What svidproof.yaml says; of these images the digests too.
    fn says(&self, digests: &[(&str, &str)]) {
        let digests = digests.iter().map(|(image, digest)| format!("  {image}: '{digest}'\n"));
        let digests: String = digests.collect();
        let digests = if digests.is_empty() { digests } else { format!("digests:\n{digests}") };
        let port = self.faulty.port;
        let says = format!("images: upstream\nregistry-mirror: '127.0.0.1:{port}'\n{digests}");
        std::fs::write(self.path("svidproof.yaml"), says).unwrap();
    }

    /// How the engine is reached.
    fn env(&self) -> BTreeMap<String, String> {
        let env = self.svidproof(&["engine", "env"]);
        let env = String::from_utf8(env.stdout).unwrap();
        let env = env.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        env.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// Where it listens.
    fn engine(&self) -> String {
        let env = self.env();
        env.get("DOCKER_HOST").cloned().unwrap_or_else(|| "unix:///var/run/docker.sock".into())
    }

    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn docker(&self, args: &[&str]) -> String {
        let mut docker = Command::new("docker");
        docker.args(args).envs(self.env());
        let output = docker.output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn serve(&self) {
        self.serve_as(&self.container, self.port, &[]);
    }

    /// Another, which wants to know who asks, by a name and a password.
    fn guarded(&mut self) -> u16 {
        let port = free();
        let name = format!("{}-guarded", self.container);
        std::fs::create_dir(self.path("auth")).unwrap();
        // bcrypt of `a-password`, as Apache's htpasswd writes it.
        let file = "somebody:$2y$05$abcdefghijklmnopqrstuubsRD.Ffj/ka0r3BpAjv57rF8oK.y5YW\n";
        std::fs::write(self.path("auth/htpasswd"), file).unwrap();
        let volume = format!("{}:/auth:ro", self.path("auth").display());
        let says = ["REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=tests"];
        let says = says.into_iter().chain(["REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd"]);
        let mut more: Vec<_> = says.flat_map(|one| ["--env", one]).collect();
        more.extend(["--volume", &volume]);
        self.serve_as(&name, port, &more);
        self.more.push(name);
        port
    }

    fn serve_as(&self, name: &str, port: u16, more: &[&str]) {
        let loaded = self.svidproof(&["images", "load", "registry", "--images", "packages"]);
        assert!(loaded.status.success(), "{}", said(&loaded));
        let root = conformance::repository();
        let image = images::declared_as(&root, "registry").unwrap();
        let address = format!("REGISTRY_HTTP_ADDR=127.0.0.1:{port}");
        let run = ["run", "--detach", "--rm", "--name", name, "--network", "host"];
        self.docker(&[&run[..], more, &["--env", &address, &image]].concat());
        let listens = async || match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::<_, Infallible>::NotYet(error.to_string()),
        };
        let limit = Duration::from_secs(30);
        let up = wait::poll("the registry to listen", limit, Duration::from_millis(20), listens);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(up).unwrap();
    }

    /// With every declared image, by svidproof, and with the chart, by Helm.
    #[allow(clippy::disallowed_methods, reason = "a look that is not svidproof's own")]
    fn fill(&mut self) {
        let to = format!("localhost:{}", self.port);
        let pushed = self.svidproof(&["images", "push", "--to", &to, "--all"]);
        assert!(pushed.status.success(), "{}", said(&pushed));
        let lines = String::from_utf8(pushed.stdout).unwrap();
        let pairs = lines.lines().map(|line| line.split_once('@').unwrap());
        let pairs = pairs.map(|(name, digest)| (name.trim_start_matches(&to).into(), digest.into()));
        self.pushed = pairs.collect();
        let own = self.svidproof(&["images", "push", "--to", &format!("{to}/own")]);
        let lines = String::from_utf8(own.stdout).unwrap();
        assert_eq!(lines.lines().count(), 3, "probe, symbank, echo: {lines}");
        let helm = tool::find("helm").or_else(|| images::tool("helm")).expect("a helm");
        for args in [
            vec!["package".into(), "echoes".into()],
            vec![
                "push".into(),
                "echoes-1.0.0.tgz".into(),
                format!("oci://{to}/charts"),
                "--plain-http".into(),
            ],
        ] {
            let output = Command::new(&helm).current_dir(self.dir.path()).args(&args).output().unwrap();
            assert!(output.status.success(), "helm {args:?}: {}", said(&output));
        }
    }

    /// Nothing of a run stands, in the engine or on disk.
    #[track_caller]
    fn is_bare(&self) {
        let runs = std::fs::read_dir(self.path("state/svidproof/runs")).unwrap();
        assert_eq!(runs.count(), 0);
        let relays =
            self.docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", "name=svidproof-mirror"]);
        assert_eq!(relays, "");
    }

    /// A run through the faulty registry ends with this status, and says these words.
    #[track_caller]
    fn is_told(&self, status: i32, words: &[&str]) {
        let run = self.svidproof(&["run", "--out", "out"]);
        let told = said(&run);
        assert_eq!(run.status.code(), Some(status), "{told}");
        assert!(!told.contains("to roll out after"), "it is told before a roll-out is given up:\n{told}");
        for words in words.iter().chain(&["hint: "]) {
            assert!(told.contains(words), "`{words}` is not said:\n{told}");
        }
        self.is_bare();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["gc"]);
        for container in self.more.iter().chain([&self.container]) {
            self.docker(&["rm", "--force", container]);
        }
        // What was pulled by names of this test's ports, nobody asks for again.
        let pulled = self.docker(&["image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
        let ours = [format!("localhost:{}/", self.port), format!("127.0.0.1:{}/", self.faulty.port)];
        for name in pulled.lines().filter(|name| ours.iter().any(|of| name.starts_with(of))) {
            self.docker(&["image", "rm", name]);
        }
    }
}

#[test]
fn a_cluster_is_made_of_what_a_registry_has_and_what_it_does_wrong_is_told() {
    let mut world = World::new();
    let own = format!("localhost:{}/own", world.port);
    // By the flag: what comes through the faulty one later has not been pulled by that one's name.
    let mirror = format!("localhost:{}", world.port);
    let run = ["run", "--registry-mirror", &mirror, "--registry", &own, "--out", "out"];
    let passes = |run: &Output, out: &Path| {
        assert!(run.status.success(), "{}\n{}", said(run), String::from_utf8_lossy(&run.stdout));
        let report = std::fs::read_to_string(out.join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["totals"]["passed"], &report["images"]), (&4.into(), &"upstream".into()));
        report
    };
    let node = world.pushed.keys().find_map(|name| name.strip_prefix("/kindest/node:")).unwrap();
    let node = format!("kindest/node:{node}");
    let nginx = &world.pushed["/library/nginx:1.22"];
    world.says(&[(&node, &world.pushed[&format!("/{node}")]), ("nginx:1.22", nginx)]);
    let report = passes(&world.svidproof(&run), &world.path("out"));
    let versions = report["versions"].as_object().unwrap();
    // Nothing but what was put there, by its digest: and all of it would be asked of nobody else.
    assert_eq!(versions[&node], world.pushed[&format!("/{node}")]);
    let by_digest = format!("docker.io/library/nginx:1.22@{nginx}");
    assert_eq!(versions[&by_digest], *nginx, "what svidproof.yaml says is what runs");
    let echo = &world.pushed["/svidproof/echo:dev"];
    assert_eq!(
        versions[&format!("{own}/svidproof/echo@{echo}")],
        *echo,
        "what the chart runs is pulled there"
    );
    world.is_bare();

    // The same by who is not root, with the engine as somebody's docker.
    let user = User::new(world.dir.path(), &world.engine());
    passes(&user.svidproof(&run), &user.path("home/project/out"));
    user.is_bare();
    world.is_bare();
    // What root alone can make is told before all that takes long is made.
    let refused = user.svidproof(&["run", "--images", "packages", "--out", "out"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("as root only"), "{}", said(&refused));
    user.is_bare();
    let alone = user.svidproof_on("", &["run", "--registry-mirror", &mirror, "--out", "out"]);
    assert!(said(&alone).contains("a private engine needs root, and no docker answers"), "{}", said(&alone));
    let doctor = user.svidproof_on("", &["doctor"]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(3), "{told}");
    assert!(told.contains("no docker answers, and a private engine needs root"), "{told}");
    user.is_bare();

    let faulty = &world.faulty;
    let faulty_one = format!("the registry http://127.0.0.1:{}", faulty.port);
    let nginx = "docker.io/library/nginx:1.22";
    let of = |tells: &str| format!("{faulty_one} {tells}");

    // What has another digest than svidproof.yaml says.
    let other = format!("sha256:{}", "0".repeat(64));
    world.says(&[("nginx:1.22", &other)]);
    world.is_told(2, &[&of(&format!("has no image docker.io/library/nginx:1.22@{other}"))]);
    world.says(&[(&node, &other)]);
    world.is_told(2, &[&format!("{node} is sha256:"), &format!("`digests` of svidproof.yaml wants {other}")]);
    world.says(&[]);
    // Before anything is made.
    faulty.does(Fault::Status(404), "", "/library/nginx/manifests/");
    world.is_told(2, &[&of(&format!("has no image {nginx}")), "it is a faulty registry"]);
    faulty.does(Fault::Status(401), "", "/library/nginx/manifests/");
    world.is_told(2, &[&of(&format!("lets nobody have {nginx}"))]);
    faulty.does(Fault::Silent, "HEAD", "/library/nginx/manifests/");
    world.is_told(3, &[&of(&format!("does not say whether it has {nginx}")), "after 10 s"]);
    // Before there is a cluster.
    faulty.does(Fault::Status(404), "", "/kindest/node/manifests/");
    world.is_told(2, &[&of("has no image kindest/node")]);
    faulty.does(Fault::CutOff, "GET", "/kindest/node/manifests/");
    world.is_told(3, &["could not pull the node image", "unexpected EOF"]);
    faulty.does(Fault::Changed, "GET", "/kindest/node/manifests/");
    world.is_told(3, &["could not pull the node image", "from the mirror http://127.0.0.1:"]);
    // With the node image pulled.
    faulty.does(Fault::Status(404), "", "/kube-proxy/manifests/");
    world.is_told(2, &[&of("has no image registry.k8s.io/kube-proxy")]);
    // In the cluster: the node says what the registry did, at once or, if it is asked later, with its back-off.
    let had = "the image `nginx:1.22` of container backend cannot be had: ";
    faulty.does(Fault::CutOff, "GET", "/library/nginx/blobs/");
    world.is_told(3, &[had, "ErrImagePull", "unexpected EOF"]);
    faulty.does(Fault::Changed, "GET", "/library/nginx/blobs/");
    world.is_told(3, &[had, "ErrImagePull", "digest"]);

    // Docker's own credentials are presented.
    let to = format!("localhost:{}/team", world.guarded());
    let refused = world.svidproof(&["images", "push", "--to", &to]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("lets nobody have") && said(&refused).contains("docker login"));
    let host = to.trim_end_matches("/team");
    let auth = STANDARD.encode("somebody:a-password");
    let config = json!({"auths": {host: {"auth": auth}}});
    std::fs::write(world.path("auth/config.json"), config.to_string()).unwrap();
    let push = ["images", "push", "--to", &to];
    let pushed = world.command(&push).env("DOCKER_CONFIG", world.path("auth")).output().unwrap();
    assert!(pushed.status.success(), "{}", said(&pushed));
    let lines = String::from_utf8(pushed.stdout).unwrap();
    assert!(lines.lines().count() == 3 && lines.contains(&format!("{to}/svidproof/echo")), "{lines}");
}
