//! Each mistake with its place and what would be right; what is right is read.

mod early;
mod fuzz;
mod machines;
mod words;

use rstest::rstest;

use super::*;

/// A scenario with nothing wrong in it; a case replaces one text by another.
const RIGHT: &str = "\
scenario: small
trust-domain: example.org
spire: {namespace: spire, server: spire-server, socket-dir: /run/spire}
install: []
registration:
  - {id: /backend, select: [\"k8s:ns:default\"]}
endpoints:
  backend: {service: default/backend, port: 9001, identity: /backend, admin: 9901}
  proxy: {service: default/proxy, port: 443, identity: /proxy, admin: 9901, upstream: backend}
  page: {service: default/page, port: 80}
clients:
  friend: /friend
  nobody: none
  outsider: {id: /friend, outside: true}
stages:
  - stage: one
    checks:
      - {check: served, as: friend, to: backend, send: GET /, expect: {status: 200}}
      - {check: refused, as: [nobody], to: backend, send: [GET /], expect: {alert: certificate_required}, \
      control: served}
      - {check: page, as: nobody, to: page, send: GET /, expect: {status: 200}}
broken:
  - {broken: open, stage: one, values: {}, red: [refused]}
";

fn mistakes(text: &str) -> String {
    match read(text, Path::new("x.yaml"), Path::new("/nowhere")) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_right_is_read() {
    assert_eq!(mistakes(RIGHT), "");
}

#[rstest]
#[case("    checks:", "    chekcs:", "x.yaml:17:5: unknown key `chekcs`: did you mean `checks`?")]
#[case("outside: true", "outsid: true", "x.yaml:14:27: unknown key `outsid`: did you mean `outside`?")]
#[case(
    "expect: {status: 200}}\n      - {check: refused",
    "expect: {sttaus: 200}}\n      - {check: refused",
    "x.yaml:18:72: unknown key `sttaus`: did you mean `status`?"
)]
#[case("port: 80}", "port: many}", "x.yaml:10:39: expected a whole number, not negative and not too large")]
#[case("install: []\n", "install: []\ninstall: []\n", "x.yaml:5:1: the key `install` stands here twice")]
#[case(
    "example.org",
    "spiffe://example.org",
    "x.yaml:2:15: `spiffe://example.org` is not a trust domain: write it without `spiffe://`"
)]
#[case(
    "example.org",
    "Example.org",
    "x.yaml:2:15: `Example.org` is not a trust domain: only lower-case letters, digits, `.`, `-` and `_` may \
     stand in it"
)]
#[case(
    "small",
    "Very Small",
    "x.yaml:1:11: `Very Small` cannot name a scenario: it goes into files, headers and logs; lower-case \
     letters, digits and `-` are fit for all of them"
)]
#[case(
    "install: []",
    "install: [[{release: a, chart: helm/a, namespace: n}]]",
    "x.yaml:4:32: chart `helm/a` is not there, seen from /nowhere: there is none"
)]
#[case(
    "{id: /backend, select",
    "{id: backend, select",
    "x.yaml:6:10: `backend` is not the path of a SPIFFE ID: it does not start with `/`"
)]
#[case(
    "friend: /friend",
    "friend: /friend/",
    "x.yaml:12:11: `/friend/` is not the path of a SPIFFE ID: it has an empty segment"
)]
#[case(
    "friend: /friend",
    "friend: /a/../b",
    "x.yaml:12:11: `/a/../b` is not the path of a SPIFFE ID: it has a segment `.` or `..`"
)]
#[case(
    "friend: /friend",
    "friend: /a b",
    "x.yaml:12:11: `/a b` is not the path of a SPIFFE ID: only letters, digits, `.`, `-` and `_` may stand \
     between the `/`"
)]
#[case(
    "\"k8s:ns:default\"",
    "default",
    "x.yaml:6:29: selector `default` has no type: write `type:value`, such as `k8s:ns:default`"
)]
#[case("default/page", "page", "x.yaml:10:19: `page` does not name a Service: write `namespace/name`")]
#[case(
    "port: 80}",
    "port: 80, dns: a.b}",
    "x.yaml:10:43: endpoint `page` has `dns` but no `identity`: without an identity it is plain HTTP"
)]
#[case(
    "port: 80}",
    "port: 80, app-log: app}",
    "x.yaml:10:43: endpoint `page` has `app-log` but no `admin`: the two are read together as evidence"
)]
#[case(
    "upstream: backend",
    "upstream: backnd",
    "x.yaml:9:87: endpoint `backnd` is not defined: did you mean `backend`?"
)]
#[case("upstream: backend", "upstream: proxy", "x.yaml:9:87: `upstream` runs in a circle: proxy -> proxy")]
#[case(
    "{check: served, as: friend",
    "{check: served, as: freind",
    "x.yaml:18:29: client `freind` is not defined: did you mean `friend`?"
)]
#[case(
    "{check: served, as: friend",
    "{check: served, as: outsider",
    "x.yaml:18:29: client `outsider` dials from outside the cluster, and endpoint `backend` is not \
     `published`"
)]
#[case("{check: served, as: friend", "{check: served, as: []", "x.yaml:18:29: check `served` has no client")]
#[case("to: page", "to: pages", "x.yaml:20:39: endpoint `pages` is not defined: did you mean `page`?")]
#[case(
    "control: served",
    "control: serves",
    "x.yaml:19:116: control `serves` is not a check of stage `one`: did you mean `served`?"
)]
#[case(
    "control: served",
    "control: refused",
    "x.yaml:19:116: control `refused` is itself a refusal: a control must succeed"
)]
#[case(
    "control: served",
    "control: page",
    "x.yaml:19:116: control `page` goes to `page`, not to `backend`: it says nothing about this refusal"
)]
#[case(
    ", control: served",
    "",
    "x.yaml:19:17: `refused` expects a refusal and has no `control`: name a check of this stage that \
     succeeds at `backend`"
)]
#[case(
    "identity: /backend, admin: 9901}",
    "identity: /backend}",
    "x.yaml:19:44: a refusal needs evidence, and none can be had at `backend`: give the endpoint that \
     refuses the port of its Envoy's `admin`, or, where nobody may read it, `evidence: client-side` (a \
     `cut-off`, `counts` and `by` are told by counters alone)"
)]
#[case(
    "identity: /backend, admin: 9901}",
    "identity: /backend, admin: 9901, evidence: client-side}",
    "x.yaml:8:84: endpoint `backend` has `admin`, so there is more evidence than the client's side"
)]
#[case(
    "check: page",
    "check: served",
    "x.yaml:20:17: stage `one` has two checks `served`: controls and reports go by the name"
)]
#[case(
    "send: [GET /]",
    "send: [GET]",
    "x.yaml:19:60: `GET` is not a request: it has no target; write `METHOD TARGET`, such as `GET /`"
)]
#[case(
    "certificate_required",
    "certificate_requierd",
    "x.yaml:19:84: TLS alert `certificate_requierd` is not defined: did you mean `certificate_required`?"
)]
#[case(
    "certificate_required",
    "TLSV1_CERTIFICATE_REQUIRED",
    "x.yaml:19:84: alerts go by their RFC name: did you mean `certificate_required`?"
)]
#[case("certificate_required", "3", "x.yaml:19:84: no TLS alert has the number 3")]
#[case(
    "alert: certificate_required",
    "alert: 116, body: x",
    "x.yaml:19:89: `body` needs `status`: after an alert there is no answer"
)]
#[case(
    "alert: certificate_required",
    "alert: 116, status: 403",
    "x.yaml:19:77: `status` and `alert` exclude each other: after an alert or a cut there is no answer"
)]
#[case(
    "{alert: certificate_required}",
    "{}",
    "x.yaml:19:76: nothing is expected: give `status`, `alert` or `cut-off`"
)]
#[case(
    "to: page, send: GET /,",
    "to: page, send: GET /, http: \"2\",",
    "x.yaml:20:64: endpoint `page` is plain HTTP, which is HTTP/1.1 here"
)]
#[case(
    "to: page, send: GET /, expect: {status: 200}",
    "to: page, send: GET /, expect: {status: 200, upstream: {san: 1}}",
    "x.yaml:20:80: endpoint `page` has no `upstream` that could have counted this"
)]
#[case(
    "stage: one, values: {}",
    "stage: two, values: {}",
    "x.yaml:22:27: stage `two` is not defined: expected one of `one`"
)]
#[case("values: {}", "values: {backend: 1}", "x.yaml:22:41: release `backend` is not defined: there is none")]
#[case(
    "red: [refused]",
    "red: [refuse]",
    "x.yaml:22:50: `refuse` is not a check of stage `one`: did you mean `refused`?"
)]
fn a_mistake_is_told_with_its_place_and_what_would_be_right(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] expected: &str,
) {
    assert!(RIGHT.contains(right));
    let all = mistakes(&RIGHT.replacen(right, wrong, 1));
    assert!(all.lines().any(|line| line == expected), "{all}");
}

/// `RIGHT` with forged credentials and a surface.
fn whole() -> String {
    RIGHT
        .replace("socket-dir: /run/spire}", "socket-dir: /run/spire, authority-secret: ca}")
        .replace(
            "stages:\n",
            "forged:\n  table: spiffe-validator\n  but:\n    wrong-id: {alert: certificate_unknown}\n    \
             rogue-ca: {alert: 46, counts: chain, finding: odd}\nstages:\n",
        )
        .replace(
            "broken:\n",
            "    forged:\n      - {to: backend, like: friend, send: GET /, but: {wrong-id: {alert: \
             48}}}\n    surface:\n      \
             - {surface: all, as: [friend, nobody], to: backend, methods: [GET, BREW], paths: [/, '/{x*8}'], \
             http: ['1.1', '2'], \
             headers: [{}, {a: b}]}\nbroken:\n",
        )
}

#[test]
fn forged_and_surface_are_written_out_as_checks() {
    let scenario = read(&whole(), Path::new("x.yaml"), Path::new("/nowhere")).unwrap();
    let stage = &scenario.stages[0];
    let check =
        |name: &str| stage.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}"));
    let (rogue, wrong) =
        (check("backend: forged rogue-ca, TLS 1.3"), check("backend: forged wrong-id, TLS 1.2"));
    assert_eq!(
        (rogue.expect.counts, rogue.finding.as_deref()),
        (Some(crate::scenario::Kind::Chain), Some("odd"))
    );
    assert_eq!(rogue.control.as_deref(), Some("backend: forged sound, TLS 1.3"));
    assert_eq!(check("backend: forged sound, TLS 1.3").expect.status, Some(200));
    assert_eq!(
        wrong.expect.alert,
        Some(crate::alert::AlertName::Number(48)),
        "what a stage says goes before what the scenario says"
    );
    let client = &scenario.clients["wrong-id like friend"];
    assert!(client.identity().is_none() && !client.is_nobody());
    let cells = crate::proof::plan::plan(&scenario, stage, "run");
    assert_eq!(
        cells.iter().filter(|cell| cell.check.starts_with("backend: surface of all")).count(),
        2 * 2 * 2 * 2 * 2
    );
    assert!(!check("backend: surface of all over HTTP/2 with a").expect.is_stated());
}

#[rstest]
#[case(
    "  wrong-id:",
    "  wrong-ip:",
    "x.yaml:18:5: forged credential `wrong-ip` is not defined: did you mean `wrong-id`?"
)]
#[case(
    "  wrong-id:",
    "  sound:",
    "x.yaml:18:5: forged credential `sound` is not defined: expected one of `another-key`, `ca-as-leaf`, \
     `dns-only`, `expired`, `id-case`, `id-percent-encoded`, `id-prefix`, `id-slash`, `id-suffix`, \
     `long-chain`, `no-client-auth`, `no-intermediate`, `no-uri`, `nobody`, `not-yet-valid`, \
     `other-trust-domain`, `rogue-ca`, `self-signed`, `two-uris-allowed-first`, `two-uris-allowed-last`, \
     `wrong-id`"
)]
#[case(
    "table: spiffe-validator",
    "table: spiffe-validater",
    "x.yaml:16:10: forged table `spiffe-validater` is not defined: did you mean `spiffe-validator`?"
)]
#[case("  table: spiffe-validator\n", "", "x.yaml:16:3: the key `table` is missing here")]
#[case("  but:", "  butt:", "x.yaml:17:3: unknown key `butt`: did you mean `but`?")]
#[case(
    "send: GET /, but:",
    "send: GET /, table: none, but:",
    "x.yaml:27:57: forged table `none` is not defined: expected one of `plain-validator`, `spiffe-validator`"
)]
#[case(
    ", authority-secret: ca",
    "",
    "x.yaml:15:1: forged credentials take a CA that the trust domain's bundle holds: give \
     `spire.authority-secret`, the Secret of the server's upstream CA"
)]
#[case(
    "{alert: certificate_unknown}",
    "{}",
    "x.yaml:18:15: nothing is expected: give `status`, `alert` or `cut-off`"
)]
#[case(
    "like: friend",
    "like: nobody",
    "x.yaml:27:29: client `nobody` has no SPIFFE ID that a credential could be like"
)]
#[case(
    "- {to: backend",
    "- {to: page",
    "x.yaml:27:14: a refusal needs evidence, and none can be had at `page`: give it `identity` and `admin`"
)]
#[case(
    "but: {wrong-id",
    "but: {wrong-ip",
    "x.yaml:27:56: forged credential `wrong-ip` is not defined: did you mean `wrong-id`?"
)]
#[case(
    "paths: [/,",
    "paths: ['http://x/',",
    "x.yaml:29:89: `GET http://x/` is not a request: its target is absolute, which HTTP/2 has no form for; \
     write `METHOD TARGET`, such as `GET /`"
)]
fn a_mistake_in_forged_or_surface_is_told_with_its_place(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] expected: &str,
) {
    assert!(whole().contains(right));
    let all = mistakes(&whole().replacen(right, wrong, 1));
    assert!(all.lines().any(|line| line == expected), "{all}");
}

#[test]
fn a_table_may_be_named_alone_and_only_in_a_stage() {
    let named = |scenario: &str, stage: &str| {
        let text = whole();
        let (before, rest) = text.split_once("forged:\n  table").unwrap();
        let (_, after) = rest.split_once("stages:").unwrap();
        let stages = format!("stages:{after}").replace(", but: {wrong-id: {alert: 48}}", stage);
        mistakes(&format!("{before}{scenario}{stages}"))
    };
    assert_eq!(named("forged: plain-validator\n", ""), "");
    assert_eq!(named("", ", table: plain-validator"), "");
    assert_eq!(
        named("", ""),
        "x.yaml:22:14: nothing says what must come of the forged credentials: give the scenario \
         `forged: spiffe-validator`, or this one a `table`"
    );
    assert_eq!(
        named("forged: spife-validator\n", ""),
        "x.yaml:15:9: forged table `spife-validator` is not defined: did you mean `spiffe-validator`?"
    );
    assert_eq!(
        named("forged: [spiffe-validator]\n", ""),
        "x.yaml:15:1: invalid type: sequence, expected the name of a table, such as `spiffe-validator`, or a \
         map with `table` and `but`"
    );
}

/// A gRPC denial is a refusal by its trailers; its control is the same call where that succeeds.
#[test]
fn a_denied_call_has_the_call_that_succeeds_for_its_control() {
    let checks = |made: &str| {
        format!(
            "
scenario: world
trust-domain: example.org
spire: {{namespace: spire, server: server, socket-dir: /run}}
install: []
registration: []
endpoints:
  shop: {{service: a/shop, port: 443, identity: /shop, admin: 1}}
clients: {{friend: /friend, blocked: /blocked}}
stages:
  - stage: one
    checks:
      - {{check: friend calls, as: friend, to: shop, send: {made}, expect: {{status: 200}}}}
      - check: blocked does not
        as: blocked
        to: shop
        send: POST /a.B/C
        expect: {{status: 200, headers: {{grpc-status: '7'}}}}
"
        )
    };
    let scenario = super::super::read_text(&checks("POST /a.B/C"));
    let stage = &scenario.stages[0];
    assert_eq!(stage.control_of(&stage.checks[1], "POST /a.B/C"), Some("friend calls"));
    let said = mistakes(&checks("POST /a.B/D"));
    assert!(said.contains("`blocked does not` expects a refusal and has no `control`"), "{said}");
}

#[rstest]
#[case::a_page("page", &["page"])]
#[case::with_one_behind_it("proxy", &["proxy", "backend"])]
#[case::missing("gate", &[])]
fn a_route_goes_on_to_what_stands_behind(#[case] endpoint: &str, #[case] expected: &[&str]) {
    let scenario = read(RIGHT, Path::new("x.yaml"), Path::new("/nowhere")).unwrap();
    assert_eq!(scenario.route(endpoint).collect::<Vec<_>>(), expected);
}

#[test]
fn a_route_in_a_circle_ends() {
    let mut scenario = read(RIGHT, Path::new("x.yaml"), Path::new("/nowhere")).unwrap();
    scenario.endpoints.get_mut("backend").unwrap().upstream = Some("proxy".into());
    assert_eq!(scenario.route("backend").collect::<Vec<_>>(), ["backend", "proxy"]);
}

#[test]
fn a_circle_is_told_where_it_closes_and_not_where_a_way_leads_into_it() {
    let text = RIGHT
        .replace("identity: /backend, admin: 9901}", "identity: /backend, admin: 9901, upstream: proxy}")
        .replace("port: 80}", "port: 80, upstream: proxy}");
    assert_eq!(
        mistakes(&text),
        "x.yaml:8:94: `upstream` runs in a circle: backend -> proxy -> backend\n\
         x.yaml:9:87: `upstream` runs in a circle: proxy -> backend -> proxy"
    );
}

#[rstest]
#[case::ok("a-1", true)]
#[case::of_one("a", true)]
#[case::of_63(&"a".repeat(63), true)]
#[case::too_long(&"a".repeat(64), false)]
#[case::a_dash_first("-a", false)]
#[case::a_dash_last("a-", false)]
#[case::upper_case("A", false)]
#[case::dotted("a.b", false)]
#[case::missing("", false)]
fn a_label_is_as_rfc_1123_has_it(#[case] name: &str, #[case] is: bool) {
    assert_eq!(crate::scenario::is_label(name), is);
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let text = RIGHT
        .replace("friend: /friend", "friend: friend")
        .replace("to: page", "to: pgae")
        .replace("as: [nobody]", "as: [nobdy]");
    let lines: Vec<u64> =
        mistakes(&text).lines().filter_map(|line| line.split(':').nth(1)?.parse().ok()).collect();
    assert_eq!(lines, [12, 19, 20]);
}

#[test]
fn http_and_tls_may_be_written_as_numbers() {
    let text = RIGHT.replace("as: friend, to: backend,", "as: friend, to: backend, http: 2, tls: 1.3,");
    assert_eq!(mistakes(&text), "");
}

#[test]
fn a_file_that_is_not_there_or_has_no_root_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    assert!(matches!(load(&file), Err(ScenarioError::Read { .. })));
    std::fs::write(&file, RIGHT).unwrap();
    assert!(matches!(load(&file), Err(ScenarioError::NoRoot { .. })));
    std::fs::create_dir(folder.path().join("helm")).unwrap();
    assert_eq!(load(&file).unwrap().root, folder.path().canonicalize().unwrap());
}

#[test]
fn a_body_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.bin"), [0, 255]).unwrap();
    let sent = |keys: &str| {
        let text = RIGHT.replacen("send: GET /, expect: {status: 200}", keys, 1);
        read(&text, Path::new("x.yaml"), folder.path()).unwrap().stages[0].checks[0].sent.clone()
    };
    assert_eq!(sent("send: PUT /, body-file: b.bin, expect: {status: 200}"), [0, 255]);
    assert_eq!(sent("grpc: a.B/C, body-file: b.bin, expect: {grpc-status: 0}"), [0, 0, 0, 0, 2, 0, 255]);
}
