//! What a dial presents, and the CA certificates that it trusts: from the Workload API, or from PEM as it is.
//! Not for checking a chain of our own: a forged credential is sent just like a true one.

use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};

use crate::identities::{Identities, IdentityError};
use crate::protocol::{Credential, TrustAnchors};
use crate::tls::{certified, roots};

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{what} cannot be read: {problem}\nhint: it must be PEM")]
    Unreadable { what: &'static str, problem: String },
    #[error("{what} holds no certificate\nhint: it must be PEM with at least one CERTIFICATE block")]
    Empty { what: &'static str },
    #[error(
        "the client's key fits none of the signature schemes that the server asked for ({})",
        .asked.join(", ")
    )]
    NotAskedFor { asked: Vec<String> },
}

/// The chain and key to present; `None` presents nobody.
pub(crate) fn presented(
    credential: &Credential,
    identities: &Identities,
) -> Result<Option<Arc<CertifiedKey>>, CredentialError> {
    match credential {
        Credential::Nobody => Ok(None),
        Credential::Svid(id) => Ok(Some(identities.svid(id)?)),
        Credential::Pem { chain, key } => {
            let chain = certificates("the client's chain", chain)?;
            let unreadable = |problem| CredentialError::Unreadable { what: "the client's key", problem };
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| unreadable(said(&e)))?;
            Ok(Some(certified(chain, key).map_err(|e| unreadable(e.to_string()))?))
        }
    }
}

/// The trust anchors that the server's chain must lead to.
pub(crate) fn anchors(
    asked: &TrustAnchors,
    identities: &Identities,
) -> Result<Arc<RootCertStore>, CredentialError> {
    match asked {
        TrustAnchors::TrustDomain(trust_domain) => Ok(identities.bundle(trust_domain)?),
        TrustAnchors::Pem(bundle) => {
            let what = "the server's bundle";
            let roots = roots(certificates(what, bundle)?);
            Ok(Arc::new(roots.map_err(|e| CredentialError::Unreadable { what, problem: e.to_string() })?))
        }
    }
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|e| CredentialError::Unreadable { what, problem: said(&e) })?;
    if read.is_empty() { Err(CredentialError::Empty { what }) } else { Ok(read) }
}

/// Without the text itself: it may be a key.
fn said(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a PEM block has no END line".into(),
        pem::Error::IllegalSectionStart { .. } => "a PEM block has no proper BEGIN line".into(),
        pem::Error::NoItemsFound => "there is no PEM block of the right kind".into(),
        _ => "its Base64 is broken".into(),
    }
}

/// Presents one credential, always, whatever CA names the server hints at: it is the server's answer that is
/// tested.
#[derive(Debug)]
pub(crate) struct Always {
    key: Arc<CertifiedKey>,
    /// The server's signature schemes, where the key fits none of them and rustls therefore presents nobody.
    unfit: OnceLock<Vec<SignatureScheme>>,
}

impl Always {
    pub(crate) fn new(key: Arc<CertifiedKey>) -> Self {
        Self { key, unfit: OnceLock::new() }
    }

    /// Fails where the credential was asked for and yet could not be presented: what came of it says nothing
    /// about the credential.
    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        let Some(asked) = self.unfit.get() else { return Ok(()) };
        Err(CredentialError::NotAskedFor {
            asked: asked.iter().map(|scheme| format!("{scheme:?}")).collect(),
        })
    }
}

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if self.key.key.choose_scheme(schemes).is_none() {
            self.unfit.get_or_init(|| schemes.to_vec());
        }
        Some(self.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
