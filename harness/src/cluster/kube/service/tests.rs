//! Services, their `EndpointSlices` and pods: what they lead to.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn containers_of() -> Value {
    json!({
        "initContainers": [
            {"name": "envoy", "restartPolicy": "Always", "ports": [{"name": "mtls", "containerPort": 8443}]},
            {"name": "wait", "ports": [{"name": "once", "containerPort": 1}]},
        ],
        "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}],
    })
}

/// Pod `shop-<number>`, at `10.0.0.<number>` and `fd00::<number>`.
fn pod(number: u8, ready: bool) -> Value {
    json!({
        "metadata": {
            "name": format!("shop-{number}"), "uid": format!("u{number}"), "labels": {"app": "shop"},
        },
        "spec": containers_of(),
        "status": {
            "podIP": format!("10.0.0.{number}"),
            "podIPs": [{"ip": format!("10.0.0.{number}")}, {"ip": format!("fd00::{number}")}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "envoy", "containerID": format!("c{number}"), "image": "",
                                   "imageID": "", "ready": true, "restartCount": 0}],
        },
    })
}

fn leaving(number: u8) -> Value {
    let mut pod = pod(number, true);
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod
}

fn endpoint(number: u8, conditions: &Value) -> Value {
    json!({
        "addresses": [format!("10.0.0.{number}")],
        "conditions": conditions,
        "targetRef": {"kind": "Pod", "name": format!("shop-{number}"), "uid": format!("u{number}")},
    })
}

fn ready(number: u8) -> Value {
    endpoint(number, &json!({"ready": true}))
}

fn slice(ports: &Value, endpoints: &Value) -> Value {
    json!({"addressType": "IPv4", "metadata": {}, "ports": ports, "endpoints": endpoints})
}

fn service(ports: &Value) -> Value {
    json!({"spec": {"clusterIP": "10.96.0.1", "selector": {"app": "shop"}, "ports": ports}})
}

fn ask(service: Value, slices: &[Value], pods: &[Value]) -> Result<Resolved, Unresolved> {
    let slices: Vec<_> = slices.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    let pods: Vec<_> = pods.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    resolved("default", &serde_json::from_value(service).unwrap(), &slices, &pods)
}

/// Each pod's address and port, then the strays.
fn led_to(found: Result<Resolved, Unresolved>, port: u16) -> String {
    let found = match found.map(|found| found.at(port)) {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => return why,
        Err(why) => return format!("{why:?}"),
    };
    let pods = found.pods.iter().map(|pod| match pod.port(port) {
        Ok(number) => format!("{}:{number}", pod.ip),
        Err(why) => why,
    });
    pods.chain(found.strays().into_iter().map(|stray| format!("{stray}?"))).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::a_named_port_with_another_number_in_each_pod(
    json!([{"port": 443, "targetPort": "mtls"}]),
    &[slice(&json!([{"port": 8443}]), &json!([ready(1)])),
      slice(&json!([{"port": 9443}]), &json!([ready(2)]))],
    &[pod(1, true), pod(2, true)],
    "10.0.0.1:8443 10.0.0.2:9443"
)]
#[case::the_same_number_for_udp(
    json!([{"name": "quic", "port": 443, "protocol": "UDP", "targetPort": 9000},
           {"name": "tls", "port": 443, "protocol": "TCP", "targetPort": 8443}]),
    &[slice(&json!([{"name": "quic", "protocol": "UDP", "port": 9000},
                    {"name": "tls", "protocol": "TCP", "port": 8443}]), &json!([ready(1)]))],
    &[pod(1, true)],
    "10.0.0.1:8443"
)]
#[case::udp_alone(
    json!([{"port": 443, "protocol": "UDP"}]),
    &[slice(&json!([{"port": 443, "protocol": "UDP"}]), &json!([ready(1)]))],
    &[pod(1, true)],
    "has no port 443: it has 443/UDP"
)]
#[case::a_pod_that_is_published_though_not_ready(
    json!([{"port": 443}]),
    &[slice(&json!([{"name": "", "port": 443}]), &json!([ready(1), ready(2)]))],
    &[pod(1, true), pod(2, false)],
    "10.0.0.1:443 10.0.0.2:443"
)]
#[case::a_pod_that_is_not_ready_and_one_that_leaves(
    json!([{"port": 443}]),
    &[slice(&json!([{"port": 443}]), &json!([
        endpoint(1, &json!({})), endpoint(2, &json!({"ready": false})),
        endpoint(3, &json!({"ready": true, "terminating": true})),
    ]))],
    &[pod(1, true), pod(2, false), leaving(3)],
    "10.0.0.1:443"
)]
#[case::a_slice_made_by_hand(
    json!([{"port": 443}]),
    &[slice(&json!([{"port": 443}]), &json!([ready(1)])),
      slice(&json!([{"port": 444}]), &json!([{"addresses": ["10.0.0.9"]}]))],
    &[pod(1, true)],
    "10.0.0.1:443 10.0.0.9?"
)]
#[case::a_slice_made_by_hand_for_another_port(
    json!([{"port": 443, "name": "tls"}, {"port": 80, "name": "web"}]),
    &[slice(&json!([{"name": "tls", "port": 443}]), &json!([ready(1)])),
      slice(&json!([{"name": "web", "port": 80}]), &json!([{"addresses": ["10.0.0.9"]}]))],
    &[pod(1, true)],
    "10.0.0.1:443"
)]
#[case::an_address_that_is_not_the_pods(
    json!([{"port": 443}]),
    &[slice(&json!([{"port": 443}]), &json!([ready(1)])),
      slice(&json!([{"port": 443}]), &json!([{
          "addresses": ["10.0.0.9"], "targetRef": {"kind": "Pod", "name": "shop-1"}}]))],
    &[pod(1, true)],
    "10.0.0.1:443 10.0.0.9?"
)]
#[case::two_ports_of_one_pod(
    json!([{"port": 443}]),
    &[slice(&json!([{"port": 443}]), &json!([ready(1)])), slice(&json!([{"port": 444}]), &json!([ready(1)]))],
    &[pod(1, true)],
    "leads port 443 to several of pod shop-1: 443, 444; which one answers is not known"
)]
#[case::dual_stack(
    json!([{"port": 443}]),
    &[json!({"addressType": "IPv6", "metadata": {}, "ports": [{"port": 443}], "endpoints": [{
          "addresses": ["fd00::1"], "targetRef": {"kind": "Pod", "name": "shop-1"}}]}),
      slice(&json!([{"port": 443}]), &json!([ready(1)]))],
    &[pod(1, true)],
    "10.0.0.1:443"
)]
#[case::no_container_with_the_named_port(
    json!([{"port": 80, "targetPort": "once"}]),
    &[slice(&json!([]), &json!([ready(1)]))],
    &[pod(1, true)],
    "leads port 80 to a container's port named `once`, and no container of its pods has one"
)]
#[case::no_such_port(
    json!([{"port": 443, "name": "mtls", "targetPort": 8443}]),
    &[],
    &[],
    "has no port 80: it has 443 (mtls)"
)]
#[case::slices_that_lag(
    json!([{"port": 443}]),
    &[slice(&json!([{"port": 443}]), &json!([ready(1)]))],
    &[pod(1, true), pod(2, true)],
    r#"Behind { why: "has no EndpointSlice that names pod shop-2, which is ready" }"#
)]
#[case::a_pod_that_is_gone(
    json!([{"port": 443}]), &[slice(&json!([{"port": 443}]), &json!([ready(1), ready(2)]))], &[pod(1, true)],
    r#"Behind { why: "has an EndpointSlice that names pod shop-2, which is gone or on its way out" }"#
)]
fn a_service_leads_where_its_slices_say(
    #[case] ports: Value,
    #[case] slices: &[Value],
    #[case] pods: &[Value],
    #[case] expected: &str,
) {
    let port = if ports[0]["port"] == 80 || expected.starts_with("has no port 80") { 80 } else { 443 };
    assert_eq!(led_to(ask(service(&ports), slices, pods), port), expected);
}

#[test]
fn what_the_service_itself_is_changes_what_it_leads_to() {
    let ports = json!([{"port": 443}]);
    let slices = [slice(&ports, &json!([ready(1)]))];
    let v6 = json!({"addressType": "IPv6", "metadata": {}, "ports": ports, "endpoints": [{
        "addresses": ["fd00::1"], "targetRef": {"kind": "Pod", "name": "shop-1"}}]});
    let pods = [pod(1, true)];
    let mut headless = service(&ports);
    headless["spec"]["clusterIP"] = json!("None");
    let found = ask(headless, &slices, &pods).unwrap();
    assert_eq!((found.cluster_ip.clone(), led_to(Ok(found), 443)), (None, "10.0.0.1:443".into()));
    let by_hand = || json!({"spec": {"ports": ports}});
    assert_eq!(led_to(ask(by_hand(), &slices, &pods), 443), "10.0.0.1:443");
    assert_eq!(ask(by_hand(), &[], &pods), Err(Unresolved::SelectsNothing));
    let mut six = service(&ports);
    six["spec"]["ipFamilies"] = json!(["IPv6", "IPv4"]);
    assert_eq!(led_to(ask(six, &[slices[0].clone(), v6], &pods), 443), "fd00::1:443");
}

#[test]
fn a_port_of_the_containers_is_told_from_the_services() {
    let ports = json!([{"port": 443, "name": "mtls", "targetPort": "mtls"}]);
    let slices = [slice(&json!([{"name": "mtls", "port": 8443}]), &json!([ready(1)]))];
    let why = ask(service(&ports), &slices, &[pod(1, true)]).unwrap().at(8443).unwrap_err();
    assert!(
        why.starts_with("has no port 8443: it has 443 (mtls)\nhint: 8443 is the container's port"),
        "{why}"
    );
}

#[test]
fn a_port_of_the_nodes_is_that_of_one_port_alone() {
    let ports = json!([{"port": 443, "name": "a", "nodePort": 30443}, {"port": 80, "name": "b", "nodePort": 30080},
        {"port": 81, "name": "c"}]);
    let at = |port| ask(service(&ports), &[], &[]).unwrap().at(port).unwrap().node_port;
    assert_eq!([443, 80, 81].map(at), [Some(30443), Some(30080), None]);
}

#[test]
fn a_pod_counts_with_its_sidecars_and_is_another_after_a_restart() {
    let ports = json!([{"port": 443}]);
    let slices = [slice(&ports, &json!([ready(1)]))];
    let found = ask(service(&ports), &slices, &[pod(1, true)]).unwrap();
    let [one] = found.pods.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.containers.join(" "), one.incarnation.as_str()), ("envoy app".into(), "u1 c1"));
    let mut restarted = pod(1, true);
    restarted["status"]["containerStatuses"][0]["containerID"] = json!("c2");
    let again = ask(service(&ports), &slices, &[restarted]).unwrap();
    assert_ne!(again.incarnations(), found.incarnations());
}
