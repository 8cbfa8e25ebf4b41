//! A row a hop: a system that is well, with one thing of it otherwise, and the hop that is named for it.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;
use serde_json::{Value, json};
use svidproof_probe::protocol::{DialFailure, Outcome};

use super::*;
use crate::proof::envoy::{Envoy, Stats};
use crate::proof::response;
use crate::scenario::{By, Counted};

const OF: &str = "endpoint front";
const ID: &str = "spiffe://example.org/front";

/// All that is read of an endpoint.
struct World {
    service: Known<Result<Service, String>>,
    registry: Registry,
    dump: Value,
    proxy: Proxy,
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node: "worker".into(),
        service_account: "default".into(),
        labels: labels(&[("app", "front")]),
        owners: vec![("ReplicaSet".into(), "front-1".into())],
        containers: vec![Container {
            name: "envoy".into(),
            images: set(&["envoyproxy/envoy:v1.40.0"]),
            ports: [(8443, "mtls".to_owned())].into(),
            init: false,
        }],
        ready: true,
        ip: "10.0.0.7".into(),
        ..Pod::default()
    }
}

fn agent() -> Agent {
    Agent {
        id: "/spire/agent/k8s_psat/demo/1".into(),
        selectors: set(&[
            "k8s_psat:cluster:demo",
            "k8s_psat:agent_node_name:worker",
            "k8s_psat:agent_pod_uid:uid-agent-1",
        ]),
        banned: false,
        expires: Some(2_000),
    }
}

fn entry(id: &str, parent: &str, selectors: &[&str]) -> Entry {
    Entry { id: id.into(), parent: parent.into(), selectors: set(selectors) }
}

fn dump() -> Value {
    let sds = |name: &str| {
        json!({"name": name, "sds_config": {"api_config_source": {"grpc_services": [
            {"envoy_grpc": {"cluster_name": "spire_agent"}},
        ]}}})
    };
    let socket = json!({"typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds(ID)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": "spiffe://example.org/till"}},
                ]},
                "validation_context_sds_secret_config": sds("spiffe://example.org"),
            },
        },
    }});
    let rbac = json!({"name": "rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"policies": {"readers": {}}},
    }});
    let http = json!({"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"routes": [{"route": {"cluster": "app"}}]}]},
        "http_filters": [rbac],
    }});
    let address = json!({"socket_address": {"address": "0.0.0.0", "port_value": 8443}});
    let pipe = json!({"endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/run/agent.sock"}}}}]}]});
    json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": [
            {"listener": {"name": "in", "address": address,
                "filter_chains": [{"transport_socket": socket, "filters": [http]}]}},
        ]},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": [
            {"cluster": {"name": "spire_agent", "load_assignment": pipe}},
            {"cluster": {"name": "app"}},
        ]},
        {"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
            "dynamic_active_secrets": [{"name": ID}, {"name": "spiffe://example.org"}],
            "dynamic_warming_secrets": []},
    ]})
}

fn world() -> World {
    let front = pod("front-1");
    let alias = entry("/agents", "/spire/server", &["k8s_psat:cluster:demo"]);
    let own = entry("/front", "/agents", &["k8s:ns:shop", "k8s:sa:default", "k8s:pod-label:app:front"]);
    World {
        service: Ok(Ok(Service {
            selector: labels(&[("app", "front")]),
            ports: [(443, "8443".to_owned())].into(),
            pods: vec![front],
            ready: 1,
            ..Service::default()
        })),
        registry: Registry {
            server: "spire/server".into(),
            trust_domain: "example.org".into(),
            agents: Ok(vec![agent()]),
            entries: Ok(vec![alias, own]),
            pods: Ok(vec![(pod("agent-1"), None)]),
            now: 1_000,
        },
        dump: dump(),
        proxy: Proxy {
            pod: "front-1".into(),
            port: Some(8443),
            declared: [8443].into(),
            dump: Err("not filled in".into()),
            stats: Ok(Stats::default()),
            svid: Some(Svid { id: ID.into(), serial: "0a".into(), left: 60, trusted: Ok(()) }),
            agent_error: None,
            upstream: None,
        },
    }
}

impl World {
    fn pods(&mut self) -> &mut Vec<Pod> {
        &mut self.service.as_mut().unwrap().as_mut().unwrap().pods
    }

    fn own(&mut self) -> &mut Entry {
        &mut self.registry.entries.as_mut().unwrap()[1]
    }

    fn secrets(&mut self) -> &mut Value {
        &mut self.dump["configs"][2]
    }

    fn found(mut self) -> Vec<Found> {
        if self.proxy.dump == Err("not filled in".into()) {
            self.proxy.dump = Ok(self.dump.to_string());
        }
        let mut found = of_service(OF, "shop/front", 443, &self.service);
        if matches!(self.service, Ok(Err(_))) {
            return found;
        }
        let pods = self.service.clone().and_then(|one| one.map(|one| one.pods));
        if let Ok(pods) = &pods {
            found.extend(of_spire(OF, "/front", pods, &self.registry));
        }
        found.extend(of_pods(OF, &pods));
        found.extend(of_envoy(OF, Some(ID), &self.proxy));
        found
    }
}

/// `selectors: …`, and a line for each that could not be read.
fn told(found: &[Found]) -> String {
    let Some(Walk { broken, unread }) = walk(found) else { return "well".into() };
    let broken = broken.map(|one| format!("{}: {}", one.name, one.evidence));
    broken.into_iter().chain(unread).collect::<Vec<_>>().join("\n")
}

#[allow(clippy::unnecessary_wraps, reason = "as it stands in what is read")]
fn back(led: &[(String, Vec<String>)]) -> Option<Upstream> {
    let led = led.iter().cloned().collect();
    Some(Upstream { endpoint: "back".into(), addresses: set(&["10.0.0.9"]), led: Ok(led) })
}

#[allow(clippy::unnecessary_wraps, reason = "as it stands in what is read")]
fn trouble(image: bool, why: &str) -> Option<Trouble> {
    Some(Trouble { image, why: why.into(), hint: "look".into() })
}

#[rstest]
#[case::all_is_well(|_: &mut World| {}, "well")]
#[case::image(|w: &mut World| w.pods()[0].trouble = trouble(true, "the image `none` cannot be had"), "image: the image `none`")]
#[case::pod(|w: &mut World| w.pods()[0].trouble = trouble(false, "no node takes it"), "pod: no node takes it")]
#[case::no_pod_is_made(|w: &mut World| {
    w.pods().clear();
    w.service.as_mut().unwrap().as_mut().unwrap().makers = vec![("deployment/front".into(), "it is scaled to 0".into())];
}, "pod: deployment/front has no pod: it is scaled to 0")]
#[case::agent_is_banned(|w: &mut World| w.registry.agents.as_mut().unwrap()[0].banned = true, "agent: SPIRE server spire/server has banned the agent of node worker")]
#[case::agent_is_not_known(|w: &mut World| w.registry.agents = Ok(vec![]), "agent: SPIRE server spire/server knows no agent of node worker; the agent's pod agent-1 is ready")]
#[case::agent_of_another_node(|w: &mut World| w.pods()[0].node = "other".into(), "agent: SPIRE server spire/server knows no agent of node other; no agent's pod is on that node")]
#[case::agent_is_gone(|w: &mut World| w.registry.pods = Ok(vec![]), "agent: the pod of the agent that attested on node worker is gone; no agent's pod is on that node")]
#[case::agent_crashes(|w: &mut World| {
    let agent = &mut w.registry.pods.as_mut().unwrap()[0].0;
    (agent.ready, agent.trouble) = (false, trouble(false, "pod agent-1: it crashes"));
}, "agent: the agent's pod agent-1: it crashes")]
#[case::agent_is_late(|w: &mut World| w.registry.agents.as_mut().unwrap()[0].expires = Some(990), "agent: the SVID of the agent of node worker ended 10 s ago")]
#[case::entry(|w: &mut World| drop(w.registry.entries.as_mut().unwrap().pop()), "entry: SPIRE server spire/server has no entry for spiffe://example.org/front; it has entries for none")]
#[case::label(|w: &mut World| w.own().selectors = set(&["k8s:pod-label:app:frontend"]), "selectors: pod front-1: the pod has app=front, the entry selects app=frontend")]
#[case::no_such_label(|w: &mut World| w.own().selectors = set(&["k8s:pod-label:tier:web"]), "selectors: pod front-1: the pod has app=front, the entry selects tier=web")]
#[case::service_account(|w: &mut World| w.own().selectors = set(&["k8s:sa:front"]), "selectors: pod front-1: its service account is default, the entry selects front")]
#[case::namespace(|w: &mut World| w.own().selectors = set(&["k8s:ns:other"]), "selectors: pod front-1: its namespace is shop, the entry selects other")]
#[case::container(|w: &mut World| w.own().selectors = set(&["k8s:container-name:proxy"]), "selectors: pod front-1: its container name is envoy, the entry selects proxy")]
#[case::owner(|w: &mut World| w.own().selectors = set(&["k8s:pod-owner:ReplicaSet:other"]), "selectors: pod front-1: the entry selects owner ReplicaSet other")]
#[case::all_that_differs(|w: &mut World| w.own().selectors = set(&["k8s:sa:front", "k8s:ns:other"]), "selectors: pod front-1: its namespace is shop, the entry selects other; its service account")]
#[case::parent(|w: &mut World| w.own().parent = "/elsewhere".into(), "parent: the entry for spiffe://example.org/front hangs under /elsewhere, and the agent of node worker is /agents, /spire/agent/k8s_psat/demo/1")]
#[case::alias_of_another_cluster(|w: &mut World| w.registry.entries.as_mut().unwrap()[0].selectors = set(&["k8s_psat:cluster:other"]), "parent: the entry for spiffe://example.org/front hangs under /agents")]
#[case::under_the_agent_itself(|w: &mut World| w.own().parent = "/spire/agent/k8s_psat/demo/1".into(), "well")]
#[case::svid(|w: &mut World| {
    w.secrets()["dynamic_active_secrets"] = json!([]);
    w.proxy.agent_error = Some("level=error msg=\"No identity issued\"".into());
}, "svid: the agent gives Envoy in pod front-1 no `spiffe://example.org`, `spiffe://example.org/front`; the last error of its agent: level=error")]
#[case::svid_is_over(|w: &mut World| w.proxy.svid.as_mut().unwrap().left = -7, "svid: the SVID of Envoy in pod front-1, serial 0a, ended 7 s ago")]
#[case::socket(|w: &mut World| {
    w.secrets()["dynamic_active_secrets"] = json!([]);
    w.proxy.stats = Ok([("cluster.spire_agent.upstream_cx_connect_fail", 3)].into_iter().collect());
}, "sds: Envoy in pod front-1 waits for the SDS secrets `spiffe://example.org`, `spiffe://example.org/front`: nobody answers at /run/agent.sock (3 connections failed)")]
#[case::svid_of_another(|w: &mut World| w.proxy.svid.as_mut().unwrap().id = "spiffe://example.org/x".into(), "sds: Envoy in pod front-1 proves spiffe://example.org/x, serial 0a")]
#[case::svid_of_another_ca(|w: &mut World| w.proxy.svid.as_mut().unwrap().trusted = Err("UnknownIssuer".into()), "sds: the SVID of Envoy in pod front-1, serial 0a, is not this SPIRE server's: UnknownIssuer")]
#[case::listener(|w: &mut World| w.dump["configs"][0]["static_listeners"][0]["listener"]["address"]["socket_address"]["port_value"] = json!(8444), "listener: the Service leads to port 8443 of pod front-1, where Envoy listens at `in` on 0.0.0.0:8444")]
#[case::target_port(|w: &mut World| w.proxy.port = Some(9999), "service: the Service leads to port 9999 of pod front-1, whose containers declare 8443; Envoy listens at `in` on 0.0.0.0:8443")]
#[case::target_name(|w: &mut World| drop(w.service.as_mut().unwrap().as_mut().unwrap().ports.insert(443, "https".into())), "service: Service shop/front leads port 443 to a port `https`")]
#[case::no_service(|w: &mut World| w.service = Ok(Err("back".into())), "service: there is no Service shop/front: there is back")]
#[case::selects_nobody(|w: &mut World| {
    let service = w.service.as_mut().unwrap().as_mut().unwrap();
    service.pods.clear();
    service.selector = labels(&[("app", "fronts")]);
    service.others = vec![("front-1".into(), labels(&[("app", "front")]))];
}, "service: Service shop/front selects app=fronts, and no pod of its namespace has that: front-1 has app=front")]
#[case::no_port(|w: &mut World| w.service.as_mut().unwrap().as_mut().unwrap().ports = [(80, "80".to_owned())].into(), "service: Service shop/front has no port 443: it has 80")]
#[case::no_endpoints(|w: &mut World| w.service.as_mut().unwrap().as_mut().unwrap().ready = 0, "service: Service shop/front leads nowhere")]
#[case::upstream(|w: &mut World| w.proxy.upstream = back(&[("back".to_owned(), vec![])]), "service: Envoy in pod front-1 does not find endpoint back, which is at 10.0.0.9: cluster `back` leads to no address")]
#[case::upstream_is_there(|w: &mut World| w.proxy.upstream = back(&[("back".to_owned(), vec!["10.0.0.9".to_owned()])]), "well")]
#[case::not_ready(|w: &mut World| { w.pods()[0].ready = false; w.pods()[0].state = "pod front-1 is Running".into(); }, "application: pod front-1 is Running")]
fn one_hop_is_broken(#[case] break_it: fn(&mut World), #[case] expected: &str) {
    let mut world = world();
    break_it(&mut world);
    let told = told(&world.found());
    assert!(told.starts_with(expected), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_secret_of_another_name_is_envoys_own_mistake() {
    let mut world = world();
    let text =
        world.dump.to_string().replace(&format!("{{\"name\":\"{ID}\",\"sds"), "{\"name\":\"wrong\",\"sds");
    let text =
        text.replace(&format!("\"name\":\"{ID}\",\"sds_config\""), "\"name\":\"wrong\",\"sds_config\"");
    world.proxy.dump = Ok(text);
    let told = told(&world.found());
    assert!(
        told.starts_with("sds: Envoy in pod front-1 asks SDS for `wrong`, and the endpoint's SVID is"),
        "{told}"
    );
}

/// What is broken later, and what could not be read, hide nothing.
#[test]
fn the_first_that_is_broken_is_named_whatever_else_there_is() {
    let mut world = world();
    world.own().parent = "/elsewhere".into();
    world.proxy.port = Some(9999);
    world.registry.agents = Err("could not be read: 403 Forbidden".into());
    let told_first = told(&world.found());
    let expected = "service: the Service leads to port 9999";
    assert!(
        told_first.starts_with(expected),
        "without its agents nobody knows whose parent it is: {told_first}"
    );
    assert!(
        told_first.contains("\nagent of endpoint front: could not be read: 403 Forbidden"),
        "{told_first}"
    );
}

/// It is taken neither for well nor for broken.
#[rstest]
#[case::agents(|w: &mut World| w.registry.agents = Err("403".into()), "agent of endpoint front: 403")]
#[case::entries(|w: &mut World| w.registry.entries = Err("403".into()), "entry of endpoint front: 403")]
#[case::agents_pods(|w: &mut World| w.registry.pods = Err("403".into()), "agent of endpoint front: 403")]
#[case::service(|w: &mut World| w.service = Err("403".into()), "pod of endpoint front: 403")]
#[case::envoy(|w: &mut World| w.proxy.dump = Err("403".into()), "sds of endpoint front: 403\nlistener of endpoint front: 403")]
#[case::a_selector(|w: &mut World| w.own().selectors = set(&["k8s:sigstore:x"]), "selectors of endpoint front: the entry for spiffe://example.org/front selects k8s:sigstore:x")]
#[case::agents_without_a_node(|w: &mut World| w.registry.agents.as_mut().unwrap()[0].selectors.clear(), "agent of endpoint front: the agents do not say which node they are on")]
fn what_could_not_be_read_is_told(#[case] shut: fn(&mut World), #[case] expected: &str) {
    let mut world = world();
    shut(&mut world);
    let told = told(&world.found());
    assert!(told.starts_with(expected), "{told}");
    assert!(walk(&[]).is_none());
}

fn dial(outcome: &Outcome) -> Dial<'_> {
    let gate = Envoy::read(&dump().to_string()).unwrap().gate(8443);
    let front =
        Leg { endpoint: "front".into(), id: Some(ID.into()), gate: Some(gate.clone()), ..Leg::default() };
    Dial {
        client: "till",
        id: Some("spiffe://example.org/till".into()),
        refusal: false,
        outcome,
        by: None,
        legs: vec![front],
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as it stands in what is read")]
fn counted(change: fn(&mut Counted)) -> Option<Counted> {
    let mut counted = Counted::default();
    change(&mut counted);
    Some(counted)
}

#[rstest]
#[case::san_list(Outcome::Alert { number: 46 }, |d: &mut Dial<'_>| d.id = Some("spiffe://example.org/else".into()),
    "policy: alert 46 certificate_unknown: its listener's SAN list takes spiffe://example.org/till, and the client is spiffe://example.org/else")]
#[case::an_alert(Outcome::Alert { number: 48 }, |d: &mut Dial<'_>| d.legs[0].counted = counted(|c: &mut Counted| c.chain = 1),
    "handshake: alert 48 unknown_ca; Envoy counted 1 with a chain that does not verify")]
#[case::turned_down(Outcome::ServerRefused { reason: "another ID".into() }, |_: &mut Dial<'_>| {},
    "handshake: client till turned the server's certificate down: another ID")]
#[case::reset(Outcome::Failed { kind: DialFailure::Reset, detail: "os error 104".into() }, |_: &mut Dial<'_>| {},
    "handshake: the connection was reset without an alert: os error 104")]
#[case::no_name(Outcome::Failed { kind: DialFailure::Unresolved, detail: "front".into() }, |_: &mut Dial<'_>| {},
    "service: its name does not resolve: front")]
#[case::no_svid(Outcome::Failed { kind: DialFailure::Credential, detail: "none".into() }, |_: &mut Dial<'_>| {},
    "svid: it has no SVID to present: none")]
#[case::cut_off(Outcome::Failed { kind: DialFailure::Closed, detail: String::new() }, |d: &mut Dial<'_>| d.legs[0].counted = counted(|c: &mut Counted| c.network_rbac = 1),
    "policy: a network RBAC filter cut the connection off")]
#[case::rbac(response(403, &[], "RBAC: access denied"), |d: &mut Dial<'_>| {
    d.legs[0].counted = counted(|c: &mut Counted| c.denied = 1);
}, "policy: 403: none of the policies `readers` allows it")]
#[case::authorizer(response(403, &[], ""), |d: &mut Dial<'_>| d.legs[0].counted = counted(|c: &mut Counted| c.authz_error = 1),
    "policy: 403: its authorizer (ext_authz) gave no answer")]
#[case::jwt(response(401, &[], "Jwt is missing"), |d: &mut Dial<'_>| d.legs[0].counted = counted(|c: &mut Counted| c.jwt_denied = 1),
    "policy: 401: its JWT filter denied the request: \"Jwt is missing\"")]
#[case::let_in(response(200, &[], ""), |d: &mut Dial<'_>| d.refusal = true,
    "policy: it let spiffe://example.org/till in: its listener's SAN list takes spiffe://example.org/till; RBAC allows by the policies `readers`")]
#[case::its_own_answer(response(403, &[], "no"), |d: &mut Dial<'_>| d.by = Some(By::Application),
    "application: the application itself answered 403: \"no\"")]
#[case::it_is_down(response(503, &[], "upstream connect error: Connection refused"), |_: &mut Dial<'_>| {},
    "application: Envoy answered 503 in its place: \"upstream connect error: Connection refused\"")]
#[case::upstream_is_another(response(503, &[], "TLS_error: CERTIFICATE_VERIFY_FAILED"), |d: &mut Dial<'_>| {
    d.legs.push(Leg { endpoint: "back".into(), id: Some("spiffe://example.org/back".into()), ..Leg::default() });
}, "handshake: the Envoy of front turned its upstream's certificate down: it takes any, and back is spiffe://example.org/back")]
#[case::upstream_is_another_by_the_counters(response(503, &[], "reset"), |d: &mut Dial<'_>| {
    d.legs[0].turned_down = 2;
    d.legs.push(Leg { endpoint: "back".into(), counted: counted(|c: &mut Counted| c.broken = 1), ..Leg::default() });
}, "handshake: the Envoy of front turned its upstream's certificate down")]
#[case::it_was_another_before(response(503, &[], "reset"), |d: &mut Dial<'_>| {
    d.legs[0].turned_down = 2;
    d.legs.push(Leg { endpoint: "back".into(), counted: Some(Counted::default()), ..Leg::default() });
}, "application: Envoy answered 503 in its place")]
#[case::upstream_refuses(response(503, &[], "TLS_error: SSLV3_ALERT_CERTIFICATE_UNKNOWN"), |d: &mut Dial<'_>| {
    let back = Leg { endpoint: "back".into(), ..d.legs[0].clone() };
    d.legs.push(back);
}, "policy: refused front: its listener's SAN list takes spiffe://example.org/till, and the client is spiffe://example.org/front")]
fn one_hop_of_a_dial_is_broken(
    #[case] outcome: Outcome,
    #[case] change: fn(&mut Dial<'_>),
    #[case] expected: &str,
) {
    let mut dial = dial(&outcome);
    change(&mut dial);
    let told = told(&of_dial(&dial).into_iter().collect::<Vec<_>>());
    assert!(told.starts_with(expected), "{told}");
}

/// docs/troubleshooting.md has each hop with this sentence.
#[test]
fn each_hop_has_a_name_and_a_sentence() {
    for hop in Hop::ALL {
        assert!(hop.sentence().ends_with('.'), "{hop}");
        assert_eq!(serde_json::to_value(hop).unwrap(), hop.name());
    }
    assert!(Hop::ALL.is_sorted());
}
