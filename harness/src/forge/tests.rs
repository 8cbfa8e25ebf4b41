//! Each forged credential is wrong in what its recipe says, and in nothing else.

use rstest::rstest;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::*;

const DOMAIN: &str = "example.org";
const PATH: &str = "/ns/default/sa/frontend";

struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Authority,
}

fn made(name: &str) -> Made {
    let authority = Authority::new(DOMAIN).unwrap();
    let forged = forge(recipe(name).unwrap(), DOMAIN, PATH, &authority).unwrap().unwrap();
    let chain = CertificateDer::pem_slice_iter(forged.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    Made { chain, key: PrivateKeyDer::from_pem_slice(forged.key.as_bytes()).unwrap(), authority }
}

impl Made {
    fn leaf(&self) -> X509Certificate<'_> {
        X509Certificate::from_der(&self.chain[0]).unwrap().1
    }

    fn sans(&self) -> Vec<String> {
        let leaf = self.leaf();
        let Some(sans) = leaf.subject_alternative_name().unwrap() else { return vec![] };
        let name = |name: &GeneralName| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            GeneralName::DNSName(dns) => format!("DNS:{dns}"),
            other => panic!("{other:?}"),
        };
        sans.value.general_names.iter().map(name).collect()
    }

    /// What webpki, which knows nothing of SPIFFE, says of the chain.
    fn verified(&self) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate.as_bytes()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        verifier
            .verify_client_cert(&self.chain[0], &self.chain[1..], UnixTime::now())
            .map(drop)
            .map_err(|e| e.to_string())
    }

    /// Whether the key is the one that the leaf certifies.
    fn key_fits(&self) -> bool {
        let key = rustls::crypto::ring::sign::any_supported_type(&self.key).unwrap();
        key.public_key().unwrap().as_ref() == self.leaf().public_key().raw
    }
}

#[test]
fn the_recipes_are_read() {
    let sound = recipe(SOUND).unwrap();
    let mut made: Vec<_> = catalogue().unwrap().values().cloned().collect();
    assert!(made.len() >= 22 && made.iter().all(|recipe| recipe.why.ends_with('.')));
    // No two are made alike, whatever is said of them, and so none but the sound one is sound.
    for recipe in &mut made {
        (recipe.why, recipe.clause) = (sound.why.clone(), sound.clause.clone());
    }
    for (number, recipe) in made.iter().enumerate() {
        assert!(!made[..number].contains(recipe), "{recipe:?}");
    }
}

#[rstest]
#[case("sound", &["spiffe://example.org/ns/default/sa/frontend"])]
#[case("id-prefix", &["spiffe://example.org/ns/default/sa/fronten"])]
#[case("id-slash", &["spiffe://example.org/ns/default/sa/frontend/"])]
#[case("id-suffix", &["spiffe://example.org/ns/default/sa/frontendx"])]
#[case("id-case", &["spiffe://example.org/NS/DEFAULT/SA/FRONTEND"])]
#[case("id-percent-encoded", &["spiffe://example.org/ns/default/sa/fronten%64"])]
#[case("two-uris-allowed-first", &["spiffe://example.org/ns/default/sa/frontend", "spiffe://example.org/ns/svidproof/sa/on-no-list"])]
#[case("two-uris-allowed-last", &["spiffe://example.org/ns/svidproof/sa/on-no-list", "spiffe://example.org/ns/default/sa/frontend"])]
#[case("no-uri", &[])]
#[case("dns-only", &["DNS:svidproof.example"])]
fn the_names_are_as_the_recipe_says(#[case] name: &str, #[case] sans: &[&str]) {
    let made = made(name);
    assert_eq!(made.sans(), sans);
    assert_eq!(made.verified(), Ok(()), "nothing but the name is wrong");
    assert!(made.key_fits());
}

#[rstest]
#[case("sound", 2, "")]
#[case("long-chain", 20, "signature")]
// It has the trusted CA's name, and another key.
#[case("rogue-ca", 2, "BadSignature")]
#[case("no-intermediate", 1, "UnknownIssuer")]
#[case("self-signed", 1, "UnknownIssuer")]
#[case("expired", 2, "expired")]
#[case("not-yet-valid", 2, "not valid yet")]
#[case("ca-as-leaf", 2, "CaUsedAsEndEntity")]
#[case("no-client-auth", 2, "extended key usage")]
#[case("another-key", 2, "")]
fn the_chain_is_as_the_recipe_says(#[case] name: &str, #[case] certificates: usize, #[case] webpki: &str) {
    let made = made(name);
    assert_eq!(made.chain.len(), certificates);
    let said = made.verified();
    if webpki.is_empty() {
        assert_eq!(said, Ok(()));
    } else {
        let said = said.unwrap_err();
        // A chain of 20 is longer than webpki follows, which is its own affair.
        assert!(said.contains(webpki) || name == "long-chain", "{said}");
    }
    assert_eq!(made.key_fits(), name != "another-key");
    for pair in made.chain.windows(2) {
        let [below, above] = [&pair[0], &pair[1]].map(|der| X509Certificate::from_der(der).unwrap().1);
        assert_eq!(below.issuer(), above.subject());
        assert!(below.verify_signature(Some(above.public_key())).is_ok());
    }
}

#[test]
fn what_is_not_made_here_is_none() {
    let authority = Authority::new(DOMAIN).unwrap();
    for name in ["nobody", "other-trust-domain"] {
        assert!(forge(recipe(name).unwrap(), DOMAIN, PATH, &authority).unwrap().is_none());
    }
}

#[test]
fn a_ca_is_made_once_and_its_key_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let first = Authority::kept(&folder.path().join("authorities"), DOMAIN).unwrap();
    let again = Authority::kept(&folder.path().join("authorities"), DOMAIN).unwrap();
    assert_eq!((first.certificate, first.key), (again.certificate, again.key));
    let key = folder.path().join("authorities/example.org.ca-key.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
