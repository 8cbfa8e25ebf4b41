//! What must hold in what a check sends: that a request can carry it. Odd requests are what some checks are
//! about.

use std::collections::BTreeMap;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method};
use rustls::pki_types::DnsName;
use svidproof_probe::protocol::Http;

use super::Found;
use crate::scenario::place::{Node, Place};
use crate::scenario::written::{LONGEST, length};
use crate::scenario::{CELL_HEADER, Check, OneOrMany, Scenario};

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
        found.check(!name.eq_ignore_ascii_case("host"), place.key(name), || {
            format!("one Host goes out: write `authority: {value}` in the place of the header")
        });
    }
}

/// What kind of request a check makes, and what cannot go with that.
pub(super) fn kind(scenario: &Scenario, check: &Check, place: &Node, found: &mut Found) {
    let kinds = ["send", "grpc", "websocket"];
    let given: Vec<_> = kinds.into_iter().filter(|key| place.has(key)).collect();
    if let [one, other, ..] = given.as_slice() {
        let why = "a check makes one kind of request";
        found.add(place.key(other), format!("`{one}` and `{other}` exclude each other: {why}"));
    }
    let key = given.first().copied().unwrap_or("send");
    found.check(!check.send.is_empty(), place.at(key).place(), || {
        format!("check `{}` sends nothing", check.name)
    });
    calls(&check.grpc, place.at("grpc"), found);
    let grpc = !check.grpc.is_empty();
    found.check(!grpc || !place.has("http"), place.key("http"), || "gRPC is HTTP/2: leave `http` out".into());
    let at = place.at("expect");
    let told = check.expect.headers.contains_key("grpc-status");
    found.check(!grpc || told || check.expect.status != Some(200), at.at("status").place(), || {
        "what came of a gRPC call says its `grpc-status`, not its `status`: 0 is an answer".into()
    });
    found.check(check.expect.grpc_status.is_none(), at.key("grpc-status"), || {
        "`grpc-status` is for a check with `grpc`; elsewhere it stands among `headers`".into()
    });
    found.check(check.websocket.is_empty() || check.http == Http::Http1, place.key("http"), || {
        "a WebSocket is opened over HTTP/1.1 here (RFC 6455): leave `http` out".into()
    });
    for (number, send) in check.send.iter().enumerate() {
        let at = place.at(key).nth(number).place();
        if check.http == Http::None {
            found.check(!send.is_empty(), at, || "it sends no bytes".into());
        } else {
            sent(send, check.http, at, found);
        }
    }
    bytes(check, place, found);
    body(scenario, check, place, found);
    headers(&check.headers, place.at("headers"), found);
    headers(&check.trailers, place.at("trailers"), found);
    let (sni, authority) = (check.sni.as_deref(), check.authority.as_deref());
    server_name(sni, place.at("sni").place(), found);
    self::authority(authority, check.http == Http::Http2, place.at("authority").place(), found);
}

pub(super) fn calls(methods: &OneOrMany, place: &Node, found: &mut Found) {
    for (number, method) in methods.iter().enumerate() {
        let named = method.split_once('/').is_some_and(|(service, method)| {
            !service.is_empty() && !method.is_empty() && !method.contains('/')
        });
        found.check(named, place.nth(number).place(), || {
            format!("`{method}` is not a gRPC method: write `package.Service/Method`")
        });
    }
}

/// Bytes alone have none of what a request in HTTP has, and no answer in HTTP comes back.
fn bytes(check: &Check, place: &Node, found: &mut Found) {
    let at = place.at("expect");
    if check.http != Http::None {
        found.check(check.expect.reply.is_none(), at.key("reply"), || {
            "`reply` is for a check with `http: none`; an answer in HTTP has a `status`".into()
        });
        return;
    }
    let of_http = [
        ("websocket", !check.websocket.is_empty()),
        ("authority", check.authority.is_some()),
        ("headers", !check.headers.is_empty()),
        ("body", check.body.is_some()),
        ("body-file", check.body_file.is_some()),
        ("trailers", !check.trailers.is_empty()),
    ];
    for (key, _) in of_http.into_iter().filter(|(_, there)| *there) {
        found.add(place.key(key), format!("`{key}` is HTTP, and `http` is `none`"));
    }
    let answers = [("status", check.expect.status.is_some()), ("by", check.expect.is_any_answer())];
    for (key, _) in answers.into_iter().filter(|(_, there)| *there) {
        found.add(at.key(key), "with `http: none` no status comes back: expect a `reply`");
    }
}

fn body(scenario: &Scenario, check: &Check, place: &Node, found: &mut Found) {
    let Some(path) = &check.body_file else { return };
    found.check(check.body.is_none(), place.key("body-file"), || {
        "`body` and `body-file` exclude each other: a request has one body".into()
    });
    let whole = scenario.root.join(path);
    found.check(whole.is_file(), place.at("body-file").place(), || {
        format!("`{}` is not a file, seen from {}", path.display(), scenario.root.display())
    });
}

/// Empty for none (RFC 6066, section 3, has no other names than those of DNS).
pub(super) fn server_name(name: Option<&str>, place: Place, found: &mut Found) {
    let wrong = name.filter(|name| !name.is_empty() && DnsName::try_from(*name).is_err());
    if let Some(name) = wrong {
        found.add(place, format!("`{name}` is not a DNS name, and SNI carries no other; `\"\"` sends none"));
    }
}

pub(super) fn authority(authority: Option<&str>, is_parsed: bool, place: Place, found: &mut Found) {
    let Some(authority) = authority else { return };
    let fits =
        HeaderValue::from_str(authority).is_ok() && (!is_parsed || authority.parse::<Authority>().is_ok());
    found.check(fits, place, || format!("{authority:?} cannot go out as `Host` or `:authority`"));
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
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err("its method has a character that none may have (RFC 9110, section 5.6.2)");
    }
    let absolute = target.starts_with("http://") || target.starts_with("https://");
    // The forms of RFC 9112, section 3.2.
    match method {
        "CONNECT" if target.parse::<Authority>().is_ok_and(|one| one.port().is_some()) => {}
        "CONNECT" => return Err("CONNECT goes to `host:port`"),
        "OPTIONS" if target == "*" => {}
        _ if !target.starts_with('/') && !absolute => return Err("its target does not start with `/`"),
        _ => {}
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
