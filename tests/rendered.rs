//! The rendered manifests that tests of `svidproof new` read are what Helm makes of the charts.
//!
//! Needs Helm, on PATH or as `svidproof images build` made it, and nothing else. Where there is none, the
//! tests say that they were ignored.

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use svidproof::cluster::helm::{self, Wanted};
use svidproof::images;
use svidproof::scenario::Release;
use svidproof::sys::tool;

/// Rendered with no values of its own, for the namespace that the drafts are for: chart, copy.
const COPIES: [(&str, &str); 2] =
    [("helm/nginx", "harness/src/draft/nginx.yaml"), ("helm/echo", "harness/src/draft/echo.yaml")];

fn main() -> ExitCode {
    let program = tool::find("helm").or_else(|| images::tool("helm"));
    let ignored = program.is_none();
    let program = program.unwrap_or_default();
    let trials = COPIES.map(|(chart, copy)| {
        let program = program.clone();
        Trial::test(format!("{copy} is what {chart} renders to"), move || compare(&program, chart, copy))
            .with_kind("needs Helm")
            .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn compare(program: &Path, chart: &str, copy: &str) -> Result<(), Failed> {
    let root = conformance::repository();
    let runtime = tokio::runtime::Runtime::new()?;
    let chart = root.join(chart);
    let release = Release { name: "mine".into(), namespace: "shop".into(), ..Release::default() };
    let wanted = Wanted { release: &release, chart: &chart, files: &[], values: &Value::Null };
    let rendered = runtime.block_on(helm::template(program, wanted))?;
    let path = root.join(copy);
    if std::env::var_os("UPDATE_RENDERED").is_some() {
        std::fs::write(&path, &rendered)?;
    }
    let kept = std::fs::read_to_string(&path)?;
    match kept.lines().zip(rendered.lines()).position(|(kept, rendered)| kept != rendered) {
        _ if kept == rendered => Ok(()),
        line => Err(Failed::from(format!(
            "{copy} differs from what {} renders to, from line {} on\n\
             hint: UPDATE_RENDERED=1 cargo test --package conformance --test rendered",
            chart.display(),
            line.unwrap_or(kept.lines().count().min(rendered.lines().count())) + 1
        ))),
    }
}
