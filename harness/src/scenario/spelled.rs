//! What stands for a request of a certain kind, spelled out as one: a gRPC call, a WebSocket's opening
//! handshake. Before the scenario is validated, so that what holds for requests holds for these.

use svidproof_probe::protocol::Http;

use super::{Check, Scenario};

/// A sample of RFC 6455, section 1.3, and what a server makes of it (section 4.2.2): a key is a nonce, and
/// here nobody replays it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// What a server answers that goes on in the other protocol (RFC 9110, section 15.2.2).
pub(super) const SWITCHING: u16 = 101;

pub(super) fn spell_out(scenario: &mut Scenario) {
    for check in scenario.stages.iter_mut().flat_map(|stage| &mut stage.checks) {
        check.sent = check.body.clone().unwrap_or_default().into_bytes();
        if !check.grpc.is_empty() {
            call(check);
        } else if !check.websocket.is_empty() {
            open(check);
        }
    }
}

/// gRPC over HTTP/2, "Requests" and "Responses".
pub(super) fn call(check: &mut Check) {
    check.send = check.grpc.map(|method| format!("POST /{method}"));
    check.http = Http::Http2;
    add(check, &[("content-type", "application/grpc"), ("te", "trailers")]);
    if let Some(status) = check.expect.grpc_status.take() {
        check.expect.status = Some(200);
        check.expect.headers.insert("grpc-status".into(), status.to_string());
    }
}

/// A message as it goes out (gRPC over HTTP/2, "Length-Prefixed-Message"): not compressed, its length,
/// itself.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

/// RFC 6455, sections 4.1 and 4.2.2.
fn open(check: &mut Check) {
    check.send = check.websocket.map(|target| format!("GET {target}"));
    let own = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    add(check, &own);
    if check.expect.status == Some(SWITCHING) {
        check.expect.headers.entry("sec-websocket-accept".into()).or_insert_with(|| ACCEPT.into());
    }
}

/// Headers that the check does not have itself.
fn add(check: &mut Check, own: &[(&str, &str)]) {
    for (name, value) in own {
        if !check.headers.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            check.headers.insert((*name).into(), (*value).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_before_it() {
        assert_eq!(framed(b""), [0; 5]);
        assert_eq!(framed(&[7; 258])[..7], [0, 0, 0, 1, 2, 7, 7]);
    }
}
