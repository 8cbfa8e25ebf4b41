//! The history for a browser: one file, made as a report's page is, and with its style.

use super::History;
use crate::report::html::Page;

const PAGE: Page<'_> = Page {
    what: "history",
    body: include_str!("history.html"),
    style: include_str!("history.css"),
    script: include_str!("history.js"),
};

/// The file's text. `json`: the history's own, so that it is worked out once.
pub fn page(history: &History, json: &str) -> String {
    let lost = match history.unreadable.len() {
        0 => String::new(),
        lost => format!(", {lost} unreadable"),
    };
    PAGE.filled(&format!("{} runs{lost}", history.runs.len()), json)
}
