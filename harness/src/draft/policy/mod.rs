//! Whether RBAC lets a request through, as far as its configuration says so: `envoy.config.rbac.v3`,
//! evaluated for one caller and one request. What only a run can tell (a condition, a remote address) is said
//! to be unknown, with its name. Not for where the policies stand, nor for what else a filter chain holds.

mod regex;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{list, walk};

/// Whether something holds; if that cannot be told, what could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown(BTreeSet<String>),
}

impl Truth {
    pub(super) fn unknown(what: impl Into<String>) -> Self {
        Self::Unknown([what.into()].into())
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            unknown @ Self::Unknown(_) => unknown,
        }
    }

    /// One that does not hold is enough for no.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut open, mut unread) = (false, BTreeSet::new());
        for part in parts {
            match part {
                Self::Yes => {}
                Self::No => return Self::No,
                Self::Unknown(what) => {
                    open = true;
                    unread.extend(what);
                }
            }
        }
        if open { Self::Unknown(unread) } else { Self::Yes }
    }

    /// One that holds is enough for yes.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::all(parts.into_iter().map(Self::not)).not()
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// What a policy sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The caller's SPIFFE ID; `None` where Envoy has no certificate of the caller.
    pub(super) caller: Option<&'a str>,
    /// Method and path without a query; `None` on a connection (the network filter).
    pub(super) http: Option<(&'a str, &'a str)>,
    /// Of the listener.
    pub(super) port: u64,
}

/// Whether the configuration of an RBAC filter (or of a route in its place) lets the request through. Shadow
/// rules deny nobody; `rules` that are there and empty let nobody through.
pub(super) fn lets_through(filter: &Value, request: Request) -> Truth {
    if !filter["matcher"].is_null() {
        return Truth::unknown("an RBAC `matcher`");
    }
    if filter["rules"].is_null() {
        return Truth::Yes;
    }
    let policies = filter["rules"]["policies"].as_object().into_iter().flat_map(Map::values);
    let matched = || Truth::any(policies.map(|policy| self::policy(policy, request)));
    match &filter["rules"]["action"] {
        Value::Null => matched(),
        action if action == "ALLOW" || *action == 0 => matched(),
        action if action == "DENY" || *action == 1 => matched().not(),
        action if action == "LOG" || *action == 2 => Truth::Yes,
        other => Truth::unknown(format!("the RBAC action {other}")),
    }
}

fn policy(policy: &Value, request: Request) -> Truth {
    let conditions = ["condition", "checked_condition", "cel_config"].into_iter();
    let conditions = conditions.filter(|key| !policy[*key].is_null());
    let conditions = conditions.map(|key| Truth::unknown(format!("a policy's `{key}`")));
    let permitted = Truth::any(list(&policy["permissions"]).map(|one| rule(one, request)));
    let meant = Truth::any(list(&policy["principals"]).map(|one| rule(one, request)));
    Truth::all([permitted, meant].into_iter().chain(conditions))
}

/// A permission or a principal: what they have in common is written in the same way.
fn rule(rule: &Value, request: Request) -> Truth {
    let Some((key, value)) = only(rule) else { return Truth::unknown("a rule that is not one thing") };
    let each = |key: &str| list(&value[key]).map(|one| self::rule(one, request)).collect::<Vec<_>>();
    match key {
        "any" => Truth::from(*value == true),
        "and_rules" => Truth::all(each("rules")),
        "or_rules" => Truth::any(each("rules")),
        "and_ids" => Truth::all(each("ids")),
        "or_ids" => Truth::any(each("ids")),
        "not_rule" | "not_id" => self::rule(value, request).not(),
        "authenticated" if value["principal_name"].is_null() => Truth::Yes,
        "authenticated" => principal(&value["principal_name"], request.caller),
        "header" => header(value, request.http),
        "url_path" => request.http.map_or(Truth::No, |(_, path)| matches("url_path", &value["path"], path)),
        "destination_port" => value
            .as_u64()
            .map_or_else(|| Truth::unknown("a `destination_port`"), |port| (port == request.port).into()),
        "destination_port_range" => match (value["start"].as_u64(), value["end"].as_u64()) {
            (start, Some(end)) => (start.unwrap_or(0)..end).contains(&request.port).into(),
            _ => Truth::unknown("a `destination_port_range`"),
        },
        other => Truth::unknown(format!("a rule by `{other}`")),
    }
}

/// The one key of a map that has one, with its value.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let mut entries = value.as_object()?.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key, value))
}

/// Envoy holds the pattern against the URI SANs, the DNS SANs and the subject. The probe's SVIDs have no DNS
/// SAN, and no slash in the subject.
fn principal(pattern: &Value, caller: Option<&str>) -> Truth {
    let Some(id) = caller else { return matches("principal", pattern, "") };
    match matches("principal", pattern, id) {
        Truth::No if !is_an_id(pattern) => {
            Truth::unknown("a principal that may be meant for a certificate's subject")
        }
        told => told,
    }
}

/// Whether it can be meant for a SPIFFE ID only.
fn is_an_id(pattern: &Value) -> bool {
    let expression = pattern["safe_regex"]["regex"].as_str();
    text_of(pattern).map(|(_, text)| text).or(expression).is_some_and(|text| text.contains('/'))
}

/// Of the headers that a request will have only method and path are known beforehand.
fn header(matcher: &Value, http: Option<(&str, &str)>) -> Truth {
    let name = matcher["name"].as_str().unwrap_or_default();
    let value = match (name.to_ascii_lowercase().as_str(), http) {
        (":method", Some((method, _))) => method,
        (":path", Some((_, path))) => path,
        _ => return Truth::unknown(format!("a rule by the header `{name}`")),
    };
    let old = |(key, new): (&str, &str)| Some(serde_json::json!({new: matcher.get(key)?}));
    let written = matcher.get("string_match").cloned().or_else(|| {
        [
            ("exact_match", "exact"),
            ("prefix_match", "prefix"),
            ("suffix_match", "suffix"),
            ("contains_match", "contains"),
            ("safe_regex_match", "safe_regex"),
        ]
        .into_iter()
        .find_map(old)
    });
    let found = match written {
        Some(pattern) => matches(name, &pattern, value),
        None if !matcher["range_match"].is_null() => {
            Truth::unknown(format!("a range of the header `{name}`"))
        }
        None => Truth::from(matcher["present_match"] != false),
    };
    if matcher["invert_match"] == true { found.not() } else { found }
}

/// Key and text of a string matcher (`envoy.type.matcher.v3.StringMatcher`) that names one.
fn text_of(pattern: &Value) -> Option<(&str, &str)> {
    let find = |key| Some((key, pattern[key].as_str()?));
    ["exact", "prefix", "suffix", "contains"].into_iter().find_map(find)
}

/// A string matcher against a text.
pub(super) fn matches(what: &str, pattern: &Value, text: &str) -> Truth {
    let Some((kind, wanted)) = text_of(pattern) else {
        let Some(expression) = pattern["safe_regex"]["regex"].as_str() else {
            return Truth::unknown(format!("a matcher of `{what}`"));
        };
        let unread = || Truth::unknown(format!("`{what}` by the regex {expression}"));
        return regex::matches(expression, text).map_or_else(unread, Truth::from);
    };
    let lower = |text: &str| text.to_ascii_lowercase();
    let (wanted, text) = if pattern["ignore_case"] == true {
        (lower(wanted), lower(text))
    } else {
        (wanted.to_owned(), text.to_owned())
    };
    Truth::from(match kind {
        "exact" => text == wanted,
        "prefix" => text.starts_with(&wanted),
        "suffix" => text.ends_with(&wanted),
        _ => text.contains(&wanted),
    })
}

/// What the rules name, wherever it stands in them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// SPIFFE IDs as they are written.
    pub(super) principals: Vec<String>,
    /// HTTP methods.
    pub(super) methods: Vec<String>,
    /// Paths that some rule matches.
    pub(super) paths: Vec<String>,
}

/// All that a filter's rules name, each once, in the order of the keys.
pub(super) fn named(filter: &Value) -> Named {
    let mut found = Named::default();
    walk(&filter["rules"]["policies"], &mut |key, value| {
        let header = |old: &str| {
            let old = value[old].as_str();
            let written = old.map(ToOwned::to_owned).or_else(|| text_for(&value["string_match"]));
            written.or_else(|| regex::sample(value["safe_regex_match"]["regex"].as_str()?))
        };
        let (into, text) = match key {
            "principal_name" => {
                (&mut found.principals, value["exact"].as_str().map(ToOwned::to_owned).or(sample(value)))
            }
            "header" if value["name"] == ":method" => (&mut found.methods, header("exact_match")),
            "header" if value["name"] == ":path" => {
                (&mut found.paths, header("exact_match").or(header("prefix_match")))
            }
            "url_path" => (&mut found.paths, text_for(&value["path"])),
            _ => return,
        };
        if let Some(text) = text.filter(|text| !into.contains(text)) {
            into.push(text);
        }
    });
    // Inside a path; and a prefix that ends in a slash says no more than the path without.
    for path in &mut found.paths {
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
    }
    let exact = found.paths.clone();
    found.paths.retain(|path| {
        !path.strip_suffix('/').is_some_and(|shorter| exact.iter().any(|other| other == shorter))
    });
    found
}

/// A text that a string matcher names, or one that its expression matches.
fn text_for(pattern: &Value) -> Option<String> {
    let by_regex = || regex::sample(pattern["safe_regex"]["regex"].as_str()?);
    text_of(pattern).map(|(_, text)| text.to_owned()).or_else(by_regex)
}

/// A SPIFFE ID that a prefix of a folder of IDs lets in, or an expression.
pub(super) fn sample(pattern: &Value) -> Option<String> {
    let prefix = pattern["prefix"].as_str().filter(|prefix| prefix.ends_with('/'));
    let by_prefix = prefix.map(|prefix| format!("{prefix}anyone"));
    let by_regex = || regex::sample(pattern["safe_regex"]["regex"].as_str()?);
    by_prefix.or_else(by_regex).filter(|id| crate::spiffe_id::split(id).is_some())
}

#[cfg(test)]
mod tests;
