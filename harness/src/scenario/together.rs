//! What scenarios of one run must not share, since they stand side by side in one cluster: found before
//! anything is made. What must hold within one scenario is `validate`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::{Mistake, Scenario, ScenarioError};

/// The probes' namespace.
pub const PROBES: &str = "svidproof";

/// The name of a scenario's probe: of its release and of its ServiceAccount.
pub fn probe_name(scenario: &str) -> String {
    format!("probe-{scenario}")
}

/// Whether the scenarios can stand in one cluster. All that collides is told at once, each with both places.
pub fn together(scenarios: &[Scenario]) -> Result<(), ScenarioError> {
    let probe = |scenario: &Scenario| Thing::Release(PROBES.into(), probe_name(&scenario.name));
    let mut taken: BTreeMap<Thing, Owner> =
        scenarios.iter().map(|scenario| (probe(scenario), Owner::Probe)).collect();
    let mut mistakes = vec![];
    for scenario in scenarios {
        for claim in claims(scenario) {
            let Claim { thing, place, whose } = claim;
            match taken.get(&thing) {
                None => drop(taken.insert(thing, Owner::Scenario { at: located(scenario, place), whose })),
                Some(Owner::Scenario { whose: other, .. }) if whose.is_some() && *other == whose => {}
                Some(owner) => mistakes.push(Mistake {
                    file: scenario.file.clone(),
                    line: place.line,
                    column: place.column,
                    message: format!("{}: {}", thing.taken_by(owner), thing.hint()),
                }),
            }
            // Two of one name are one file named twice, or a copy: all else in them collides as well.
            if mistakes.last().is_some_and(|last| last.file == scenario.file && is_name(last, scenario)) {
                break;
            }
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(ScenarioError::Invalid { mistakes }) }
}

fn is_name(mistake: &Mistake, scenario: &Scenario) -> bool {
    let place = scenario.place_of(|places| places.at("scenario").place());
    (mistake.line, mistake.column) == (place.line, place.column)
}

/// What only one can have in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Name(String),
    /// Namespace and name.
    Release(String, String),
    Socket(PathBuf),
    /// Namespace and name.
    Authority(String, String),
    /// Of the Secret with the CA of machines: namespace and name.
    MachineAuthority(String, String),
    /// A machine outside, whose agent's socket has its name.
    Machine(String),
    NodePort(u16),
    HostPort(u16),
}

enum Owner {
    /// svidproof's own, of some scenario.
    Probe,
    Scenario {
        at: String,
        whose: Option<String>,
    },
}

struct Claim {
    thing: Thing,
    place: Place,
    /// Whoever is the same may have it too.
    whose: Option<String>,
}

/// In the order in which they are told; the name first.
fn claims(scenario: &Scenario) -> Vec<Claim> {
    let mut claims = vec![];
    let mut claim = |thing, place, whose| claims.push(Claim { thing, place, whose });
    let at = |place: &dyn Fn(&super::place::Node) -> Place| scenario.place_of(place);
    claim(Thing::Name(scenario.name.clone()), at(&|places| places.at("scenario").place()), None);
    for (wave, releases) in scenario.install.iter().enumerate() {
        for (number, release) in releases.iter().enumerate() {
            let place = at(&|places| places.at("install").nth(wave).nth(number).at("release").place());
            claim(Thing::Release(release.namespace.clone(), release.name.clone()), place, None);
        }
    }
    if let Some(release) = scenario.registration_release() {
        let place = at(&|places| places.at("registration").at("manifests").place());
        claim(Thing::Release(release.namespace, release.name), place, None);
    }
    let spire = &scenario.spire;
    if let Some(folder) = &spire.socket_dir {
        // As a path: a slash more at the end leads to the same folder.
        let socket = Path::new(folder).join(&spire.socket_file).components().collect();
        claim(Thing::Socket(socket), at(&|places| places.at("spire").at("socket-dir").place()), None);
    }
    if let Some(name) = &spire.authority_secret {
        let place = at(&|places| places.at("spire").at("authority-secret").place());
        claim(Thing::Authority(spire.namespace.clone(), name.clone()), place, None);
    }
    if let Some(name) = &spire.x509pop_secret {
        let place = at(&|places| places.at("spire").at("x509pop-secret").place());
        claim(Thing::MachineAuthority(spire.namespace.clone(), name.clone()), place, None);
    }
    for name in scenario.machines.keys() {
        claim(Thing::Machine(name.clone()), at(&|places| places.at("machines").key(name)), None);
    }
    let endpoints = scenario.endpoints.iter().filter_map(|(name, endpoint)| {
        let place = |key: &str| at(&|places| places.at("endpoints").at(name).at("published").at(key).place());
        Some((endpoint.published?, &endpoint.service, endpoint.port, place("node-port"), place("host-port")))
    });
    let server = spire.outside.iter().map(|outside| {
        let place =
            |key: &str| at(&|places| places.at("spire").at("outside").at("published").at(key).place());
        (outside.published, &outside.service, outside.port, place("node-port"), place("host-port"))
    });
    for (published, service, port, at_node_port, at_host_port) in endpoints.chain(server) {
        // Two endpoints may be one Service, dialled in two ways.
        let whose = format!("{} {service}:{port}", scenario.name);
        if let Some(port) = published.node_port {
            claim(Thing::NodePort(port), at_node_port, Some(whose));
        }
        if let Some(port) = published.host_port {
            claim(Thing::HostPort(port), at_host_port, None);
        }
    }
    claims
}

fn located(scenario: &Scenario, place: Place) -> String {
    format!("{}:{}:{}", scenario.file.display(), place.line, place.column)
}

impl Thing {
    fn taken_by(&self, owner: &Owner) -> String {
        let what = match self {
            Self::Name(name) => format!("the scenario's name `{name}`"),
            Self::Release(namespace, name) => format!("release `{name}` in namespace `{namespace}`"),
            Self::Socket(path) => format!("the agent's socket `{}`", path.display()),
            Self::Authority(namespace, name) => format!("the CA's secret `{namespace}/{name}`"),
            Self::MachineAuthority(namespace, name) => format!("the machines' secret `{namespace}/{name}`"),
            Self::Machine(name) => format!("machine `{name}`"),
            Self::NodePort(port) => format!("node port {port}"),
            Self::HostPort(port) => format!("host port {port}"),
        };
        match owner {
            Owner::Probe => format!("{what} is that of svidproof's own probe"),
            Owner::Scenario { at, .. } => format!("{what} is also at {at}, and they would share one cluster"),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Name(_) | Self::Machine(_) => "name one of them otherwise",
            Self::Release(..) => "give one of them another name or namespace",
            Self::Socket(_) => "give each SPIRE agent a folder of its own, in its chart's values too",
            Self::Authority(..) | Self::MachineAuthority(..) => {
                "give each SPIRE server a secret of its own, in its chart's values too"
            }
            Self::NodePort(_) | Self::HostPort(_) => "give one of them another port",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// The charts are not there: nothing is installed in these.
    const ONE: &str = "\
scenario: one
trust-domain: example.org
spire:
  namespace: spire
  server: server
  authority-secret: ca
  socket-dir: /run/one
install: []
registration: []
endpoints:
  web: {service: a/web, port: 443, identity: /web, published: {node-port: 30001, host-port: 8001}}
clients: {friend: /friend}
stages:
  - {stage: one, checks: [{check: a, as: friend, to: web, send: GET /, expect: {status: 200}}]}
";

    fn two() -> String {
        ONE.replace("scenario: one", "scenario: two")
            .replace("/run/one", "/run/two")
            .replace("secret: ca", "secret: ca-2")
            .replace("30001", "30002")
            .replace("8001", "8002")
    }

    fn read(text: &str, file: &str) -> Scenario {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        crate::scenario::parse::read(text, Path::new(file), &root).unwrap_or_else(|error| panic!("{error}"))
    }

    fn said(texts: &[&str]) -> String {
        let files = ["a.yaml", "b.yaml", "c.yaml"];
        let scenarios: Vec<_> = texts.iter().zip(files).map(|(text, file)| read(text, file)).collect();
        together(&scenarios).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_shipped_scenarios_stand_side_by_side() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
        let shipped = ["symbank", "front-proxy", "ext-authz", "jwt", "federation", "wire", "outside"]
            .map(|name| crate::scenario::load(&folder.join(format!("{name}.yaml"))));
        let shipped: Vec<_> = shipped.into_iter().map(|one| one.unwrap_or_else(|e| panic!("{e}"))).collect();
        together(&shipped).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn what_shares_nothing_stands_side_by_side() {
        assert_eq!(said(&[ONE, &two()]), "");
        // One Service, dialled in two ways, of one scenario.
        let (web, alias) =
            ("  web: {service", "  alias: {service: a/web, port: 443, published: {node-port: 30001}}");
        assert_eq!(said(&[&ONE.replace(web, &format!("{alias}\n{web}"))]), "");
    }

    #[rstest]
    #[case::a_socket_dir(
        "/run/two",
        "/run/one/",
        "b.yaml:7:15: the agent's socket `/run/one/agent.sock` is also at a.yaml:7:15, and they would share one cluster: \
         give each SPIRE agent a folder of its own, in its chart's values too"
    )]
    #[case::a_secret(
        "secret: ca-2",
        "secret: ca",
        "b.yaml:6:21: the CA's secret `spire/ca` is also at a.yaml:6:21, and they would share one cluster: \
         give each SPIRE server a secret of its own, in its chart's values too"
    )]
    #[case::a_node_port(
        "30002",
        "30001",
        "b.yaml:11:75: node port 30001 is also at a.yaml:11:75, and they would share one cluster: give one of \
         them another port"
    )]
    #[case::a_host_port(
        "8002",
        "8001",
        "b.yaml:11:93: host port 8001 is also at a.yaml:11:93, and they would share one cluster: give one of \
         them another port"
    )]
    fn what_two_scenarios_share_is_told_with_both_places(
        #[case] from: &str,
        #[case] to: &str,
        #[case] expected: &str,
    ) {
        assert!(two().contains(from));
        assert_eq!(said(&[ONE, &two().replace(from, to)]), expected);
    }

    #[test]
    fn a_copy_is_told_once() {
        assert_eq!(
            said(&[ONE, ONE, &two()]),
            "b.yaml:1:11: the scenario's name `one` is also at a.yaml:1:11, and they would share one cluster: \
             name one of them otherwise"
        );
    }

    const INSTALL: &str = "install:\n  - - {release: RELEASE, chart: helm/envoy, namespace: NAMESPACE}";

    fn installing(text: &str, release: &str, namespace: &str) -> String {
        let install = INSTALL.replace("RELEASE", release).replace("NAMESPACE", namespace);
        text.replace("install: []", &install)
    }

    #[test]
    fn a_release_of_two_scenarios_is_told_and_one_in_another_namespace_is_not() {
        let one = installing(ONE, "web", "shop");
        assert_eq!(
            said(&[&one, &installing(&two(), "web", "shop")]),
            "b.yaml:9:17: release `web` in namespace `shop` is also at a.yaml:9:17, and they would share one \
             cluster: give one of them another name or namespace"
        );
        assert_eq!(said(&[&one, &installing(&two(), "web", "store")]), "");
    }

    #[rstest]
    #[case::its_own("probe-one")]
    #[case::anothers("probe-two")]
    fn a_release_in_the_place_of_a_probe_is_told(#[case] release: &str) {
        assert_eq!(
            said(&[&installing(ONE, release, "svidproof"), &two()]),
            format!(
                "a.yaml:9:17: release `{release}` in namespace `svidproof` is that of svidproof's own probe: \
                 give one of them another name or namespace"
            )
        );
        assert_eq!(said(&[&installing(ONE, "probe-three", "svidproof"), &two()]), "");
    }

    #[test]
    fn two_endpoints_of_one_scenario_do_not_share_a_port_either() {
        let other = "  web: {service";
        let text = ONE.replace(
            other,
            &format!("  another: {{service: a/b, port: 1, published: {{node-port: 30001}}}}\n{other}"),
        );
        assert_eq!(
            said(&[&text]),
            "a.yaml:12:75: node port 30001 is also at a.yaml:11:59, and they would share one cluster: give one \
             of them another port"
        );
    }
}
