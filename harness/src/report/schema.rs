//! The JSON Schema of `report.json`, from the types that write it. `docs/report.schema.json` is this text,
//! checked in; a test compares the two.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use svidproof_probe::protocol::{DialFailure, Http};

use super::Report;

/// Draft 2020-12, of what is written (what may be left out is not required), indented, with a newline at the
/// end.
pub fn text() -> String {
    let schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Report>();
    // A schema is a JSON value already: it can be written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// The probe's own types stay free of schemas, since its binary is built for the cluster. These two mirror
/// them: the compiler holds them equal.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "Http")]
pub(super) enum HttpVersion {
    #[serde(rename = "1.1")]
    Http1,
    #[serde(rename = "2")]
    Http2,
    /// None of an answer in HTTP.
    #[serde(rename = "none")]
    None,
}

/// Why a dial came to neither an answer nor a refusal.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "DialFailure", rename_all = "snake_case")]
pub(super) enum FailureKind {
    /// The name did not resolve.
    Unresolved,
    /// Connection refused.
    Refused,
    /// The connection was reset without a TLS alert.
    Reset,
    /// The connection was closed without a TLS alert and before an answer.
    Closed,
    TimedOut,
    /// Neither TLS nor HTTP as expected.
    Protocol,
    /// The dial asks for a credential that the probe does not have.
    Credential,
    /// A client that speaks plain text got a TLS alert for it.
    SpeaksTls,
    /// Whoever makes the dials could not be asked for this one.
    Unasked,
}
