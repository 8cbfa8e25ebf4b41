//! Secrets that are known by their form, or by the name that they stand under.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::mark;
use super::names::{TELLING, is_telling, is_telling_variable};

/// The group `s` of the pattern is what is hidden, where `counts` says so of the whole match.
struct Rule {
    what: &'static str,
    pattern: Regex,
    counts: fn(&Captures) -> bool,
}

/// What a value goes by. As a part of a name: `DB_PASSWORD`, `clientSecret`, `x-api-key`.
fn name(more: &str) -> String {
    let words = TELLING.map(|word| word.replace('-', "[_-]?")).join("|");
    format!(r"(?P<n>[\w.-]*(?:{words}|{more})[\w.-]*)")
}

/// What stands behind `before` as its value: in quotes that are escaped, in quotes, or without.
fn values(before: &str, bare: &str) -> [String; 4] {
    [
        format!(r#"(?i){before}(?:\\+["'])?\s*[:=]\s*\\+"(?P<s>[^"\n]+?)\\+""#),
        format!(r#"(?i){before}["']?\s*[:=]\s*"(?P<s>(?:[^"\\\n]|\\.)+)"#),
        format!(r#"(?i){before}["']?\s*[:=]\s*'(?P<s>[^'\n]+)"#),
        format!(r#"(?i){before}["']?[ \t]*[:=][ \t]*(?:[|>][+-]?\s+)?(?P<s>{bare})"#),
    ]
}

/// Tokens whose first letters say whose they are: of GitHub, GitLab, Slack, Google and Amazon.
const MARKED: [&str; 7] = [
    r"gh[pousr]_\w{20,}",
    r"github_pat_\w{20,}",
    r"glpat-[\w-]{16,}",
    r"xox[abeoprs]-[\w-]{10,}",
    r"ya29\.[\w-]{10,}",
    r"AIza[\w-]{30,}",
    r"AKIA[A-Z0-9]{16}",
];

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let key = "[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----";
    // All of a header.
    let (set_to, line) = (r#"["']?\s*[:=]\s*\\*["']?"#, r#"[^\r\n"'\[\\]+"#);
    let (named, told) = (name("authorization"), name("key"));
    // A variable, or a header, as a map or as lines.
    let pair = format!(
        r#"(?:name|key)\\*["']?\s*[:=]\s*\\*["']?{told}\\*["']?(?:[\s,]|\\+n)*\\*["']?(?:raw_)?value"#
    );
    // A secret that stands in an Envoy's configuration itself, also over several lines.
    let held = name("authorization|users|keys");
    let gap = r"(?:[\s{\[-]|\\+n)*";
    let keys = format!(r#"(?:keys\\*["']?\s*:{gap})?"#);
    let inline = format!(r#"{held}\\*["']?\s*:{gap}\\*["']?{keys}\\*["']?inline_(?:string|bytes)"#);
    let word = r#"[^\s"',;{}\[\]\\|>-][^\s"',;{}\[\]\\]*"#;
    let words = r#"[^\s"',{}\[\]\\|>][^\r\n"',}\\]*"#;
    let always: fn(&Captures) -> bool = |_| true;
    let rules = [
        // RFC 7468; in a text of JSON its lines end with `\n` in two characters.
        ("a private key", format!("(?s)(?P<s>-----BEGIN {key}.*?-----END {key})"), always),
        // One whose end, or whose beginning, was cut off.
        ("a private key", format!(r"(?P<s>-----BEGIN {key}(?:[A-Za-z0-9+/=\s:,-]|\\+[nrt])*)"), always),
        ("a private key", format!(r"(?P<s>(?:[A-Za-z0-9+/=\s]|\\+[nrt])*-----END {key})"), always),
        // RFC 7515 and 7516, compact; its header is a JSON object.
        ("a token", r"(?P<s>eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)*)".into(), always),
        // RFC 9110: whatever the scheme, all of it.
        (
            "a token",
            format!(r"(?i)authorization\\*{set_to}(?:(?:bearer|basic|digest)\s+)?(?P<s>{line})"),
            always,
        ),
        // RFC 6750 and 7617.
        ("a token", r"(?i)\bbearer[\s:=]+(?P<s>[\w.~+/=-]{6,})".into(), always),
        ("a password", r"(?i)\bbasic\s+(?P<s>[A-Za-z0-9+/]{6,}={0,2})".into(), is_basic),
        // RFC 3986, userinfo.
        ("a password", r#"[A-Za-z][\w+.-]*://[^/\s:@"'<>]*:(?P<s>[^/\s@"'<>]+)@"#.into(), always),
        // SPIRE: the token is in the ID of the agent that attested by it.
        ("a join token", r"join_token/(?P<s>[\w-]+)".into(), always),
        ("a token", format!(r"(?P<s>\b(?:{}))", MARKED.join("|")), always),
        // RFC 7518: what of a JWK is not public.
        ("a key", r#""(?:d|p|q|dp|dq|qi|k)\\*"\s*:\s*\\*"(?P<s>[\w-]{16,})"#.into(), always),
        ("a cookie", format!(r"(?i)cookie\\*{set_to}(?P<s>{line})"), always),
        // A line of YAML, to its end.
        (
            "by its name",
            format!(r#"(?im)(?:^|\\n)[ \t-]*["']?{named}["']?:[ \t]+(?P<s>[^\s"'\[{{|>][^\r\n\\]*)"#),
            by_name,
        ),
        // As a flag, in one word with its value's or in a list.
        ("by its name", format!(r#"(?i)["']-{named}\\*["']\s*,\s*\\*["'](?P<s>[^"'\\\n]+)"#), by_name),
        ("by its name", format!(r#"(?i)(?:^|[\s"'])--?{named}[ \t]+(?P<s>[^\s"'\[-][^\s"']*)"#), by_name),
    ];
    let rule = |(what, pattern, counts): (_, String, _)| {
        // Bytes that are no text are no end of a secret.
        Some(Rule { what, pattern: RegexBuilder::new(&pattern).unicode(false).build().ok()?, counts })
    };
    let by_name =
        values(&named, word).map(|pattern| ("by its name", pattern, by_name as fn(&Captures) -> bool));
    let by_pair =
        values(&pair, words).map(|pattern| ("by its name", pattern, by_pair as fn(&Captures) -> bool));
    let inline =
        values(&inline, words).map(|pattern| ("by its name", pattern, by_place as fn(&Captures) -> bool));
    rules.into_iter().chain(inline).chain(by_pair).chain(by_name).filter_map(rule).collect()
});

/// How many there are: none may be dropped for a mistake in it.
#[cfg(test)]
pub(super) fn rules() -> usize {
    RULES.len()
}

fn is_basic(found: &Captures) -> bool {
    let text = std::str::from_utf8(&found["s"]).unwrap_or_default().trim_end_matches('=');
    STANDARD_NO_PAD.decode(text).is_ok_and(|decoded| decoded.contains(&b':'))
}

/// Numbers and words of JSON stay, and so do a scheme and a mark.
fn by_name(found: &Captures) -> bool {
    let value = String::from_utf8_lossy(&found["s"]).to_lowercase();
    let plain = ["true", "false", "null", "nil", "none"].contains(&&*value) || value.parse::<f64>().is_ok();
    let scheme = ["bearer", "basic", "digest"].into_iter().find_map(|scheme| value.strip_prefix(scheme));
    let rest = scheme.unwrap_or(&value).trim();
    let is_done = is_mark(rest) || (rest.is_empty() && scheme.is_some());
    is_telling(&String::from_utf8_lossy(&found["n"])) && !plain && !is_done
}

/// Whatever stands there.
fn by_pair(found: &Captures) -> bool {
    let value = String::from_utf8_lossy(&found["s"]);
    is_telling_variable(&String::from_utf8_lossy(&found["n"])) && !is_mark(value.trim())
}

/// What its place says is enough.
fn by_place(found: &Captures) -> bool {
    !is_mark(String::from_utf8_lossy(&found["s"]).trim())
}

/// One mark, and nothing beside it.
fn is_mark(text: &str) -> bool {
    let text = text.trim_end_matches(['"', '\'']);
    text.starts_with("[redacted: ") && text.find(']') == Some(text.len() - 1)
}

/// Marks in the place of all that the rules find, and how many.
pub(super) fn clean(mut bytes: Cow<[u8]>) -> (Cow<[u8]>, usize) {
    let mut marks = 0;
    for rule in RULES.iter() {
        let mut clean = vec![];
        let mut from = 0;
        for found in rule.pattern.captures_iter(&bytes) {
            let Some(secret) = found.name("s").filter(|_| (rule.counts)(&found)) else { continue };
            clean.extend(&bytes[from..secret.start()]);
            clean.extend(mark(rule.what).bytes());
            from = secret.end();
            marks += 1;
        }
        if from > 0 {
            clean.extend(&bytes[from..]);
            bytes = Cow::Owned(clean);
        }
    }
    (bytes, marks)
}
