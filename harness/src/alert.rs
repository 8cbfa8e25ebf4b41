//! TLS alerts by number, RFC name and BoringSSL name: the one table. Not for judging: `judge` says which
//! alert means what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An alert of RFC 8446 (section 6), of RFC 5246 (section 7.2) or of one of their extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// As it goes over the wire.
    pub number: u8,
    /// The RFC's name.
    pub name: &'static str,
    /// The name in errors of BoringSSL, without `SSL_R_`; empty where BoringSSL has none.
    pub boringssl: &'static str,
    /// The name since July 2020 where that one is older: `TLSV1_CERTIFICATE_REQUIRED` became
    /// `TLSV1_ALERT_CERTIFICATE_REQUIRED`.
    pub boringssl_new: Option<&'static str>,
}

/// No set of parameters was acceptable; in TLS 1.2 also a certificate that is missing.
pub const HANDSHAKE_FAILURE: u8 = 40;
/// The certificate is corrupt, or its signature does not verify.
pub const BAD_CERTIFICATE: u8 = 42;
/// The certificate is of a kind that is not supported.
pub const UNSUPPORTED_CERTIFICATE: u8 = 43;
/// The certificate was revoked.
pub const CERTIFICATE_REVOKED: u8 = 44;
/// The certificate is not valid now.
pub const CERTIFICATE_EXPIRED: u8 = 45;
/// Something else is wrong with the certificate.
pub const CERTIFICATE_UNKNOWN: u8 = 46;
/// No path leads to a CA that is trusted.
pub const UNKNOWN_CA: u8 = 48;
/// The certificate is valid, and access is denied.
pub const ACCESS_DENIED: u8 = 49;
/// No certificate was presented (RFC 8446 alone).
pub const CERTIFICATE_REQUIRED: u8 = 116;

/// In the order of the numbers.
pub const ALERTS: &[Alert] = &[
    alert(0, "close_notify", "SSLV3_ALERT_CLOSE_NOTIFY"),
    alert(10, "unexpected_message", "SSLV3_ALERT_UNEXPECTED_MESSAGE"),
    alert(20, "bad_record_mac", "SSLV3_ALERT_BAD_RECORD_MAC"),
    alert(21, "decryption_failed", "TLSV1_ALERT_DECRYPTION_FAILED"),
    alert(22, "record_overflow", "TLSV1_ALERT_RECORD_OVERFLOW"),
    alert(30, "decompression_failure", "SSLV3_ALERT_DECOMPRESSION_FAILURE"),
    alert(HANDSHAKE_FAILURE, "handshake_failure", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    alert(41, "no_certificate", "SSLV3_ALERT_NO_CERTIFICATE"),
    alert(BAD_CERTIFICATE, "bad_certificate", "SSLV3_ALERT_BAD_CERTIFICATE"),
    alert(UNSUPPORTED_CERTIFICATE, "unsupported_certificate", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"),
    alert(CERTIFICATE_REVOKED, "certificate_revoked", "SSLV3_ALERT_CERTIFICATE_REVOKED"),
    alert(CERTIFICATE_EXPIRED, "certificate_expired", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    alert(CERTIFICATE_UNKNOWN, "certificate_unknown", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
    alert(47, "illegal_parameter", "SSLV3_ALERT_ILLEGAL_PARAMETER"),
    alert(UNKNOWN_CA, "unknown_ca", "TLSV1_ALERT_UNKNOWN_CA"),
    alert(ACCESS_DENIED, "access_denied", "TLSV1_ALERT_ACCESS_DENIED"),
    alert(50, "decode_error", "TLSV1_ALERT_DECODE_ERROR"),
    alert(51, "decrypt_error", "TLSV1_ALERT_DECRYPT_ERROR"),
    alert(60, "export_restriction", "TLSV1_ALERT_EXPORT_RESTRICTION"),
    alert(70, "protocol_version", "TLSV1_ALERT_PROTOCOL_VERSION"),
    alert(71, "insufficient_security", "TLSV1_ALERT_INSUFFICIENT_SECURITY"),
    alert(80, "internal_error", "TLSV1_ALERT_INTERNAL_ERROR"),
    alert(86, "inappropriate_fallback", "TLSV1_ALERT_INAPPROPRIATE_FALLBACK"),
    alert(90, "user_canceled", "TLSV1_ALERT_USER_CANCELLED"),
    alert(100, "no_renegotiation", "TLSV1_ALERT_NO_RENEGOTIATION"),
    alert(109, "missing_extension", ""),
    renamed(110, "unsupported_extension", "TLSV1_UNSUPPORTED_EXTENSION", "TLSV1_ALERT_UNSUPPORTED_EXTENSION"),
    renamed(
        111,
        "certificate_unobtainable",
        "TLSV1_CERTIFICATE_UNOBTAINABLE",
        "TLSV1_ALERT_CERTIFICATE_UNOBTAINABLE",
    ),
    renamed(112, "unrecognized_name", "TLSV1_UNRECOGNIZED_NAME", "TLSV1_ALERT_UNRECOGNIZED_NAME"),
    renamed(
        113,
        "bad_certificate_status_response",
        "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
        "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
    ),
    renamed(
        114,
        "bad_certificate_hash_value",
        "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
        "TLSV1_ALERT_BAD_CERTIFICATE_HASH_VALUE",
    ),
    alert(115, "unknown_psk_identity", "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY"),
    renamed(
        CERTIFICATE_REQUIRED,
        "certificate_required",
        "TLSV1_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_CERTIFICATE_REQUIRED",
    ),
    alert(120, "no_application_protocol", "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"),
    alert(121, "ech_required", "TLSV1_ALERT_ECH_REQUIRED"),
];

/// An alert as a scenario writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected the name of a TLS alert, such as certificate_required, or its number"
)]
pub enum AlertName {
    /// `116`.
    Number(u8),
    /// `certificate_required`.
    Name(String),
}

const fn alert(number: u8, name: &'static str, boringssl: &'static str) -> Alert {
    Alert { number, name, boringssl, boringssl_new: None }
}

const fn renamed(number: u8, name: &'static str, boringssl: &'static str, new: &'static str) -> Alert {
    Alert { number, name, boringssl, boringssl_new: Some(new) }
}

/// By its number.
pub fn by_number(number: u8) -> Option<&'static Alert> {
    ALERTS.iter().find(|alert| alert.number == number)
}

/// By the RFC's name.
pub fn by_name(name: &str) -> Option<&'static Alert> {
    ALERTS.iter().find(|alert| alert.name == name)
}

/// By either of BoringSSL's names.
pub fn by_boringssl(name: &str) -> Option<&'static Alert> {
    ALERTS
        .iter()
        .find(|alert| !name.is_empty() && (alert.boringssl == name || alert.boringssl_new == Some(name)))
}

/// The number that a scenario means; `None` where no alert has that name.
pub fn number(name: &AlertName) -> Option<u8> {
    match name {
        AlertName::Number(number) => Some(*number),
        AlertName::Name(name) => by_name(name).map(|alert| alert.number),
    }
}

/// `alert 116 certificate_required`.
pub fn describe(number: u8) -> String {
    match by_number(number) {
        Some(alert) => format!("alert {number} {}", alert.name),
        None => format!("alert {number}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn numbers_ascend_and_names_are_unique() {
        assert!(ALERTS.is_sorted_by(|a, b| a.number < b.number));
        for alert in ALERTS {
            assert_eq!(by_name(alert.name), Some(alert));
            assert!(alert.boringssl.is_empty() || by_boringssl(alert.boringssl) == Some(alert), "{alert:?}");
        }
    }

    #[rstest]
    #[case("TLSV1_CERTIFICATE_REQUIRED", 116)]
    #[case("TLSV1_ALERT_CERTIFICATE_REQUIRED", 116)]
    #[case("SSLV3_ALERT_CERTIFICATE_UNKNOWN", 46)]
    fn boringssl_of_both_ages_is_known(#[case] name: &str, #[case] number: u8) {
        assert_eq!(by_boringssl(name).map(|alert| alert.number), Some(number));
    }

    #[test]
    fn what_boringssl_does_not_name_is_not_found_by_the_empty_name() {
        assert_eq!(by_boringssl(""), None);
    }

    #[test]
    fn an_alert_without_a_name_is_still_a_number() {
        assert_eq!(describe(116), "alert 116 certificate_required");
        assert_eq!(describe(200), "alert 200");
        assert_eq!(number(&AlertName::Number(200)), Some(200));
        assert_eq!(number(&AlertName::Name("certificate_requierd".into())), None);
    }
}
