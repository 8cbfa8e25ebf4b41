//! Whether an Envoy's configuration minds from where, or to which address, a client comes. What is dialled
//! by another way than clients come would be decided otherwise then.

use serde_json::Value;

use super::json::typed;

/// Fields of Envoy's API, v3: of RBAC principals and permissions, filter chain matches, listeners and rate
/// limits; an expression may name whatever it likes.
const FIELDS: [&str; 15] = [
    "source_ip",
    "direct_remote_ip",
    "remote_ip",
    "destination_ip",
    "source_prefix_ranges",
    "direct_source_prefix_ranges",
    "prefix_ranges",
    "source_type",
    "source_ports",
    "use_original_dst",
    "use_proxy_proto",
    "remote_address",
    "condition",
    "checked_condition",
    "cel_expr_string",
];

/// What types end with: who is told the addresses, or is a program of its own.
const TYPES: [&str; 7] =
    ["ExtAuthz", "ExternalProcessor", "Lua", "Wasm", "ProxyProtocol", "OriginalDst", "golang.v3alpha.Config"];

/// The first thing in it by which addresses are minded.
pub(super) fn minded(value: &Value) -> Option<&'static str> {
    match value {
        Value::Array(all) => all.iter().find_map(minded),
        Value::Object(fields) => {
            let (kind, _) = typed(value);
            let of_type = TYPES.into_iter().find(|end| kind.ends_with(end));
            let field = || FIELDS.into_iter().find(|field| fields.contains_key(*field));
            of_type.or_else(field).or_else(|| fields.values().find_map(minded))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_minds_an_address_is_found_wherever_it_stands() {
        let principal = json!({"rules": {"policies": {"a": {"principals": [{"direct_remote_ip": {}}]}}}});
        assert_eq!(minded(&json!([{"filters": [principal]}])), Some("direct_remote_ip"));
        assert_eq!(minded(&json!({"filter_chain_match": {"prefix_ranges": []}})), Some("prefix_ranges"));
        let authorizer = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
        assert_eq!(minded(&json!({"typed_config": {"@type": authorizer}})), Some("ExtAuthz"));
        let wrapped = json!({"@type": "x/xds.type.v3.TypedStruct", "type_url": "x/a.v3.Lua", "value": {}});
        assert_eq!(minded(&wrapped), Some("Lua"));
        assert_eq!(minded(&json!({"policies": {"a": {"condition": {}}}})), Some("condition"));
        // What an Envoy could do is no part of what it does.
        let able = json!({"node": {"extensions": [{"type_urls": [authorizer]}]}});
        assert_eq!(minded(&able), None);
        let log = json!({"format": "%DOWNSTREAM_REMOTE_ADDRESS% remote_ip", "use_remote_address": true});
        assert_eq!(minded(&log), None);
    }
}
