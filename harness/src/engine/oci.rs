//! The OCI runtime wrapper, `svidproof oci-runtime <runc's arguments>`: takes out of a container's
//! specification the capabilities that this process itself could never hold, then becomes runc.
//!
//! dockerd gives a privileged container every capability that it knows. Where the machine withholds one
//! (`CAP_SYS_RESOURCE` in many sandboxes), runc cannot apply it and no privileged container, hence no kind
//! node, starts. Not a runtime: runc does the work.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sys::files::{self, FileError};
use crate::sys::tool::{self, Tool, ToolError};

/// Capabilities by their bit (linux/capability.h).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// runc's options that take no value. Every other one takes the next argument, unless written
/// `--option=value`.
const FLAGS: [&str; 14] = [
    "debug",
    "systemd-cgroup",
    "help",
    "h",
    "version",
    "v",
    "tty",
    "t",
    "detach",
    "d",
    "no-new-privs",
    "ignore-paused",
    "no-pivot",
    "no-new-keyring",
];

const STATUS: &str = "/proc/self/status";

/// Why a container could not be handed to runc.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum OciError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is not an OCI specification", .path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("{STATUS} has no line CapBnd")]
    NoCapBnd,
    #[error("runc is neither on PATH nor in the system's folders\nhint: ./scripts/setup installs it")]
    NoRunc,
    #[error(transparent)]
    Exec(#[from] ToolError),
}

/// Edits the specification that `args` point to and becomes runc. Returns only on failure.
pub fn oci_runtime(args: Vec<OsString>) -> OciError {
    match prepare(&args) {
        Ok(runc) => Tool::new(runc).args(args).exec().into(),
        Err(error) => error,
    }
}

fn prepare(args: &[OsString]) -> Result<PathBuf, OciError> {
    match specification(args) {
        Some(Specification::Container(path)) => edit(&path, "/process/capabilities")?,
        Some(Specification::Process(path)) => edit(&path, "/capabilities")?,
        None => {}
    }
    tool::find("runc").ok_or(OciError::NoRunc)
}

fn edit(path: &Path, pointer: &str) -> Result<(), OciError> {
    let text = files::read(path)?;
    let mut json = serde_json::from_slice(&text)
        .map_err(|source| OciError::NotJson { path: path.to_owned(), source })?;
    let status = files::read_text(Path::new(STATUS))?;
    if withhold(&mut json, pointer, bounding_of(&status).ok_or(OciError::NoCapBnd)?) {
        files::write(path, json.to_string())?;
    }
    Ok(())
}

/// The capabilities that this process could never hold.
pub(super) fn missing() -> Result<Vec<&'static str>, OciError> {
    let status = files::read_text(Path::new(STATUS))?;
    let bounding = bounding_of(&status).ok_or(OciError::NoCapBnd)?;
    // A capability that the kernel does not know is missing everywhere: that is not withheld.
    let last = files::read_text(Path::new("/proc/sys/kernel/cap_last_cap"))?;
    let last = last.trim().parse().unwrap_or(NAMES.len() - 1);
    Ok(NAMES
        .iter()
        .enumerate()
        .take(last + 1)
        .filter(|(bit, _)| bounding & (1 << bit) == 0)
        .map(|(_, name)| *name)
        .collect())
}

/// Where runc will read capabilities from.
#[derive(Debug, PartialEq)]
enum Specification {
    /// `create` and `run`: the bundle's config.json.
    Container(PathBuf),
    /// `exec`: the file that describes one more process.
    Process(PathBuf),
}

fn specification(args: &[OsString]) -> Option<Specification> {
    let (_, rest) = options(args);
    let (command, rest) = rest.split_first()?;
    let (options, _) = options(rest);
    let value = |long: &str, short: &str| {
        let found = options.iter().rev().find(|(name, _)| name == long || name == short);
        found.and_then(|(_, value)| value.map(PathBuf::from))
    };
    match command.to_str()? {
        "create" | "run" => {
            Some(Specification::Container(value("bundle", "b").unwrap_or_default().join("config.json")))
        }
        "exec" => value("process", "p").map(Specification::Process),
        _ => None,
    }
}

/// The options that `args` begin with, without their dashes, and what follows them.
fn options(args: &[OsString]) -> (Vec<(String, Option<&OsStr>)>, &[OsString]) {
    use std::os::unix::ffi::OsStrExt;
    let mut found = vec![];
    let mut rest = args;
    while let Some((arg, after)) = rest.split_first() {
        let Some(word) = arg.as_bytes().strip_prefix(b"-").filter(|word| !word.is_empty()) else { break };
        rest = after;
        let word = word.strip_prefix(b"-").unwrap_or(word);
        if word.is_empty() {
            break; // `--` ends the options
        }
        let mut halves = word.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned();
        let mut value = halves.next().map(OsStr::from_bytes);
        if value.is_none() && !FLAGS.contains(&name.as_str()) {
            value = rest.first().map(OsString::as_os_str);
            rest = rest.get(1..).unwrap_or_default();
        }
        found.push((name, value));
    }
    (found, rest)
}

/// The bounding set in the text of /proc/<pid>/status.
fn bounding_of(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// Takes what is not in `bounding` out of every set under `pointer`; whether there was any. A name from a
/// newer kernel is left for runc to judge.
fn withhold(json: &mut Value, pointer: &str, bounding: u64) -> bool {
    let held = |name: &Value| {
        let bit = NAMES.iter().position(|known| name == known);
        bit.is_none_or(|bit| bounding & (1 << bit) != 0)
    };
    let mut changed = false;
    for set in json
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|sets| sets.values_mut())
    {
        if let Some(names) = set.as_array_mut() {
            let before = names.len();
            names.retain(held);
            changed |= names.len() != before;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(line: &str) -> Option<Specification> {
        specification(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn create_names_its_bundle() {
        let expected = Some(Specification::Container("/run/b/config.json".into()));
        assert_eq!(
            of("--root /r --log /l/log.json --log-format json --systemd-cgroup create \
                 --bundle /run/b --pid-file /p id"),
            expected
        );
        assert_eq!(of("--root=/r create --pid-file /p --bundle=/run/b id"), expected);
        assert_eq!(of("run -d -b /run/b id"), expected);
    }

    #[test]
    fn the_bundle_is_the_working_directory_by_default() {
        assert_eq!(of("create id"), Some(Specification::Container("config.json".into())));
    }

    #[test]
    fn exec_names_its_process_file() {
        let expected = Some(Specification::Process("/tmp/process".into()));
        assert_eq!(
            of("--root /r exec --tty --console-socket /s --process /tmp/process --detach --pid-file /p id"),
            expected
        );
        assert_eq!(of("exec -t -p /tmp/process id"), expected);
    }

    #[test]
    fn options_of_the_executed_command_are_not_runcs() {
        assert_eq!(of("exec -t id sh -p /etc/passwd"), None);
        assert_eq!(of("exec --env --process id sh"), None);
    }

    #[test]
    fn an_options_value_is_not_a_command() {
        assert_eq!(of("--root create delete --force id"), None);
        assert_eq!(of("--version"), None);
    }

    #[test]
    fn what_the_process_lacks_is_withheld_from_every_set() {
        let mut spec = json!({"process": {"args": ["sh"], "capabilities": {
            "bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"],
            "effective": ["CAP_SYS_RESOURCE", "CAP_OF_NEXT_YEAR"],
            "ambient": null,
        }}});
        assert!(withhold(&mut spec, "/process/capabilities", !(1 << 24)));
        let expected = json!({"bounding": ["CAP_CHOWN"], "effective": ["CAP_OF_NEXT_YEAR"], "ambient": null});
        assert_eq!(spec["process"]["capabilities"], expected);
        assert!(
            !withhold(&mut spec, "/process/capabilities", !(1 << 24)),
            "the second time there is nothing to take"
        );
    }

    #[test]
    fn a_process_without_capabilities_is_left_alone() {
        assert!(!withhold(&mut json!({"args": ["sh"]}), "/capabilities", 0));
    }

    #[test]
    fn the_bounding_set_is_read_from_the_status() {
        let bounding =
            bounding_of("Name:\tsh\nCapEff:\t0000000000000000\nCapBnd:\t000001fffeffffff\n").unwrap();
        assert_eq!((bounding & (1 << 24), bounding & (1 << 21) != 0), (0, true));
        assert_eq!(bounding_of("Name:\tsh\n"), None);
    }
}
