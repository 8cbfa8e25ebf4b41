//! Names, by the standards that they go by: SPIFFE IDs, trust domains, labels.

use super::Found;
use crate::scenario::place::Place;

/// The path of a SPIFFE ID, by section 2.2 of the SPIFFE ID standard.
pub(super) fn spiffe_path(path: &str, place: Place, found: &mut Found) {
    let why = if path.starts_with("spiffe://") {
        "write the path alone, without `spiffe://` and the trust domain"
    } else if !path.starts_with('/') {
        "it does not start with `/`"
    } else if path[1..].split('/').any(str::is_empty) {
        "it has an empty segment"
    } else if path.split('/').any(|segment| segment == "." || segment == "..") {
        "it has a segment `.` or `..`"
    } else if !path.bytes().all(|byte| byte == b'/' || is_spiffe_byte(byte)) {
        "only letters, digits, `.`, `-` and `_` may stand between the `/`"
    } else {
        return;
    };
    found.add(place, format!("`{path}` is not the path of a SPIFFE ID: {why}"));
}

/// By section 2.1 of the SPIFFE ID standard.
pub(super) fn trust_domain(name: &str) -> Result<(), &'static str> {
    if name.contains("://") {
        return Err("write it without `spiffe://`");
    }
    if name.is_empty() || name.len() > 255 {
        return Err("it has 1 to 255 characters");
    }
    if !name.bytes().all(|byte| is_spiffe_byte(byte) && !byte.is_ascii_uppercase()) {
        return Err("only lower-case letters, digits, `.`, `-` and `_` may stand in it");
    }
    Ok(())
}

fn is_spiffe_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

pub(super) fn is_pair(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
}

/// Whether it is a DNS label (RFC 1123, section 2.1): 1 to 63 lower-case letters, digits and `-`, which
/// stands at neither end.
pub fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    ends && name.len() <= 63 && name.bytes().all(|byte| plain(byte) || byte == b'-')
}

pub(super) fn label_wanted(what: &str, name: &str) -> String {
    format!(
        "`{name}` cannot name a {what}: it goes into files, headers and logs; lower-case letters, digits and \
         `-` are fit for all of them"
    )
}
