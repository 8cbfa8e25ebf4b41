//! The probe in the cluster, talked to over one exec stream: dials asked for, observations handed back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use svidproof_probe::protocol::{Answer, Ask, Call, Carried, Dial, Observation, Reply, Token};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::cluster::kube::{Backend, Exec, Kube, KubeError};
use crate::sys::bounded::end_of_stream;
use crate::sys::wait::{self, Look, WaitError};

/// Why the probe gave no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ProbeError {
    #[error("the probe in pod {pod}")]
    Exec { pod: String, source: KubeError },
    #[error(
        "the probe in pod {pod} ended: {problem}\n\
         hint: `kubectl logs` and `kubectl describe` of that pod say more"
    )]
    Ended { pod: String, problem: String },
    #[error("the probe in pod {pod}: {problem}")]
    Refused { pod: String, problem: String },
}

/// How long a probe may be silent beyond what it bounds an answer by itself: on a busy machine it is late.
const LATE: Duration = Duration::from_secs(20);
/// What it bounds a dial by, and what it asks of the Workload API.
const BOUND: Duration = Duration::from_secs(10);
/// How often it is looked whether it is silent for too long: what it owes changes meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// How long a probe that owes this answer may say nothing at all. A stream that died without a word ends
/// with that.
fn patience(ask: &Ask) -> Duration {
    let bound = match ask {
        Ask::Await { timeout_ms, .. } | Ask::Reach { timeout_ms, .. } => Duration::from_millis(*timeout_ms),
        Ask::Dial(_) | Ask::Fetch { .. } | Ask::Jwt { .. } => BOUND,
    };
    bound + LATE
}

type Asked = (Ask, oneshot::Sender<Answer>);

/// One stream to one probe. Asks may be made side by side; the stream ends with its owner.
pub struct Probe {
    pod: String,
    uid: String,
    node: String,
    asks: mpsc::Sender<Asked>,
    stream: JoinHandle<()>,
    /// Why the stream ended, once it did.
    ended: tokio::sync::watch::Receiver<Option<String>>,
}

impl Probe {
    /// Starts the probe's service in its pod, over one exec stream.
    pub async fn open(kube: &Kube, backend: &Backend) -> Result<Self, ProbeError> {
        let argv = ["/svidproof-probe", "serve"].map(Into::into).to_vec();
        let exec = Exec {
            namespace: backend.namespace.clone(),
            pod: backend.pod.clone(),
            container: "probe".into(),
            argv,
        };
        let process = kube
            .attach(&exec, true)
            .await
            .map_err(|source| ProbeError::Exec { pod: backend.pod.clone(), source })?;
        let (asks, queue) = mpsc::channel(64);
        let (why, ended) = tokio::sync::watch::channel(None);
        let stream = tokio::spawn(async move {
            let problem = serve(process, queue).await;
            let _ = why.send(Some(problem));
        });
        let (pod, node) = (backend.pod.clone(), backend.node.clone());
        Ok(Self { pod, uid: backend.uid().into(), node, asks, stream, ended })
    }

    /// The UID of its pod.
    pub fn pod_uid(&self) -> &str {
        &self.uid
    }

    /// The node that its pod is on.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Everything that the dial saw; what could not be judged is an outcome too.
    pub async fn dial(&self, dial: Dial) -> Result<Observation, ProbeError> {
        match self.ask(Ask::Dial(Box::new(dial))).await? {
            Answer::Observed(observation) => Ok(observation),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits until the Workload API has handed the probe an SVID for each of these SPIFFE IDs.
    pub async fn hold(&self, ids: Vec<String>, timeout_ms: u64) -> Result<(), ProbeError> {
        match self.ask(Ask::Await { ids, timeout_ms }).await? {
            Answer::Held { .. } => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits until a TCP connection to this `address:port` is accepted; nothing is sent over it. In words,
    /// what came instead.
    pub async fn reach(&self, address: &str, limit: Duration) -> Result<Result<(), String>, ProbeError> {
        // A port offers nothing to watch.
        let every = Duration::from_millis(100);
        let what = format!("TCP connections to be accepted at {address}");
        let waited = wait::poll(&what, limit, every, async || {
            let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            match self.ask(Ask::Reach { address: address.into(), timeout_ms }).await {
                Ok(Answer::Reached) => Look::Ready(()),
                Ok(Answer::Error(problem)) => Look::NotYet(problem),
                Ok(other) => Look::Fatal(self.unexpected(&other)),
                Err(error) => Look::Fatal(error),
            }
        });
        match waited.await {
            Ok(()) => Ok(Ok(())),
            Err(WaitError::TimedOut(late)) => Ok(Err(late.to_string())),
            Err(WaitError::Fatal { source, .. }) => Err(source),
        }
    }

    /// The SVID with this SPIFFE ID that the Workload API handed the probe, to be carried out of the cluster.
    pub async fn fetch(&self, id: String) -> Result<Carried, ProbeError> {
        match self.ask(Ask::Fetch { id }).await? {
            Answer::Svid(carried) => Ok(carried),
            other => Err(self.unexpected(&other)),
        }
    }

    /// A JWT-SVID with this SPIFFE ID for this audience, that the Workload API gives the probe.
    pub async fn jwt(&self, id: String, audience: String) -> Result<Token, ProbeError> {
        match self.ask(Ask::Jwt { id, audience }).await? {
            Answer::Jwt(token) => Ok(token),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, ProbeError> {
        let (reply, answer) = oneshot::channel();
        if self.asks.send((ask, reply)).await.is_err() {
            return Err(self.over());
        }
        answer.await.map_err(|_| self.over())
    }

    fn over(&self) -> ProbeError {
        let problem = self.ended.borrow().clone().unwrap_or_else(|| "its stream was closed".into());
        ProbeError::Ended { pod: self.pod.clone(), problem }
    }

    fn unexpected(&self, answer: &Answer) -> ProbeError {
        let problem = match answer {
            Answer::Error(problem) => problem.clone(),
            other => format!("an answer of another kind: {other:?}"),
        };
        ProbeError::Refused { pod: self.pod.clone(), problem }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

/// Carries asks out and answers in until either side ends; says why it ended.
///
/// The two ways go side by side: both run over one connection, which takes no ask while an answer waits to be
/// read.
async fn serve(mut process: kube::api::AttachedProcess, queue: mpsc::Receiver<Asked>) -> String {
    let (Some(stdin), Some(stdout), Some(stderr)) = (process.stdin(), process.stdout(), process.stderr())
    else {
        return "its standard streams are missing".into();
    };
    let waiting = Waiting::default();
    tokio::select! {
        ended = carry_out(stdin, queue, &waiting) => ended,
        ended = carry_in(stdout, &waiting) => {
            if let Some(problem) = ended {
                return problem;
            }
            let complaint = end_of_stream(stderr).await.unwrap_or_default().into_string();
            format!("its output came to an end\n{}", crate::sys::tool::last_lines(&complaint))
        }
    }
}

/// Who waits for which answer, and how long it is waited for in silence.
type Waiting = Mutex<BTreeMap<u64, (oneshot::Sender<Answer>, Duration)>>;

async fn carry_out(
    mut stdin: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Asked>,
    waiting: &Waiting,
) -> String {
    for id in 1.. {
        let Some((ask, reply)) = queue.recv().await else { break };
        let owed = (reply, patience(&ask));
        waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, owed);
        let Ok(mut line) = serde_json::to_vec(&Call { id, ask }) else {
            return "an ask could not be written".into();
        };
        line.push(b'\n');
        if let Err(e) = stdin.write_all(&line).await {
            return e.to_string();
        }
    }
    "nobody needs it any more".into()
}

/// An answer holds a body of 256 KiB at most, of which each byte may become six in JSON.
const LONGEST: usize = 8 << 20;

/// `None` where the output ended.
async fn carry_in(stdout: impl AsyncRead + Unpin, waiting: &Waiting) -> Option<String> {
    let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(LONGEST));
    let mut silent = Duration::ZERO;
    loop {
        let line = match tokio::time::timeout(LOOK, lines.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(None) => return None,
            Ok(Some(Err(e))) => return Some(format!("it answered what is not understood: {e}")),
            Err(_) => {
                let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                silent = if waiting.is_empty() { Duration::ZERO } else { silent + LOOK };
                // As long as it owes something that takes longer, it may have nothing to say.
                match waiting.values().map(|(_, patience)| *patience).max() {
                    Some(patience) if silent >= patience => {
                        let owed = waiting.len();
                        return Some(format!("it owes {owed} answer(s) and was silent for {silent:?}"));
                    }
                    _ => continue,
                }
            }
        };
        silent = Duration::ZERO;
        match serde_json::from_str::<Reply>(&line) {
            // No ask has this number: a line of ours was not understood, and nobody will be answered for it.
            Ok(Reply { id: 0, answer }) => {
                let hint = "its image is of another version of svidproof: `svidproof up` makes it anew";
                return Some(format!("it does not understand what it is asked: {answer:?}\nhint: {hint}"));
            }
            Ok(reply) => {
                let asker = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&reply.id);
                // An asker that was dropped needs no answer.
                let _ = asker.map(|(asker, _)| asker.send(reply.answer));
            }
            Err(e) => return Some(format!("it answered what is not understood: {e} in {line:.200}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// A connection that takes little in either direction, as that of an exec does, with a probe that answers
    /// at once and at length.
    #[tokio::test]
    async fn many_long_asks_and_answers_do_not_wait_for_each_other() {
        const ASKS: usize = 200;
        let (ours, theirs) = tokio::io::duplex(512);
        let (stdout, stdin) = tokio::io::split(ours);
        let (their_reading, mut their_writing) = tokio::io::split(theirs);
        let probe = async {
            let mut lines = BufReader::new(their_reading).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let call: Call = serde_json::from_str(&line).unwrap();
                let reply =
                    serde_json::to_string(&Reply { id: call.id, answer: Answer::Error("x".repeat(2000)) })
                        .unwrap();
                their_writing.write_all(format!("{reply}\n").as_bytes()).await.unwrap();
            }
        };
        let (asks, queue) = mpsc::channel(64);
        let waiting = Waiting::default();
        let asked = futures::future::join_all((0..ASKS).map(async |_| {
            let (reply, answer) = oneshot::channel();
            asks.send((Ask::Fetch { id: "y".repeat(2000) }, reply)).await.unwrap();
            answer.await.unwrap()
        }));
        let answers = tokio::select! {
            answers = asked => answers,
            ended = carry_out(stdin, queue, &waiting) => panic!("{ended}"),
            ended = carry_in(stdout, &waiting) => panic!("{ended:?}"),
            () = probe => panic!("the probe ended"),
        };
        assert_eq!(answers.len(), ASKS);
    }

    /// What ends a stream over which one ask went out and this line, if any, came back.
    async fn ended_by(line: &str) -> Option<String> {
        let (mut theirs, ours) = tokio::io::duplex(4096);
        theirs.write_all(line.as_bytes()).await.unwrap();
        let waiting = Waiting::default();
        waiting.lock().unwrap().insert(1, (oneshot::channel().0, BOUND + LATE));
        carry_in(ours, &waiting).await
    }

    #[tokio::test]
    async fn a_probe_that_does_not_understand_an_ask_is_no_wait_for_ever() {
        let line = "{\"id\":0,\"answer\":{\"error\":\"the line is not a call\"}}\n";
        let why = ended_by(line).await.unwrap();
        assert!(why.contains("the line is not a call") && why.contains("another version"), "{why}");
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_not_kept() {
        let waiting = Waiting::default();
        let why = carry_in(tokio::io::repeat(b'x'), &waiting).await.unwrap();
        assert_eq!(why, "it answered what is not understood: max line length exceeded");
    }

    proptest! {
        /// Whatever comes, it is an answer, or the end of the stream with a reason.
        #[test]
        fn anything_may_come_from_a_probe(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            json in r#"\{"id":[0-3],"answer":(\{"(error|held|observed|svid|jwt)":("x"|\{\}|[0-9]{1,20}|null)\}|"reached"|null)\}"#,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for line in [bytes.as_slice(), json.as_bytes()] {
                let waiting = Waiting::default();
                let ended = runtime.block_on(carry_in([line, b"\n"].concat().as_slice(), &waiting));
                prop_assert!(ended.is_none_or(|why| !why.is_empty()));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_owes_an_answer_is_not_silent_for_ever() {
        assert_eq!(ended_by("").await.unwrap(), "it owes 1 answer(s) and was silent for 30s");
    }

    #[test]
    fn what_takes_longer_is_waited_for_longer() {
        let wait = Ask::Await { ids: vec![], timeout_ms: 90_000 };
        assert_eq!(patience(&wait), Duration::from_secs(110));
        assert_eq!(patience(&Ask::Fetch { id: String::new() }), Duration::from_secs(30));
    }
}
