//! The applications' logs, followed for a whole stage: which dials' requests came through.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::target::Target;
use crate::cluster::kube::Kube;
use crate::proof::judge::{DialId, Logs};
use crate::proof::plan::Cell;
use crate::sys::wait::{self, Look};

/// The ids of a stage's dials take less, in bytes: a log that names more of them is none of its requests.
const NAMED: usize = 16 << 20;

/// How long a request's line may take from the application's standard output to here.
const LOG: Duration = Duration::from_secs(5);

type Seen = Result<BTreeSet<DialId>, String>;

/// By endpoint with an `app-log`.
pub(super) struct Followed(BTreeMap<String, Follower>);

struct Follower {
    seen: watch::Receiver<Seen>,
    reading: Vec<JoinHandle<()>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.reading.iter().for_each(JoinHandle::abort);
    }
}

impl Followed {
    /// Looks for what names dials of these cells, which are all of one stage.
    pub(super) async fn open(kube: &Kube, targets: &BTreeMap<String, Target<'_>>, cells: &[Cell]) -> Self {
        let Some(stem) = stem_of(cells) else { return Self(BTreeMap::new()) };
        let stem = stem.as_str();
        let logging = targets
            .iter()
            .filter_map(|(name, target)| Some((name, target, target.declared.app_log.as_ref()?)));
        let opened = logging.map(async |(name, target, container)| {
            let (tell, seen) = watch::channel(Ok(BTreeSet::new()));
            let mut reading = vec![];
            for pod in &target.pods {
                match kube.follow_log(&pod.backend, container).await {
                    Ok(lines) => reading.push(tokio::spawn(follow(
                        lines.map(|line| line.map_err(|e| crate::sys::chain(&e))),
                        stem.to_owned(),
                        tell.clone(),
                    ))),
                    Err(error) => drop(tell.send_replace(Err(crate::sys::chain(&error)))),
                }
            }
            (name.clone(), Follower { seen, reading })
        });
        Self(join_all(opened).await.into_iter().collect())
    }

    /// Waits until `count` of these dials are named there. That they are not in time is not an error here:
    /// the judge sees which requests are missing.
    pub(super) async fn settle(&self, endpoint: &str, dials: &BTreeSet<&str>, count: u64) {
        let Some(follower) = self.0.get(endpoint) else { return };
        let mut seen = follower.seen.clone();
        let enough = |seen: &Seen| {
            seen.as_ref().is_ok_and(|seen| {
                seen.iter().filter(|id| dials.contains(id.as_str())).count() as u64 >= count
            })
        };
        if enough(&seen.borrow_and_update()) {
            return;
        }
        let what = format!("the log of endpoint {endpoint} to name {count} request(s)");
        let next = async || {
            seen.changed().await.map_err(|_| "the log ended".to_owned())?;
            Ok::<_, String>(enough(&seen.borrow_and_update()))
        };
        let look = |enough| if enough { Look::Ready(()) } else { Look::NotYet("some are missing".into()) };
        let _ = wait::events::<_, _, String>(&what, LOG, next, look).await;
    }

    /// What they have said until now.
    pub(super) fn read(&self) -> Logs {
        self.0.iter().map(|(name, follower)| (name.clone(), follower.seen.borrow().clone())).collect()
    }
}

/// Notes the dials that lines name, until the log ends; then, since what came after is not known, says so.
async fn follow(
    lines: impl futures::Stream<Item = Result<String, String>>,
    stem: String,
    tell: watch::Sender<Seen>,
) {
    let mut lines = std::pin::pin!(lines);
    let mut named = 0;
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                let dials: Vec<_> = dials_in(&line, &stem).map(str::to_owned).collect();
                if dials.is_empty() {
                    continue;
                }
                named += dials.iter().map(String::len).sum::<usize>();
                if named > NAMED {
                    let why = format!(
                        "it names dials of this stage in more than {} MB, and no more of it is read\n\
                         hint: does the application log a request more than once?",
                        NAMED >> 20
                    );
                    return drop(tell.send_replace(Err(why)));
                }
                tell.send_modify(|seen| {
                    if let Ok(seen) = seen {
                        seen.extend(dials);
                    }
                });
            }
            Err(why) => return drop(tell.send_replace(Err(why))),
        }
    }
    let _ = tell.send_replace(Err("it ended while it was followed: was the pod replaced?".into()));
}

/// What the ids of all dials of these cells begin with, up to the number of the cell; see
/// [`CellId`](crate::proof::plan::CellId).
fn stem_of(cells: &[Cell]) -> Option<String> {
    let (stem, _) = cells.first()?.id.rsplit_once('.')?;
    Some(format!("{stem}."))
}

/// The dials that a line of an application's log names, however it prints the header.
fn dials_in<'a>(line: &'a str, stem: &'a str) -> impl Iterator<Item = &'a str> {
    let is_of_id = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-' | '_');
    line.match_indices(stem).map(move |(at, _)| {
        let id = &line[at..];
        let end = id.find(|one| !is_of_id(one)).unwrap_or(id.len());
        // A full stop after it ends the log's sentence.
        id[..end].trim_end_matches('.')
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use rstest::rstest;

    use super::*;

    /// What is known of a log's dials when its lines have come to their end.
    async fn followed(lines: impl futures::Stream<Item = Result<String, String>>) -> Seen {
        let (tell, seen) = watch::channel(Ok(BTreeSet::new()));
        follow(lines, "r-1.shop.one.".into(), tell).await;
        seen.borrow().clone()
    }

    #[tokio::test]
    async fn a_log_that_names_dials_without_end_is_not_kept() {
        let endless = stream::iter(0..).map(|n| Ok(format!("r-1.shop.one.{n}.{}", "a".repeat(1 << 16))));
        let why = followed(endless).await.unwrap_err();
        assert!(why.starts_with("it names dials of this stage in more than 16 MB"), "{why}");
        let why = followed(stream::iter([Err("more than 1 MB came".into())])).await.unwrap_err();
        assert_eq!(why, "more than 1 MB came");
    }

    #[rstest]
    #[case("x-svidproof-cell: r-1.shop.one.3.a0", &["r-1.shop.one.3.a0"])]
    #[case(r#"GET / "x-svidproof-cell=r-1.shop.one.3.a0" 200"#, &["r-1.shop.one.3.a0"])]
    #[case("map[Accept:[*/*] X-Svidproof-Cell:[r-1.shop.one.3.a0]]", &["r-1.shop.one.3.a0"])]
    #[case(r#"{"HTTP_X_SVIDPROOF_CELL":"r-1.shop.one.3.a0"}"#, &["r-1.shop.one.3.a0"])]
    #[case(r"\x22r-1.shop.one.3.a0\x22 200", &["r-1.shop.one.3.a0"])]
    #[case("cell r-1.shop.one.3.a0,r-1.shop.one.13.a1.", &["r-1.shop.one.3.a0", "r-1.shop.one.13.a1"])]
    #[case("x-svidproof-cell: r-2.shop.one.3.a0", &[])]
    #[case("GET / 200", &[])]
    fn a_line_names_its_dials(#[case] line: &str, #[case] dials: &[&str]) {
        assert_eq!(dials_in(line, "r-1.shop.one.").collect::<Vec<_>>(), dials);
    }
}
