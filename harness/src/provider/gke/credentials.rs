//! A token for Google's APIs, and for the clusters that it runs, from application-default credentials (Google
//! Cloud documentation, "How Application Default Credentials works"): no program of Google's is needed.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use google_cloud_auth::credentials::{
    AccessTokenCredentials, Builder, external_account, impersonated, user_account,
};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Env, GkeError};
use crate::sys::files;
use crate::sys::wait;

/// Everything that Google's roles allow the account, as `gke-gcloud-auth-plugin` asks it.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Where the credentials' file is, if it is not where gcloud writes it.
const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const ANSWER: Duration = Duration::from_secs(30);
/// How long a token is used before it is asked for anew: Google's own libraries let one go when it has less
/// than four minutes left, and do not tell when it ends.
const USED: SignedDuration = SignedDuration::from_mins(3);

/// A bearer token (RFC 6750).
pub(super) struct Token {
    pub(super) text: String,
    /// When it is to be asked for anew.
    pub(super) until: Timestamp,
}

/// The token, or why there is none.
///
/// # Errors
/// There are no credentials, they are not understood, or Google does not take them.
pub(super) async fn token(env: &Env) -> Result<Token, GkeError> {
    let token = match env.of(FILE) {
        Some(file) => from_file(Path::new(&file)),
        None => Ok(Source::Google(
            Builder::default().with_scopes([SCOPE]).build_access_token_credentials().map_err(none)?,
        )),
    };
    let asked = async {
        match token? {
            Source::Google(credentials) => {
                let token = credentials.access_token().await.map_err(refused)?;
                Ok(Token { text: token.token, until: Timestamp::now() + USED })
            }
            Source::Key(account) => account.exchange().await,
        }
    };
    wait::within("Google to give a token", ANSWER, asked).await?
}

fn none(source: google_cloud_auth::build_errors::Error) -> GkeError {
    GkeError::NoCredentials(source.into())
}

fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> GkeError {
    GkeError::NoToken(source.into())
}

enum Source {
    Google(AccessTokenCredentials),
    Key(Box<ServiceAccount>),
}

fn from_file(path: &Path) -> Result<Source, GkeError> {
    let unread = |why: String| GkeError::Credentials { path: path.into(), why };
    let text = files::read_text(path).map_err(|error| unread(error.source.to_string()))?;
    let file: Value = serde_json::from_str(&text).map_err(|error| unread(error.to_string()))?;
    let built = match file["type"].as_str().unwrap_or_default() {
        "service_account" => {
            let account = serde_json::from_value(file).map_err(|error| unread(error.to_string()))?;
            return Ok(Source::Key(account));
        }
        "authorized_user" => {
            user_account::Builder::new(file).with_scopes([SCOPE]).build_access_token_credentials()
        }
        "external_account" => {
            external_account::Builder::new(file).with_scopes([SCOPE]).build_access_token_credentials()
        }
        "impersonated_service_account" => {
            impersonated::Builder::new(file).with_scopes([SCOPE]).build_access_token_credentials()
        }
        other => {
            return Err(unread(format!("its type is `{other}`, which is none of Google's that is known")));
        }
    };
    built.map(Source::Google).map_err(|error| unread(error.to_string()))
}

/// The key of a service account. Google's library would sign tokens with it itself (AIP-4111), which its own
/// APIs take and a cluster's API server is not known to: it is exchanged for one of Google's (RFC 7523), as
/// gke-gcloud-auth-plugin does.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: i64,
}

impl ServiceAccount {
    async fn exchange(&self) -> Result<Token, GkeError> {
        let now = Timestamp::now();
        let assertion = self.assertion(now).ok_or_else(|| refused("its private key does not sign"))?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
        let answer =
            reqwest::Client::new().post(&self.token_uri).form(&form).send().await.map_err(refused)?;
        let (status, said) = (answer.status(), answer.text().await.map_err(refused)?);
        if !status.is_success() {
            return Err(refused(format!("{} answered {status}: {}", self.token_uri, said.trim())));
        }
        let given: Given = serde_json::from_str(&said).map_err(refused)?;
        let lasts = SignedDuration::from_secs(given.expires_in);
        Ok(Token { text: given.access_token, until: now + lasts.min(USED) })
    }

    fn assertion(&self, now: Timestamp) -> Option<String> {
        let iat = now.as_second();
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": self.private_key_id});
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "iat": iat, "exp": iat + 3600,
        });
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(&head), part(&claims));
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.private_key.as_bytes()).ok()?;
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).ok()?;
        Some(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(content: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("adc.json");
        std::fs::write(&path, content).unwrap();
        let env = Env(vec![(FILE.into(), path.display().to_string())]);
        let error = token(&env).await.err().expect("no token");
        crate::sys::chain(&error).replace(&path.display().to_string(), "[file]")
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_of_credentials_is_told() {
        assert!(told("{").await.starts_with("the Google credentials in [file] are of no use: "));
        let other = told(r#"{"type": "gdch_service_account"}"#).await;
        assert!(other.contains("its type is `gdch_service_account`, which is none"), "{other}");
        let lacks = told(r#"{"type": "service_account"}"#).await;
        assert!(lacks.contains("missing field `client_email`"), "{lacks}");
        let key = r#"{"type": "service_account", "client_email": "a", "private_key": "x",
            "private_key_id": "1", "token_uri": "http://127.0.0.1:1/token"}"#;
        let key = told(key).await;
        assert!(key.starts_with("Google gave no token: its private key does not sign\nhint: "), "{key}");
    }
}
