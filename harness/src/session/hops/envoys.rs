//! What the Envoys of an endpoint's pods say of themselves.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join;
use serde_json::Value;
use x509_parser::pem::Pem;
use x509_parser::prelude::GeneralName;

use super::registry::Spire;
use super::within;
use crate::cluster::envoy::Admin;
use crate::cluster::kube::{Backend, Kube};
use crate::proof::envoy::{Envoy, Stats, wanted};
use crate::proof::hops::{Leg, Pod, Proxy, Svid, Upstream};
use crate::scenario::Endpoint;
use crate::session::given::verified;

/// Where an upstream is: the addresses of its Service and of its ready pods.
pub(super) async fn addresses(kube: &Kube, declared: &Endpoint) -> Option<BTreeSet<String>> {
    let service = within(kube.service_as_it_stands(&declared.service)).await.ok()?.ok()?;
    let pods: BTreeSet<_> = service.pods.iter().filter(|pod| pod.ready).map(|pod| pod.ip.clone()).collect();
    (!pods.is_empty()).then(|| pods.into_iter().chain(service.cluster_ip).collect())
}

/// One Envoy, and whom it lets in at this port of its pod.
pub(super) async fn look(
    kube: &Kube,
    pod: &Pod,
    admin: u16,
    port: Option<u16>,
    identity: Option<&str>,
    upstream: Option<(String, BTreeSet<String>)>,
    spire: &Spire,
) -> (Proxy, Option<Leg>) {
    let backend = Backend { namespace: pod.namespace.clone(), pod: pod.name.clone(), ..Backend::default() };
    let admin = Admin::of(kube, &backend, admin);
    let (dump, stats) = join(within(admin.config()), within(admin.stats())).await;
    let led = match (&dump, &upstream) {
        (Ok(dump), Some(_)) => {
            let upstreams = Envoy::read(dump).map(|envoy| envoy.upstreams()).unwrap_or_default();
            Some(admin.leads(&upstreams).await)
        }
        _ => None,
    };
    let registry = spire.registry.as_ref();
    let here =
        registry.and_then(|one| one.pods.as_ref().ok()?.iter().find(|(agent, _)| agent.node == pod.node));
    let with = |((endpoint, addresses), led)| Upstream { endpoint, addresses, led };
    let leg = dump.as_ref().ok().and_then(|dump| leg(dump, port, stats.as_ref().ok()));
    let proxy = Proxy {
        pod: pod.name.clone(),
        port,
        declared: pod.declared(),
        svid: dump.as_ref().ok().and_then(|dump| svid(dump, identity?, spire)),
        agent_error: here.and_then(|(_, error)| error.clone()),
        upstream: upstream.zip(led).map(with),
        stats,
        dump,
    };
    (proxy, leg)
}

fn leg(dump: &str, port: Option<u16>, stats: Option<&Stats>) -> Option<Leg> {
    let envoy = Envoy::read(dump).ok()?;
    let upstreams = envoy.upstreams();
    let counters = upstreams.iter().flat_map(|name| {
        let stat = envoy.stat_of(name);
        ["fail_verify_san", "fail_verify_error"].map(|counter| format!("cluster.{stat}.ssl.{counter}"))
    });
    Some(Leg {
        gate: port.map(|port| envoy.gate(port)),
        upstream: wanted(dump, &upstreams).ok()?,
        turned_down: counters.filter_map(|counter| stats?.get(&counter)).sum(),
        ..Leg::default()
    })
}

/// Of the certificates that SDS has brought, that with this SPIFFE ID, or else the first
/// (envoy.admin.v3.SecretsConfigDump; keys are redacted there).
fn svid(dump: &str, identity: &str, spire: &Spire) -> Option<Svid> {
    let dump: Value = serde_json::from_str(dump).ok()?;
    let configs = dump["configs"].as_array()?.iter();
    let secrets = configs.filter_map(|config| config["dynamic_active_secrets"].as_array()).flatten();
    let chains = secrets
        .filter_map(|one| one.pointer("/secret/tls_certificate/certificate_chain/inline_bytes")?.as_str());
    let mut all: Vec<_> = chains.filter_map(|chain| read(chain, spire)).collect();
    let own = all.iter().position(|one| one.id == identity).unwrap_or_default();
    (own < all.len()).then(|| all.swap_remove(own))
}

fn read(chain: &str, spire: &Spire) -> Option<Svid> {
    let chain = String::from_utf8(STANDARD.decode(chain).ok()?).ok()?;
    let leaf = Pem::iter_from_buffer(chain.as_bytes()).next()?.ok()?;
    let leaf = leaf.parse_x509().ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    let id = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })?;
    let now = jiff::Timestamp::now().as_second();
    // A bundle that could not be read turns nobody down.
    let trusted = spire.bundle.as_ref().map_or(Ok(()), |bundle| verified(&chain, bundle));
    let left = leaf.validity().not_after.timestamp() - now;
    Some(Svid { id, serial: leaf.raw_serial_as_string().replace(':', ""), left, trusted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_svid_is_read_out_of_a_dump() {
        let id = "spiffe://example.org/web";
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
        let made = params.self_signed(&key).unwrap().pem();
        let another = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
        let secret = |pem: &str| {
            serde_json::json!({"name": "x", "secret": {"tls_certificate": {
                "certificate_chain": {"inline_bytes": STANDARD.encode(pem)},
                "private_key": {"inline_string": "[redacted]"},
            }}})
        };
        let dump = serde_json::json!({"configs": [
            {"dynamic_active_secrets": [secret(&another), secret(&made)]},
        ]});
        let with = |bundle| Spire { found: vec![], registry: None, bundle };
        let found = svid(&dump.to_string(), id, &with(Err("403".into()))).unwrap();
        assert_eq!((found.id.as_str(), found.left > 0, found.trusted), (id, true, Ok(())));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let another = svid(&dump.to_string(), id, &with(Ok(another))).unwrap();
        assert!(another.trusted.is_err(), "it is of another CA");
        assert!(svid("{}", id, &with(Ok(String::new()))).is_none());
    }
}
