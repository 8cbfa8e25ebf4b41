//! history.html in a real browser: a hundred nights of two thousand checks are laid out, filtered and walked.

use serde_json::{Value, json};
use svidproof::history::{History, Nights, page};

use super::{DOWN, ENTER, ESCAPE, Opened, keep, opened_at, sample};

const RIGHT: &str = "\u{e014}";

fn row(check: &str, verdict: &str, got: &str) -> Value {
    json!({
        "scenario": "web", "stage": "open", "check": check, "as": check, "to": "edge", "request": "GET /",
        "got": got, "verdict": verdict, "reason": if verdict == "passed" { "" } else { "because" },
    })
}

fn report(day: usize, rows: &[Value]) -> Value {
    let envoy = if day.is_multiple_of(2) { "1.40.0" } else { "1.39.0" };
    json!({
        "svidproof": "0.1.0", "run": format!("r{day}"), "provider": "kind", "images": "packages",
        "versions": {"kubernetes": "1.36.3", "spire": "1.15.3", "envoy": envoy},
        "started": format!("2026-{:02}-{:02}T02:00:00Z", 1 + day / 28, 1 + day % 28),
        "phases": [{"name": "images", "started": 0.5, "seconds": 1 + day}], "checks": rows, "totals": {},
    })
}

async fn opened(reports: impl IntoIterator<Item = Value>, lost: &[(&str, &str)]) -> Opened {
    let mut nights = Nights::default();
    for (index, report) in reports.into_iter().enumerate() {
        nights.add(&format!("{index}/report.json"), report.to_string().as_bytes());
    }
    for (file, why) in lost {
        nights.unreadable(*file, *why);
    }
    let history = History::of(&nights);
    opened_at(&page(&history, &history.to_json())).await
}

/// Two legs in turn: one check opened and then was gone, one errored and then did not.
fn few() -> Vec<Value> {
    let refused = "alert 46 certificate_unknown";
    let steady = row("steady", "passed", "200 no body");
    let flaky = |verdict| row("now and then", verdict, "200 no body");
    vec![
        report(0, &[steady.clone(), row("closed", "passed", refused), flaky("errored")]),
        report(1, &[steady.clone(), row("closed", "passed", refused), flaky("passed")]),
        report(2, &[steady.clone(), row("closed", "failed", "200 json 0123456789ab"), flaky("passed")]),
        report(4, &[steady, row("odd", "perhaps", "200 no body"), flaky("skipped")]),
    ]
}

#[tokio::test]
async fn what_opened_what_is_gone_and_what_flaked_stands_in_its_place() {
    let page = opened(few(), &[("5/report.json", "it is cut off")]).await;
    let browser = &page.browser;
    let headline = "4 runs, 1 check bad in the newest of a leg, 1 report could not be read, 1 opening, 1 check gone, \
                    1 leg without a newest night";
    assert_eq!(browser.text("#headline").await, headline);
    assert!(browser.text("#unreadable").await.contains("5/report.json\nit is cut off"));
    assert!(browser.text("#gone").await.contains("closed"));
    let changes = browser.text("#changes").await;
    assert!(changes.contains("opened up") && changes.contains("closed can now GET / at edge"), "{changes}");
    let flakes = browser.text("#flakes .rows").await;
    assert!(flakes.contains("now and then (1 cell)") && flakes.contains("judged in 2026-01-03"), "{flakes}");
    assert!(browser.text("#comings").await.contains("1 check: closed"));
    assert!(browser.text("#phases .bars").await.contains("2.50 s · 5.00 s"));
    // What is not in a run looks like nothing else, and says so.
    assert_eq!(browser.count("#grid .cell").await, 4 * 4);
    assert_eq!(browser.count("#grid .cell.absent").await, 1 + 3);
    let labels = "[...document.querySelectorAll('#grid .cell.absent')].map((one) => one.ariaLabel)";
    assert_eq!(browser.value(labels).await[0], "closed, 2026-01-05 02:00: not in this run");
    assert_eq!(browser.count("#grid .cell.unknown").await, 1, "an unknown verdict is no pass");
    assert_eq!(browser.count("#grid .cell.skipped").await, 1);
    let legs = browser.text("#legs").await;
    assert_eq!(legs.matches("It left no report in the newest night").count(), 1, "{legs}");
    assert!(legs.contains("1 run, the newest 2026-01-02 02:00"), "{legs}");
    keep("history-few.png", &browser.screenshot().await);
    page.closed_in_peace().await;
}

#[tokio::test]
async fn a_leg_can_be_looked_at_alone() {
    let page = opened(few(), &[]).await;
    let browser = &page.browser;
    browser.keys("#filter-leg", "A: kind").await;
    assert_eq!(browser.count("#grid thead th").await, 1 + 1, "the older Envoy ran once");
    assert_eq!(browser.text("#changes .rows").await, "Nothing opened or closed.");
    assert_eq!(browser.count("#gone").await, 0);
    browser.click("#filter-reset").await;
    assert_eq!(browser.count("#grid thead th").await, 1 + 4);
    page.closed_in_peace().await;
}

#[tokio::test]
async fn a_hundred_nights_of_two_thousand_checks_are_usable() {
    let rows = |day: usize| -> Vec<_> {
        let verdict = |check: usize| if (check + day).is_multiple_of(997) { "failed" } else { "passed" };
        (0..2000).map(|check| row(&format!("check {check}"), verdict(check), "200 no body")).collect()
    };
    let page = opened((0..100).map(|day| report(day, &rows(day))), &[]).await;
    let browser = &page.browser;
    assert_eq!(browser.text("#shown").await, "2000 checks");
    assert_eq!(browser.count("#grid tbody tr").await, 100, "a part at a time");
    browser.click("#more").await;
    assert_eq!(browser.count("#grid tbody tr").await, 200);
    browser.keys("#filter-text", "check 1999").await;
    assert_eq!(browser.count("#grid .cell").await, 100);
    browser.keys("#filter-kind", "failed or errored in a run").await;
    assert_eq!(browser.text("#shown").await, "0 of 2000 checks");
    browser.click("#filter-reset").await;
    browser.keys("#filter-kind", "failed or errored in a run").await;
    assert_eq!(browser.text("#shown").await, "201 of 2000 checks");
    // The keyboard alone will do.
    assert_eq!(browser.count("#grid .cell[tabindex='0']").await, 1, "the grid is one stop of the Tab key");
    browser.value("document.querySelector('#grid .cell').focus()").await;
    browser.press(DOWN).await;
    browser.press(RIGHT).await;
    browser.press(ENTER).await;
    assert_eq!(browser.text("#detail-title").await, "check 898");
    let detail = browser.text("#detail").await;
    assert!(detail.contains("98/report.json"), "{detail}");
    browser.press(DOWN).await;
    assert_eq!(browser.text("#detail-title").await, "check 899");
    browser.press(ESCAPE).await;
    assert_eq!(browser.count("#detail").await, 0);
    let focused = browser.value("document.activeElement.dataset.check").await;
    assert_eq!(focused, "899", "the focus is back on the cell");
    keep("history-many.png", &browser.screenshot().await);
    page.closed_in_peace().await;
}

#[tokio::test]
async fn hostile_texts_are_texts() {
    let awkward = sample::AWKWARD;
    let mut hostile = report(0, &[row(awkward, awkward, awkward), row(awkward, "failed", awkward)]);
    for key in ["run", "provider", "images", "svidproof"] {
        hostile[key] = awkward.into();
    }
    hostile["versions"] = json!({"envoy": awkward, "kubernetes": awkward, "__proto__": awkward});
    hostile["phases"] = json!([{"name": awkward, "started": 0, "seconds": 1}]);
    hostile["errors"] = json!([awkward]);
    let mut row = row("constructor", "constructor", "200");
    row["scenario"] = "x".repeat(5000).into();
    row["reason"] = awkward.into();
    let page = opened([hostile, report(1, &[row])], &[(awkward, awkward)]).await;
    let browser = &page.browser;
    browser.click("#grid .cell").await;
    assert_eq!(browser.value("typeof window.broken").await, json!("undefined"));
    assert_eq!(browser.value("document.scripts.length").await, json!(2));
    assert_eq!(browser.count("img").await, 0);
    let fits = browser.value("document.documentElement.scrollWidth <= innerWidth").await;
    assert_eq!(fits, json!(true), "nothing pushes the page wide");
    page.closed_in_peace().await;
}
