//! Machines outside of the cluster, and what is wrong with them.

use super::*;

const MACHINES: &str = "\
scenario: small
trust-domain: example.org
spire:
  namespace: spire
  server: spire-server
  socket-dir: /run/spire
  x509pop-secret: machines
  outside: {service: spire/spire-server, port: 8081, published: {node-port: 30081}}
install: []
registration:
  - {id: /batch, parent: /vm-1, select: [\"unix:uid:1001\"], ttl: {x509: 1m}}
  - {id: /report, parent: /vm-2, select: [\"unix:uid:1002\"]}
machines:
  vm-1: {id: /vm-1, attest: x509pop}
  vm-2: {id: /vm-2, attest: join-token}
endpoints:
  proxy: {service: default/proxy, port: 443, identity: /proxy, admin: 9901, published: {node-port: 30443}}
clients:
  batch: {id: /batch, machine: vm-1, user: 1001}
  report: {id: /report, machine: vm-2}
  nobody: {id: none, machine: vm-1, user: 1003}
stages:
  - stage: one
    checks:
      - {check: served, as: [batch, report], to: proxy, send: GET /, expect: {status: 200}}
  - stage: two
    banned: [vm-1]
    checks:
      - {check: served, as: report, to: proxy, send: GET /, expect: {status: 200}}
      - {check: ended, as: batch, to: proxy, send: GET /, expect: {alert: certificate_unknown}, control: served}
";

#[test]
fn machines_are_read() {
    assert_eq!(mistakes(MACHINES), "");
    let scenario = read(MACHINES, Path::new("x.yaml"), Path::new("/nowhere")).unwrap();
    let users: Vec<_> = scenario.users().map(|(client, machine)| (client.identity(), machine)).collect();
    assert_eq!(users, [(Some("/batch"), "vm-1"), (None, "vm-1"), (Some("/report"), "vm-2")]);
    let ports: Vec<_> = scenario.published().filter_map(|published| published.node_port).collect();
    assert_eq!(ports, [30443, 30081]);
}

/// Where a client stands for whom others register, its entry is theirs to make.
#[test]
fn who_is_registered_by_others_needs_no_entry_here() {
    let others = MACHINES.replace("registration:\n", "registration: []\nother:\n");
    let (before, rest) = others.split_once("other:\n").unwrap();
    let others = format!(
        "{before}{}",
        rest.split_once("machines:\n").map(|(_, rest)| format!("machines:\n{rest}")).unwrap()
    );
    assert!(!mistakes(&others).contains("has no entry"), "{}", mistakes(&others));
}

#[rstest]
#[case::no_way_to_the_server(
    "  outside: {service: spire/spire-server, port: 8081, published: {node-port: 30081}}\n",
    "",
    "x.yaml:13:9: how does its agent reach the SPIRE server? give `spire.outside`, a Service that is `published`\n\
     x.yaml:14:9: how does its agent reach the SPIRE server? give `spire.outside`, a Service that is `published`"
)]
#[case::no_ca(
    "  x509pop-secret: machines\n",
    "",
    "x.yaml:13:29: certificates are of a CA that the SPIRE server must trust: give `spire.x509pop-secret`, the \
     Secret from which it takes that, or let the machine attest by `join-token`"
)]
#[case::another_way_to_attest(
    "attest: join-token",
    "attest: password",
    "x.yaml:15:29: unknown value `password`: expected one of `x509pop`, `join-token`"
)]
#[case::an_identity_of_another(
    "vm-2: {id: /vm-2",
    "vm-2: {id: /batch",
    "x.yaml:15:14: `/batch` is another's: the agent of machine `vm-2` needs a SPIFFE ID of its own\n\
     x.yaml:20:16: `registration` has no entry for it with `parent: /batch`: the machine's agent gives it none"
)]
#[case::a_name_that_is_no_label(
    "vm-2: {id: /vm-2, attest: join-token}",
    "vm-2: {id: /vm-2, attest: join-token}\n  vm_3: {id: /vm-3, attest: join-token}",
    "x.yaml:16:3: `vm_3` cannot name a machine"
)]
#[case::a_pods_selector(
    "unix:uid:1002",
    "k8s:ns:default",
    "x.yaml:12:43: the agent of machine `vm-2` knows its workloads by `unix:` selectors alone, such as \
     `unix:uid:1000`"
)]
#[case::no_such_machine(
    "report: {id: /report, machine: vm-2}",
    "report: {id: /report, machine: vm-3}",
    "x.yaml:20:34: machine `vm-3` is not defined: did you mean `vm-1`?"
)]
#[case::no_entry(
    "report: {id: /report, machine: vm-2}",
    "report: {id: /reports, machine: vm-2}",
    "x.yaml:20:16: `registration` has no entry for it with `parent: /vm-2`: the machine's agent gives it none"
)]
#[case::an_entry_of_another_machine(
    "batch: {id: /batch, machine: vm-1",
    "batch: {id: /batch, machine: vm-2",
    "x.yaml:19:15: `registration` has no entry for it with `parent: /vm-2`: the machine's agent gives it none"
)]
#[case::a_user_of_none(
    "report: {id: /report, machine: vm-2}",
    "report: {id: /report, user: 7}",
    "x.yaml:20:25: `user` is for a client of a `machine`: others are no Unix users"
)]
#[case::no_user("user: 1003", "user: 4294967295", "x.yaml:21:43: no user has the number 4294967295")]
#[case::no_user_at_all(
    "user: 1003",
    "user: root",
    "x.yaml:21:43: expected a whole number, not negative and not too large"
)]
#[case::a_token(
    "user: 1003",
    "jwt: {audience: /a, id: /b}",
    "x.yaml:21:37: `jwt` with `machine`: what such a client has is an X.509-SVID of that machine's agent, and \
     no more"
)]
#[case::banned_and_not_defined(
    "banned: [vm-1]",
    "banned: [vm-9]",
    "x.yaml:27:14: machine `vm-9` is not defined: did you mean `vm-1`?"
)]
#[case::banned_for_an_hour(
    "banned: [vm-1]",
    "banned: [vm-1, vm-2]",
    "x.yaml:29:29: machine `vm-2` is banned in this stage, which waits until the SVID of client `report` ends: \
     give its entry a `ttl: {x509: …}` of 5 minutes at most"
)]
#[case::a_node_port_that_is_none(
    "node-port: 30081",
    "node-port: 8081",
    "x.yaml:8:77: no Service is given the node port 8081: expected 30000 to 32767"
)]
fn what_is_wrong_with_a_machine_is_told_at_its_line(
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: &str,
) {
    assert!(MACHINES.contains(from), "{from}");
    let found = mistakes(&MACHINES.replacen(from, to, 1));
    assert!(found.starts_with(expected), "{found}");
}
