//! `fixtures/images/images.yaml`, typed, with every version filled in. Reads the declaration and the `go.mod`
//! files beside it; builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ImagesError;
use crate::sys::files;

/// Where the declaration and what it names lie, below the project's root.
const FOLDER: &str = "fixtures/images";

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

/// A family of Go programs: one module, whose `go.mod` and `go.sum` lie in the folder of the part's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Go {
    pub(super) part: String,
    /// The module whose version is the family's.
    pub(super) module: String,
    /// A program's file name and its package.
    pub(super) programs: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) ldflags: String,
    #[serde(default)]
    pub(super) cgo: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Debian {
    pub(super) part: String,
    pub(super) version: String,
    pub(super) suite: String,
    pub(super) packages: Vec<String>,
    pub(super) remove: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pip {
    pub(super) part: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct C {
    pub(super) part: String,
    pub(super) version: String,
    pub(super) source: PathBuf,
}

/// Packages of this workspace, and the folders with their sources.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cargo {
    pub(super) part: String,
    pub(super) programs: BTreeMap<String, PathBuf>,
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
    pub(super) fn load(root: &Path) -> Result<Self, ImagesError> {
        let folder = root.join(FOLDER);
        let path = folder.join("images.yaml");
        let text = files::read_text(&path)?;
        let bad = |problem: String| ImagesError::Declaration { path: path.clone(), problem };
        let raw: Self = serde_saphyr::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let versions = raw.versions(&folder)?;
        let mut this: Self =
            serde_saphyr::from_str(&fill(&text, &versions)).map_err(|e| bad(e.to_string()))?;
        this.versions = versions;
        this.root = root.into();
        this.folder = folder;
        this.check().map_err(bad)?;
        Ok(this)
    }

    /// The image of this name, with or without its tag.
    pub(super) fn image(&self, name: &str) -> Result<&Image, ImagesError> {
        let repository = |image: &Image| image.name.rsplit_once(':').is_some_and(|(of, _)| of == name);
        let found = self.images.iter().find(|image| image.name == name || repository(image));
        let declared = || self.images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| ImagesError::NotDeclared { name: name.into(), declared: declared() })
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

    fn versions(&self, folder: &Path) -> Result<BTreeMap<String, String>, ImagesError> {
        let mut versions = BTreeMap::new();
        for go in &self.go {
            let path = folder.join(&go.part).join("go.mod");
            let version =
                required(&files::read_text(&path)?, &go.module).ok_or_else(|| ImagesError::Declaration {
                    path: path.clone(),
                    problem: format!(
                        "it does not require {}\nhint: `go get {}@VERSION` in its folder",
                        go.module, go.module
                    ),
                })?;
            versions.insert(go.part.clone(), version);
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
