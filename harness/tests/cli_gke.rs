//! `--provider gke`: what is told before anything is asked of Google, or made there. The rest is the tier `gke`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Exit, Exits, World, said, snapshot};

const HERE: [&str; 5] = ["run", "--provider", "gke", "--set", "project=demo"];

/// In a world whose `svidproof` finds nobody's credentials.
fn told(args: &[&str], exit: Exit, credentials: Option<&str>) -> (World, String) {
    let world = World::new();
    world.fake("helm", "[ \"$1\" = version ] && exec echo v4.0.0\nexit 0");
    // The root itself.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform/gke");
    let copy = world.project().join("terraform/gke");
    std::fs::create_dir_all(&copy).unwrap();
    for file in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    let mut command = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
    command.args(args).env_remove("GOOGLE_APPLICATION_CREDENTIALS");
    if let Some(content) = credentials {
        let file = world.root.join("adc.json");
        std::fs::write(&file, content).unwrap();
        command.env("GOOGLE_APPLICATION_CREDENTIALS", file);
    }
    let output = assert_cmd::Command::from_std(command).assert().exits(exit).get_output().clone();
    world.assert_nothing_is_left();
    (world, said(&output))
}

#[test]
fn what_costs_money_is_said_and_not_made_where_nobody_says_so() {
    let (world, told) = told(&HERE, Exit::Input, None);
    snapshot!(world, told, @r"
    svidproof: this makes 3 spot machines e2-standard-4 with 30 GB each in us-central1-a, the control plane's fee, and a load balancer for each Service of that type, in project demo: about 0.54 US dollars an hour by list prices of us-central1, less for spot machines; it is taken down at the end, and may be taken for lost after 360 min
    hint: --yes lets it be made where nobody can be asked
    ");
}

#[test]
fn a_misspelt_variable_is_told_with_those_that_there_are() {
    let (world, told) = told(&[&HERE[..], &["--yes", "--set", "zone=a"]].concat(), Exit::Input, None);
    snapshot!(world, told, @r"
    svidproof: --set zone: [world]/project/terraform/gke/variables.tf has no such variable; it has name, project, region, node_locations, release_channel, nodes, machine_type, disk_gb, spot, authorized_networks, private_nodes, expires, state_bucket, deletion_protection
    ");
}

#[test]
fn the_project_must_be_said() {
    let (world, told) = told(&["run", "--provider", "gke", "--yes"], Exit::Input, None);
    snapshot!(world, told, @r"
    svidproof: the provider gke must be told its `project`
    hint: --set project=VALUE; docs/gke.md lists all
    ");
}

#[test]
fn credentials_that_are_of_no_use_are_told_before_anything_is_made() {
    let credentials = Some(r#"{"type": "gdch_service_account"}"#);
    let (world, told) = told(&[&HERE[..], &["--yes"]].concat(), Exit::NotJudged, credentials);
    snapshot!(world, told, @r"
    this makes 3 spot machines e2-standard-4 with 30 GB each in us-central1-a, the control plane's fee, and a load balancer for each Service of that type, in project demo: about 0.54 US dollars an hour by list prices of us-central1, less for spot machines; it is taken down at the end, and may be taken for lost after 360 min
    ✗ cluster (gke) [time]
    ✓ teardown [time]
    svidproof: the Google credentials in [world]/adc.json are of no use: its type is `gdch_service_account`, which is none of Google's that is known
    hint: GOOGLE_APPLICATION_CREDENTIALS names the file; `gcloud auth application-default login` makes another
    ");
}

#[test]
fn a_lifetime_is_longer_than_it_takes_to_make_a_cluster() {
    let (world, told) = told(&[&HERE[..], &["--max-lifetime", "5min"]].concat(), Exit::Input, None);
    snapshot!(world, told, @r"
    error: invalid value '5min' for '--max-lifetime <DURATION>': it is 15 min at the least

    For more information, try '--help'.
    ");
}

#[test]
fn what_is_said_to_a_provider_that_would_not_listen_is_told() {
    for (option, args) in
        [("--yes", vec!["run", "--yes"]), ("--max-lifetime", vec!["up", "--max-lifetime", "1h"])]
    {
        let (_, told) = told(&args, Exit::Input, None);
        let expected = format!("{option} says nothing to the provider kind\nhint: is --provider gke meant?");
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn clusters_of_kind_are_this_machines() {
    let (world, told) = told(&["gc", "--expired", "--provider", "kind"], Exit::Input, None);
    snapshot!(world, told, @r"
    svidproof: clusters of the provider kind are this machine's
    hint: `svidproof gc` alone takes them down
    ");
}
