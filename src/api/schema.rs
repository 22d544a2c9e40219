//! Pieces of schema that Rust types cannot express.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any JSON, kept as it is.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Text by key.
pub(super) fn any_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// A number or text.
pub(super) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// A phase, or the empty text that Argo Rollouts writes before there is one.
pub(super) fn phase_or_empty(_: &mut SchemaGenerator) -> Schema {
    let phases = ["", "Successful", "Running", "Pending", "Inconclusive", "Error", "Failed"];
    json_schema!({"type": "string", "enum": phases})
}
