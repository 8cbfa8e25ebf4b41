//! What of a bundle other programs say: Helm of its releases, Terraform of what it made.

use serde_json::{Value, json};

use super::cluster::Reached;
use super::step::{Piece, Step, Unhad};
use super::{Subject, files};
use crate::cluster::helm::{Helm, HelmError, documents};
use crate::lease::{Lease, Thing};
use crate::provider::terraform::{self, Terraform};
use crate::scenario::{PROBES, Scenario, probe_name};
use crate::session::Record;

pub(super) fn steps<'a>(
    subject: &'a Subject<'a>,
    record: Option<&'a Record>,
    reached: Option<&'a Reached>,
) -> Vec<Step<'a>> {
    let mut steps = vec![
        Step::new("versions", async move { Ok(vec![versions(record, reached)]) }),
        Step::new("terraform state list", state(subject)),
    ];
    // From outside nothing was installed, and by no Helm.
    let Some(record) = record.filter(|record| reached.is_some() && !record.helm.as_os_str().is_empty())
    else {
        return steps;
    };
    for (release, namespace) in subject.scenarios.iter().flat_map(releases) {
        let helm = || {
            let cluster = &record.cluster;
            let values = subject.dir.join("values");
            Helm::new(record.helm.clone(), cluster.kubeconfig.clone(), cluster.context.clone(), values)
        };
        let place = format!("helm/{namespace}/{release}");
        let (history, manifest) = (helm(), helm());
        let (name, of) = (release.clone(), namespace.clone());
        let path = format!("{place}/history.txt");
        steps.push(Step::new(format!("{place}/history"), async move {
            Ok(vec![Piece::text(path, history.history(&name, &of).await?)])
        }));
        steps.push(Step::new(format!("{place}/manifest"), async move {
            let stored = manifest.manifest(&release, &namespace).await.map_err(|error| left_out(&error))?;
            let text = stored.ok_or_else(|| Unhad::failed("there is no such release"))?;
            Ok(vec![Piece::json(format!("{place}/manifest.json"), documents(&text).map(document).collect())])
        }));
    }
    steps
}

/// Name and namespace of each.
fn releases(scenario: &Scenario) -> impl Iterator<Item = (String, String)> {
    let own = scenario.install.iter().flatten().map(|one| (one.name.clone(), one.namespace.clone()));
    own.chain([(probe_name(&scenario.name), PROBES.into())])
}

/// What is not understood stays out: nobody knows where its secrets are.
fn document(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|_| json!({"left out": "a document that is not understood"}))
}

/// Its last lines may be a part of the manifest, and nobody knows where the secrets of a part are.
fn left_out(error: &HelmError) -> Unhad {
    Unhad::failed(format!("{error}; what Helm printed of it is left out"))
}

/// As far as it is known without asking anybody.
fn versions(record: Option<&Record>, reached: Option<&Reached>) -> Piece {
    let mut all = files::own_versions(record);
    all["kubernetes"] = reached.map(|reached| reached.version.clone()).into();
    Piece::json("versions.json", all)
}

/// What it made, by address: its state has keys in it, and stays where it is.
async fn state(subject: &Subject<'_>) -> Result<Vec<Piece>, Unhad> {
    let made = Lease::standing_in(subject.dir)?.into_iter().find_map(|thing| match thing {
        Thing::Cluster { terraform, env, .. } => Some((terraform, env)),
        _ => None,
    });
    let Some((folder, env)) = made else {
        return Err(Unhad::left_alone("Terraform made nothing in this run"));
    };
    let terraform = Terraform::at(folder, env)?;
    if !terraform.is_begun() {
        return Err(Unhad::left_alone("Terraform has no state: it had not begun"));
    }
    let version = terraform::version().await?;
    Ok(vec![
        Piece::text("terraform-version.txt", version),
        Piece::text("terraform-state-list.txt", terraform.state_list().await?),
    ])
}
