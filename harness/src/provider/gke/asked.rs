//! What a person asks of `terraform/gke`, and about what it costs. Pure, but for the root that is read.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::Path;

use serde_json::Value;

use crate::provider::terraform;
use crate::sys::files::FileError;

/// Google's list prices for us-central1, in US dollars an hour, as svidproof was told them (docs/gke.md): a
/// spot machine costs a part of it.
const VCPU: f64 = 0.0218;
const GIBIBYTE: f64 = 0.0029;
const CONTROL_PLANE: f64 = 0.10;
const BALANCER: f64 = 0.025;
/// pd-balanced: a month's price, by the hours of one.
const DISK_GB: f64 = 0.10 / 730.0;

/// The root's variables: defaults, what the environment says as Terraform takes it, and what `--set` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked(BTreeMap<String, Value>);

impl Asked {
    /// Of the root at `root`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(root: &Path, set: &BTreeMap<String, Value>) -> Result<Self, FileError> {
        let env = |name: &str| std::env::var(format!("TF_VAR_{name}")).ok();
        let said = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let value = |variable: terraform::Variable| {
            let value = set.get(&variable.name).cloned().or_else(|| env(&variable.name).map(said));
            Some((variable.name, value.or(variable.default)?))
        };
        Ok(Self(terraform::variables(root)?.into_iter().filter_map(value).collect()))
    }

    /// As text; empty where it is not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> f64 {
        self.0.get(name).and_then(Value::as_f64).unwrap_or_default()
    }

    fn zones(&self) -> Vec<String> {
        let said = self.0.get("node_locations").and_then(Value::as_array).into_iter().flatten();
        let said: Vec<_> = said.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        if said.is_empty() { vec![format!("{}-a", self.text("region"))] } else { said }
    }

    /// At the most, by the hour; none where the machine's price is not known.
    fn hourly(&self) -> Option<f64> {
        let machines = self.machines();
        let each = machine(self.text("machine_type"))? + self.number("disk_gb") * DISK_GB;
        Some(CONTROL_PLANE + BALANCER + machines * each)
    }

    #[allow(clippy::cast_precision_loss, reason = "some zones")]
    fn machines(&self) -> f64 {
        self.number("nodes") * self.zones().len() as f64
    }
}

/// On demand. E2 machines are sold by what they have (Google Cloud, "VM instance pricing").
fn machine(of: &str) -> Option<f64> {
    let (kind, cpus) = of.strip_prefix("e2-")?.split_once('-')?;
    let cpus: f64 = cpus.parse().ok()?;
    let memory = match kind {
        "standard" => 4.0,
        "highmem" => 8.0,
        "highcpu" => 1.0,
        _ => return None,
    };
    Some(cpus * (VCPU + memory * GIBIBYTE))
}

/// What will be there, and about what that costs.
impl Display for Asked {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let spot = if self.0.get("spot") == Some(&Value::Bool(true)) { "spot " } else { "" };
        write!(
            f,
            "{} {spot}machines {} with {} GB each in {}, the control plane's fee, and a load balancer for \
             each Service of that type, in project {}: ",
            self.machines(),
            self.text("machine_type"),
            self.number("disk_gb"),
            self.zones().join(", "),
            self.text("project"),
        )?;
        match self.hourly() {
            Some(hourly) => {
                let less = if spot.is_empty() { "" } else { ", less for spot machines" };
                write!(f, "about {hourly:.2} US dollars an hour by list prices of us-central1{less}")
            }
            None => f.write_str("what that costs svidproof does not know"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn asked(said: Value) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform/gke");
        let set: BTreeMap<_, _> = serde_json::from_value(said).unwrap();
        Asked::of(&root, &set).unwrap().to_string()
    }

    const REST: &str = "the control plane's fee, and a load balancer for each Service of that type, in \
                        project p: ";

    #[rstest]
    #[case::as_the_root_has_it(
        json!({}), "3 spot machines e2-standard-4 with 30 GB each in us-central1-a",
        "about 0.54 US dollars an hour by list prices of us-central1, less for spot machines"
    )]
    #[case::several_zones(
        json!({"node_locations": ["us-central1-b", "us-central1-c"], "nodes": 1, "spot": false}),
        "2 machines e2-standard-4 with 30 GB each in us-central1-b, us-central1-c",
        "about 0.40 US dollars an hour by list prices of us-central1"
    )]
    #[case::another_machine(
        json!({"machine_type": "n4-standard-4", "region": "europe-west1"}),
        "3 spot machines n4-standard-4 with 30 GB each in europe-west1-a",
        "what that costs svidproof does not know"
    )]
    fn what_it_costs_is_said(#[case] mut said: Value, #[case] machines: &str, #[case] costs: &str) {
        said["project"] = json!("p");
        assert_eq!(asked(said), format!("{machines}, {REST}{costs}"));
    }
}
