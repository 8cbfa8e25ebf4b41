//! The house stays as docs/architecture.md draws it: who may import whom, which wings are pure, and what a
//! file looks like. No exceptions are listed here: what breaks a rule is mended, or the rule is changed for
//! all.
#![allow(clippy::unwrap_used, reason = "tests")]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Room, Source, everything, rooms};

/// From the top: a wing imports only what stands in a line below its own.
const WINGS: [&[&str]; 17] = [
    &["cli"],
    &["bundle"],
    &["suite"],
    &["stage"],
    &["session", "history"],
    &["report", "draft", "project"],
    &["surface"],
    &["provider"],
    &["cluster"],
    &["images"],
    &["engine", "lease"],
    &["proof"],
    &["scenario"],
    &["alert", "forge", "redact"],
    &["spiffe_id"],
    &["data", "halt"],
    &["sys"],
];

/// Nothing in these touches the machine or waits.
const PURE: [&str; 10] =
    ["alert", "draft", "history", "project", "proof", "redact", "report", "scenario", "spiffe_id", "surface"];
/// But here: a scenario's file is read, a surface's is kept, and reports are read.
const DOORS: [&str; 4] =
    ["history/files.rs", "scenario/parse/mod.rs", "surface/file.rs", "surface/tests/file.rs"];
const MACHINE: [&str; 10] = [
    "std::env",
    "std::fs",
    "std::process",
    "TcpListener",
    "TcpStream",
    "tokio",
    "kube::",
    "reqwest",
    "sys::tool",
    "sys::wait",
];

const LONGEST_LINE: usize = 110;
const LONGEST_FILE: usize = 500;

fn none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<_> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn a_wing_imports_only_what_is_below_it() {
    let level = |wing: &str| WINGS.iter().position(|wings| wings.contains(&wing));
    let rooms = rooms("harness/src");
    none(rooms.iter().flat_map(|room| {
        let own = &room.module[0];
        let known = level(own);
        let stray = known.is_none().then(|| format!("{}: `{own}` is in no line of WINGS", room.file));
        let wrong = room.imports().into_iter().filter_map(move |path| {
            let wing = path.first().filter(|wing| *wing != own)?;
            (level(wing)? <= known?).then(|| format!("{}: `{wing}` is not below `{own}`", room.file))
        });
        stray.into_iter().chain(wrong).collect::<BTreeSet<_>>()
    }));
}

#[test]
fn pure_wings_do_not_touch_the_machine() {
    let pure = |room: &&Room| PURE.contains(&room.module[0].as_str()) && !DOORS.contains(&room.file.as_str());
    none(rooms("harness/src").iter().filter(pure).flat_map(|room| {
        let named = MACHINE.iter().filter(|name| room.code.contains(**name));
        named.map(|name| format!("{}: `{name}` in a pure wing", room.file)).collect::<Vec<_>>()
    }));
}

/// A folder's `mod.rs` may know its rooms, and they it; the rooms do not know each other in a circle.
#[test]
fn rooms_know_each_other_one_way() {
    let mut circles = vec![];
    for src in ["harness/src", "harness/probe/src"] {
        let mut knows = BTreeMap::<_, BTreeSet<_>>::new();
        let rooms = rooms(src);
        let parts =
            |room: &Room| (1..=room.module.len()).map(|end| room.module[..end].join("/")).collect::<Vec<_>>();
        let names: BTreeSet<_> = rooms.iter().flat_map(parts).collect();
        for (room, path) in
            rooms.iter().flat_map(|room| room.imports().into_iter().map(move |path| (room, path)))
        {
            // Where the two ways part there are two rooms of one folder.
            let fork = room.module.iter().zip(&path).take_while(|(a, b)| a == b).count() + 1;
            if let (Some(from), Some(to)) = (room.module.get(..fork), path.get(..fork)) {
                knows.entry(from.join("/")).or_default().insert(to.join("/"));
            }
        }
        // Whoever knows nobody, or is known by nobody, is in no circle.
        loop {
            let before = knows.len();
            let left: BTreeSet<_> = knows.keys().cloned().collect();
            for known in knows.values_mut() {
                known.retain(|to| names.contains(to) && left.contains(to));
            }
            let sought: BTreeSet<_> = knows.values().flatten().cloned().collect();
            knows.retain(|from, to| !to.is_empty() && sought.contains(from));
            if knows.len() == before {
                break;
            }
        }
        circles.extend(knows.iter().map(|(from, to)| format!("{src}: {from} knows {to:?}, which know it")));
    }
    none(circles);
}

#[test]
fn a_file_says_what_it_is_for_and_fits_a_reader() {
    none(everything().iter().flat_map(|Source { path, text }| {
        // A row of test data or a snapshot is as long as what it holds.
        let tests = path.contains("/tests") || path.starts_with("tests/");
        let code = if tests { "" } else { text.split("\n#[cfg(test)]\nmod tests {").next().unwrap() };
        let long = code.lines().zip(1..).filter(|(line, _)| line.chars().count() > LONGEST_LINE);
        let long = long.map(|(_, number)| format!("{path}:{number}: over {LONGEST_LINE} columns"));
        let lines = text.lines().count();
        let over = (lines > LONGEST_FILE).then(|| format!("{path}: {lines} lines, over {LONGEST_FILE}"));
        let bare = (!text.starts_with("//!")).then(|| format!("{path}: its first line is no `//!`"));
        long.chain(over).chain(bare).collect::<Vec<_>>()
    }));
}

#[test]
fn a_module_with_parts_is_a_folder_with_a_mod_rs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let is_twin = |one: &&Source| root.join(one.path.strip_suffix(".rs").unwrap()).is_dir();
    none(everything().iter().filter(is_twin).map(|one| format!("{} stands beside its folder", one.path)));
}
