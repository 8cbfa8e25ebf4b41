//! From the file to a [`Scenario`], and from what is wrong in it to messages with line and column. What parts
//! mean to each other is `validate`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::mistake::{Mistake, instead};
use super::place::Node;
use super::{Origin, PROJECT, Scenario, expand, forged, spelled, validate};
use crate::data;
use crate::forge::{self, CatalogueError};
use crate::sys::files::{self, FileError};

/// Why a file is not read as a scenario. Each message names the file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ScenarioError {
    #[error(transparent)]
    Read(#[from] FileError),
    #[error(
        "{}: no folder from here upwards holds `svidproof.yaml` or `helm/`, and the scenario's paths are \
         relative to the one that does\n\
         hint: `svidproof init` at the root of your repository makes it a project",
        file.display()
    )]
    NoRoot { file: PathBuf },
    /// Not the scenario's fault, but without it no scenario can be checked.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Never empty; in the order of the file.
    #[error("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid { mistakes: Vec<Mistake> },
}

/// Reads, parses and validates; all that is wrong across the parts is told at once.
pub fn load(file: &Path) -> Result<Scenario, ScenarioError> {
    let text = files::read_text(file)?;
    let real = file.canonicalize().map_err(files::could_not("find the folder of", file))?;
    let root = real.parent().and_then(|folder| project_root(folder, |folder| folder.join("helm").is_dir()));
    let root = root.ok_or_else(|| ScenarioError::NoRoot { file: file.into() })?;
    let mut scenario = read(&text, file, root)?;
    let in_project = || real.strip_prefix(root).ok().map(Path::to_path_buf);
    scenario.named = files::in_repository(&real).or_else(in_project).unwrap_or_else(|| file.into());
    Ok(scenario)
}

/// The root of the project that a folder is in: the nearest one upwards with a `svidproof.yaml`, else the
/// nearest that will do without.
pub fn project_root(folder: &Path, will_do: impl Fn(&Path) -> bool) -> Option<&Path> {
    let nearest = |is: &dyn Fn(&Path) -> bool| folder.ancestors().find(|folder| is(folder));
    nearest(&|folder| folder.join(PROJECT).is_file()).or_else(|| nearest(&will_do))
}

/// A file of ours, or what is wrong with it and where.
pub fn read_yaml<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, Mistake> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| mistake(file, &error))
}

pub(super) fn read(text: &str, file: &Path, root: &Path) -> Result<Scenario, ScenarioError> {
    forge::catalogue()?;
    forged::tables()?;
    let wrong = |mistake| ScenarioError::Invalid { mistakes: vec![mistake] };
    let mut scenario: Scenario = read_yaml(text, file).map_err(wrong)?;
    let places: Node = read_yaml(text, file).map_err(wrong)?;
    (scenario.file, scenario.named) = (file.into(), file.into());
    scenario.root = root.into();
    if scenario.install.iter().flatten().any(|release| matches!(release.origin(), Origin::Builtin(_))) {
        scenario.home = data::home(root)?;
    }
    for (name, endpoint) in &mut scenario.endpoints {
        if let Some(published) = &mut endpoint.published {
            published.line = places.at("endpoints").at(name).at("published").at("host-port").place().line;
        }
    }
    if let Some(outside) = &mut scenario.spire.outside {
        outside.published.line =
            places.at("spire").at("outside").at("published").at("host-port").place().line;
    }
    spelled::spell_out(&mut scenario);
    let mistakes = validate::mistakes(&scenario, &places);
    if !mistakes.is_empty() {
        return Err(ScenarioError::Invalid { mistakes });
    }
    for path in scenario.install.iter().flatten().flat_map(|release| scenario.values_files(release)) {
        // Helm reads it; a cluster must not be made for one that it will not understand.
        let keys = read_yaml::<Option<BTreeMap<String, Value>>>(&files::read_text(&path)?, &path);
        keys.map(drop).map_err(wrong)?;
    }
    for check in scenario.stages.iter_mut().flat_map(|stage| &mut stage.checks) {
        if let Some(path) = &check.body_file {
            check.sent = files::read(&root.join(path))?;
        }
        if !check.grpc.is_empty() {
            check.sent = spelled::framed(&check.sent);
        }
    }
    for (number, stage) in scenario.stages.iter_mut().enumerate() {
        let places = places.at("stages").nth(number);
        for (number, check) in stage.checks.iter_mut().enumerate() {
            check.place = places.at("checks").nth(number).place();
        }
    }
    for (number, broken) in scenario.broken.iter_mut().enumerate() {
        broken.place = places.at("broken").nth(number).place();
    }
    expand::expand(&mut scenario, &places);
    scenario.places = Some(Arc::new(places));
    Ok(scenario)
}

fn mistake(file: &Path, error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((1, 1), |location| (location.line(), location.column()));
    Mistake { file: file.into(), line, column, message: user_message(error.without_snippet()) }
}

/// The errors that users make every day in the words of a scenario; the parser's own words for the rest.
fn user_message(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => user_message(error.without_snippet()),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", instead(field, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing here"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`{}", instead(variant, expected.iter().copied()))
        }
        Error::InvalidScalar { ty: "u8" | "u16" | "u32" | "u64" | "usize", .. } => {
            "expected a whole number, not negative and not too large".into()
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` stands here twice"),
        Error::Eof { .. } => "the file is empty or ends too early".into(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

#[cfg(test)]
mod tests;
