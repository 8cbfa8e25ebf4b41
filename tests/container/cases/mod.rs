//! Envoy's configurations as others have them: what each check must come to there, and what must turn red where
//! something is broken. A new one is one more entry of a table. Each is tried with the application's log and
//! without.

mod answers;
mod cuts;
mod deciders;
mod filters;
mod others;
mod policies;
mod requests;
mod routes;
mod tls;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use svidproof::proof::verdict::Verdict;
use svidproof::scenario::{Expect, Scenario};

use crate::envoy::config::{Port, http, own, spiffe};
use crate::envoy::{Crowd, Rig, Round, plan_of, scenario_of};
use crate::{House, Test, expect};

/// Verdicts of checks, and what a reason must have in it.
type Verdicts = &'static [(&'static str, Verdict, &'static str)];

/// One configuration.
pub(crate) struct Case {
    name: &'static str,
    /// Where it needs an Envoy of its own: what its bootstrap has.
    bootstrap: Option<Value>,
    /// The endpoint `second` is at the second port, `proxy` too; all others at the first.
    ports: Vec<Port>,
    checks: Vec<Check>,
    /// Where they do not pass.
    but: Verdicts,
    /// What is broken, and how.
    broken: (&'static str, Vec<Port>),
    /// The checks that fail then; of the others those that are not as they were.
    red: &'static [&'static str],
    fallen: Verdicts,
    /// Over those without the application's log.
    fallen_unlogged: Verdicts,
    /// What happens at other ports of its Envoy would disturb it.
    exclusive: bool,
    /// Somebody else, who is at the port of this number in the first windows.
    crowd: Option<(u16, usize)>,
    knocks: bool,
}

/// One check; the first at the same endpoint that is of its kind is its control where it needs one.
#[derive(Clone)]
pub(crate) struct Check {
    name: &'static str,
    client: &'static str,
    to: &'static str,
    send: &'static str,
    expect: &'static str,
    /// More keys, as YAML.
    more: &'static str,
}

fn check(name: &'static str, client: &'static str, send: &'static str, expect: &'static str) -> Check {
    Check { name, client, to: "backend", send, expect, more: "" }
}

impl Check {
    fn at(self, to: &'static str) -> Self {
        Self { to, ..self }
    }

    fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    /// Whether another check may be its control: that of a call is a call, that of a WebSocket one.
    fn is_shown_by(&self, other: &Self) -> bool {
        let kind = |one: &Self| one.send.split_once(": ").map_or("", |(kind, _)| kind).to_owned();
        self.to == other.to && self.name != other.name && (kind(self) == kind(other) || kind(self).is_empty())
    }

    /// `send`, where what is sent is no kind of its own: `grpc: shop.Prices/List`.
    fn send(&self) -> String {
        let own = ["grpc: ", "websocket: "].iter().any(|kind| self.send.starts_with(kind));
        if own { self.send.into() } else { format!("send: {:?}", self.send) }
    }
}

const SERVED: &str = "friend gets an answer";
const DENIED: &str = "blocked is denied";
const STRANGER: &str = "a stranger is refused";
const NOBODY: &str = "nobody is refused";

fn served() -> Check {
    check(SERVED, "friend", "GET /prices", "{status: 200, body: prices}")
}

fn denied() -> Check {
    check(DENIED, "blocked", "GET /prices", "{status: 403, body: 'RBAC: access denied'}")
}

fn stranger() -> Check {
    check(STRANGER, "stranger", "GET /prices", "{alert: certificate_unknown}")
}

fn nobody() -> Check {
    check(NOBODY, "nobody", "GET /prices", "{alert: certificate_required}")
}

impl Case {
    /// One port, at which friend is served, blocked is denied, stranger and nobody are refused.
    fn new(name: &'static str, port: Port) -> Self {
        Self {
            name,
            bootstrap: None,
            ports: vec![port],
            checks: vec![served(), denied(), stranger(), nobody()],
            but: &[],
            broken: ("", vec![]),
            red: &[],
            fallen: &[],
            fallen_unlogged: &[],
            exclusive: false,
            crowd: None,
            knocks: false,
        }
    }

    fn checks(self, checks: impl IntoIterator<Item = Check>) -> Self {
        Self { checks: checks.into_iter().collect(), ..self }
    }

    /// More checks.
    fn and(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.checks.extend(checks);
        self
    }

    fn broken(self, what: &'static str, port: Port, red: &'static [&'static str]) -> Self {
        Self { broken: (what, vec![port]), red, ..self }
    }

    fn but(self, but: Verdicts) -> Self {
        Self { but, ..self }
    }

    fn fallen(self, fallen: Verdicts) -> Self {
        Self { fallen, ..self }
    }

    fn fallen_unlogged(self, fallen_unlogged: Verdicts) -> Self {
        Self { fallen_unlogged, ..self }
    }

    fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// With an Envoy of its own.
    fn alone(self, bootstrap: Value) -> Self {
        Self { bootstrap: Some(bootstrap), ..self }
    }

    fn scenario(&self, port: u16, logged: bool) -> Scenario {
        let endpoints = [
            ("backend", "identity: /backend, app-log: nginx"),
            ("chosen", "identity: /backend, app-log: nginx, app-cluster: ~app"),
            ("plain", "app-log: nginx"),
            ("second", "identity: /backend, app-log: nginx"),
            ("proxy", "identity: /backend, upstream: backend"),
        ];
        let asked = |name: &str| {
            self.checks.iter().any(|check| check.to == name || check.to == "proxy" && name == "backend")
        };
        let endpoints = endpoints
            .into_iter()
            .filter(|(name, _)| asked(name))
            .map(|(name, more)| format!("  {name}: {{service: none/{name}, port: 1, admin: 1, {more}}}\n"));
        let checks = self.checks.iter().map(|one| {
            let expect: Expect = serde_saphyr::from_str(one.expect).expect("an expectation");
            let control = self.checks.iter().find(|other| one.is_shown_by(other));
            let control = control.filter(|_| expect.is_refusal()).map(|control| control.name);
            let control = control.map(|name| format!(", control: \"{name}\"")).unwrap_or_default();
            let more = if one.more.is_empty() { String::new() } else { format!(", {}", one.more) };
            format!(
                "      - {{check: \"{}\", as: {}, to: {}, {}, expect: {}{more}{control}}}\n",
                one.name,
                one.client,
                one.to,
                one.send(),
                one.expect
            )
        });
        let text = format!(
            "scenario: case\ntrust-domain: example.org\n\
             spire: {{namespace: none, server: none, socket-dir: /none}}\ninstall: []\nregistration: []\n\
             endpoints:\n{}\
             clients: {{friend: /friend, blocked: /blocked, stranger: /stranger, rogue: /friend, nobody: none}}\n\
             stages:\n  - stage: one\n    checks:\n{}",
            endpoints.collect::<String>(),
            checks.collect::<String>()
        );
        let mut scenario = scenario_of(&own(&text, port));
        if !logged {
            scenario.endpoints.values_mut().for_each(|endpoint| endpoint.app_log = None);
        }
        scenario
    }

    /// What a check comes to.
    fn verdict(&self, check: &str, logged: bool, broken: bool) -> (Verdict, &'static str) {
        if broken && self.red.contains(&check) {
            return (Verdict::Failed, "");
        }
        let of_both = self.fallen_unlogged.iter().filter(|_| broken && !logged);
        let fallen = of_both.chain(self.fallen.iter().filter(|_| broken));
        let mut all = fallen.chain(self.but);
        let found = all.find(|(name, ..)| *name == check);
        found.map_or((Verdict::Passed, ""), |(_, verdict, reason)| (*verdict, reason))
    }

    async fn hold(&self, rig: &Rig, first: u16, broken: bool) -> Result<(), Failed> {
        let mut problems = vec![];
        for logged in [true, false] {
            let scenario = self.scenario(first, logged);
            let at = |endpoint: &str| first + u16::from(matches!(endpoint, "second" | "proxy"));
            let crowd = self.crowd.map(|(number, windows)| Crowd {
                port: first + number,
                windows,
                knocks: self.knocks,
            });
            let round = Round::new(rig, &scenario, at, crowd).await;
            let judged = round.judge(&plan_of(&scenario, &format!("{first}.{logged}"))).await;
            let wanted =
                |one: &svidproof::proof::judge::Judged| self.verdict(&one.cell.check, logged, broken);
            if let Err(problem) = expect(&judged, wanted) {
                let log = if logged { "with" } else { "without" };
                problems
                    .push(format!("{log} the application's log:\n{}", problem.message().unwrap_or_default()));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
    }
}

pub(crate) fn tests(house: &mut House) -> Vec<(String, Test)> {
    // The first of them take longest.
    let groups = [
        ("others", others::cases()),
        ("policies", policies::cases()),
        ("answers", answers::cases()),
        ("routes", routes::cases()),
        ("filters", filters::cases()),
        ("deciders", deciders::cases()),
        ("tls", tls::cases()),
        ("cuts", cuts::cases()),
        ("requests", requests::cases()),
    ];
    let mut tests: Vec<(String, Test)> = vec![];
    for (group, cases) in groups {
        for case in cases {
            let case = std::sync::Arc::new(case);
            let known = |name: &str| case.checks.iter().any(|check| check.name == name);
            let named =
                case.but.iter().chain(case.fallen).chain(case.fallen_unlogged).map(|(name, ..)| *name);
            for name in named.chain(case.red.iter().copied()) {
                assert!(known(name), "{}: there is no check {name}", case.name);
            }
            let room = if case.bootstrap.is_some() { case.name } else { group };
            let bootstrap = case.bootstrap.clone().unwrap_or_else(|| json!({}));
            for (broken, ports) in [(false, &case.ports), (true, &case.broken.1)] {
                let first = house.take(room, &bootstrap, ports.clone());
                let what = if broken { format!(", but {}", case.broken.0) } else { String::new() };
                let name = format!("{group}::{}{what}", case.name);
                let case = case.clone();
                tests.push((
                    name,
                    Box::new(move |house| {
                        house.run(room, case.exclusive, async |rig| case.hold(rig, first, broken).await)
                    }),
                ));
            }
        }
    }
    tests
}

/// Rules by which `blocked` is denied everything.
fn no_blocked() -> Value {
    let blocked = json!({"authenticated": {"principal_name": {"exact": spiffe("/blocked")}}});
    json!({"action": "DENY", "policies": {"blocked": {
        "permissions": [{"any": true}], "principals": [blocked]}}})
}

/// The filter with those rules, and what else it has.
fn deny(more: Value) -> Value {
    let config = crate::envoy::config::merged(json!({"rules": no_blocked()}), &more);
    http("rbac.v3.RBAC", &config)
}

/// With that filter alone.
fn denying() -> Port {
    Port { filters: vec![deny(json!({}))], ..Port::default() }
}
