//! The history for a browser: one file, made as a report's page is, and with its style.

use super::History;
use crate::report::html;

const PAGE: &str = include_str!("history.html");
const STYLE: &str = include_str!("history.css");
const SCRIPT: &str = include_str!("history.js");

/// The file's text. `json`: the history's own, so that it is worked out once.
pub fn page(history: &History, json: &str) -> String {
    let lost = match history.unreadable.len() {
        0 => String::new(),
        lost => format!(", {lost} unreadable"),
    };
    let title = format!("{} runs{lost}", history.runs.len());
    html::filled(PAGE, &[html::STYLE, STYLE].concat(), SCRIPT, &title, json)
}
