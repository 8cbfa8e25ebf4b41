//! A trust domain's X.509 authorities, in either form in which a server publishes them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

/// The DER of each CA certificate of a bundle: PEM, or a SPIFFE bundle (SPIFFE Trust Domain and Bundle,
/// section 4: a JWK Set whose keys with `use: x509-svid` have one certificate in `x5c` each).
pub(super) fn authorities(text: &str) -> Result<BTreeSet<Vec<u8>>, String> {
    let found: BTreeSet<_> = if text.trim_start().starts_with('{') {
        let document: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let keys = document["keys"].as_array().ok_or("it has no list `keys`")?;
        let x509 = keys.iter().filter(|key| key["use"] == "x509-svid");
        let certificate = |key: &Value| {
            let base64 = key["x5c"][0].as_str().ok_or("a key for x509-svid has no `x5c`")?;
            STANDARD.decode(base64).map_err(|e| format!("`x5c`: {e}"))
        };
        x509.map(certificate).collect::<Result<_, String>>()?
    } else {
        let blocks = Pem::iter_from_buffer(text.as_bytes());
        blocks
            .map(|block| block.map(|pem| pem.contents).map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?
    };
    if found.is_empty() { Err("there is no certificate in it".into()) } else { Ok(found) }
}

/// The CA certificates of a bundle in either form, as PEM.
pub fn pem(text: &str) -> Result<String, String> {
    authorities(text).map(|all| super::pem::certificates_of(&all))
}

/// What a bundle that was handed on lacks of the server's own, in words.
pub fn lacks(published: &str, own: &BTreeSet<Vec<u8>>) -> Option<String> {
    match authorities(published) {
        Err(problem) => Some(format!("it is no bundle: {problem}")),
        Ok(published) if published.is_superset(own) => None,
        Ok(_) => Some("it holds other CA certificates than the server's API hands out".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pem;
    use super::*;

    fn ca() -> Vec<u8> {
        rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.der().to_vec()
    }

    fn block(der: &[u8]) -> String {
        pem::block("CERTIFICATE", &STANDARD.encode(der))
    }

    fn jwks(all: &[&[u8]]) -> String {
        let x509 =
            all.iter().map(|der| json!({"kty": "EC", "use": "x509-svid", "x5c": [STANDARD.encode(der)]}));
        let keys: Vec<_> = x509.chain([json!({"kty": "EC", "use": "jwt-svid", "kid": "a"})]).collect();
        json!({"keys": keys, "spiffe_sequence": 1}).to_string()
    }

    #[test]
    fn both_forms_hold_the_same_authorities() {
        let (one, two) = (ca(), ca());
        let expected: BTreeSet<_> = [one.clone(), two.clone()].into();
        assert_eq!(authorities(&(block(&one) + &block(&two))), Ok(expected.clone()));
        assert_eq!(authorities(&jwks(&[&one, &two])), Ok(expected));
    }

    #[test]
    fn either_form_is_told_as_pem() {
        let one = ca();
        for text in [block(&one), jwks(&[&one])] {
            assert_eq!(super::pem(&text), Ok(block(&one)));
        }
    }

    #[test]
    fn what_is_no_bundle_says_why() {
        for (text, why) in [
            ("", "there is no certificate in it"),
            ("{", "EOF"),
            ("{}", "no list `keys`"),
            (r#"{"keys": []}"#, "there is no certificate in it"),
            (r#"{"keys": [{"use": "x509-svid"}]}"#, "has no `x5c`"),
            ("-----BEGIN CERTIFICATE-----\nAA", "PEM"),
        ] {
            let told = authorities(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    /// After a restart a server may have another CA, and its ConfigMap for a moment still the old one.
    #[test]
    fn a_bundle_that_is_not_the_servers_own_is_waited_out() {
        let (old, new) = (ca(), ca());
        let own = [new.clone()].into();
        assert_eq!(lacks(&block(&new), &own), None);
        assert_eq!(lacks(&jwks(&[&old, &new]), &own), None);
        assert!(lacks(&block(&old), &own).unwrap().contains("other CA certificates"));
        assert!(lacks("nothing", &own).unwrap().starts_with("it is no bundle: "));
    }
}
