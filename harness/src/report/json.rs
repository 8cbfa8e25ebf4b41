//! The report for programs.

use super::Report;

impl Report {
    /// Indented, with a newline at the end.
    pub fn to_json(&self) -> String {
        // Nothing in a report can fail to be written: no map has a key that is not text.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
