//! What the kernel says of processes and mounts: whether a pidfile still names its daemon, how a child ended,
//! what is mounted under a folder.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::sys::process::is_still;

/// The process that a pidfile names, if it is still the one that wrote it: this program with this
/// configuration.
pub(super) fn process(pidfile: &Path, program: &str, flag: &str, config: &Path) -> Option<Pid> {
    let number = fs::read_to_string(pidfile).ok()?.trim().parse().ok()?;
    Pid::from_raw(number).filter(|pid| is_still(*pid, program, flag, config))
}

/// The mount points under `dir` in the text of /proc/<pid>/mountinfo, in the order in which they were
/// mounted.
pub(super) fn mounts_under(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| PathBuf::from(point.replace(r"\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_others_are_not_ours() {
        let mountinfo = "21 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 21 254:0 /c /my\\040cache/engine/data rw shared:1 - ext4 /dev/vda rw\n\
            31 30 0:40 / /my\\040cache/engine/data/overlay2/x/merged rw - overlay overlay rw\n\
            32 21 0:41 / /my\\040cache/engine-2 rw - tmpfs t rw\n";
        let expected: Vec<_> =
            ["data", "data/overlay2/x/merged"].map(|end| Path::new("/my cache/engine").join(end)).into();
        assert_eq!(mounts_under(mountinfo, Path::new("/my cache/engine")), expected);
    }
}
