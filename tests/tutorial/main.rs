//! docs/tutorial.md on a real cluster: every file that it shows is written, every command that it shows is run,
//! in a repository of its own with an empty home, where no checkout of svidproof is.
//!
//! A fenced block is, by its first line, a file (`KIND file PATH`), the new end of a file (`KIND instead-of
//! "WORDS" PATH`) or commands (`console`). After a `$` stands a command, with the exit status that it must have
//! unless that is 0; below it lines of what it must say, in which `…` stands for anything.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Repository {
    dir: tempfile::TempDir,
}

/// Takes down what is left also where an assertion did not hold.
impl Drop for Repository {
    fn drop(&mut self) {
        self.run("svidproof down; svidproof gc");
    }
}

impl Repository {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["bin", "home", "state", "orders"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::copy(conformance::program(), dir.path().join("bin/svidproof")).unwrap();
        Self { dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("orders").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The exit status, and all that was said.
    #[allow(clippy::disallowed_methods, reason = "a reader's shell")]
    fn run(&self, command: &str) -> (Option<i32>, String) {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-c", command])
            .current_dir(self.path(""))
            .env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()))
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            // What took twenty minutes to build is not built again.
            .env("XDG_CACHE_HOME", svidproof::sys::dirs::cache().parent().unwrap())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn console(&self, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("no command is before `{line}`"));
            let (command, status) = command.split_once(" # exit status ").unwrap_or((command, "0"));
            let (ended, said) = self.run(command);
            assert_eq!(ended.map(|code| code.to_string()).as_deref(), Some(status), "$ {command}\n{said}");
            while let Some(wanted) = lines.next_if(|line| !line.starts_with("$ ")) {
                assert!(
                    said.lines().any(|line| is_like(line, wanted)),
                    "$ {command}\n{wanted}\nis not in\n{said}"
                );
            }
        }
    }
}

/// Whether the line is as `wanted` has it, where `…` stands for anything.
fn is_like(line: &str, wanted: &str) -> bool {
    let mut parts = wanted.split('…').map(str::trim_end);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        match rest.find(part.trim_start()) {
            Some(at) => rest = &rest[at + part.trim_start().len()..],
            None => return false,
        }
    }
    wanted.ends_with('…') || rest.is_empty()
}

#[test]
fn what_it_shows_is_so() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md")).unwrap();
    let repository = Repository::new();
    let mut lines = page.lines();
    let mut commands = 0;
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let text: String =
            lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        if kind == "console" {
            commands += text.lines().filter(|line| line.starts_with("$ ")).count();
            repository.console(&text);
        } else if let Some((_, path)) = kind.split_once(" file ") {
            repository.write(path, &text);
        } else if let Some((_, end)) = kind.split_once(" instead-of \"") {
            let (words, path) = end.split_once("\" ").unwrap();
            let before = fs::read_to_string(repository.path(path)).unwrap();
            let (kept, _) =
                before.split_once(words).unwrap_or_else(|| panic!("no `{words}` is in\n{before}"));
            repository.write(path, &format!("{kept}{text}"));
        } else {
            panic!("nothing here reads a block of kind `{kind}`");
        }
    }
    assert!(commands > 10, "the page has {commands} commands");
    let left = fs::read_dir(repository.dir.path().join("state/svidproof/runs"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "runs are left");
}

#[test]
fn anything_stands_for_anything() {
    assert!(is_like("  ✓ a  b   12 ms", "  ✓ a … ms") && is_like("wrote /x/y.snap", "wrote …/y.snap"));
    assert!(
        !is_like("1 failed", "0 failed …") && !is_like("wrote x", "wrote") && !is_like("wrote x", "wrote …y")
    );
}
