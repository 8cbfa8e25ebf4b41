//! Pieces of the drafted file as YAML takes them.

use std::borrow::Cow;

use serde_json::Value;

/// The line of a check that says its HTTP version, where the usual one is not spoken.
pub(super) fn http_text(versions: &[&str]) -> &'static str {
    if versions.contains(&"1.1") { "" } else { "        http: \"2\"\n" }
}

/// A list in one line.
pub(super) fn flow<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// As YAML takes it, in flow and in block: in quotes where it could be anything but a plain text.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b' ');
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts && !word && text.bytes().all(plain) && !text.ends_with(' ') {
        text.into()
    } else {
        Value::from(text).to_string().into()
    }
}
