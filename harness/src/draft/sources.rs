//! Where Envoy configurations stand in rendered manifests: in each `ConfigMap` and `Secret` that pods mount,
//! and in the arguments of their containers; with the files of listeners, clusters and routes that they name.
//! Not for what a configuration says.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{list, string};

/// Pods of one kind, and what makes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workload<'a> {
    /// The object that stands in the manifests.
    pub(super) object: &'a Value,
    /// Of the pods: `metadata` and `spec`.
    pub(super) pod: &'a Value,
    pub(super) namespace: &'a str,
}

impl<'a> Workload<'a> {
    /// One of these, if the object makes pods.
    fn of(object: &'a Value, default_namespace: &'a str) -> Option<Self> {
        let spec = &object["spec"];
        let pod = match object["kind"].as_str()? {
            "Pod" => object,
            "CronJob" => &spec["jobTemplate"]["spec"]["template"],
            _ => &spec["template"],
        };
        let namespace = namespace(object, default_namespace);
        pod["spec"]["containers"].is_array().then_some(Self { object, pod, namespace })
    }

    /// For messages.
    pub(super) fn place(&self) -> String {
        format!("{} {}", string(&self.object["kind"]), string(&self.object["metadata"]["name"]))
    }

    /// Those that start first come first; a native sidecar is one of them.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        list(&self.pod["spec"]["initContainers"]).chain(list(&self.pod["spec"]["containers"]))
    }

    /// What tells these pods from others: the labels that the workload goes by, or all that they have.
    pub(super) fn labels(&self) -> Vec<(&'a str, &'a str)> {
        let own = self.object["spec"]["selector"]["matchLabels"].as_object();
        let labels = own.or(self.pod["metadata"]["labels"].as_object());
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
            .collect()
    }

    /// The host's path of a path in a container. `Err` says why there is none.
    pub(super) fn on_host(&self, container: &Value, path: &str) -> Result<String, String> {
        let (mount, rest) = list(&container["volumeMounts"])
            .filter_map(|mount| Some((mount, below(path, mount["mountPath"].as_str()?)?)))
            .min_by_key(|(_, rest)| rest.len())
            .ok_or("no volume is mounted there")?;
        let volume = list(&self.pod["spec"]["volumes"]).find(|volume| volume["name"] == mount["name"]);
        let host = volume.and_then(|volume| volume["hostPath"]["path"].as_str());
        let host = host.ok_or_else(|| format!("the volume {} is no hostPath", mount["name"]))?;
        let parts = [mount["subPath"].as_str().unwrap_or_default(), rest];
        let parts = parts.into_iter().map(|part| part.trim_matches('/')).filter(|part| !part.is_empty());
        Ok(std::iter::once(host.trim_end_matches('/')).chain(parts).collect::<Vec<_>>().join("/"))
    }
}

/// What of a path is left below a folder.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn namespace<'a>(object: &'a Value, default: &'a str) -> &'a str {
    object["metadata"]["namespace"].as_str().unwrap_or(default)
}

/// An Envoy's bootstrap, and whose it is.
#[derive(Debug)]
pub(super) struct Config<'a> {
    pub(super) workload: Workload<'a>,
    pub(super) container: &'a Value,
    /// For messages: `ConfigMap shop-envoy, envoy.yaml`.
    pub(super) place: String,
    /// With what it takes from files put in its place.
    pub(super) bootstrap: Value,
}

/// What the manifests hold.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) workloads: Vec<Workload<'a>>,
    pub(super) configs: Vec<Config<'a>>,
    /// Places of configurations that no pod of the chart mounts.
    pub(super) unused: Vec<String>,
    /// What looks like a configuration and is not read, and why.
    pub(super) unread: Vec<String>,
}

/// Every Envoy configuration, with the workload that runs it.
pub(super) fn find<'a>(objects: &'a [Value], default_namespace: &'a str) -> Found<'a> {
    let mut found = Found::default();
    let store = Store::new(objects, default_namespace);
    let mut used = BTreeSet::new();
    for workload in objects.iter().filter_map(|object| Workload::of(object, default_namespace)) {
        found.workloads.push(workload);
        let mut places = BTreeSet::new();
        let mut containers: Vec<_> = workload.containers().collect();
        // A container beside Envoy may mount its configuration too.
        let names_envoy = |container: &Value| {
            let parts = ["name", "image", "command", "args"].map(|key| container[key].to_string());
            parts.iter().any(|part| part.contains("envoy"))
        };
        containers.sort_by_key(|container| !names_envoy(container));
        for container in containers {
            let files = store.mounted(&workload, container);
            used.extend(files.values().map(|file| file.place.clone()));
            let mut bootstraps = vec![];
            if let Some(text) = inline(container) {
                let place = format!("{}, --config-yaml", workload.place());
                match read(&text) {
                    Ok(bootstrap) => bootstraps.push((place, bootstrap)),
                    Err(problem) => found.unread.push(format!("{place}: {problem}")),
                }
            }
            for file in files.values().filter(|file| places.insert(file.place.clone())) {
                bootstraps.extend(read(&file.text).ok().map(|bootstrap| (file.place.clone(), bootstrap)));
            }
            for (place, mut bootstrap) in bootstraps.into_iter().filter(|(_, one)| is_bootstrap(one)) {
                let known = |path: &str| files.get(path).and_then(|file| read(&file.text).ok());
                let unread = discovered(&mut bootstrap, &known).into_iter();
                found.unread.extend(unread.map(|what| format!("{place}: {what}")));
                found.configs.push(Config { workload, container, place, bootstrap });
            }
        }
    }
    for (place, text) in store.all() {
        match read(&text) {
            Ok(value) if is_bootstrap(&value) && !used.contains(&place) => found.unused.push(place),
            Err(problem) if text.contains("static_resources") => {
                found.unread.push(format!("{place}: {problem}"));
            }
            _ => {}
        }
    }
    found
}

fn is_bootstrap(config: &Value) -> bool {
    config["static_resources"].is_object() || config["dynamic_resources"].is_object()
}

/// YAML, with keys as Envoy's documentation writes them.
fn read(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map(snake).map_err(|error| format!("not YAML: {error}"))
}

/// Protobuf's JSON takes `filterChains` for `filter_chains` too.
fn snake(value: Value) -> Value {
    match value {
        Value::Array(all) => all.into_iter().map(snake).collect(),
        Value::Object(map) => {
            let mut result = Map::new();
            for (key, value) in map {
                let lower = |letter: char| match letter {
                    letter if letter.is_ascii_uppercase() => format!("_{}", letter.to_ascii_lowercase()),
                    letter => letter.into(),
                };
                let plain = key.starts_with(|first: char| first.is_ascii_lowercase())
                    && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let name = if plain { key.chars().map(lower).collect() } else { key.clone() };
                // A name that two keys would have is one of the user's own: a policy's.
                let name = if result.contains_key(&name) { key } else { name };
                result.insert(name, snake(value));
            }
            Value::Object(result)
        }
        other => other,
    }
}

/// The text after `--config-yaml`, of a container's command line.
fn inline(container: &Value) -> Option<String> {
    let words = || list(&container["command"]).chain(list(&container["args"])).filter_map(Value::as_str);
    let text = words().find_map(|word| word.strip_prefix("--config-yaml=")).or_else(|| {
        let mut after = words().skip_while(|word| *word != "--config-yaml");
        after.nth(1)
    })?;
    // As the kubelet does: `$(NAME)` is a variable of the container.
    let name = text.strip_prefix("$(").and_then(|text| text.strip_suffix(')'));
    let variable = |name| list(&container["env"]).find(|one| one["name"] == name)?["value"].as_str();
    Some(name.and_then(variable).unwrap_or(text).to_owned())
}

/// A text that stands in a ConfigMap or a Secret.
#[derive(Debug, Clone)]
struct File {
    place: String,
    text: String,
}

/// Kind, namespace and name -> key -> text.
struct Store<'a> {
    default_namespace: &'a str,
    texts: BTreeMap<(&'a str, &'a str, &'a str), BTreeMap<String, String>>,
}

impl<'a> Store<'a> {
    fn new(objects: &'a [Value], default_namespace: &'a str) -> Self {
        let mut all = BTreeMap::new();
        for object in objects {
            let (Some(kind @ ("ConfigMap" | "Secret")), Some(name)) =
                (object["kind"].as_str(), object["metadata"]["name"].as_str())
            else {
                continue;
            };
            let mut texts = BTreeMap::new();
            for key in ["data", "binaryData", "stringData"] {
                let encoded = key == "binaryData" || (key, kind) == ("data", "Secret");
                for (key, text) in object[key].as_object().into_iter().flatten() {
                    let Some(text) = text.as_str() else { continue };
                    let decode = || {
                        String::from_utf8(STANDARD.decode(text.replace(char::is_whitespace, "")).ok()?).ok()
                    };
                    let text = if encoded { decode() } else { Some(text.to_owned()) };
                    texts.extend(text.map(|text| (key.clone(), text)));
                }
            }
            all.insert((kind, namespace(object, default_namespace), name), texts);
        }
        Self { default_namespace, texts: all }
    }

    /// For messages.
    fn place(&self, kind: &str, namespace: &str, name: &str, key: &str) -> String {
        if namespace == self.default_namespace {
            format!("{kind} {name}, {key}")
        } else {
            format!("{kind} {namespace}/{name}, {key}")
        }
    }

    fn all(&self) -> impl Iterator<Item = (String, String)> {
        self.texts.iter().flat_map(move |((kind, namespace, name), texts)| {
            texts.iter().map(move |(key, text)| (self.place(kind, namespace, name, key), text.clone()))
        })
    }

    /// What a container sees: path -> text.
    fn mounted(&self, workload: &Workload, container: &Value) -> BTreeMap<String, File> {
        let mut seen = BTreeMap::new();
        for mount in list(&container["volumeMounts"]) {
            let volume =
                list(&workload.pod["spec"]["volumes"]).find(|volume| volume["name"] == mount["name"]);
            let Some(volume) = volume else { continue };
            let folder = mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/');
            let sub = mount["subPath"].as_str();
            for (path, file) in self.in_volume(workload.namespace, volume) {
                match sub.map(|sub| (below(&path, sub), sub)) {
                    None => drop(seen.insert(format!("{folder}/{path}"), file)),
                    Some((Some(rest), _)) => drop(seen.insert(format!("{folder}{rest}"), file)),
                    Some((None, _)) => {}
                }
            }
        }
        seen
    }

    fn in_volume(&self, namespace: &str, volume: &Value) -> Vec<(String, File)> {
        let projected = list(&volume["projected"]["sources"]);
        let sources = std::iter::once(volume).chain(projected).flat_map(|source| {
            let name = |value: &'_ Value, key: &str| value[key].as_str().map(ToOwned::to_owned);
            [
                ("ConfigMap", name(&source["configMap"], "name"), &source["configMap"]),
                (
                    "Secret",
                    name(&source["secret"], "secretName").or(name(&source["secret"], "name")),
                    &source["secret"],
                ),
            ]
        });
        let mut files = vec![];
        for (kind, name, source) in sources {
            let Some(name) = name else { continue };
            let Some(texts) = self.texts.get(&(kind, namespace, name.as_str())) else { continue };
            let items = source["items"].as_array();
            for (key, text) in texts {
                let item = items.map(|items| items.iter().find(|item| item["key"] == key.as_str()));
                let path = match item {
                    None => key.clone(),
                    Some(Some(item)) => item["path"].as_str().unwrap_or(key).to_owned(),
                    Some(None) => continue,
                };
                files.push((
                    path,
                    File { place: self.place(kind, namespace, &name, key), text: text.clone() },
                ));
            }
        }
        files
    }
}

/// Puts listeners, clusters and routes that stand in files of the pod where Envoy has them then. What comes
/// from elsewhere is told.
fn discovered(bootstrap: &mut Value, file: &impl Fn(&str) -> Option<Value>) -> Vec<String> {
    let mut unread = vec![];
    for (key, config, what) in
        [("listeners", "lds_config", "listeners"), ("clusters", "cds_config", "clusters")]
    {
        let source = bootstrap["dynamic_resources"][config].clone();
        if source.is_null() {
            continue;
        }
        match resources(&source, file) {
            Ok(more) => {
                if !bootstrap["static_resources"].is_object() {
                    bootstrap["static_resources"] = Map::new().into();
                }
                if !bootstrap["static_resources"][key].is_array() {
                    bootstrap["static_resources"][key] = vec![Value::Null; 0].into();
                }
                if let Some(all) = bootstrap["static_resources"][key].as_array_mut() {
                    all.extend(more);
                }
            }
            Err(why) => unread.push(format!("its {what} come {why} (`{config}`)")),
        }
    }
    routes(&mut bootstrap["static_resources"]["listeners"], file);
    unread
}

/// The resources of the file that a configuration source names.
fn resources(source: &Value, file: &impl Fn(&str) -> Option<Value>) -> Result<Vec<Value>, String> {
    let path = source["path_config_source"]["path"].as_str().or(source["path"].as_str());
    let path = path.ok_or("from a control plane")?;
    let content =
        file(path).ok_or_else(|| format!("from {path}, which is none of the chart's files there"))?;
    let bare = |one: &Value| if one["resource"].is_object() { one["resource"].clone() } else { one.clone() };
    Ok(list(&content["resources"]).map(bare).collect())
}

/// `rds` with a file, as the `route_config` that it is.
fn routes(value: &mut Value, file: &impl Fn(&str) -> Option<Value>) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| routes(one, file)),
        Value::Object(map) => {
            if let Some(rds) = map.get("rds") {
                let named = |one: &Value| one["name"] == rds["route_config_name"];
                let found = resources(&rds["config_source"], file).ok();
                if let Some(routes) = found.and_then(|all| all.into_iter().find(named)) {
                    map.insert("route_config".into(), routes);
                }
            }
            map.values_mut().for_each(|one| routes(one, file));
        }
        _ => {}
    }
}
