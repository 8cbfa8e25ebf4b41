//! Reading parts of a dump: every answer about what is not there is "nothing".

use std::collections::BTreeSet;

use serde_json::Value;

/// `config.<list>[].<inner>` of each list.
pub(super) fn each<'a>(
    config: &'a Value,
    lists: &'a [&str],
    inner: &'a str,
) -> impl Iterator<Item = &'a Value> {
    lists.iter().flat_map(|list| items(&config[*list])).filter_map(move |entry| entry.get(inner))
}

/// What is in a list.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The text under `key`, or an empty one.
pub(super) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The texts under `key` of each of a list that has one.
pub(super) fn named<'a>(list: &'a Value, key: &'a str) -> impl Iterator<Item = String> + 'a {
    items(list).map(move |one| text(one, key)).filter(|name| !name.is_empty())
}

/// Whether a word stands anywhere in it, in whatever case: header names have none.
pub(super) fn mentions(value: &Value, word: &str) -> bool {
    value.to_string().to_ascii_lowercase().contains(word)
}

/// A type, without `type.googleapis.com/`, and its configuration. A `TypedStruct` is what it wraps.
pub(super) fn typed(config: &Value) -> (&str, &Value) {
    let kind = config["@type"].as_str().unwrap_or_default();
    if kind.ends_with(".TypedStruct") {
        let inner = config["type_url"].as_str().unwrap_or_default();
        return (inner.rsplit('/').next().unwrap_or_default(), &config["value"]);
    }
    (kind.rsplit('/').next().unwrap_or_default(), config)
}

/// The names of the secrets that SDS has to bring for what stands in `value` (`SdsSecretConfig` with a source
/// of its own; without one, it names a static secret).
pub(super) fn secrets(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(all) => all.iter().flat_map(secrets).collect(),
        Value::Object(fields) => {
            let own = (value.get("sds_config").is_some()).then(|| text(value, "name"));
            own.into_iter().chain(fields.values().flat_map(secrets)).collect()
        }
        _ => BTreeSet::new(),
    }
}
