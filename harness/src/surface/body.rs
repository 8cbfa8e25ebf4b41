//! What of an answer's body counts: a digest of it without what differs from run to run. docs/surface.md
//! lists what that is.

use std::net::{IpAddr, SocketAddr};

use jiff::civil;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Of an HTTP date as servers write it (RFC 9110 5.6.7).
const HTTP_DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The letters and digits of the names that Kubernetes makes up.
const MADE_UP: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Nothing that is told by its shape is longer: a host name has 253 characters at most, and a port.
const WIDEST: usize = 260;

/// `json 2f1d6ac0b3e4`, `text 90b1…`, or `no body`. `cell` is the id that the request carried, which an
/// application may repeat.
pub(super) fn fingerprint(body: &str, cell: &str) -> String {
    if body.is_empty() {
        return "no body".into();
    }
    match json(body) {
        Some(canonical) => format!("json {}", digest(normalised(&canonical, cell))),
        None => format!("text {}", digest(normalised(body, cell))),
    }
}

/// Whether such words end a line: those of the application's own answers alone do.
pub(super) fn is_fingerprinted(words: &str) -> bool {
    let kinds = [" json ", " text "];
    words.ends_with(" no body") || kinds.iter().any(|kind| words.contains(kind))
}

/// The first 48 bits of the SHA-256, in hexadecimal.
pub(super) fn digest(text: impl AsRef<[u8]>) -> String {
    hex::encode(&Sha256::digest(text)[..6])
}

/// An object or an array, without white space and by the order of its keys.
fn json(body: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(body).ok()?;
    value.sort_all_objects();
    (value.is_object() || value.is_array()).then(|| value.to_string())
}

/// A dial's id is its cell's, a dot, and which window and pod it was: `….3.a0`, `….3.b10`.
fn without_dials(text: &str, cell: &str) -> String {
    let mut parts = text.split(cell);
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let dial = part.strip_prefix(".a").or_else(|| part.strip_prefix(".b"));
        normal += "<cell>";
        normal += dial.map_or(part, |dial| dial.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    normal
}

fn normalised(text: &str, cell: &str) -> String {
    let text = if cell.is_empty() { text.into() } else { without_dials(text, cell) };
    let mut normal = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(after) = without_http_date(rest) {
            normal += "<time>";
            rest = after;
            continue;
        }
        // The widest run of characters that could be one thing, then ever less of its front:
        // `address:10.0.0.1:80` has an address at its end.
        let run = &rest[..rest.bytes().take(WIDEST).take_while(|byte| is_word(*byte)).count()];
        let word = run.trim_end_matches(['.', ':', '-', '_', '+']);
        if let Some(name) = named(word) {
            normal += &name;
            rest = &rest[word.len()..];
            continue;
        }
        let step = match run.find(|c: char| !c.is_ascii_alphanumeric()) {
            Some(part) => part + 1,
            None => run.len().max(first.len_utf8()),
        };
        normal += &rest[..step];
        rest = &rest[step..];
    }
    normal
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_' | b'+')
}

fn without_http_date(text: &str) -> Option<&str> {
    let (date, rest) = text.split_at_checked(HTTP_DATE.len())?;
    (date.ends_with(" GMT") && jiff::fmt::rfc2822::parse(date).is_ok()).then_some(rest)
}

/// What stands for a word that differs from run to run.
fn named(word: &str) -> Option<String> {
    let stands = if is_uuid(word) {
        "<uuid>"
    } else if word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "<digest>"
    } else if word.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok() {
        "<address>"
    } else if is_date(word) {
        "<date>"
    } else if is_time(word) {
        "<time>"
    } else {
        return pod(word).or_else(|| port(word));
    };
    Some(stands.into())
}

fn is_uuid(word: &str) -> bool {
    let groups = word
        .split('-')
        .map(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(group.len()));
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

/// `2026-10-02`. By its shape first: the parser takes more than that, such as `20261002`, which may be a
/// number.
fn is_date(word: &str) -> bool {
    word.len() == 10 && word.split('-').map(str::len).eq([4, 2, 2]) && word.parse::<civil::Date>().is_ok()
}

/// `08:49:37`, `08:49:37.123`, `2026-10-02T08:49:37.123Z`.
fn is_time(word: &str) -> bool {
    let clock = |text: &str| {
        let whole = text.split('.').next().unwrap_or_default();
        whole.split(':').map(str::len).eq([2, 2, 2]) && text.parse::<civil::Time>().is_ok()
    };
    match word.split_at_checked(10) {
        Some((date, _)) if is_date(date) => {
            word.parse::<civil::DateTime>().is_ok() || word.parse::<jiff::Timestamp>().is_ok()
        }
        _ => clock(word),
    }
}

/// A pod of a Deployment: `backend-7d9f8c6b5d-x2x4z`.
fn pod(word: &str) -> Option<String> {
    let made_up = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| MADE_UP.contains(c))
    };
    let (set, _) = word.rsplit_once('-').filter(|(_, pod)| made_up(pod, 5..=5))?;
    let (name, _) = set.rsplit_once('-').filter(|(_, hash)| made_up(hash, 8..=10))?;
    (!name.is_empty()).then(|| format!("{name}-<pod>"))
}

/// A host with a port: `example.com:30443`, `localhost:8080`.
fn port(word: &str) -> Option<String> {
    let (host, port) = word.rsplit_once(':')?;
    let is_host = host == "localhost"
        || (host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')));
    let has_letters = host.chars().any(|c| c.is_ascii_alphabetic());
    (is_host && has_letters && port.parse::<u16>().is_ok()).then(|| format!("{host}:<port>"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Request served by backend-7d9f8c6b5d-x2x4z\n", "Request served by backend-<pod>\n")]
    #[case("X-Request-Id: 9fa0cdbf-f4c7-4e8a-9b1d-1f2e3d4c5b6a", "X-Request-Id: <uuid>")]
    #[case("X-Svidproof-Cell: r1.symbank.one.3\n", "X-Svidproof-Cell: <cell>\n")]
    #[case("X-Svidproof-Cell: r1.symbank.one.3.b10\n", "X-Svidproof-Cell: <cell>\n")]
    #[case("r1.symbank.one.3.a0, r1.symbank.one.3.html", "<cell>, <cell>.html")]
    #[case(
        "By=spiffe://a.org/b;Hash=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef;Subject=\"\"",
        "By=spiffe://a.org/b;Hash=<digest>;Subject=\"\""
    )]
    #[case("X-Forwarded-For: 10.244.0.5,127.0.0.1", "X-Forwarded-For: <address>,<address>")]
    #[case("remote address:10.244.0.5:8080.", "remote address:<address>.")]
    #[case("[fd00::5]:80 and fd00::5", "[<address>]:80 and <address>")]
    #[case("Host: example.com:30443", "Host: example.com:<port>")]
    #[case("http://localhost:8080/", "http://localhost:<port>/")]
    #[case("{\"at\":\"2026-10-02T08:49:37.123Z\"}", "{\"at\":\"<time>\"}")]
    #[case("2026-10-02T08:49:37+02:00", "<time>")]
    #[case("on 2026-10-02 at 08:49:37", "on <date> at <time>")]
    #[case("Date: Sun, 06 Nov 1994 08:49:37 GMT!", "Date: <time>!")]
    #[case("Sun, 06 Nov 1994 08:49:37 EST", "Sun, 06 Nov 1994 <time> EST")]
    #[case("no date, though it ends in GMT", "no date, though it ends in GMT")]
    #[case("not a date and of its length GMT", "not a date and of its length GMT")]
    #[case("at 08:49:37.123456", "at <time>")]
    #[case("2026-10-02t08:49:37Z", "<time>")]
    #[case("backend-7d9f8c6b5d-x2x4z", "backend-<pod>")]
    #[case("backend-7d9f8c6b5d-x2x4", "backend-7d9f8c6b5d-x2x4")]
    #[case("backend-7d9f8c6b5d-aeiou", "backend-7d9f8c6b5d-aeiou")]
    #[case("backend-7d9f-x2x4z", "backend-7d9f-x2x4z")]
    #[case("ünïcödé: Sun, ", "ünïcödé: Sun, ")]
    // What a response is about stays.
    #[case("{\"balance\":10.95}", "{\"balance\":10.95}")]
    #[case(
        "48-49 Doughty ST, Holborn - London WC1N 2LX.UK",
        "48-49 Doughty ST, Holborn - London WC1N 2LX.UK"
    )]
    #[case("HTTP/1.1 GET /balances/balance_1?a=1:2", "HTTP/1.1 GET /balances/balance_1?a=1:2")]
    #[case(
        "spiffe://example.org/ns/default/sa/default/frontend-2",
        "spiffe://example.org/ns/default/sa/default/frontend-2"
    )]
    #[case(
        "20261002 1.2.3 10:20 cafe 999.1.1.1 front-proxy-https",
        "20261002 1.2.3 10:20 cafe 999.1.1.1 front-proxy-https"
    )]
    fn what_differs_from_run_to_run_goes(#[case] body: &str, #[case] expected: &str) {
        assert_eq!(normalised(body, "r1.symbank.one.3"), expected);
    }

    #[rstest]
    #[case("", "", true)]
    #[case("{\"a\": 1, \"b\": [1, 2]}", "{\"b\":[1,2],\n\"a\":1}", true)]
    #[case("[1,2]", "[2,1]", false)]
    #[case(
        "{\"id\":\"9fa0cdbf-f4c7-4e8a-9b1d-1f2e3d4c5b6a\"}",
        "{\"id\":\"00000000-f4c7-4e8a-9b1d-1f2e3d4c5b6a\"}",
        true
    )]
    #[case("{\"balance\":10.95}", "{\"balance\":10.96}", false)]
    #[case("a  b", "a b", false)]
    // Numbers that are all of the body are text: the zero at the end may be what changed.
    #[case("10.950", "10.95", false)]
    fn bodies_are_alike(#[case] one: &str, #[case] other: &str, #[case] alike: bool) {
        assert_eq!(fingerprint(one, "cell") == fingerprint(other, "cell"), alike);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn words_are_kept(body in "([a-zé]{1,8}[ ,;\\n]){0,40}") {
            prop_assert_eq!(normalised(&body, "<>"), body);
        }

        #[test]
        fn runs_are_alike(before in "[a-z ]{0,20}", one in any::<([u8; 16], SocketAddr)>(), other in any::<([u8; 16], SocketAddr)>()) {
            let body = |(id, at): ([u8; 16], SocketAddr)| {
                let hex = hex::encode(id);
                let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
                let v4 = SocketAddr::new(IpAddr::from([10, id[0], id[1], id[2]]), at.port());
                format!("{before} {} {hex};{uuid};at:{v4}", at.ip())
            };
            prop_assert_eq!(fingerprint(&body(one), "<>"), fingerprint(&body(other), "<>"));
        }
    }

    #[test]
    fn a_body_of_one_endless_word_takes_no_time() {
        assert_eq!(normalised(&"a.".repeat(128 << 10), "cell").len(), 256 << 10);
    }

    #[test]
    fn a_fingerprint_says_how_it_was_taken() {
        assert_eq!(fingerprint("", "cell"), "no body");
        assert_eq!(fingerprint("abc", "cell"), "text ba7816bf8f01");
        assert_eq!(fingerprint("{}", "cell"), "json 44136fa355b3");
    }
}
