use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use proptest::prelude::*;
use rstest::rstest;
use svidproof_probe::protocol::{Failure, Observation, Timing};

use super::*;
use crate::proof::plan::plan;
use crate::scenario::{self, Counted};

/// One check a line: its client, what else is said of it, and what comes of it.
fn judged(dials: &[(&str, &str, protocol::Outcome)]) -> Vec<Judged> {
    let checks = dials.iter().enumerate().map(|(number, (client, more, _))| {
        format!(
            "      - {{check: check {number}, as: {client}, to: backend, expect: {{status: 200}}, {more}}}\n"
        )
    });
    let text = format!(
        "
scenario: symbank
trust-domain: example.org
spire: {{namespace: spire, server: server, socket-dir: /run}}
install: []
registration: []
endpoints: {{backend: {{service: a/backend, port: 443, identity: /backend}}}}
clients: {{nobody: none, frontend: /frontend, frontend-2: /frontend-2}}
stages:
  - stage: only-frontend
    checks:
{}",
        checks.collect::<String>()
    );
    let scenario = scenario::read_text(&text);
    let cells = plan(&scenario, &scenario.stages[0], "run");
    let observed = |outcome: &protocol::Outcome| Observation {
        outcome: outcome.clone(),
        tls: None,
        timing: Timing::default(),
    };
    let observations =
        cells.iter().zip(dials).map(|(cell, (_, _, outcome))| (cell.id.clone(), observed(outcome))).collect();
    judge::judge(&scenario, &cells, &observations, &BTreeMap::new())
}

fn surface(dials: &[(&str, &str, protocol::Outcome)]) -> Surface {
    let mut surfaces = surfaces(&judged(dials));
    assert_eq!(surfaces.len(), 1);
    surfaces.remove(0)
}

fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> protocol::Outcome {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    protocol::Outcome::Response { status, http: Http::Http1, headers, body: body.into() }
}

/// By the application, through Envoy.
fn answer(status: u16, body: &str) -> protocol::Outcome {
    respond(status, &[("server", "envoy"), ("x-envoy-upstream-service-time", "1")], body)
}

/// By Envoy itself.
fn local(status: u16, body: &str) -> protocol::Outcome {
    respond(status, &[("server", "envoy")], body)
}

fn alert(number: u8) -> protocol::Outcome {
    protocol::Outcome::Alert { number }
}

fn failed(kind: Failure) -> protocol::Outcome {
    protocol::Outcome::Failed { kind, detail: "10.0.0.1:443 in 12 ms".into() }
}

#[test]
fn a_surface_reads_well() {
    let surface = surface(&[
        ("frontend", "send: GET /balances/balance_1", answer(200, "{\"balance\": 10.95}")),
        (
            "frontend",
            "send: GET /balances/balance_1, tls: '1.2', http: '2'",
            answer(200, "{\"balance\":10.95}"),
        ),
        ("frontend", "send: GET /, headers: {X-Forwarded-For: 10.0.0.1}", answer(404, "none such")),
        ("frontend", "send: HEAD /", answer(200, "")),
        ("frontend", "send: POST /profiles", local(403, "RBAC: access denied")),
        ("frontend", "send: 'GET /a:#b'", local(400, "bad path at 10.0.0.1")),
        ("frontend-2", "send: GET /balances/balance_1", alert(46)),
        ("nobody", "send: GET /balances/balance_1", alert(116)),
        ("nobody", "send: GET /", failed(Failure::Refused)),
        ("nobody", "send: GET /x", protocol::Outcome::ServerRefused { reason: "at 12:00:00".into() }),
    ]);
    insta::assert_snapshot!(surface.to_yaml(), @r##"
    scenario: symbank
    stage: only-frontend
    cells:
      backend:
        frontend:
          "GET / (x-forwarded-for: 10.0.0.1)": 404 text 3d7f56a98c84
          "GET /a:#b": 400 by Envoy
          GET /balances/balance_1: 200 json f75f2b2b316b
          "GET /balances/balance_1 (HTTP/2, TLS 1.2)": 200 json f75f2b2b316b
          HEAD /: 200 no body
          POST /profiles: "403 RBAC: access denied"
        frontend-2:
          GET /balances/balance_1: alert 46 certificate_unknown
        nobody:
          GET /: connection refused
          GET /balances/balance_1: alert 116 certificate_required
          GET /x: server turned down
    "##);
}

#[test]
fn what_was_not_dialled_is_said() {
    let mut judged = judged(&[("nobody", "send: GET /", alert(116))]);
    judged[0].observed = None;
    assert_eq!(Outcome::of(&judged[0]).as_str(), "not observed");
}

#[test]
fn what_did_not_reach_the_application_is_not_its_answer() {
    let of = |status, reached| {
        let mut judged = judged(&[("frontend", "send: GET /", answer(status, "x"))]);
        judged[0].evidence = vec![judge::Account {
            endpoint: "backend".into(),
            counted: None,
            tallied: Counted::default(),
            reached,
        }];
        Outcome::of(&judged[0]).0
    };
    assert_eq!(of(400, Some(false)), "400 by Envoy");
    assert_eq!(of(400, Some(true)), "400 text 2d711642b726");
    assert_eq!(of(400, None), "400 text 2d711642b726");
    assert_eq!(of(200, Some(false)), "200 text 2d711642b726");
}

#[test]
fn a_long_target_is_told_by_its_beginning() {
    let of = |target: String| {
        let surface = surface(&[("nobody", &format!("send: GET /{target}"), alert(116))]);
        surface.cells["backend"]["nobody"].keys().next().unwrap().clone()
    };
    let long = of("a".repeat(8192));
    assert_eq!(long, format!("GET /{}… [8193 bytes, 2d3a8b45d677]", "a".repeat(59)));
    assert_ne!(long, of("a".repeat(8191) + "b"));
    assert_eq!(of("a".repeat(119)), format!("GET /{}", "a".repeat(119)));
    assert_eq!(shortened(&"ä".repeat(120)), "ä".repeat(120));
    assert!(shortened(&"ä".repeat(121)).starts_with(&format!("{}… [242 bytes, ", "ä".repeat(60))));
}

#[test]
fn of_two_outcomes_the_more_open_stands() {
    let send = "send: GET /";
    for dials in [
        [("nobody", send, alert(46)), ("nobody", send, answer(200, "x"))],
        [("nobody", send, answer(200, "x")), ("nobody", send, alert(46))],
    ] {
        let surface = surface(&dials);
        assert_eq!(surface.cells["backend"]["nobody"]["GET /"].as_str(), "200 text 2d711642b726");
    }
}

#[test]
fn a_run_does_not_show_in_the_surface() {
    let at = |run: &str, id: &str| {
        let body = format!("X-Svidproof-Cell: {run}.symbank.only-frontend.0\nX-Request-Id: {id}\n");
        let mut judged = judged(&[("frontend", "send: GET /", answer(200, &body))]);
        judged[0].cell.id = format!("{run}.symbank.only-frontend.0");
        surfaces(&judged)
    };
    let one = at("r1", "9fa0cdbf-f4c7-4e8a-9b1d-1f2e3d4c5b6a");
    assert_eq!(one, at("r2", "00000000-f4c7-4e8a-9b1d-1f2e3d4c5b6a"));
}

/// `endpoint client request` -> outcome.
fn written(stage: &str, cells: &[(&str, &str)]) -> Surface {
    let lines = cells.iter().map(|(cell, outcome)| {
        let [endpoint, client, request] = cell.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        line("symbank", stage, endpoint, client, request, outcome)
    });
    gather(lines).remove(0)
}

fn line(scenario: &str, stage: &str, endpoint: &str, client: &str, request: &str, outcome: &str) -> Line {
    Line {
        scenario: scenario.into(),
        stage: stage.into(),
        endpoint: endpoint.into(),
        client: client.into(),
        request: request.into(),
        outcome: Outcome(outcome.into()),
    }
}

#[rstest]
#[case(
    "alert 46 certificate_unknown",
    "200 json 0123456789ab",
    Danger::Opened,
    "frontend-2 can now GET /x at backend"
)]
#[case("403 RBAC: access denied", "204 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case(
    "404 text 000000000000",
    "200 text 000000000000",
    Danger::Opened,
    "frontend-2 can now GET /x at backend"
)]
#[case("connection refused", "200 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case("server turned down", "200 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case("503 by Envoy", "301 by Envoy", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case(
    "403 RBAC: access denied",
    "405 no body",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 405 no body"
)]
#[case(
    "alert 116 certificate_required",
    "404 no body",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 404 no body"
)]
#[case(
    "200 no body",
    "server turned down",
    Danger::Weakened,
    "backend no longer proves its identity to frontend-2 for GET /x"
)]
#[case(
    "alert 46 certificate_unknown",
    "server turned down",
    Danger::Weakened,
    "backend no longer proves its identity to frontend-2 for GET /x"
)]
#[case(
    "alert 46 certificate_unknown",
    "403 RBAC: access denied",
    Danger::Weakened,
    "frontend-2 is refused later at backend for GET /x: 403 RBAC: access denied"
)]
#[case(
    "alert 46 certificate_unknown",
    "503 by Envoy",
    Danger::Weakened,
    "frontend-2 is refused later at backend for GET /x: 503 by Envoy"
)]
#[case(
    "alert 46 certificate_unknown",
    "timed out",
    Danger::Weakened,
    "frontend-2 is no longer shown to be refused at backend for GET /x: timed out"
)]
#[case(
    "403 no body",
    "not observed",
    Danger::Weakened,
    "frontend-2 is no longer shown to be refused at backend for GET /x: not observed"
)]
#[case(
    "timed out",
    "server turned down",
    Danger::Changed,
    "frontend-2 still gets nowhere at backend with GET /x: server turned down"
)]
#[case(
    "200 text a",
    "200 text b",
    Danger::Changed,
    "frontend-2 gets another answer to GET /x at backend: 200 text b"
)]
#[case(
    "200 text a",
    "302 text a",
    Danger::Changed,
    "frontend-2 gets another answer to GET /x at backend: 302 text a"
)]
#[case(
    "404 text a",
    "405 text a",
    Danger::Changed,
    "frontend-2 gets another answer to GET /x at backend: 405 text a"
)]
#[case(
    "alert 46 certificate_unknown",
    "alert 48 unknown_ca",
    Danger::Changed,
    "frontend-2 is refused otherwise at backend for GET /x: alert 48 unknown_ca"
)]
#[case(
    "403 RBAC: access denied",
    "400 by Envoy",
    Danger::Changed,
    "frontend-2 is refused otherwise at backend for GET /x: 400 by Envoy"
)]
#[case(
    "timed out",
    "connection refused",
    Danger::Changed,
    "frontend-2 still gets nowhere at backend with GET /x: connection refused"
)]
#[case(
    "200 no body",
    "alert 45 certificate_expired",
    Danger::Closed,
    "frontend-2 can no longer GET /x at backend: alert 45 certificate_expired"
)]
#[case(
    "200 no body",
    "404 no body",
    Danger::Closed,
    "frontend-2 can no longer GET /x at backend: 404 no body"
)]
#[case("200 no body", "timed out", Danger::Closed, "frontend-2 can no longer GET /x at backend: timed out")]
#[case(
    "405 no body",
    "403 RBAC: access denied",
    Danger::Closed,
    "frontend-2 no longer gets through to backend with GET /x: 403 RBAC: access denied"
)]
#[case(
    "timed out",
    "alert 46 certificate_unknown",
    Danger::Closed,
    "frontend-2 is now refused at backend for GET /x: alert 46 certificate_unknown"
)]
#[case(
    "403 RBAC: access denied",
    "alert 46 certificate_unknown",
    Danger::Closed,
    "frontend-2 is refused earlier at backend for GET /x: alert 46 certificate_unknown"
)]
fn a_change_in_words(#[case] old: &str, #[case] new: &str, #[case] danger: Danger, #[case] words: &str) {
    let of = |outcome| [written("one", &[("backend frontend-2 GET /x", outcome)])];
    let change = Change { danger, stage: "symbank · one".into(), words: format!("{words} (was: {old})") };
    assert_eq!(diff(&of(old), &of(new)), [change]);
}

#[test]
fn the_most_dangerous_comes_first() {
    let san = "alert 46 certificate_unknown";
    let old = [
        written("gone", &[("backend nobody GET /", san)]),
        written(
            "only-frontend",
            &[
                ("backend frontend GET /balances/balance_1", "200 json 0123456789ab"),
                ("backend frontend GET /profiles/profile_1", "200 json 0123456789ab"),
                ("backend frontend GET /transactions/transaction_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /balances/balance_1", san),
                ("backend frontend-2 GET /profiles/profile_1", san),
                ("backend nobody GET /balances/balance_1", "alert 116 certificate_required"),
                ("page nobody GET /", "200 text 0123456789ab"),
            ],
        ),
        written("profiles-only", &[("backend frontend POST /profiles", "403 RBAC: access denied")]),
    ];
    let new = [
        written("both-frontends", &[("backend nobody GET /", san), ("backend stranger GET /", san)]),
        written(
            "only-frontend",
            &[
                ("backend frontend GET /balances/balance_1", "403 RBAC: access denied"),
                ("backend frontend GET /profiles/profile_1", "200 json ba9876543210"),
                ("backend frontend GET /transactions/transaction_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /balances/balance_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /profiles/profile_1", "200 json 0123456789ab"),
                ("backend nobody GET /balances/balance_1", "403 RBAC: access denied"),
                ("page stranger GET /", "200 text 0123456789ab"),
            ],
        ),
        written("profiles-only", &[("backend frontend POST /profiles", "405 no body")]),
    ];
    let changes = diff(&old, &new);
    assert!(opened(&changes));
    insta::assert_snapshot!(in_words(&changes), @r##"
    opened up: 3
      symbank · only-frontend
        frontend-2 can now GET /balances/balance_1 at backend (was: alert 46 certificate_unknown)
        frontend-2 can now GET /profiles/profile_1 at backend (was: alert 46 certificate_unknown)
      symbank · profiles-only
        frontend now gets through to backend with POST /profiles: 405 no body (was: 403 RBAC: access denied)

    weakened: 1
      symbank · only-frontend
        nobody is refused later at backend for GET /balances/balance_1: 403 RBAC: access denied (was: alert 116 certificate_required)

    changed: 1
      symbank · only-frontend
        frontend gets another answer to GET /profiles/profile_1 at backend: 200 json ba9876543210 (was: 200 json 0123456789ab)

    closed: 1
      symbank · only-frontend
        frontend can no longer GET /balances/balance_1 at backend: 403 RBAC: access denied (was: 200 json 0123456789ab)

    new: 2
      symbank · both-frontends
        the stage is new, with 2 cells
      symbank · only-frontend
        stranger: GET / at page is new: 200 text 0123456789ab

    gone: 2
      symbank · gone
        the stage is gone, with 1 cell
      symbank · only-frontend
        nobody: GET / at page is not tried any more (was: 200 text 0123456789ab)
    "##);
    assert!(!opened(&diff(&new, &new)));
    assert_eq!(in_words(&[]), "nothing changed\n");
}

#[test]
fn yaml_that_is_no_surface_is_refused() {
    assert!(Surface::from_yaml("scenario: a\nstage: b\n").is_err());
    assert!(Surface::from_yaml("scenario: a\nstage: b\ncells: {}\nmore: 1\n").is_err());
}

#[test]
fn what_is_stored_is_loaded() {
    let temp = tempfile::tempdir().unwrap();
    let dir = folder(temp.path());
    let [one, two] = ["one", "two"]
        .map(|stage| written(stage, &[("backend nobody GET /", "alert 46 certificate_unknown")]));
    assert_eq!(load(&dir, "symbank").unwrap(), []);

    let file = |stage: &str| dir.join(format!("symbank.{stage}.snap"));
    let stages = ["one", "two"];
    assert_eq!(
        store(&dir, "symbank", stages, &[two.clone(), one.clone()]).unwrap(),
        [file("two"), file("one")]
    );
    assert_eq!(load(&dir, "symbank").unwrap(), [one.clone(), two.clone()]);
    assert_eq!(load(&dir, "sym").unwrap(), []);
    assert_eq!(read(&file("one")).unwrap(), std::slice::from_ref(&one));
    assert_eq!(read(&dir).unwrap().len(), 2);

    // One stage alone leaves the others.
    let changed = written("one", &[("backend nobody GET /", "200 no body")]);
    assert_eq!(store(&dir, "symbank", stages, std::slice::from_ref(&changed)).unwrap(), [file("one")]);
    assert_eq!(store(&dir, "symbank", stages, &[changed.clone(), two.clone()]).unwrap(), [] as [&Path; 0]);
    assert_eq!(load(&dir, "symbank").unwrap(), [changed, two]);

    // A stage that the scenario no longer has goes; another scenario's stays.
    std::fs::write(dir.join("other.two.snap"), "").unwrap();
    assert_eq!(store(&dir, "symbank", ["one"], &[]).unwrap(), [file("two")]);
    assert!(dir.join("other.two.snap").exists() && file("one").exists());
}

#[test]
fn a_report_is_read_as_its_surfaces() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("report.json");
    let judged = judged(&[
        ("frontend", "send: GET /", answer(200, "x")),
        ("nobody", "send: GET /, tls: '1.2'", alert(40)),
    ]);
    let rows = judged.iter().map(|one| {
        serde_json::json!({
            "scenario": "symbank", "stage": "only-frontend", "as": one.cell.client, "to": "backend",
            "request": request(&one.cell), "got": Outcome::of(one), "more": 1,
        })
    });
    std::fs::write(&path, serde_json::json!({"checks": rows.collect::<Vec<_>>(), "run": "r1"}).to_string())
        .unwrap();
    assert_eq!(read(&path).unwrap(), surfaces(&judged));
}

#[rstest]
#[case("", "an empty file")]
#[case("---\nsource: a\n---\n", "an empty file")]
#[case("\u{0}\u{1}", "text that begins with \"\\0\\u{1}\"")]
#[case("<html>\n<body>", "text that begins with \"<html>\"")]
#[case("- a\n- b\n", "text that begins with \"- a\"")]
#[case("a: 1\nb: 2\n", "YAML with the keys `a`, `b`")]
#[case("scenario: symbank\nstages: []\n", "a scenario")]
#[case(
    "---\nsource: a\n---\nscenario: a\nstage: b\ncells:\n  c: 1\n",
    "a surface with a mistake in line 7: "
)]
#[case("{\"a\": 1}", "a JSON object with the keys `a`")]
#[case("{", "broken JSON: ")]
#[case(
    "{\"checks\": [{\"scenario\": \"a\"}]}",
    "a report.json with a mistake, or of another version: missing field `stage`"
)]
fn what_is_no_surface_is_named(#[case] text: &str, #[case] looks: &str) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("file");
    std::fs::write(&path, text).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("file is not a surface: it looks like {looks}")), "{error}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let said = |path: &Path| read(path).unwrap_err().to_string();
    assert!(said(&temp.path().join("none")).starts_with("could not read "));
    assert!(said(temp.path()).contains("ends in .snap"));
    std::fs::write(temp.path().join("a.snap"), [0xff]).unwrap();
    assert!(said(temp.path()).contains("a.snap is not a surface: it looks like binary data"));
}

/// Names the folder in which the test below, as a child of itself, has insta assert a surface.
const ASSERT_IN: &str = "SVIDPROOF_TEST_ASSERT_IN";

#[test]
fn insta_takes_what_is_stored_and_writes_the_same() {
    let surface = written(
        "one",
        &[
            ("backend nobody GET /", "alert 46 certificate_unknown"),
            ("page nobody GET / (a: b)", "403 RBAC: access denied"),
        ],
    );
    if let Some(dir) = std::env::var_os(ASSERT_IN) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(dir);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        return settings.bind(|| insta::assert_snapshot!(surface.name(), surface.to_yaml()));
    }
    let assert_in = |dir: &Path, update: &str| -> Output {
        let mut itself = assert_cmd::Command::new(std::env::current_exe().unwrap());
        itself.args(["--exact", "surface::tests::insta_takes_what_is_stored_and_writes_the_same"]);
        itself
            .env(ASSERT_IN, dir)
            .env("INSTA_UPDATE", update)
            .env_remove("INSTA_FORCE_PASS")
            .output()
            .unwrap()
    };
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();

    let ours = tempfile::tempdir().unwrap();
    let stored = store(ours.path(), "symbank", ["one"], std::slice::from_ref(&surface)).unwrap().remove(0);
    let before = text(&stored);
    assert!(assert_in(ours.path(), "new").status.success());
    assert_eq!(std::fs::read_dir(ours.path()).unwrap().count(), 1);
    assert_eq!(text(&stored), before);

    let theirs = tempfile::tempdir().unwrap();
    let _ = assert_in(theirs.path(), "always");
    let written = theirs.path().join(stored.file_name().unwrap());
    let source = format!("source: {}\n", file!());
    assert_eq!(text(&written).replace(&source, "source: tests/conformance.rs\n"), before);
    assert_eq!(load(theirs.path(), "symbank").unwrap(), [surface]);

    // And it can fail.
    std::fs::write(&stored, before.replace("alert 46", "alert 48")).unwrap();
    assert!(!assert_in(ours.path(), "no").status.success());
}

const OUTCOMES: [&str; 14] = [
    "200 json 0123456789ab",
    "200 json ba9876543210",
    "200 no body",
    "302 text 0123456789ab",
    "404 text 0123456789ab",
    "503 by Envoy",
    "400 by Envoy",
    "403 RBAC: access denied",
    "alert 116 certificate_required",
    "alert 46 certificate_unknown",
    "timed out",
    "connection refused",
    "server turned down",
    "not observed",
];

/// Few names, so that cells of two surfaces often meet.
fn any_surfaces() -> impl Strategy<Value = Vec<Surface>> {
    let name = |names: &'static [&'static str]| prop::sample::select(names);
    let cell = (
        (name(&["symbank", "front-proxy"]), name(&["one", "two"])),
        (name(&["backend", "page"]), name(&["nobody", "frontend", "frontend-2"])),
        name(&["GET /", "GET / (TLS 1.2)", "POST /x"]),
        prop::sample::select(OUTCOMES.as_slice()),
    );
    let lines = |cells: Vec<((_, _), (_, _), _, _)>| {
        let lines = cells.into_iter();
        gather(lines.map(|((scenario, stage), (endpoint, client), request, outcome)| {
            line(scenario, stage, endpoint, client, request, outcome)
        }))
    };
    prop::collection::vec(cell, 0..24).prop_map(lines)
}

/// What YAML would take for something else.
const AWKWARD: &[&str] = &[
    "",
    " ",
    "~",
    "null",
    "true",
    "200",
    "1e3",
    "0x1f",
    "- a",
    "a: b",
    "a #b",
    "? a",
    "{}",
    "[]",
    "'",
    "\"",
    "a\nb",
    "---",
    "\t",
    "é…",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "=",
    "<<",
    "2026-10-02",
    ":",
];

/// Whatever may stand in a file.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![1 => prop::sample::select(AWKWARD).prop_map(str::to_owned), 1 => any::<String>(), 1 => "[ -~]{0,150}"]
}

fn any_written_surface() -> impl Strategy<Value = Surface> {
    let requests = prop::collection::btree_map(any_text(), any_text().prop_map(Outcome), 0..4);
    let cells = prop::collection::btree_map(
        any_text(),
        prop::collection::btree_map(any_text(), requests, 0..3),
        0..3,
    );
    (any_text(), any_text(), cells).prop_map(|(scenario, stage, cells)| Surface { scenario, stage, cells })
}

fn all_cells(surfaces: &[Surface]) -> Vec<[String; 5]> {
    let mut all = vec![];
    for surface in surfaces {
        for (endpoint, clients) in &surface.cells {
            for (client, requests) in clients {
                for request in requests.keys() {
                    all.push(
                        [&surface.scenario, &surface.stage, endpoint, client, request].map(Clone::clone),
                    );
                }
            }
        }
    }
    all
}

fn outcome_at<'a>(
    surfaces: &'a mut [Surface],
    [scenario, stage, endpoint, client, request]: &[String; 5],
) -> &'a mut Outcome {
    let surface =
        surfaces.iter_mut().find(|surface| surface.scenario == *scenario && surface.stage == *stage).unwrap();
    surface.cells.get_mut(endpoint).unwrap().get_mut(client).unwrap().get_mut(request).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yaml_keeps_any_surface(surface in any_written_surface()) {
        let yaml = surface.to_yaml();
        prop_assert_eq!(Surface::from_yaml(&yaml).map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}")))?, surface);
    }

    #[test]
    fn a_surface_is_a_line_a_cell(surfaces in any_surfaces()) {
        for surface in surfaces {
            let outcomes: usize = surface.cells.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
            let clients: usize = surface.cells.values().map(BTreeMap::len).sum();
            prop_assert_eq!(surface.to_yaml().lines().count(), 3 + surface.cells.len() + clients + outcomes);
        }
    }

    #[test]
    fn nothing_differs_from_itself(surfaces in any_surfaces()) {
        prop_assert_eq!(diff(&surfaces, &surfaces), []);
    }

    #[test]
    fn two_differ_where_the_diff_is_not_empty(old in any_surfaces(), new in any_surfaces()) {
        prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
    }

    #[test]
    fn each_cell_counts(surfaces in any_surfaces(), at in any::<prop::sample::Index>(), other in prop::sample::select(OUTCOMES.as_slice())) {
        let cells = all_cells(&surfaces);
        prop_assume!(!cells.is_empty());
        let cell = at.get(&cells);
        let mut new = surfaces.clone();
        let outcome = outcome_at(&mut new, cell);
        let was = std::mem::replace(outcome, Outcome(other.into()));
        prop_assume!(was.as_str() != other);
        let changes = diff(&surfaces, &new);
        prop_assert_eq!(changes.len(), 1);
        let [scenario, stage, endpoint, client, request] = cell;
        prop_assert_eq!(&changes[0].stage, &format!("{scenario} · {stage}"));
        for part in [endpoint, client, request, was.as_str()] {
            prop_assert!(changes[0].words.contains(part), "{}", changes[0].words);
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(old in any_surfaces(), new in any_surfaces(), seed in any::<prop::sample::Index>()) {
        let turned = |surfaces: &[Surface]| {
            let mut turned = surfaces.to_vec();
            turned.rotate_left(seed.index(surfaces.len().max(1)));
            turned.reverse();
            turned
        };
        prop_assert_eq!(diff(&turned(&old), &turned(&new)), diff(&old, &new));
    }

    #[test]
    fn cells_are_gathered_in_any_order(cells in prop::collection::vec((0..3_usize, prop::sample::select(OUTCOMES.as_slice())), 0..12).prop_shuffle()) {
        let lines = |cells: &[(usize, &str)]| gather(cells.iter().map(|(client, outcome)| line("a", "b", "c", &client.to_string(), "GET /", outcome)));
        let mut sorted = cells.clone();
        sorted.sort_unstable();
        prop_assert_eq!(lines(&cells), lines(&sorted));
    }

    #[test]
    fn what_opens_comes_first(old in any_surfaces(), new in any_surfaces()) {
        let changes = diff(&old, &new);
        prop_assert!(changes.is_sorted_by_key(|change| change.danger));
        // Told without `Reach`: by the status alone.
        let answered = |outcome: &Outcome| ["2", "3"].iter().any(|digit| outcome.as_str().starts_with(digit));
        let (mut old, mut new) = (old, new);
        let (before, after) = (all_cells(&old), all_cells(&new));
        let opens = before.iter().any(|cell| after.contains(cell) && !answered(outcome_at(&mut old, cell)) && answered(outcome_at(&mut new, cell)));
        if opens {
            prop_assert!(opened(&changes));
            prop_assert_eq!(changes[0].danger, Danger::Opened);
        }
        prop_assert_eq!(opened(&changes), in_words(&changes).starts_with("opened up: "));
    }
}
