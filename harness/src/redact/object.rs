//! Secrets in what is a JSON value: there it is known what stands under which name.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::mark;
use super::names::{is_telling, is_telling_variable};
use super::text::clean;

/// Where Envoy takes a secret from (envoy.config.core.v3.DataSource), a secret that stands there itself.
const INLINE: [&str; 3] = ["inline_string", "inline_bytes", "raw_value"];
/// Of Envoy's, and named otherwise.
const HIDES: [&str; 2] = ["users", "session_ticket_keys"];
/// A copy of the whole object as its user wrote it.
const COPY: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Marks all secrets of an object of Kubernetes, of an Envoy's configuration, or of anything like it. Returns
/// how many.
pub fn object(value: &mut Value) -> usize {
    walk(value, false)
}

/// `hidden`: under a name that tells; what is given there in place is a secret.
fn walk(value: &mut Value, hidden: bool) -> usize {
    match value {
        Value::Object(map) => in_map(map, hidden),
        Value::Array(list) => in_list(list, hidden),
        Value::String(string) if string.len() > 100 || string.contains(['\n', '"']) => {
            let (clean, marks) = clean(Cow::Borrowed(string.as_bytes()));
            if marks > 0 {
                *string = String::from_utf8_lossy(&clean).into_owned();
            }
            marks
        }
        _ => 0,
    }
}

fn in_map(map: &mut Map<String, Value>, hidden: bool) -> usize {
    let mut marks = 0;
    if map.get("kind").is_some_and(|kind| kind == "Secret") {
        for key in ["data", "stringData"] {
            if let Some(Value::Object(data)) = map.get_mut(key) {
                marks += data.values_mut().map(|value| hide(value, "a Secret's")).sum::<usize>();
            }
        }
    }
    if let Some(copy) = map.get_mut(COPY) {
        *copy = "[left out]".into();
    }
    map.remove("managedFields");
    let named = ["name", "key"].into_iter().find_map(|key| map.get(key)?.as_str());
    if named.is_some_and(is_telling_variable) {
        for key in ["value", "raw_value"] {
            marks += map.get_mut(key).map_or(0, |value| hide(value, "by its name"));
        }
    }
    for (key, value) in map {
        let tells = is_telling(key);
        marks += match value {
            Value::String(_) if tells || (hidden && INLINE.contains(&key.as_str())) => {
                hide(value, "by its name")
            }
            Value::Array(list) if tells && list.iter().all(Value::is_string) => {
                list.iter_mut().map(|value| hide(value, "by its name")).sum()
            }
            _ => walk(value, hidden || tells || HIDES.contains(&key.as_str())),
        };
    }
    marks
}

/// Of arguments, the one after a flag that tells; of a pair, the second.
fn in_list(list: &mut [Value], hidden: bool) -> usize {
    let mut marks = 0;
    let is_pair = list.len() == 2;
    let mut tells = false;
    for (number, value) in list.iter_mut().enumerate() {
        let before = tells;
        tells = match value.as_str() {
            Some(flag) if flag.starts_with('-') => !flag.contains('=') && is_telling(flag),
            Some(name) => is_pair && number == 0 && is_telling_variable(name),
            None => false,
        };
        marks += if before && value.is_string() && !tells {
            hide(value, "by its name")
        } else {
            walk(value, hidden)
        };
    }
    marks
}

/// Numbers and the like stay, and so does what is empty.
fn hide(value: &mut Value, what: &str) -> usize {
    match value {
        Value::String(text) if !text.is_empty() && !text.starts_with("[redacted") => {
            *text = mark(what);
            1
        }
        _ => 0,
    }
}
