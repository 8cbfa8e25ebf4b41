//! The workspace's Rust files, and what each imports: read as text, so also what no build has compiled yet.
//! Not for what may be imported: that is `architecture.rs`'s.
#![allow(clippy::unwrap_used, dead_code, reason = "tests, each of which takes its part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) struct Source {
    /// From the workspace's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join(folder)];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let (inner, files): (Vec<PathBuf>, Vec<_>) =
            entries.filter(|path| !path.ends_with("target")).partition(|path| path.is_dir());
        folders.extend(inner);
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path, text: std::fs::read_to_string(file).unwrap() });
        }
    }
    assert!(!found.is_empty(), "{folder} has no source");
    found
}

pub(crate) fn everything() -> Vec<Source> {
    ["harness", "fixtures", "tests"].into_iter().flat_map(sources).collect()
}

/// A room: a module file of a crate, by its path in the crate, without its tests.
pub(crate) struct Room {
    pub(crate) file: String,
    pub(crate) module: Vec<String>,
    pub(crate) code: String,
}

pub(crate) fn rooms(src: &str) -> Vec<Room> {
    let room = |Source { path, text }: Source| {
        let file = path.strip_prefix(src)?.strip_prefix('/')?.to_owned();
        let module = file.strip_suffix(".rs")?.trim_end_matches("/mod");
        let module: Vec<String> = module.split('/').map(str::to_owned).collect();
        let root = ["lib", "main"].contains(&module[0].as_str());
        let code = text.split("#[cfg(test)]\nmod tests {").next()?;
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        (!root && module.last()? != "tests").then_some(Room { file, module, code })
    };
    sources(src).into_iter().filter_map(room).collect()
}

impl Room {
    /// Every path of this crate that it names, in `use` or inline, as segments from the crate's root.
    pub(crate) fn imports(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for (start, keyword) in
            ["crate::", "super::", "self::"].iter().flat_map(|keyword| self.code.match_indices(keyword))
        {
            let before = self.code[..start].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || "_:$".contains(before) {
                continue;
            }
            let mut base = if keyword == "crate::" { vec![] } else { self.module.clone() };
            let mut rest = &self.code[start..];
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            rest = rest.strip_prefix("crate::").or(rest.strip_prefix("self::")).unwrap_or(rest);
            tree(rest, &base, &mut found);
        }
        found
    }
}

/// A path, or a `use` tree in braces, below `base`. Returns what follows it.
fn tree<'a>(text: &'a str, base: &[String], found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let mut text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        text = inner;
        loop {
            text = tree(text, base, found).trim_start();
            match text.strip_prefix(',') {
                Some(after) => text = after,
                None => return text.strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    path.extend((!name.is_empty() && name != "self").then(|| name.to_owned()));
    match rest.strip_prefix("::") {
        Some(below) if !name.is_empty() => tree(below, &path, found),
        _ => {
            found.insert(path);
            // `as another_name`, `*` and the like end at the next comma or brace.
            &rest[rest.find([',', '}', ';']).unwrap_or(rest.len())..]
        }
    }
}

#[test]
fn paths_are_read_as_rust_reads_them() {
    let code = "use crate::{a::{self, B}, c as d};\nuse super::e::*;\n\
        fn f() { crate::g::h(); xcrate::no::no; self::i::j() }";
    let room = Room { file: String::new(), module: vec!["one".into(), "two".into()], code: code.into() };
    let found: Vec<_> = room.imports().iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a", "a::B", "c", "g::h", "one::e", "one::two::i::j"]);
}
