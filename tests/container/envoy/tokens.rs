//! JWT-SVIDs, true and forged, of a trust domain's key that is made for this run of the tests.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use svidproof::forge::{self, JwtFlaw};
use svidproof_probe::protocol::Token;

use super::config::spiffe;

static KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).expect("the same key")
});

/// What Envoy verifies them by (RFC 7517), with a key besides as a SPIFFE bundle has it.
pub(crate) fn keys() -> String {
    let point = KEY.public_key().as_ref();
    let (x, y) = point[1..].split_at(32);
    let of = |purpose: &str, more: Value| {
        let key = json!({"kty": "EC", "crv": "P-256", "use": purpose,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        super::config::merged(key, &more)
    };
    let keys = [of("x509-svid", json!({"x5c": []})), of("jwt-svid", json!({"kid": "k"}))];
    json!({"keys": keys, "spiffe_sequence": 1}).to_string()
}

/// More keys of a check: the header that bears a token of friend's.
pub(crate) fn bearer(audience: &str, flaw: Option<JwtFlaw>) -> &'static str {
    let exp = if flaw == Some(JwtFlaw::Expired) { 1_000_000_000 } else { 4_000_000_000_u32 };
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "ES256", "kid": "k", "typ": "JWT"}));
    let input =
        format!("{header}.{}", part(json!({"aud": [audience], "exp": exp, "sub": spiffe("/friend")})));
    let signature = KEY.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
    let token = Token(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)));
    let token = flaw.map_or_else(|| Ok(token.clone()), |flaw| forge::jwt(&token, flaw)).expect("a token");
    format!("headers: {{authorization: 'Bearer {}'}}", token.0).leak()
}
