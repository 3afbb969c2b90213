//! What a plan document may say of named limits: those of the policy, and what gates claim of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Milliseconds: nobody paces by more than an hour.
const LONGEST_PACING_MS: u64 = 3_600_000;

/// How many at once, or that and how soon after each other.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ResourceFile {
    Limit(u32),
    Paced(PacedFile),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacedFile {
    pub limit: Option<u32>,
    pub pacing: Option<PacingFile>,
}

/// The least time from the beginning of one gate to that of the next.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum PacingFile {
    Milliseconds(u64),
    Word(PacingWord),
}

/// The words for it; the schema allows no other.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PacingWord {
    Safe,
    Normal,
    Fast,
}

impl PacingWord {
    pub const ALL: [&'static str; 3] = ["safe", "normal", "fast"];
}

impl PacingFile {
    pub fn gap_ms(&self) -> u64 {
        match self {
            Self::Milliseconds(ms) => *ms,
            Self::Word(PacingWord::Safe) => 2000,
            Self::Word(PacingWord::Normal) => 1000,
            Self::Word(PacingWord::Fast) => 500,
        }
    }
}

impl JsonSchema for ResourceFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Resource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "object"],
            "minimum": 1,
            "maximum": u32::MAX,
            "properties": {
                "limit": {
                    "description": "How many may be claimed at once. Default: any number.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": u32::MAX,
                },
                "pacing": {
                    "description": "The least time from the beginning of one gate that claims it to that of the next: \
                        `safe` (2000 ms), `normal` (1000 ms), `fast` (500 ms) or a number of milliseconds.",
                    "type": ["string", "integer"],
                    "pattern": format!("^({})$", PacingWord::ALL.join("|")),
                    "minimum": 1,
                    "maximum": LONGEST_PACING_MS,
                },
            },
            "additionalProperties": false,
            "examples": [1, { "limit": 3, "pacing": "safe" }],
        })
    }
}

/// Names, each as often as it is claimed, or by how much of each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ClaimsFile {
    Names(Vec<String>),
    Amounts(BTreeMap<String, u32>),
}

impl JsonSchema for ClaimsFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Claims".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["array", "object"],
            "items": { "type": "string", "minLength": 1 },
            "additionalProperties": { "type": "integer", "minimum": 1, "maximum": u32::MAX },
            "examples": [["db"], { "gpu": 2 }],
        })
    }
}
