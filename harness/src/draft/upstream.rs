//! Where an Envoy forwards to, as far as that does not stand in the chart: another release has it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{is_type, list, walk};

/// `host:port` of what a cluster leads to out of the pod, and that is no Service of the chart's.
pub(super) fn elsewhere(
    bootstrap: &Value,
    cluster: &str,
    objects: &[Value],
    namespace: &str,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let clusters = list(&bootstrap["static_resources"]["clusters"]);
    for cluster in clusters.filter(|one| one["name"] == cluster) {
        walk(&cluster["load_assignment"], &mut |key, address| {
            let Some(host) = address["address"].as_str().filter(|_| key == "socket_address") else { return };
            if !is_loopback(host) && !is_service(host, objects, namespace) {
                found.insert(format!("{host}:{}", address["port_value"]));
            }
        });
    }
    found
}

/// Whether what a cluster leads to is asked over TLS: an Envoy of another's, it may be, and no application.
pub(super) fn is_asked_over_tls(bootstrap: &Value, cluster: &str) -> bool {
    let clusters = list(&bootstrap["static_resources"]["clusters"]);
    clusters.filter(|one| one["name"] == cluster).any(|one| {
        let several = list(&one["transport_socket_matches"]).map(|one| &one["transport_socket"]);
        let all = std::iter::once(&one["transport_socket"]).chain(several);
        all.into_iter().any(|socket| is_type(&socket["typed_config"], "UpstreamTlsContext"))
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// By its names in a cluster (Kubernetes, "DNS for Services and Pods"), or by the address that it asks for.
fn is_service(host: &str, objects: &[Value], namespace: &str) -> bool {
    let mut parts = host.trim_end_matches('.').split('.');
    let (name, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(namespace));
    let is_inner = parts.next().is_none_or(|kind| kind == "svc");
    objects.iter().filter(|object| object["kind"] == "Service").any(|service| {
        let own = service["metadata"]["namespace"].as_str().unwrap_or(namespace);
        let named = is_inner && service["metadata"]["name"] == name && own == of;
        named || service["spec"]["clusterIP"] == host
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("127.0.0.1", true)]
    #[case("::1", true)]
    #[case("localhost", true)]
    #[case("prices", true)]
    #[case("prices.shop", true)]
    #[case("prices.shop.svc", true)]
    #[case("prices.shop.svc.cluster.local", true)]
    #[case("prices.shop.svc.cluster.local.", true)]
    #[case("10.96.7.7", true)]
    #[case("prices.other", false)]
    #[case("prices.shop.example.org", false)]
    #[case("other", false)]
    #[case("10.96.7.8", false)]
    fn what_is_no_service_of_the_chart_is_elsewhere(#[case] host: &str, #[case] here: bool) {
        let service =
            json!({"kind": "Service", "metadata": {"name": "prices"}, "spec": {"clusterIP": "10.96.7.7"}});
        let endpoint =
            json!({"endpoint": {"address": {"socket_address": {"address": host, "port_value": 443}}}});
        let cluster =
            json!({"name": "app", "load_assignment": {"endpoints": [{"lb_endpoints": [endpoint]}]}});
        let bootstrap = json!({"static_resources": {"clusters": [cluster]}});
        let found = elsewhere(&bootstrap, "app", &[service], "shop");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            if here { vec![] } else { vec![format!("{host}:443")] }
        );
    }
}
