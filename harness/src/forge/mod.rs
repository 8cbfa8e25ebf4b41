//! Credentials that are forged on purpose, and the CA that makes that possible: the trust domain's own, held
//! by the harness, so that a forbidden leaf still chains to the trusted bundle. Not for dialling, nor for
//! what must come of it: the scenario says that.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

mod jwt;
mod recipe;

pub use jwt::{JwtError, JwtFlaw, expiry, jwt};
pub use recipe::{Catalogue, CatalogueError, Clause, Level, Recipe, Signer, carried, catalogue, recipe};
use recipe::{Key, Valid};

use crate::spiffe_id::spiffe_id;
use crate::sys::files::{self, FileError, could_not};

/// Why a CA or a credential could not be made or kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum ForgeError {
    #[error("could not make {what}")]
    Make { what: String, source: rcgen::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

fn making(what: &str) -> impl Fn(rcgen::Error) -> ForgeError {
    move |source| ForgeError::Make { what: what.into(), source }
}

/// The credential that has nothing wrong with it.
pub const SOUND: &str = "sound";

/// Where a run keeps the CAs that it gave to the SPIRE servers.
pub fn authorities(run: &Path) -> PathBuf {
    run.join("authorities")
}

/// Where it keeps those that the servers know machines outside of the cluster by.
pub fn machine_authorities(run: &Path) -> PathBuf {
    run.join("machine-authorities")
}

/// A CA with its key, both PEM.
pub struct Authority {
    /// The CA certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

impl Authority {
    fn new(trust_domain: &str) -> Result<Self, ForgeError> {
        let failed = making("a CA");
        let key = KeyPair::generate().map_err(&failed)?;
        let params = signing(&format!("svidproof's CA of {trust_domain}"), &[spiffe_id(trust_domain, "")])
            .map_err(&failed)?;
        Ok(Self { certificate: params.self_signed(&key).map_err(&failed)?.pem(), key: key.serialize_pem() })
    }

    /// The trust domain's CA in this folder, made where there is none yet. Its key is for the folder's owner
    /// alone.
    pub fn kept(folder: &Path, trust_domain: &str) -> Result<Self, ForgeError> {
        let path = |what: &str| folder.join(format!("{trust_domain}.{what}.pem"));
        let (certificate, key) = (path("ca"), path("ca-key"));
        if !certificate.exists() {
            let made = Self::new(trust_domain)?;
            files::make_folder(folder)?;
            // The certificate last: where it is, the key is.
            for (path, text) in [(&key, &made.key), (&certificate, &made.certificate)] {
                let file =
                    std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
                file.and_then(|mut file| file.write_all(text.as_bytes()))
                    .map_err(could_not("write", path))?;
            }
        }
        Ok(Self { certificate: files::read_text(&certificate)?, key: files::read_text(&key)? })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)
    }
}

/// A credential, PEM: the chain, leaf first, and the key that is used with it.
pub struct Forged {
    /// The certificates, leaf first.
    pub chain: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// The certificate, and its key, by which a machine outside of the cluster proves which one it is: sound, of
/// this CA, with the machine's name.
pub fn of_machine(name: &str, authority: &Authority) -> Result<Forged, ForgeError> {
    let made = || {
        let (mut params, key) = (named(name, &[])?, KeyPair::generate()?);
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let chain = params.signed_by(&key, &authority.issuer()?)?.pem();
        Ok(Forged { chain, key: key.serialize_pem() })
    };
    made().map_err(making("a machine's certificate"))
}

/// Makes a credential like that of the client `path` of `trust_domain`, but for what the recipe says. `None`
/// for one that is not made here.
pub fn forge(
    recipe: &Recipe,
    trust_domain: &str,
    path: &str,
    authority: &Authority,
) -> Result<Option<Forged>, ForgeError> {
    let rogue = match recipe.signer {
        Signer::Neighbour | Signer::None => return Ok(None),
        Signer::Rogue => Some(Authority::new(trust_domain)?),
        Signer::Authority | Signer::Itself => None,
    };
    let forged = forged(recipe, trust_domain, path, rogue.as_ref().unwrap_or(authority));
    forged.map(Some).map_err(making("a forged credential"))
}

fn forged(
    recipe: &Recipe,
    trust_domain: &str,
    path: &str,
    authority: &Authority,
) -> Result<Forged, rcgen::Error> {
    let mut issuer = authority.issuer()?;
    let mut chain = vec![];
    for number in 1..=recipe.intermediates {
        let (params, key) =
            (signing(&format!("svidproof's intermediate {number}"), &[])?, KeyPair::generate()?);
        chain.insert(0, params.signed_by(&key, &issuer)?.pem());
        issuer = Issuer::new(params, key);
    }
    if recipe.alone {
        chain.clear();
    }
    let (params, key) = (leaf(recipe, trust_domain, path)?, KeyPair::generate()?);
    let certificate = if recipe.signer == Signer::Itself {
        params.self_signed(&key)?
    } else {
        params.signed_by(&key, &issuer)?
    };
    let key = if recipe.key == Key::Another { KeyPair::generate()? } else { key };
    Ok(Forged { chain: certificate.pem() + &chain.concat(), key: key.serialize_pem() })
}

fn leaf(recipe: &Recipe, trust_domain: &str, path: &str) -> Result<CertificateParams, rcgen::Error> {
    let uris: Vec<_> = recipe.uris.iter().map(|uri| filled_in(uri, trust_domain, path)).collect();
    let mut params = if recipe.ca { signing("svidproof", &uris)? } else { named("svidproof", &uris)? };
    params.subject_alt_names.extend(
        recipe
            .dns
            .iter()
            .map(|dns| dns.as_str().try_into().map(SanType::DnsName))
            .collect::<Result<Vec<_>, _>>()?,
    );
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if recipe.client_auth {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    let (from, to) = match recipe.valid {
        Valid::Now => (2020, 2120),
        Valid::Past => (2020, 2021),
        Valid::Future => (2119, 2120),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    Ok(params)
}

fn filled_in(uri: &str, trust_domain: &str, path: &str) -> String {
    let id = spiffe_id(trust_domain, path);
    let mut short = id.clone();
    let last = short.pop().unwrap_or_default();
    let hex = format!("{:02x}", u32::from(last));
    [
        ("{id}", &id),
        ("{domain}", &trust_domain.to_owned()),
        ("{PATH}", &path.to_uppercase()),
        ("{short}", &short),
        ("{hex}", &hex),
    ]
    .into_iter()
    .fold(uri.to_owned(), |uri, (name, value)| uri.replace(name, value))
}

fn named(name: &str, uris: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names =
        uris.iter().map(|uri| uri.as_str().try_into().map(SanType::URI)).collect::<Result<_, _>>()?;
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}

/// A signing certificate (X.509-SVID, section 3.2).
fn signing(name: &str, uris: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = named(name, uris)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

#[cfg(test)]
mod tests;
