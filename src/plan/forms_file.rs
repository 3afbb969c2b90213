//! Values that a plan document may write in several forms; [`super::check`] says which was meant.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

/// The version of the schema a plan was written for.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct SchemaVersion(pub Value);

impl JsonSchema for SchemaVersion {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SchemaVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^(v?1|1\.[0-9]+\.[0-9]+)$",
            "minimum": 1,
            "maximum": 1,
            "examples": ["v1", 1, "1.0.0"],
        })
    }
}

/// A number, or `auto`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct GroupSizeFile(pub Value);

impl JsonSchema for GroupSizeFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GroupSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "pattern": "^auto$" })
    }
}

/// `true`, `false` or `conflict`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct DirectoryRenamesFile(pub Value);

impl JsonSchema for DirectoryRenamesFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DirectoryRenames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "conflict"] })
    }
}
