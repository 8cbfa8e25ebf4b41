//! The containers of a chart's manifests, and what images they ask for. Not for where images come from.

use serde_json::Value;

use super::manifest::documents;

/// A container, or an init container, and its image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// As it is written.
    pub image: String,
    /// Whether the node asks a registry though it has the image: said so, or because the tag is `latest` or
    /// missing (Kubernetes documentation, "Image pull policy").
    pub always: bool,
}

/// Those of all pods, whatever makes them; but of hooks that only `helm test` runs none.
pub fn containers(manifests: &str) -> Vec<Container> {
    let mut found = vec![];
    for document in documents(manifests) {
        // What is not YAML is told by who installs it.
        let Ok(object) = serde_saphyr::from_str::<Value>(document) else { continue };
        let hook = object.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str);
        if !hook.is_some_and(|hook| hook.split(',').all(|one| one.trim().starts_with("test"))) {
            look(&object, &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn look(value: &Value, found: &mut Vec<Container>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let ("containers" | "initContainers", Value::Array(all)) = (key.as_str(), value) {
                    found.extend(all.iter().filter_map(container));
                } else {
                    look(value, found);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| look(value, found)),
        _ => {}
    }
}

fn container(value: &Value) -> Option<Container> {
    let image = value["image"].as_str()?;
    let last = image.rsplit('/').next().unwrap_or_default();
    let is_latest = !last.contains([':', '@']) || last.ends_with(":latest");
    let always = value["imagePullPolicy"].as_str().map_or(is_latest, |policy| policy == "Always");
    Some(Container { name: value["name"].as_str().unwrap_or("?").into(), image: image.into(), always })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn containers_are_found_in_whatever_makes_pods() {
        let pod = "containers: [{name: a, image: 'a:1'}], initContainers: [{name: b, image: 'b:1'}]";
        let text = format!(
            "kind: Pod\nspec: {{{pod}}}\n---\nkind: CronJob\nspec: {{jobTemplate: {{spec: {{template: {{spec: \
             {{containers: [{{name: c, image: 'c:1'}}]}}}}}}}}}}\n---\nkind: Pod\nmetadata: {{annotations: \
             {{helm.sh/hook: test}}}}\nspec: {{containers: [{{name: t, image: 't:1'}}]}}\n---\nkind: CRD\n\
             spec: {{properties: {{containers: {{type: array}}}}}}\n---\nkind: [\n"
        );
        let names: Vec<_> = containers(&text).into_iter().map(|one| one.name + " " + &one.image).collect();
        assert_eq!(names, ["a a:1", "b b:1", "c c:1"]);
    }

    #[rstest]
    #[case("image: 'a:1'", false)]
    #[case("image: 'a:1', imagePullPolicy: Always", true)]
    #[case("image: a", true)]
    #[case("image: 'r:5000/a'", true)]
    #[case("image: 'a:latest'", true)]
    #[case("image: 'a:latest', imagePullPolicy: IfNotPresent", false)]
    #[case("image: 'a@sha256:01'", false)]
    fn a_latest_image_is_pulled_always(#[case] said: &str, #[case] always: bool) {
        let text = format!("kind: Pod\nspec: {{containers: [{{name: c, {said}}}]}}\n");
        assert_eq!(containers(&text)[0].always, always);
    }
}
