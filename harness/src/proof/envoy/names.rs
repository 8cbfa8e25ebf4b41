//! Names of counters as Envoy builds them of what a configuration calls things. Each rule was seen at Envoy
//! 1.40 (`/stats` of configurations with `:`, `://` and dots in every prefix).

/// The root of a statistics scope: `://`, `:/` and `:` become `_`, dots at the end go
/// (`Stats::Utility::sanitizeStatsName`). Listeners, clusters and connection managers count in such a scope.
pub(super) fn scope(name: &str) -> String {
    name.replace("://", "_").replace(":/", "_").replace(':', "_").trim_end_matches('.').to_owned()
}

/// `<prefix>.<filter>.<own>.<counter>`, without `<own>.` where the filter has no prefix of its own. Nothing
/// is put for a colon here and a dot is added only where there is none at the end: the counters of `rbac`
/// and `ext_authz` have their whole name, not a scope's; the `prefix` of `jwt_authn` is a scope (Envoy's
/// documentation, "Role Based Access Control", "External Authorization", "JWT Authentication": Statistics).
pub(super) fn of_filter(prefix: &str, filter: &str, own: &str, counter: &str) -> String {
    let mut name = String::new();
    for part in [prefix, filter, own].into_iter().filter(|part| !part.is_empty()) {
        name.push_str(part);
        if !part.ends_with('.') {
            name.push('.');
        }
    }
    name + counter
}
