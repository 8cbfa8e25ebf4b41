//! A chart's own values, those of its subcharts under their names: what `helm show values` tells of the chart
//! alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::ChartError;
use super::dependencies::metadata;
use crate::scenario::merged;
use crate::sys::files::{self, could_not};

/// How deep charts stand in charts: one may hold a link to itself.
const DEEPEST: usize = 8;

/// Of a chart's folder, or of a packed one.
///
/// # Errors
/// It cannot be read, or a file of it is no YAML.
pub fn defaults(chart: &Path) -> Result<Value, ChartError> {
    below(chart, DEEPEST)
}

fn below(chart: &Path, deep: usize) -> Result<Value, ChartError> {
    if !chart.is_file() {
        return of_folder(chart, deep);
    }
    let unpacked = tempfile::tempdir().map_err(could_not("make a folder for", chart))?;
    let packed = File::open(chart).map_err(could_not("read", chart))?;
    tar::Archive::new(GzDecoder::new(packed)).unpack(unpacked.path()).map_err(could_not("unpack", chart))?;
    // A packed chart is one folder of its name.
    match folders(unpacked.path()).first() {
        Some(folder) => of_folder(folder, deep),
        None => Ok(Value::Null),
    }
}

fn of_folder(folder: &Path, deep: usize) -> Result<Value, ChartError> {
    let path = folder.join("values.yaml");
    let own = if path.is_file() {
        let text = files::read_text(&path)?;
        serde_saphyr::from_str(&text)
            .map_err(|error| ChartError::Metadata { path, problem: error.to_string() })?
    } else {
        Value::Null
    };
    let held = files_in(&folder.join("charts")).into_iter().filter(|_| deep > 0);
    let mut subcharts = Map::new();
    let dependencies = metadata(folder)?.dependencies;
    for chart in held.filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "tgz")) {
        let values = below(&chart, deep - 1)?;
        let called = dependencies.iter().filter(|one| one.is_held_as(&chart));
        let mut names: Vec<_> = called.map(|one| one.alias.as_ref().unwrap_or(&one.name).clone()).collect();
        if names.is_empty() {
            names.extend(chart.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        subcharts.extend(names.into_iter().map(|name| (name, values.clone())));
    }
    let subcharts = if subcharts.is_empty() { Value::Null } else { Value::Object(subcharts) };
    Ok(merged(&subcharts, &own))
}

fn folders(path: &Path) -> Vec<PathBuf> {
    files_in(path).into_iter().filter(|path| path.is_dir()).collect()
}

/// In order; none where there is no such folder.
fn files_in(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn chart(folder: &Path, metadata: &str, values: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("Chart.yaml"), metadata).unwrap();
        fs::write(folder.join("values.yaml"), values).unwrap();
    }

    fn packed(folder: &Path, to: &Path) {
        let mut archive = tar::Builder::new(GzEncoder::new(File::create(to).unwrap(), Compression::fast()));
        archive.append_dir_all(folder.file_name().unwrap(), folder).unwrap();
        archive.into_inner().unwrap().finish().unwrap();
    }

    #[test]
    fn subcharts_values_stand_under_their_names_and_the_charts_own_go_before() {
        let dir = tempfile::tempdir().unwrap();
        let (parent, proxy) = (dir.path().join("shop"), dir.path().join("proxy"));
        let dependencies = "name: shop\ndependencies:\n  - {name: proxy, alias: edge}\n  - {name: proxy, alias: \
                            inner}\n  - {name: web}\n";
        chart(&parent, dependencies, "edge: {image: b:2}\nown: 1\n");
        chart(&proxy, "name: proxy\n", "image: a:1\nport: 80\n");
        fs::create_dir(parent.join("charts")).unwrap();
        packed(&proxy, &parent.join("charts/proxy-0.1.0.tgz"));
        chart(&parent.join("charts/web"), "name: web\n", "# nothing\n");
        let expected = json!({"edge": {"image": "b:2", "port": 80}, "inner": {"image": "a:1", "port": 80},
            "own": 1, "web": null});
        assert_eq!(defaults(&parent).unwrap(), expected);
        packed(&parent, &dir.path().join("shop-1.0.0.tgz"));
        assert_eq!(defaults(&dir.path().join("shop-1.0.0.tgz")).unwrap(), expected);
    }

    #[test]
    fn a_chart_without_values_has_none_and_one_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        chart(dir.path(), "name: x\n", "");
        assert_eq!(defaults(dir.path()).unwrap(), Value::Null);
        fs::write(dir.path().join("values.yaml"), "a: [").unwrap();
        let told = defaults(dir.path()).unwrap_err().to_string();
        assert!(told.contains("values.yaml is not understood"), "{told}");
    }
}
