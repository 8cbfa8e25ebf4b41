//! JWT-SVIDs with something wrong on purpose, each made of a true one: all but what is wrong is as the SPIRE
//! server wrote it. Not for verifying one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use svidproof_probe::protocol::Token;

/// What is wrong with a JWT-SVID (JWT-SVID, section 5: how one is validated).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JwtFlaw {
    /// It was true once: the server signed it, and its `exp` is over (section 3.3).
    Expired,
    /// Another key than the trust domain's signed it, under the true one's `kid`.
    ForeignKey,
    /// It names the algorithm `none` and bears no signature (section 2.1, RFC 8725, section 3.2).
    AlgNone,
    /// Its subject is another than what was signed.
    Altered,
}

/// Why nothing could be made of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is no JWS in compact serialization (RFC 7515, section 7.1).
    #[error("what SPIRE gave is no JWT-SVID: {0}")]
    Unread(&'static str),
    /// The signature could not be made.
    #[error("a key could not be made, or did not sign")]
    Key,
}

/// The three parts, the first two decoded.
struct Parts<'a> {
    header: Value,
    claims: Value,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn read(token: &'a Token) -> Result<Self, JwtError> {
        let parts: Vec<_> = token.0.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err(JwtError::Unread("it has not three parts"));
        };
        let decoded = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Unread("its Base64 is broken"))?;
            serde_json::from_slice(&bytes).map_err(|_| JwtError::Unread("it is not JSON"))
        };
        Ok(Self { header: decoded(header)?, claims: decoded(claims)?, signature })
    }

    /// What is signed.
    fn input(&self) -> String {
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        format!("{}.{}", encoded(&self.header), encoded(&self.claims))
    }
}

/// When it expires, in seconds since 1970 (RFC 7519, section 4.1.4).
///
/// # Errors
/// It is no JWT, or it never expires.
pub fn expiry(token: &Token) -> Result<i64, JwtError> {
    Parts::read(token)?.claims["exp"].as_i64().ok_or(JwtError::Unread("it has no `exp`"))
}

/// A token like this true one, but for what is wrong with it. One that has expired must have been made so: it
/// stays as it is.
///
/// # Errors
/// The true one is not understood.
pub fn jwt(token: &Token, flaw: JwtFlaw) -> Result<Token, JwtError> {
    let mut parts = Parts::read(token)?;
    Ok(Token(match flaw {
        JwtFlaw::Expired => token.0.clone(),
        JwtFlaw::ForeignKey => {
            parts.header["alg"] = "ES256".into();
            let input = parts.input();
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(signed(input.as_bytes())?))
        }
        JwtFlaw::AlgNone => {
            parts.header["alg"] = "none".into();
            format!("{}.", parts.input())
        }
        JwtFlaw::Altered => {
            let subject = parts.claims["sub"].as_str().unwrap_or_default();
            parts.claims["sub"] = format!("{subject}-altered").into();
            format!("{}.{}", parts.input(), parts.signature)
        }
    }))
}

/// By a key that is made for this one signature (RFC 7518, section 3.4).
fn signed(input: &[u8]) -> Result<Vec<u8>, JwtError> {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| JwtError::Key)?;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).map_err(|_| JwtError::Key)?;
    let signature = key.sign(&random, input).map_err(|_| JwtError::Key)?;
    Ok(signature.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(header: &Value, claims: &Value) -> Token {
        let parts = Parts { header: header.clone(), claims: claims.clone(), signature: "" };
        Token(format!("{}.c2lnbmVk", parts.input()))
    }

    fn sound() -> Token {
        token(
            &json!({"alg": "RS256", "kid": "k", "typ": "JWT"}),
            &json!({"aud": ["a"], "exp": 1_800_000_000, "sub": "spiffe://example.org/friend"}),
        )
    }

    /// Only what is wrong differs from the true one.
    #[test]
    fn each_flaw_is_the_only_one() {
        let sound = sound();
        let true_one = Parts::read(&sound).unwrap();
        let made = |flaw| jwt(&sound, flaw).unwrap();
        assert_eq!(made(JwtFlaw::Expired), sound);

        let foreign = made(JwtFlaw::ForeignKey);
        let read = Parts::read(&foreign).unwrap();
        assert_eq!(read.header, json!({"alg": "ES256", "kid": "k", "typ": "JWT"}));
        assert_eq!(read.claims, true_one.claims);
        assert_eq!(URL_SAFE_NO_PAD.decode(read.signature).unwrap().len(), 64, "r and s (RFC 7518, 3.4)");
        assert_ne!(foreign, made(JwtFlaw::ForeignKey), "a key for each");

        let none = made(JwtFlaw::AlgNone);
        let read = Parts::read(&none).unwrap();
        assert_eq!((&read.header["alg"], &read.header["kid"]), (&json!("none"), &json!("k")));
        assert_eq!((&read.claims, read.signature), (&true_one.claims, ""));

        let altered = made(JwtFlaw::Altered);
        let read = Parts::read(&altered).unwrap();
        assert_eq!(read.claims["sub"], "spiffe://example.org/friend-altered");
        assert_eq!((&read.header, read.signature), (&true_one.header, true_one.signature));
    }

    #[test]
    fn a_foreign_signature_is_a_signature() {
        use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap();
        let verified = |signature: &[u8]| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                .verify(b"input", signature)
                .is_ok()
        };
        assert!(verified(key.sign(&random, b"input").unwrap().as_ref()));
        assert!(!verified(&signed(b"input").unwrap()), "another key's");
    }

    #[test]
    fn when_a_token_expires_is_read_and_what_is_none_is_told() {
        assert_eq!(expiry(&sound()), Ok(1_800_000_000));
        for (token, why) in [
            (Token("a.b".into()), "it has not three parts"),
            (Token("%.%.".into()), "its Base64 is broken"),
            (Token("YQ.YQ.".into()), "it is not JSON"),
            (token(&json!({}), &json!({"sub": "x"})), "it has no `exp`"),
        ] {
            assert_eq!(expiry(&token), Err(JwtError::Unread(why)), "{}", token.0);
        }
    }
}
