//! Images that run under another name than the charts give them, such as svidproof's own out of a registry of
//! the user's, or another version: the values that name one are made to name the other. No chart is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::SessionError;
use super::supply::rendered;
use crate::cluster::chart::defaults;
use crate::cluster::containers::Container;
use crate::images::{Images, full_name, repository};
use crate::scenario::{Origin, Release, Scenario, merged};
use crate::sys::files;
use crate::sys::progress::Progress;

/// What an image is called instead: in a registry of the user's, its digest included, by the name that charts
/// give it; by the digest that it must have, by its full name; and in another version, by its full name
/// without a tag, whichever tag charts give it.
pub type Renamed = BTreeMap<String, String>;

/// With each image by the digest that it must have; also of those that another version is taken of.
pub(super) fn pinned(mut names: Renamed, digests: &BTreeMap<String, String>) -> Renamed {
    let full: BTreeMap<_, _> = digests.iter().map(|(image, digest)| (full_name(image), digest)).collect();
    for other in names.values_mut() {
        if let Some(digest) = full.get(&full_name(other)) {
            *other = format!("{other}@{digest}");
        }
    }
    for (image, digest) in full {
        if !names.contains_key(repository(&image)) {
            let by_digest = format!("{image}@{digest}");
            names.insert(image, by_digest);
        }
    }
    names
}

/// Tells which of the images that must have a digest nothing is made of, neither a release nor a node, as far
/// as that is known: a name that is misspelt holds nothing.
pub(super) fn tell_idle(
    digests: &BTreeMap<String, String>,
    ran: &Ran,
    nodes: Option<&Images>,
    progress: &Progress,
) {
    for (image, digest) in digests {
        let has = |images: &Images| {
            images.node.ends_with(digest) || images.versions.values().any(|version| version == digest)
        };
        let by_digest = [(image.clone(), format!("{image}@{digest}"))].into();
        if ran.none_of(&by_digest) && !nodes.is_some_and(has) {
            progress.note(&format!("`digests` has {image}, which nothing of this run is made of"));
        }
    }
}

/// The scenarios, with values that name the images as they are pulled.
///
/// # Errors
/// A release would still run one under its old name, be it in one stage alone: no value of its chart holds
/// it.
pub(super) async fn renamed(
    helm: &Path,
    scenarios: Vec<Scenario>,
    names: &Renamed,
) -> Result<(Vec<Scenario>, Ran), SessionError> {
    if names.is_empty() {
        return Ok((scenarios, Ran(None)));
    }
    let mut all = vec![];
    for mut scenario in scenarios {
        let mut install = scenario.install.clone();
        for release in install.iter_mut().flatten() {
            rename(&scenario, release, names)?;
        }
        scenario.install = install;
        over_releases(&mut scenario, names);
        all.push(scenario);
    }
    let mut ran = Some(BTreeSet::new());
    for (scenario, release, containers) in rendered(helm, &all, &|_| true).await {
        let Some(containers) = containers else {
            ran = None;
            continue;
        };
        let still = |one: &Container| Some((other(&one.image, names)?, one.image.clone()));
        if let Some((to, image)) = containers.iter().find_map(still) {
            return Err(SessionError::NotRenamed {
                place: scenario.place_in(release, "chart"),
                release: release.name.clone(),
                to: to.into(),
                image,
            });
        }
        if let Some(ran) = &mut ran {
            ran.extend(containers.iter().map(|one| full_name(&one.image)));
        }
    }
    Ok((all, Ran(ran)))
}

/// The full names of all images that the releases run, in whichever stage; absent where one cannot be
/// rendered without a cluster.
#[derive(Debug, Default)]
pub(super) struct Ran(Option<BTreeSet<String>>);

impl Ran {
    /// Whether it is known that none of these is among them.
    pub(super) fn none_of(&self, names: &Renamed) -> bool {
        let runs = |ran: &BTreeSet<String>| names.values().any(|name| ran.contains(&full_name(name)));
        self.0.as_ref().is_some_and(|ran| !runs(ran))
    }
}

/// What stages and planted faults give the releases besides.
fn over_releases(scenario: &mut Scenario, names: &Renamed) {
    let stages = scenario.stages.iter_mut().map(|stage| &mut stage.values);
    let all = stages.chain(scenario.broken.iter_mut().map(|fault| &mut fault.values));
    for value in all.flat_map(BTreeMap::values_mut) {
        *value = everywhere(value, names);
    }
}

fn rename(scenario: &Scenario, release: &mut Release, names: &Renamed) -> Result<(), SessionError> {
    if matches!(release.origin(), Origin::Plain) {
        return Ok(());
    }
    let place = || scenario.place_in(release, "chart");
    let unread = |source| SessionError::Chart { place: place(), release: release.name.clone(), source };
    let mut below = defaults(&scenario.chart(release)).map_err(unread)?;
    for file in scenario.values_files(release) {
        // What is not YAML is told by Helm.
        let text = files::read_text(&file)?;
        below = merged(&below, &serde_saphyr::from_str(&text).unwrap_or_default());
    }
    release.values = merged(&where_named(&below, names), &everywhere(&release.values, names));
    for value in release.set.values_mut() {
        *value = everywhere(value, names);
    }
    Ok(())
}

/// What the image of this name is called instead.
fn other<'a>(image: &str, names: &'a Renamed) -> Option<&'a str> {
    let of = |name: &str| names.get(name).map(String::as_str);
    let full = full_name(image);
    let found = of(image).or_else(|| of(&full)).or_else(|| of(repository(&full)));
    found.filter(|other| *other != image)
}

/// The same of a text in values: without a tag it may be a part of a name.
fn instead<'a>(text: &str, names: &'a Renamed) -> Option<&'a str> {
    other(text, names).filter(|_| repository(text) != text)
}

/// The other tag of an image whose name is given in parts, as many charts have them: `registry`,
/// `repository`, `tag`.
fn tag_instead<'a>(map: &serde_json::Map<String, Value>, names: &'a Renamed) -> Option<&'a str> {
    let text = |key| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let path = text("repository").filter(|_| map.contains_key("tag"))?;
    let name = text("registry").map_or_else(|| path.to_owned(), |registry| format!("{registry}/{path}"));
    let full = full_name(&name);
    let tagged = || names.get(&format!("{}:{}", repository(&full), text("tag")?));
    let other = names.get(repository(&full)).or_else(tagged)?;
    other.strip_prefix(repository(other))?.strip_prefix(':').filter(|tag| text("tag") != Some(tag))
}

/// The same values, with the other name wherever one stands.
fn everywhere(values: &Value, names: &Renamed) -> Value {
    merged(values, &where_named(values, names))
}

/// Only what names one, with its other name; a list that does goes whole, since Helm replaces it whole. Null
/// where nothing does.
fn where_named(values: &Value, names: &Renamed) -> Value {
    match values {
        Value::String(text) => instead(text, names).map_or(Value::Null, Value::from),
        Value::Object(map) => {
            let all = map.iter().map(|(key, value)| (key.clone(), where_named(value, names)));
            let mut some: serde_json::Map<_, _> = all.filter(|(_, value)| !value.is_null()).collect();
            if let Some(tag) = tag_instead(map, names) {
                some.insert("tag".into(), tag.into());
                // It would go before the tag.
                if map.contains_key("digest") {
                    some.insert("digest".into(), "".into());
                }
            }
            if some.is_empty() { Value::Null } else { Value::Object(some) }
        }
        Value::Array(all) if all.iter().any(|value| !where_named(value, names).is_null()) => {
            all.iter().map(|value| everywhere(value, names)).collect()
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::Broken;

    fn names() -> Renamed {
        [("a:dev".to_owned(), "r.test/a@sha256:01".to_owned())].into()
    }

    #[test]
    fn only_what_names_an_image_is_said_again() {
        let values = json!({
            "image": "a:dev", "other": "b:1", "below": {"image": "a:dev", "port": 80}, "none": {"x": [1]},
            "list": [{"image": "a:dev", "name": "n"}, "b:1"],
        });
        let expected = json!({
            "image": "r.test/a@sha256:01", "below": {"image": "r.test/a@sha256:01"},
            "list": [{"image": "r.test/a@sha256:01", "name": "n"}, "b:1"],
        });
        assert_eq!(where_named(&values, &names()), expected);
        assert_eq!(where_named(&json!({"image": "a:dev-2"}), &names()), Value::Null);
    }

    #[test]
    fn another_version_takes_the_place_of_whichever_there_is() {
        let names = [("docker.io/envoyproxy/envoy".to_owned(), "envoyproxy/envoy:v2".to_owned())].into();
        for image in ["envoyproxy/envoy:v1", "docker.io/envoyproxy/envoy:v1", "envoyproxy/envoy@sha256:01"] {
            assert_eq!(where_named(&json!(image), &names), json!("envoyproxy/envoy:v2"));
        }
        for image in
            ["envoyproxy/envoy:v2", "envoyproxy/envoy", "envoyproxy/gateway:v1", "r.test/envoyproxy/envoy:v1"]
        {
            assert_eq!(where_named(&json!(image), &names), Value::Null, "{image}");
        }
    }

    #[test]
    fn of_a_name_in_parts_the_tag_is_another() {
        let names =
            [("ghcr.io/spiffe/spire-agent".to_owned(), "ghcr.io/spiffe/spire-agent:2".to_owned())].into();
        let image =
            json!({"registry": "ghcr.io", "repository": "spiffe/spire-agent", "tag": "", "pullPolicy": ""});
        assert_eq!(where_named(&json!({"image": image}), &names), json!({"image": {"tag": "2"}}));
        let image = json!({"repository": "ghcr.io/spiffe/spire-agent", "tag": "1", "digest": "sha256:01"});
        assert_eq!(where_named(&image, &names), json!({"tag": "2", "digest": ""}));
        for other in [
            json!({"repository": "ghcr.io/spiffe/spire-agent", "tag": "2"}),
            json!({"repository": "ghcr.io/spiffe/spire-agent"}),
            json!({"repository": "spiffe/spire-agent", "tag": "1"}),
        ] {
            assert_eq!(where_named(&other, &names), Value::Null, "{other}");
        }
    }

    #[test]
    fn what_must_have_a_digest_is_named_by_it_in_whichever_form() {
        let digests = [("envoyproxy/envoy:v1", "sha256:01"), ("ghcr.io/spiffe/spire-agent:1", "sha256:02")];
        let digests = digests.map(|(image, digest)| (image.to_owned(), digest.to_owned())).into();
        let names = pinned(Renamed::new(), &digests);
        for image in ["envoyproxy/envoy:v1", "docker.io/envoyproxy/envoy:v1"] {
            assert_eq!(where_named(&json!(image), &names), json!("docker.io/envoyproxy/envoy:v1@sha256:01"));
        }
        assert_eq!(where_named(&json!("envoyproxy/envoy:v2"), &names), Value::Null);
        assert_eq!(where_named(&json!("docker.io/envoyproxy/envoy:v1@sha256:01"), &names), Value::Null);
        let parts = json!({"repository": "ghcr.io/spiffe/spire-agent", "tag": "1"});
        assert_eq!(where_named(&parts, &names), json!({"tag": "1@sha256:02"}));
        let parts = json!({"repository": "ghcr.io/spiffe/spire-agent", "tag": "2"});
        assert_eq!(where_named(&parts, &names), Value::Null);
    }

    /// What a container runs is an image for certain: without a tag it is the latest, and not as it should be.
    #[test]
    fn a_container_without_a_tag_is_not_taken_for_renamed() {
        let digest = [("nginx".to_owned(), "sha256:01".to_owned())].into();
        let names = pinned(Renamed::new(), &digest);
        assert_eq!(other("nginx", &names), Some("docker.io/library/nginx:latest@sha256:01"));
        assert_eq!(other("docker.io/library/nginx:latest@sha256:01", &names), None);
        let version = [("docker.io/envoyproxy/envoy".to_owned(), "envoyproxy/envoy:v2".to_owned())].into();
        assert_eq!(other("envoyproxy/envoy", &version), Some("envoyproxy/envoy:v2"));
        assert_eq!(where_named(&json!("envoyproxy/envoy"), &version), Value::Null, "a part, it may be");
    }

    #[test]
    fn another_version_has_the_digest_of_its_own() {
        let other = [("docker.io/envoyproxy/envoy".to_owned(), "envoyproxy/envoy:v2".to_owned())];
        let digest = |image: &str| [(image.to_owned(), "sha256:01".to_owned())].into();
        let names = pinned(other.clone().into(), &digest("envoyproxy/envoy:v2"));
        assert_eq!(
            where_named(&json!("envoyproxy/envoy:v1"), &names),
            json!("envoyproxy/envoy:v2@sha256:01")
        );
        let names = pinned(other.into(), &digest("envoyproxy/envoy:v1"));
        assert_eq!(where_named(&json!("envoyproxy/envoy:v1"), &names), json!("envoyproxy/envoy:v2"));
    }

    #[test]
    fn what_no_release_runs_is_known_only_where_all_are() {
        let names: Renamed =
            [("docker.io/envoyproxy/envoy".to_owned(), "envoyproxy/envoy:v2".to_owned())].into();
        let ran = |images: &[&str]| Ran(Some(images.iter().map(|image| full_name(image)).collect()));
        assert!(
            ran(&[]).none_of(&names) && ran(&["bitnami/envoy:v2", "envoyproxy/envoy:v1"]).none_of(&names)
        );
        assert!(
            !ran(&["a:1", "docker.io/envoyproxy/envoy:v2"]).none_of(&names) && !Ran(None).none_of(&names)
        );
    }

    #[test]
    fn what_stages_and_faults_name_is_renamed_too() {
        let mut scenario = crate::scenario::one_check();
        let values: BTreeMap<_, _> = [("web".to_owned(), json!({"image": "a:dev"}))].into();
        scenario.stages[0].values.clone_from(&values);
        let (name, stage) = ("another image".into(), scenario.stages[0].name.clone());
        scenario.broken.push(Broken {
            name,
            stage,
            values,
            red: vec![],
            place: crate::scenario::Place::default(),
        });
        over_releases(&mut scenario, &names());
        let expected = json!({"image": "r.test/a@sha256:01"});
        assert_eq!(
            (&scenario.stages[0].values["web"], &scenario.broken[0].values["web"]),
            (&expected, &expected)
        );
    }

    #[test]
    fn all_else_stays() {
        let values = json!({"image": "a:dev", "keep": {"null": null, "list": []}});
        let expected = json!({"image": "r.test/a@sha256:01", "keep": {"null": null, "list": []}});
        assert_eq!(everywhere(&values, &names()), expected);
        assert_eq!(everywhere(&Value::Null, &names()), Value::Null);
    }
}
