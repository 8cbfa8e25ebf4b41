//! The binary's conversation, against a Workload API on a socket of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "fixture/asked.rs"]
mod asked;
mod fixture;

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;

use fixture::{Authority, BACKEND, FRONTEND, Leaf, config, listen_http};
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use svidproof_probe::protocol::{
    Answer, Ask, Call, Credential, Outcome, Reply, ServerProof, TlsVersions, Token, TrustAnchors,
};
use svidproof_probe::{Dial, Identities, serve};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::net::UnixListener;
use tokio::sync::watch;

const LONG_MS: u64 = 20_000;

/// What the agent hands out: an encoded `X509SVIDResponse`, or nothing to this workload.
type Issued = Option<Vec<u8>>;
type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        encoded.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    encoded.push(u8::try_from(length).unwrap());
    [encoded, bytes.to_vec()].concat()
}

fn issued(authority: &Authority, svids: &[(&str, &Leaf)]) -> Vec<u8> {
    let svid = |(id, leaf): &(&str, &Leaf)| {
        let fields = [
            field(1, id.as_bytes()),
            field(2, &leaf.chain[0]),
            field(3, leaf.key.secret_pkcs8_der()),
            field(4, &authority.der()),
        ];
        field(1, &fields.concat())
    };
    svids.iter().flat_map(svid).collect()
}

/// `FetchX509SVID` as SPIRE's agent answers it: a message for each change, and the end of the stream once
/// there is nothing to hand out.
fn fetch(agent: watch::Receiver<Issued>) -> http::Response<StreamBody<Frames>> {
    let denied = [("grpc-status", "7"), ("grpc-message", "no identity issued")];
    let frames = stream::unfold(Some((agent, true)), move |state| async move {
        let (mut agent, first) = state?;
        if !first {
            agent.changed().await.ok()?;
        }
        let now = agent.borrow_and_update().clone();
        Some(if let Some(message) = now {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            (Frame::data([&[0][..], &length, &message].concat().into()), Some((agent, false)))
        } else {
            let trailers =
                denied.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            (Frame::trailers(trailers), None)
        })
    });
    let frames: Frames = frames.map(Ok).boxed();
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames))
        .unwrap()
}

/// As base64url has it: `{"alg":"ES256","kid":"k","typ":"JWT"}`, `{"aud":["shop"],"exp":4000000000,
/// "sub":"spiffe://example.org/frontend"}` and a signature that nobody looks at.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJhdWQiOlsic2hvcCJdLCJleHAiOjQwMDAwMDAwMDAsInN1YiI6InNwaWZmZTovL2V4YW1wbGUub3JnL2Zyb250ZW5kIn0.c2lnbmVk";

/// `FetchJWTSVID`: one for `shop`, and nothing for anybody else.
async fn fetch_jwt(request: http::Request<Incoming>) -> http::Response<StreamBody<Frames>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked = [field(1, b"shop"), field(2, FRONTEND.as_bytes())].concat();
    let trailers = |status: &str, message: &str| {
        let all = [("grpc-status", status), ("grpc-message", message)];
        let all = all.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Frame::trailers(all.collect())
    };
    let frames = if body[5..] == asked[..] {
        let svid = [field(1, FRONTEND.as_bytes()), field(2, TOKEN.as_bytes())].concat();
        let message = field(1, &svid);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        vec![Frame::data([&[0][..], &length, &message].concat().into()), trailers("0", "")]
    } else {
        vec![trailers("7", "no identity issued")]
    };
    let frames: Frames = stream::iter(frames).map(Ok).boxed();
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames))
        .unwrap()
}

fn agent(socket: &Path) -> watch::Sender<Issued> {
    let (sender, receiver) = watch::channel(None);
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let receiver = receiver.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let receiver = receiver.clone();
                async move {
                    Ok::<_, Infallible>(match request.uri().path() {
                        "/SpiffeWorkloadAPI/FetchJWTSVID" => fetch_jwt(request).await,
                        path => {
                            assert_eq!(path, "/SpiffeWorkloadAPI/FetchX509SVID");
                            fetch(receiver)
                        }
                    })
                }
            });
            tokio::spawn(async move {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(connection), service).await;
            });
        }
    });
    sender
}

/// The other end of a conversation.
struct Talk {
    calls: WriteHalf<DuplexStream>,
    replies: Lines<BufReader<ReadHalf<DuplexStream>>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Talk {
    fn with(identities: Identities) -> Self {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (replies, calls) = tokio::io::split(here);
        let (input, output) = tokio::io::split(there);
        let served = tokio::spawn(serve(BufReader::new(input), output, identities));
        Self { calls, replies: BufReader::new(replies).lines(), served }
    }

    async fn say(&mut self, line: &str) {
        self.calls.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn call(&mut self, id: u64, ask: Ask) {
        self.say(&serde_json::to_string(&Call { id, ask }).unwrap()).await;
    }

    async fn reply(&mut self) -> Reply {
        serde_json::from_str(&self.replies.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, id: u64, ask: Ask) -> Answer {
        self.call(id, ask).await;
        let reply = self.reply().await;
        assert_eq!(reply.id, id);
        reply.answer
    }
}

fn await_ids(ids: &[&str], timeout_ms: u64) -> Ask {
    Ask::Await { ids: ids.iter().map(|id| (*id).to_owned()).collect(), timeout_ms }
}

fn dial(address: &str) -> Dial {
    Dial {
        address: address.into(),
        credential: Credential::Svid(FRONTEND.into()),
        server: Some(ServerProof {
            spiffe_id: BACKEND.into(),
            dns: None,
            anchors: TrustAnchors::TrustDomain("example.org".into()),
        }),
        tls: TlsVersions::Any,
        sni: None,
        request: asked::request(),
        timeout_ms: LONG_MS,
    }
}

#[tokio::test]
async fn svids_of_the_workload_api() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let identities = Identities::follow(format!("unix://{}", socket.display()));
    let mut talk = Talk::with(identities.clone());
    // Nothing listens yet, then nothing is issued, and then it is.
    talk.call(1, await_ids(&[FRONTEND], LONG_MS)).await;
    let agent = agent(&socket);
    let Answer::Error(missing) = talk.ask(2, await_ids(&[FRONTEND, BACKEND], 1)).await else { panic!() };
    assert!(
        missing.starts_with(&format!(
            "after 1 ms the Workload API had handed out no SVID for: {FRONTEND}, {BACKEND}; it had"
        )),
        "{missing}"
    );

    let authority = Authority::new("example.org");
    let (frontend, backend) = (authority.svid(FRONTEND), authority.svid(BACKEND));
    agent.send_replace(Some(issued(&authority, &[(FRONTEND, &frontend)])));
    assert_eq!(talk.reply().await, Reply { id: 1, answer: Answer::Held { ids: vec![FRONTEND.into()] } });

    let address =
        listen_http(
            config(&backend, authority.required()),
            |_| http::Response::new(Full::<Bytes>::default()),
        )
        .await;
    let Answer::Observed(seen) = talk.ask(3, Ask::Dial(Box::new(dial(&address.to_string())))).await else {
        panic!()
    };
    assert!(matches!(seen.outcome, Outcome::Response { status: 200, .. }), "{seen:?}");

    let Answer::Svid(carried) = talk.ask(4, Ask::Fetch { id: FRONTEND.into() }).await else { panic!() };
    let lines = |pem: &str| pem.lines().map(str::to_owned).collect::<Vec<_>>();
    let carried = [carried.chain, carried.key, carried.bundle].map(|pem| lines(&pem));
    assert_eq!(carried, [&frontend.chain_pem, &frontend.key_pem, &authority.pem()].map(|pem| lines(pem)));
    let Answer::Error(unknown) = talk.ask(5, Ask::Fetch { id: BACKEND.into() }).await else { panic!() };
    assert!(unknown.contains(&format!("no SVID for {BACKEND}; it handed out: {FRONTEND}")), "{unknown}");

    // An update on the open stream.
    talk.call(6, await_ids(&[FRONTEND, BACKEND], LONG_MS)).await;
    agent.send_replace(Some(issued(&authority, &[(FRONTEND, &frontend), (BACKEND, &backend)])));
    assert_eq!(
        talk.reply().await,
        Reply { id: 6, answer: Answer::Held { ids: vec![BACKEND.into(), FRONTEND.into()] } }
    );

    // Entries gone, and another one made: the stream ends and begins anew, and what it no longer hands out is
    // held no longer.
    agent.send_replace(None);
    let other = "spiffe://example.org/other";
    talk.call(7, await_ids(&[other], LONG_MS)).await;
    agent.send_replace(Some(issued(&authority, &[(other, &authority.svid(other))])));
    assert_eq!(talk.reply().await, Reply { id: 7, answer: Answer::Held { ids: vec![other.into()] } });
    assert_eq!(identities.held(), [other]);
}

#[tokio::test]
async fn a_jwt_svid_of_the_workload_api() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let _agent = agent(&socket);
    let mut talk = Talk::with(Identities::follow(format!("unix://{}", socket.display())));
    let ask = |id: &str, audience: &str| Ask::Jwt { id: id.into(), audience: audience.into() };
    assert_eq!(talk.ask(1, ask(FRONTEND, "shop")).await, Answer::Jwt(Token(TOKEN.into())));
    for (id, audience, problem) in [
        (FRONTEND, "other", "no identity issued"),
        (BACKEND, "shop", "no identity issued"),
        ("frontend", "shop", "scheme"),
    ] {
        let Answer::Error(why) = talk.ask(2, ask(id, audience)).await else { panic!() };
        let begun = format!("the Workload API gave no JWT-SVID of {id} for {audience}: ");
        assert!(why.starts_with(&begun) && why.contains(problem), "{why}");
    }
    let Answer::Error(why) = Talk::with(Identities::none()).ask(3, ask(FRONTEND, "shop")).await else {
        panic!()
    };
    assert!(why.contains("no Workload API was asked"), "{why}");
}

#[tokio::test]
async fn without_a_workload_api_a_dial_by_svid_says_so() {
    let Answer::Observed(seen) =
        Talk::with(Identities::none()).ask(1, Ask::Dial(Box::new(dial("127.0.0.1:1")))).await
    else {
        panic!()
    };
    let Outcome::Failed { detail, .. } = seen.outcome else { panic!() };
    assert!(
        detail.contains("no bundle of the trust domain example.org")
            && detail.contains("no Workload API was asked"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_line_that_is_no_call_is_answered_and_the_rest_too() {
    let mut talk = Talk::with(Identities::none());
    for line in [
        "",
        "{",
        "{\"id\": 7}",
        &json!({"id": 1, "ask": {"dial": {"address": "a", "surprise": 1}}}).to_string(),
    ] {
        talk.say(line).await;
        let Reply { id: 0, answer: Answer::Error(why) } = talk.reply().await else { panic!("{line}") };
        assert!(why.starts_with("the line is not a call: "), "{why}");
    }
    assert_eq!(talk.ask(9, await_ids(&[], 1)).await, Answer::Held { ids: vec![] });
}

#[tokio::test]
async fn it_ends_at_the_end_of_its_input_with_every_call_answered() {
    let mut talk = Talk::with(Identities::none());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for id in 1..=100 {
        let anchors = TrustAnchors::Pem(Authority::new("example.org").pem());
        let server = ServerProof { spiffe_id: BACKEND.into(), dns: None, anchors };
        let dial =
            Dial { timeout_ms: 5, credential: Credential::Nobody, server: Some(server), ..dial(&address) };
        talk.call(id, Ask::Dial(Box::new(dial))).await;
    }
    talk.calls.shutdown().await.unwrap();
    let mut answered = vec![];
    for _ in 1..=100 {
        answered.push(talk.reply().await.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=100).collect::<Vec<_>>());
    talk.served.await.unwrap().unwrap();
}

mod binary {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    #[allow(clippy::disallowed_methods, reason = "the harness's tool.rs is not part of the probe")]
    fn probe(arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svidproof-probe"));
        command.args(arguments).env_remove("SPIFFE_ENDPOINT_SOCKET");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[rstest::rstest]
    fn hold_ends_at_a_signal(#[values(Signal::TERM, Signal::INT)] signal: Signal) {
        let mut child = probe(&["hold"]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with(" holds\n"), "{line}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn serve_answers_and_ends() {
        let mut child = probe(&["serve"]);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"{\"id\":3,\"ask\":{\"await\":{\"ids\":[],\"timeout_ms\":1}}}\n")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "{\"id\":3,\"answer\":{\"held\":{\"ids\":[]}}}\n"
        );
        assert!(output.status.success());
    }

    #[rstest::rstest]
    #[case(&["--version"], 0, concat!("svidproof-probe ", env!("CARGO_PKG_VERSION"), "\n"), "")]
    #[case(&[], 2, "", "usage: svidproof-probe hold | serve | --version\n")]
    #[case(&["serve", "more"], 2, "", "usage: svidproof-probe hold | serve | --version\n")]
    fn the_command_line(
        #[case] arguments: &[&str],
        #[case] code: i32,
        #[case] stdout: &str,
        #[case] stderr: &str,
    ) {
        let output = probe(arguments).wait_with_output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!((output.status.code(), printed), (Some(code), [stdout.to_owned(), stderr.to_owned()]));
    }
}

#[tokio::test]
async fn whether_anybody_listens_is_told_without_a_word_to_them() {
    let mut talk = Talk::with(Identities::none());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reach = |address: &str| Ask::Reach { address: address.into(), timeout_ms: LONG_MS };
    assert_eq!(talk.ask(1, reach(&address)).await, Answer::Reached);
    let (mut accepted, _) = listener.accept().await.unwrap();
    let mut sent = vec![];
    tokio::io::AsyncReadExt::read_to_end(&mut accepted, &mut sent).await.unwrap();
    assert_eq!(sent, b"");
    drop(listener);
    let Answer::Error(refused) = talk.ask(2, reach(&address)).await else { panic!() };
    assert!(refused.starts_with(&format!("connecting to {address}: ")), "{refused}");
}
