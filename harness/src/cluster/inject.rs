//! An admin interface for Envoys whose configuration opens none: a flag beside the one that names their
//! configuration, written into a chart's manifests. Nothing else of them becomes otherwise. Whether the
//! interface answers then is seen by who reads it.

use serde::Deserialize;
use serde_json::json;
use serde_saphyr::Spanned;

use super::manifest::documents;

/// Manifests after it.
#[derive(Debug, PartialEq, Eq)]
pub struct Injected {
    /// The manifests.
    pub text: String,
    /// The containers that open the interface: `Deployment web, container envoy`.
    pub into: Vec<String>,
    /// The containers that seem to run an Envoy and could not be given it, each with the reason.
    pub without: Vec<String>,
}

/// Starts every Envoy with an admin interface at this port of the pod's loopback. What a `--config-yaml` says
/// goes over what the file says (Envoy's documentation, "Command line options"). Made twice it changes
/// nothing more.
pub fn admin(manifests: &str, port: u16) -> Injected {
    let config =
        json!({"admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}});
    let config = config.to_string();
    let mut done = Injected { text: String::new(), into: vec![], without: vec![] };
    let mut rest = manifests;
    for document in documents(manifests) {
        let Some((before, after)) = rest.split_once(document) else { continue };
        done.text += before;
        let changed = done.change(document, &config);
        done.text += &changed;
        rest = after;
    }
    done.text += rest;
    done
}

impl Injected {
    /// The document, with what is put in; what became of each container is noted.
    fn change(&mut self, document: &str, config: &str) -> String {
        let mut text = document.to_owned();
        // What is not YAML, or no workload, is told by who installs it.
        let Ok(object) = serde_saphyr::from_str::<Object>(document) else { return text };
        if !POD_MAKERS.contains(&object.kind.as_str()) {
            return text;
        }
        let (mut into, mut without) = (vec![], vec![]);
        // From the last to the first: what is put in moves what comes after it.
        for container in object.containers().iter().rev() {
            let name = format!("{} {}, container {}", object.kind, object.metadata.name, container.name);
            match container.way() {
                None => {}
                Some(Way::Inline(own)) if own == config => into.push(name),
                Some(Way::Inline(_)) => without.push(format!("{name}: {INLINE}")),
                Some(Way::No(why)) => without.push(format!("{name}: {why}")),
                Some(Way::Before(flag)) => match put(&text, flag, config) {
                    Some(changed) => {
                        text = changed;
                        into.push(name);
                    }
                    None => without.push(format!("{name}: {STRANGE}")),
                },
            }
        }
        self.into.extend(into.into_iter().rev());
        self.without.extend(without.into_iter().rev());
        text
    }
}

const FLAG: &str = "--config-yaml";
const INLINE: &str = "it has a `--config-yaml` already: write `admin` in that";
const STRANGE: &str = "where its arguments stand could not be made out";
const SHELL: &str = "a shell starts it, and its arguments are the script's";
const UNSAID: &str = "its arguments name no configuration (`-c` or `--config-path`)";
const SHELLS: [&str; 4] = ["ash", "bash", "dash", "sh"];

/// What makes pods that stay.
const POD_MAKERS: [&str; 5] = ["DaemonSet", "Deployment", "Pod", "ReplicaSet", "StatefulSet"];

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    template: Option<Box<Template>>,
    #[serde(default, rename = "initContainers")]
    init_containers: Vec<Container>,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Template {
    #[serde(default)]
    spec: Spec,
}

impl Object {
    /// In the order in which they stand in the text.
    fn containers(&self) -> Vec<&Container> {
        let spec = self.spec.template.as_ref().map_or(&self.spec, |template| &template.spec);
        let mut all: Vec<_> = spec.init_containers.iter().chain(&spec.containers).collect();
        let place = |one: &&Container| one.words().map(at).next();
        all.sort_by_key(place);
        all
    }
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    command: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    args: Option<Vec<Spanned<String>>>,
}

/// How an Envoy can be given more configuration.
enum Way<'a> {
    /// By a flag before this one.
    Before(&'a Spanned<String>),
    /// It has this by that flag.
    Inline(&'a str),
    No(&'static str),
}

impl Container {
    fn words(&self) -> impl Iterator<Item = &Spanned<String>> {
        [&self.command, &self.args].into_iter().flatten().flatten()
    }

    /// `None` for what is no Envoy.
    fn way(&self) -> Option<Way<'_>> {
        let words: Vec<_> = self.words().collect();
        let program = |word: &&Spanned<String>| word.value.rsplit('/').next().unwrap_or_default().to_owned();
        let image = self.image.rsplit('/').next().unwrap_or_default();
        let image = image.split([':', '@']).next().unwrap_or_default();
        let is_envoy = image.contains("envoy") || words.iter().map(program).any(|name| name == "envoy");
        let starts = words.iter().take_while(|word| !word.value.starts_with('-')).map(program);
        if starts.into_iter().any(|name| SHELLS.contains(&name.as_str())) {
            let tells = words.iter().any(|word| word.value.contains("envoy"));
            return (is_envoy || tells).then_some(Way::No(SHELL));
        }
        if !is_envoy {
            return None;
        }
        if let Some(index) = words.iter().position(|word| word.value.starts_with(FLAG)) {
            return Some(Way::Inline(words.get(index + 1).map_or("", |word| word.value.as_str())));
        }
        let names = |word: &&&Spanned<String>| {
            ["-c", "--config-path"].contains(&word.value.as_str()) || word.value.starts_with("--config-path=")
        };
        Some(words.iter().find(names).map_or(Way::No(UNSAID), |word| Way::Before(word)))
    }
}

fn at(word: &Spanned<String>) -> (u64, u64) {
    (word.referenced.line(), word.referenced.column())
}

/// The document with the flag and its value before this word, each an item of the word's list; `None` where
/// another document than that would come of it.
fn put(document: &str, before: &Spanned<String>, config: &str) -> Option<String> {
    let (line, column) = at(before);
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let start: usize = document.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let own = &document[start..];
    let head: String = own.chars().take(column.checked_sub(1)?).collect();
    let (ahead, rest) = (&document[..start + head.len()], &own[head.len()..]);
    // In a block each item is a line of its own.
    let between = if head.trim() == "-" { format!("\n{head}") } else { ", ".into() };
    let text = format!("{ahead}\"{FLAG}\"{between}'{config}'{between}{rest}");
    let (old, new) = (words(document)?, words(&text)?);
    let given = |list: &Vec<String>| {
        let at = list.iter().position(|word| *word == before.value)?;
        let (ahead, rest) = list.split_at(at);
        Some([ahead, &[FLAG.to_owned(), config.to_owned()], rest].concat())
    };
    let otherwise: Vec<_> = old.iter().zip(&new).filter(|(old, new)| old != new).collect();
    let is_it = matches!(otherwise[..], [(old, new)] if given(old).as_ref() == Some(new));
    (is_it && old.len() == new.len()).then_some(text)
}

/// The command and the arguments of every container.
fn words(document: &str) -> Option<Vec<Vec<String>>> {
    let object: Object = serde_saphyr::from_str(document).ok()?;
    let lists = object.containers().into_iter().flat_map(|one| [&one.command, &one.args]);
    let lists = lists.map(|list| list.iter().flatten().map(|word| word.value.clone()).collect());
    Some(lists.collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CONFIG: &str =
        r#"{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":9901}}}}"#;

    fn pod(container: &str) -> String {
        format!("kind: Pod\nmetadata: {{name: web}}\nspec:\n  containers:\n{container}")
    }

    #[test]
    fn an_envoy_is_started_with_it_and_nothing_else_becomes_otherwise() {
        let text = "---\n# Source: web/a.yaml\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n\
            spec:\n  template:\n    spec:\n      containers:\n        - name: envoy\n          \
            image: envoyproxy/envoy:v1\n          args:\n            - -c # its configuration\n            \
            - /etc/envoy.yaml\n            - -l\n            - info\n        - name: app\n          image: app\n          \
            args: [-c, x]\n      volumes: [{name: v, configMap: {name: c, defaultMode: 0444}}]\n\
            ---\nkind: Pod\nmetadata: {name: front}\nspec: {initContainers: [{name: e, image: x, \
            command: [/usr/bin/envoy, --config-path=/a]}], containers: [{name: two, image: my-envoy@sha256:0, \
            args: [-l, info, --config-path, /b]}]}\n---\nkind: Service\nspec: {containers: 1}\n";
        let done = admin(text, 9901);
        assert_eq!(done.without, [""; 0]);
        let into = ["Deployment web, container envoy", "Pod front, container e", "Pod front, container two"];
        assert_eq!(done.into, into);
        let expected = text
            .replace(
                "            - -c #",
                &format!("            - \"--config-yaml\"\n            - '{CONFIG}'\n            - -c #"),
            )
            .replace("--config-path=/a", &format!("\"--config-yaml\", '{CONFIG}', --config-path=/a"))
            .replace("--config-path, /b", &format!("\"--config-yaml\", '{CONFIG}', --config-path, /b"));
        assert_eq!(done.text, expected);
        assert_eq!(admin(&done.text, 9901), done, "made twice");
    }

    #[rstest]
    #[case::a_shell("command: [/bin/sh, -c, envoy -c /a]", SHELL)]
    #[case::a_shell_and_its_arguments("command: [bash]\n      args: [-c, exec envoy -c /a]", SHELL)]
    #[case::none("ports: []", UNSAID)]
    #[case::only_others("args: [-l, info]", UNSAID)]
    #[case::inline("args: [--config-yaml, 'static_resources: {}']", INLINE)]
    #[case::inline_in_one("args: ['--config-yaml=static_resources: {}', -c, /a]", INLINE)]
    #[case::another_list("args: [&c -c, /a, *c]", STRANGE)]
    fn one_that_cannot_be_given_it_is_named_with_the_reason(#[case] said: &str, #[case] why: &str) {
        let text = pod(&format!("    - name: proxy\n      image: envoyproxy/envoy:v1\n      {said}\n"));
        let done = admin(&text, 9901);
        assert_eq!(done.without, [format!("Pod web, container proxy: {why}")]);
        assert_eq!((done.text, done.into), (text, vec![]));
    }

    #[rstest]
    #[case::an_application("image: app:1\n      args: [-c, /a]")]
    #[case::a_shell("image: app:1\n      command: [sh, -c, sleep 1]")]
    fn what_is_no_envoy_is_left_alone(#[case] said: &str) {
        let text = pod(&format!("    - name: app\n      {said}\n"));
        let done = admin(&text, 9901);
        assert_eq!(done, Injected { text, into: vec![], without: vec![] });
    }

    /// One that is not YAML is passed over.
    #[test]
    fn a_document_that_another_begins_with_is_told_from_it() {
        let one = pod("    - {name: e, image: envoy, args: [-c, /a]}\n");
        let another = format!("---\n{one}and: [\n");
        let done = admin(&format!("{another}---\n{one}"), 9901);
        assert_eq!(done.text, format!("{another}---\n{}", admin(&one, 9901).text));
        assert_ne!(done.text, format!("{another}---\n{one}"));
    }

    #[test]
    fn two_documents_that_are_alike_are_each_given_it() {
        let one = pod("    - {name: e, image: envoy, args: [-c, /a]}\n");
        let done = admin(&format!("---\n{one}---\n{one}"), 9901);
        assert_eq!(done.text.matches("--config-yaml").count(), 2, "{}", done.text);
    }
}
