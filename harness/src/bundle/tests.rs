//! What a bundle does with what it gathers. That it gathers is held by `harness/tests/cli_bundle.rs` and, on
//! a real cluster, `tests/bundle/`.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::io::AllowStdIo;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::archive::Archive;
use super::manifest::{Manifest, Outcome};
use super::step::{Done, Piece, Step, Unhad};
use super::{STEP, Subject, WHOLE, gather};
use crate::redact::Redactor;
use crate::sys::bounded::{KEPT, end_of};

/// Path -> text of all that is in an archive.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let place = entry.path().unwrap().display().to_string();
        let mut text = vec![];
        entry.read_to_end(&mut text).unwrap();
        (place, String::from_utf8_lossy(&text).into_owned())
    });
    entries.collect()
}

fn redactor() -> Arc<Redactor> {
    Arc::new(Redactor::knowing([b"a secret of the run".to_vec()]))
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_or_hangs_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out/bundle.tar.zst");
    let mut archive = Archive::create(&path, "0a1b2c3d").unwrap();
    let end = Instant::now() + WHOLE;
    let good = async { Ok(vec![Piece::text("good.txt", "it says: a secret of the run")]) };
    let steps = [
        Step::new("hangs", std::future::pending()),
        Step::new("fails", async { Err(Unhad::failed("refused: a secret of the run")) }),
        Step::new("good", good),
        Step::new("alone", async { Err(Unhad::left_alone("not here")) }),
    ];
    let mut told = vec![];
    for step in steps {
        told.push(archive.add(step.take(end, redactor()).await).unwrap());
    }
    let late = Step::new("late", async { Ok(vec![]) }).take(Instant::now(), redactor()).await;
    told.push(archive.add(late).unwrap());
    assert!(!path.exists(), "nothing is there before it is whole");
    let manifest = Manifest::new("0a1b2c3d", Some("a secret of the run broke"), Duration::from_secs(1), told);
    assert_eq!(manifest.gathered(), (1, 5));
    archive.finish(&manifest, &redactor()).unwrap();

    let all = unpacked(&path);
    assert_eq!(all["svidproof-0a1b2c3d/good.txt"], "it says: [redacted: a known secret]");
    let manifest: Value = serde_json::from_str(&all["svidproof-0a1b2c3d/manifest.json"]).unwrap();
    let step = |number: usize| &manifest["steps"][number];
    let limit = u64::try_from(STEP.as_millis()).unwrap();
    assert_eq!(
        (step(0)["outcome"].as_str(), step(0)["milliseconds"].as_u64()),
        (Some("timed-out"), Some(limit))
    );
    assert_eq!(step(0)["error"], "gave up waiting for hangs after 15 s; last status: it is still under way");
    assert_eq!(
        (&step(1)["outcome"], &step(1)["error"]),
        (&json!("failed"), &json!("refused: [redacted: a known secret]"))
    );
    let good = json!({"name": "good", "outcome": "gathered", "milliseconds": 0, "bytes": 35, "cut": 0,
        "redacted": 1, "files": ["good.txt"]});
    assert_eq!(*step(2), good);
    assert_eq!(step(3)["outcome"], "left-alone");
    assert_eq!(
        (&step(4)["outcome"], &step(4)["error"]),
        (&json!("not-begun"), &json!("not begun: all steps together may take 60 s"))
    );
    assert_eq!(manifest["why"], "[redacted: a known secret] broke");
}

#[test]
fn an_archive_that_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(Archive::create(&dir.path().join("bundle.tar.zst"), "run").unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_too_large_is_cut_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar.zst");
    let mut archive = Archive::create(&path, "run").unwrap();
    let large = vec![Piece::text("large.txt", vec![b'a'; 9 << 20])];
    let done =
        Done { name: "large".into(), outcome: Outcome::Gathered, error: None, took: STEP, pieces: large };
    let told = archive.add(done.cleaned(Arc::default()).await).unwrap();
    assert_eq!((told.cut, told.outcome), (1 << 20, Outcome::Gathered));
    archive.finish(&Manifest::new("run", None, STEP, vec![told]), &Redactor::default()).unwrap();
    let text = &unpacked(&path)["svidproof-run/large.txt"];
    assert!(text.ends_with("a\n[svidproof: 1048576 bytes more are cut off]\n"));
}

/// 100 MB, of which a little is kept; what is cut in two is left out.
#[tokio::test]
async fn of_a_long_log_its_end_is_kept_from_a_line_on() {
    let line = format!("{}\n", "x".repeat(999));
    let long = std::io::Cursor::new(line.repeat(1000)).chain(std::io::repeat(b'y').take(100 << 20));
    let end =
        end_of(AllowStdIo::new(long.chain(std::io::Cursor::new(format!("tail\n{line}"))))).await.unwrap();
    let (text, cut) = end.text();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        format!("[svidproof: cut: the {cut} bytes before this are left out]\n{line}")
    );
    assert_eq!(cut, 1_000_000 + (100 << 20) + 5);
    let short = end_of(AllowStdIo::new(line.as_bytes())).await.unwrap();
    assert_eq!(short.text(), (line.clone().into_bytes(), 0));
    let exact = end_of(AllowStdIo::new(std::io::repeat(b'z').take(KEPT as u64))).await.unwrap();
    assert_eq!(exact.text().1, 0);
}

#[tokio::test]
async fn of_a_run_that_came_to_nothing_there_is_what_it_noted() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir_all(run.join("machines/laptop")).unwrap();
    std::fs::write(run.join("machines/laptop/agent.log"), "token=abcdefgh and on\n").unwrap();
    std::fs::write(run.join("machines/laptop/token"), "0123-4567-join\n").unwrap();
    let journal = "{\"run\":{\"id\":\"r\"}}\n{\"making\":{\"thing\":\"network\",\"env\":[[\"API_KEY\",\"hush\"]]}}\n{\"torn";
    std::fs::write(run.join("lease.jsonl"), journal).unwrap();
    std::fs::write(dir.path().join("report.json"), "{\"run\": \"another\"}").unwrap();
    let file = dir.path().join("bundle.tar.zst");
    let subject = Subject {
        run: "r",
        dir: &run,
        scenarios: &[],
        reports: dir.path(),
        why: Some("0123-4567-join was refused"),
        only_looks: false,
    };
    gather(&subject, &file).await.unwrap();
    let all = unpacked(&file);
    let of = |name: &str| all.get(&format!("svidproof-r/{name}")).map(String::as_str);
    let names: Vec<_> = all.keys().filter_map(|name| name.strip_prefix("svidproof-r/")).collect();
    assert_eq!(
        names,
        ["error.txt", "journal.json", "manifest.json", "run/machines/laptop/agent.log", "versions.json"]
    );
    assert_eq!(of("error.txt"), Some("[redacted: a known secret] was refused"));
    assert_eq!(of("run/machines/laptop/agent.log"), Some("token=[redacted: by its name] and on\n"));
    let journal: Value = serde_json::from_str(of("journal.json").unwrap()).unwrap();
    assert_eq!(journal[1]["making"]["env"], json!([["API_KEY", "[redacted: by its name]"]]));
    assert_eq!(journal[2], "{\"torn");
    let manifest: Value = serde_json::from_str(of("manifest.json").unwrap()).unwrap();
    let report = manifest["steps"].as_array().unwrap().iter().find(|step| step["name"] == "report").unwrap();
    assert_eq!(report["outcome"], "left-alone", "the report of another run is not this one's");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
