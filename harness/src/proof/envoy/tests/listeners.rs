//! Which listener is at a port, and by which name it counts.

use serde_json::{Value, json};

use super::*;

/// Handshakes without a certificate are counted by the listener alone: under that name and no other.
fn counts_as(dump: &Dump, stat: &str) {
    let meter = dump.read().at(9001, None).unwrap();
    let names = ["no_filter_chain_match", "downstream_cx_total", "ssl.fail_verify_no_cert"]
        .into_iter()
        .chain(["ssl.fail_verify_san", "ssl.fail_verify_error", "ssl.connection_error"])
        .map(|counter| format!("listener.{stat}.{counter}"));
    let names: Vec<_> = names.collect();
    let moved: Vec<_> = names.iter().map(String::as_str).zip([1, 2, 3, 4, 5, 6]).collect();
    let seen = happened(&meter, &moved);
    let handshakes = (seen.counted.no_cert, seen.counted.san, seen.counted.chain, seen.counted.broken);
    assert_eq!((seen.counted.no_chain, seen.connections, handshakes), (1, 2, (3, 4, 5, 6)), "{stat}");
}

#[test]
fn a_listener_counts_by_its_first_address_or_its_prefix() {
    let at = |address: Value| json!({"address": address});
    let socket = |address: &str| json!({"socket_address": {"address": address, "port_value": 9001}});
    let pipe = json!({"pipe": {"path": "/run/a:b.sock"}});
    for (patch, stat) in [
        (json!({}), "0.0.0.0_9001"),
        (at(socket("10.1.2.3")), "10.1.2.3_9001"),
        (at(socket("::")), "[__]_9001"),
        // Envoy prints the address that it has bound, not the one that was written.
        (at(socket("0:0::0")), "[__]_9001"),
        (at(socket("fd00:0:0::1")), "[fd00__1]_9001"),
        (json!({"stat_prefix": "mine"}), "mine"),
        (json!({"stat_prefix": "a://b:c."}), "a_b_c"),
        // Other addresses are counted with the first one, whichever is dialled.
        (
            json!({
                "address": {"socket_address": {"address": "10.0.0.1", "port_value": 8000}},
                "additional_addresses": [{"address": socket("0.0.0.0")}],
            }),
            "10.0.0.1_8000",
        ),
        (json!({"address": pipe, "additional_addresses": [{"address": socket("0.0.0.0")}]}), "/run/a_b.sock"),
    ] {
        let mut dump = Dump::default();
        if !patch["address"]["pipe"].is_null() {
            dump.listeners[0]["address"] = json!({});
        }
        merge(&mut dump.listeners[0], patch);
        counts_as(&dump, stat);
    }
}

/// By whichever field it is said.
#[test]
fn a_listener_that_is_not_bound_takes_nothing() {
    for patch in [json!({"bind_to_port": false}), json!({"deprecated_v1": {"bind_to_port": false}})] {
        let mut dump = Dump::default();
        merge(&mut dump.listeners[0], patch.clone());
        assert!(dump.read().at(9001, None).is_err(), "{patch}");
    }
}

#[test]
fn of_two_listeners_at_a_port_both_count() {
    let mut dump = Dump::default();
    dump.listeners.push(listener("10.0.0.1", 9001, vec![hcm(json!({"stat_prefix": "second"}))]));
    let second =
        ["no_filter_chain_match", "ssl.fail_verify_san", "ssl.fail_verify_error", "ssl.connection_error"];
    let second = second.map(|counter| format!("listener.10.0.0.1_9001.{counter}"));
    let mut moved: Vec<_> = second.iter().map(|name| (name.as_str(), 0)).collect();
    moved.extend([
        ("listener.0.0.0.0_9001.ssl.fail_verify_no_cert", 1),
        ("listener.10.0.0.1_9001.ssl.fail_verify_no_cert", 2),
        ("listener.0.0.0.0_9001.downstream_cx_total", 10),
        ("listener.10.0.0.1_9001.downstream_cx_total", 20),
        ("http.in.downstream_rq_total", 100),
        ("http.second.downstream_rq_total", 200),
    ]);
    let seen = happened(&dump.meter(), &moved);
    assert_eq!((seen.counted.no_cert, seen.connections, seen.requests), (3, 30, 300));
}

#[test]
fn a_listener_that_cannot_be_dialled_is_none() {
    for patch in [
        json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9001}}}),
        json!({"address": {"socket_address": {"address": "127.8.0.1", "port_value": 9001}}}),
        json!({"address": {"socket_address": {"address": "::1", "port_value": 9001}}}),
        json!({"address": {"socket_address": {"address": "::ffff:127.0.0.1", "port_value": 9001}}}),
        json!({"address": {"socket_address": {"protocol": "UDP"}}}),
        json!({"address": {"socket_address": {"port_value": 9002}}}),
        json!({"address": {"socket_address": null, "pipe": {"path": "/run/s"}}}),
    ] {
        let mut dump = Dump::default();
        merge(&mut dump.listeners[0], patch.clone());
        let error = dump.read().at(9001, None).unwrap_err();
        assert!(error.is_input(), "{patch}: {error}");
        assert!(error.to_string().starts_with("this Envoy has no listener on port 9001"), "{error}");
    }
}

/// HTTP/3 is offered at the port of HTTP/2, by a listener of its own that counts otherwise.
#[test]
fn a_listener_for_udp_at_the_same_port_counts_nothing() {
    let mut dump = Dump::default();
    let mut udp = listener("10.0.0.1", 9001, vec![]);
    udp["address"]["socket_address"]["protocol"] = json!("UDP");
    dump.listeners.push(udp);
    assert_eq!(happened(&dump.meter(), &[]), Happened::default());
}

#[test]
fn the_mistake_names_what_is_there() {
    let mut dump = Dump::default();
    dump.listeners[0]["additional_addresses"] =
        json!([{"address": {"socket_address": {"address": "::", "port_value": 9003}}}]);
    dump.listeners.push(json!({"address": {"pipe": {"path": "/run/s"}}}));
    let error = dump.read().at(80, None).unwrap_err();
    let words = "this Envoy has no listener on port 80: it has `to-9001` on 0.0.0.0:9001 and :::9003, one";
    assert_eq!(error.to_string(), words);
    dump.listeners.clear();
    let error = dump.read().at(80, None).unwrap_err();
    assert_eq!(error.to_string(), "this Envoy has no listener on port 80, and no other");
    assert!(!ConfigError::Dump(String::new()).is_input());
    assert!(!ConfigError::Unexplained(String::new()).is_input());
}

#[test]
fn dynamic_listeners_serve_when_they_are_active() {
    let of = |dynamic: Value| Dump { listeners: vec![], dynamic: vec![dynamic], ..Dump::default() };
    let one = || json!({"listener": Dump::default().listeners[0]});
    counts_as(&of(json!({"name": "a", "active_state": one()})), "0.0.0.0_9001");
    let warming = of(json!({"name": "a", "active_state": one(), "warming_state": one()}));
    assert!(warming.why_not().contains("listener `to-9001` is being made or replaced"));
    assert!(of(json!({"warming_state": one()})).why_not().contains("is being made or replaced"));
    let gone = of(json!({"draining_state": one()})).read().at(9001, None);
    assert!(gone.unwrap_err().is_input());
}

#[test]
fn chains_that_are_not_told_are_not_guessed() {
    let with = |patch: Value| {
        let mut dump = Dump::default();
        merge(&mut dump.listeners[0], patch);
        dump
    };
    assert!(with(json!({"fcds_config": {"name": "more"}})).why_not().contains("fcds_config"));
    assert!(with(json!({"filter_chains": []})).why_not().contains("has no filter chain"));
    let empty = with(json!({"filter_chains": [{"filters": []}]}));
    assert!(empty.why_not().contains("ends in neither"));
}

/// Also one that a matcher chooses (`filter_chain_matcher`), or that is the last resort, is a chain.
#[test]
fn every_chain_counts() {
    let mut dump = Dump::default();
    dump.listeners[0]["default_filter_chain"] = json!({"filters": [hcm(json!({"stat_prefix": "last"}))]});
    dump.listeners[0]["filter_chain_matcher"] = json!({"on_no_match": {"action": {"name": "x"}}});
    let seen =
        happened(&dump.meter(), &[("http.in.downstream_rq_total", 1), ("http.last.downstream_rq_total", 2)]);
    assert_eq!(seen.requests, 3);
    assert!(missing(&dump.meter()).contains("`http.last.downstream_rq_total`"));
}

#[test]
fn a_handshake_is_counted_also_where_another_socket_wraps_tls() {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.transport_sockets.{name}");
    let refused = [("listener.0.0.0.0_9001.ssl.fail_verify_no_cert", 1)];
    for (socket, counted) in [
        (tls(), 1),
        (json!({"typed_config": {"@type": kind("tcp_stats.v3.Config"), "transport_socket": tls()}}), 1),
        (
            json!({"typed_config": {"@type": kind("tap.v3.Tap"), "transport_socket":
                {"typed_config": {"@type": kind("proxy_protocol.v3.X"), "transport_socket": tls()}}}}),
            1,
        ),
        (json!({"typed_config": {"@type": kind("starttls.v3.StartTlsConfig")}}), 1),
        (
            json!({"typed_config": {
                "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
                "type_url": kind("tls.v3.DownstreamTlsContext"),
                "value": {},
            }}),
            1,
        ),
        (json!({"typed_config": {"@type": kind("raw_buffer.v3.RawBuffer")}}), 0),
        (Value::Null, 0),
    ] {
        let mut dump = Dump::default();
        dump.listeners[0]["filter_chains"][0]["transport_socket"] = socket.clone();
        assert_eq!(happened(&dump.meter(), &refused).counted.no_cert, counted, "{socket}");
    }
}

#[test]
fn what_is_no_dump_is_said_so() {
    for (text, why) in [("<html>", "expected value"), ("{}", "no `configs`"), ("[]", "no `configs`")] {
        let error = Envoy::read(text).unwrap_err();
        assert!(matches!(&error, ConfigError::Dump(_)) && error.to_string().contains(why), "{error}");
    }
}
