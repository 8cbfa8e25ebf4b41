//! Whatever an admin interface answers: a configuration that is read, or an error that says what of it is
//! not understood.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{lacking, trusted};
use super::*;
use crate::sys::mutated::mutated;

fn dumps() -> impl Strategy<Value = String> {
    let rules = json!({"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}]}}});
    let routes =
        json!([{"match": {"prefix": "/"}, "route": {"cluster": "app", "retry_policy": {"num_retries": 2}}}]);
    let all = [
        Dump::default().text(),
        Dump::filter(json!({"name": "rbac", "typed_config": {"@type": format!("{HTTP}.rbac.v3.RBAC"), "rules": rules}})).text(),
        Dump::routes(routes).text(),
    ];
    prop::sample::select(all.to_vec())
}

/// Where something stands in the value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let below = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, one)| places(one, &below(&n.to_string()), found));
        }
        Value::Object(map) => map.iter().for_each(|(key, one)| places(one, &below(key), found)),
        _ => {}
    }
}

fn replaced(text: &str, changes: &[(Index, Value)]) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for (at, other) in changes {
        let mut all = vec![];
        places(&value, "", &mut all);
        *value.pointer_mut(&all[at.index(all.len())]).unwrap() = other.clone();
    }
    value.to_string()
}

fn others() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{1b}[2J"),
        json!([]),
        json!([[null]]),
        json!({}),
        json!({"name": null, "@type": 1}),
    ])
}

fn read(text: &str) -> Result<(), TestCaseError> {
    let _ = (lacking(text, 9001), trusted(text), Stats::read(text));
    let meter = Envoy::read(text).and_then(|envoy| envoy.at(9001, None));
    if let Err(error) = meter {
        prop_assert!(!error.to_string().is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_value_may_stand_anywhere(dump in dumps(), changes in proptest::collection::vec((any::<Index>(), others()), 1..4)) {
        read(&replaced(&dump, &changes))?;
    }

    #[test]
    fn a_text_that_is_almost_json_is_told(dump in dumps().prop_flat_map(mutated)) {
        read(&dump)?;
    }

    #[test]
    fn any_text_may_come(text in any::<String>()) {
        read(&text)?;
    }
}

#[test]
fn what_is_deep_is_told() {
    read(&"[".repeat(1_000_000)).unwrap();
    read(&"{\"a\":".repeat(1_000_000)).unwrap();
}
