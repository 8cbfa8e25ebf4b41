//! A listener that proves a SPIFFE identity, and whom its handshake lets in, as its configuration says it.
//! Not for what comes after the handshake.

use std::collections::BTreeSet;

use rustls::pki_types::DnsName;
use serde_json::Value;

use super::policy::{Truth, matches, sample};
use super::sources::Config;
use super::{DraftError, is_type, list};
use crate::spiffe_id::split;

/// What an SVID says, as far as the configuration tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// A SPIFFE ID.
    Id(String),
    /// The workload's own (SPIRE agent's `default_svid_name`): the configuration does not name it.
    Own,
}

/// The bundle that callers' certificates are held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bundle {
    /// Of the workload's own trust domain, whatever that is (SPIRE agent's `default_bundle_name`).
    Own,
    /// Of all trust domains that it knows (SPIRE agent's `default_all_bundles_name`).
    All,
    /// Of this trust domain.
    Of(String),
    /// Of something that is not SPIRE's, or not read.
    Unread(String),
}

/// A listener that is dialled, and all that its Envoy's configuration says about it.
#[derive(Debug)]
pub(super) struct Listener {
    /// For messages.
    pub(super) place: String,
    pub(super) port: u64,
    pub(super) identity: Identity,
    pub(super) tls: Tls,
    /// The server name without which its chain takes nobody.
    pub(super) sni: Option<String>,
    /// HTTP versions that it speaks.
    pub(super) http: &'static [&'static str],
    /// Its filters, in order.
    pub(super) filters: Vec<Value>,
    /// What stands before the filters and may turn anyone away.
    pub(super) unread: BTreeSet<String>,
    pub(super) admin: Option<u64>,
}

impl Listener {
    /// Whether requests are what it takes, and not bytes of any kind.
    pub(super) fn speaks_http(&self) -> bool {
        self.filters.iter().any(|filter| is_type(filter, "HttpConnectionManager"))
    }
}

/// Whom the handshake lets in.
#[derive(Debug)]
pub(super) struct Tls {
    /// A certificate must be presented.
    pub(super) required: bool,
    /// `None`: no certificate is asked for, and none is seen.
    pub(super) bundle: Option<Bundle>,
    /// The SAN list; empty for any SVID that verifies.
    pub(super) sans: Vec<San>,
    /// Whom it lets in cannot be told.
    unread: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct San {
    /// Only for SANs of this type; an SVID's is a URI.
    foreign: bool,
    pattern: Value,
}

impl San {
    /// Whether it is meant for one SPIFFE ID alone.
    pub(super) fn names_one(&self) -> bool {
        !self.foreign && self.pattern["exact"].as_str().is_some_and(|id| split(id).is_some())
    }

    /// A SPIFFE ID that it lets in.
    pub(super) fn id(&self) -> Option<String> {
        let exact = self.pattern["exact"].as_str().map(ToOwned::to_owned);
        exact.or_else(|| sample(&self.pattern)).filter(|id| !self.foreign && split(id).is_some())
    }
}

impl Tls {
    fn read(context: &Value) -> Self {
        let common = &context["common_tls_context"];
        let combined = &common["combined_validation_context"];
        let contexts = [&common["validation_context"], &combined["default_validation_context"]];
        let mut sans = vec![];
        let mut unread = BTreeSet::new();
        for context in contexts {
            for typed in list(&context["match_typed_subject_alt_names"]) {
                let kind = &typed["san_type"];
                let foreign = !(kind.is_null() || *kind == "URI" || *kind == 3);
                sans.push(San { foreign, pattern: typed["matcher"].clone() });
            }
            let old = list(&context["match_subject_alt_names"]);
            sans.extend(old.map(|pattern| San { foreign: false, pattern: pattern.clone() }));
            for key in ["verify_certificate_hash", "verify_certificate_spki", "custom_validator_config"] {
                if !context[key].is_null() {
                    unread.insert(format!("`{key}`"));
                }
            }
            if context["trust_chain_verification"] == "ACCEPT_UNTRUSTED" {
                unread.insert("`trust_chain_verification: ACCEPT_UNTRUSTED`".into());
            }
        }
        let secrets = [
            &common["validation_context_sds_secret_config"],
            &combined["validation_context_sds_secret_config"],
        ];
        let sds = secrets.into_iter().find(|secret| secret.is_object()).map(bundle);
        let own = contexts.into_iter().any(|context| context["trusted_ca"].is_object());
        let own = own.then(|| Bundle::Unread("the CA of `trusted_ca`".into()));
        Self { required: context["require_client_certificate"] == true, bundle: sds.or(own), sans, unread }
    }

    /// The ID that a filter sees of a caller with this one.
    pub(super) fn seen<'a>(&self, caller: &'a str) -> Option<&'a str> {
        self.bundle.is_some().then_some(caller)
    }

    /// Whether it lets the caller in.
    pub(super) fn admits(&self, caller: &str, trust_domain: &str) -> Truth {
        let chain = match &self.bundle {
            None if self.sans.is_empty() => return Truth::Yes,
            None => Truth::unknown("a SAN list without a CA"),
            Some(Bundle::Own | Bundle::All) => Truth::Yes,
            Some(Bundle::Of(domain)) if domain == trust_domain => Truth::Yes,
            Some(Bundle::Of(domain)) => Truth::unknown(format!("the bundle of {domain}")),
            Some(Bundle::Unread(what)) => Truth::unknown(what),
        };
        // What is not read may let in whom the list keeps out.
        let unread = self.unread.iter().map(Truth::unknown);
        if chain != Truth::Yes || !self.unread.is_empty() {
            return Truth::all([chain].into_iter().chain(unread));
        }
        let listed = self
            .sans
            .iter()
            .map(|san| if san.foreign { Truth::No } else { matches("SAN", &san.pattern, caller) });
        if self.sans.is_empty() { Truth::Yes } else { Truth::any(listed) }
    }

    /// Whether it turns away whoever presents no certificate.
    pub(super) fn wants_one(&self) -> Truth {
        let unread = self.unread.iter().map(Truth::unknown);
        Truth::all([(self.required && self.bundle.is_some()).into()].into_iter().chain(unread))
    }
}

/// What an SDS name stands for, by SPIRE agent's defaults.
fn bundle(secret: &Value) -> Bundle {
    let name = secret["name"].as_str().unwrap_or_default();
    match (from_file(secret), name) {
        (false, "ROOTCA") => Bundle::Own,
        (false, "ALL") => Bundle::All,
        (false, name) if name.starts_with("spiffe://") => Bundle::Of(name["spiffe://".len()..].into()),
        _ => Bundle::Unread(format!("the validation context `{name}`")),
    }
}

/// Secrets of a file are not the SPIRE agent's.
fn from_file(secret: &Value) -> bool {
    let source = &secret["sds_config"];
    source["path_config_source"].is_object() || source["path"].is_string()
}

/// The identities that a TLS context presents.
pub(super) fn identities(common_tls_context: &Value) -> impl Iterator<Item = Identity> {
    let secrets = list(&common_tls_context["tls_certificate_sds_secret_configs"]);
    let secrets = secrets.filter(|secret| !from_file(secret)).filter_map(|secret| secret["name"].as_str());
    secrets.filter_map(|name| match name {
        "default" => Some(Identity::Own),
        id => split(id).map(|_| Identity::Id(id.to_owned())),
    })
}

/// `Ok(None)` for a listener without TLS.
pub(super) fn read(config: &Config, listener: &Value) -> Result<Option<Listener>, DraftError> {
    let chains = || list(&listener["filter_chains"]).chain(listener.get("default_filter_chain"));
    let is_tls = |chain: &&Value| is_type(&chain["transport_socket"]["typed_config"], "DownstreamTlsContext");
    if !chains().any(|chain| is_tls(&chain)) {
        return Ok(None);
    }
    let address = &listener["address"]["socket_address"];
    let port = address["port_value"].as_u64().unwrap_or_default();
    let named = listener["name"].as_str().map(|name| format!(" `{name}`")).unwrap_or_default();
    let place = format!("listener{named} on port {port} ({})", config.place);
    let identity = |chain: &Value| {
        let common = &chain["transport_socket"]["typed_config"]["common_tls_context"];
        // A name is worth more than none.
        identities(common).min()
    };
    let (chain, identity) = chains()
        .filter(is_tls)
        .find_map(|chain| Some((chain, identity(chain)?)))
        .ok_or_else(|| DraftError::NoIdentity { listener: place.clone() })?;
    let context = &chain["transport_socket"]["typed_config"];
    let filters: Vec<_> = list(&chain["filters"]).map(|filter| filter["typed_config"].clone()).collect();
    Ok(Some(Listener {
        port,
        identity,
        tls: Tls::read(context),
        http: versions(context, &filters),
        filters,
        unread: before(listener, chain, chains().count()),
        sni: server_name(&chain["filter_chain_match"]["server_names"]),
        admin: config.bootstrap["admin"]["address"]["socket_address"]["port_value"].as_u64(),
        place,
    }))
}

/// HTTP versions, by ALPN and the codec.
fn versions(context: &Value, filters: &[Value]) -> &'static [&'static str] {
    let alpn: Vec<_> =
        list(&context["common_tls_context"]["alpn_protocols"]).filter_map(Value::as_str).collect();
    let codec = filters.iter().find_map(|filter| filter.get("codec_type"));
    let is = |name: &str, number: u64| codec.is_some_and(|codec| *codec == name || *codec == number);
    match (alpn.contains(&"h2"), alpn.iter().any(|protocol| protocol.starts_with("http/1"))) {
        _ if is("HTTP1", 1) => &["1.1"],
        _ if is("HTTP2", 2) => &["2"],
        (true, true) => &["1.1", "2"],
        (true, false) => &["2"],
        (false, _) => &["1.1"],
    }
}

/// The first of these names that is one, and not a pattern.
fn server_name(names: &Value) -> Option<String> {
    let is_name = |name: &&str| DnsName::try_from(*name).is_ok() && !name.contains('*');
    list(names).filter_map(Value::as_str).find(is_name).map(ToOwned::to_owned)
}

/// What decides, before any filter of the chain, whether the chain is the one.
fn before(listener: &Value, chain: &Value, chains: usize) -> BTreeSet<String> {
    let harmless = ["tls_inspector", "http_inspector"];
    let filters = list(&listener["listener_filters"]).filter_map(|filter| {
        let kind = filter["typed_config"]["@type"].as_str().or(filter["name"].as_str())?;
        let known = harmless.iter().any(|name| kind.contains(name));
        (!known).then(|| format!("the listener filter `{}`", filter["name"].as_str().unwrap_or(kind)))
    });
    let matched = chain["filter_chain_match"].as_object().into_iter().flatten();
    let taken = |key: &str, value: &Value| match key {
        "transport_protocol" => value == "tls",
        "server_names" => server_name(value).is_some(),
        _ => false,
    };
    let matched = matched.filter(|(key, value)| !taken(key, value));
    let matched = matched.map(|(key, _)| format!("`filter_chain_match` by `{key}`"));
    let several = (chains > 1).then(|| format!("which of its {chains} filter chains serves a connection"));
    filters.chain(matched).chain(several).collect()
}
