//! The SPIRE of a cluster that is somebody else's, found by what its pods run and by the configurations that
//! they mount. Nothing is asked of it. A configuration is searched for its settings, not parsed: HCL and JSON
//! write them alike (SPIRE server and agent configuration references).

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use regex::Regex;

use crate::scenario::Spire;

const SERVER: &str = "spire-server";
const AGENT: &str = "spire-agent";
/// Where an agent's socket is unless it is said (agent configuration reference, `socket_path`).
const AGENT_SOCKET: &str = "/tmp/spire-agent/public/api.sock";

/// The texts of `ConfigMap`s, by namespace and name.
pub type Texts = BTreeMap<(String, String), BTreeMap<String, String>>;

/// A SPIRE, and whose IDs it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Without the scheme.
    pub trust_domain: String,
    /// Where it stands; without a socket where no agent was asked for.
    pub spire: Spire,
}

/// Why which SPIRE is meant is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum NotFound {
    #[error(
        "no SPIRE server is found: of the {pods} pods of the cluster none runs an image or a program \
         {SERVER}\n\
         hint: `trust-domain` and `spire` of the scenario say where it stands"
    )]
    NoServer { pods: usize },
    #[error(
        "the SPIRE server in pod {pod} does not tell its trust domain: {why}\n\
         hint: `trust-domain` and `spire` of the scenario say where it stands"
    )]
    Untold { pod: String, why: String },
    #[error(
        "no SPIRE server of trust domain {wanted} is found: there are those of {}\n\
         hint: is `trust-domain` of the scenario meant for another cluster?",
        known.join(", ")
    )]
    Another { wanted: String, known: Vec<String> },
    #[error(
        "which SPIRE is meant? There are several: {}\n\
         hint: `trust-domain` of the scenario says which, or its `spire`",
        known.join(", ")
    )]
    Several { known: Vec<String> },
    #[error(
        "the agent of SPIRE server {server} is not found: {why}\n\
         hint: `spire` of the scenario says where its socket is"
    )]
    NoAgent { server: String, why: String },
}

/// Which `ConfigMap`s must be read to know what the pods' SPIREs are, by namespace and name.
pub fn wanted(pods: &[Pod]) -> Vec<(String, String)> {
    let mounted = |program| move |pod| Some(mounted(pod, running(pod, program)?).ok()?.0);
    let mut all: Vec<_> =
        pods.iter().filter_map(mounted(SERVER)).chain(pods.iter().filter_map(mounted(AGENT))).collect();
    all.sort();
    all.dedup();
    all
}

/// The SPIRE of this trust domain, or the only one that there is. `with_agent`: its socket too. `drivers` are
/// the cluster's CSI drivers.
pub fn find(
    pods: &[Pod],
    texts: &Texts,
    drivers: &[String],
    trust_domain: Option<&str>,
    with_agent: bool,
) -> Result<Found, NotFound> {
    let mut servers = BTreeMap::new();
    let mut untold = None;
    for pod in pods {
        let Some(container) = running(pod, SERVER) else { continue };
        match server(pod, container, texts) {
            // A server may have several pods.
            Ok(found) => {
                servers.insert((found.spire.namespace.clone(), found.spire.server.clone()), found);
            }
            Err(why) => untold = untold.or(Some(NotFound::Untold { pod: name(pod), why })),
        }
    }
    let all: Vec<_> = servers.into_values().collect();
    let told = |one: &Found| format!("{} ({}/{})", one.trust_domain, one.spire.namespace, one.spire.server);
    let known: Vec<_> = all.iter().map(told).collect();
    let mut meant =
        all.into_iter().filter(|one| trust_domain.is_none_or(|wanted| one.trust_domain == wanted));
    let found = match (meant.next(), meant.next()) {
        // It is the only one that says whose it is: that another's silence hides no second of these, a trust
        // domain that was asked for vouches for.
        (Some(found), None) => match untold.filter(|_| trust_domain.is_none()) {
            Some(untold) => return Err(untold),
            None => found,
        },
        (Some(_), Some(_)) => return Err(NotFound::Several { known }),
        (None, _) => {
            return Err(untold.unwrap_or_else(|| match trust_domain {
                Some(wanted) if !known.is_empty() => NotFound::Another { wanted: wanted.into(), known },
                _ => NotFound::NoServer { pods: pods.len() },
            }));
        }
    };
    if !with_agent {
        return Ok(found);
    }
    let server = format!("{}/{}", found.spire.namespace, found.spire.server);
    let lacking = |why: String| NotFound::NoAgent { server: server.clone(), why };
    with_socket(found, pods, texts, drivers).map_err(lacking)
}

fn server(pod: &Pod, container: &Container, texts: &Texts) -> Result<Found, String> {
    let text = configuration(pod, container, texts)?;
    let trust_domain = setting(text, "trust_domain").ok_or("its configuration has no `trust_domain`")?;
    let program = container.command.iter().flatten().next().filter(|program| program.starts_with('/'));
    let spire = Spire {
        server: owner(pod)?,
        binary: program.cloned().unwrap_or_else(|| format!("/opt/spire/bin/{SERVER}")),
        container: container.name.clone(),
        api_socket: setting(text, "socket_path"),
        ..Spire::default()
    };
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let spire = published(text, Spire { namespace, ..spire });
    Ok(Found { trust_domain, spire })
}

/// With the `ConfigMap` to which the server publishes its bundle, if it does (plugins `k8s_configmap` and
/// `k8sbundle`, with the latter's own defaults).
fn published(text: &str, spire: Spire) -> Spire {
    let after = |plugin: &str| text.split_once(plugin).map(|(_, after)| after);
    let of = |after: &str, map: &str, key: &str, default: [Option<&str>; 3]| {
        let get =
            |setting: Option<String>, default: Option<&str>| setting.or_else(|| default.map(Into::into));
        let namespace = get(self::setting(after, "namespace"), default[0])?;
        let name = get(self::setting(after, map), default[1])?;
        Some((format!("{namespace}/{name}"), get(self::setting(after, key), default[2])?))
    };
    let told = after("k8s_configmap")
        .and_then(|after| of(after, "configmap_name", "configmap_key", [None; 3]))
        .or_else(|| {
            let default = [Some("spire"), Some("spire-bundle"), Some("bundle.crt")];
            of(after("k8sbundle")?, "config_map", "config_map_key", default)
        });
    let (bundle, bundle_key) = told.unzip();
    Spire { bundle, bundle_key: bundle_key.unwrap_or_default(), ..spire }
}

/// With the socket of the agents of its trust domain: by the CSI driver for SPIFFE where there is one, which
/// is one agent's alone, else by their folder on the nodes.
fn with_socket(found: Found, pods: &[Pod], texts: &Texts, drivers: &[String]) -> Result<Found, String> {
    let agents: Vec<_> = pods.iter().filter_map(|pod| Some((pod, running(pod, AGENT)?))).collect();
    let mut sockets = BTreeMap::new();
    let mut why = format!("no pod runs an image or a program {AGENT}");
    let mut domains = vec![];
    for (pod, container) in &agents {
        let text = match configuration(pod, container, texts) {
            Ok(text) => text,
            Err(unread) => {
                why = format!("pod {}: {unread}", name(pod));
                continue;
            }
        };
        let domain = setting(text, "trust_domain").unwrap_or_default();
        domains.push(domain.clone());
        if domain != found.trust_domain {
            continue;
        }
        let socket = setting(text, "socket_path").unwrap_or_else(|| AGENT_SOCKET.into());
        match on_node(pod, container, &socket) {
            Ok(path) => drop(sockets.insert(path, name(pod))),
            Err(unread) => why = format!("pod {}: {unread}", name(pod)),
        }
    }
    let (folder, file) = match sockets.pop_first() {
        None if !domains.is_empty() && !domains.contains(&found.trust_domain) => {
            return Err(format!("those that run are of {}", domains.join(", ")));
        }
        None => return Err(why),
        Some((path, pod)) if sockets.is_empty() => {
            let (folder, file) = path.rsplit_once('/').ok_or(format!("pod {pod} has it at {path}"))?;
            (folder.to_owned(), file.to_owned())
        }
        Some((path, _)) => {
            let others: Vec<_> = sockets.into_keys().collect();
            return Err(format!("they have their sockets at {path}, {}", others.join(", ")));
        }
    };
    let is_only = domains.iter().all(|domain| *domain == found.trust_domain);
    let mut csi = drivers.iter().filter(|driver| driver.contains("spiffe") && is_only);
    let csi = csi.next().cloned();
    let socket_dir = csi.is_none().then_some(folder);
    let spire = Spire { csi, socket_dir, socket_file: file, ..found.spire };
    Ok(Found { spire, ..found })
}

/// The container that runs this program: by its image, or by its command.
fn running<'a>(pod: &'a Pod, program: &str) -> Option<&'a Container> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let runs = |container: &&Container| {
        let image = container.image.as_deref().map(last).unwrap_or_default();
        let command = container.command.iter().flatten().next().map(|first| last(first));
        image.split([':', '@']).next() == Some(program) || command.as_deref() == Some(program)
    };
    pod.spec.as_ref()?.containers.iter().find(runs)
}

/// Namespace and name of the `ConfigMap` that holds the configuration, and its key.
fn mounted(pod: &Pod, container: &Container) -> Result<((String, String), String), String> {
    let words = container.command.iter().chain(&container.args).flatten();
    let words: Vec<&str> = words.flat_map(|word| word.split('=')).collect();
    let flag = words.iter().position(|word| ["-config", "--config"].contains(word));
    let path = flag.and_then(|at| words.get(at + 1));
    let path = path.ok_or("its command names no `-config`")?;
    let (volume, key) = volume_of(pod, container, path)?;
    let map = volume.config_map.as_ref().ok_or(format!("{path} is in no ConfigMap"))?;
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    // A key may be mounted under another name.
    let item = map.items.iter().flatten().find(|item| item.path == key);
    Ok(((namespace, map.name.clone()), item.map_or(key, |item| item.key.clone())))
}

fn configuration<'a>(pod: &Pod, container: &Container, texts: &'a Texts) -> Result<&'a str, String> {
    let (map, key) = mounted(pod, container)?;
    let text = texts.get(&map).and_then(|texts| texts.get(&key));
    text.map(String::as_str).ok_or(format!("key {key} of configmap {}/{} is not there", map.0, map.1))
}

/// The volume that a path of the container is in, and the rest of the path.
fn volume_of<'a>(pod: &'a Pod, container: &Container, path: &str) -> Result<(&'a Volume, String), String> {
    let mounts = container.volume_mounts.iter().flatten().filter_map(|mount| {
        let rest = Path::new(path).strip_prefix(&mount.mount_path).ok()?;
        let rest = Path::new(mount.sub_path.as_deref().unwrap_or_default()).join(rest);
        Some((mount, rest.to_str()?.trim_end_matches('/').to_owned()))
    });
    let nearest = mounts.max_by_key(|(mount, _)| mount.mount_path.len());
    let (mount, rest) = nearest.ok_or(format!("{path} is in no volume"))?;
    let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volume = volumes.find(|volume| volume.name == mount.name);
    Ok((volume.ok_or(format!("there is no volume {}", mount.name))?, rest))
}

/// A path of the container on its node.
fn on_node(pod: &Pod, container: &Container, path: &str) -> Result<String, String> {
    let (volume, rest) = volume_of(pod, container, path)?;
    let folder = volume.host_path.as_ref().ok_or(format!("{path} is in no folder of the node"))?;
    Ok(format!("{}/{rest}", folder.path.trim_end_matches('/')))
}

/// Its StatefulSet, or its Deployment, by the `ReplicaSet` that is named after that.
fn owner(pod: &Pod) -> Result<String, String> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let named = owners.find_map(|owner| match owner.kind.as_str() {
        "StatefulSet" => Some(format!("statefulset/{}", owner.name)),
        "ReplicaSet" => {
            let hash = pod.metadata.labels.as_ref()?.get("pod-template-hash")?;
            Some(format!("deployment/{}", owner.name.strip_suffix(&format!("-{hash}"))?))
        }
        _ => None,
    });
    named.ok_or("it belongs to no StatefulSet and no Deployment".into())
}

fn name(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

/// A setting's text. One that is put together at the start (`-expandEnv`) is not known here.
fn setting(text: &str, key: &str) -> Option<String> {
    let written = Regex::new(&format!(r#"(?:^|[\s{{,"]){key}"?\s*[=:]\s*"([^"]*)""#)).ok()?;
    let is_said = |line: &&str| !line.trim_start().starts_with(['#', '/']);
    let found = text.lines().filter(is_said).find_map(|line| Some(written.captures(line)?[1].to_owned()));
    found.filter(|value| !value.contains('$'))
}

#[cfg(test)]
mod tests;
