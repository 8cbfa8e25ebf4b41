//! Surfaces as files: what is stored is loaded, and what is no surface is named.

use super::*;
use crate::sys::mutated::mutated;

#[test]
fn yaml_that_is_no_surface_is_refused() {
    assert!(Surface::from_yaml("scenario: a\nstage: b\n").is_err());
    assert!(Surface::from_yaml("scenario: a\nstage: b\ncells: {}\nmore: 1\n").is_err());
}

#[test]
fn what_is_stored_is_loaded() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("tests/snapshots");
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
            "request": request(&one.cell), "got": Got::of(one), "more": 1,
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
        itself.args(["--exact", "surface::tests::file::insta_takes_what_is_stored_and_writes_the_same"]);
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
    assert_eq!(text(&written).replace(&source, "source: tests/conformance/main.rs\n"), before);
    assert_eq!(load(theirs.path(), "symbank").unwrap(), [surface]);

    // And it can fail.
    std::fs::write(&stored, before.replace("alert 46", "alert 48")).unwrap();
    assert!(!assert_in(ours.path(), "no").status.success());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// A file that somebody edited, or that is something else: read, or told as what it looks like.
    #[test]
    fn whatever_a_file_holds_is_read_or_told(
        surface in mutated(written("one", &[("backend nobody GET /", "200 no body")]).to_yaml()),
        report in mutated(REPORT.into()),
        text in any::<String>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a.snap", &surface), ("report.json", &report), ("b.snap", &text)] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            if let Err(error) = read(&path) {
                prop_assert!(crate::sys::chain(&error).contains(name), "{error}");
            }
        }
    }
}

/// As far as a surface is read from one.
const REPORT: &str = r#"{"checks": [{"scenario": "symbank", "stage": "one", "to": "web", "as": "nobody",
    "request": "GET /", "got": "200 no body", "observed": {"outcome": "response", "status": 200},
    "verdict": "passed"}]}"#;

#[test]
fn what_is_made_almost_right_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    std::fs::write(&path, REPORT).unwrap();
    assert_eq!(read(&path).unwrap(), [written("one", &[("web nobody GET /", "200 no body")])]);
}
