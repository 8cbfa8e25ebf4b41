//! report.html in a real browser: it opens from a file, filters, shows a cell's story, and takes the
//! keyboard.
#![allow(clippy::unwrap_used, reason = "tests")]

mod history;
#[path = "../../harness/tests/sample/mod.rs"]
mod sample;
mod webdriver;

use std::path::{Path, PathBuf};

use serde_json::json;
use svidproof::proof::verdict::Verdict;
use svidproof::report::{Row, html};
use webdriver::Browser;

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";

struct Opened {
    browser: Browser,
    _folder: tempfile::TempDir,
}

async fn opened() -> Opened {
    opened_at(&html::page(&sample::report())).await
}

async fn opened_at(text: &str) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    std::fs::write(&page, text).unwrap();
    let browser = Browser::start().await;
    browser.open(&format!("file://{}", page.display())).await;
    Opened { browser, _folder: folder }
}

impl Opened {
    /// Ends the browser, after a look at what it complained about and asked for.
    async fn closed_in_peace(self) {
        assert_eq!(self.browser.console().await, Vec::<String>::new());
        assert_eq!(self.browser.value("performance.getEntriesByType('resource').length").await, json!(0));
        self.browser.quit().await;
    }
}

/// Left beside the build for a person to look at.
fn keep(name: &str, png: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, png).unwrap();
    path
}

#[tokio::test]
async fn it_opens_and_counts_every_cell() {
    let page = opened().await;
    let browser = &page.browser;
    let report = sample::report();
    assert_eq!(browser.count("#grids .cell").await, report.checks.len() as u64);
    assert_eq!(browser.text("#shown").await, format!("{} cells", report.checks.len()));
    assert_eq!(
        browser.text("button[data-verdict=failed]").await.trim_start_matches('✗').trim(),
        format!("{} failed", report.totals.failed)
    );
    assert_eq!(browser.count(".bars .bar").await, report.phases.len() as u64);
    assert!(browser.text("#versions").await.contains("1.39.0"));
    assert!(browser.text("#findings").await.contains(sample::FINDING));
    page.closed_in_peace().await;
}

#[tokio::test]
async fn filters_narrow_the_grid_and_clear() {
    let page = opened().await;
    let browser = &page.browser;
    let report = sample::report();
    let of = |chosen: &dyn Fn(&Row) -> bool| report.checks.iter().filter(|row| chosen(row)).count() as u64;
    browser.click("button[data-verdict=failed]").await;
    assert_eq!(browser.count("#grids .cell").await, report.totals.failed as u64);
    assert_eq!(browser.count("#grids .cell.failed").await, report.totals.failed as u64);
    browser.click("button[data-verdict=errored]").await;
    assert_eq!(browser.count("#grids .cell").await, (report.totals.failed + report.totals.errored) as u64);
    browser.keys("#filter-scenario", "front-proxy").await;
    let bad = |row: &Row| matches!(row.verdict, Verdict::Failed | Verdict::Errored);
    assert_eq!(browser.count("#grids .cell").await, of(&|row| bad(row) && row.scenario == "front-proxy"));
    browser.click("#filter-reset").await;
    assert_eq!(browser.count("#grids .cell").await, report.checks.len() as u64);
    browser.keys("#filter-stage", "only-frontend").await;
    browser.keys("#filter-client", "no-uri").await;
    browser.keys("#filter-endpoint", "backend").await;
    assert_eq!(
        browser.count("#grids .cell").await,
        of(&|row| row.stage == "only-frontend" && row.client == "no-uri" && row.to == "backend")
    );
    browser.click("#filter-reset").await;
    browser.keys("#filter-text", "%2E%2e").await;
    assert_eq!(browser.count("#grids .cell").await, of(&|row| row.send.contains("%2e%2e")));
    browser.keys("#filter-text", "nothing like that").await;
    assert_eq!((browser.count("#grids .cell").await, browser.count("#grids .empty").await), (0, 1));
    browser.click("#filter-reset").await;
    browser.click("button[data-finding]").await;
    assert_eq!(browser.count("#grids .cell").await, of(&|row| row.finding.is_some()));
    page.closed_in_peace().await;
}

#[tokio::test]
async fn a_cell_opens_to_what_was_expected_seen_and_counted() {
    let page = opened().await;
    let browser = &page.browser;
    let report = sample::report();
    let index = report
        .checks
        .iter()
        .position(|row| row.stage == "only-frontend" && row.client == "allowed-and-slash")
        .unwrap();
    assert_eq!(browser.count("#detail").await, 0);
    browser.click(&format!("#grids [data-cell='{index}']")).await;
    let detail = browser.text("#detail").await;
    for part in [
        "failed",
        "TLS alert certificate_unknown",
        "200 over HTTP/1.1",
        "saw 200",
        "frontend reads its account",
        "held",
        "21",
        "reached the application: yes",
    ] {
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    // One whose two accounts disagree.
    let index = report.checks.iter().position(|row| row.client == "expired").unwrap();
    browser.click(&format!("#problems [data-problem='{index}']")).await;
    assert!(browser.text("#detail").await.contains("timed out: no answer within 10 s"));
    assert_eq!(browser.text("#detail tr.differs").await, "forwarded\t22\t21");
    browser.click("#detail .close").await;
    assert_eq!(browser.count("#detail").await, 0);
    page.closed_in_peace().await;
}

#[tokio::test]
async fn the_keyboard_alone_will_do() {
    let page = opened().await;
    let browser = &page.browser;
    browser.value("document.querySelector('#grids .cell').focus()").await;
    assert_eq!(browser.count("#grids .cell[tabindex='0']").await, 1, "the grids are one stop of the Tab key");
    browser.press(DOWN).await;
    let focused = browser.value("Number(document.activeElement.dataset.cell)").await;
    browser.press(ENTER).await;
    assert_eq!(
        browser.value("Number(document.querySelector('#grids [aria-expanded=true]').dataset.cell)").await,
        focused
    );
    let name = &sample::report().checks[usize::try_from(focused.as_u64().unwrap()).unwrap()].check;
    assert_eq!(browser.text("#detail-title").await, *name);
    browser.press(ESCAPE).await;
    assert_eq!(browser.count("#detail").await, 0);
    assert_eq!(
        browser.value("Number(document.activeElement.dataset.cell)").await,
        focused,
        "the focus is back on the cell"
    );
    page.closed_in_peace().await;
}

#[tokio::test]
async fn awkward_texts_are_texts() {
    let page = opened().await;
    let browser = &page.browser;
    let last = sample::report().checks.len() - 1;
    browser.click(&format!("#grids [data-cell='{last}']")).await;
    assert_eq!(
        browser.value("document.getElementById('detail-title').textContent").await,
        json!(sample::AWKWARD)
    );
    assert_eq!(
        browser.value("document.querySelector('#detail .mono').textContent.length").await,
        json!("GET /".len() + 8192)
    );
    assert_eq!(browser.value("typeof window.broken").await, json!("undefined"));
    assert_eq!(browser.value("document.scripts.length").await, json!(2));
    assert_eq!(browser.count("img").await, 0);
    assert_eq!(
        browser.value("document.documentElement.scrollWidth <= innerWidth").await,
        json!(true),
        "nothing pushes the page wide"
    );
    page.closed_in_peace().await;
}

#[tokio::test]
async fn it_can_be_looked_at_light_dark_narrow_and_printed() {
    let page = opened().await;
    let browser = &page.browser;
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    let index = sample::report()
        .checks
        .iter()
        .position(|row| row.stage == "only-frontend" && row.client == "allowed-and-slash")
        .unwrap();
    let mut grounds = vec![];
    for scheme in ["light", "dark"] {
        browser.emulate("screen", scheme).await;
        grounds.push(browser.value(ground).await);
        browser.value("scrollTo(0, 0)").await;
        let top = browser.screenshot().await;
        browser.click(&format!("#grids [data-cell='{index}']")).await;
        let cell = browser.screenshot().await;
        browser.value("scrollTo(0, document.body.scrollHeight)").await;
        let end = browser.screenshot().await;
        browser.press(ESCAPE).await;
        for (name, png) in [("top", top), ("cell", cell), ("end", end)] {
            let path = keep(&format!("report-{scheme}-{name}.png"), &png);
            assert!(
                png.starts_with(b"\x89PNG") && png.len() > 20_000,
                "{}: {} bytes",
                path.display(),
                png.len()
            );
        }
    }
    assert_ne!(grounds[0], grounds[1]);
    browser.emulate("print", "dark").await;
    assert_eq!(
        (browser.value(ground).await, browser.count("#filters").await),
        (json!("rgb(255, 255, 255)"), 0)
    );
    browser.emulate("screen", "light").await;
    let phone = json!({ "width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    browser.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    assert_eq!(
        browser.value("document.documentElement.scrollWidth <= innerWidth").await,
        json!(true),
        "nothing pushes the page wide"
    );
    keep("report-narrow.png", &browser.screenshot().await);
    page.closed_in_peace().await;
}
