//! The report for a browser: one file that refers to nothing outside of itself, so it works from a folder or
//! as a CI artefact.
//!
//! The report goes in as JSON and a small script lays it out. The page's policy runs no other script and
//! fetches nothing: what a check saw cannot do anything in the reader's browser.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Report;
use crate::proof::verdict::Totals;

const FRAME: &str = include_str!("page/frame.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/common.js");

const REPORT: Page<'_> = Page {
    what: "report",
    body: include_str!("page/page.html"),
    style: "",
    script: include_str!("page/page.js"),
};

/// The file's text.
pub fn page(report: &Report) -> String {
    REPORT.filled(&title(report), &serde_json::to_string(report).unwrap_or_default())
}

/// What tells one page from another.
pub(crate) struct Page<'a> {
    /// What it lays out: the ID of its data, and the name of the file that has the same, without `.json`.
    pub(crate) what: &'a str,
    /// Its sections.
    pub(crate) body: &'a str,
    /// What it has beyond the style and the script of all pages.
    pub(crate) style: &'a str,
    pub(crate) script: &'a str,
}

impl Page<'_> {
    /// The file's text, of which `json` alone may come from somebody else.
    pub(crate) fn filled(&self, title: &str, json: &str) -> String {
        let (style, script) = ([STYLE, self.style].concat(), [SCRIPT, self.script].concat());
        let frame = FRAME.replace("@WHAT@", self.what);
        // The data are filled in last: what looks like a place to fill in them stays as it is.
        [
            ("@SCRIPT-HASH@", hash(&script)),
            ("@STYLE-HASH@", hash(&style)),
            ("@STYLE@", style),
            ("@SCRIPT@", script),
            ("@BODY@", self.body.into()),
            ("@TITLE@", title.into()),
            ("@DATA@", embedded(json)),
        ]
        .into_iter()
        .fold(frame, |page, (place, text)| page.replacen(place, &text, 1))
    }
}

pub(super) fn title(report: &Report) -> String {
    let Totals { passed, client_side, recorded, failed, errored, flaky, skipped } = report.totals;
    let counts = [
        (failed, "failed"),
        (errored, "errored"),
        (flaky, "flaky"),
        (skipped, "skipped"),
        (passed, "passed"),
        (client_side, "client side only"),
        (recorded, "recorded"),
    ];
    let findings = report.checks.iter().filter(|row| row.finding.is_some()).count();
    let counts: Vec<_> = counts
        .into_iter()
        .chain([(findings, "findings")])
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    counts.join(", ")
}

/// JSON that no HTML parser can take for the end of its element, or for a comment's begin: a `<` only ever
/// stands within a JSON text, and there it may as well be written as an escape.
fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// As a Content-Security-Policy names what it lets in.
fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}
