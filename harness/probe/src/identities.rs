//! The SVIDs and bundles that the Workload API hands out, kept up to date. Not for credentials that a dial
//! brings along as PEM.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use spiffe::workload_api::WorkloadApiError;
use spiffe::{SpiffeId, WorkloadApiClient, X509Context, X509Svid};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::protocol::{Carried, Token};
use crate::tls;

/// The pause between two connections to the Workload API. An agent that knows no entry for this workload yet
/// ends the stream at once and announces nothing, so asking again is all there is; this is the only wait here
/// without an event, and it ends early when nobody listens.
const RECONNECT: Duration = Duration::from_millis(200);

/// What the Workload API did not hand out. `status` is why there was no stream of it at that moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// An SVID was asked for that is not held.
    #[error(
        "the Workload API handed out no SVID for {id}; it handed out: {}{}\n\
         hint: is there an entry for it whose selectors fit the probe's pod?",
        listed(.held),
        last_word(.status.as_ref())
    )]
    NoSvid {
        /// The SPIFFE ID that was asked for.
        id: String,
        /// The SPIFFE IDs that are held.
        held: Vec<String>,
        /// The Workload API's last word.
        status: Option<String>,
    },
    /// A bundle was asked for that is not held.
    #[error(
        "the Workload API handed out no bundle of the trust domain {trust_domain}; \
         it handed out those of: {}{}",
        listed(.held),
        last_word(.status.as_ref())
    )]
    NoBundle {
        /// The trust domain's name, without `spiffe://`.
        trust_domain: String,
        /// The trust domains whose bundles are held.
        held: Vec<String>,
        /// The Workload API's last word.
        status: Option<String>,
    },
    /// A wait for SVIDs was over before all were held.
    #[error(
        "after {waited_ms} ms the Workload API had handed out no SVID for: {}; it had handed out: {}{}",
        listed(.missing),
        listed(.held),
        last_word(.status.as_ref())
    )]
    Missing {
        /// The SPIFFE IDs that were waited for in vain.
        missing: Vec<String>,
        /// The SPIFFE IDs that are held.
        held: Vec<String>,
        /// The bound of the wait, in milliseconds.
        waited_ms: u64,
        /// The Workload API's last word.
        status: Option<String>,
    },
    /// A JWT-SVID was asked for and not given.
    #[error(
        "the Workload API gave no JWT-SVID of {id} for {audience}: {problem}\n\
         hint: is there an entry for it whose selectors fit the probe's pod?"
    )]
    NoJwt {
        /// The SPIFFE ID that was asked for.
        id: String,
        /// Whom it was to be for.
        audience: String,
        /// What the Workload API said.
        problem: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn last_word(status: Option<&String>) -> String {
    status.map(|status| format!("; its last word: {status}")).unwrap_or_default()
}

/// A view of what the Workload API handed out last.
#[derive(Debug, Clone)]
pub struct Identities {
    held: watch::Receiver<Held>,
    /// Where it is asked; absent for none.
    endpoint: Option<String>,
}

/// How long one JWT-SVID may take: the agent asks its server for it.
const JWT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Held {
    svids: BTreeMap<String, Svid>,
    /// By the trust domain's name.
    bundles: BTreeMap<String, Bundle>,
    /// Why there is no stream at the moment.
    status: Option<String>,
}

#[derive(Debug)]
struct Svid {
    /// Ready for use in a handshake.
    key: Arc<CertifiedKey>,
    issued: Arc<X509Svid>,
}

#[derive(Debug)]
struct Bundle {
    roots: Arc<RootCertStore>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Identities {
    /// None at all: for dials from outside a cluster, which bring PEM along.
    pub fn none() -> Self {
        let status = Some("no Workload API was asked".into());
        Self { held: watch::channel(Held { status, ..Held::default() }).1, endpoint: None }
    }

    /// Follows the Workload API at this address (`unix:///…`, as in `SPIFFE_ENDPOINT_SOCKET`) until the last
    /// clone is dropped. Must be called inside a tokio runtime.
    pub fn follow(endpoint: String) -> Self {
        let (sender, receiver) = watch::channel(Held {
            status: Some(format!("no answer yet from {endpoint}")),
            ..Held::default()
        });
        tokio::spawn(follow(endpoint.clone(), sender));
        Self { held: receiver, endpoint: Some(endpoint) }
    }

    /// A JWT-SVID with this SPIFFE ID for this audience, from the Workload API at this moment.
    pub async fn jwt(&self, id: &str, audience: &str) -> Result<Token, IdentityError> {
        let no_jwt =
            |problem: String| IdentityError::NoJwt { id: id.into(), audience: audience.into(), problem };
        let endpoint = self.endpoint.as_deref().ok_or_else(|| no_jwt("no Workload API was asked".into()))?;
        let spiffe_id = SpiffeId::new(id).map_err(|e| no_jwt(e.to_string()))?;
        let fetched = async {
            WorkloadApiClient::connect_to(endpoint).await?.fetch_jwt_svid([audience], Some(&spiffe_id)).await
        };
        let fetched = timeout(JWT, fetched).await.map_err(|_| no_jwt(format!("no answer in {JWT:?}")))?;
        fetched.map(|svid| Token(svid.token().into())).map_err(|e| no_jwt(e.to_string()))
    }

    /// The SPIFFE ID of every SVID held now.
    pub fn held(&self) -> Vec<String> {
        self.held.borrow().ids()
    }

    /// Waits until an SVID is held for each of these SPIFFE IDs; returns all that are held then.
    pub async fn await_all(&self, ids: &[String], limit: Duration) -> Result<Vec<String>, IdentityError> {
        let mut held = self.held.clone();
        let all = held.wait_for(|held| ids.iter().all(|id| held.svids.contains_key(id)));
        if let Ok(Ok(held)) = timeout(limit, all).await {
            return Ok(held.ids());
        }
        let held = self.held.borrow();
        let missing = ids.iter().filter(|id| !held.svids.contains_key(*id)).cloned().collect();
        let waited_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Err(IdentityError::Missing { missing, held: held.ids(), waited_ms, status: held.status.clone() })
    }

    /// The SVID with this SPIFFE ID, with its trust domain's bundle, as PEM.
    pub fn fetch(&self, id: &str) -> Result<Carried, IdentityError> {
        let held = self.held.borrow();
        let issued = &held.svid(id)?.issued;
        let bundle = held.bundle(issued.spiffe_id().trust_domain_name())?;
        Ok(Carried {
            chain: issued
                .cert_chain()
                .iter()
                .map(|certificate| pem("CERTIFICATE", certificate.as_bytes()))
                .collect(),
            key: pem("PRIVATE KEY", issued.private_key().as_bytes()),
            bundle: bundle.authorities.iter().map(|authority| pem("CERTIFICATE", authority)).collect(),
        })
    }

    pub(crate) fn svid(&self, id: &str) -> Result<Arc<CertifiedKey>, IdentityError> {
        self.held.borrow().svid(id).map(|svid| svid.key.clone())
    }

    pub(crate) fn bundle(&self, trust_domain: &str) -> Result<Arc<RootCertStore>, IdentityError> {
        self.held.borrow().bundle(trust_domain).map(|bundle| bundle.roots.clone())
    }
}

impl Held {
    fn ids(&self) -> Vec<String> {
        self.svids.keys().cloned().collect()
    }

    fn svid(&self, id: &str) -> Result<&Svid, IdentityError> {
        self.svids.get(id).ok_or_else(|| IdentityError::NoSvid {
            id: id.into(),
            held: self.ids(),
            status: self.status.clone(),
        })
    }

    fn bundle(&self, trust_domain: &str) -> Result<&Bundle, IdentityError> {
        self.bundles.get(trust_domain).ok_or_else(|| IdentityError::NoBundle {
            trust_domain: trust_domain.into(),
            held: self.bundles.keys().cloned().collect(),
            status: self.status.clone(),
        })
    }

    /// All of it or nothing: a context of which a part cannot be used is an agent's fault that must not pass
    /// as a missing SVID.
    fn of(context: &X509Context) -> Result<Self, String> {
        let mut held = Self::default();
        for issued in context.svids() {
            let id = issued.spiffe_id().to_string();
            let chain = issued.cert_chain().iter().map(|certificate| owned(certificate.as_bytes())).collect();
            let key =
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.private_key().as_bytes().to_vec()));
            let key =
                tls::certified(chain, key).map_err(|e| format!("the key of {id} cannot be used: {e}"))?;
            held.svids.insert(id, Svid { key, issued: issued.clone() });
        }
        for (trust_domain, bundle) in context.bundle_set().iter() {
            let authorities: Vec<_> =
                bundle.authorities().iter().map(|authority| owned(authority.as_bytes())).collect();
            let roots = tls::roots(authorities.iter().cloned());
            let roots =
                Arc::new(roots.map_err(|e| format!("the bundle of {trust_domain} cannot be used: {e}"))?);
            held.bundles.insert(trust_domain.as_str().into(), Bundle { roots, authorities });
        }
        Ok(held)
    }
}

fn owned(der: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(der.to_vec())
}

fn pem(tag: &str, der: &[u8]) -> String {
    let line_feeds = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), line_feeds)
}

async fn follow(endpoint: String, held: watch::Sender<Held>) {
    loop {
        let ended = tokio::select! {
            () = held.closed() => return,
            ended = stream(&endpoint, &held) => ended,
        };
        held.send_modify(|held| {
            // What was handed out stays in use while the agent is away. "No identity issued" is an answer:
            // there is nothing to use.
            if matches!(ended, Some(WorkloadApiError::NoIdentityIssued)) {
                held.svids.clear();
            }
            held.status = Some(ended.map_or_else(|| "the agent ended the stream".into(), |e| e.to_string()));
        });
        if timeout(RECONNECT, held.closed()).await.is_ok() {
            return;
        }
    }
}

/// Takes in one stream of X.509 contexts to its end; says why it ended.
async fn stream(endpoint: &str, held: &watch::Sender<Held>) -> Option<WorkloadApiError> {
    let contexts = async { WorkloadApiClient::connect_to(endpoint).await?.stream_x509_contexts().await };
    let mut contexts = match contexts.await {
        Ok(contexts) => contexts,
        Err(e) => return Some(e),
    };
    while let Some(context) = contexts.next().await {
        match context.map(|context| Held::of(&context)) {
            Ok(Ok(now)) => drop(held.send_replace(now)),
            Ok(Err(unusable)) => held.send_modify(|held| held.status = Some(unusable)),
            Err(e) => return Some(e),
        }
    }
    None
}
