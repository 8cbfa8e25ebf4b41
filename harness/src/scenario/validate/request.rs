//! What must hold in what a check sends: that a request can carry it. Odd requests are what some checks are
//! about.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use svidproof_probe::protocol::Http;

use super::Found;
use crate::scenario::CELL_HEADER;
use crate::scenario::place::{Node, Place};
use crate::scenario::written::{LONGEST, length};

pub(super) fn headers(headers: &BTreeMap<String, String>, place: &Node, found: &mut Found) {
    for (name, value) in headers {
        found.check(HeaderName::from_bytes(name.as_bytes()).is_ok(), place.key(name), || {
            format!("`{name}` is not the name of a header (RFC 9110, section 5.1)")
        });
        found.check(HeaderValue::from_bytes(value.as_bytes()).is_ok(), place.at(name).place(), || {
            format!("{value:?} has a character that the header `{name}` cannot carry (RFC 9110, section 5.5)")
        });
        found.check(!name.eq_ignore_ascii_case(CELL_HEADER), place.key(name), || {
            format!("`{CELL_HEADER}` is svidproof's own header")
        });
    }
}

pub(super) fn sent(send: &str, http: Http, place: Place, found: &mut Found) {
    if let Err(why) = request(send, http) {
        found.add(place, format!("`{send}` is not a request: {why}; write `METHOD TARGET`, such as `GET /`"));
    }
}

/// `METHOD TARGET`. The target is checked no further than that a request line can carry it: odd ones are what
/// some checks are about.
fn request(send: &str, http: Http) -> Result<(), &'static str> {
    let (method, target) = send.split_once(' ').ok_or("it has no target")?;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err("its method is not in upper case");
    }
    let absolute = target.starts_with("http://") || target.starts_with("https://");
    if !target.starts_with('/') && !absolute {
        return Err("its target does not start with `/`");
    }
    if absolute && http == Http::Http2 {
        return Err("its target is absolute, which HTTP/2 has no form for");
    }
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its target has a character that a request line cannot carry");
    }
    if length(target).is_none_or(|length| length > LONGEST) {
        return Err("its target would be longer than 1 MiB when it is written out");
    }
    Ok(())
}
