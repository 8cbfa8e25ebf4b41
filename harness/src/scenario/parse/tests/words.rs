//! The words for what is sent and for what may come of it: what goes with what.

use super::*;

/// The first check with these keys instead of its own.
fn served(keys: &str) -> String {
    let text = RIGHT.replace("as: friend, to: backend, send: GET /, expect: {status: 200}", keys);
    assert_ne!(text, RIGHT);
    // Nothing else depends on it.
    let text = text.replace(", control: served", ", control: again");
    let again = "      - {check: again, as: friend, to: backend, send: GET /, expect: {status: 200}}\n      \
                 - {check: called, as: friend, to: backend, grpc: a.B/E, expect: {grpc-status: 0}}\nbroken:\n";
    text.replace("broken:\n", again)
}

#[rstest]
#[case("as: friend, to: backend, tls: none, send: GET /, expect: {cut-off: not-tls}, control: again")]
#[case(
    "as: friend, to: backend, sni: other.example, send: GET /, expect: {cut-off: no-chain}, control: again"
)]
#[case("as: friend, to: backend, sni: '', send: GET /, expect: {cut-off: network-rbac}, control: again")]
#[case(
    "as: friend, to: backend, authority: 'a.b:1', body: x, trailers: {x-end: a}, send: PUT /, expect: {status: 200}"
)]
#[case(
    "as: friend, to: backend, send: [OPTIONS *, 'CONNECT a.b:443', get /, M-SEARCH /], expect: {status: 200}"
)]
#[case("as: friend, to: backend, http: none, send: PING, expect: {reply: PONG}")]
#[case("as: friend, to: backend, http: none, send: PING, expect: {alert: 46}, control: again")]
#[case("as: nobody, to: page, http: none, send: PING, expect: {reply: PONG}")]
#[case("as: friend, to: backend, grpc: a.B/C, body: message, expect: {grpc-status: 0}")]
#[case("as: friend, to: backend, grpc: [a.B/C, a.B/D], expect: {grpc-status: 7}, control: called")]
#[case("as: friend, to: backend, grpc: a.B/C, expect: {status: 403}, control: called")]
#[case("as: friend, to: backend, grpc: a.B/C, expect: {alert: 46}, control: again")]
#[case("as: friend, to: backend, websocket: /chat, expect: {status: 101}")]
#[case("as: friend, to: backend, send: GET /, expect: {by: application}")]
#[case("as: friend, to: backend, grpc: a.B/C, expect: {by: application, contains: [a], headers: {a: b}}")]
fn what_can_be_said_is_read(#[case] keys: &str) {
    assert_eq!(mistakes(&served(keys)), "");
}

#[rstest]
#[case("as: friend, to: backend, expect: {status: 200}", "9: check `served` sends nothing")]
#[case(
    "as: friend, to: backend, send: GET /, grpc: a.B/C, expect: {grpc-status: 0}",
    "63: `send` and `grpc` exclude each other: a check makes one kind of request"
)]
#[case(
    "as: friend, to: backend, grpc: C, expect: {grpc-status: 0}",
    "56: `C` is not a gRPC method: write `package.Service/Method`"
)]
#[case(
    "as: friend, to: backend, grpc: a.B/C, http: '2', expect: {grpc-status: 0}",
    "gRPC is HTTP/2: leave `http` out"
)]
#[case(
    "as: friend, to: backend, grpc: a.B/C, expect: {status: 200}",
    "what came of a gRPC call says its `grpc-status`, not its `status`: 0 is an answer"
)]
#[case(
    "as: friend, to: backend, websocket: /chat, expect: {status: 403}, control: again",
    "control `again` opens no WebSocket: where none is let through, everyone is refused"
)]
#[case(
    "as: friend, to: backend, grpc: a.B/C, expect: {grpc-status: 7}, control: again",
    "control `again` makes no gRPC call: where none is let through, everyone is refused"
)]
#[case("as: friend, to: backend, send: GET /, expect: {by: envoy}", "nothing is expected: give `status`")]
#[case(
    "as: nobody, to: page, send: GET /, expect: {by: application}",
    "who answered is told by counters, and none can be had at `page`"
)]
#[case(
    "as: friend, to: backend, http: none, send: PING, expect: {by: application}",
    "with `http: none` no status comes back: expect a `reply`"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {by: application, counts: authz-open}",
    "with an `alert`, `counts` says what is counted of a handshake"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {grpc-status: 0}",
    "`grpc-status` is for a check with `grpc`"
)]
#[case("as: friend, to: backend, grpc: a.B/C, expect: {status: 200, grpc-status: 0}", "exclude each other")]
#[case(
    "as: friend, to: backend, grpc: a.B/C, expect: {grpc-status: 7}",
    "expects a refusal and has no `control`"
)]
#[case(
    "as: friend, to: backend, websocket: /, http: '2', expect: {status: 101}",
    "a WebSocket is opened over HTTP/1.1 here"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {reply: PONG}",
    "`reply` is for a check with `http: none`"
)]
#[case(
    "as: friend, to: backend, http: none, send: PING, expect: {status: 200}",
    "no status comes back: expect a `reply`"
)]
#[case("as: friend, to: backend, http: none, send: '', expect: {reply: PONG}", "it sends no bytes")]
#[case("as: friend, to: backend, http: none, send: PING, expect: {reply: ''}", "`reply` is left blank")]
#[case(
    "as: friend, to: backend, http: none, send: PING, expect: {reply: a, lacks: [b]}",
    "`lacks` needs `status`: bytes alone are no answer in HTTP"
)]
#[case(
    "as: friend, to: backend, http: none, send: PING, headers: {a: b}, expect: {reply: PONG}",
    "`headers` is HTTP, and `http` is `none`"
)]
#[case(
    "as: friend, to: backend, http: none, send: PING, authority: a.b, expect: {reply: PONG}",
    "`authority` is HTTP"
)]
#[case(
    "as: friend, to: backend, send: GET /, headers: {Host: a.b}, expect: {status: 200}",
    "one Host goes out: write `authority: a.b`"
)]
#[case(
    "as: friend, to: backend, send: GET /, authority: \"a\\nb\", expect: {status: 200}",
    "cannot go out as `Host` or `:authority`"
)]
#[case(
    "as: friend, to: backend, http: 2, send: GET /, authority: 'a b', expect: {status: 200}",
    "cannot go out as `Host` or `:authority`"
)]
#[case(
    "as: friend, to: backend, send: GET /, trailers: {'a b': c}, expect: {status: 200}",
    "`a b` is not the name of a header"
)]
#[case(
    "as: friend, to: backend, send: GET /, body: a, body-file: b, expect: {status: 200}",
    "`body` and `body-file` exclude each other"
)]
#[case(
    "as: friend, to: backend, send: GET /, body-file: none.bin, expect: {status: 200}",
    "74: `none.bin` is not a file, seen from /nowhere"
)]
#[case(
    "as: friend, to: backend, send: GET /, sni: 'a b', expect: {status: 200}",
    "`a b` is not a DNS name, and SNI carries no other"
)]
#[case(
    "as: friend, to: backend, tls: none, sni: a.b, send: GET /, expect: {status: 200}",
    "plain text carries no server name"
)]
#[case(
    "as: friend, to: backend, tls: none, http: 2, send: GET /, expect: {status: 200}",
    "in plain text (`tls: none`) HTTP/1.1 is spoken here"
)]
#[case(
    "as: friend, to: backend, tls: none, send: GET /, expect: {alert: 46}, control: again",
    "reads no alert: expect `cut-off: not-tls`"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {cut-off: not-tls}, control: again",
    "who speaks TLS is not cut off for want of it: add `tls: none`"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {cut-off: no-chian}, control: again",
    "unknown value `no-chian`: did you mean `no-chain`?"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {cut-off: no-chain}",
    "`served` expects a refusal and has no `control`"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {cut-off: no-chain, alert: 46}, control: again",
    "`alert` and `cut-off` exclude each other"
)]
#[case(
    "as: friend, to: backend, send: GET /, expect: {cut-off: no-chain, body: x}, control: again",
    "`body` needs `status`: after a cut there is no answer"
)]
#[case(
    "as: nobody, to: page, send: GET /, expect: {cut-off: no-chain}, control: again",
    "a refusal needs evidence"
)]
#[case("as: friend, to: backend, send: CONNECT /, expect: {status: 200}", "CONNECT goes to `host:port`")]
#[case("as: friend, to: backend, send: GET *, expect: {status: 200}", "its target does not start with `/`")]
#[case(
    "as: friend, to: backend, send: 'G(T /', expect: {status: 200}",
    "its method has a character that none may have"
)]
#[case("as: friend, to: backend, send: GET /, expect: {status: 100}", "expected 101, or 200 to 599")]
fn what_does_not_go_together_is_told_with_its_place(#[case] keys: &str, #[case] said: &str) {
    let all = mistakes(&served(keys));
    let said = said
        .split_once(": ")
        .filter(|(column, _)| column.parse::<u16>().is_ok())
        .map_or_else(|| said.to_owned(), |(column, said)| format!("x.yaml:18:{column}: {said}"));
    assert!(all.contains("x.yaml:18:") && all.contains(&said), "{all}");
}

#[rstest]
#[case("sni: a.b", "endpoint `page` has `sni` but no `identity`")]
#[case("identity: /page, sni: 'a b'", "`a b` is not a DNS name")]
fn the_name_that_an_endpoint_is_asked_by_is_one(#[case] more: &str, #[case] said: &str) {
    let all = mistakes(&RIGHT.replace("port: 80}", &format!("port: 80, {more}}}")));
    assert!(all.contains(said), "{all}");
}

#[rstest]
#[case("http: ['1.1', '2']", "http: [none]", "the requests of a surface are HTTP")]
#[case("http: ['1.1', '2']", "http: ['2'], tls: none", "in plain text (`tls: none`) HTTP/1.1 is spoken here")]
#[case("http: ['1.1', '2']", "sni: 'a b'", "`a b` is not a DNS name")]
#[case("http: ['1.1', '2']", "authority: \"a\\nb\"", "cannot go out")]
#[case(
    "http: ['1.1', '2']",
    "grpc: a.B/C",
    "`grpc` and `methods` exclude each other: a call is a POST of HTTP/2"
)]
#[case("methods: [GET, BREW], paths: [/, '/{x*8}']", "grpc: [a.B/C, C]", "`C` is not a gRPC method")]
#[case("methods: [GET, BREW], paths: [/, '/{x*8}']", "grpc: a.B/C", "`grpc` and `http` exclude each other")]
#[case("methods: [GET, BREW], paths: [/, '/{x*8}'], http: ['1.1', '2']", "grpc: []", "`grpc` is empty")]
#[case(
    "methods: [GET, BREW], paths: [/, '/{x*8}'], http: ['1.1', '2']",
    "grpc: a.B/C, tls: none",
    "HTTP/1.1 is spoken"
)]
#[case("methods: [GET, BREW], paths: [/, '/{x*8}']", "paths: /", "`methods` is empty, so nothing is dialled")]
fn a_surface_is_held_to_the_same(#[case] right: &str, #[case] wrong: &str, #[case] said: &str) {
    let all = mistakes(&whole().replace(right, wrong));
    assert!(all.contains(said), "{all}");
}

/// The control of a refusal over TLS must have come by the same way.
#[rstest]
#[case("tls: none", "control `served` speaks plain text (`tls: none`): it says nothing about who speaks TLS")]
#[case(
    "sni: other.example",
    "control `served` sends another server name (`sni`), which may lead to another filter chain: it says \
     nothing about this refusal"
)]
fn a_control_takes_the_way_of_its_refusal(#[case] key: &str, #[case] said: &str) {
    let all = mistakes(&RIGHT.replace("{check: served,", &format!("{{check: served, {key},")));
    assert!(all.lines().any(|line| line == format!("x.yaml:19:116: {said}")), "{all}");
}

/// A surface of calls has each of them as a check has it.
#[test]
fn a_surface_may_be_of_calls() {
    let requests = "methods: [GET, BREW], paths: [/, '/{x*8}'], http: ['1.1', '2'], headers: [{}, {a: b}]";
    let text = whole();
    assert!(text.contains(requests));
    let calls = "grpc: [a.B/C, a.B/D], body: tada, headers: [{}, {a: b}]";
    let scenario = read(&text.replace(requests, calls), Path::new("x.yaml"), Path::new("/nowhere")).unwrap();
    let checks = &scenario.stages[0].checks;
    let checks: Vec<_> =
        checks.iter().filter(|check| check.name.starts_with("backend: surface of all")).collect();
    assert_eq!(checks.len(), 2, "one for each set of headers");
    for check in checks {
        assert_eq!(check.send.iter().collect::<Vec<_>>(), ["POST /a.B/C", "POST /a.B/D"]);
        assert_eq!(check.http, svidproof_probe::protocol::Http::Http2);
        assert_eq!(
            (check.headers["content-type"].as_str(), check.headers["te"].as_str()),
            ("application/grpc", "trailers")
        );
        assert_eq!(check.sent, b"\0\0\0\0\x04tada");
        assert!(!check.expect.is_stated());
    }
}
