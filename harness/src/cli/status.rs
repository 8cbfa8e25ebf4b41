//! `svidproof status`: what stands by runs of this machine, and how a person reaches it. It only looks.

use jiff::Timestamp;
use svidproof_probe::protocol::{Http, TlsVersions};

use super::exit::{Ended, Exit, print};
use crate::cluster::kube::{Kube, KubeError, Resolved, Unresolved};
use crate::lease::Lease;
use crate::proof::plan::{Cell, plan};
use crate::provider::Cluster;
use crate::scenario::{self, CELL_HEADER, Client, Endpoint, FullClient, Scenario, written_out};
use crate::session::Record;
use crate::sys::chain;
use crate::sys::progress::Progress;
use crate::sys::tool::quoted;

/// Every run that has left a folder, the newest first.
pub(super) async fn status(progress: &Progress) -> Result<Exit, Ended> {
    let mut problems = vec![];
    let runs = Lease::all()?;
    if runs.is_empty() {
        progress.note("nothing stands\nhint: `svidproof up` brings a cluster up and keeps it");
    }
    for dir in runs {
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Lease::open(dir) {
            Ok(lease) => print(&run(&lease, &mut problems).await?)?,
            Err(error) if error.is_held() => print(&format!("run {id}: under way in another svidproof\n"))?,
            Err(error) => return Err(error.into()),
        }
    }
    if problems.is_empty() { Ok(Exit::Passed) } else { Err(Ended::not_judged(problems.join("\n"))) }
}

async fn run(lease: &Lease, problems: &mut Vec<String>) -> Result<String, Ended> {
    let since = lease.begun()?.map(|begun| since(begun, Timestamp::now())).unwrap_or_default();
    if !lease.kept()? {
        return Ok(format!(
            "run {}: not kept{since}: `svidproof up` goes on with one whose bring-up failed, `svidproof gc` \
             takes it down\n",
            lease.id
        ));
    }
    let record = Record::read(&lease.dir)?;
    let cluster = &record.cluster;
    let mut text = format!("run {}: kept{since}\n  {}\n", lease.id, about(&record));
    text += &format!("  export KUBECONFIG={}\n", quoted(&cluster.kubeconfig.to_string_lossy()));
    let kube = match answering(cluster).await {
        Ok(kube) => kube,
        Err(error) => {
            problems.push(format!("run {}: its cluster does not answer: {}", lease.id, chain(&error)));
            return Ok(text + "  it does not answer\n");
        }
    };
    for file in &record.scenarios {
        match scenario::load(file) {
            Ok(scenario) => text += &endpoints(&scenario, cluster, &kube, problems).await,
            Err(error) => problems.push(format!("run {}: {}", lease.id, chain(&error))),
        }
    }
    Ok(text)
}

/// A client of a cluster that has answered.
async fn answering(cluster: &Cluster) -> Result<Kube, KubeError> {
    let kube = Kube::connect(&cluster.kubeconfig, cluster.context.as_deref()).await?;
    kube.version().await?;
    Ok(kube)
}

/// `, since 2026-03-01 02:00 UTC (3 h 12 min)`.
fn since(begun: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(begun).as_mins();
    let age = match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    };
    format!(", since {} UTC ({age})", begun.strftime("%Y-%m-%d %H:%M"))
}

fn about(record: &Record) -> String {
    let parts = [("kubernetes", "Kubernetes"), ("spire", "SPIRE"), ("envoy", "Envoy")];
    let all = record.all_versions();
    let versions = parts.iter().filter_map(|(part, name)| Some((name, all.get(*part)?)));
    let versions: String = versions.map(|(name, version)| format!(", {name} {version}")).collect();
    format!("{} cluster {}{versions}", record.cluster.provider, record.cluster.name)
}

async fn endpoints(
    scenario: &Scenario,
    cluster: &Cluster,
    kube: &Kube,
    problems: &mut Vec<String>,
) -> String {
    let mut text = format!("  {} ({})\n", scenario.name, scenario.file.display());
    for (name, endpoint) in &scenario.endpoints {
        let service = &endpoint.service;
        let found = match kube.resolve(service).await {
            Ok(Ok(resolved)) => Ok(resolved),
            Ok(Err(Unresolved::NoService { .. })) => Err("is not there".into()),
            Ok(Err(Unresolved::SelectsNothing)) => Err("selects no pods".into()),
            Ok(Err(Unresolved::Behind { why })) => Err(why),
            Err(error) => {
                problems.push(format!("{}: endpoint {name}: {}", scenario.name, chain(&error)));
                Err("could not be looked up".into())
            }
        };
        text += &match found {
            Err(why) => format!("    {name}: Service {service} {why}\n"),
            Ok(resolved) => {
                let ready = format!("ready pods: {}", resolved.pods.len());
                match address(endpoint, cluster, &resolved) {
                    None => {
                        let port = endpoint.port;
                        format!("    {name}: within the cluster alone, {service} port {port}, {ready}\n")
                    }
                    Some((host, port)) => {
                        let at = url(endpoint, &host, port);
                        format!("    {name}: {at}, {ready}\n") + &by_hand(scenario, name, &host, port)
                    }
                }
            }
        };
    }
    text
}

/// Host and port at which this machine reaches it.
fn address(endpoint: &Endpoint, cluster: &Cluster, resolved: &Resolved) -> Option<(String, u16)> {
    let published = endpoint.published?;
    let of_node = cluster.mapped(published).map(|at| (at.ip().to_string(), at.port()));
    of_node.or_else(|| Some((resolved.ingress.clone()?, endpoint.port)))
}

fn url(endpoint: &Endpoint, host: &str, port: u16) -> String {
    let scheme = if endpoint.identity.is_some() { "https" } else { "http" };
    format!("{scheme}://{}:{port}", bracketed(host))
}

/// As it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

/// The commands that get an answer there: those of the scenario's first check that is answered. Nothing where
/// curl can make none of its checks.
fn by_hand(scenario: &Scenario, name: &str, host: &str, port: u16) -> String {
    let endpoint = &scenario.endpoints[name];
    let cells = scenario.stages.iter().flat_map(|stage| plan(scenario, stage, ""));
    let mut fit = cells.filter(|cell| cell.endpoint == name && curl_can(scenario, cell));
    let Some(cell) = fit.next() else { return String::new() };
    let target = written_out(&cell.target);
    let mut fetch = vec![];
    let mut curl = vec!["curl".to_owned()];
    let mut add = |words: &[&str]| curl.extend(words.iter().map(|word| (*word).to_owned()));
    if !cell.nobody {
        fetch.extend(["svidproof", "svid", "fetch", "--as", &cell.client]);
        add(&["--cert", "svid.0.pem", "--key", "svid.0.key"]);
    }
    match (&endpoint.identity, &endpoint.dns) {
        (None, _) => add(&[&format!("{}{target}", url(endpoint, host, port))]),
        (Some(_), Some(dns)) => {
            let way = format!("{dns}:443:{}:{port}", bracketed(host));
            add(&["--cacert", "bundle.0.pem", "--connect-to", &way, &format!("https://{dns}{target}")]);
        }
        // curl knows DNS names and addresses alone: whether the server proves its SPIFFE ID it does not look.
        (Some(_), None) => add(&["--insecure", &format!("{}{target}", url(endpoint, host, port))]),
    }
    let line = |words: Vec<String>| format!("      {}\n", words.join(" "));
    let fetch = fetch.into_iter().map(quoted).collect::<Vec<_>>();
    let fetch = if fetch.is_empty() { String::new() } else { line(fetch) };
    fetch + &line(curl.iter().map(|word| quoted(word)).collect())
}

/// It is a plain GET of somebody whose SVID can be carried out, and its answer is no error.
fn curl_can(scenario: &Scenario, cell: &Cell) -> bool {
    let client = &scenario.clients[&cell.client];
    let bears_a_token = matches!(client, Client::Full(FullClient { jwt: Some(_), .. }));
    let has_svid = cell.nobody || client.identity().is_some() && cell.forged.is_none();
    let is_plain = cell.method == "GET" && cell.http == Http::Http1 && cell.tls != TlsVersions::None;
    let says_more = cell.headers.iter().any(|(name, _)| name != CELL_HEADER)
        || cell.sni.is_some()
        || cell.authority.is_some()
        || !cell.body.is_empty();
    let is_answered = cell.expect.status.is_some_and(|status| status < 400);
    has_svid && !bears_a_token && is_plain && !says_more && is_answered
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn scenario(endpoint: &str, check: &str) -> Scenario {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("helm/web")).unwrap();
        let chart = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
        std::fs::write(folder.path().join("helm/web/Chart.yaml"), chart).unwrap();
        let text = format!(
            "scenario: web\ntrust-domain: example.org\n\
             spire: {{namespace: spire, server: spire-server, socket-dir: /run/spire}}\n\
             install:\n  - - {{release: web, chart: helm/web, namespace: web}}\n\
             registration: []\nendpoints: {{web: {{service: web/web, port: 443, {endpoint}}}}}\n\
             clients: {{a friend: /friend, nobody: none}}\n\
             stages: [{{stage: open, checks: [{check}]}}]\n"
        );
        let file = folder.path().join("web.yaml");
        std::fs::write(&file, text).unwrap();
        scenario::load(&file).unwrap()
    }

    #[rstest]
    #[case::with_a_name(
        "identity: /web, dns: web.example, admin: 1",
        "{check: in, as: a friend, to: web, send: GET /a?b=1, expect: {status: 200}}",
        "      svidproof svid fetch --as 'a friend'\n      curl --cert svid.0.pem --key svid.0.key --cacert \
         bundle.0.pem --connect-to web.example:443:127.0.0.1:8443 'https://web.example/a?b=1'\n"
    )]
    #[case::by_its_identity_alone(
        "identity: /web, admin: 1",
        "{check: in, as: a friend, to: web, send: GET /, expect: {status: 200}}",
        "      svidproof svid fetch --as 'a friend'\n      curl --cert svid.0.pem --key svid.0.key --insecure \
         https://127.0.0.1:8443/\n"
    )]
    #[case::a_page(
        "admin: 1",
        "{check: in, as: nobody, to: web, send: GET /, expect: {status: 200}}",
        "      curl http://127.0.0.1:8443/\n"
    )]
    #[case::nobody_is_answered(
        "identity: /web, admin: 1",
        "{check: in, as: a friend, to: web, send: POST /, expect: {status: 200}}",
        ""
    )]
    fn the_commands_are_those_of_a_check(#[case] endpoint: &str, #[case] check: &str, #[case] told: &str) {
        assert_eq!(by_hand(&scenario(endpoint, check), "web", "127.0.0.1", 8443), told);
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        let endpoint = &scenario(
            "identity: /web, admin: 1",
            "{check: in, as: a friend, to: web, send: GET /, expect: {status: 200}}",
        )
        .endpoints["web"];
        assert_eq!(url(endpoint, "::1", 443), "https://[::1]:443");
    }

    #[rstest]
    #[case("2026-03-01T02:05:00Z", ", since 2026-03-01 02:00 UTC (5 min)")]
    #[case("2026-03-02T04:00:59Z", ", since 2026-03-01 02:00 UTC (26 h 0 min)")]
    fn the_age_is_told(#[case] now: &str, #[case] told: &str) {
        let begun = "2026-03-01T02:00:00Z".parse().unwrap();
        assert_eq!(since(begun, now.parse().unwrap()), told);
    }
}
