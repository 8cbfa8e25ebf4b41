//! What of a bundle lies on this machine: the run's journal and record, its report, the logs that it kept.

use std::path::{Path, PathBuf};

use futures::io::AllowStdIo;
use serde_json::{Value, json};

use super::Subject;
use super::step::{Piece, Step, Unhad};
use crate::redact::is_telling;
use crate::session::Record;
use crate::sys::bounded::end_of;
use crate::sys::files;

/// How deep below the run's folder a log may lie.
const DEPTH: u8 = 3;

pub(super) fn steps<'a>(subject: &'a Subject<'a>, record: Option<&'a Record>) -> Vec<Step<'a>> {
    let mut steps = vec![
        Step::new("journal", async { journal(&subject.dir.join("lease.jsonl")) }),
        Step::new("report", async { report(subject) }),
    ];
    if let Some(why) = subject.why {
        steps.push(Step::new("error", async move { Ok(vec![Piece::text("error.txt", why)]) }));
    }
    if let Some(record) = record {
        let record = async move {
            let value = serde_json::to_value(record)?;
            Ok(vec![Piece::json("run.json", value)])
        };
        steps.push(Step::new("record", record));
    }
    for path in logs(subject.dir, DEPTH) {
        let place = path.strip_prefix(subject.dir).unwrap_or(&path).display().to_string();
        steps.push(Step::new(format!("log of svidproof's own: {place}"), async move {
            let file = std::fs::File::open(&path).map_err(files::could_not("open", &path))?;
            let end = end_of(AllowStdIo::new(file)).await.map_err(files::could_not("read", &path))?;
            Ok(vec![Piece::end(format!("run/{place}"), end)])
        }));
    }
    steps
}

/// A line that was cut short by a crash is told as a text.
fn journal(path: &Path) -> Result<Vec<Piece>, Unhad> {
    let text = files::read_text(path)?;
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line));
    Ok(vec![Piece::json("journal.json", text.lines().map(line).collect())])
}

/// Of this run, and not of one before it.
fn report(subject: &Subject<'_>) -> Result<Vec<Piece>, Unhad> {
    let path = subject.reports.join("report.json");
    let report: Value = serde_json::from_slice(&files::read(&path)?)
        .map_err(|error| files::could_not("understand", &path)(error.into()))?;
    if report["run"] != subject.run {
        return Err(Unhad::left_alone(format!("{} is of another run", path.display())));
    }
    Ok(vec![Piece::json("report.json", report)])
}

fn logs(folder: &Path, depth: u8) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() && depth > 1 {
            found.extend(logs(&path, depth - 1));
        } else if path.extension().is_some_and(|end| end == "log") {
            found.push(path);
        }
    }
    found
}

/// What is known to be secret before anything is read: what is in the kubeconfig, in tokens beside the run's
/// record, and in variables of this process that say so by their name.
pub(super) fn secrets(subject: &Subject<'_>, record: Option<&Record>) -> Vec<Vec<u8>> {
    let own = subject.dir.join("kubeconfig");
    let given = record.map(|record| record.cluster.kubeconfig.clone());
    let mut secrets = vec![];
    for path in [Some(own), given].into_iter().flatten() {
        let read = files::read_text(&path).ok().and_then(|text| serde_saphyr::from_str::<Value>(&text).ok());
        telling(&read.unwrap_or_default(), false, &mut secrets);
    }
    for machine in std::fs::read_dir(subject.dir.join("machines")).into_iter().flatten().flatten() {
        secrets.extend(files::read(&machine.path().join("token")));
    }
    let variables = std::env::vars_os().filter(|(name, _)| is_telling(&name.to_string_lossy()));
    secrets.extend(variables.map(|(_, value)| value.into_encoded_bytes()));
    secrets
}

/// Texts that stand under a name that tells, also deeper below it.
fn telling(value: &Value, tells: bool, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) if tells => found.push(text.clone().into_bytes()),
        Value::Array(list) => list.iter().for_each(|one| telling(one, tells, found)),
        Value::Object(map) => {
            map.iter().for_each(|(key, one)| telling(one, tells || is_telling(key), found));
        }
        _ => {}
    }
}

/// What made the bundle, and what the run was made of.
pub(super) fn own_versions(record: Option<&Record>) -> Value {
    let system = rustix::system::uname();
    json!({
        "svidproof": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy(),
            system.machine().to_string_lossy()),
        "images": record.map(|record| record.images.clone()),
        "parts": record.map(|record| record.versions.clone()),
    })
}
