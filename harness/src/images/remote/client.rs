//! What is asked of a registry, and put there (OCI Distribution Specification), by the crate oci-client. Its
//! credentials are docker's own (`docker login`).

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential};
use futures::TryStreamExt;
use http::HeaderValue;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{Name, Remote};
use crate::sys::files::{FileError, could_not};
use crate::sys::wait::{self, TimedOut};

/// How long a registry may take to say whether it has an image.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a registry may be silent while it takes a blob: at the end it hashes it.
const SILENCE: Duration = Duration::from_mins(2);
/// What is read of a blob at a time.
const PIECE: usize = 1 << 20;

/// What a registry did not do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what it is about")]
pub enum RemoteError {
    #[error(
        "the registry {registry} has no image {image}\n\
         hint: `svidproof images push --to HOST` puts svidproof's own programs there, and with `--all` every \
         image that it declares; another is put there under this name, without its own registry"
    )]
    NotThere { registry: String, image: String, source: Box<OciDistributionError> },
    #[error(
        "the registry {registry} lets nobody have {image} without credentials, or not with these\n\
         hint: `docker login` keeps those that svidproof and the container engine use; the nodes of a \
         cluster have none"
    )]
    Refused { registry: String, image: String, source: Box<OciDistributionError> },
    #[error(
        "the registry {registry} could not be asked for {image}\n\
         hint: does it run there, and does it speak {scheme}? `curl {registry}/v2/` shows it"
    )]
    Failed { registry: String, image: String, scheme: &'static str, source: Box<OciDistributionError> },
    #[error("the registry {registry} does not say whether it has {image}\nhint: is it up, or overloaded?")]
    Silent { registry: String, image: String, source: TimedOut },
    #[error("the registry {registry} did not take {image}\nhint: may it be written to, and has it room?")]
    NotTaken { registry: String, image: String, source: Box<OciDistributionError> },
    #[error(
        "docker's credentials for {registry} could not be read: {source}\n\
         hint: `docker login` writes them anew, into config.json of DOCKER_CONFIG, or ~/.docker"
    )]
    Credentials { registry: String, source: CredentialRetrievalError },
    #[error(transparent)]
    File(#[from] FileError),
}

impl RemoteError {
    /// Whether the user named what is not to be had; not so where nobody answered.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::NotThere { .. } | Self::Refused { .. } | Self::Credentials { .. })
    }
}

/// One registry, and who asks.
pub(in crate::images) struct Client<'a> {
    remote: &'a Remote,
    oci: oci_client::Client,
    auth: RegistryAuth,
}

impl<'a> Client<'a> {
    pub(in crate::images) fn of(remote: &'a Remote) -> Result<Self, RemoteError> {
        let protocol = if remote.plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(ANSWER),
            read_timeout: Some(SILENCE),
            ..ClientConfig::default()
        };
        Ok(Self { remote, oci: oci_client::Client::new(config), auth: credentials(remote)? })
    }

    /// The digest that the registry, as a mirror, has an image under.
    pub(in crate::images) async fn digest(&self, image: &str) -> Result<String, RemoteError> {
        let name = Name::of(image);
        let mut reference = match &name.at {
            at if at.contains(':') => Reference::with_digest(name.registry, name.repository, at.clone()),
            at => Reference::with_tag(name.registry, name.repository, at.clone()),
        };
        // Asked as a node's containerd asks: with `?ns=` (containerd documentation, "hosts.md").
        reference.set_mirror_registry(self.remote.host.clone());
        self.ask(&reference, image).await
    }

    /// The digest of what [`Client::push`] put there.
    pub(in crate::images) async fn own(&self, image: &str) -> Result<String, RemoteError> {
        let name = Name::of(image);
        let path = self.remote.path(&name);
        self.ask(&Reference::with_tag(self.remote.host.clone(), path, name.at), image).await
    }

    async fn ask(&self, reference: &Reference, image: &str) -> Result<String, RemoteError> {
        let asked = self.oci.fetch_manifest_digest(reference, &self.auth);
        let (registry, what) = (self.remote.to_string(), format!("{}'s answer", self.remote));
        let answered = wait::within(&what, ANSWER, asked).await;
        let image = image.to_owned();
        match answered {
            Ok(answer) => answer.map_err(|source| self.error(image, source)),
            Err(source) => Err(RemoteError::Silent { registry, image, source }),
        }
    }

    /// Puts an image there out of its archive (`docker save`'s form, as `archive` writes it): its name there,
    /// and its digest. Layers go as they are, uncompressed; what is there already does not go again.
    pub(in crate::images) async fn push(
        &self,
        image: &str,
        archive: &Path,
    ) -> Result<(String, String), RemoteError> {
        let saved = Saved::open(archive).map_err(could_not("read the image archive", archive))?;
        let name = Name::of(image);
        let (path, tag) = (self.remote.path(&name), name.at);
        let reference = Reference::with_tag(self.remote.host.clone(), path, tag.clone());
        let taken = self.give(&reference, &saved).await.map_err(|source| {
            if matches!(Found::of(&source), Found::NoEntry) {
                return self.error(image.into(), source);
            }
            let (registry, image) = (self.remote.to_string(), image.to_owned());
            RemoteError::NotTaken { registry, image, source: Box::new(source) }
        })?;
        Ok((format!("{}:{tag}", self.remote.repository(image)), taken))
    }

    async fn give(&self, to: &Reference, saved: &Saved) -> Result<String, OciDistributionError> {
        self.oci.auth(to, &self.auth, RegistryOperation::Push).await?;
        let kinds = std::iter::once(IMAGE_CONFIG_MEDIA_TYPE).chain(std::iter::repeat(IMAGE_LAYER_MEDIA_TYPE));
        let mut described = vec![];
        for (blob, kind) in saved.blobs.iter().zip(kinds) {
            if !self.oci.blob_exists(to, &blob.digest).await? {
                let stream = blob.stream(&saved.archive).await?;
                let stream = stream.map_err(OciDistributionError::from);
                self.oci.push_blob_stream(to, stream, &blob.digest, Some(blob.size)).await?;
            }
            described.push(json!({"mediaType": kind, "digest": blob.digest, "size": blob.size}));
        }
        let layers = described.split_off(1);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_IMAGE_MEDIA_TYPE, "config": described[0], "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = digest(&bytes);
        let kind = HeaderValue::from_static(OCI_IMAGE_MEDIA_TYPE);
        self.oci.push_manifest_raw(to, bytes, kind).await?;
        Ok(digest)
    }

    fn error(&self, image: String, source: OciDistributionError) -> RemoteError {
        let (registry, scheme, found) = (self.remote.to_string(), self.remote.scheme(), Found::of(&source));
        let source = Box::new(source);
        match found {
            Found::Nothing => RemoteError::NotThere { registry, image, source },
            Found::NoEntry => RemoteError::Refused { registry, image, source },
            Found::Fault => RemoteError::Failed { registry, image, scheme, source },
        }
    }
}

/// What an error's answer comes to.
enum Found {
    Nothing,
    NoEntry,
    Fault,
}

impl Found {
    fn of(error: &OciDistributionError) -> Self {
        use OciErrorCode::{Denied, ManifestUnknown, NameUnknown, NotFound, Unauthorized};
        match error {
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => Self::Nothing,
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. } => Self::NoEntry,
            // What is asked without a body in the answer.
            OciDistributionError::RequestError(error)
                if error.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403)) =>
            {
                Self::NoEntry
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let says =
                    |codes: &[OciErrorCode]| envelope.errors.iter().any(|one| codes.contains(&one.code));
                if says(&[Denied, Unauthorized]) {
                    Self::NoEntry
                } else if says(&[ManifestUnknown, NameUnknown, NotFound]) {
                    Self::Nothing
                } else {
                    Self::Fault
                }
            }
            _ => Self::Fault,
        }
    }
}

/// Docker's; none where it keeps none for this registry.
fn credentials(remote: &Remote) -> Result<RegistryAuth, RemoteError> {
    // Docker's own name for its hub (Docker documentation, "docker login").
    let host = if remote.host == "docker.io" { "https://index.docker.io/v1/" } else { &remote.host };
    match get_credential(host) {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(RegistryAuth::Basic(name, password)),
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound
            | CredentialRetrievalError::ConfigReadError,
        ) => Ok(RegistryAuth::Anonymous),
        Err(source) => Err(RemoteError::Credentials { registry: remote.to_string(), source }),
    }
}

/// An archive, and where in it the image's blobs lie: the configuration, then the layers.
struct Saved {
    archive: PathBuf,
    blobs: Vec<Blob>,
}

struct Blob {
    digest: String,
    offset: u64,
    size: u64,
}

impl Saved {
    fn open(archive: &Path) -> io::Result<Self> {
        let mut files = std::collections::BTreeMap::new();
        let mut manifest = Value::Null;
        for entry in tar::Archive::new(std::fs::File::open(archive)?).entries_with_seek()? {
            let mut entry = entry?;
            let (name, offset, size) =
                (entry.path()?.to_string_lossy().into_owned(), entry.raw_file_position(), entry.size());
            // A file is called by the digest of what is in it.
            let digest = format!("sha256:{}", name.split('.').next().unwrap_or_default());
            if name == "manifest.json" {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                manifest = serde_json::from_str(&text)?;
            }
            files.insert(name, Blob { digest, offset, size });
        }
        let image = &manifest[0];
        let names = std::iter::once(&image["Config"]).chain(image["Layers"].as_array().into_iter().flatten());
        let blobs = names.map(|name| {
            let found = name.as_str().and_then(|name| files.remove(name));
            found.ok_or_else(|| io::Error::other(format!("manifest.json names {name}, which is not in it")))
        });
        Ok(Self { archive: archive.into(), blobs: blobs.collect::<Result<_, _>>()? })
    }
}

impl Blob {
    async fn stream(&self, archive: &Path) -> io::Result<ReaderStream<tokio::io::Take<tokio::fs::File>>> {
        let mut file = tokio::fs::File::open(archive).await?;
        file.seek(io::SeekFrom::Start(self.offset)).await?;
        Ok(ReaderStream::with_capacity(file.take(self.size), PIECE))
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::archive::{Tree, write_image};

    #[tokio::test]
    async fn an_archive_is_taken_apart_into_blobs_of_their_digests() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.text("/a", "b".repeat(3000), false);
        let layer = tree.write(&dir.path().join("layer")).unwrap();
        let archive = dir.path().join("image.tar");
        write_image(&archive, "a:1", &json!({}), &[layer]).unwrap();
        let saved = Saved::open(&archive).unwrap();
        assert_eq!(saved.blobs.len(), 2, "the configuration and a layer");
        for blob in &saved.blobs {
            let pieces: Vec<_> = blob.stream(&archive).await.unwrap().try_collect().await.unwrap();
            let bytes = pieces.concat();
            assert_eq!((digest(&bytes), bytes.len() as u64), (blob.digest.clone(), blob.size));
        }
    }

    #[test]
    fn an_answer_is_told_by_what_it_says() {
        // As `main` does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let told = |code: &str| {
            let envelope =
                serde_json::from_value(json!({"errors": [{"code": code, "message": ""}]})).unwrap();
            let error = OciDistributionError::RegistryError { envelope, url: String::new() };
            let remote: Remote = "localhost:5000".parse().unwrap();
            let client =
                Client { remote: &remote, oci: oci_client::Client::default(), auth: RegistryAuth::Anonymous };
            (client.error("a".into(), error).is_input(), code.to_owned())
        };
        let all = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED", "TOOMANYREQUESTS", "OTHER"];
        let input: Vec<_> =
            all.iter().map(|code| told(code)).filter(|(input, _)| *input).map(|(_, code)| code).collect();
        assert_eq!(input, ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED"]);
    }
}
