//! A SPIRE that is not svidproof's own, on a real cluster: as helm-charts-hardened installs it, with its
//! controller manager and another socket, registered by `ClusterSPIFFEID`s alone, and restarted without its
//! data. A small chart of ours has that shape; where `HELM_CHARTS_HARDENED` names a checkout of the charts
//! themselves, `-- --ignored` installs them too.
//!
//! Each is a real cluster, made and taken down here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod restricted;

use std::path::{Path, PathBuf};
use std::process::Output;

use conformance::{copy, said};
use serde_json::Value;

/// The folder `charts` of a checkout of github.com/spiffe/helm-charts-hardened.
const CHARTS: &str = "HELM_CHARTS_HARDENED";

struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("spire/repository"), dir.path());
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        conformance::svidproof_in(self.0.path(), args).output().unwrap()
    }

    /// Every check of every stage passes, and every planted fault is noticed.
    #[track_caller]
    fn holds(&self, scenario: &str, checks: usize) {
        let up = self.svidproof(&["up", "--scenario", scenario]);
        assert!(up.status.success(), "{}", said(&up));
        let test = self.svidproof(&["test", "--out", "out"]);
        assert_eq!(test.status.code(), Some(0), "{}\n{}", said(&test), String::from_utf8_lossy(&test.stdout));
        let report = std::fs::read_to_string(self.path("out/report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["totals"]["passed"], checks, "{}", report["totals"]);
        assert!(said(&test).contains("and they are made again"), "nothing was lost: {}", said(&test));
        let verify = self.svidproof(&["verify"]);
        assert!(verify.status.success(), "{}\n{}", said(&verify), String::from_utf8_lossy(&verify.stdout));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

#[test]
fn a_spire_with_a_controller_manager_is_used_as_it_is() {
    let world = World::new();
    world.holds("tests/scenarios/hardened.yaml", 8);
    restricted::admits(&world, Some("privileged"));
}

#[test]
fn a_socket_by_csi_and_identities_that_are_there_already() {
    let world = World::new();
    world.holds("tests/scenarios/csi.yaml", 8);
    restricted::charts(&world);
    restricted::the_probe_has_no_rights(&world);
    restricted::admits(&world, None);
}

#[test]
fn a_server_that_comes_again_alone_is_given_its_entries() {
    World::new().holds("tests/scenarios/alone.yaml", 8);
}

/// A test that is left out is not one that passed: `cargo test … --test spire -- --ignored` runs it.
#[test]
#[ignore = "wants HELM_CHARTS_HARDENED, which names the charts themselves"]
fn helm_charts_hardened_is_used_as_it_is() {
    let charts = std::env::var_os(CHARTS).expect("HELM_CHARTS_HARDENED names the folder `charts`");
    let world = World::new();
    copy(Path::new(&charts), &world.path("hardened"));
    let file = world.path("tests/scenarios/hardened.yaml");
    let ours = std::fs::read_to_string(&file).unwrap();
    let values = std::fs::read_to_string(world.path("published.yaml")).unwrap();
    let theirs = ours.replace("charts/spire-crds", "hardened/spire-crds").replace(
        "chart: charts/spire,",
        &format!("chart: hardened/spire, timeout: 5m, values: {},", values.trim()),
    );
    assert_ne!(ours, theirs);
    std::fs::write(&file, theirs).unwrap();
    world.holds("tests/scenarios/hardened.yaml", 8);
}
