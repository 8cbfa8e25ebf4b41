//! An ordinary user of somebody's docker: no root, no folder of root's, no compiler; a home of its own, with the
//! programs in its cache that were built before, and the docker's socket, which is the socket's group's.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use conformance::said;

/// Nobody of the machine's has these numbers: the user's own, and that of the docker's group.
const USER: u32 = 61_234;
const GROUP: u32 = 61_235;

/// What is built where nodes pull the rest.
const PARTS: [&str; 5] = ["apps-", "relay-", "helm-", "kind-", "kubernetes-"];

pub(crate) struct User {
    dir: tempfile::TempDir,
}

impl User {
    /// With the project in this folder, and a docker that listens at this address.
    pub(crate) fn new(project: &Path, docker: &str) -> Self {
        let user = Self { dir: tempfile::tempdir().unwrap() };
        open(user.dir.path());
        let home = user.path("home");
        conformance::copy(project, &home.join("project"));
        let (cache, own) = (svidproof::sys::dirs::cache(), home.join(".cache/svidproof"));
        for part in std::fs::read_dir(cache.join("parts")).unwrap().map(Result::unwrap) {
            let name = part.file_name().into_string().unwrap();
            if PARTS.iter().any(|wanted| name.starts_with(wanted)) {
                conformance::copy(&part.path(), &own.join("parts").join(name));
            }
        }
        std::fs::copy(cache.join("compilers.json"), own.join("compilers.json")).unwrap();
        give(&home);
        std::fs::copy(conformance::program(), user.path("svidproof")).unwrap();
        user.serve(docker.strip_prefix("unix://").expect("the engine listens at a socket"));
        user
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A socket that leads to the docker's, as docker's own is: its group's, and nobody else's.
    fn serve(&self, docker: &str) {
        let path = self.path("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        chown(&path, Some(0), Some(GROUP)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
        let docker = docker.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(engine) = UnixStream::connect(&docker) else { continue };
                between(&client, &engine);
                between(&engine, &client);
            }
        });
    }

    /// svidproof as the user runs it, in the project, with that docker.
    pub(crate) fn svidproof(&self, args: &[&str]) -> Output {
        self.svidproof_on(&format!("unix://{}", self.path("docker.sock").display()), args)
    }

    #[allow(clippy::disallowed_methods, reason = "it is a test's to start svidproof itself")]
    pub(crate) fn svidproof_on(&self, docker: &str, args: &[&str]) -> Output {
        let ids = [("--reuid", USER), ("--regid", USER), ("--groups", GROUP)];
        let mut command = Command::new("setpriv");
        command.args(ids.iter().flat_map(|(flag, id)| [(*flag).to_owned(), id.to_string()]));
        command
            .args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
            .arg(self.path("svidproof"));
        command.args(args).current_dir(self.path("home/project")).env_clear();
        command
            .env("HOME", self.path("home"))
            .env("DOCKER_HOST", docker)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.output().unwrap()
    }

    /// Nothing of a run of the user's is left on disk.
    #[track_caller]
    pub(crate) fn is_bare(&self) {
        for folder in [".local/state/svidproof/runs", ".cache/svidproof/nodes"] {
            let left = std::fs::read_dir(self.path("home").join(folder)).into_iter().flatten();
            assert_eq!(left.count(), 0, "{folder}");
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let collected = self.svidproof(&["gc"]);
        assert!(std::thread::panicking() || collected.status.success(), "{}", said(&collected));
    }
}

/// Carries what one says to the other, until it has said all.
fn between(from: &UnixStream, to: &UnixStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// A temporary folder is its maker's alone.
fn open(folder: &Path) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// All below the folder is the user's.
fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}
