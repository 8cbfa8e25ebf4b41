//! `fixtures/images/images.yaml`, typed, with every version filled in. Reads the declaration and the `go.mod`
//! files beside it; builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::recipes::{C, Cargo, Debian, Go, Pip};
use super::{ImagesError, Source, Versions};
use crate::sys::files;

/// Where the declaration and what it names lie, below the project's root.
const FOLDER: &str = "fixtures/images";
/// Below it: a folder a part, in which the other versions have one each.
const OTHERS: &str = "others";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Declaration {
    pub(super) go: Vec<Go>,
    /// `part/program`: what svidproof itself runs.
    pub(super) tools: Vec<String>,
    pub(super) debian: Debian,
    pub(super) pip: Vec<Pip>,
    pub(super) c: Vec<C>,
    pub(super) cargo: Vec<Cargo>,
    pub(super) images: Vec<Image>,
    pub(super) node: Node,
    /// The versions of the parts that state one or have one in their `go.mod`.
    #[serde(skip)]
    pub(super) versions: BTreeMap<String, String>,
    /// The project's root, and the declaration's folder.
    #[serde(skip)]
    pub(super) root: PathBuf,
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

/// What one image layer holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Image {
    pub(super) name: String,
    /// Only a run whose manifests name it has it made, and its nodes are given it then; all others are in
    /// every node.
    #[serde(default)]
    pub(super) extra: bool,
    pub(super) files: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) links: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) folders: Vec<String>,
    #[serde(default)]
    pub(super) shared_libraries: bool,
    #[serde(default)]
    pub(super) entrypoint: Vec<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) working_folder: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Node {
    pub(super) upstream: String,
    pub(super) files: BTreeMap<String, String>,
    pub(super) text: BTreeMap<String, String>,
    pub(super) links: BTreeMap<String, String>,
    pub(super) folders: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) stop_signal: String,
}

impl Declaration {
    /// With each part at its own version.
    pub(super) fn load(root: &Path) -> Result<Self, ImagesError> {
        Self::of(root, &Versions::default(), Source::Packages)
    }

    /// With some parts at other versions. Where the nodes pull, only names are changed by that: what is built
    /// here stays at the versions that can be.
    ///
    /// # Errors
    /// Besides what is wrong with the declaration: a version that is to be built is not declared.
    pub(super) fn of(root: &Path, wanted: &Versions, source: Source) -> Result<Self, ImagesError> {
        let folder = root.join(FOLDER);
        let path = folder.join("images.yaml");
        let text = files::read_text(&path)?;
        let bad = |problem: String| ImagesError::Declaration { path: path.clone(), problem };
        let mut raw: Self = serde_saphyr::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let none = Versions::default();
        raw.take(&folder, if source == Source::Packages { wanted } else { &none })?;
        let versions = raw.versions()?;
        let filled = |versions: &BTreeMap<String, String>| {
            serde_saphyr::from_str::<Self>(&fill(&text, versions)).map_err(|e| bad(e.to_string()))
        };
        let mut this = filled(&versions)?;
        for (go, taken) in this.go.iter_mut().zip(raw.go) {
            go.folder = taken.folder;
        }
        this.pip = raw.pip;
        let mut named = versions.clone();
        named.extend(wanted.each().map(|(part, version)| (part.to_owned(), version.to_owned())));
        if named != versions {
            let named = filled(&named)?;
            this.images = named.images;
            this.node = named.node;
        }
        this.versions = versions;
        this.root = root.into();
        this.folder = folder;
        this.check().map_err(bad)?;
        Ok(this)
    }

    /// The versions that can be built of a part, its own first.
    pub(super) fn served(&self, part: &str) -> Vec<&str> {
        let own = self.versions.get(part).map(String::as_str).into_iter();
        let go = self.go.iter().filter(|go| go.part == part).flat_map(|go| &go.others);
        let pip = self.pip.iter().filter(|pip| pip.part == part).flat_map(|pip| &pip.others);
        own.chain(go.map(String::as_str)).chain(pip.map(|one| one.version.as_str())).collect()
    }

    /// Has each part made at the version that is wanted of it.
    fn take(&mut self, folder: &Path, wanted: &Versions) -> Result<(), ImagesError> {
        let is_known = |part: &str| {
            self.go.iter().any(|go| go.part == part) || self.pip.iter().any(|pip| pip.part == part)
        };
        if let Some((part, version)) = wanted.each().find(|(part, _)| !is_known(part)) {
            return Err(not_served(part, version, &["nothing".into()]));
        }
        for go in &mut self.go {
            go.folder = folder.join(&go.part);
            let Some(version) = wanted.of(&go.part) else { continue };
            if go.others.iter().any(|other| other == version) {
                go.folder = folder.join(OTHERS).join(&go.part).join(version);
            } else if own_version(go)? != version {
                let mut served = vec![own_version(go)?];
                served.extend(go.others.iter().cloned());
                return Err(not_served(&go.part, version, &served));
            }
        }
        for pip in &mut self.pip {
            let Some(version) = wanted.of(&pip.part) else { continue };
            if let Some(found) = pip.others.iter().find(|one| one.version == version) {
                (pip.version, pip.sha256) = (found.version.clone(), found.sha256.clone());
            } else if pip.version != version {
                let mut served = vec![pip.version.clone()];
                served.extend(pip.others.iter().map(|one| one.version.clone()));
                return Err(not_served(&pip.part, version, &served));
            }
        }
        Ok(())
    }

    /// The image of this name, with or without its tag.
    pub(super) fn image(&self, name: &str) -> Result<&Image, ImagesError> {
        let repository = |image: &Image| image.name.rsplit_once(':').is_some_and(|(of, _)| of == name);
        let found = self.images.iter().find(|image| image.name == name || repository(image));
        let declared = || self.images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| ImagesError::NotDeclared { name: name.into(), declared: declared() })
    }

    /// The tag of the image of this name in Kubernetes' registry; empty where none is declared.
    pub(super) fn tag(&self, name: &str) -> &str {
        let of = |image: &&Image| {
            let (path, _) = image.name.rsplit_once(':').unwrap_or_default();
            path.rsplit('/').next() == Some(name)
        };
        self.images.iter().find(of).and_then(|image| image.name.rsplit_once(':')).map_or("", |(_, tag)| tag)
    }

    /// The version of the nodes' Kubernetes.
    pub(super) fn kubernetes(&self) -> &str {
        self.node.upstream.rsplit_once(":v").map_or("", |(_, version)| version)
    }

    /// The images that only this workspace's own programs go into.
    pub(super) fn is_app(&self, image: &Image) -> bool {
        let own = |part: &str| self.cargo.iter().any(|cargo| cargo.part == part);
        image.files.values().all(|source| part_of(source).is_some_and(own))
    }

    /// The images that every node has.
    pub(super) fn common(&self) -> impl Iterator<Item = &Image> {
        self.images.iter().filter(|image| !image.extra)
    }

    /// Everything that a cluster is made of, as `part/file`.
    pub(super) fn cluster(&self) -> Sources<'_> {
        let files = self.common().flat_map(|image| image.files.values()).chain(self.node.files.values());
        Sources(files.chain(&self.tools).map(String::as_str).chain([self.debian.part.as_str()]).collect())
    }

    /// What svidproof itself runs, and this workspace's own programs: all that a cluster needs of here whose
    /// nodes pull the rest.
    pub(super) fn tools_and_apps(&self) -> Sources<'_> {
        let apps = self.common().filter(|image| self.is_app(image));
        let files = apps.flat_map(|image| image.files.values());
        Sources(files.chain(&self.tools).map(String::as_str).collect())
    }

    /// What these images are made of; their parts are the same as a cluster's where that has them too.
    pub(super) fn with<'a>(&'a self, images: &[&'a Image]) -> Sources<'a> {
        let Sources(mut all) = self.cluster();
        all.extend(images.iter().flat_map(|image| image.files.values()).map(String::as_str));
        Sources(all)
    }

    /// The parts that an image is made of.
    pub(super) fn parts_of<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a str> {
        let libraries = image.shared_libraries.then_some(self.debian.part.as_str());
        image.files.values().filter_map(|source| part_of(source)).chain(libraries)
    }

    fn versions(&self) -> Result<BTreeMap<String, String>, ImagesError> {
        let mut versions = BTreeMap::new();
        for go in &self.go {
            versions.insert(go.part.clone(), own_version(go)?);
        }
        versions.extend(self.pip.iter().map(|pip| (pip.part.clone(), pip.version.clone())));
        versions.extend(self.c.iter().map(|c| (c.part.clone(), c.version.clone())));
        versions.insert(self.debian.part.clone(), self.debian.version.clone());
        Ok(versions)
    }

    /// What serde cannot see: every source and every version that is named exists.
    fn check(&self) -> Result<(), String> {
        let mut parts: BTreeMap<&str, Option<Vec<&String>>> = BTreeMap::new();
        parts.extend(self.go.iter().map(|go| (go.part.as_str(), Some(go.programs.keys().collect()))));
        parts.extend(self.cargo.iter().map(|one| (one.part.as_str(), Some(one.programs.keys().collect()))));
        parts.extend(self.c.iter().map(|c| (c.part.as_str(), None)));
        parts.extend(self.pip.iter().map(|pip| (pip.part.as_str(), None)));
        parts.insert(&self.debian.part, None);
        for image in &self.images {
            if image.name.contains('{') {
                return Err(format!("image {}: no part states the version in braces", image.name));
            }
        }
        let files = self.images.iter().flat_map(|image| image.files.values()).chain(self.node.files.values());
        for source in files.chain(&self.tools) {
            let Some(part) = part_of(source) else { continue };
            let Some(programs) = parts.get(part) else {
                let known: Vec<_> = parts.keys().copied().collect();
                return Err(format!(
                    "{source}: there is no part `{part}`; the parts are {}",
                    known.join(", ")
                ));
            };
            let program = source[part.len()..].trim_start_matches('/');
            if programs.as_ref().is_some_and(|programs| !programs.iter().any(|known| *known == program)) {
                return Err(format!("{source}: the part `{part}` declares no program `{program}`"));
            }
        }
        Ok(())
    }
}

/// Sources that something is made of.
pub(super) struct Sources<'a>(BTreeSet<&'a str>);

impl<'a> Sources<'a> {
    /// One alone.
    pub(super) fn one(source: &'a str) -> Self {
        Self([source].into())
    }

    pub(super) fn has(&self, part: &str, program: &str) -> bool {
        self.0.iter().any(|source| source.strip_prefix(part) == Some(&format!("/{program}")))
    }

    pub(super) fn has_part(&self, part: &str) -> bool {
        self.0.iter().any(|source| part_of(source) == Some(part))
    }
}

/// The part that a source is of; none for a file of the declaration's own folder.
pub(super) fn part_of(source: &str) -> Option<&str> {
    if source.starts_with("./") { None } else { source.split('/').next() }
}

/// Replaces `{part}`, `{part.major}` and `{part.minor}`. Other braces stay as they are.
pub(super) fn fill(text: &str, versions: &BTreeMap<String, String>) -> String {
    versions.iter().fold(text.to_owned(), |text, (part, version)| {
        let mut numbers = version.split('.');
        let text = text.replace(&format!("{{{part}}}"), version);
        let text = text.replace(&format!("{{{part}.major}}"), numbers.next().unwrap_or_default());
        text.replace(&format!("{{{part}.minor}}"), numbers.next().unwrap_or_default())
    })
}

/// The version that the `go.mod` in a family's folder requires.
fn own_version(go: &Go) -> Result<String, ImagesError> {
    let path = go.folder.join("go.mod");
    required(&files::read_text(&path)?, &go.module).ok_or_else(|| ImagesError::Declaration {
        problem: format!(
            "it does not require {}\nhint: `go get {}@VERSION` in its folder",
            go.module, go.module
        ),
        path,
    })
}

fn not_served(part: &str, version: &str, served: &[String]) -> ImagesError {
    ImagesError::NotServed { part: part.into(), version: version.into(), served: served.join(", ") }
}

/// The version of a module in a `go.mod`, without its `v`.
fn required(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        let version = (words.next()? == module).then(|| words.next())??;
        version.strip_prefix('v').map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_go_mod_alone_or_in_a_block() {
        let text = "module m\n\nrequire a.b/c v1.2.3\n\nrequire (\n\ta.b/cd v4.5.6 // indirect\n\
            \ta.b/x v7.0.0\n)\n\ntool a.b/c\n";
        assert_eq!(required(text, "a.b/c").as_deref(), Some("1.2.3"));
        assert_eq!(required(text, "a.b/cd").as_deref(), Some("4.5.6"));
        assert_eq!(required(text, "a.b"), None);
    }

    #[test]
    fn versions_are_filled_in_and_other_braces_stay() {
        let versions = BTreeMap::from([("k".to_owned(), "1.36.3".to_owned())]);
        assert_eq!(
            fill("v{k} {k.major}.{k.minor} {print $3} {other}", &versions),
            "v1.36.3 1.36 {print $3} {other}"
        );
    }

    #[test]
    fn the_declaration_of_this_project_holds() {
        let declaration = Declaration::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let names: Vec<_> = declaration.images.iter().map(|image| image.name.as_str()).collect();
        let kubernetes = &declaration.versions["kubernetes"];
        assert!(
            names.contains(&format!("registry.k8s.io/kube-apiserver:v{kubernetes}").as_str()),
            "{names:?}"
        );
        let apps: Vec<_> = declaration
            .images
            .iter()
            .filter(|image| declaration.is_app(image))
            .map(|image| image.name.as_str())
            .collect();
        let own =
            ["probe", "symbank", "echo", "authorizer", "relay"].map(|app| format!("svidproof/{app}:dev"));
        assert_eq!(apps, own);
    }

    #[test]
    fn an_image_is_found_by_its_name_with_and_without_the_tag() {
        let declaration = Declaration::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let envoy = format!("envoyproxy/envoy:v{}", declaration.versions["envoy"]);
        for name in ["envoyproxy/envoy", &envoy] {
            assert_eq!(declaration.image(name).unwrap().name, envoy);
        }
        let missing = declaration.image("envoyproxy").unwrap_err().to_string();
        assert!(
            missing.starts_with("no image `envoyproxy` is declared") && missing.contains(&envoy),
            "{missing}"
        );
    }

    /// The charts name versions of their own, so that they stand alone: the same as are built here.
    #[test]
    fn what_the_charts_run_is_declared() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let declaration = Declaration::load(&root).unwrap();
        let mut named = 0;
        for chart in std::fs::read_dir(root.join("helm")).unwrap() {
            let values = chart.unwrap().path().join("values.yaml");
            let text = std::fs::read_to_string(&values).unwrap_or_default();
            for image in text.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
                named += 1;
                let declared = declaration.images.iter().any(|one| one.name == image);
                assert!(declared, "{}: {image}", values.display());
            }
        }
        assert!(named >= 8, "only {named} images are found in the charts' values");
    }

    #[test]
    fn a_source_that_no_part_makes_is_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut declaration = Declaration::load(&root).unwrap();
        declaration.images[0].files.insert("/x".into(), "kubernetes/kube-nonsense".into());
        let error = declaration.check().unwrap_err();
        assert_eq!(
            error,
            "kubernetes/kube-nonsense: the part `kubernetes` declares no program `kube-nonsense`"
        );
        declaration.images[0].files.insert("/x".into(), "nonsense/x".into());
        assert!(
            declaration
                .check()
                .unwrap_err()
                .starts_with("nonsense/x: there is no part `nonsense`; the parts are apps,")
        );
    }
}
