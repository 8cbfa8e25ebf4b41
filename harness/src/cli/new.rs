//! `svidproof new`: a scenario for a chart that has none.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::exit::{Context, Ended, Exit, INTERRUPTED, or_interrupted};
use super::scenarios::project;
use crate::cluster::chart::completed;
use crate::cluster::helm;
use crate::draft::{BLANK, Draft, Wanted, draft};
use crate::scenario::{Release, ScenarioError};
use crate::session::SessionError;
use crate::spiffe_id::split;
use crate::sys::chain;
use crate::sys::files;
use crate::sys::progress::Progress;
use crate::sys::tool;
use crate::{images, scenario};

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What the scenario is called; it goes to NAME.yaml in the project's folder of scenarios
    name: String,
    /// The chart's folder
    #[arg(long, value_name = "PATH")]
    chart: PathBuf,
    #[arg(long, value_name = "NS", default_value = "default")]
    namespace: String,
    /// Values for the chart
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// What the SVID `default` says (SPIRE agent's name for a workload's own), which no Envoy configuration
    /// tells: the path of the SPIFFE ID, or the whole ID. Without it, FILL-IN stands in its place
    #[arg(long, value_name = "PATH")]
    identity: Option<String>,
}

pub(super) async fn new(args: NewArgs, progress: &Progress) -> Result<Exit, Ended> {
    let project = project()?;
    let root = project.root.clone();
    let NewArgs { name, namespace, .. } = &args;
    for (what, text) in [("scenario", name), ("namespace", namespace)] {
        if !scenario::is_label(text) {
            return Err(Ended::input(format!(
                "`{text}` cannot name a {what}: lower-case letters, digits and `-` can"
            )));
        }
    }
    let identity = args.identity.as_deref();
    if let Some(said) = identity.filter(|said| !said.starts_with('/') && split(said).is_none()) {
        return Err(Ended::input(format!(
            "`{said}` is no identity: write the path of a SPIFFE ID, such as /ns/shop/sa/shop, or all of it"
        )));
    }
    let path = project.scenarios().join(format!("{name}.yaml"));
    if path.exists() {
        return Err(taken(&path));
    }
    let chart = inside(&root, &args.chart)?;
    not_a_library(&root.join(&chart))?;
    let values = values(args.values.as_deref())?;
    let helm = tool::find("helm")
        .or_else(|| images::tool("helm"))
        .ok_or_else(|| Ended::from(SessionError::NoHelm))?;
    let release = Release { name: name.clone(), namespace: namespace.clone(), ..Release::default() };
    let rendered = async {
        // For this one look: a run completes a copy of its own.
        let place = tempfile::tempdir()?;
        let chart = completed(&helm, &root.join(&chart), &place.path().join("chart")).await;
        let chart = chart.map_err(Ended::input)?;
        let wanted = helm::Wanted { release: &release, chart: &chart, files: &[], values: &values };
        helm::template(&helm, wanted).await.map_err(Ended::input)
    };
    let manifests = or_interrupted(INTERRUPTED, rendered).await?;
    let wanted = Wanted { name, chart: &chart, release: name, namespace, values: &values, identity };
    let Draft { text, notes } = draft(&wanted, &manifests)
        .map_err(|e| Ended::input(Context::new(args.chart.display().to_string(), e)))?;
    files::make_folder(&project.scenarios()).map_err(Ended::not_judged)?;
    write(&path, &text)?;
    let open = open(&text, &path)?;
    for note in &notes {
        progress.note(&format!("note: left out: {note}"));
    }
    let left = match &open[..] {
        [] => "fill in what its comments name, then".to_owned(),
        lines => format!("it is refused until each {BLANK} is filled in (line {}); then", lines.join(", ")),
    };
    progress.note(&format!("wrote {}\nhint: {left} `svidproof up --scenario {0}`", path.display()));
    Ok(Exit::Passed)
}

/// The lines of a draft that are to be filled in before it is a scenario. Anything else that is wrong with it
/// is not the user's to mend.
fn open(text: &str, path: &Path) -> Result<Vec<String>, Ended> {
    let blank = |line: u64| {
        let index = usize::try_from(line).unwrap_or_default().saturating_sub(1);
        text.lines().nth(index).is_some_and(|line| line.contains(BLANK))
    };
    let error = match scenario::load(path) {
        Ok(_) => return Ok(vec![]),
        Err(ScenarioError::Invalid { mistakes }) if mistakes.iter().all(|mistake| blank(mistake.line)) => {
            let mut lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line).collect();
            lines.dedup();
            return Ok(lines.iter().map(ToString::to_string).collect());
        }
        Err(error) => error,
    };
    // What is not a scenario must not stand where scenarios are looked for.
    std::fs::remove_file(path)?;
    Err(Ended::input(format!(
        "what was drafted is not a scenario, and nothing was written:\n{}",
        chain(&error)
    )))
}

/// The chart's folder as a scenario names it.
fn inside(root: &Path, chart: &Path) -> Result<String, Ended> {
    let real = chart.canonicalize().ok().filter(|real| real.join("Chart.yaml").is_file());
    let real = real
        .ok_or_else(|| Ended::input(format!("{} is not a chart: it has no Chart.yaml", chart.display())))?;
    let root = root.canonicalize()?;
    let hint = "hint: put the chart into it, or a link to it";
    let outside =
        || Ended::input(format!("{} is not inside the project {}\n{hint}", chart.display(), root.display()));
    // By the name that the user gave it, where that is inside: it may be a link.
    let named = std::path::absolute(chart)?;
    let inside = named.strip_prefix(&root).or_else(|_| real.strip_prefix(&root)).map_err(|_| outside())?;
    inside.to_str().map(ToOwned::to_owned).ok_or_else(outside)
}

/// A library chart (Helm, "Library Charts") has templates for others and installs nothing.
fn not_a_library(chart: &Path) -> Result<(), Ended> {
    let text = std::fs::read_to_string(chart.join("Chart.yaml")).unwrap_or_default();
    // What is wrong with it otherwise, Helm says.
    let said: Value = serde_saphyr::from_str(&text).unwrap_or_default();
    if said["type"] != "library" {
        return Ok(());
    }
    Err(Ended::input(format!(
        "{} is a library chart (`type: library`): it installs nothing, so there is nothing to dial\n\
         hint: draft from a chart that has it among its dependencies",
        chart.display()
    )))
}

fn values(file: Option<&Path>) -> Result<Value, Ended> {
    let Some(file) = file else { return Ok(Value::Null) };
    let text = std::fs::read_to_string(file)
        .map_err(|e| Ended::input(Context::new(format!("cannot read the values {}", file.display()), e)))?;
    let values: Value = serde_saphyr::from_str(&text)
        .map_err(|e| Ended::input(Context::new(file.display().to_string(), e)))?;
    if values.is_object() || values.is_null() {
        return Ok(values);
    }
    Err(Ended::input(format!("{} holds no values: they are a map", file.display())))
}

/// Not over a file that came there meanwhile.
fn write(path: &Path, text: &str) -> Result<(), Ended> {
    let broken = |e| Ended::not_judged(Context::new(format!("could not write {}", path.display()), e));
    let mut file = match std::fs::File::create_new(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken(path)),
        Err(e) => return Err(broken(e)),
    };
    file.write_all(text.as_bytes()).map_err(broken)
}

fn taken(path: &Path) -> Ended {
    Ended::input(format!(
        "{} is there already, and is not overwritten\nhint: take another name, or move it away",
        path.display()
    ))
}
