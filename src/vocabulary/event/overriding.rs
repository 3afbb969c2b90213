//! Overrides: what somebody lets land although not all of its gates passed.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ItemGateStatus;
use crate::vocabulary::names::{ApexId, DefinitionDigest, GateName, ItemName, VerdictKey};

/// What the command line allows a run, and in whose name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideGrant {
    /// These land after all others, each alone, whether their gates pass or not. In canonical order.
    pub items: Vec<ItemName>,
    /// Who allows it: `Name <email>`, as git knows them.
    pub by: String,
    /// On one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An item lands although these of its gates did not pass. Its tree is overridden, and never proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overridden {
    pub apex: ApexId,
    pub item: ItemName,
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The required gates without a pass on its tree, in order.
    pub gates: Vec<OverriddenGate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverriddenGate {
    pub gate: GateName,
    pub key: VerdictKey,
    pub definition: DefinitionDigest,
    /// `failed`, `unjudged` where it could not be run, or `notRun` behind one of those.
    pub status: ItemGateStatus,
}

impl Overridden {
    /// The gates that failed, which are red on the target once the item has landed.
    pub fn red(&self) -> impl Iterator<Item = &OverriddenGate> {
        self.gates.iter().filter(|gate| gate.status == ItemGateStatus::Failed)
    }

    /// Which gates did not pass, as half a sentence: `unit failed, lint was not run`.
    pub fn what(&self) -> String {
        self.gates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for OverriddenGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let became = match self.status {
            ItemGateStatus::Unjudged => "could not be run",
            ItemGateStatus::NotRun | ItemGateStatus::ApexOnly => "was not run",
            ItemGateStatus::Failed | ItemGateStatus::Passed | ItemGateStatus::Flaky => "failed",
        };
        write!(f, "{} {became}", self.gate)
    }
}

/// On one line, as a commit's message has it: `unit failed; by Ann <ann@example.com>: the runner has no disk`.
impl fmt::Display for Overridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; by {}", self.what(), self.by)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}
