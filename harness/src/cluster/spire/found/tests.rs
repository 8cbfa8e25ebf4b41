//! Pods and configurations as SPIRE's charts make them, and what is told of those.

use serde_json::{Value, json};

use super::*;

const SERVER_CONF: &str = r#"
server {
  # trust_domain = "before.example"
  trust_domain = "example.org"
  socket_path = "/tmp/private/api.sock"
}
plugins {
  BundlePublisher "k8s_configmap" {
    plugin_data { clusters = { "demo" = {
      namespace = "trust"
      configmap_name = "bundle"
      configmap_key = "bundle.crt"
    } } }
  }
}"#;
const AGENT_CONF: &str = r#"
agent {
  server_address = "${SERVER}"
  socket_path = "/run/sockets/agent.sock"
  trust_domain = "example.org"
}"#;

fn pod(name: &str, container: &Value, owner: &Value, volumes: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "spire", "ownerReferences": [owner],
                     "labels": {"pod-template-hash": "7f3c"}},
        "spec": {"containers": [{"name": "sidecar", "image": "busybox"}, container], "volumes": volumes},
    }))
    .unwrap()
}

fn owner(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u"})
}

fn config(map: &str) -> Value {
    json!({"name": "config", "configMap": {"name": map}})
}

fn server() -> Pod {
    let container = json!({
        "name": "main", "image": "ghcr.io/spiffe/spire-server:1.15.3", "args": ["-config", "/conf/server.conf"],
        "volumeMounts": [{"name": "config", "mountPath": "/conf"}, {"name": "data", "mountPath": "/"}],
    });
    pod(
        "server-0",
        &container,
        &owner("StatefulSet", "server"),
        &json!([config("server"), {"name": "data", "emptyDir": {}}]),
    )
}

fn agent() -> Pod {
    let container = json!({
        "name": "agent", "image": "own/agent:1", "command": ["/opt/spire/bin/spire-agent", "run", "-config=/conf/a.conf"],
        "volumeMounts": [{"name": "config", "mountPath": "/conf/a.conf", "subPath": "agent.conf"}, {"name": "sockets", "mountPath": "/run/sockets"}],
    });
    let sockets = json!({"name": "sockets", "hostPath": {"path": "/var/run/spire/org/"}});
    pod("agent-x", &container, &owner("DaemonSet", "agent"), &json!([config("agent"), sockets]))
}

fn texts(server: &str, agent: &str) -> Texts {
    let map = |name: &str, key: &str, text: &str| {
        (("spire".to_owned(), name.to_owned()), [(key.to_owned(), text.to_owned())].into())
    };
    [map("server", "server.conf", server), map("agent", "agent.conf", agent)].into()
}

fn found(texts: &Texts, drivers: &[&str], domain: Option<&str>) -> Result<Found, String> {
    let drivers: Vec<_> = drivers.iter().map(|one| (*one).to_owned()).collect();
    find(&[server(), agent()], texts, &drivers, domain, true).map_err(|error| error.to_string())
}

#[test]
fn a_spire_is_found_by_what_its_pods_run_and_mount() {
    let pods = [server(), agent()];
    let pair = |name: &str| ("spire".to_owned(), name.to_owned());
    assert_eq!(wanted(&pods), [pair("agent"), pair("server")]);
    let texts = texts(SERVER_CONF, AGENT_CONF);
    let Found { trust_domain, spire } = found(&texts, &["disk.csi"], None).unwrap();
    assert_eq!(trust_domain, "example.org");
    assert_eq!(
        (spire.namespace.as_str(), spire.server.as_str(), spire.container.as_str()),
        ("spire", "statefulset/server", "main")
    );
    assert_eq!(
        (spire.binary.as_str(), spire.api_socket.as_deref()),
        ("/opt/spire/bin/spire-server", Some("/tmp/private/api.sock"))
    );
    assert_eq!((spire.bundle(), spire.bundle_key.as_str()), (Some(("trust", "bundle")), "bundle.crt"));
    assert_eq!(
        (spire.socket_dir.as_deref(), spire.socket_file.as_str()),
        (Some("/var/run/spire/org"), "agent.sock")
    );
    let by_driver = found(&texts, &["csi.spiffe.io"], Some("example.org")).unwrap().spire;
    assert_eq!((by_driver.csi.as_deref(), by_driver.socket_dir), (Some("csi.spiffe.io"), None));
}

#[test]
fn what_is_written_in_json_or_left_out_is_found_too() {
    let json = r#"{"server": {"trust_domain": "example.org"}, "plugins": {"Notifier": [{"k8sbundle": {}}]}}"#;
    let spire = found(&texts(json, AGENT_CONF), &[], None).unwrap().spire;
    assert_eq!((spire.api_socket.as_ref(), spire.bundle()), (None, Some(("spire", "spire-bundle"))));
    let deployed = Pod {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            owner_references: serde_json::from_value(json!([owner("ReplicaSet", "server-7f3c")])).unwrap(),
            ..server().metadata
        },
        ..server()
    };
    let found = find(&[deployed], &texts(json, ""), &[], None, false).unwrap();
    assert_eq!(found.spire.server, "deployment/server");
}

#[test]
fn what_is_not_known_is_told_with_what_was_looked_at() {
    let told = |pods: &[Pod], texts: &Texts, domain: Option<&str>| {
        find(pods, texts, &[], domain, true).unwrap_err().to_string()
    };
    let texts_of = texts;
    let texts = texts_of(SERVER_CONF, AGENT_CONF);
    let none = told(&[agent()], &texts, None);
    assert!(none.contains("of the 1 pods of the cluster none runs"), "{none}");
    let other = told(&[server(), agent()], &texts, Some("other.example"));
    assert!(other.contains("there are those of example.org (spire/statefulset/server)"), "{other}");
    let expanded = texts_of(&SERVER_CONF.replace("\"example.org\"", "\"${DOMAIN}\""), AGENT_CONF);
    let untold = told(&[server(), agent()], &expanded, None);
    assert!(untold.contains("pod spire/server-0") && untold.contains("no `trust_domain`"), "{untold}");
    let unread = told(&[server()], &Texts::new(), None);
    assert!(unread.contains("key server.conf of configmap spire/server is not there"), "{unread}");
    let no_agent = told(&[server()], &texts, None);
    assert!(no_agent.contains("no pod runs an image or a program spire-agent"), "{no_agent}");
    let anothers = texts_of(SERVER_CONF, &AGENT_CONF.replace("example.org", "other.example"));
    let anothers = told(&[server(), agent()], &anothers, None);
    assert!(anothers.contains("those that run are of other.example"), "{anothers}");
}

/// A second SPIRE is nobody's guess.
#[test]
fn of_several_the_trust_domain_says_which() {
    let (mut second, mut texts) = (server(), texts(SERVER_CONF, AGENT_CONF));
    second.metadata.name = Some("second-0".into());
    second.metadata.owner_references =
        serde_json::from_value(json!([owner("StatefulSet", "second")])).unwrap();
    second.spec.as_mut().unwrap().volumes.as_mut().unwrap()[0].config_map.as_mut().unwrap().name =
        "second".into();
    let conf = SERVER_CONF.replace("example.org", "example.com");
    texts.insert(("spire".into(), "second".into()), [("server.conf".to_owned(), conf.clone())].into());
    let pods = [server(), second, agent()];
    let told = find(&pods, &texts, &[], None, true).unwrap_err().to_string();
    assert!(
        told.contains("example.com (spire/statefulset/second), example.org (spire/statefulset/server)"),
        "{told}"
    );
    // Nor is it the one that says whose it is, where another does not.
    texts.remove(&("spire".to_owned(), "second".to_owned()));
    let told = find(&pods, &texts, &[], None, true).map_err(|error| error.to_string());
    assert!(told.as_ref().is_err_and(|why| why.contains("pod spire/second-0 does not tell")), "{told:?}");
    assert!(find(&pods, &texts, &[], Some("example.org"), true).is_ok());
    texts.insert(("spire".into(), "second".into()), [("server.conf".to_owned(), conf)].into());
    let meant = find(&pods, &texts, &["csi.spiffe.io".into()], Some("example.org"), true).unwrap();
    assert_eq!(meant.spire.server, "statefulset/server");
    // Without an agent of its own it is of no use to the probe, and another's is not taken.
    let other = find(&pods, &texts, &[], Some("example.com"), true).unwrap_err().to_string();
    assert!(other.contains("those that run are of example.org"), "{other}");
    assert!(find(&pods, &texts, &[], Some("example.com"), false).is_ok());
}
