//! What GitHub runs: the workflows, the action for others, and the example of docs/how-to/ci.md. Each is held
//! to what can be seen without running it; `scripts/workflows` runs them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use regex::Regex;
use serde_json::Value;

/// What docs/how-to/ci.md calls this repository.
const OWN: &str = "OWNER/svidproof";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The workflows by file name, the example among them.
fn workflows() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join(".github/workflows")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: BTreeMap<_, _> = files
        .map(|file| {
            (file.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(file).unwrap())
        })
        .collect();
    let page = fs::read_to_string(root().join("docs/how-to/ci.md")).unwrap();
    let example = page.split_once("```yaml workflow\n").unwrap().1.split_once("```").unwrap().0;
    all.insert("docs/how-to/ci.md".into(), example.into());
    all
}

/// Everything that has steps: the workflows, and the actions of this repository.
fn all() -> BTreeMap<String, String> {
    let actions = ["action.yml", ".github/actions/setup/action.yml"];
    let actions = actions.map(|file| (file.to_owned(), fs::read_to_string(root().join(file)).unwrap()));
    workflows().into_iter().chain(actions).collect()
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().unwrap().iter()
}

fn steps(file: &Value) -> Vec<&Value> {
    let jobs = file["jobs"].as_object().into_iter().flat_map(|jobs| jobs.values().map(|job| &job["steps"]));
    jobs.chain([&file["runs"]["steps"]]).filter_map(Value::as_array).flatten().collect()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A tag can be moved to another commit; its version is said beside the hash, for people.
#[test]
fn an_action_is_pinned_by_its_hash() {
    let pinned = Regex::new("^[^@]+@[0-9a-f]{40} # v[0-9]+[.][0-9]+[.][0-9]+$").unwrap();
    let mut of_version = BTreeMap::new();
    let mut wrong = vec![];
    for (name, text) in all() {
        let lines = text.lines().filter_map(|line| line.split_once("uses: "));
        let uses =
            lines.map(|(_, uses)| uses).filter(|uses| !uses.starts_with("./") && !uses.starts_with(OWN));
        for uses in uses {
            let action = uses.split('@').next().unwrap().split('/').take(2).collect::<Vec<_>>().join("/");
            let one = of_version.entry(action).or_insert_with(|| uses.split('@').nth(1).unwrap().to_owned());
            if !pinned.is_match(uses) || !uses.ends_with(one.as_str()) {
                wrong.push(format!("{name}: {uses}: wanted a hash, its version, and everywhere the same"));
            }
        }
    }
    assert!(of_version.len() > 5, "{of_version:?}");
    none(&wrong);
}

/// So that `scripts/workflows` runs it, and a stand-in takes no input that is misspelt.
#[test]
fn an_action_has_a_stand_in_that_knows_its_inputs() {
    let mut wrong = vec![];
    let read = Regex::new(r"steps[.](\w+)[.]outputs[.](\w[\w-]*)").unwrap();
    for (name, text) in all() {
        let file = yaml(&text);
        for step in steps(&file) {
            let Some(uses) = step["uses"].as_str() else { continue };
            let action = uses.split('@').next().unwrap();
            let folder = match action.strip_prefix("./") {
                Some(local) => local.to_owned(),
                None if action == OWN => String::new(),
                None => format!("fixtures/action-stand-ins/{action}"),
            };
            let Ok(known) = fs::read_to_string(root().join(&folder).join("action.yml")) else {
                wrong.push(format!("{name}: {uses} has no stand-in: {folder}/action.yml"));
                continue;
            };
            let known = yaml(&known);
            let unknown = step["with"].as_object().into_iter().flatten().map(|(input, _)| input);
            let unknown = unknown.filter(|input| known["inputs"].get(input.as_str()).is_none());
            wrong.extend(unknown.map(|input| format!("{name}: {uses} has no input {input}")));
            let outputs = read.captures_iter(&text).filter(|read| Some(&read[1]) == step["id"].as_str());
            let unknown = outputs.filter(|read| known["outputs"].get(&read[2]).is_none());
            wrong.extend(unknown.map(|read| format!("{name}: {uses} has no output {}", &read[2])));
        }
    }
    none(&wrong);
}

/// What may do more is named here, with the job that does.
#[test]
fn a_job_may_read_and_has_an_end() {
    let more = BTreeMap::from([
        (("nightly.yml", "gke"), vec!["id-token"]),
        (("release.yml", "publish"), vec!["attestations", "contents", "id-token", "packages"]),
    ]);
    let mut wrong = vec![];
    for (name, text) in workflows() {
        let workflow = yaml(&text);
        if workflow["permissions"] != serde_json::json!({"contents": "read"}) {
            wrong.push(format!("{name}: permissions: {}", workflow["permissions"]));
        }
        if workflow["concurrency"]["group"].is_null() {
            wrong.push(format!("{name}: no concurrency"));
        }
        for (job, said) in jobs(&workflow) {
            let asked = said["permissions"].as_object().into_iter().flatten();
            let writes: Vec<_> =
                asked.filter(|(_, may)| *may != "read").map(|(what, _)| what.as_str()).collect();
            let may = more.get(&(name.as_str(), job.as_str())).cloned().unwrap_or_default();
            // serde_json's objects are in order of their keys.
            if writes != may {
                wrong.push(format!("{name}: {job} may write {writes:?}, and here it may {may:?}"));
            }
            if !said["timeout-minutes"].is_u64() {
                wrong.push(format!("{name}: {job} has no timeout-minutes"));
            }
        }
        for step in steps(&workflow) {
            let checkout = step["uses"].as_str().is_some_and(|uses| uses.starts_with("actions/checkout@"));
            if checkout && step["with"]["persist-credentials"] != false {
                wrong.push(format!("{name}: a checkout leaves its token to every later step"));
            }
        }
    }
    none(&wrong);
}

/// What others wrote is read from the environment: put into a script, it would be run.
#[test]
fn a_script_has_no_expression_in_it() {
    let mut wrong = vec![];
    for (name, text) in all() {
        let file = yaml(&text);
        let scripts = steps(&file).into_iter().filter_map(|step| step["run"].as_str());
        let mixed = scripts.filter(|script| script.contains("${{"));
        wrong.extend(mixed.map(|script| format!("{name}: an expression in `{script}`")));
    }
    none(&wrong);
}

/// Each `svidproof …` of a script: its subcommand, and its flags.
fn calls(script: &str) -> Vec<(String, Vec<String>)> {
    let one_line = script.replace("\\\n", " ");
    let call = Regex::new(r"(?m)(?:^|[\s(])svidproof ((?:[a-z][a-z-]* ?)+)([^|;\n]*)").unwrap();
    let flag = Regex::new("--[a-z][a-z-]*").unwrap();
    let calls = call.captures_iter(&one_line).map(|call| {
        let flags = flag.find_iter(&call[2]).map(|flag| flag.as_str().to_owned()).collect();
        (call[1].trim().to_owned(), flags)
    });
    calls.collect()
}

/// What `svidproof help …` says of a subcommand, whose own subcommands are tried first.
fn help(words: &str) -> Option<String> {
    let words: Vec<_> = words.split(' ').collect();
    let said = |count: usize| {
        let mut help = Command::new(env!("CARGO_BIN_EXE_svidproof"));
        let output = help.arg("help").args(&words[..count]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    (1..=words.len().min(2)).rev().find_map(said)
}

#[test]
fn a_script_says_what_svidproof_knows() {
    let mut scripts: Vec<(String, String)> = vec![];
    for (name, text) in all() {
        let file = yaml(&text);
        let runs = steps(&file).into_iter().filter_map(|step| step["run"].as_str());
        scripts.extend(runs.map(|run| (name.clone(), run.to_owned())));
    }
    let nights = fs::read_to_string(root().join("scripts/nights")).unwrap();
    let nights = nights.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    scripts.push(("scripts/nights".into(), nights));
    let (mut wrong, mut seen) = (vec![], BTreeSet::new());
    for (name, script) in &scripts {
        for word in script.split_whitespace().filter_map(|word| word.strip_prefix("./scripts/")) {
            if !root().join("scripts").join(word).exists() {
                wrong.push(format!("{name}: there is no scripts/{word}"));
            }
        }
        for (command, flags) in calls(script) {
            seen.insert(command.split(' ').next().unwrap().to_owned());
            let Some(help) = help(&command) else {
                wrong.push(format!("{name}: svidproof has no `{command}`"));
                continue;
            };
            let known: Vec<_> = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
            let unknown = flags.iter().filter(|flag| !known.contains(&flag.as_str()));
            wrong.extend(unknown.map(|flag| format!("{name}: svidproof {command} has no {flag}")));
        }
    }
    assert!(
        ["run", "gc", "diff", "history", "images"].iter().all(|command| seen.contains(*command)),
        "{seen:?}"
    );
    none(&wrong);
}
