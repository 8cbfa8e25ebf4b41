//! The files that a run leaves behind, read by others' parsers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sample;

use std::collections::BTreeMap;
use std::path::Path;

use svidproof::proof::verdict::Totals;
use svidproof::report::{html, junit, schema};

#[test]
fn the_sample_has_something_of_everything() {
    let report = sample::report();
    let Totals { passed, recorded, failed, errored, flaky, skipped, .. } = report.totals;
    assert!(
        report.checks.len() >= 200
            && [passed, recorded, failed, errored, flaky, skipped].iter().all(|count| *count > 0),
        "{:?}",
        report.totals
    );
}

#[test]
fn junit_is_strict_xml_and_adds_up() {
    let report = sample::report();
    let text = junit::text(&report);
    let xml = roxmltree::Document::parse(&text).unwrap();
    let count = |tag: &str| xml.descendants().filter(|node| node.has_tag_name(tag)).count();
    let Totals { passed, client_side, recorded, failed, errored, flaky, skipped } = report.totals;
    assert_eq!(
        (count("testcase"), count("failure"), count("error"), count("skipped")),
        (report.checks.len(), failed, errored + flaky, skipped)
    );
    assert_eq!(passed + client_side + recorded + failed + errored + flaky + skipped, report.checks.len());
    let suites: Vec<_> = xml
        .descendants()
        .filter(|node| node.has_tag_name("testsuite"))
        .map(|suite| suite.attribute("name").unwrap())
        .collect();
    assert_eq!(suites, ["symbank", "front-proxy"]);
    // A CI system tells cases apart by their names.
    let mut names = BTreeMap::<_, usize>::new();
    for case in xml.descendants().filter(|node| node.has_tag_name("testcase")) {
        *names.entry((case.attribute("classname"), case.attribute("name"))).or_default() += 1;
    }
    assert!(names.values().all(|count| *count == 1), "{:?}", names.iter().find(|(_, count)| **count > 1));
}

#[test]
fn junit_of_each_verdict() {
    let mut report = sample::report();
    let mut kept = std::collections::HashSet::new();
    report.checks.pop();
    report.checks.retain(|row| kept.insert((row.verdict, row.finding.is_some())));
    insta::assert_snapshot!(junit::text(&report));
}

#[test]
fn the_page_refers_to_nothing_outside() {
    let page = html::page(&sample::report());
    let start = page.find("<script type=\"application/json\"").unwrap();
    let end = start + page[start..].find("</script>").unwrap();
    // What the data say is text and not a reference: the browser test holds that against them.
    let shell = format!("{}{}", &page[..start], &page[end..]);
    for reference in [
        "http:", "https:", "//cdn", "url(", "@import", " src=", " href=", "<link", "<img", "<iframe",
        "import(", "fetch(",
    ] {
        assert!(!shell.contains(reference), "{reference} in the page");
    }
    assert!(shell.contains("default-src 'none'"));
}

#[test]
fn no_text_leaves_the_pages_data() {
    let report = sample::report();
    let page = html::page(&report);
    assert_eq!(page.matches("</script>").count(), 2, "the data and the script, and nothing that a check saw");
    let data = page.split_once("id=\"report\">").unwrap().1.split_once("</script>").unwrap().0;
    assert!(!data.contains('<'));
    let back: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(back, serde_json::from_str::<serde_json::Value>(&report.to_json()).unwrap());
}

#[rstest::rstest]
#[case("report", schema::text())]
#[case("scenario", svidproof::scenario::schema_text())]
#[case("project", svidproof::project::schema())]
#[case("history", svidproof::history::schema())]
fn the_schema_is_checked_in(#[case] of: &str, #[case] text: String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{of}.schema.json"));
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == text,
        "docs/{of}.schema.json is not up to date\n\
         hint: UPDATE_SCHEMA=1 cargo test -p svidproof --test report"
    );
}

/// What is read as a scenario fits the schema, and what is not does not.
#[test]
fn scenarios_fit_their_schema() {
    let schema = serde_json::from_str(&svidproof::scenario::schema_text()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // Folders hold what scenarios send, and values of charts.
    for path in files.filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut scenario: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let wrong: Vec<_> = schema.iter_errors(&scenario).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
        scenario["trust-domian"] = "example.org".into();
        assert!(!schema.is_valid(&scenario), "an unknown key is taken");
    }
}

#[test]
fn a_report_is_as_the_schema_says() {
    let schema = serde_json::from_str(&schema::text()).unwrap();
    let validator = jsonschema::draft202012::options().build(&schema).unwrap();
    let report: serde_json::Value = serde_json::from_str(&sample::report().to_json()).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());
    for (wrong, place) in
        [(serde_json::json!("perhaps"), "/checks/0/verdict"), (serde_json::json!(-1), "/totals/passed")]
    {
        let mut report = report.clone();
        *report.pointer_mut(place).unwrap() = wrong;
        assert!(!validator.is_valid(&report), "{place} may be anything");
    }
}
