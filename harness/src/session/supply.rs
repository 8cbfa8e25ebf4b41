//! Before anything is made: whether the nodes will have the image of every container of every release. What
//! is missing is told at once, not as a roll-out that never ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use futures::stream::{StreamExt, iter};
use serde_json::Value;

use super::{SessionError, stage_values};
use crate::cluster::containers::{Container, containers};
use crate::cluster::helm::{self, Wanted};
use crate::cluster::inject::{self, Injected};
use crate::images::{self, Declared, Remote, Source, Versions, full_name};
use crate::scenario::{OwnImage, Release, Scenario};
use crate::sys::progress::Progress;

/// Where a cluster's images may come from.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Built, or pulled by the nodes.
    pub source: Source,
    /// Other versions than the declaration's own.
    pub versions: Versions,
    /// What charts' images that svidproof makes itself are pulled from.
    pub registry: Option<Remote>,
    /// What nodes that pull do so through.
    pub mirror: Option<Remote>,
    /// By image, the digest that it must have where nodes pull.
    pub digests: BTreeMap<String, String>,
    /// Hosts of the registries whose images the engine may pull for nodes that reach none.
    pub registries: Vec<String>,
}

/// What the nodes need besides what they have.
#[derive(Debug, Default)]
pub(super) struct Supplied {
    /// Images that they are given.
    pub(super) own: Vec<OwnImage>,
    /// Images that they pull through a mirror, and the digests that it has them under.
    pub(super) digests: BTreeMap<String, String>,
}

/// How many charts are rendered side by side.
const RENDERED: usize = 4;

/// A container that could not start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    file: PathBuf,
    release: String,
    container: Container,
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Container { name, image, always } = &self.container;
        let (file, release) = (self.file.display(), &self.release);
        write!(f, "{file}: release {release}, container {name}: image {image}")?;
        if *always {
            f.write_str(" has `imagePullPolicy: Always` (said, or by its tag)")?;
        }
        Ok(())
    }
}

/// All of them, and what there is instead.
#[derive(Debug)]
pub struct Lacking {
    missing: BTreeSet<Missing>,
    there: BTreeSet<String>,
}

impl Display for Lacking {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("the nodes reach no registry, and would not have what these containers need:\n")?;
        for missing in &self.missing {
            writeln!(f, "  {missing}")?;
        }
        f.write_str(
            "hint: `images: [NAME]` in the scenario, or `--load NAME`, takes one from your container engine \
             or from FILE.tar; `registries: [HOST]` in svidproof.yaml lets the engine pull it;",
        )?;
        if self.missing.iter().any(|one| one.container.always) {
            f.write_str(" `imagePullPolicy: IfNotPresent` lets the node take what it has;")?;
        }
        let there: Vec<_> = self.there.iter().map(String::as_str).collect();
        write!(f, "\nthere are {}; with `--images upstream` nodes pull", there.join(", "))
    }
}

/// What the nodes have to be given besides: images of svidproof's own that not every node has, and those that
/// the engine has to pull, of the registries that it may. Nodes that pull do so by themselves: a mirror is
/// asked whether it has each image, and without one there is only a note of those that nobody declares.
pub(super) async fn check(
    helm: &Path,
    scenarios: &[Scenario],
    declared: &Declared,
    own: &[OwnImage],
    ways: &Ways,
    progress: &Progress,
) -> Result<Supplied, SessionError> {
    let source = ways.source;
    let mut there: BTreeSet<String> = declared.names().map(|name| full_name(name)).collect();
    let mut given: BTreeSet<String> = declared.unknown_to_registries().map(full_name).collect();
    for image in own {
        given.extend(images::names(image).map_err(|source| SessionError::Own { source })?);
    }
    there.extend(given.iter().cloned());
    let rendered = rendered(helm, scenarios, &may_name_an_image).await;
    let (mut missing, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for (scenario, release, all) in rendered {
        let all = all.unwrap_or_default();
        asked.extend(all.iter().map(|container| full_name(&container.image)));
        let lacks = |one: &Container| one.always || !there.contains(&full_name(&one.image));
        missing.extend(all.into_iter().filter(lacks).map(|container| Missing {
            file: scenario.file.clone(),
            release: release.full_name(),
            container,
        }));
    }
    let extra = declared.extra.iter().filter(|(name, has_registry)| {
        asked.contains(&full_name(name)) && !(source == Source::Upstream && **has_registry)
    });
    let extra = extra.map(|(name, _)| OwnImage::Declared(name.clone()));
    if let (Source::Upstream, Some(mirror)) = (source, &ways.mirror) {
        let pulled = asked.iter().filter(|image| !given.contains(*image)).map(String::as_str);
        let digests = images::digests(mirror, pulled).await.map_err(images::ImagesError::from)?;
        return Ok(Supplied { own: extra.collect(), digests });
    }
    if source == Source::Upstream {
        let images: BTreeSet<_> = missing.iter().map(|one| one.container.image.as_str()).collect();
        let images: Vec<_> = images.into_iter().collect();
        if !images.is_empty() {
            progress.note(&format!("the nodes pull from registries: {}", images.join(", ")));
        }
        return Ok(Supplied { own: extra.collect(), ..Supplied::default() });
    }
    let (pulled, missing): (BTreeSet<_>, _) =
        missing.into_iter().partition(|one| is_pulled(&one.container, &ways.registries));
    if !missing.is_empty() {
        return Err(SessionError::Lacking(Box::new(Lacking { missing, there })));
    }
    let images: BTreeSet<_> = pulled.into_iter().map(|one| OwnImage::Pulled(one.container.image)).collect();
    Ok(Supplied { own: extra.chain(images).collect(), ..Supplied::default() })
}

/// Whether every release that is to be given an admin interface has an Envoy that can be given it.
///
/// # Errors
/// One has none.
pub(super) async fn check_injected(helm: &Path, scenarios: &[Scenario]) -> Result<(), SessionError> {
    let releases = scenarios.iter().flat_map(|scenario| {
        let asks = |release: &&Release| release.inject_admin.is_some();
        scenario.install.iter().flatten().filter(asks).map(move |release| (scenario, release))
    });
    for (scenario, release) in releases {
        let Some(port) = release.inject_admin else { continue };
        for values in variants(scenario, release, &may_name_an_image) {
            let (chart, files) = (scenario.chart(release), scenario.values_files(release));
            let wanted = Wanted { release, chart: &chart, files: &files, values: &values };
            // What cannot be rendered without a cluster is told by who installs it.
            let Ok(text) = helm::template(helm, wanted).await else { continue };
            let Injected { into, without, .. } = inject::admin(&text, port.get());
            if into.is_empty() {
                let place = scenario.place_in(release, "inject-admin");
                return Err(SessionError::NotInjected { place, release: release.name.clone(), without });
            }
        }
    }
    Ok(())
}

/// Whether the engine may get it, and a node then has it by its name: an archive knows tags, no digests.
fn is_pulled(container: &Container, registries: &[String]) -> bool {
    let Container { image, always, .. } = container;
    !always && !image.contains('@') && registries.contains(&images::registry(image))
}

/// The containers of every release as it is installed, and as each stage whose values for it `counts` has it;
/// none where that cannot be rendered without a cluster, which is told by who installs it.
pub(super) async fn rendered<'a>(
    helm: &Path,
    scenarios: &'a [Scenario],
    counts: &dyn Fn(&Value) -> bool,
) -> Vec<(&'a Scenario, &'a Release, Option<Vec<Container>>)> {
    let releases = scenarios
        .iter()
        .flat_map(|scenario| scenario.install.iter().flatten().map(move |release| (scenario, release)));
    let jobs = releases.flat_map(|(scenario, release)| {
        variants(scenario, release, counts).into_iter().map(move |values| (scenario, release, values))
    });
    let rendered = jobs.map(async |(scenario, release, values)| {
        let (chart, files) = (scenario.chart(release), scenario.values_files(release));
        let wanted = Wanted { release, chart: &chart, files: &files, values: &values };
        let text = helm::template(helm, wanted).await;
        (scenario, release, text.ok().map(|text| containers(&text)))
    });
    iter(rendered).buffer_unordered(RENDERED).collect().await
}

/// To render all of every stage takes seconds.
fn may_name_an_image(values: &Value) -> bool {
    values.to_string().contains("mage")
}

/// A release's own values, and those of stages that give it some which count.
fn variants(scenario: &Scenario, release: &Release, counts: &dyn Fn(&Value) -> bool) -> Vec<Value> {
    let stages = scenario.stages.iter().map(|stage| &stage.values);
    let is_meant = |values: &&BTreeMap<String, Value>| {
        values.iter().any(|(key, value)| release.is_called(key) && counts(value))
    };
    let over = stages.filter(is_meant).map(|values| stage_values(release, &[values]));
    let mut all = vec![release.own_values()];
    for values in over {
        if !all.contains(&values) {
            all.push(values);
        }
    }
    all
}
