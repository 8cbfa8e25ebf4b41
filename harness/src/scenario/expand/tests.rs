//! What the shipped scenarios come to, check by check: a golden file each, so that a shorter way to write
//! them stays a way to write the same.

use std::path::Path;

use rstest::rstest;

use crate::scenario::{self, Check, Client, Scenario};

fn shipped(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/scenarios/{name}.yaml"));
    scenario::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// A check in one line; what it leaves unsaid is not written.
fn line(check: &Check) -> String {
    let mut line = format!("{}: {} -> {}", check.name, list(&check.clients), check.to);
    let sends: Vec<_> = check.send.iter().collect();
    // A surface's requests are many, and not what this is about.
    line += &if sends.len() < 4 {
        format!(", {}", sends.join(", "))
    } else {
        format!(", {} requests", sends.len())
    };
    line += &format!(", {}", serde_json::to_string(&check.expect).unwrap());
    line.extend(check.control.iter().map(|control| format!(", control: {control}")));
    line.extend(check.finding.iter().map(|finding| format!(", finding: {finding}")));
    line
}

fn list(names: &scenario::OneOrMany) -> String {
    names.iter().collect::<Vec<_>>().join(" and ")
}

#[rstest]
fn the_shipped_scenarios_come_to_the_same_checks(#[values("symbank", "front-proxy")] name: &str) {
    let scenario = shipped(name);
    let mut text = String::new();
    for stage in &scenario.stages {
        text += &format!("{}\n", stage.name);
        text.extend(stage.checks.iter().map(|check| format!("  {}\n", line(check))));
    }
    text += "forged clients\n";
    for (client, declared) in &scenario.clients {
        if let Client::Forged { credential, like } = declared {
            text += &format!("  {client}: {credential}, {like}\n");
        }
    }
    insta::assert_snapshot!(name, text);
}

/// What stands for many checks is where each of them is written.
#[test]
fn a_check_stands_where_it_or_its_matrix_is_written() {
    let scenario = scenario::read_text(
        "scenario: web
trust-domain: example.org
spire: {namespace: spire, server: server, socket-dir: /run, authority-secret: ca}
install: []
registration: []
endpoints: {web: {service: a/web, port: 443, identity: /web, admin: 1}}
clients: {friend: /friend}
forged: spiffe-validator
stages:
  - stage: open
    checks:
      - {check: one, as: friend, to: web, send: GET /, expect: {status: 200}}
      - check: last
        as: friend
        to: web
        send: GET /
        expect: {status: 200}
    forged:
      - {to: web, like: friend, send: GET /}
    surface:
      - {surface: all, as: friend, to: web, methods: [GET], paths: [/, /a]}
broken:
  - {broken: hole, stage: open, values: {}, red: [one]}
",
    );
    let at = |name: &str| {
        let is_it = |of: &str| of == name || of.contains(&format!(": {name}"));
        let all = scenario.stages[0].checks.iter().filter(|check| is_it(&check.name));
        all.map(|check| (check.place.line, check.place.column)).collect::<std::collections::BTreeSet<_>>()
    };
    let at = ["one", "last", "forged", "surface of all"].map(|name| at(name).into_iter().collect::<Vec<_>>());
    assert_eq!(at, [[(12, 9)], [(13, 9)], [(19, 9)], [(21, 9)]]);
    assert_eq!(scenario.source(scenario.broken[0].place).line, 23);
}
