//! What the table and report.json say of each verdict.

use rstest::rstest;
use svidproof_probe::protocol::{Timing, Tls, TlsVersions};

use super::*;
use crate::alert::AlertName;
use crate::proof::hops::{Found, Hop, walk};
use crate::proof::plan::Cell;
use crate::proof::response;
use crate::scenario::Counted;
use crate::surface::{Change, Danger};

/// One problem a check, the worst first; a cell's own text stays in its column.
#[test]
fn what_a_reader_has_to_look_at_is_told_to_github() {
    let mut report = report();
    report.checks[1].verdict = Verdict::Flaky;
    report.checks[1].reason = "timed out\ntried once more, it passed".into();
    report.checks[0].finding = Some("it `surprises`".into());
    report.checks.push(report.checks[2].clone());
    insta::assert_snapshot!(github::text(&report), @r##"
    ::error file=tests/scenarios/symbank.yaml,line=12,col=9,title=failed%3A frontend-2 reads nothing (symbank · profiles-only)::expected 403, saw 200 with "{}"%0Afrontend-2 -> backend: GET /balances/balance_1, and 1 more cell
    ::error file=tests/scenarios/symbank.yaml,line=12,col=9,title=errored%3A frontend reads its profile (symbank · profiles-only)::neither an answer nor a refusal: timed out: 10 s%0Afrontend -> backend: GET /balances/balance_1
    ::warning file=tests/scenarios/symbank.yaml,line=12,col=9,title=flaky%3A nobody is refused (symbank · both-frontends)::timed out%0Atried once more, it passed%0Anobody -> backend: GET /balances/balance_1
    ::notice file=tests/scenarios/symbank.yaml,line=12,col=9,title=finding%3A frontend reads its balance (symbank · both-frontends)::it `surprises`%0Afrontend -> backend: GET /balances/balance_1
    "##);
    let changed = Change {
        danger: Danger::Opened,
        scenario: "symbank".into(),
        stage: "profiles-only".into(),
        words: "frontend-2 can now GET /balances/balance_1 at backend (was: 403 RBAC: access denied)".into(),
    };
    insta::assert_snapshot!(markdown::summary(&report, std::slice::from_ref(&changed)), @r##"
    ## svidproof: 1 failed, 1 errored, 1 skipped, 2 passed, 1 findings

    Run r1, provider kind.

    |  | check | where | why |
    | --- | --- | --- | --- |
    | failed | frontend-2 reads nothing | symbank · profiles-only<br>tests/scenarios/symbank&#46;yaml:12 | expected 403, saw 200 with "&#123;&#125;"<br>frontend-2 -&#62; backend&#58; GET /balances/balance&#95;1, and 1 more cell |
    | errored | frontend reads its profile | symbank · profiles-only<br>tests/scenarios/symbank&#46;yaml:12 | neither an answer nor a refusal&#58; timed out&#58; 10 s<br>frontend -&#62; backend&#58; GET /balances/balance&#95;1 |
    | flaky | nobody is refused | symbank · both-frontends<br>tests/scenarios/symbank&#46;yaml:12 | timed out<br>tried once more, it passed<br>nobody -&#62; backend&#58; GET /balances/balance&#95;1 |
    | finding | frontend reads its balance | symbank · both-frontends<br>tests/scenarios/symbank&#46;yaml:12 | it &#96;surprises&#96;<br>frontend -&#62; backend&#58; GET /balances/balance&#95;1 |

    ### Against the surface that is kept: 1 opened up

    |  | where | what |
    | --- | --- | --- |
    | **opened up** | symbank · profiles-only | frontend-2 can now GET /balances/balance&#95;1 at backend &#40;was&#58; 403 RBAC&#58; access denied&#41; |
    "##);
    insta::assert_snapshot!(markdown::changes(&[changed], Some("https://example.org/a")), @r##"
    ## Surface: 1 opened up

    |  | where | what |
    | --- | --- | --- |
    | **opened up** | symbank · profiles-only | frontend-2 can now GET /balances/balance&#95;1 at backend &#40;was&#58; 403 RBAC&#58; access denied&#41; |

    [the page](<https://example.org/a>)
    "##);
    insta::assert_snapshot!(markdown::changes(&[], None), @"## Surface: nothing changed");
}

pub(super) fn judged(
    stage: &str,
    check: &str,
    client: &str,
    expect: Expect,
    outcome: Option<Outcome>,
    verdict: Verdict,
    reason: &str,
) -> Judged {
    let tls = Tls {
        version: "1.3".into(),
        alpn: None,
        peer_id: Some("spiffe://example.org/backend".into()),
        peer_dns: vec![],
        peer_chain: vec![],
    };
    Judged {
        cell: Cell {
            id: check.into(),
            scenario: "symbank".into(),
            stage: stage.into(),
            check: check.into(),
            client: client.into(),
            nobody: client == "nobody",
            forged: client.strip_suffix(" like frontend").map(Into::into),
            endpoint: "backend".into(),
            method: "GET".into(),
            target: "/balances/balance_1".into(),
            http: Http::Http1,
            tls: TlsVersions::Any,
            sni: None,
            authority: None,
            headers: vec![],
            body: vec![],
            trailers: vec![],
            control: None,
            finding: None,
            source: Source { file: "tests/scenarios/symbank.yaml".into(), line: 12, column: 9 },
            expect,
        },
        observed: outcome.map(|outcome| Observation {
            outcome,
            tls: Some(tls),
            timing: Timing { done_us: 1_337, ..Timing::default() },
        }),
        by: None,
        cut_off: None,
        verdict,
        reason: reason.into(),
        evidence: vec![],
        control: None,
        hop: None,
    }
}

pub(super) fn report() -> Report {
    let status = |status| Expect { status: Some(status), ..Expect::default() };
    let alert = Expect { alert: Some(AlertName::Name("certificate_required".into())), ..Expect::default() };
    let response = |status, body: &str| Some(response(status, &[], body));
    let served = judged(
        "both-frontends",
        "frontend reads its balance",
        "frontend",
        status(200),
        response(200, "{}"),
        Verdict::Passed,
        "",
    );
    let mut refused = judged(
        "both-frontends",
        "nobody is refused",
        "nobody",
        alert,
        Some(Outcome::Alert { number: 116 }),
        Verdict::Passed,
        "",
    );
    refused.control = Some(Control { check: "frontend reads its balance".into(), held: true });
    let counted = Counted { no_cert: 1, forwarded: 1, ..Counted::default() };
    refused.evidence = vec![Account {
        endpoint: "backend".into(),
        counted: Some(counted),
        tallied: counted,
        reached: Some(false),
    }];
    let failed = judged(
        "profiles-only",
        "frontend-2 reads nothing",
        "frontend-2",
        status(403),
        response(200, "{}"),
        Verdict::Failed,
        "expected 403, saw 200 with \"{}\"",
    );
    let timed_out = Some(Outcome::Failed { kind: DialFailure::TimedOut, detail: "10 s".into() });
    let errored = judged(
        "profiles-only",
        "frontend reads its profile",
        "frontend",
        status(200),
        timed_out,
        Verdict::Errored,
        "neither an answer nor a refusal: timed out: 10 s",
    );
    let skipped = judged(
        "profiles-only",
        "frontend does not post",
        "frontend",
        status(403),
        None,
        Verdict::Skipped,
        "not asked for",
    );
    let versions = BTreeMap::from([("envoy".to_owned(), "1.39.0".to_owned())]);
    let phases = vec![Phase { name: "cluster".into(), started: 0.25, seconds: 12.5 }];
    let mut report = Report::new(
        "r1",
        "kind",
        "packages",
        &versions,
        Timestamp::UNIX_EPOCH,
        phases,
        &[served, refused, failed, errored, skipped],
    );
    report.svidproof = "0.0.0";
    report
}

/// Its words say that it is as expected.
#[rstest]
#[case(Verdict::Passed, Some("it surprises"))]
#[case(Verdict::Failed, None)]
#[case(Verdict::Errored, None)]
fn what_was_not_seen_is_no_finding(#[case] verdict: Verdict, #[case] expected: Option<&str>) {
    let mut one = judged("open", "a check", "friend", Expect::default(), None, verdict, "");
    one.cell.finding = Some("it surprises".into());
    assert_eq!(Row::new(&one).finding.as_deref(), expected);
}

/// It never looks like one that passed, and says what both tries came to.
#[test]
fn what_came_and_went_is_told_apart() {
    let mut report = report();
    report.checks[1].verdict = Verdict::Flaky;
    report.checks[1].reason = "timed out\ntried once more, it passed".into();
    (report.totals.passed, report.totals.flaky) = (1, 1);
    let table = console::tests::told(&report, false);
    assert!(table.contains("  ≈ nobody is refused "), "{table}");
    assert!(table.contains("\n      flaky: timed out\n      tried once more, it passed\n"), "{table}");
    let totals = "1 passed · 0 recorded · 1 failed · 1 errored · 1 flaky · 1 skipped   12.3 s";
    assert!(table.contains(totals), "{table}");
    assert!(html::page(&report).contains("1 flaky"));
    assert!(junit::text(&report).contains(r#"<property name="verdict" value="flaky"/>"#));
    assert_eq!(serde_json::to_value(&report).unwrap()["totals"]["flaky"], 1);
}

/// What nobody looked at from the server's side is not among what passed, anywhere.
#[test]
fn what_only_the_client_saw_is_told_apart() {
    let mut report = report();
    report.checks[1].verdict = Verdict::ClientSide;
    report.totals.passed = 1;
    report.totals.client_side = 1;
    let table = console::tests::told(&report, false);
    assert!(table.contains("  ~ nobody is refused "), "{table}");
    let totals = "1 passed · 1 client side only · 0 recorded · 1 failed · 1 errored · 1 skipped   12.3 s";
    assert!(table.contains(totals), "{table}");
    assert!(html::page(&report).contains("1 client side only"));
    assert!(junit::text(&report).contains(r#"<property name="verdict" value="client_side"/>"#));
    assert_eq!(serde_json::to_value(&report).unwrap()["checks"][1]["verdict"], "client_side");
}

#[test]
fn what_kept_the_rest_from_being_judged_is_told_in_every_file() {
    let mut report = report();
    report.errors = vec!["the API server went away\nhint: look".into()];
    assert!(report.to_json().contains("the API server went away"));
    assert!(html::page(&report).contains("the API server went away"));
    let xml = junit::text(&report);
    assert!(xml.contains("<error message=\"the API server went away\""), "{xml}");
    report.errors.clear();
    assert!(!report.to_json().contains("\"errors\""));
}

#[test]
fn the_json_of_a_refusal() {
    let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json["checks"][1]).unwrap(), @r##"
    {
      "as": "nobody",
      "check": "nobody is refused",
      "column": 9,
      "control": {
        "check": "frontend reads its balance",
        "held": true
      },
      "evidence": [
        {
          "counted": {
            "allowed": 0,
            "broken": 0,
            "chain": 0,
            "denied": 0,
            "forwarded": 1,
            "no-cert": 1,
            "san": 0
          },
          "endpoint": "backend",
          "reached": false,
          "tallied": {
            "allowed": 0,
            "broken": 0,
            "chain": 0,
            "denied": 0,
            "forwarded": 1,
            "no-cert": 1,
            "san": 0
          }
        }
      ],
      "expected": {
        "alert": "certificate_required"
      },
      "file": "tests/scenarios/symbank.yaml",
      "got": "alert 116 certificate_required",
      "line": 12,
      "milliseconds": 1.337,
      "observed": {
        "alert": 116,
        "boringssl": "TLSV1_CERTIFICATE_REQUIRED",
        "name": "certificate_required",
        "outcome": "alert",
        "peer_id": "spiffe://example.org/backend",
        "tls": "1.3"
      },
      "reason": "",
      "request": "GET /balances/balance_1",
      "scenario": "symbank",
      "send": "GET /balances/balance_1",
      "stage": "both-frontends",
      "to": "backend",
      "verdict": "passed"
    }
    "##);
}

#[test]
fn the_json_around_the_checks() {
    let mut json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
    let checks = json["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 5);
    assert_eq!(checks[3]["observed"]["kind"], "timed_out");
    assert!(checks[4]["observed"].is_null());
    json["checks"] = "…".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r##"
    {
      "checks": "…",
      "images": "packages",
      "phases": [
        {
          "name": "cluster",
          "seconds": 12.5,
          "started": 0.25
        }
      ],
      "provider": "kind",
      "run": "r1",
      "started": "1970-01-01T00:00:00Z",
      "svidproof": "0.0.0",
      "totals": {
        "errored": 1,
        "failed": 1,
        "passed": 2,
        "recorded": 0,
        "skipped": 1
      },
      "versions": {
        "envoy": "1.39.0"
      }
    }
    "##);
}

#[test]
fn the_row_of_a_forged_credential_says_what_is_wrong_with_it_and_no_other_row_does() {
    let row = |client: &str| {
        let judged = judged("one", "refused", client, Expect::default(), None, Verdict::Skipped, "");
        serde_json::to_value(Row::new(&judged)).unwrap()
    };
    assert_eq!(
        row("ca-as-leaf like frontend")["forged"],
        serde_json::json!({
            "credential": "ca-as-leaf",
            "why": "It is a signing certificate, and only a leaf may identify a caller.",
            "clause": {"document": "X.509-SVID", "section": "5.2", "level": "MUST"}
        })
    );
    assert_eq!(row("frontend").get("forged"), None);
    assert_eq!(row("no-such like frontend").get("forged"), None);
}

/// A server says what it likes, in its body, its headers and its certificate's names.
#[test]
fn what_others_say_does_nothing_to_a_terminal() {
    let hostile = "\u{1b}[2J\nforged \u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}";
    let mut one = judged("open", hostile, "friend", Expect::default(), None, Verdict::Failed, hostile);
    one.observed =
        judged("open", "", "", Expect::default(), Some(response(403, &[], hostile)), Verdict::Failed, "")
            .observed;
    one.cell.target = hostile.into();
    let mut report = report();
    report.checks = vec![Row::new(&one)];
    report.checks[0].finding = Some(hostile.into());
    report.checks[0].hop = walk(&[Found::broken(Hop::Sds, hostile, hostile, hostile)]);
    let table = console::tests::told(&report, false);
    let raw = |one: char| one.is_control() && one != '\n' || one == '\u{202e}';
    assert!(!table.contains(raw), "{table:?}");
    assert!(table.contains("\\u{1b}[2J"), "{table}");
    assert!(!table.lines().any(|line| line.starts_with("forged")), "{table}");
    let junit = junit::text(&report);
    assert!(!junit.contains(|one: char| one.is_control() && one != '\n'), "{junit:?}");
    roxmltree::Document::parse(&junit).unwrap();
}
