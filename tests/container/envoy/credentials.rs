//! Trust domains and what clients present, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use svidproof_probe::protocol::Credential;

use super::config::spiffe;

/// The CA of a trust domain.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A leaf and its key, PEM.
pub(crate) struct Svid {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn svid(&self, id: &str) -> Svid {
        self.svid_until(id, 2100)
    }

    fn svid_until(&self, id: &str, year: i32) -> Svid {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Svid { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

impl From<Svid> for Credential {
    fn from(svid: Svid) -> Self {
        Self::Pem { chain: svid.chain, key: svid.key }
    }
}

/// What the clients of the scenarios beside this file present, by their names.
pub(crate) fn presented(authority: &Authority) -> Vec<(&'static str, Credential)> {
    let frontend = spiffe("/frontend");
    let right: Credential = authority.svid(&frontend).into();
    vec![
        ("nobody", Credential::Nobody),
        ("the right SVID", right.clone()),
        ("a wrong ID", authority.svid(&spiffe("/stranger")).into()),
        ("the same ID of another CA", Authority::new("rogue").svid(&frontend).into()),
        ("another trust domain", Authority::new("example.net").svid("spiffe://example.net/frontend").into()),
        ("an expired SVID", authority.svid_until(&frontend, 2021).into()),
        ("frontend", right),
        ("friend", authority.svid(&spiffe("/friend")).into()),
        ("blocked", authority.svid(&spiffe("/blocked")).into()),
        ("stranger", authority.svid(&spiffe("/stranger")).into()),
        ("rogue", Authority::new("another rogue").svid(&spiffe("/friend")).into()),
        ("frontend-2", authority.svid(&spiffe("/frontend-2")).into()),
    ]
}
