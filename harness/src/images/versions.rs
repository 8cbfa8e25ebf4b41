//! Which versions a run is asked to be of, in the place of those that the declaration states: of Kubernetes,
//! of SPIRE, of Envoy.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::declaration::Declaration;
use super::own::repository;
use super::{ImagesError, Source, full_name};

const KUBERNETES: &str = "kubernetes";
/// Parts of `fixtures/images/images.yaml` whose version may be asked for.
pub const PARTS: [&str; 3] = [KUBERNETES, "spire", "envoy"];
/// A version that no declaration states.
const ANY: &str = "0.any";

/// The versions that are asked for, without a `v` before them; of what is not in it, the declaration's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions(BTreeMap<String, String>);

impl Versions {
    /// Of these parts.
    pub fn new(each: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let said = each.into_iter().filter_map(|(part, version)| Some((part.to_owned(), version?)));
        Self(said.collect())
    }

    /// The one of a part, where one is asked for.
    pub fn of(&self, part: &str) -> Option<&str> {
        self.0.get(part).map(String::as_str)
    }

    /// Part and version of each that is asked for.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(part, version)| (part.as_str(), version.as_str()))
    }

    /// Those of what releases run: the nodes' Kubernetes is no release's.
    pub fn of_releases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.each().filter(|(part, _)| *part != KUBERNETES)
    }

    /// That of one part alone.
    #[must_use]
    pub fn only(&self, part: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(one, _)| *one == part)
                .map(|(one, two)| (one.clone(), two.clone()))
                .collect(),
        )
    }

    /// What could be built of these: the rest stays at the declaration's own.
    pub(super) fn served(self, declaration: &Declaration) -> Self {
        let some = self.0.into_iter();
        Self(some.filter(|(part, version)| declaration.served(part).contains(&version.as_str())).collect())
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the declaration's own versions");
        }
        let each: Vec<_> = self.each().map(|(part, version)| format!("{part} {version}")).collect();
        f.write_str(&each.join(", "))
    }
}

/// The versions that can be built of each of [`PARTS`], the declaration's own first.
pub fn served(root: &Path) -> Result<BTreeMap<&'static str, Vec<String>>, ImagesError> {
    let declaration = Declaration::load(root)?;
    let of = |part| declaration.served(part).into_iter().map(str::to_owned).collect();
    Ok(PARTS.map(|part| (part, of(part))).into())
}

/// Every choice of one version of each part.
pub(super) fn combinations(served: &BTreeMap<&'static str, Vec<String>>) -> Vec<Versions> {
    served.iter().fold(vec![Versions::default()], |all, (part, versions)| {
        let with = |one: &Versions, version: &String| {
            let mut more = one.clone();
            more.0.insert((*part).into(), version.clone());
            more
        };
        all.iter().flat_map(|one| versions.iter().map(move |version| with(one, version))).collect()
    })
}

/// What images of the parts that are asked for are called in these versions, the declaration's own included:
/// by their full names without a tag.
///
/// # Errors
/// One of them is to be built, and is not declared.
pub fn in_versions(
    root: &Path,
    versions: &Versions,
    source: Source,
) -> Result<BTreeMap<String, String>, ImagesError> {
    // Those whose names have a version that is asked for are other ones in any other.
    let any = Versions(versions.0.keys().map(|part| (part.clone(), ANY.to_owned())).collect());
    let (any, wanted) =
        (Declaration::of(root, &any, Source::Upstream)?, Declaration::of(root, versions, source)?);
    let each = any.images.iter().zip(&wanted.images);
    let other = each.filter(|(any, wanted)| any.name != wanted.name);
    Ok(other
        .map(|(_, wanted)| (repository(&full_name(&wanted.name)).to_owned(), wanted.name.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn other(part: &str) -> String {
        served(&root()).unwrap()[part][1].clone()
    }

    #[test]
    fn each_can_be_had_in_two_versions_at_least() {
        for (part, versions) in served(&root()).unwrap() {
            assert!(versions.len() >= 2, "{part}: {versions:?}");
        }
    }

    #[test]
    fn images_of_another_version_have_its_name_and_are_made_of_it() {
        for part in PARTS {
            let version = other(part);
            let wanted = Versions::new([(part, Some(version.clone()))]);
            let declaration = Declaration::of(&root(), &wanted, Source::Packages).unwrap();
            assert_eq!(declaration.versions[part], version, "what the go.mod in its folder requires");
            let names = in_versions(&root(), &wanted, Source::Packages).unwrap();
            assert!(!names.is_empty() && names.values().all(|name| name.contains(&version)), "{names:?}");
        }
        assert_eq!(in_versions(&root(), &Versions::default(), Source::Packages).unwrap(), BTreeMap::new());
        // A chart may name another.
        let own = served(&root()).unwrap()["envoy"][0].clone();
        let wanted = Versions::new([("envoy", Some(own.clone()))]);
        let names = in_versions(&root(), &wanted, Source::Packages).unwrap();
        assert_eq!(names["docker.io/envoyproxy/envoy"], format!("envoyproxy/envoy:v{own}"));
    }

    #[test]
    fn every_choice_of_versions_is_one() {
        let served =
            [("a", vec!["1".to_owned(), "2".to_owned()]), ("b", vec!["3".to_owned(), "4".to_owned()])];
        let all = combinations(&served.into());
        let told: Vec<_> =
            all.iter().map(|one| one.each().map(|(_, version)| version).collect::<String>()).collect();
        assert_eq!(told, ["13", "14", "23", "24"]);
    }

    #[test]
    fn what_cannot_be_built_is_told_with_what_can() {
        for part in PARTS {
            let wanted = Versions::new([(part, Some("0.0.1".into()))]);
            let told = in_versions(&root(), &wanted, Source::Packages).unwrap_err();
            let own = &served(&root()).unwrap()[part][0];
            assert!(told.is_input(), "{told}");
            let told = told.to_string();
            assert!(told.contains(&format!("{part} 0.0.1")) && told.contains(own.as_str()), "{told}");
        }
    }

    /// The nodes pull it; what runs here, such as kubectl, is what can be built.
    #[test]
    fn where_nodes_pull_any_version_can_be_asked_for() {
        let wanted = Versions::new([("spire", Some("9.8.7".into())), ("kubernetes", Some("1.99.0".into()))]);
        let names = in_versions(&root(), &wanted, Source::Upstream).unwrap();
        assert_eq!(names["ghcr.io/spiffe/spire-agent"], "ghcr.io/spiffe/spire-agent:9.8.7");
        let (own, other) = (
            Declaration::load(&root()).unwrap(),
            Declaration::of(&root(), &wanted, Source::Upstream).unwrap(),
        );
        assert_eq!(other.node.upstream, "kindest/node:v1.99.0");
        assert_eq!(other.versions, own.versions);
        let flags = |one: &Declaration| one.go.iter().map(|go| go.ldflags.clone()).collect::<Vec<_>>();
        assert_eq!(flags(&own), flags(&other));
    }

    #[test]
    fn what_cannot_be_built_is_left_out_where_only_what_can_is_of_use() {
        let declaration = Declaration::load(&root()).unwrap();
        let wanted = Versions::new([("spire", Some("9.8.7".into())), ("envoy", Some(other("envoy")))]);
        let left = wanted.served(&declaration);
        assert_eq!((left.of("spire"), left.of("envoy")), (None, Some(other("envoy").as_str())));
    }
}
