//! Where two items meet that git cannot merge: paths, and the lines of each side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One path at which a merge of two items conflicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClashPlace {
    /// Bytes that are no UTF-8 are replaced by U+FFFD.
    pub path: String,
    /// git's name for what it is, such as `contents` or `modify/delete`; empty where git gives none.
    pub kind: String,
    /// What git says of it, such as `CONFLICT (content): Merge conflict in a`.
    pub message: String,
    /// The lines, where both sides have text there that git marked; in order.
    pub hunks: Vec<ClashHunk>,
}

/// Lines of a file of which each side made something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClashHunk {
    /// In the first item's version, as merged onto the base.
    pub first: Lines,
    /// In the second item's own version.
    pub second: Lines,
}

/// Some lines of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lines {
    /// Counted from 1. Where there are no lines, what is left out stood before this one.
    pub start: u32,
    pub count: u32,
}

impl std::fmt::Display for Lines {
    /// `7`, `7-9`, or `none before 7` where nothing is left.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            0 => write!(f, "none before {}", self.start),
            1 => write!(f, "{}", self.start),
            count => write!(f, "{}-{}", self.start, self.start + (count - 1)),
        }
    }
}
