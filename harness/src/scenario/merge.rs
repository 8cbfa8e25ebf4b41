//! Values laid over values, as Helm does it. Whose they are, and in what order they come, is others' to say.

use serde_json::Value;

/// `over` laid over `base`, as Helm merges values files: maps key by key, everything else replaced. No values
/// at all change nothing.
pub fn merged(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (_, Value::Null) => base.clone(),
        (Value::Object(base), Value::Object(over)) => {
            let mut result = base.clone();
            for (key, value) in over {
                // A null goes on to Helm, which takes the chart's own key away.
                let value = if value.is_null() {
                    Value::Null
                } else {
                    merged(base.get(key).unwrap_or(&Value::Null), value)
                };
                result.insert(key.clone(), value);
            }
            Value::Object(result)
        }
        _ => over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_merge_key_by_key_and_lists_are_replaced() {
        let base = json!({"envoy": {"allow": [1, 2], "rbac": []}, "account": 1});
        let over = json!({"envoy": {"allow": [1]}});
        assert_eq!(merged(&base, &over), json!({"envoy": {"allow": [1], "rbac": []}, "account": 1}));
        assert_eq!(merged(&Value::Null, &over), over);
        assert_eq!(merged(&base, &Value::Null), base);
    }
}
