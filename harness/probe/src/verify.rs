//! Whom the client takes for the server: a chain to the trust anchors, the expected SPIFFE ID and, where one
//! is asked for, the DNS name. Not for the client's own credential.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why a chain that verifies is still not the expected server's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Mismatch {
    #[error(
        "its certificate has {} URI SANs where an X.509-SVID has exactly one{}",
        .found.len(),
        listed(.found)
    )]
    NotOneUri { found: Vec<String> },
    #[error("its SPIFFE ID is {found}, not {expected}")]
    OtherId { expected: String, found: String },
    #[error("its certificate is not for the DNS name {expected}; it is for {}", or_none(.found))]
    OtherDns { expected: String, found: Vec<String> },
}

fn listed(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(": {}", found.join(", ")) }
}

fn or_none(found: &[String]) -> String {
    if found.is_empty() { "none".into() } else { found.join(", ") }
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        CertificateError::Other(OtherError(Arc::new(mismatch))).into()
    }
}

/// The verifier's refusal in words.
pub(crate) fn reason(refusal: &CertificateError) -> String {
    match refusal {
        CertificateError::Other(OtherError(cause)) => cause.to_string(),
        _ => format!("its certificate does not verify against the bundle: {refusal}"),
    }
}

/// The names in a certificate's subjectAltName; none where it cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sans {
    pub(crate) uris: Vec<String>,
    pub(crate) dns: Vec<String>,
}

impl Sans {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut sans = Self::default();
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return sans };
        let Ok(Some(extension)) = parsed.subject_alternative_name() else { return sans };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(uri) => sans.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => sans.dns.push((*dns).to_owned()),
                _ => {}
            }
        }
        sans
    }
}

/// One dial's verifier.
#[derive(Debug)]
pub(crate) struct Verifier {
    roots: Arc<RootCertStore>,
    spiffe_id: String,
    dns: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    /// What the server sent, leaf first: rustls itself keeps only a chain that was verified.
    sent: OnceLock<Vec<CertificateDer<'static>>>,
}

impl Verifier {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        spiffe_id: String,
        dns: Option<ServerName<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { roots, spiffe_id, dns, provider, sent: OnceLock::new() }
    }

    pub(crate) fn sent(&self) -> &[CertificateDer<'static>] {
        self.sent.get().map_or(&[], Vec::as_slice)
    }

    /// The SPIFFE ID first: who answers matters more than under which name.
    fn names_match(&self, leaf: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>) -> Result<(), Error> {
        let sans = Sans::of(leaf);
        match sans.uris.as_slice() {
            [found] if *found == self.spiffe_id => {}
            [found] => {
                let (expected, found) = (self.spiffe_id.clone(), found.clone());
                return Err(Mismatch::OtherId { expected, found }.into());
            }
            _ => return Err(Mismatch::NotOneUri { found: sans.uris }.into()),
        }
        let Some(expected) = &self.dns else { return Ok(()) };
        match verify_server_name(parsed, expected) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                let expected = expected.to_str().into_owned();
                Err(Mismatch::OtherDns { expected, found: sans.dns }.into())
            }
            verified => verified,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.sent.get_or_init(|| {
            std::iter::once(leaf).chain(intermediates).map(|sent| sent.clone().into_owned()).collect()
        });
        let parsed = ParsedCertificate::try_from(leaf)?;
        // Validity and the extended key usage serverAuth (where the certificate restricts it: X.509-SVID,
        // appendix A) are checked here too.
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        self.names_match(leaf, &parsed)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
