//! What both ends of the probe's TLS are made of: the provider, keys, trust anchors, protocol names. Not for
//! where a credential comes from (`credential`, `identities`) nor for a session (`dial`).

use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::protocol::Http;

/// The one TLS provider, passed explicitly: the library works whether or not its caller installed a default.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Chain and key together, without a look at whether they match.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    Ok(Arc::new(CertifiedKey::new(chain, PROVIDER.key_provider.load_private_key(key)?)))
}

pub(crate) fn roots(
    authorities: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    authorities.into_iter().try_for_each(|authority| roots.add(authority))?;
    Ok(roots)
}

/// The protocol's name in ALPN, where it has one. Only the one that is asked for is offered.
pub(crate) fn alpn(http: Http) -> Option<&'static [u8]> {
    match http {
        Http::Http1 => Some(b"http/1.1"),
        Http::Http2 => Some(b"h2"),
        Http::None => None,
    }
}
