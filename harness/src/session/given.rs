//! SVIDs that a person gives as files, for a check that asks nothing of the SPIRE server: read, and held to
//! what the scenario's client claims to be, before anything is dialled. An SVID that is over, or that nobody
//! signed whom the trust domain trusts, would be refused whatever the policy says.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use svidproof_probe::protocol::Carried;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cluster::spire::bundle_pem;
use crate::sys::files::{self, FileError};

/// An SVID that is over in less than this, in seconds, may be over before its dial is.
const LEAST: i64 = 30;

/// What a client presents where no probe is asked for it.
#[derive(Debug, Clone)]
pub enum Given {
    /// This, which lasts until then, if it ends at all: nobody's has a bundle alone.
    Svid {
        /// The SVID, and the bundle that the server is verified by.
        carried: Carried,
        /// When it is over.
        ends: Option<Timestamp>,
    },
    /// Nothing, for this reason: it is not tried.
    Untried(String),
}

/// `CLIENT=CERT,KEY[,BUNDLE]`: the files of the SVID that a client of the scenario presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidFiles {
    /// The client's name in the scenario.
    pub client: String,
    /// The SVID and what stands between it and the bundle, leaf first, PEM.
    pub chain: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The trust domain's bundle, PEM or JWKS.
    pub bundle: Option<PathBuf>,
}

impl FromStr for SvidFiles {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it is CLIENT=CERT,KEY or CLIENT=CERT,KEY,BUNDLE";
        let (client, files) = text.split_once('=').ok_or(FORM)?;
        let files: Vec<&str> = files.split(',').collect();
        if client.is_empty() || files.iter().any(|file| file.is_empty()) {
            return Err(FORM);
        }
        let (chain, key, bundle) = match files.as_slice() {
            [chain, key] => (chain, key, None),
            [chain, key, bundle] => (chain, key, Some(PathBuf::from(bundle))),
            _ => return Err(FORM),
        };
        Ok(Self { client: client.into(), chain: chain.into(), key: key.into(), bundle })
    }
}

/// What is wrong with an SVID that was given.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum GivenError {
    #[error(
        "--svid {client}: no scenario has a client of that name that presents an SVID of its own\n\
         hint: there are {}",
        if known.is_empty() { "none".into() } else { known.join(", ") }
    )]
    NoClient { client: String, known: Vec<String> },
    #[error("--svid {client} is given twice")]
    Twice { client: String },
    #[error("--svid {client}")]
    File { client: String, source: FileError },
    #[error("--svid {client}: {} {problem}", file.display())]
    Unfit { client: String, file: PathBuf, problem: String },
    #[error(
        "no bundle of trust domain {trust_domain} is given or found, and without it no server can be \
         verified: {why}\n\
         hint: --svid CLIENT=CERT,KEY,BUNDLE gives it; or `spire` of the scenario names the ConfigMap with \
         it"
    )]
    NoBundle { trust_domain: String, why: String },
}

/// An SVID as its files have it.
#[derive(Debug, Clone)]
pub(super) struct Svid {
    pub(super) files: SvidFiles,
    /// `spiffe://…`.
    pub(super) id: String,
    /// Without a bundle where none is given.
    pub(super) carried: Carried,
    pub(super) ends: Timestamp,
    /// Whether others than its owner may read the key.
    pub(super) is_open: bool,
}

/// Reads the files.
///
/// # Errors
/// They are not those of one SVID that is valid now.
pub(super) fn read(files: &SvidFiles) -> Result<Svid, GivenError> {
    let client = || files.client.clone();
    let failed = |source| GivenError::File { client: client(), source };
    let unfit =
        |file: &Path, problem: String| GivenError::Unfit { client: client(), file: file.into(), problem };
    let (chain, key) =
        (files::read_text(&files.chain).map_err(failed)?, files::read_text(&files.key).map_err(failed)?);
    let certificates = certificates(&chain).map_err(|problem| unfit(&files.chain, problem))?;
    let read_key = || PrivateKeyDer::from_pem_slice(key.as_bytes());
    // Not the parser's own words: they may quote the key.
    let private = read_key().map_err(|_| unfit(&files.key, "holds no private key in PEM".into()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(certificates.clone(), private, &provider).map_err(|error| {
        unfit(&files.key, format!("is not the key of {}: {error}", files.chain.display()))
    })?;
    let leaf = certificates.first().map(AsRef::as_ref).unwrap_or_default();
    let (id, ends) = told(leaf, Timestamp::now()).map_err(|problem| unfit(&files.chain, problem))?;
    let bundle = files.bundle.as_ref().map(|path| {
        let text = files::read_text(path).map_err(failed)?;
        bundle_pem(&text).map_err(|problem| unfit(path, format!("is no bundle: {problem}")))
    });
    let bundle = bundle.transpose()?.unwrap_or_default();
    let mode = std::fs::metadata(&files.key).map(|found| found.mode()).unwrap_or_default();
    let carried = Carried { chain, key, bundle };
    Ok(Svid { files: files.clone(), id, carried, ends, is_open: mode & 0o077 != 0 })
}

/// The SPIFFE ID of a leaf that is valid at this time, and when it is over (X.509-SVID, sections 2 and 4).
fn told(leaf: &[u8], now: Timestamp) -> Result<(String, Timestamp), String> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|e| format!("is not understood: {e}"))?;
    let names = leaf.subject_alternative_name().map_err(|e| format!("is not understood: {e}"))?;
    let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uris: Vec<_> = uris.collect();
    let id = match uris.as_slice() {
        [id] if id.starts_with("spiffe://") => (*id).to_owned(),
        [] => return Err("has no SPIFFE ID: it is no X.509-SVID".into()),
        _ => return Err(format!("has other URIs than one SPIFFE ID: {}", uris.join(", "))),
    };
    let of = |time: i64| Timestamp::from_second(time).map_err(|e| format!("is not understood: {e}"));
    let validity = leaf.validity();
    let (begins, ends) = (of(validity.not_before.timestamp())?, of(validity.not_after.timestamp())?);
    if ends <= now {
        return Err(format!("has expired: it was valid until {ends}\nhint: fetch it anew"));
    }
    if begins > now {
        return Err(format!("is not valid before {begins}\nhint: is this machine's clock right?"));
    }
    Ok((id, ends))
}

/// Whether the bundle's CA signed it.
pub(super) fn is_signed(svid: &Svid, bundle: &str) -> Result<(), GivenError> {
    let problem = verified(&svid.carried.chain, bundle).err();
    problem.map_or(Ok(()), |problem| {
        let SvidFiles { client, chain, .. } = svid.files.clone();
        let problem = format!(
            "does not chain to the bundle of its trust domain: {problem}\n\
             hint: every server would refuse it, whatever its policy; was the SPIRE server made anew since?"
        );
        Err(GivenError::Unfit { client, file: chain, problem })
    })
}

/// Whether a chain, PEM, ends in one of these CA certificates, or why not.
pub(super) fn verified(chain: &str, bundle: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        roots.add(authority).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
    let verifier = verifier.map_err(|e| e.to_string())?;
    let chain = certificates(chain)?;
    let (leaf, between) = chain.split_first().ok_or("there is no certificate in it")?;
    verifier.verify_client_cert(leaf, between, UnixTime::now()).map(drop).map_err(|e| e.to_string())
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("holds no certificate in PEM".into()),
    }
}

impl Given {
    /// Why it says nothing any more, in words: an SVID that is over is refused by everyone.
    pub fn is_over(&self, client: &str, now: Timestamp) -> Option<String> {
        let Self::Svid { ends: Some(ends), .. } = self else { return None };
        (ends.as_second() - now.as_second() < LEAST).then(|| {
            format!(
                "the SVID of client `{client}` is over at {ends}, and less than {LEAST} s are left\n\
                 hint: fetch it anew"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
    use rstest::rstest;

    use super::*;

    /// A CA, and a leaf of it with these URIs, valid in these years.
    fn signed(uris: &[&str], years: [i32; 2]) -> [String; 3] {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        leaf.subject_alt_names = uris.iter().map(uri).collect();
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (leaf.not_before, leaf.not_after) = (date_time_ymd(years[0], 1, 1), date_time_ymd(years[1], 1, 1));
        [leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem(), authority]
    }

    /// Files with these texts, in the order of `--svid`.
    fn put(dir: &Path, texts: &[String]) -> SvidFiles {
        let paths: Vec<_> =
            ["svid.pem", "svid.key", "bundle.pem"].iter().map(|name| dir.join(name)).collect();
        for (path, text) in paths.iter().zip(texts) {
            std::fs::write(path, text).unwrap();
        }
        let all: Vec<_> = paths.iter().take(texts.len()).map(|path| path.display().to_string()).collect();
        format!("till={}", all.join(",")).parse().unwrap()
    }

    fn refused(texts: &[String]) -> String {
        let dir = tempfile::tempdir().unwrap();
        read(&put(dir.path(), texts)).unwrap_err().to_string()
    }

    const ID: &str = "spiffe://example.org/till";
    const NOW: [i32; 2] = [2020, 2090];

    #[test]
    fn an_svid_is_read_with_what_it_claims() {
        let dir = tempfile::tempdir().unwrap();
        let files = put(dir.path(), &signed(&[ID], NOW));
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let svid = read(&files).unwrap();
        assert_eq!((svid.id.as_str(), svid.is_open), (ID, false));
        assert!(is_signed(&svid, &svid.carried.bundle).is_ok());
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&files).unwrap().is_open, "its group may read the key");
        let other = is_signed(&svid, &signed(&[ID], NOW)[2]).unwrap_err().to_string();
        assert!(other.contains("does not chain to the bundle"), "{other}");
    }

    #[test]
    fn what_is_no_svid_that_holds_now_is_told() {
        let [chain, key, bundle] = signed(&[ID], NOW);
        let other = signed(&[ID], NOW);
        let with = |texts: [&String; 2]| refused(&texts.map(Clone::clone));
        assert!(with([&chain, &other[1]]).contains("svid.key is not the key of"));
        assert!(with([&key, &key]).contains("svid.pem holds no certificate in PEM"));
        let no_key = with([&chain, &chain]);
        assert!(no_key.contains("svid.key holds no private key in PEM"), "{no_key}");
        assert!(refused(&signed(&[ID], [2010, 2020])).contains("has expired: it was valid until 2020"));
        assert!(refused(&signed(&[ID], [2080, 2090])).contains("is not valid before 2080"));
        assert!(refused(&signed(&[], NOW)).contains("has no SPIFFE ID"));
        assert!(refused(&signed(&[ID, "spiffe://b/c"], NOW)).contains("has other URIs than one SPIFFE ID"));
        assert!(refused(&signed(&["https://b/c"], NOW)).contains("has other URIs"));
        assert!(refused(&[chain, key, "{}".into()]).contains("bundle.pem is no bundle"));
        let dir = tempfile::tempdir().unwrap();
        let files = put(dir.path(), &[bundle, String::new()]);
        let missing = read(&SvidFiles { key: dir.path().join("none"), ..files }).unwrap_err();
        assert!(crate::sys::chain(&missing).contains("none"), "{missing}");
    }

    #[rstest]
    #[case("till=a,b", true)]
    #[case("till=a,b,c", true)]
    #[case("till=a", false)]
    #[case("till=a,b,c,d", false)]
    #[case("=a,b", false)]
    #[case("till=a,", false)]
    #[case("till", false)]
    fn files_are_named_after_the_client(#[case] text: &str, #[case] is: bool) {
        assert_eq!(text.parse::<SvidFiles>().is_ok(), is, "{text}");
    }

    #[test]
    fn an_svid_that_is_nearly_over_is_not_presented() {
        let carried = Carried { chain: String::new(), key: String::new(), bundle: String::new() };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let told = |left: i64| {
            let ends = Some(Timestamp::from_second(1_000_000 + left).unwrap());
            Given::Svid { carried: carried.clone(), ends }.is_over("till", now)
        };
        assert!(told(LEAST).is_none());
        assert!(told(LEAST - 1).unwrap().contains("client `till` is over at"));
        assert!(Given::Svid { carried: carried.clone(), ends: None }.is_over("nobody", now).is_none());
        assert!(Given::Untried(String::new()).is_over("late", now).is_none());
    }
}
