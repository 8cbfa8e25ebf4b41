//! What is made for GitHub, read as GitHub reads it: by a parser of Markdown, and by the schema of SARIF.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sample;

use std::collections::BTreeSet;

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;
use svidproof::proof::verdict::Totals;
use svidproof::report::{github, markdown, sarif};
use svidproof::surface::{Change, Danger};

/// OASIS's own, as crate serde-sarif 0.8.0 (MIT) has it.
const SCHEMA: &str = include_str!("sarif/sarif-schema-2.1.0.json");

/// All that there is, but that quotes and dashes stay as they are.
const GITHUB: Options = Options::all().difference(Options::ENABLE_SMART_PUNCTUATION);

fn sarif_of(report: &svidproof::report::Report) -> Value {
    serde_json::from_str(&sarif::text(report)).unwrap()
}

#[test]
fn sarif_is_as_its_schema_says() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft7::options().build(&schema).unwrap();
    let wrong = |log: &Value| validator.iter_errors(log).map(|error| error.to_string()).collect::<Vec<_>>();
    let mut report = sample::report();
    let log = sarif_of(&report);
    assert_eq!(wrong(&log), Vec::<String>::new());
    report.errors = vec!["the API server went away".into()];
    let unfinished = sarif_of(&report);
    assert_eq!(wrong(&unfinished), Vec::<String>::new());
    assert_eq!(unfinished["runs"][0]["invocations"][0]["executionSuccessful"], false);
    for (place, value) in
        [("/runs/0/results/0/level", "bad"), ("/version", "2"), ("/runs/0/results/0/x", "y")]
    {
        let mut broken = log.clone();
        match broken.pointer_mut(place) {
            Some(found) => *found = value.into(),
            None => drop(
                broken["runs"][0]["results"][0].as_object_mut().unwrap().insert("x".into(), value.into()),
            ),
        }
        assert_ne!(wrong(&broken), Vec::<String>::new(), "{place} may be anything");
    }
}

#[test]
fn sarif_has_what_did_not_pass_and_what_surprises_at_its_line() {
    let report = sample::report();
    let log = sarif_of(&report);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().filter(|one| one["ruleId"] == rule).count();
    let Totals { failed, errored, flaky, .. } = report.totals;
    let findings = report.checks.iter().filter(|row| row.finding.is_some()).count();
    assert_eq!([of("failed"), of("errored"), of("flaky"), of("finding")], [failed, errored, flaky, findings]);
    // GitHub takes two results of one fingerprint for one.
    let prints: BTreeSet<_> = results.iter().map(|one| one["partialFingerprints"].to_string()).collect();
    assert_eq!(prints.len(), results.len());
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for one in results {
        let place = &one["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        let text = std::fs::read_to_string(format!("{}/../{uri}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let line = usize::try_from(place["region"]["startLine"].as_u64().unwrap()).unwrap();
        let written = text.lines().nth(line - 1).unwrap();
        assert!(
            ["check: ", "to: ", "surface: "].iter().any(|key| written.contains(key)),
            "{line}: {written}"
        );
        assert_eq!(rules[usize::try_from(one["ruleIndex"].as_u64().unwrap()).unwrap()]["id"], one["ruleId"]);
    }
}

/// A result is the same one in the next run, and another one for another reason to look at it.
#[test]
fn a_fingerprint_is_of_the_cell_and_not_of_the_run() {
    let mut report = sample::report();
    let before = sarif_of(&report);
    report.run = "another".into();
    for row in &mut report.checks {
        row.reason = format!("{} at pod web-{}", row.reason, 2);
        row.source.line += 7;
    }
    let after = sarif_of(&report);
    let prints = |log: &Value| -> Vec<String> {
        let results = log["runs"][0]["results"].as_array().unwrap();
        results.iter().map(|one| one["partialFingerprints"].to_string()).collect()
    };
    assert_eq!(prints(&before), prints(&after));
}

#[test]
fn every_annotation_is_one_line_and_the_worst_come_first() {
    let told = github::text(&sample::report());
    let levels: Vec<_> = told.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let mut sorted = levels.clone();
    sorted.sort_by_key(|level| {
        ["::error", "::warning", "::notice"].iter().position(|one| one == level).unwrap()
    });
    assert_eq!(levels, sorted);
    assert_eq!(levels.iter().collect::<BTreeSet<_>>().len(), 3, "{levels:?}");
    assert!(told.lines().all(|line| line.contains("file=harness/tests/sample/")), "{told}");
}

/// The texts of a table's cells, by row; whatever is neither text nor the table itself is told.
fn read(markdown: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let (mut rows, mut strange) = (vec![], vec![]);
    for event in Parser::new_ext(markdown, GITHUB) {
        match event {
            Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(vec![]),
            Event::Start(Tag::TableCell) => {
                if let Some(row) = rows.last_mut() {
                    row.push(String::new());
                }
            }
            Event::Text(text) => {
                if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                    cell.push_str(&text);
                }
            }
            Event::InlineHtml(html) if &*html == "<br>" => {
                if let Some(cell) = rows.last_mut().and_then(|row| row.last_mut()) {
                    cell.push('\n');
                }
            }
            Event::Start(Tag::Table(_) | Tag::Heading { .. } | Tag::Paragraph | Tag::Strong)
            | Event::End(_) => {}
            other => strange.push(format!("{other:?}")),
        }
    }
    (rows, strange)
}

fn opened(words: &str) -> Change {
    Change { danger: Danger::Opened, scenario: "s".into(), stage: "one".into(), words: words.into() }
}

/// Said of a change, it comes out as it went in, but for what a terminal or a reader's eyes would take for more
/// than text.
fn comes_out_as_text(words: &str) {
    let (rows, strange) = read(&markdown::changes(&[opened(words)], None));
    assert_eq!(strange, Vec::<String>::new(), "{words:?}");
    let is_told = |one: &char| {
        let marks = ['\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}'];
        let isolates = ['\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'];
        *one == '\n' || !(one.is_control() || marks.contains(one) || isolates.contains(one))
    };
    let meant: String = words.chars().filter(is_told).collect();
    let [_, row] = rows.as_slice() else { panic!("{words:?} makes {rows:?}") };
    let told: Vec<_> = row[2].split_whitespace().collect();
    assert_eq!(told, meant.split_whitespace().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What servers and files say is text.
    #[test]
    fn whatever_is_said_is_text(words in "[ -~\n]{0,80}", more in "\\PC{0,40}") {
        comes_out_as_text(&words);
        comes_out_as_text(&more);
    }
}

#[test]
fn what_breaks_the_careless_is_text() {
    comes_out_as_text(sample::AWKWARD);
    comes_out_as_text(
        "| a | b\n| --- | --- |\n```\n# x\n![y](https://example.org/z)\n&lt;b&gt; \\| $x$ [^1]",
    );
}

#[test]
fn no_address_becomes_a_link() {
    let told =
        markdown::changes(&[opened("see www.example.org, https://example.org or a@example.org")], None);
    for link in ["www.", "://", "@"] {
        assert!(!told.contains(link), "{told}");
    }
}

/// GitHub takes no summary over 1 MiB of a step.
#[test]
fn a_summary_fits_however_much_there_is_to_tell() {
    let many: Vec<_> = (0..20_000).map(|number| opened(&format!("{number} {}", "`|<&".repeat(40)))).collect();
    let mut report = sample::report();
    let row = report.checks[0].clone();
    report.checks.extend((0..20_000).map(|number| {
        let mut row = row.clone();
        row.verdict = svidproof::proof::verdict::Verdict::Failed;
        (row.check, row.reason) = (format!("check {number}"), "why ".repeat(1000));
        row
    }));
    let told = markdown::summary(&report, &many);
    assert!(told.len() < 1 << 20, "{}", told.len());
    assert_eq!(told.matches(" more: there is no room for them here.").count(), 2);
    assert!(told.contains("20000 opened up"));
    let (rows, strange) = read(&markdown::changes(&many, Some("https://example.org/a(b)")));
    let left: usize = 20_000 - (rows.len() - 1);
    assert!(markdown::changes(&many, None).contains(&format!("… and {left} more")), "{left}");
    assert!(strange.len() == 1 && strange[0].contains("https://example.org/a(b)"), "{strange:?}");
}
