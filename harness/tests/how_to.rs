//! What docs/how-to says is so: every fenced block is read here as its first line says, and every path that
//! these docs name is there. A block of another kind is an error: it would rot unseen.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sample;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use svidproof::forge::{Authority, Recipe, forge};
use svidproof::proof::hops::Hop;
use svidproof::scenario::{self, Scenario, ScenarioError};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Each symptom that docs/troubleshooting.md quotes is what svidproof says: `…` stands for what differs.
#[test]
fn a_symptom_is_what_svidproof_says() {
    let rooms = ["harness/src", "harness/probe/src"].into_iter().flat_map(source::rooms);
    let sources: String = rooms
        .flat_map(|room| {
            room.code.lines().map(|line| line.trim_start().to_owned() + "\n").collect::<Vec<_>>()
        })
        .collect();
    // A text that goes on in the next line.
    let sources = sources.replace("\\\n", "");
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let quoted: Vec<_> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(quoted.len() > 25, "{quoted:?}");
    for symptom in quoted {
        for part in symptom.split('…').map(str::trim).filter(|part| part.len() > 2) {
            assert!(sources.contains(part), "`{symptom}`: nobody says `{part}`");
        }
    }
}

/// docs/troubleshooting.md has every hop, in order, with what holds where it is well.
#[test]
fn each_hop_that_can_break_is_in_the_docs() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let rows = Hop::ALL.iter().map(|hop| format!("| `{hop}` | {} |\n", hop.sentence()));
    let rows: String = rows.collect();
    assert!(page.contains(&rows), "docs/troubleshooting.md does not have these rows:\n{rows}");
}

/// What stands behind the opening fence, and the block without its indentation.
struct Block {
    kind: String,
    text: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let text = inside.map(|line| line.get(indent..).unwrap_or("")).collect::<Vec<_>>().join("\n");
        found.push(Block { kind: kind.to_owned(), text });
    }
    found
}

fn holds(name: &str) {
    let text = fs::read_to_string(root().join("docs/how-to").join(name)).unwrap();
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "nothing in {name} is held by a test");
    let mut told = None;
    for Block { kind, text } in &blocks {
        match kind.split_once(' ').unwrap_or((kind, "")) {
            ("yaml", "credential") => forges(text),
            ("yaml", "scenario") => drop(loaded(text).unwrap_or_else(|error| panic!("{name}: {error}"))),
            ("yaml", "mistake") => told = Some(loaded(text).unwrap_err().to_string()),
            ("text", "") => {
                let told = told.take().unwrap_or_else(|| panic!("{name}: a text follows a mistake"));
                assert!(text.lines().all(|line| told.contains(line)), "{name}: {told}");
            }
            // harness/tests/workflows.rs holds it to more.
            ("yaml", "workflow") => drop(serde_saphyr::from_str::<serde_json::Value>(text).unwrap()),
            ("sh", "") => text.lines().for_each(can_be_run),
            (_, of) if of.starts_with("of ") => stands(text, &of[3..]),
            _ => panic!("{name}: nothing here reads a block of kind `{kind}`"),
        }
    }
    assert!(told.is_none(), "{name}: what is said of a mistake follows it, as text");
}

fn forges(text: &str) {
    let recipes: BTreeMap<String, Recipe> = serde_saphyr::from_str(text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::kept(folder.path(), "example.org").unwrap();
    assert!(!recipes.is_empty());
    for (name, recipe) in recipes {
        let forged = forge(&recipe, "example.org", "/ns/shop/sa/till", &authority).unwrap();
        assert!(forged.unwrap_or_else(|| panic!("{name} is not made")).chain.contains("CERTIFICATE"));
    }
}

/// In a project with one chart, `helm/shop`, and one file of manifests, `registration/shop.yaml`.
fn loaded(text: &str) -> Result<Scenario, ScenarioError> {
    let project = tempfile::tempdir().unwrap();
    let chart = project.path().join("helm/shop");
    fs::create_dir_all(&chart).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n").unwrap();
    fs::create_dir(project.path().join("registration")).unwrap();
    fs::write(project.path().join("registration/shop.yaml"), "kind: ClusterSPIFFEID\n").unwrap();
    let file = project.path().join("shop.yaml");
    fs::write(&file, text).unwrap();
    scenario::load(&file)
}

/// A command of these docs: a script, a test target, a history, or a subcommand that `svidproof help` knows.
fn can_be_run(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.as_slice() {
        ["svidproof", "help", command] => {
            let mut svidproof = Command::new(env!("CARGO_BIN_EXE_svidproof"));
            svidproof.args(["help", command]).assert().success();
        }
        ["svidproof", "history", ..] => {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("nights/1")).unwrap();
            fs::write(folder.path().join("nights/1/report.json"), sample::report().to_json()).unwrap();
            let mut svidproof = Command::new(env!("CARGO_BIN_EXE_svidproof"));
            svidproof.args(&words[1..]).current_dir(folder.path()).assert().success();
        }
        ["cargo", "test", "-p", package, rest @ ..] => {
            let folder = root().join(if *package == "conformance" { "tests" } else { "harness" });
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{package}\"")), "{line}: no such package");
            let is_target = match rest {
                ["--lib"] => true,
                ["--test", test] => {
                    folder.join(format!("tests/{test}.rs")).exists()
                        || manifest.contains(&format!("[[test]]\nname = \"{test}\""))
                }
                _ => false,
            };
            assert!(is_target, "{line}: no such tests");
        }
        [script] if script.starts_with("./scripts/") => assert!(root().join(script).exists(), "{line}"),
        _ => panic!("`{line}` is held by nothing"),
    }
}

/// Each line stands in the file, in this order.
fn stands(text: &str, file: &str) {
    let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut rest = source.as_str();
    for line in text.lines() {
        let at = rest.find(line).unwrap_or_else(|| panic!("{file} has no `{line}`, or not in this order"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_forged_credential() {
    holds("forged-credential.md");
}

#[test]
fn a_key_of_a_check() {
    holds("scenario-key.md");
}

/// What a scenario can say, by the page that tells of it.
#[test]
fn each_whole_example_of_writing_scenarios_is_read() {
    let text = fs::read_to_string(root().join("docs/writing-scenarios.md")).unwrap();
    let whole = blocks(&text).into_iter().filter(|block| block.kind == "yaml scenario");
    let read: Vec<_> = whole.map(|block| loaded(&block.text).unwrap_or_else(|e| panic!("{e}"))).collect();
    assert!(!read.is_empty());
}

#[test]
fn a_provider() {
    holds("provider.md");
}

#[test]
fn a_spire_of_ones_own() {
    holds("own-spire.md");
}

#[test]
fn a_cluster_that_is_there() {
    holds("live.md");
}

#[test]
fn continuous_integration() {
    holds("ci.md");
}

#[test]
fn an_alert() {
    holds("alert.md");
}

#[test]
fn many_nights() {
    holds("history.md");
}

#[test]
fn federation() {
    holds("federation.md");
}

#[test]
fn authorization() {
    holds("authorization.md");
}

/// A folder's or file's path from the root, wherever one is named in these docs.
#[test]
fn what_the_docs_name_is_there() {
    let how_to = fs::read_dir(root().join("docs/how-to")).unwrap().map(|entry| entry.unwrap().path());
    let own = ["CONTRIBUTING.md", "README.md", "docs/architecture.md", "docs/flakes.md"];
    let mut gone = vec![];
    for doc in own.iter().map(|doc| root().join(doc)).chain(how_to) {
        let text = fs::read_to_string(&doc).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
        let paths = words.map(|word| word.trim_start_matches("./").trim_end_matches('.')).filter(|word| {
            let top =
                ["harness/", "tests/", "docs/", "scripts/", "fixtures/", "terraform/", "helm/", ".github/"];
            top.iter().any(|top| word.starts_with(top)) && !word.contains("NAME")
        });
        let mine = ["helm/shop", "tests/snapshots"];
        let missing =
            paths.filter(|path| !mine.iter().any(|own| path.starts_with(own)) && !root().join(path).exists());
        gone.extend(missing.map(|path| format!("{}: {path} is not there", doc.display())));
    }
    assert!(gone.is_empty(), "\n{}", gone.join("\n"));
}
