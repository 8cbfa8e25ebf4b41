//! From base64 DER, as SPIRE's commands print it, to PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};

/// One block; `base64` is the DER in base64.
pub(super) fn block(label: &str, base64: &str) -> String {
    let lines = base64
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect::<Vec<_>>()
        .join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// A certificate's DER as PEM.
fn certificate(der: &[u8]) -> String {
    block("CERTIFICATE", &STANDARD.encode(der))
}

/// These certificates, one after the other.
pub(super) fn certificates_of<'a>(all: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    all.into_iter().map(|der| certificate(der)).collect()
}

/// The certificates that stand one after the other in this DER.
pub(super) fn certificates(base64: &str) -> Result<String, String> {
    let der = STANDARD.decode(base64).map_err(|e| e.to_string())?;
    let mut rest = der.as_slice();
    let mut text = String::new();
    while !rest.is_empty() {
        let (after, _) = X509Certificate::from_der(rest).map_err(|e| e.to_string())?;
        let (one, after) = rest.split_at(rest.len() - after.len());
        text += &certificate(one);
        rest = after;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_in_a_row_come_apart() {
        let der =
            |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der().to_vec();
        let (one, two) = (der("one"), der("two"));
        let both = certificates(&STANDARD.encode([one.as_slice(), &two].concat())).unwrap();
        assert_eq!(
            both,
            certificates(&STANDARD.encode(one)).unwrap() + &certificates(&STANDARD.encode(two)).unwrap()
        );
        assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(certificates("AAAA").is_err());
    }
}
