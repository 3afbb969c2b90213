//! What limits hold work back, and why.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::names::GateName;

/// What a limit is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "of", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LimitOn {
    /// One of the policy's `resources`.
    Resource { name: String },
    /// All runs of the gates of this name: they may be rate limited, and claim nothing that has a pace.
    Gate { name: GateName },
}

impl fmt::Display for LimitOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource { name } => f.write_str(name),
            Self::Gate { name } => write!(f, "gate {name}"),
        }
    }
}

/// Why what claims it has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeldBy {
    /// All there is of it is in use, or promised to somebody who asked before.
    Use,
    /// The last gate that claims it began too short a while ago.
    Pacing,
    /// A gate said that it was rate limited.
    RateLimit,
}
