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
use crate::scenario::CELL_HEADER;
use crate::sys::wait::{self, Look};

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
    pub(super) async fn open(kube: &Kube, targets: &BTreeMap<String, Target<'_>>) -> Self {
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
async fn follow(lines: impl futures::Stream<Item = Result<String, String>>, tell: watch::Sender<Seen>) {
    let mut lines = std::pin::pin!(lines);
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                let Some(dial) = dial_in(&line) else { continue };
                tell.send_modify(|seen| {
                    if let Ok(seen) = seen {
                        seen.insert(dial.to_owned());
                    }
                });
            }
            Err(why) => return drop(tell.send_replace(Err(why))),
        }
    }
    let _ = tell.send_replace(Err("it ended while it was followed: was the pod replaced?".into()));
}

/// The dial that a line of an application's log names.
fn dial_in(line: &str) -> Option<&str> {
    let rest = line.split(CELL_HEADER).nth(1).or_else(|| line.split("svidproof-cell").nth(1))?;
    rest.trim_start_matches(['=', ':', ' ', '"']).split([' ', '"', ',']).next()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("x-svidproof-cell: a.b.c.1", Some("a.b.c.1"))]
    #[case(r#"GET / "x-svidproof-cell=a.b" 200"#, Some("a.b"))]
    #[case(r#"svidproof-cell="a.b", 200"#, Some("a.b"))]
    #[case("GET / 200", None)]
    fn a_line_names_its_dial(#[case] line: &str, #[case] dial: Option<&str>) {
        assert_eq!(dial_in(line), dial);
    }
}
