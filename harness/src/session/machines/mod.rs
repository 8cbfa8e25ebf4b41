//! Machines outside of the cluster. This one plays all of them: each has a SPIRE agent of its own, a process
//! with its own folder and socket, which attests to the cluster's SPIRE server; its workloads are processes
//! of other Unix users.

mod config;
mod error;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use rustix::process::{Pid, geteuid};
use svidproof_probe::protocol::Carried;
use tokio::net::UnixStream;

use self::config::{FLAG, PROGRAM, Said, Site, said};
pub use self::error::MachineError;
use super::servers::server;
use super::{RunContext, SessionError, hands};
use crate::cluster::kube::Unresolved;
use crate::cluster::spire::{carried, held, of_certificate, of_token, standing_for};
use crate::forge::{self, Authority, machine_authorities};
use crate::halt::{self, Halt};
use crate::images::{self, Versions};
use crate::lease::{Lease, Thing};
use crate::provider::Provider;
use crate::scenario::{Attest, Client, FromOutside, FullClient, Machine, Scenario};
use crate::sys::progress::Progress;
use crate::sys::tool::{self, Tool};
use crate::sys::wait::{self, Look, WaitError};
use crate::sys::{chain, files, process};

/// Who may be any other user.
const ROOT: u32 = 0;

/// The image that the agent's program is in.
const IMAGE: &str = "ghcr.io/spiffe/spire-agent";

/// How long an agent may take to attest; its server is ready.
const ATTEST: Duration = Duration::from_secs(45);
/// A log and a socket tell nobody.
const LOOK: Duration = Duration::from_millis(100);
/// An agent that its server has banned hears it when it next asks for news: twice a second.
const BANNED: Duration = Duration::from_secs(30);
/// How long a workload waits for what is to be handed to it: an entry reaches its agent within 5 s.
const ANSWER: Duration = Duration::from_secs(30);
/// An agent that has no entry for a workload says so and announces nothing.
const ASK: Duration = Duration::from_millis(500);

/// Whether this machine can play those of the scenarios: said before anything is made.
///
/// # Errors
/// It is no Linux, other users are wanted of one who is not root, or the SPIRE server is published in a way
/// that leads nowhere with this provider.
pub(super) fn possible(scenarios: &[Scenario], provider: Provider) -> Result<(), SessionError> {
    playable(scenarios, provider, geteuid().as_raw())
}

/// The same for who is user `own`.
fn playable(scenarios: &[Scenario], provider: Provider, own: u32) -> Result<(), SessionError> {
    for scenario in scenarios.iter().filter(|scenario| !scenario.machines.is_empty()) {
        let file = scenario.file.clone();
        if !cfg!(target_os = "linux") {
            return Err(SessionError::NoMachines { file });
        }
        let outside = scenario.spire.outside.as_ref();
        if provider != Provider::Kind && outside.is_some_and(|to| to.published.node_port.is_some()) {
            return Err(SessionError::NodePortOfAnother { file });
        }
        let other = scenario.clients.values().filter_map(user).find(|user| *user != own);
        if let Some(user) = other.filter(|_| own != ROOT) {
            return Err(SessionError::NotRoot { file, user, own });
        }
    }
    Ok(())
}

fn user(client: &Client) -> Option<u32> {
    match client {
        Client::Full(FullClient { user, .. }) => *user,
        Client::Short(_) | Client::Forged { .. } => None,
    }
}

/// The agent's program, and whose it is; none where no scenario has a machine: the user's, else the one that
/// is in the declared image.
pub(super) async fn agent(
    scenarios: &[Scenario],
    home: &std::path::Path,
    versions: &Versions,
    progress: &Progress,
) -> Result<Option<(PathBuf, String)>, SessionError> {
    if scenarios.iter().all(|scenario| scenario.machines.is_empty()) {
        return Ok(None);
    }
    if let Some(users) = tool::find(PROGRAM) {
        return Ok(Some((users, "of PATH".into())));
    }
    let (program, version) = images::out_of(home, IMAGE, PROGRAM, versions, progress).await?;
    Ok(Some((program, format!("{version}, built"))))
}

/// Starts the agent of every machine, once the entries are there.
pub(super) async fn begin(
    context: &RunContext,
    lease: &Lease,
    scenario: &Scenario,
) -> Result<(), SessionError> {
    if scenario.machines.is_empty() {
        return Ok(());
    }
    let step = context.progress.part(format!("{}: SPIRE agents outside", scenario.name));
    let each = scenario.machines.iter().map(async |(name, machine)| {
        let failed = |source| failed(scenario, name, source);
        let site = site(context, name);
        let open = Thing::Folder { path: site.open.clone() };
        // A bring-up that failed may be gone on with; one that is there otherwise is somebody else's.
        let is_ours = lease.standing()?.contains(&open) && site.open.exists();
        lease.making(open)?;
        if !is_ours {
            files::make_open_folder(&site.open)?;
        }
        // Where it lies otherwise, only its owner may come. By another process: one that is started beside
        // this would hold what is written here open, and it could not be run ("text file busy").
        let copy = Tool::new("cp").arg("-f").arg(context.record().agent).arg(site.program()).run().await;
        copy.map_err(|source| failed(source.into()))?;
        let (program, flag) = (PROGRAM.to_owned(), FLAG.to_owned());
        lease.making(Thing::Process { program, flag, file: site.config() })?;
        start(context, scenario, name, machine).await.map_err(failed)
    });
    try_join_all(each).await?;
    halt::at(Halt::Machine).await;
    step.done();
    Ok(())
}

fn site(context: &RunContext, name: &str) -> Site {
    Site::of(&context.dir, &context.run, name)
}

fn failed(scenario: &Scenario, machine: &str, source: MachineError) -> SessionError {
    let source = Box::new(source);
    SessionError::Machine { scenario: scenario.name.clone(), machine: machine.into(), source }
}

/// The agent's process, if it runs.
fn running(site: &Site) -> Option<Pid> {
    process::running(PROGRAM, FLAG, &site.config())
}

/// The paths of the SPIFFE IDs that the agents of the scenario's machines have, or had.
pub(super) fn agents(context: &RunContext, scenario: &Scenario) -> Vec<String> {
    let of = |name: &String| files::read_text(&site(context, name).agents()).unwrap_or_default();
    scenario
        .machines
        .keys()
        .flat_map(|name| of(name).lines().map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Starts an agent anew, whatever there was of it, and waits until its server has taken it.
async fn start(
    context: &RunContext,
    scenario: &Scenario,
    name: &str,
    machine: &Machine,
) -> Result<(), MachineError> {
    let (site, server, domain) = (site(context, name), server(context, scenario), &scenario.trust_domain);
    process::end(PROGRAM, FLAG, &site.config()).await?;
    for path in [site.data(), site.socket(), site.log()] {
        files::remove(&path)?;
    }
    files::make_folder(&site.folder)?;
    files::replace(&site.bundle(), server.bundle_pem().await?)?;
    let id = match machine.attest {
        Attest::JoinToken => {
            let token = server.token().await?;
            files::replace(&site.token(), &token)?;
            of_token(&token)
        }
        Attest::X509pop => {
            let authority = Authority::kept(&machine_authorities(&context.dir), domain)?;
            if !site.certificate().exists() {
                let made = forge::of_machine(name, &authority)?;
                files::replace(&site.key(), made.key)?;
                files::replace(&site.certificate(), made.chain)?;
            }
            let certificate = files::read_text(&site.certificate())?;
            of_certificate(&certificate).ok_or(MachineError::Certificate { path: site.certificate() })?
        }
    };
    // One that was banned may come again, and what it attests anew is looked at anew.
    if server.known_agents().await?.contains_key(&id) {
        server.evict(&scenario.spiffe_id(&id)).await?;
    }
    let known = files::read_text(&site.agents()).unwrap_or_default();
    files::replace(&site.agents(), format!("{known}{id}\n"))?;
    // Before the agent: by it the run knows which one is its own.
    let stands = standing_for(&id, domain, &machine.id);
    server.create(domain, &hands::prefix(&context.run), &[stands]).await?;
    let (host, port) = address(context, scenario).await?;
    files::replace(&site.config(), site.text(domain, &host, port, machine.attest))?;
    let agent = Tool::new(site.program()).arg("run").arg(FLAG).arg(site.config()).log(site.log());
    let started = context.apart(|| agent.detach()).map_err(MachineError::Apart)?;
    let pid = Pid::from_raw(started?.cast_signed());
    attested(&site, scenario, machine.attest, pid).await
}

/// Where the SPIRE server is reached from this machine.
async fn address(context: &RunContext, scenario: &Scenario) -> Result<(String, u16), MachineError> {
    let FromOutside { service, port, published } =
        scenario.spire.outside.as_ref().ok_or(MachineError::NoWay)?;
    if let Some(mapped) = context.record().cluster.mapped(*published) {
        return Ok((mapped.ip().to_string(), mapped.port()));
    }
    let no_server = |why: String| MachineError::NoServer { service: service.clone(), why };
    let (namespace, name) = service.split_once('/').unwrap_or_default();
    context.kube.balanced(namespace, name, None).await?;
    let resolved = context.kube.resolve(service).await?.map_err(|unresolved| match unresolved {
        Unresolved::NoService { instead } => no_server(format!("is not there: there are {instead}")),
        Unresolved::SelectsNothing => no_server("leads to no pods".into()),
        Unresolved::Behind { why } => no_server(why),
    })?;
    let ingress = resolved.at(*port).map_err(no_server)?.ingress;
    ingress.map(|host| (host, *port)).ok_or_else(|| {
        no_server(
            "has no address outside of the cluster: give it the type LoadBalancer, or say a `node-port` and \
             use the provider `kind`"
                .into(),
        )
    })
}

/// Waits until the agent's server has taken it: it opens its socket then.
async fn attested(
    site: &Site,
    scenario: &Scenario,
    attest: Attest,
    agent: Option<Pid>,
) -> Result<(), MachineError> {
    let look = async || {
        let Said { last, is_refused } = said(&files::read_text(&site.log()).unwrap_or_default());
        // One ends by itself then, another tries again in vain.
        if is_refused {
            let hint = MachineError::hint(attest, &scenario.spire);
            return Look::Fatal(MachineError::Refused { last, hint });
        }
        if let Some(how) = process::end_of(agent) {
            return Look::Fatal(MachineError::Ended { how, last });
        }
        if UnixStream::connect(site.socket()).await.is_ok() {
            return Look::Ready(());
        }
        Look::NotYet(last)
    };
    let waited = wait::poll("the SPIRE agent to attest to its server", ATTEST, LOOK, look).await;
    match waited {
        Ok(()) => Ok(()),
        Err(error) => {
            // What does not attest is no agent: nothing of it goes on trying.
            process::end(PROGRAM, FLAG, &site.config()).await?;
            Err(MachineError::of_wait(error))
        }
    }
}

/// When a stage begins: an agent that has ended since, or that its server has forgotten, is started anew.
pub async fn ensure(context: &RunContext, scenario: &Scenario) -> Result<(), SessionError> {
    if scenario.machines.is_empty() {
        return Ok(());
    }
    let server = server(context, scenario);
    let spire = |source| SessionError::Spire { scenario: scenario.name.clone(), source };
    let known = server.known_agents().await.map_err(spire)?;
    for (name, machine) in &scenario.machines {
        let id = current(context, name);
        let is_known = id.as_ref().is_some_and(|id| known.get(id) == Some(&false));
        if is_known && running(&site(context, name)).is_some() {
            continue;
        }
        context.progress.note(&format!(
            "scenario {}: the SPIRE agent of machine {name} had ended, or its server had lost it, and is \
             started anew",
            scenario.name
        ));
        start(context, scenario, name, machine).await.map_err(|source| failed(scenario, name, source))?;
    }
    Ok(())
}

/// The path of the SPIFFE ID of the machine's agent.
fn current(context: &RunContext, name: &str) -> Option<String> {
    let all = files::read_text(&site(context, name).agents()).ok()?;
    all.lines().last().map(ToOwned::to_owned)
}

/// Has the SPIRE server ban the machine's agent, and waits until that has ended: nothing is handed out on the
/// machine any more.
pub async fn ban(context: &RunContext, scenario: &Scenario, name: &str) -> Result<(), SessionError> {
    let failed = |source| failed(scenario, name, source);
    let site = site(context, name);
    let id = current(context, name).ok_or_else(|| failed(MachineError::NoWay))?;
    // Before it hears: a process that has ended cannot be watched.
    let agent = running(&site);
    let banned = server(context, scenario).ban(&scenario.spiffe_id(&id)).await;
    banned.map_err(|source| failed(source.into()))?;
    let Some(agent) = agent.and_then(|pid| process::end_event(pid).ok()) else { return Ok(()) };
    let what = format!("the SPIRE agent of machine {name}, which its server has banned, to end");
    let ended = process::ended_by(agent, &what, BANNED).await;
    ended.map_err(|error| failed(MachineError::NotEnded { source: error }))
}

/// The SVID that the machine's agent hands to the client's own process; none for one that has none, which is
/// what the agent must say then. In words, why it is not so.
pub async fn svid(
    context: &RunContext,
    scenario: &Scenario,
    client: &Client,
) -> Result<Option<Carried>, String> {
    let name = client.machine().ok_or("it is no user of a machine")?;
    let site = site(context, name);
    let workload = Tool::new(site.program())
        .args(["api", "fetch", "x509", "-output", "json", "-socketPath"])
        .arg(site.socket())
        .limit(ANSWER);
    let (workload, who) = match user(client) {
        Some(number) if geteuid().is_root() => (workload.user(number), number),
        Some(number) if number != geteuid().as_raw() => {
            return Err(format!("only root may be user {number} of machine {name}"));
        }
        _ => (workload, geteuid().as_raw()),
    };
    let id = client.identity().map(|path| scenario.spiffe_id(path));
    let what = match &id {
        Some(id) => format!("user {who} of machine {name} to be handed {id}"),
        None => format!("machine {name} to say that user {who} is handed nothing"),
    };
    let handed = wait::poll(&what, ANSWER, ASK, async || {
        let answer =
            workload.clone().run().await.map(|output| output.stdout).map_err(|error| error.to_string());
        handed(answer, id.as_deref())
    });
    handed.await.map_err(|error| match error {
        WaitError::TimedOut(end) => end.to_string(),
        WaitError::Fatal { source, .. } => format!("{what}: {source}"),
    })
}

/// What SPIRE's agent says to a process for which there is no entry.
const NOTHING: &str = "no identity issued";

/// What came of one question, where `id` is what is to be handed out, or none is.
fn handed(answer: Result<String, String>, id: Option<&str>) -> Look<Option<Carried>, String> {
    match (answer, id) {
        (Ok(printed), Some(id)) => match carried(&printed, id) {
            Ok(carried) => Look::Ready(Some(carried)),
            Err(why) => Look::NotYet(why),
        },
        (Ok(printed), None) => match held(&printed) {
            Ok(ids) => Look::Fatal(format!("it was handed {}", ids.join(", "))),
            Err(why) => Look::NotYet(why),
        },
        (Err(why), None) if why.contains(NOTHING) => Look::Ready(None),
        (Err(why), _) if why.contains(NOTHING) => Look::NotYet(NOTHING.into()),
        (Err(why), _) => Look::NotYet(why),
    }
}

/// The CA certificates that the machine's agent was given to know its server by, as PEM.
pub fn bundle(context: &RunContext, name: &str) -> Result<String, String> {
    files::read_text(&site(context, name).bundle()).map_err(|error| chain(&error))
}

impl MachineError {
    fn of_wait(error: WaitError<Self>) -> Self {
        match error {
            WaitError::TimedOut(source) => Self::Wait(source),
            WaitError::Fatal { source, .. } => source,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn scenario(published: &str, user: &str) -> Scenario {
        crate::scenario::read_text(&format!(
            "
scenario: small
trust-domain: example.org
spire:
  namespace: spire
  server: server
  socket-dir: /run
  outside: {{service: spire/server, port: 8081, published: {published}}}
install: []
registration: [{{id: /a, parent: /vm, select: ['unix:uid:7']}}]
machines: {{vm: {{id: /vm, attest: join-token}}}}
endpoints: {{web: {{service: a/web, port: 443, identity: /web, published: {{}}}}}}
clients: {{a: {{id: /a, machine: vm{user}}}}}
stages:
  - {{stage: one, checks: [{{check: served, as: a, to: web, send: GET /, expect: {{status: 200}}}}]}}
"
        ))
    }

    #[cfg(target_os = "linux")]
    #[rstest]
    #[case::root_is_anybody("{}", ", user: 7", Provider::Existing, 0, "")]
    #[case::anybody_is_himself("{}", ", user: 7", Provider::Existing, 7, "")]
    #[case::nobody_said("{}", "", Provider::Gke, 7, "")]
    #[case::another(
        "{}",
        ", user: 7",
        Provider::Kind,
        8,
        "and svidproof runs as user 8: only root may be another"
    )]
    #[case::a_node_port_of_kinds("{node-port: 30081}", "", Provider::Kind, 0, "")]
    #[case::a_node_port_of_anothers(
        "{node-port: 30081}",
        "",
        Provider::Existing,
        0,
        "only the provider `kind` leads"
    )]
    fn what_this_machine_cannot_play_is_said_before_anything_is_made(
        #[case] published: &str,
        #[case] user: &str,
        #[case] provider: Provider,
        #[case] own: u32,
        #[case] expected: &str,
    ) {
        let told = playable(&[scenario(published, user)], provider, own);
        let told = told.map_err(|error| (error.is_input(), error.to_string()));
        match told {
            Ok(()) => assert_eq!(expected, ""),
            Err((is_input, why)) => {
                assert!(is_input && why.contains(expected) && !expected.is_empty(), "{why}");
            }
        }
    }

    const NONE: &str = "`spire-agent api fetch x509` ended with exit status 1 after 0.1 s; its last lines:\n  \
                        rpc error: code = PermissionDenied desc = no identity issued";
    const AWAY: &str = "`spire-agent api fetch x509` ended with exit status 1: connection refused";

    #[rstest]
    #[case::nothing_and_that_is_right(Err(NONE), None, "ready")]
    #[case::nothing_yet(Err(NONE), Some("spiffe://a/b"), "not yet: no identity issued")]
    #[case::the_agent_is_away(Err(AWAY), None, "not yet: `spire-agent")]
    #[case::one_that_is_none_of_its_own(
        Ok(r#"{"svids": []}"#),
        Some("spiffe://a/b"),
        "not yet: the workload holds no"
    )]
    #[case::one_that_it_should_not_have(
        Ok(r#"{"svids": [{"spiffe_id": "spiffe://a/b", "x509_svid": "", "x509_svid_key": "", "bundle": ""}]}"#),
        None,
        "never: it was handed spiffe://a/b"
    )]
    fn who_is_handed_nothing_is_known_by_the_agents_own_word(
        #[case] answer: Result<&str, &str>,
        #[case] id: Option<&str>,
        #[case] expected: &str,
    ) {
        let told = match handed(answer.map(Into::into).map_err(Into::into), id) {
            Look::Ready(_) => "ready".to_owned(),
            Look::NotYet(why) => format!("not yet: {why}"),
            Look::Fatal(why) => format!("never: {why}"),
        };
        assert!(told.starts_with(expected), "{told}");
    }
}
