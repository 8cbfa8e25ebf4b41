//! The JSON Schema of a scenario, from the types that read it; editors complete and check by it.
//! `docs/scenario.schema.json` is this text, checked in; a test compares the two.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Scenario;

/// Draft 2020-12, indented, with a newline at the end.
pub fn text() -> String {
    of::<Scenario>()
}

/// The schema of what is read as `T`.
pub(crate) fn of<T: JsonSchema>() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    // A schema is a JSON value already: it can be written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

// The probe's own types stay free of schemas, since its binary is built for the cluster. Versions may be
// written as numbers.

pub(super) fn http(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["1.1", "2", "none", 1.1, 2] })
}

pub(super) fn https(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "enum": ["1.1", "2", 1.1, 2] } })
}

pub(super) fn tls(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["any", "1.2", "1.3", "none", 1.2, 1.3] })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "examples": ["5m", "90s"] })
}
