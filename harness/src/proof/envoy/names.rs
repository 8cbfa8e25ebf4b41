//! Names of counters as Envoy builds them of what a configuration calls things. Each rule was seen at Envoy
//! 1.40 (`/stats` of configurations with `:`, `://` and dots in every prefix).

/// The root of a statistics scope: `://`, `:/` and `:` become `_`, dots at the end go
/// (`Stats::Utility::sanitizeStatsName`). Listeners, clusters and connection managers count in such a scope.
pub(super) fn scope(name: &str) -> String {
    name.replace("://", "_").replace(":/", "_").replace(':', "_").trim_end_matches('.').to_owned()
}

/// `<prefix>.rbac.<own>.<counter>`, without `<own>.` where the filter has no `rules_stat_prefix`. Nothing
/// is put for a colon here and a dot is added only where there is none at the end: an RBAC filter's
/// counters have their whole name, not a scope's (Envoy's documentation, "Role Based Access Control":
/// Statistics).
pub(super) fn rbac(prefix: &str, own: &str, counter: &str) -> String {
    let mut name = String::new();
    for part in [prefix, "rbac", own].into_iter().filter(|part| !part.is_empty()) {
        name.push_str(part);
        if !part.ends_with('.') {
            name.push('.');
        }
    }
    name + counter
}
